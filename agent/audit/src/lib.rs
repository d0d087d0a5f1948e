//! The audit log: leaves, Merkle tree, signed checkpoints, durable store, verification.
//!
//! ```text
//! Record ──append──► queue ──► writer thread ──one transaction, one fsync──► audit.db ──► every caller's index
//!                                   │                                          leaves · nodes · tree · checkpoints
//!                                   └── signs the new tree head inside that transaction
//! ```
//!
//! The log is an RFC 6962 Merkle tree; its heads are signed notes in the C2SP checkpoint form, so tools that this
//! project did not write can check it. A directory holds one log:
//!
//! * `audit.db` (SQLite, write-ahead log): the truth;
//! * `audit.vkey`: the public key that checkpoints verify with, one line, C2SP form;
//! * `audit.checkpoint`: the newest retained checkpoint, to be read with `cat`;
//! * `lock`: held by the process that appends;
//! * `reserve`: holds nothing but room for the last records, see [`space`].
//!
//! Content that a rule asks to keep is sealed beside the records, in the same database, by the [`vault`]; its root key
//! lies in a directory of its own.
//!
//! It leaves as tiles (c2sp.org/tlog-tiles), as records in the form of another system with a manifest, or as the proof
//! of one record (c2sp.org/tlog-proof); `FORMATS.md` names every byte.
//!
//! Writing and verifying share no hashing code: a bug cannot hide in both.

mod author;
mod boot;
mod canonical;
pub mod checkpoint;
pub mod consistency;
pub mod cosignature;
mod counter;
pub mod error;
pub mod export;
mod form;
mod identifier;
pub mod kind;
pub mod leaf;
pub mod log;
pub mod mirror;
pub mod note;
mod proof;
mod prune;
pub mod pseudonym;
mod queue;
pub mod reader;
pub mod record;
pub mod report;
mod schema;
mod source;
pub mod space;
mod tally;
mod tile;
mod tree;
pub mod vault;
pub mod verify;
pub mod witness;
mod writer;

pub use boot::{BootInfo, BootReport, Previous};
pub use checkpoint::{Checkpoint, CheckpointKey};
pub use counter::{Change, Counter};
pub use error::AuditError;
pub use kind::Kind;
pub use leaf::Leaf;
pub use log::{AuditLog, LogIdentity, Moment};
pub use note::VerifierKey;
pub use prune::{PruneBasis, RecordRetention};
pub use pseudonym::Pseudonyms;
pub use queue::Appended;
pub use reader::{Entry, Filter};
pub use record::{DecisionRef, Io, ObjectRef, Outcome, Record, Who};
pub use space::{Admission, CapacityMode, LogOptions, Space, SpaceLevel, SpaceOptions};
pub use vault::{Content, EndedLogs, EraseOrder, Erased, Level, Retention, VaultError};
pub use writer::Health;
