//! The Pareto set: settings of which none other is as good in everything and better in something.

use super::figures::Point;

/// Whether `one` is as good as `other` in everything and better in something.
pub(crate) fn dominates(one: &Point, other: &Point) -> bool {
    let figures = |point: &Point| {
        [
            i128::from(point.tasks_right()),
            -i128::from(point.quality.divergence_micro),
            i128::from(point.speed.together_milli),
            -i128::from(point.needs_bytes),
            // A longer context is more of use for the memory it takes.
            i128::from(point.setting.context_tokens),
        ]
    };
    let (one, other) = (figures(one), figures(other));
    one != other && one.iter().zip(&other).all(|(one, other)| one >= other)
}

/// For each point whether it belongs to the set.
pub(crate) fn pareto(points: &[Point]) -> Vec<bool> {
    points.iter().map(|point| !points.iter().any(|other| dominates(other, point))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::figures::tests::{point, points};
    use super::*;

    #[test]
    fn what_is_worse_in_everything_is_not_in_the_set() {
        let all = [point("F16", 0, 100, 40), point("Q8_0", 100, 200, 20), point("Q4_0", 900, 190, 21)];
        assert_eq!(pareto(&all), [true, true, false]);
    }

    proptest! {
        #[test]
        fn no_point_of_the_set_is_dominated_and_every_other_is_by_one_of_it(points in points()) {
            let set = pareto(&points);
            for (point, is_in) in points.iter().zip(&set) {
                let by_the_set = points.iter().zip(&set).any(|(other, inside)| *inside && dominates(other, point));
                prop_assert_eq!(by_the_set, !is_in);
            }
            prop_assert!(points.is_empty() || set.contains(&true));
        }

        #[test]
        fn the_set_does_not_depend_on_the_order(points in points()) {
            let names = |points: &[Point]| {
                let set = pareto(points);
                let mut names: Vec<_> =
                    points.iter().zip(set).filter(|(_, is_in)| *is_in).map(|(point, _)| point.setting.clone()).collect();
                names.sort();
                names
            };
            let reversed: Vec<_> = points.iter().rev().cloned().collect();
            prop_assert_eq!(names(&points), names(&reversed));
        }
    }
}
