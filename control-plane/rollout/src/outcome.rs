//! What a device's report says about an order of a rollout.

use outpost_contract::{Reason, ReasonCode, Reported};
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
    #[must_use]
    pub fn of(reported: &Reported, version: u64) -> Self {
        if reported.applied_version >= version {
            return Self::Applied(Health::of(reported));
        }
        // Signed documents that a device refuses never become its accepted version, so they count before that as well.
        let is_about_this = |reason: &&Reason| reported.desired_version >= version || concerns_acceptance(reason);
        let refused = reported.reasons.iter().filter(|reason| is_final(reason.code)).find(is_about_this);
        refused.map_or(Self::Underway, |reason| Self::Refused(reason.code))
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
            errors_per_mille: reported.activity.errors_per_mille,
            golden_failures: reported.activity.golden_failures,
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
        | ReasonCode::PolicyInvalid
        | ReasonCode::Withdrawn
        | ReasonCode::BuildRefused
        | ReasonCode::BuildRolledBack => true,
        // A person, another hour or another line may make room yet; the deadline ends the wait.
        ReasonCode::InsufficientSpace
        | ReasonCode::Unavailable
        | ReasonCode::WindowClosed
        | ReasonCode::BudgetSpent
        | ReasonCode::SlowLink
        | ReasonCode::Unknown => false,
    }
}

/// Whether the document itself was refused, or the catalogue that it names; a policy or an issuer that is wrong is a part of what was
/// accepted.
fn concerns_acceptance(reason: &Reason) -> bool {
    let is_of_it = [Reason::DESIRED_STATE, Reason::CATALOGUE].contains(&reason.subject.as_str());
    let code = matches!(
        reason.code,
        ReasonCode::BadSignature
            | ReasonCode::WrongDevice
            | ReasonCode::Rollback
            | ReasonCode::Expired
            | ReasonCode::NotInCatalogue
    );
    is_of_it && code
}

#[cfg(test)]
mod tests {
    use outpost_contract::Activity;

    use super::*;

    fn reported(desired_version: u64, applied_version: u64, codes: &[ReasonCode]) -> Reported {
        let reason = |code: &ReasonCode| Reason {
            code: *code,
            subject: Reason::DESIRED_STATE.to_owned(),
            detail: String::new(),
        };
        Reported {
            v: 1,
            device: "device-1".parse().unwrap(),
            boot: serde_json::from_value("0".repeat(32).into()).unwrap(),
            sequence: 1,
            agent: String::new(),
            desired_version,
            applied_version,
            model: None,
            policy_version: 0,
            reasons: codes.iter().map(reason).collect(),
            measurements: None,
            plan: Vec::new(),
            activity: Activity::default(),
            transfer: None,
            link: outpost_contract::LinkHealth::default(),
            build: None,
        }
    }

    #[test]
    fn what_a_device_counted_is_its_health() {
        let mut reported = reported(5, 5, &[]);
        reported.activity = Activity { errors_per_mille: Some(7), golden_failures: Some(0), ..Activity::default() };
        let health = Health { errors_per_mille: Some(7), golden_failures: Some(0), ..Health::default() };
        assert_eq!(Outcome::of(&reported, 5), Outcome::Applied(health));
    }

    #[test]
    fn a_report_is_about_an_order_only_from_the_version_on_that_carried_it() {
        use ReasonCode::{BadSignature, BuildRolledBack, DoesNotFit, SelfTestFailed, SlowLink, Unknown};
        let of = |desired, applied, codes: &[ReasonCode]| Outcome::of(&reported(desired, applied, codes), 5);
        assert_eq!(of(4, 4, &[]), Outcome::Underway);
        assert_eq!(of(4, 4, &[DoesNotFit]), Outcome::Underway, "that was about the version before");
        assert_eq!(of(4, 4, &[BadSignature]), Outcome::Refused(BadSignature), "it will not accept this one");
        assert_eq!(of(5, 4, &[SlowLink]), Outcome::Underway);
        assert_eq!(of(5, 4, &[Unknown]), Outcome::Underway, "whether it ends by itself is not known here");
        assert_eq!(of(4, 4, &[BuildRolledBack]), Outcome::Underway, "that was about the build before");
        assert_eq!(of(5, 0, &[BuildRolledBack]), Outcome::Refused(BuildRolledBack));
        assert_eq!(of(5, 4, &[SlowLink, DoesNotFit]), Outcome::Refused(DoesNotFit));
        assert_eq!(of(5, 5, &[]), Outcome::Applied(Health::default()));
        let failed = Health { self_test_passed: Some(false), ..Health::default() };
        assert_eq!(of(5, 5, &[SelfTestFailed]), Outcome::Applied(failed));
        let mut of_its_policy = reported(4, 3, &[BadSignature]);
        of_its_policy.reasons[0].subject = "policy".to_owned();
        assert_eq!(Outcome::of(&of_its_policy, 5), Outcome::Underway, "that was a part of the version before");
        assert_eq!(Outcome::of(&of_its_policy, 4), Outcome::Refused(BadSignature));
    }
}
