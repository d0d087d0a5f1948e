//! What the control plane does for the audit logs of its devices: it witnesses their heads and mirrors their records.
//!
//! ```text
//! <state>/audit/witness.db          the last head that was cosigned of each log, and evidence against logs
//! <state>/audit/<device>/<number>/  the mirror of one log of a device: `outpost audit verify`, `show`, `export` read it
//! <state>/keys/audit-witness.key    "this is the largest tree that I saw, and it began with every one I saw before"
//! <state>/keys/audit-mirror.key     "I keep these records"
//! ```
//!
//! A device's first log has the key and the name that it enrolled with; a log that follows it has the same key and the
//! next number. No log of another name or key is taken from it.

mod completeness;
mod desk;
mod incidents;
mod keeper;
mod overview;
mod report;
mod search;
#[cfg(test)]
mod tests;

pub use self::completeness::{DeviceLogs, LogState};
pub(crate) use self::desk::{Desk, Request};
pub use self::incidents::IncidentReport;
pub(crate) use self::keeper::Keeper;
pub use self::overview::{Incident, MirrorSummary};
pub use self::report::ReportRequest;
pub use self::search::{Found, Hit, SearchRequest};
