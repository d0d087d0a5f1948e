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
mod builds;
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
mod holding;
mod http;
mod ingest;
mod inventory;
pub mod keys;
mod leader;
mod link;
mod metrics;
mod models;
mod mosquitto;
mod neighbours;
mod onefile;
mod origin;
mod people;
mod policy_desk;
mod renewal;
mod revocation;
mod rollouts;
mod shares;
mod signals;
mod signing;
#[cfg(test)]
#[expect(unreachable_pub, reason = "it is a module of another crate, too")]
#[path = "../../tests/src/small.rs"]
mod small;
mod tls;
mod tokens;

pub use app::{ControlPlane, Running};
pub use audit::{DeviceLogs, Found, Hit, IncidentReport, LogState, ReportRequest, SearchRequest};
pub use audit::{Incident, MirrorSummary};
pub use backup::{BackedUp, BackupError, BackupIndex, Restored, restore, verify_backup};
pub use blobs::BlobError;
pub use builds::{Build, BuildView};
pub use bulk::{BulkError, parse_keys, parse_names};
pub use bundle::{BroughtHome, BundleError, BundleRequest, BundleSummary, HomeError};
pub use catalogue::{ReleaseRequest, TargetSummary, Variant};
pub use ceremony::{Installed, KeysOverview, RoleView, ServerKeyView, Validity, read_proposal, write_proposal};
pub use clock::Clock;
pub use config::{Config, ConfigError, DatabaseSettings, LoginSettings, ModelRules, OidcSettings};
pub use db::{
    ApiToken, Assignment, CommandRecord, DeviceSummary, EnrolmentRequest, ModelApproval, Person, Session, StoredEvent,
    StoredWithdrawal,
};
pub use db::{DeadEvent, Delivery, FleetEvent, Webhook};
pub use enrol::EnrolError;
pub use files::FileError;
pub use fleet::{Fleet, FleetError, Initialised};
pub use holding::{HeldModel, HoldRequest, model_files};
pub use inventory::words::{ago, clean, size};
pub use inventory::{
    Answer, Bucket, Cause, CertificateState, CertificateView, ClockView, DeviceView, Drift, Group, Lack, MOST_PER_PAGE,
    Machine, Overview, Page, Preview, Question, Runs, SiteCount, WhatIf,
};
pub use keys::{Holder, KeysError, OfflineKeys, Passphrase, Passphrases, ServerKey};
pub use models::{
    ApprovalRequest, ApprovalState, ApprovalView, CatalogueEntry, ComparedFact, Comparison, Filter, MOST_COMPARED,
    ModelError, SpeedOn, WithdrawalRequest, end_of_day_s, parameter_class,
};
pub use mosquitto::MosquittoFiles;
pub use onefile::{
    Change, FLEET_FILE_BYTES, FleetFile, FleetFileError, FleetPlan, Kind as FleetFileKind, Leaving, Reality, Wait,
    Waiting, write_fleet_file,
};
pub use outpost_hub::outgoing::{Network, OutgoingError, Reach};
pub use outpost_hub::{
    Card, FetchRequest, Fetched, FetchedFile, FileOrigin, HubAccess, HubError, HubReference, MOST_FILE_BYTES, fetch,
};
pub use outpost_rollout::{Gates, OnFailure};
pub use outpost_selector::Selector;
pub use people::{LoginError, OwnRecord};
pub use policy_desk::{
    Changed, DeskError, DraftApproval, DraftState, DraftSummary, Example, PolicyBoard, PolicyDiff, PolicyDraft,
    PublishedPolicy, Reach as SimulationReach, ReleasedPolicy, Simulation, Unknown,
};
pub use rollouts::{
    DEFAULT_WAVES, MemberView, NoticeView, RolloutRequest, RolloutView, WaveRequest, WaveView, WindowRequest, picture,
};
pub use shares::Rates;
pub use signals::{Deliveries, EventPage, NewWebhook};
pub use tls::TlsError;
pub use tokens::{Claims, MOST_TOKEN_S, TokenError};
