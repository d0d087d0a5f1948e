//! The control plane: one small service that enrols devices, signs what they should run and keeps what they report.
//!
//! [`Fleet`] is the state: everything that an operator does is one of its methods, with or without a server running.
//! [`ControlPlane::start`] puts a server on it: HTTPS API, embedded MQTT broker, director, ingest, chunks.

mod api;
mod app;
mod audit;
mod blobs;
pub mod broker;
mod bulk;
mod bundle;
pub mod ca;
mod catalogue;
mod ceremony;
mod certificate;
mod clock;
mod commands;
pub mod config;
mod console;
pub mod db;
mod director;
mod enrol;
mod files;
mod fleet;
mod http;
mod ingest;
pub mod keys;
mod link;
mod mosquitto;
mod neighbours;
mod people;
mod renewal;
mod revocation;
mod shares;
mod signing;
mod tls;
mod tokens;

pub use app::{ControlPlane, Running};
pub use audit::{Incident, MirrorSummary};
pub use blobs::BlobError;
pub use bulk::{BulkError, parse_keys, parse_names};
pub use bundle::{BundleError, BundleRequest, BundleSummary};
pub use catalogue::{ReleaseRequest, TargetSummary, Variant};
pub use ceremony::{Installed, KeysOverview, RoleView, ServerKeyView, Validity, read_proposal, write_proposal};
pub use clock::Clock;
pub use config::{Config, ConfigError};
pub use db::{Assignment, CommandRecord, DeviceSummary, EnrolmentRequest, StoredEvent};
pub use enrol::EnrolError;
pub use files::FileError;
pub use fleet::{Fleet, FleetError, Initialised};
pub use keys::{Holder, KeysError, OfflineKeys, ServerKey};
pub use mosquitto::MosquittoFiles;
pub use shares::Rates;
pub use tls::TlsError;
pub use tokens::{Claims, MOST_TOKEN_S, TokenError};
