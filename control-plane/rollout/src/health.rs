//! What a device measured of itself, and what a rollout demands of that.

use serde::{Deserialize, Serialize};

/// What a device measured; `None` where it did not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// The self-test of the model that serves.
    pub self_test_passed: Option<bool>,
    /// Its speed, thousandths of a token per second.
    pub tokens_per_second_milli: Option<u64>,
    /// Memory that is left, bytes.
    pub memory_available_bytes: Option<u64>,
    /// Requests that failed, of a thousand.
    pub errors_per_mille: Option<u16>,
    /// Golden prompts that were answered otherwise than they should be.
    pub golden_failures: Option<u32>,
}

/// What is demanded; `None` demands nothing. What is demanded but was not measured is not met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// The self-test passed.
    pub self_test: bool,
    /// At least so many hundredths of the speed before; nothing where no speed was known before.
    pub speed_percent_of_before: Option<u16>,
    /// At least so much memory is left, bytes.
    pub memory_available_bytes: Option<u64>,
    /// At most so many failed requests of a thousand.
    pub errors_per_mille: Option<u16>,
    /// At most so many golden prompts answered otherwise.
    pub golden_failures: Option<u32>,
}

/// One demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The self-test.
    SelfTest,
    /// Tokens per second against before.
    Speed,
    /// Memory left.
    Memory,
    /// Failed requests.
    Errors,
    /// Golden prompts.
    Golden,
}

impl Gates {
    /// The first demand that is not met.
    #[must_use]
    pub fn unmet(&self, before: &Health, now: &Health) -> Option<Gate> {
        let speed_needed = self.speed_percent_of_before.zip(before.tokens_per_second_milli);
        let fast_enough = |(percent, before): (u16, u64)| {
            now.tokens_per_second_milli
                .is_some_and(|speed| u128::from(speed) * 100 >= u128::from(before) * u128::from(percent))
        };
        let at_least = |needed: u64, measured: Option<u64>| measured.is_some_and(|measured| measured >= needed);
        let at_most = |allowed: u32, measured: Option<u32>| measured.is_some_and(|measured| measured <= allowed);
        let met = [
            (Gate::SelfTest, !self.self_test || now.self_test_passed == Some(true)),
            (Gate::Speed, speed_needed.is_none_or(fast_enough)),
            (Gate::Memory, self.memory_available_bytes.is_none_or(|bytes| at_least(bytes, now.memory_available_bytes))),
            (
                Gate::Errors,
                self.errors_per_mille.is_none_or(|most| at_most(most.into(), now.errors_per_mille.map(u32::from))),
            ),
            (Gate::Golden, self.golden_failures.is_none_or(|most| at_most(most, now.golden_failures))),
        ];
        met.into_iter().find(|(_, met)| !met).map(|(gate, _)| gate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_demanded_but_was_not_measured_is_not_met() {
        let unmet = |gates: Gates| gates.unmet(&Health::default(), &Health::default());
        assert_eq!(unmet(Gates::default()), None);
        assert_eq!(unmet(Gates { self_test: true, ..Gates::default() }), Some(Gate::SelfTest));
        assert_eq!(unmet(Gates { memory_available_bytes: Some(1), ..Gates::default() }), Some(Gate::Memory));
        assert_eq!(unmet(Gates { errors_per_mille: Some(9), ..Gates::default() }), Some(Gate::Errors));
        assert_eq!(unmet(Gates { golden_failures: Some(0), ..Gates::default() }), Some(Gate::Golden));
        assert_eq!(unmet(Gates { speed_percent_of_before: Some(90), ..Gates::default() }), None, "nothing to compare");
    }

    #[test]
    fn speed_is_held_against_the_speed_before() {
        let speed = |milli| Health { tokens_per_second_milli: Some(milli), ..Health::default() };
        let gates = Gates { speed_percent_of_before: Some(90), ..Gates::default() };
        assert_eq!(gates.unmet(&speed(1000), &speed(900)), None);
        assert_eq!(gates.unmet(&speed(1000), &speed(899)), Some(Gate::Speed));
        assert_eq!(gates.unmet(&speed(u64::MAX), &speed(u64::MAX)), None);
        assert_eq!(gates.unmet(&speed(1), &Health::default()), Some(Gate::Speed));
    }
}
