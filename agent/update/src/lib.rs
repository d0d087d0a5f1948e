//! Builds of the agent in two slots: staged, tried, confirmed or rolled back; and the launcher that chooses one.
//!
//! ```text
//! STATE/builds/a, b          two programs
//! STATE/builds/record.N.ledger  which is confirmed, which is on trial, what was rolled back and why
//!
//! packaged program ── launch ──► is a slot chosen, is its file whole, is it newer? ── exec ──► slot's program
//!        ▲                                                                                   │
//!        └── ended before it was healthy, twice ◄── trial ──► healthy: confirmed ◄────────────┘
//! ```
//! The packaged program is the launcher, and what runs when nothing else may: there is always a working agent. A slot's program
//! takes the launcher's place in the same process, so a supervisor's socket, watchdog and handed-over sockets go on, and two
//! versions never write one state. A build is tried at most twice; each start is written down before it happens.

mod build;
mod builds;
mod format;
mod launch;
mod mark;
#[cfg(test)]
mod program;
mod record;
mod refused;
mod self_check;
mod signals;
mod stage;
mod standing;
mod whole;

pub use build::{Build, Candidate, OWN_TARGET, OWN_VERSION, Slot, is_newer};
pub use builds::{Builds, DIRECTORY};
pub use format::{FORMAT, NewerState, StateFormat};
pub use launch::{LaunchError, Launched, TIMES, launch};
pub use record::{Before, RolledBack};
pub use refused::Refused;
pub use self_check::{SELF_CHECK, SelfCheck};
pub use stage::Staged;
pub use standing::{OnTrial, Running, Source, Standing};
