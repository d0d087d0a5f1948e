//! How far the audit log is vouched for by others, and that it must not go on.

use outpost_audit::witness::Divergence;
use serde::{Deserialize, Serialize};

/// How far others vouch for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Standing {
    /// Records under the last head that the witness cosigned.
    pub(crate) cosigned: u64,
    /// Records that the mirror keeps, by its signature.
    pub(crate) mirrored: u64,
    /// Why witness or mirror take no more; none if they do.
    pub(crate) refused: Option<String>,
}

/// A log that must not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Its name.
    pub(crate) origin: String,
    /// What it and its witness do not agree about.
    pub(crate) why: Divergence,
    /// The last cosigned head that it holds, a signed note.
    pub(crate) last: Option<String>,
}
