//! What is known of one device when a selector is asked about it.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of one device. `None` is: not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name, whose words are in the table of fields")]
pub struct Facts {
    pub name: String,
    pub site: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub groups: BTreeSet<String>,
    pub state: String,
    pub model: Option<String>,
    pub variant: Option<String>,
    pub wanted: Option<String>,
    pub cpu: Option<String>,
    pub features: BTreeSet<String>,
    pub reasons: BTreeSet<String>,
    pub agent: String,
    pub memory: Option<u64>,
    pub memory_available: Option<u64>,
    pub disk: Option<u64>,
    pub cores: Option<u64>,
    pub context: Option<u64>,
    pub policy: Option<u64>,
    pub backlog: Option<u64>,
    pub dead_letters: Option<u64>,
    pub speed_milli: Option<u64>,
    pub seen_ago_s: Option<u64>,
    pub enrolled_ago_s: Option<u64>,
    pub certificate_left_s: Option<u64>,
    pub online: bool,
    pub revoked: bool,
    pub assigned: bool,
    pub drift: bool,
    pub measured: bool,
}
