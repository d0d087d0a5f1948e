//! How fast each model is here, learned from the answers that it gave.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Timings, Usage};

/// Weight of the newest answer in what is learned.
const NEWEST: f64 = 0.2;

/// Bytes of a token of text, where no model has taught better.
const BYTES_PER_TOKEN: f64 = 4.0;

/// What a generated token weighs against one that is read.
const GENERATED: u64 = 4;

/// Models remembered; the number of models on a device is far below.
const MODELS: usize = 256;

/// What a request is expected to take, or took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Work {
    /// Tokens read, without those that were there already.
    pub(crate) read: u64,
    /// Tokens generated.
    pub(crate) generated: u64,
}

impl Work {
    /// As fairness counts it.
    pub(crate) fn cost(self) -> u64 {
        self.read.saturating_add(self.generated.saturating_mul(GENERATED)).max(1)
    }

    /// What an answer took.
    pub(crate) fn of(usage: &Usage) -> Self {
        let read = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        Self { read: read.into(), generated: usage.generated_tokens.into() }
    }
}

/// What is known of the models.
#[derive(Debug, Default)]
pub(crate) struct Speeds(HashMap<Arc<str>, Speed>);

/// Running means; `None` until something was measured.
#[derive(Debug, Clone, Copy, Default)]
struct Speed {
    read_ms: Option<f64>,
    generate_ms: Option<f64>,
    generated: Option<f64>,
    bytes_per_token: Option<f64>,
}

impl Speeds {
    /// Learns from an answer to a prompt of so many bytes.
    pub(crate) fn learn(&mut self, model: &Arc<str>, prompt_bytes: usize, usage: &Usage, timings: &Timings) {
        let work = Work::of(usage);
        // Nothing was worked at, perhaps for a name that is no model's.
        if work == Work::default() || !self.0.contains_key(model) && self.0.len() >= MODELS {
            return;
        }
        let speed = self.0.entry(Arc::clone(model)).or_default();
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
        if work.read > 0 {
            mix(&mut speed.read_ms, milliseconds(timings.prompt) / work.read as f64);
        }
        if work.generated > 0 {
            mix(&mut speed.generate_ms, milliseconds(timings.generation) / work.generated as f64);
        }
        mix(&mut speed.generated, work.generated as f64);
        if usage.prompt_tokens > 0 && prompt_bytes > 0 {
            mix(&mut speed.bytes_per_token, prompt_bytes as f64 / f64::from(usage.prompt_tokens));
        }
    }

    /// Tokens of a prompt of so many bytes.
    pub(crate) fn prompt_tokens(&self, model: &str, bytes: usize) -> u64 {
        let each = self.0.get(model).and_then(|speed| speed.bytes_per_token).unwrap_or(BYTES_PER_TOKEN);
        (bytes as f64 / each.max(0.5)).ceil() as u64
    }

    /// What a request will take: an answer is rarely as long as it may be.
    pub(crate) fn expect(&self, model: &str, prompt_tokens: u64, max_tokens: u32) -> Work {
        let usual = self.0.get(model).and_then(|speed| speed.generated);
        let generated = usual.unwrap_or(f64::MAX).clamp(1.0, f64::from(max_tokens.max(1)));
        Work { read: prompt_tokens, generated: (generated.ceil() as u64).min(max_tokens.into()) }
    }

    /// How long that takes; `None` while nothing is known of the model.
    pub(crate) fn takes_ms(&self, model: &str, work: Work) -> Option<u64> {
        // Loading and counting: what is foreseen of the others does not wait until that is known too.
        if work == Work::default() {
            return Some(0);
        }
        let speed = self.0.get(model)?;
        let read = work.read as f64 * speed.read_ms?;
        let generate = if work.generated == 0 { 0.0 } else { work.generated as f64 * speed.generate_ms? };
        Some((read + generate).ceil() as u64)
    }
}

fn mix(mean: &mut Option<f64>, newest: f64) {
    if newest.is_finite() {
        *mean = Some(mean.map_or(newest, |mean| mean + NEWEST * (newest - mean)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn speeds_are_learned_and_foretell_what_an_answer_takes() {
        let (mut speeds, model) = (Speeds::default(), Arc::from("demo"));
        assert_eq!(speeds.takes_ms("demo", Work { read: 10, generated: 10 }), None);
        assert_eq!(speeds.expect("demo", 10, 64), Work { read: 10, generated: 64 });
        let usage = Usage { prompt_tokens: 100, cached_tokens: 50, generated_tokens: 20, reasoning_tokens: 0 };
        let timings = Timings {
            prompt: Duration::from_millis(100),
            generation: Duration::from_millis(400),
            ..Timings::default()
        };
        speeds.learn(&model, 300, &usage, &timings);
        assert_eq!(speeds.takes_ms("demo", Work { read: 10, generated: 10 }), Some(10 * 2 + 10 * 20));
        assert_eq!(speeds.expect("demo", 10, 64), Work { read: 10, generated: 20 });
        assert_eq!(speeds.expect("demo", 10, 8).generated, 8, "never more than it may");
        assert_eq!(speeds.prompt_tokens("demo", 300), 100);
        assert_eq!(Work::of(&usage).cost(), 50 + 4 * 20);
        speeds.learn(&Arc::from("nothing"), 0, &Usage::default(), &Timings::default());
        assert!(speeds.0.len() == 1 && speeds.takes_ms("nothing", Work::default()) == Some(0));
    }
}
