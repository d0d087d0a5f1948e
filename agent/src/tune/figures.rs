//! What was found out by measuring: speeds, times, quality; whole numbers, so that what is signed is read back as it was.

use serde::{Deserialize, Serialize};

use super::setting::{Kv, Run, Setting};

/// A figure of many runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spread {
    /// Half of the runs were as good.
    pub(crate) p50: u64,
    /// Of a hundred runs, 95 were as good.
    pub(crate) p95: u64,
}

impl Spread {
    /// Of figures of which more is better.
    pub(crate) fn of_speeds(figures: &[u64]) -> Self {
        Self { p50: at(figures, 50), p95: at(figures, 5) }
    }

    /// Of figures of which less is better.
    pub(crate) fn of_times(figures: &[u64]) -> Self {
        Self { p50: at(figures, 50), p95: at(figures, 95) }
    }
}

/// The figure that so many of a hundred are not above; of few figures the one that is nearest.
fn at(figures: &[u64], percent: usize) -> u64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent + 50) / 100).copied().unwrap_or(0)
}

/// How fast a run was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunFigures {
    /// What was run.
    pub(crate) run: Run,
    /// What one conversation gets while all are answered, thousandths of a token per second.
    pub(crate) tokens_per_second_milli: Spread,
    /// What all of them get together, the median, likewise.
    pub(crate) together_milli: u64,
    /// From the question to the first token, all asking at once, millionths of a second.
    pub(crate) first_token_us: Spread,
    /// Runs that count.
    pub(crate) repeats: u32,
    /// Runs that something disturbed, and that were dropped for it.
    pub(crate) dropped: u32,
    /// What disturbed the runs that count, where none was calm; empty otherwise.
    pub(crate) disturbed_by: Vec<String>,
}

/// How good a variant is with one type of keys and values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QualityFigures {
    /// The variant.
    pub(crate) variant: String,
    /// What keys and values were kept as.
    pub(crate) kv: Kv,
    /// Perplexity on the text, thousandths.
    pub(crate) perplexity_milli: u64,
    /// Mean divergence from the reference, millionths of a nat per token.
    pub(crate) divergence_micro: u64,
    /// Share of tokens that the reference would choose, too, millionths.
    pub(crate) agreement_ppm: u32,
    /// Tasks that were answered as expected, where there were any.
    pub(crate) tasks: Option<Tasks>,
}

/// What came of the user's own tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tasks {
    /// Answered as expected.
    pub(crate) right: u32,
    /// Asked.
    pub(crate) asked: u32,
}

/// A setting and all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) setting: Setting,
    /// Memory that it needs, by the planner's count.
    pub(crate) needs_bytes: u64,
    pub(crate) speed: RunFigures,
    pub(crate) quality: QualityFigures,
}

impl Point {
    /// Tasks that were answered as expected; 0 where nobody gave any.
    pub(crate) fn tasks_right(&self) -> u32 {
        self.quality.tasks.map_or(0, |tasks| tasks.right)
    }
}

/// `12.3` for 12,345 thousandths; whole numbers from 100 on.
pub(crate) fn thousandths(milli: u64) -> String {
    if milli >= 100_000 { (milli / 1_000).to_string() } else { format!("{}.{}", milli / 1_000, milli % 1_000 / 100) }
}

/// `98.7 %` for 987,123 millionths.
pub(crate) fn percent(ppm: u32) -> String {
    format!("{}.{} %", ppm / 10_000, ppm % 10_000 / 1_000)
}

/// `0.0123` for 12,300 millionths.
pub(crate) fn nats(micro: u64) -> String {
    format!("{}.{:04}", micro / 1_000_000, micro % 1_000_000 / 100)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A point of which only what decides is told.
    pub(crate) fn point(name: &str, divergence_micro: u64, together_milli: u64, needs_bytes: u64) -> Point {
        let setting = Setting { variant: name.to_owned(), kv: Kv::F16, context_tokens: 512, slots: 1, threads: 1 };
        let speed = RunFigures {
            run: setting.run(),
            tokens_per_second_milli: Spread { p50: together_milli, p95: together_milli },
            together_milli,
            first_token_us: Spread::default(),
            repeats: 3,
            dropped: 0,
            disturbed_by: Vec::new(),
        };
        let quality = QualityFigures {
            variant: name.to_owned(),
            kv: Kv::F16,
            perplexity_milli: 10_000,
            divergence_micro,
            agreement_ppm: 1_000_000,
            tasks: None,
        };
        Point { setting, needs_bytes, speed, quality }
    }

    /// Any few points, close enough for ties.
    pub(crate) fn points() -> impl Strategy<Value = Vec<Point>> {
        let one = (0_u64..6, 1_u64..6, 1_u64..6, 0_u32..3, 0_u32..3, 1_u32..3).prop_map(
            |(divergence, speed, bytes, right, slots, context)| {
                let mut point = point("Q", divergence * 1_500, speed * 20_000, bytes << 20);
                point.quality.tasks = Some(Tasks { right, asked: 3 });
                point.quality.agreement_ppm = 1_000_000 - u32::try_from(divergence).unwrap_or(0) * 10_000;
                point.setting.slots = slots + 1;
                point.setting.context_tokens = context * 512;
                point
            },
        );
        proptest::collection::vec(one, 0..12).prop_map(|mut points| {
            for (number, point) in points.iter_mut().enumerate() {
                point.setting.variant = format!("Q{number}");
                point.quality.variant.clone_from(&point.setting.variant);
                point.speed.run = point.setting.run();
            }
            points
        })
    }

    #[test]
    fn spreads_tell_the_median_and_what_95_of_100_reach() {
        let figures: Vec<u64> = (1..=100).collect();
        assert_eq!(Spread::of_speeds(&figures), Spread { p50: 51, p95: 6 });
        assert_eq!(Spread::of_times(&figures), Spread { p50: 51, p95: 95 });
        assert_eq!(Spread::of_times(&[7]), Spread { p50: 7, p95: 7 });
        assert_eq!(Spread::of_times(&[]), Spread::default());
    }

    #[test]
    fn figures_are_written_as_people_read_them() {
        assert_eq!(thousandths(12_345), "12.3");
        assert_eq!(thousandths(812_345), "812");
        assert_eq!(percent(987_654), "98.7 %");
        assert_eq!(nats(12_345), "0.0123");
    }
}
