//! How things stand, for status and report: what runs, what is tried, what was rolled back.

use outpost_contract::Sha256;
use serde::Serialize;

use crate::build::Build;
use crate::record::RolledBack;

/// Where the running program came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A package, or whoever started it.
    Packaged,
    /// One of the two slots.
    Slot,
}

/// The program that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Where it came from.
    pub source: Source,
    /// Its version.
    pub version: String,
    /// Its target.
    pub target: String,
    /// What a slot's build is known by.
    pub sha256: Option<Sha256>,
    /// It has not been confirmed yet.
    pub on_trial: bool,
    /// The version of the packaged program.
    pub packaged: String,
}

/// The build on trial, whether or not it runs already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnTrial {
    /// Its version.
    pub version: String,
    /// Its target.
    pub target: String,
    /// What it is known by.
    pub sha256: Sha256,
    /// Starts so far: 0 waits for a restart.
    pub attempts: u32,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// What runs.
    pub running: Running,
    /// What lies in a slot and proved itself; it runs, unless the packaged program is no older.
    pub confirmed: Option<Build>,
    /// What is tried.
    pub trial: Option<OnTrial>,
    /// What was rolled back last.
    pub rolled_back: Option<RolledBack>,
    /// What the launcher passed over at this start, and why.
    pub passed_over: Vec<String>,
}
