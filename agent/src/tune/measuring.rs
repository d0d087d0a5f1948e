//! Measures one run: warm-up, repeats, percentiles; what something disturbed is dropped and repeated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use outpost_engine::Model;
use outpost_engine::rehearse::{Rehearsal, Rehearsed, Stage};
use outpost_planner::PREFILL_CHUNK_TOKENS;
use outpost_probe::Watching;

use super::evidence::Effort;
use super::figures::{RunFigures, Spread};
use super::setting::Run;

/// A repeat lasts this long at the least: counters of the system go by hundredths of a second, and a shorter one would be
/// called disturbed for nothing.
const WINDOW: Duration = Duration::from_millis(400);

/// Of a box that is never calm, so many times the repeats are tried.
const PATIENCE: u32 = 3;

/// One repeat.
#[derive(Debug, Clone, Default)]
struct Repeat {
    conversations: Vec<Rehearsed>,
    /// What all conversations got together, of each rehearsal, thousandths of a token per second.
    together_milli: Vec<u64>,
    disturbed_by: Vec<String>,
}

impl Repeat {
    fn together(&self) -> u64 {
        Spread::of_speeds(&self.together_milli).p50
    }
}

/// Measures a run with a model that was loaded for its threads.
pub(crate) fn measure(model: &Arc<Model>, run: &Run, effort: &Effort) -> Result<RunFigures> {
    let rehearsal = Rehearsal {
        slots: run.slots,
        kv_type: run.kv.of_engine(),
        prompt_tokens: effort.prompt_tokens,
        answer_tokens: effort.answer_tokens,
        prefill_chunk: u32::try_from(PREFILL_CHUNK_TOKENS).unwrap_or(u32::MAX),
    };
    let mut stage = Stage::new(Arc::clone(model), rehearsal);
    let measuring = || format!("{run} cannot be measured");
    // Once before it counts: buffers become real memory, and clocks go up.
    stage.rehearse().with_context(measuring)?;
    let mut repeats = Vec::new();
    let is_calm = |repeat: &&Repeat| repeat.disturbed_by.is_empty();
    let wanted = effort.repeats.max(1);
    while repeats.iter().filter(is_calm).count() < wanted as usize && repeats.len() < (wanted * PATIENCE) as usize {
        repeats.push(repeat(&mut stage, run.threads).with_context(measuring)?);
    }
    Ok(figures(run, repeats, wanted as usize))
}

fn repeat(stage: &mut Stage, threads: u32) -> Result<Repeat> {
    let (watching, began) = (Watching::begin(), Instant::now());
    let mut repeat = Repeat::default();
    while began.elapsed() < WINDOW {
        let all = stage.rehearse()?;
        repeat.together_milli.push(milli(all.iter().map(|one| one.tokens_per_second).sum()));
        repeat.conversations.extend(all);
    }
    repeat.disturbed_by = watching.end(threads);
    Ok(repeat)
}

/// The figures of the calm repeats; of a box that was never calm for long enough, of those that came nearest: others only ever
/// slow a run.
fn figures(run: &Run, mut repeats: Vec<Repeat>, wanted: usize) -> RunFigures {
    let tried = repeats.len();
    repeats.sort_by_key(|repeat| (!repeat.disturbed_by.is_empty(), std::cmp::Reverse(repeat.together())));
    repeats.truncate(wanted);
    let mut disturbed_by: Vec<String> = Vec::new();
    for cause in repeats.iter().flat_map(|repeat| &repeat.disturbed_by) {
        if !disturbed_by.contains(cause) && disturbed_by.len() < 4 {
            disturbed_by.push(cause.clone());
        }
    }
    let conversations = || repeats.iter().flat_map(|repeat| &repeat.conversations);
    let speeds: Vec<u64> = conversations().map(|one| milli(one.tokens_per_second)).collect();
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let times: Vec<u64> = conversations().map(|one| micros(one.first_token)).collect();
    let together: Vec<u64> = repeats.iter().flat_map(|repeat| repeat.together_milli.iter().copied()).collect();
    RunFigures {
        run: run.clone(),
        tokens_per_second_milli: Spread::of_speeds(&speeds),
        together_milli: Spread::of_speeds(&together).p50,
        first_token_us: Spread::of_times(&times),
        repeats: u32::try_from(repeats.len()).unwrap_or(u32::MAX),
        dropped: u32::try_from(tried - repeats.len()).unwrap_or(u32::MAX),
        disturbed_by,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "speeds are neither negative nor that large"
)]
fn milli(tokens_per_second: f64) -> u64 {
    (tokens_per_second * 1_000.0).round() as u64
}

/// How long a run will take if a conversation decodes so fast, before anything of it was measured.
pub(crate) fn expected(run: &Run, effort: &Effort, tokens_per_second_milli: u64) -> Duration {
    /// A prompt is read this many times as fast as an answer is given.
    const READING: u64 = 8;
    let decoded = u64::from(effort.answer_tokens) + u64::from(effort.prompt_tokens) * u64::from(run.slots) / READING;
    let one = Duration::from_millis(decoded.saturating_mul(1_000_000) / tokens_per_second_milli.max(1));
    one + effort.repeats.max(1) * one.max(WINDOW)
}

#[cfg(test)]
mod tests {
    use super::super::setting::Kv;
    use super::*;

    fn of(speed: u64, cause: Option<&str>) -> Repeat {
        let first_token = Duration::from_millis(1_000 / speed);
        Repeat {
            conversations: vec![Rehearsed { first_token, tokens_per_second: speed as f64 }],
            together_milli: vec![speed * 1_000],
            disturbed_by: cause.map(str::to_owned).into_iter().collect(),
        }
    }

    fn run() -> Run {
        Run { variant: "Q8_0".into(), kv: Kv::F16, slots: 1, threads: 1 }
    }

    #[test]
    fn disturbed_repeats_are_dropped_while_there_are_calm_ones() {
        let found = figures(&run(), vec![of(90, Some("heat")), of(50, None), of(52, None), of(51, None)], 3);
        assert_eq!((found.repeats, found.dropped, found.disturbed_by.len()), (3, 1, 0));
        assert_eq!(found.tokens_per_second_milli, Spread { p50: 51_000, p95: 50_000 });
        assert_eq!(found.first_token_us, Spread { p50: 19_000, p95: 20_000 });
    }

    #[test]
    fn a_box_that_is_never_calm_is_measured_and_says_so() {
        let found = figures(&run(), vec![of(30, Some("heat")), of(50, Some("others")), of(40, Some("heat"))], 2);
        assert_eq!((found.repeats, found.dropped), (2, 1));
        assert_eq!(found.disturbed_by, ["others", "heat"], "the slowest one does not count");
    }

    #[test]
    fn a_slow_run_takes_longer_than_a_fast_one_and_none_less_than_its_windows() {
        let effort = super::super::evidence::tests::evidence(&[]).effort;
        let of_speed = |milli: u64| expected(&run(), &effort, milli);
        assert!(of_speed(1_000) > of_speed(10_000));
        assert!(of_speed(u64::MAX) >= 3 * WINDOW);
        assert!(of_speed(0) > Duration::from_secs(3_600));
    }
}
