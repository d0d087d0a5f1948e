//! Picks the best setting, one figure after the other, and says of each why it is or is not the one.
//!
//! Measured figures are never quite equal. What differs by less than a step counts as equal, so that a variant of half the size
//! is not passed over for a difference that nobody can tell.

use std::cmp::Reverse;

use outpost_planner::{rounded_down, rounded_up};

use super::figures::{Point, nats, percent, thousandths};
use super::limits::{Limits, Objective};
use super::setting::Setting;

/// Divergences within one of these steps count as equal, millionths of a nat per token.
const DIVERGENCE_STEP_MICRO: u64 = 2_000;

/// Shares of tasks within one part of so many count as equal: of a few dozen, one more or less is luck.
const TASK_STEPS: u64 = 20;

/// Speeds and sizes within a step of this factor count as equal.
const STEP: f64 = 1.05;

/// What was chosen and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// The point; none if no point keeps every limit.
    pub(crate) index: Option<usize>,
    /// Of each point why it is or is not the one.
    pub(crate) because: Vec<String>,
}

/// Chooses under the limits.
pub(crate) fn choose(points: &[Point], limits: &Limits) -> Chosen {
    let broken: Vec<Option<String>> = points.iter().map(|point| broken(point, limits)).collect();
    let index = (0..points.len())
        .filter(|index| broken[*index].is_none())
        .max_by(|one, other| rank(&points[*one], limits.objective).cmp(&rank(&points[*other], limits.objective)));
    let because = points.iter().zip(broken).enumerate().map(|(place, (point, broken))| match (broken, index) {
        (Some(broken), _) => broken,
        (None, Some(best)) if best == place => chosen(point, limits),
        (None, Some(best)) => beaten(point, &points[best], limits.objective),
        (None, None) => String::new(),
    });
    Chosen { because: because.collect(), index }
}

/// The first limit that a point breaks.
fn broken(point: &Point, limits: &Limits) -> Option<String> {
    if !point.setting.kv.is_served() {
        return Some(format!("measured for comparison: the service keeps F16 keys, not {}", point.setting.kv));
    }
    let speed = point.speed.tokens_per_second_milli.p50;
    if speed < limits.minimum_tokens_per_second_milli {
        let asked = thousandths(limits.minimum_tokens_per_second_milli);
        return Some(format!("a conversation gets {} tokens/s, {asked} are asked for", thousandths(speed)));
    }
    let agreement = point.quality.agreement_ppm;
    (agreement < limits.minimum_agreement_ppm).then(|| {
        let asked = percent(limits.minimum_agreement_ppm);
        format!("says what the largest would say in {} of tokens, {asked} are asked for", percent(agreement))
    })
}

/// The higher, the better: as many conversations as are wanted first, as the planner does; the setting's name last, so that
/// the order of points never decides.
type Rank<'a> = (u32, [i128; 5], [i128; 4], Reverse<&'a Setting>);

fn rank(point: &Point, objective: Objective) -> Rank<'_> {
    let [tasks, closeness, speed, smallness] = steps(point);
    let context = i128::from(point.setting.context_tokens);
    let order = match objective {
        Objective::Quality => [tasks, closeness, speed, context, smallness],
        Objective::Speed => [speed, tasks, closeness, context, smallness],
        Objective::Memory => [smallness, tasks, closeness, speed, context],
    };
    let exact = [
        -i128::from(point.needs_bytes),
        i128::from(point.speed.together_milli),
        -i128::from(point.quality.divergence_micro),
        i128::from(point.tasks_right()),
    ];
    (point.setting.slots, order, exact, Reverse(&point.setting))
}

/// Tasks, closeness, speed and smallness in steps.
fn steps(point: &Point) -> [i128; 4] {
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm of 64 bits is below a thousand")]
    let geometric = |figure: u64| i128::from(((figure.max(1) as f64).ln() / STEP.ln()).floor() as i64);
    let tasks =
        point.quality.tasks.map_or(0, |tasks| u64::from(tasks.right) * TASK_STEPS / u64::from(tasks.asked.max(1)));
    [
        i128::from(tasks),
        -i128::from(point.quality.divergence_micro / DIVERGENCE_STEP_MICRO),
        geometric(point.speed.together_milli),
        -geometric(point.needs_bytes),
    ]
}

fn chosen(point: &Point, limits: &Limits) -> String {
    let best = match limits.objective {
        Objective::Quality => "closest to the largest variant",
        Objective::Speed => "fastest",
        Objective::Memory => "smallest",
    };
    format!(
        "chosen: {best} of those that keep every limit, what differs by less than a step counting as equal; {} nats from the \
         reference, {} tokens/s together, {}",
        nats(point.quality.divergence_micro),
        thousandths(point.speed.together_milli),
        rounded_up(point.needs_bytes),
    )
}

/// The first figure in the objective's order in which the best is better.
fn beaten(point: &Point, best: &Point, objective: Objective) -> String {
    if point.setting.slots < best.setting.slots {
        return format!("answers {} at once, the choice {}", point.setting.slots, best.setting.slots);
    }
    let [own, bests] = [steps(point), steps(best)];
    let words = [
        format!("answers {} tasks as expected, the choice {}", point.tasks_right(), best.tasks_right()),
        format!(
            "is {} nats from the reference, the choice {}",
            nats(point.quality.divergence_micro),
            nats(best.quality.divergence_micro)
        ),
        format!(
            "gives {} tokens/s together, the choice {}",
            thousandths(point.speed.together_milli),
            thousandths(best.speed.together_milli)
        ),
        format!("needs {}, the choice {}", rounded_up(point.needs_bytes), rounded_down(best.needs_bytes)),
    ];
    let order = match objective {
        Objective::Quality => [0, 1, 2, 3],
        Objective::Speed => [2, 0, 1, 3],
        Objective::Memory => [3, 0, 1, 2],
    };
    let first = order.into_iter().find(|figure| own[*figure] < bests[*figure]);
    first.map_or_else(|| "is no better than the choice in any step".to_owned(), |figure| words[figure].clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::figures::tests::{point, points};
    use super::super::pareto::dominates;
    use super::super::setting::Kv;
    use super::*;

    fn limits(objective: Objective) -> Limits {
        Limits { objective, ..Limits::default() }
    }

    fn variants() -> Vec<Point> {
        vec![
            point("F16", 0, 100_000, 40 << 20),
            point("Q8_0", 900, 180_000, 22 << 20),
            point("Q5_1", 9_000, 210_000, 16 << 20),
            point("Q4_0", 40_000, 300_000, 12 << 20),
        ]
    }

    fn name(points: &[Point], limits: &Limits) -> Option<String> {
        choose(points, limits).index.map(|index| points[index].setting.variant.clone())
    }

    #[test]
    fn each_objective_has_its_own_choice_and_a_difference_that_nobody_can_tell_does_not_count() {
        let all = variants();
        assert_eq!(name(&all, &limits(Objective::Quality)).as_deref(), Some("Q8_0"));
        assert_eq!(name(&all, &limits(Objective::Speed)).as_deref(), Some("Q4_0"));
        assert_eq!(name(&all, &limits(Objective::Memory)).as_deref(), Some("Q4_0"));
        let said = choose(&all, &limits(Objective::Quality)).because;
        assert_eq!(said[0], "gives 100 tokens/s together, the choice 180");
        assert_eq!(said[2], "is 0.0090 nats from the reference, the choice 0.0009");
        assert!(said[1].starts_with("chosen: closest"), "{}", said[1]);
    }

    #[test]
    fn limits_leave_out_what_breaks_them_with_the_numbers() {
        let mut all = variants();
        all[3].quality.agreement_ppm = 812_000;
        all[0].setting.kv = Kv::F32;
        let asked = Limits {
            objective: Objective::Speed,
            minimum_tokens_per_second_milli: 200_000,
            minimum_agreement_ppm: 900_000,
            ..Limits::default()
        };
        let found = choose(&all, &asked);
        assert_eq!(found.index, Some(2));
        assert_eq!(found.because[0], "measured for comparison: the service keeps F16 keys, not F32");
        assert_eq!(found.because[1], "a conversation gets 180 tokens/s, 200 are asked for");
        assert_eq!(found.because[3], "says what the largest would say in 81.2 % of tokens, 90.0 % are asked for");
        let nothing = Limits { minimum_tokens_per_second_milli: u64::MAX, ..asked };
        assert_eq!(choose(&all, &nothing).index, None);
    }

    proptest! {
        #[test]
        fn the_choice_is_independent_of_the_order(points in points(), turn in 0_usize..12, objective in 0_usize..3) {
            let limits = limits([Objective::Quality, Objective::Speed, Objective::Memory][objective]);
            let mut turned = points.clone();
            if !turned.is_empty() {
                let turn = turn % turned.len();
                turned.rotate_left(turn);
                turned.reverse();
            }
            prop_assert_eq!(name(&points, &limits), name(&turned, &limits));
        }

        #[test]
        fn whatever_is_chosen_keeps_the_limits_and_nothing_of_as_many_conversations_dominates_it(
            points in points(), speed in 0_u64..120_000, agreement in 940_000_u32..1_000_000,
        ) {
            let limits = Limits {
                minimum_tokens_per_second_milli: speed, minimum_agreement_ppm: agreement, ..Limits::default()
            };
            let found = choose(&points, &limits);
            prop_assert_eq!(found.because.len(), points.len());
            let keeps = |point: &Point| {
                point.speed.tokens_per_second_milli.p50 >= speed && point.quality.agreement_ppm >= agreement
            };
            prop_assert_eq!(found.index.is_some(), points.iter().any(keeps));
            if let Some(best) = found.index.map(|index| &points[index]) {
                prop_assert!(keeps(best));
                let of_as_many = points.iter().filter(|point| point.setting.slots == best.setting.slots && keeps(point));
                for other in of_as_many {
                    prop_assert!(!dominates(other, best));
                }
                prop_assert!(points.iter().filter(|point| keeps(point)).all(|point| point.setting.slots <= best.setting.slots));
            }
        }
    }
}
