//! The policy desk: bundles are written as drafts, looked at, compared, tried on what was decided last week, approved by a
//! second person for exactly their digest, and released.
//!
//! ```text
//! draft ──saved──► lint, cases ──► difference, simulation ──► approved ──► released for all: `policy.json`
//!                     ▲                                          │    └──► staged: `policy-NAME.vN.json`, device by device
//!                     └── any other word in it is another digest ┘
//! ```
//!
//! A device's policy is the target that it is pinned to, else the fleet's. A release for all ends every pin.

mod draft;
mod error;
mod export;
mod recorded;
mod release;
mod simulate;
mod stage;

pub use draft::{DraftApproval, DraftState, DraftSummary, PolicyBoard, PolicyDiff, PolicyDraft, ReleasedPolicy};
pub use error::DeskError;
pub(crate) use release::POLICY_DEFAULT;
pub use release::PublishedPolicy;
pub use simulate::{Changed, Example, Reach, Simulation, Unknown};

#[cfg(test)]
mod tests;
