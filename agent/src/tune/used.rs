//! What the service takes from evidence: the number of threads that was fastest for a file on a box of this class.
//!
//! Context and conversations are the operator's and the planner's; keys and values are kept as the service keeps them.

use outpost_contract::{Measurements, Sha256};
use outpost_engine::KERNEL_BUILD;

use super::choice::choose;
use super::class::HardwareClass;
use super::evidence::Evidence;
use super::figures::thousandths;
use super::kept::all_evidence;
use super::limits::{Limits, Objective};
use crate::state::StateDir;

/// What evidence says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tuned {
    /// Threads of the engine.
    pub(crate) threads: u32,
    /// Why, in one sentence with the numbers.
    pub(crate) because: String,
}

/// Whether this box has ever signed evidence.
pub(crate) fn is_there_any(state: &StateDir) -> bool {
    !all_evidence(state).is_empty()
}

/// What evidence of this box, or evidence that it vouched for, says of the file with this hash.
pub(crate) fn of_file(state: &StateDir, sha256: Sha256, slots: u32, measurements: &Measurements) -> Option<Tuned> {
    let class = HardwareClass::of(measurements);
    let mut all = all_evidence(state);
    all.retain(|evidence| evidence.differences(&class, KERNEL_BUILD, &evidence.origin).is_empty());
    all.sort_by_key(|evidence| std::cmp::Reverse(evidence.made_at_s));
    all.iter().find_map(|evidence| of_evidence(evidence, sha256, slots))
}

fn of_evidence(evidence: &Evidence, sha256: Sha256, slots: u32) -> Option<Tuned> {
    let file = evidence.variants.iter().find(|file| file.sha256 == sha256)?;
    // As many conversations as will be served, else the nearest number that was measured.
    let mut points = evidence.points();
    points.retain(|point| point.setting.variant == file.variant && point.setting.kv.is_served());
    let nearest = points.iter().map(|point| point.setting.slots).min_by_key(|measured| measured.abs_diff(slots))?;
    points.retain(|point| point.setting.slots == nearest);
    // The file is given: only speed is left to choose by.
    let best = choose(&points, &Limits { objective: Objective::Speed, ..Limits::default() }).index?;
    let (threads, speed) = (points[best].setting.threads, points[best].speed.together_milli);
    // A box that is never calm is served on as it was measured on; whoever reads the reason may tune again.
    let disturbed = if points[best].speed.disturbed_by.is_empty() { "" } else { ", disturbed" };
    let plural = if threads == 1 { "" } else { "s" };
    let because = format!(
        "{threads} thread{plural}, as `outpost tune` measured: {} tokens/s with {nearest} conversations at once{disturbed}",
        thousandths(speed)
    );
    Some(Tuned { threads, because })
}

#[cfg(test)]
mod tests {
    use super::super::evidence::tests::evidence;
    use super::super::figures::tests::point;
    use super::*;

    #[test]
    fn the_fastest_number_of_threads_for_as_many_conversations_is_taken() {
        let of = |threads: u32, slots: u32, speed: u64| {
            let mut point = point("Q8_0", 10, speed, 1 << 20);
            (point.setting.threads, point.setting.slots) = (threads, slots);
            point.speed.run = point.setting.run();
            point
        };
        let mut made = evidence(&[of(1, 1, 90_000), of(2, 1, 50_000), of(1, 4, 120_000), of(2, 4, 200_000)]);
        made.variants.truncate(1);
        let sha256 = made.variants[0].sha256;
        let threads = |slots: u32| of_evidence(&made, sha256, slots).map(|tuned| tuned.threads);
        assert_eq!((threads(1), threads(4), threads(16)), (Some(1), Some(2), Some(2)));
        let said = of_evidence(&made, sha256, 4).unwrap().because;
        assert_eq!(said, "2 threads, as `outpost tune` measured: 200 tokens/s with 4 conversations at once");
        let other = hex::encode([7; 32]).parse().unwrap();
        assert_eq!(of_evidence(&made, other, 4), None);
    }
}
