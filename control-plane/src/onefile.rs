//! One file for the whole fleet: what is wanted, how it differs from what is here, and making it so.
//!
//! ```text
//! text ── read ──► FleetFile ── plan_file ──► FleetPlan ── permitted, recorded ── apply_plan ──► one transaction
//!                     │            ▲  └ mistakes, each with its line
//!                     │            └ listed_now (database) ── export_file ──► text
//!                     └ file_drift ──► devices that report something else
//! ```
//!
//! Without `prune` nothing is ever taken away. A device that is named and not enrolled is awaited: its key may enrol, its
//! labels, site and groups are there, and what it should run is signed for it once it is here and its model is released. What
//! stands in the way of that later is told with the comparison, and spoils neither a release nor an enrolment.

mod apply;
mod awaited;
mod change;
mod drift;
mod form;
mod notes;
mod now;
mod plan;
mod read;
mod rules;
mod table;
mod write;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::files::{self, FileError};
use crate::fleet::{Fleet, FleetError};

pub use awaited::{Wait, Waiting};
pub use change::{Change, FleetPlan, Leaving};
pub use drift::Reality;
pub use form::Kind;
pub use read::{FLEET_FILE_BYTES, FleetFile};

/// A fleet file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetFileError {
    /// It is longer than any fleet that fits here.
    #[error("the fleet file is larger than {} MiB: part it, and apply the parts without `--prune`", FLEET_FILE_BYTES >> 20)]
    TooLarge,
    /// Lines are wrong.
    #[error("nothing was done, because of these lines of the fleet file:\n{}", .0.join("\n"))]
    Mistakes(Vec<String>),
    /// Somebody else changed the fleet between the comparison and the change.
    #[error("the fleet was changed meanwhile, so nothing was done; look at the difference again")]
    Moved,
}

/// Writes such a file; its owner alone reads it, as it names people.
///
/// # Errors
/// If it cannot be written.
pub fn write_fleet_file(path: &Path, text: &str) -> Result<(), FileError> {
    files::write_private(path, text.as_bytes())
}

impl Fleet {
    /// The fleet as a file, the same bytes for the same fleet. People and tokens are in it if `with_people`; certificates,
    /// keys of the server, the catalogue, passwords and secrets never are.
    ///
    /// # Errors
    /// If the database fails.
    pub fn export_file(&self, with_people: bool) -> Result<String, FleetError> {
        Ok(write::write(&self.listed_now()?.listed, self.config().tenant.as_str(), with_people))
    }
}
