//! The control plane: one small service that enrols devices, signs what they should run and keeps what they report.
//!
//! [`Fleet`] is the state: everything that an operator does is one of its methods, with or without a server running.
//! [`ControlPlane::start`] puts a server on it: HTTPS API, embedded MQTT broker, director, ingest, chunks.

mod api;
mod app;
mod audit;
mod blobs;
pub mod broker;
pub mod ca;
mod catalogue;
mod clock;
pub mod config;
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
mod revocation;
mod tls;
mod tokens;

pub use app::{ControlPlane, Running};
pub use audit::{Incident, MirrorSummary};
pub use blobs::BlobError;
pub use catalogue::{ReleaseRequest, TargetSummary, Variant};
pub use clock::Clock;
pub use config::{Config, ConfigError};
pub use db::{Assignment, DeviceSummary};
pub use enrol::EnrolError;
pub use files::FileError;
pub use fleet::{Fleet, FleetError, Initialised};
pub use keys::OfflineKeys;
pub use mosquitto::MosquittoFiles;
pub use tls::TlsError;
pub use tokens::{Claims, MOST_TOKEN_S, TokenError};
