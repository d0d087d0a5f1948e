//! What an engine that is loaded does with less, for the time being, and gives back of what it holds.

use super::Engine;

/// Limits below the options of an engine. What runs goes on as it began; what comes from now on keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that kept beginnings may have by themselves.
    pub kept_bytes: u64,
    /// Sessions at once; at least one.
    pub slots: u32,
    /// Tokens that prompt and answer of a new session may have together; at least one.
    pub context_tokens: u32,
}

impl Default for Limits {
    /// None but the options.
    fn default() -> Self {
        Self { kept_bytes: u64::MAX, slots: u32::MAX, context_tokens: u32::MAX }
    }
}

impl Engine {
    /// Puts limits in force, in the place of those before. Kept beginnings beyond them are gone when this returns.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        if self.prefixes.alone_bytes() > limits.kept_bytes {
            self.prefixes.shrink(limits.kept_bytes);
        }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Bytes that kept beginnings have by themselves, which shrinking would free.
    #[must_use]
    pub fn kept_alone_bytes(&self) -> u64 {
        self.prefixes.alone_bytes()
    }

    pub(super) fn slots(&self) -> u32 {
        self.options.slots.min(self.limits.slots).max(1)
    }

    pub(super) fn context_tokens(&self) -> u32 {
        self.options.context_tokens.min(self.limits.context_tokens).max(1)
    }

    /// Bytes that kept beginnings may have beside so many of sessions.
    pub(super) fn kept_bytes(&self, held: u64) -> u64 {
        self.page_bytes.saturating_sub(held).min(self.limits.kept_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::batch::{EngineOptions, EventKind, Refusal};
    use crate::generate::{FinishReason, Request};
    use crate::model::{LoadOptions, Model};

    fn engine() -> Engine {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden/qwen3.gguf");
        let model = Model::load(path, &LoadOptions::threads(1)).expect("the golden model loads");
        Engine::new(model, EngineOptions { context_tokens: 96, slots: 3, prefill_chunk: 64, speculate: false })
    }

    fn request(tokens: u32, limit: u32) -> Request {
        Request { limit: Some(limit), ..Request::new((0..tokens).map(|token| token % 256).collect()) }
    }

    fn finish(engine: &mut Engine) -> Vec<FinishReason> {
        let mut ends = Vec::new();
        while !engine.is_idle() {
            ends.extend(engine.step().into_iter().filter_map(|event| match event.kind {
                EventKind::Finished(finished) => Some(finished.reason),
                _ => None,
            }));
        }
        ends
    }

    #[test]
    fn kept_beginnings_leave_at_once_and_none_are_kept_until_the_limit_is_gone() {
        let mut engine = engine();
        engine.submit(request(70, 2)).expect("taken");
        finish(&mut engine);
        assert!(engine.kept_alone_bytes() > 0, "the beginning is kept");
        engine.limit(Limits { kept_bytes: 0, ..Limits::default() });
        assert_eq!(engine.kept_alone_bytes(), 0);
        engine.submit(request(70, 2)).expect("taken");
        finish(&mut engine);
        assert_eq!(engine.kept_alone_bytes(), 0);
        engine.limit(Limits::default());
        engine.submit(request(70, 2)).expect("taken");
        finish(&mut engine);
        assert!(engine.kept_alone_bytes() > 0);
    }

    #[test]
    fn what_runs_goes_on_and_what_comes_finds_fewer_slots_and_a_shorter_context() {
        let mut engine = engine();
        for _ in 0..2 {
            engine.submit(request(60, 20)).expect("taken");
        }
        engine.step();
        engine.limit(Limits { slots: 1, context_tokens: 50, ..Limits::default() });
        assert_eq!(engine.submit(request(10, 5)), Err(Refusal::Busy { slots: 1 }));
        let too_long = Refusal::TooLong { tokens: 60, context_tokens: 50 };
        assert_eq!(engine.submit(request(60, 5)), Err(too_long), "what is too long is told even where nothing is free");
        let ends = finish(&mut engine);
        assert_eq!(ends.len(), 2);
        assert!(ends.iter().all(|end| matches!(end, FinishReason::Length | FinishReason::Stop)), "{ends:?}");
        engine.submit(request(10, 5)).expect("taken");
        assert_eq!(engine.submit(request(10, 5)), Err(Refusal::Busy { slots: 1 }));
        engine.limit(Limits::default());
        engine.submit(request(60, 5)).expect("taken");
        assert_eq!(finish(&mut engine).len(), 2);
    }

    #[test]
    fn a_limit_of_nothing_leaves_one_slot() {
        let mut engine = engine();
        engine.limit(Limits { kept_bytes: 0, slots: 0, context_tokens: 0 });
        assert_eq!((engine.slots(), engine.context_tokens()), (1, 1));
        assert_eq!(engine.limits().slots, 0);
    }
}
