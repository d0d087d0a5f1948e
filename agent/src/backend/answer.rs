//! An answer on its way from the model's thread to the server: text split into what is thought, said and called.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use outpost_engine::batch::EventKind;
use outpost_engine::dialect::{Piece, Reader};
use outpost_engine::generate::{
    Cancel, FinishReason as EngineFinish, Finished, Said as EngineSaid, TokenScore as Score,
};
use outpost_serve::{
    Alternative, Ending, FinishReason, Generation, GenerationEvent, Said, Served, Timings, TokenScore, Usage,
};
use tokio::sync::mpsc;

use crate::active::Loaded;
use crate::models::InUse;

/// An answer that the model's thread has taken.
pub(super) struct Begun {
    pub(super) loaded: Arc<Loaded>,
    pub(super) in_use: InUse,
    pub(super) events: mpsc::UnboundedReceiver<EventKind>,
    pub(super) cancel: Cancel,
    /// Splits a conversation's text; nothing for a text that is only continued.
    pub(super) reader: Option<Reader>,
    /// Whether the first token of the prompt is one that the caller did not write.
    pub(super) framed: bool,
}

impl Begun {
    /// The scores of what the caller wrote; the first token follows nothing.
    fn written(&self, mut scores: Vec<TokenScore>) -> Vec<TokenScore> {
        if self.framed && scores.len() > 1 {
            scores.remove(0);
            scores[0].logprob = None;
            scores[0].top.clear();
        }
        scores
    }

    /// Passes the answer on from now on.
    pub(super) fn into_generation(self, served: Served) -> Generation {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(self.pass_on(sender));
        Generation::new(receiver, served, Arc::new(AtomicBool::new(false)))
    }

    /// Carries one answer to the server; keeps the model loaded until the answer is over.
    async fn pass_on(mut self, sender: mpsc::UnboundedSender<GenerationEvent>) {
        let mut split = Split { reader: self.reader.take(), calls: 0, thought: Share::default() };
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = sender.closed() => {
                    self.cancel.cancel();
                    break;
                }
            };
            let (events, last) = match event {
                Some(EventKind::Prompt(tokens)) => (vec![said(Said::Prompt(self.written(scores(tokens))))], false),
                Some(EventKind::Text(part)) => (split.push(part), false),
                Some(EventKind::Finished(finished)) => (split.finish(&finished, self.in_use.load_time), true),
                None if self.loaded.worker.is_stopped() => (vec![GenerationEvent::Displaced], true),
                None => (vec![GenerationEvent::Failed { detail: "the model's thread ended".into() }], true),
            };
            let gone = events.into_iter().any(|event| sender.send(event).is_err());
            if gone {
                self.cancel.cancel();
            }
            if last {
                break;
            }
        }
        // Freeing a model takes a while and joins its thread: not on a thread that serves others.
        let Self { loaded, in_use, .. } = self;
        tokio::task::spawn_blocking(move || drop((loaded, in_use)));
    }
}

/// Text on its way, split by the model's dialect.
struct Split {
    reader: Option<Reader>,
    calls: u32,
    thought: Share,
}

/// How much of an answer was thought: by bytes, since tokens are not split.
#[derive(Default)]
struct Share {
    thought: usize,
    all: usize,
}

impl Split {
    fn push(&mut self, part: EngineSaid) -> Vec<GenerationEvent> {
        let tokens = scores(part.tokens);
        self.thought.all += part.text.len();
        let Some(reader) = &mut self.reader else { return vec![said(Said::Text { text: part.text, tokens })] };
        let pieces = reader.push(&part.text);
        let mut events = self.said(pieces);
        self.attach(&mut events, tokens);
        events
    }

    fn said(&mut self, pieces: Vec<Piece>) -> Vec<GenerationEvent> {
        let mut events = Vec::with_capacity(pieces.len());
        for piece in pieces {
            events.push(said(match piece {
                Piece::Text(text) => Said::text(text),
                Piece::Reasoning(text) => {
                    self.thought.thought += text.len();
                    Said::Reasoning(text)
                }
                Piece::CallBegin { index, name } => {
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    self.calls = self.calls.max(index.saturating_add(1));
                    Said::Call { index, name }
                }
                Piece::CallArguments { index, text } => {
                    Said::Arguments { index: u32::try_from(index).unwrap_or(u32::MAX), text }
                }
            }));
        }
        events
    }

    /// Scores go with the text that came with them, or by themselves where that text is held back or was no text.
    fn attach(&self, events: &mut Vec<GenerationEvent>, scores: Vec<TokenScore>) {
        if scores.is_empty() {
            return;
        }
        let text = events.iter_mut().rev().find_map(|event| match event {
            GenerationEvent::Said(Said::Text { tokens, .. }) => Some(tokens),
            _ => None,
        });
        match text {
            Some(tokens) => tokens.extend(scores),
            None => events.push(said(Said::Text { text: String::new(), tokens: scores })),
        }
    }

    fn finish(&mut self, finished: &Finished, load: Duration) -> Vec<GenerationEvent> {
        let mut events = match self.reader.take() {
            Some(reader) => {
                let pieces = reader.finish();
                self.said(pieces)
            }
            None => Vec::new(),
        };
        let reason = match &finished.reason {
            EngineFinish::Error(detail) => {
                events.push(GenerationEvent::Failed { detail: detail.clone() });
                return events;
            }
            EngineFinish::Cancelled => {
                events.push(GenerationEvent::Failed { detail: "cancelled".into() });
                return events;
            }
            EngineFinish::Length => FinishReason::Length,
            EngineFinish::Stop if self.calls > 0 => FinishReason::ToolCalls,
            EngineFinish::Stop => finished.stop_text.clone().map_or(FinishReason::Stop, FinishReason::StopText),
        };
        events.push(GenerationEvent::Finished(Ending {
            reason,
            usage: self.usage(finished),
            timings: timings(finished, load),
        }));
        events
    }

    fn usage(&self, finished: &Finished) -> Usage {
        let Share { thought, all } = self.thought;
        let generated = u64::from(finished.generated_tokens);
        let reasoning = (generated * thought as u64).checked_div(all as u64).unwrap_or(0);
        Usage {
            prompt_tokens: finished.prompt_tokens,
            cached_tokens: finished.cached_tokens,
            generated_tokens: finished.generated_tokens,
            reasoning_tokens: u32::try_from(reasoning).unwrap_or(u32::MAX),
        }
    }
}

fn timings(finished: &Finished, load: Duration) -> Timings {
    let prompt = finished.time_to_first_token.unwrap_or(finished.total_time);
    Timings { load, prompt, generation: finished.total_time.saturating_sub(prompt) }
}

fn said(said: Said) -> GenerationEvent {
    GenerationEvent::Said(said)
}

fn scores(tokens: Vec<Score>) -> Vec<TokenScore> {
    let score = |score: Score| TokenScore {
        token: score.token,
        bytes: score.bytes,
        logprob: score.logprob,
        top: score.top.into_iter().map(|(token, bytes, logprob)| Alternative { token, bytes, logprob }).collect(),
    };
    tokens.into_iter().map(score).collect()
}
