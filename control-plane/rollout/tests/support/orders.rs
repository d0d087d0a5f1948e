//! Rollouts, devices and reports at random.

use outpost_contract::{DesiredModel, DeviceId, ReasonCode, TargetPin};
use outpost_rollout::{
    Approval, Assignment, Change, Facts, Gates, Health, OnFailure, Outcome, Selector, Spec, Take, WaveSpec, Window,
};

use super::chance::Chance;

pub(crate) const AUTHOR: &str = "ada";
pub(crate) const PEOPLE: &[&str] = &[AUTHOR, "bo", "cy"];
pub(crate) const SELECTOR: &str = "site:north";
pub(crate) const SPEED_BEFORE: u64 = 10_000;

pub(crate) fn device(number: u64) -> DeviceId {
    format!("device-{number}").parse().unwrap()
}

/// A model or a bundle that nobody had before.
pub(crate) fn pin(release: u64) -> TargetPin {
    let sha256 = serde_json::from_value(serde_json::Value::String(format!("{release:064x}"))).unwrap();
    TargetPin { name: format!("target-{release}").parse().unwrap(), length: release, sha256, release }
}

pub(crate) fn assignment(release: u64) -> Assignment {
    let model = DesiredModel {
        model: format!("model-{release}").parse().unwrap(),
        variants: vec![pin(release)],
        minimum_context_tokens: 512,
    };
    let build = format!("0.{release}.0").parse().ok();
    Assignment { model: Some(model), policy: Some(pin(release + 1)), build }
}

pub(crate) fn facts(chance: &mut Chance, before: Assignment) -> Facts {
    let speed = (!chance.once_in(4)).then_some(SPEED_BEFORE);
    let health = Health { tokens_per_second_milli: speed, ..Health::default() };
    Facts { before, health, utc_offset_minutes: chance.pick(&[-480, 0, 60, 345]) }
}

pub(crate) fn spec(chance: &mut Chance, release: u64) -> Spec {
    let new = assignment(release);
    let change = chance.pick(&[
        Change { model: new.model.clone(), ..Change::default() },
        Change { policy: new.policy.clone(), ..Change::default() },
        Change { build: new.build.clone(), ..Change::default() },
        Change { model: new.model.clone(), policy: new.policy, build: new.build },
    ]);
    let waves = (0..=chance.below(3)).map(|at| WaveSpec {
        name: format!("wave {at}"),
        take: chance.pick(&[
            Take::Count(1),
            Take::Count(2),
            Take::Percent(20),
            Take::Percent(33),
            Take::Selector(Selector(SELECTOR.into())),
        ]),
        approval: chance
            .once_in(3)
            .then(|| Approval { people: chance.pick(&[1, 2]), another_person: chance.once_in(2) }),
    });
    let waves = waves.collect();
    let window = Window { weekdays: vec![0, 2, 4], from_minute: 22 * 60, to_minute: 6 * 60 };
    Spec {
        author: AUTHOR.into(),
        change,
        waves,
        success_percent: chance.pick(&[50, 80, 100]),
        error_percent: chance.pick(&[0, 30, 60, 100]),
        soak_s: chance.pick(&[0, 200, 600]),
        gates: Gates { self_test: true, speed_percent_of_before: chance.once_in(2).then_some(80), ..Gates::default() },
        windows: if chance.once_in(3) { vec![window] } else { Vec::new() },
        deadline_s: chance.pick(&[600, 1200]),
        window_deadline_s: chance.pick(&[600, 2400]),
        on_failure: chance.pick(&[OnFailure::Pause, OnFailure::RollBackWave, OnFailure::RollBackAll]),
    }
}

pub(crate) fn outcome(chance: &mut Chance) -> Outcome {
    let healthy =
        Health { self_test_passed: Some(true), tokens_per_second_milli: Some(SPEED_BEFORE), ..Health::default() };
    match chance.below(32) {
        0 => Outcome::Refused(ReasonCode::DoesNotFit),
        1 => Outcome::Applied(Health { self_test_passed: Some(false), ..healthy }),
        2 => Outcome::Applied(Health { tokens_per_second_milli: Some(SPEED_BEFORE / 2), ..healthy }),
        3 => Outcome::Applied(Health::default()),
        4..7 => Outcome::Underway,
        _ => Outcome::Applied(healthy),
    }
}

/// Whether a report speaks for the change: said here again, apart from the crate.
pub(crate) fn is_healthy(spec: &Spec, before: &Health, outcome: &Outcome) -> bool {
    let Outcome::Applied(health) = outcome else { return false };
    let slow = spec.gates.speed_percent_of_before.is_some()
        && before.tokens_per_second_milli.is_some()
        && health.tokens_per_second_milli.unwrap_or(0) < SPEED_BEFORE * 80 / 100;
    health.self_test_passed == Some(true) && !slow
}
