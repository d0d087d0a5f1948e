//! What a device's report says about an order of a rollout.

use outpost_contract::{ReasonCode, Reported};
use serde::{Deserialize, Serialize};

use crate::Health;

/// How far a device is with what it was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is not there yet, and nothing says that it will not be.
    Underway,
    /// All of it is in force.
    Applied(Health),
    /// It will not do it.
    Refused(ReasonCode),
}

impl Outcome {
    /// What this report says about the desired state of this version, which carried the order.
    ///
    /// Failed requests and golden prompts do not stand in a report: the caller adds them to the health if it has them.
    #[must_use]
    pub fn of(reported: &Reported, version: u64) -> Self {
        if reported.applied_version >= version {
            return Self::Applied(Health::of(reported));
        }
        // Signed documents that a device refuses never become its accepted version, so they count before that as well.
        let code = reported.reasons.iter().map(|reason| reason.code).find(|code| is_final(*code));
        let about_this = |code: ReasonCode| reported.desired_version >= version || concerns_acceptance(code);
        code.filter(|code| about_this(*code)).map_or(Self::Underway, Self::Refused)
    }
}

impl Health {
    /// What a report says of it.
    #[must_use]
    pub fn of(reported: &Reported) -> Self {
        let failed = reported.reasons.iter().any(|reason| reason.code == ReasonCode::SelfTestFailed);
        let model = reported.model.as_ref();
        Self {
            self_test_passed: failed.then_some(false).or_else(|| model.map(|_| true)),
            tokens_per_second_milli: model.map(|model| model.self_test_tokens_per_second_milli),
            memory_available_bytes: reported.measurements.as_ref().map(|measured| measured.memory_available_bytes),
            ..Self::default()
        }
    }
}

/// Nothing that comes by itself heals it.
fn is_final(code: ReasonCode) -> bool {
    match code {
        ReasonCode::BadSignature
        | ReasonCode::WrongDevice
        | ReasonCode::Rollback
        | ReasonCode::Expired
        | ReasonCode::NotInCatalogue
        | ReasonCode::DoesNotFit
        | ReasonCode::CorruptContent
        | ReasonCode::Unloadable
        | ReasonCode::SelfTestFailed
        | ReasonCode::PolicyInvalid => true,
        // A person, another hour or another line may make room yet; the deadline ends the wait.
        ReasonCode::InsufficientSpace
        | ReasonCode::Unavailable
        | ReasonCode::WindowClosed
        | ReasonCode::BudgetSpent
        | ReasonCode::SlowLink => false,
    }
}

fn concerns_acceptance(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::BadSignature
            | ReasonCode::WrongDevice
            | ReasonCode::Rollback
            | ReasonCode::Expired
            | ReasonCode::NotInCatalogue
    )
}
