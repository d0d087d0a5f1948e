//! An answer on its way: events, token counts, and the switch that ends it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

/// An answer being generated. Dropping it cancels.
pub struct Generation {
    events: mpsc::UnboundedReceiver<GenerationEvent>,
    served: Served,
    cancel: Arc<AtomicBool>,
}

impl Generation {
    /// An answer whose events come through `events`; `cancel` becomes true when nobody wants it any more.
    ///
    /// The channel has no bound so that one client who reads slowly cannot hold up the worker that serves all; what
    /// waits in it is bounded by the request's token limit.
    #[must_use]
    pub fn new(events: mpsc::UnboundedReceiver<GenerationEvent>, served: Served, cancel: Arc<AtomicBool>) -> Self {
        Self { events, served, cancel }
    }

    /// What answers.
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// What happened next; `None` if the worker is gone.
    pub async fn next(&mut self) -> Option<GenerationEvent> {
        self.events.recv().await
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Generation").field("served", &self.served).finish_non_exhaustive()
    }
}

/// What answers a request, for the record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Served {
    /// The model's name.
    pub model: String,
    /// Its variant, as in `Q4_0`.
    pub variant: String,
    /// SHA-256 of its file, 64 hexadecimal digits.
    pub file_sha256: String,
}

/// Something that a generation gives.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerationEvent {
    /// More of the answer.
    Said(Said),
    /// The end; nothing follows.
    Finished(Ending),
    /// It went wrong; nothing follows.
    Failed {
        /// For the log and the record, not for the caller.
        detail: String,
    },
    /// It broke off because its model had to leave for another; nothing follows.
    Displaced,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// The prompt's tokens with their scores, where they were asked for; before anything else.
    Prompt(Vec<TokenScore>),
    /// More of the answer: whole characters. The tokens that it came from, where scores were asked for; then the text
    /// may be empty.
    Text {
        /// More of the answer.
        text: String,
        /// Its tokens.
        tokens: Vec<TokenScore>,
    },
    /// More of what the model thinks before it answers.
    Reasoning(String),
    /// The model begins a call; its arguments follow.
    Call {
        /// Counts the calls of this answer from 0.
        index: u32,
        /// The tool.
        name: String,
    },
    /// More of a call's arguments, as JSON text.
    Arguments {
        /// Which call.
        index: u32,
        /// More of the text.
        text: String,
    },
}

impl Said {
    /// Text without scores.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), tokens: Vec::new() }
    }
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
    /// How long what took.
    pub timings: Timings,
}

/// A token and how likely the model found it.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// Its number in the vocabulary.
    pub token: u32,
    /// What it writes; not always whole characters.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability; `None` for the first token of a prompt, which nothing precedes.
    pub logprob: Option<f32>,
    /// The likeliest tokens at this place, the likelier first.
    pub top: Vec<Alternative>,
}

/// Another token that could have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// Its number in the vocabulary.
    pub token: u32,
    /// What it writes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Those of them that were there already, from an earlier prompt of the same caller.
    pub cached_tokens: u32,
    /// Tokens generated.
    pub generated_tokens: u32,
    /// Those of them that were thought, not said.
    pub reasoning_tokens: u32,
}

/// How long the parts of an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Loading the model; zero if it was there.
    pub load: Duration,
    /// From taking the request to the first token.
    pub prompt: Duration,
    /// From the first token to the last.
    pub generation: Duration,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model had said what it had to say.
    Stop,
    /// It was about to say this stop text.
    StopText(String),
    /// It called tools, and waits for what they say.
    ToolCalls,
    /// The token limit or the end of the context was reached.
    Length,
}

impl FinishReason {
    /// The word in the OpenAI API.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Stop | Self::StopText(_) => "stop",
            Self::ToolCalls => "tool_calls",
            Self::Length => "length",
        }
    }
}
