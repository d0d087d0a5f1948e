//! Models as an admin decides on them: who approved which, what was withdrawn, what a catalogue of them says.

mod approvals;
pub(crate) mod bom;
mod entry;
mod error;
mod filter;
mod gate;
mod withdrawals;

#[cfg(test)]
pub(crate) mod tests;

pub use approvals::{ApprovalRequest, ApprovalState, ApprovalView, end_of_day_s};
pub use entry::{CatalogueEntry, ComparedFact, Comparison, MOST_COMPARED, SpeedOn};
pub use error::ModelError;
pub use filter::Filter;
pub(crate) use gate::{Gate, Subject};
pub(crate) use withdrawals::MOST_DEADLINE_S;
pub use withdrawals::WithdrawalRequest;

/// The framework's class of a parameter count.
#[must_use]
pub fn parameter_class(parameters: u64) -> &'static str {
    match parameters {
        0..100_000_000 => "Tiny",
        100_000_000..1_450_000_000 => "Micro",
        1_450_000_000..14_000_000_000 => "Small",
        14_000_000_000..=30_500_000_000 => "Medium",
        _ => "Large",
    }
}
