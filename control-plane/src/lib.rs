//! The control plane: one small service that enrols devices, signs what they should run and keeps what they report.
//!
//! [`Fleet`] is the state: everything that an operator does is one of its methods, with or without a server running.
//! [`ControlPlane::start`] puts a server on it: HTTPS API, embedded MQTT broker, director, ingest, chunks.

mod api;
mod app;
mod audit;
mod backup;
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
mod inventory;
pub mod keys;
mod link;
mod mosquitto;
mod neighbours;
mod people;
mod renewal;
mod revocation;
mod rollouts;
mod shares;
mod signing;
mod tls;
mod tokens;

pub use app::{ControlPlane, Running};
pub use audit::{Incident, MirrorSummary};
pub use backup::{BackedUp, BackupError, BackupIndex, Restored, restore, verify_backup};
pub use blobs::BlobError;
pub use bulk::{BulkError, parse_keys, parse_names};
pub use bundle::{BroughtHome, BundleError, BundleRequest, BundleSummary, HomeError};
pub use catalogue::{ReleaseRequest, TargetSummary, Variant};
pub use ceremony::{Installed, KeysOverview, RoleView, ServerKeyView, Validity, read_proposal, write_proposal};
pub use clock::Clock;
pub use config::{Config, ConfigError};
pub use db::{ApiToken, Assignment, CommandRecord, DeviceSummary, EnrolmentRequest, Person, Session, StoredEvent};
pub use enrol::EnrolError;
pub use files::FileError;
pub use fleet::{Fleet, FleetError, Initialised};
pub use inventory::words::{ago, clean, size};
pub use inventory::{
    Answer, Bucket, Cause, CertificateState, CertificateView, ClockView, DeviceView, Drift, Group, Lack, MOST_PER_PAGE,
    Machine, Overview, Page, Preview, Question, Runs, SiteCount, WhatIf,
};
pub use keys::{Holder, KeysError, OfflineKeys, Passphrase, Passphrases, ServerKey};
pub use mosquitto::MosquittoFiles;
pub use outpost_rollout::{Gates, OnFailure};
pub use outpost_selector::Selector;
pub use people::OwnRecord;
pub use rollouts::{
    DEFAULT_WAVES, MemberView, NoticeView, RolloutRequest, RolloutView, WaveRequest, WaveView, WindowRequest, picture,
};
pub use shares::Rates;
pub use tls::TlsError;
pub use tokens::{Claims, MOST_TOKEN_S, TokenError};
