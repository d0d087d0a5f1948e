//! What can be asked of a model.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What to answer, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// The model's name.
    pub model: String,
    /// What comes before the answer.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The form that the answer must have.
    pub shape: Shape,
    /// The answer ends before any of these; none is empty.
    pub stop: Vec<String>,
    /// The most tokens to generate, within the permit; 0 only together with `prompt_scores`.
    pub max_tokens: u32,
    /// Log-probabilities of each token, with this many alternatives.
    pub scores: Option<u8>,
    /// Log-probabilities of the prompt's tokens as well.
    pub prompt_scores: bool,
    /// How long the model stays in memory after the answer; the agent's default if not said.
    pub keep_alive: Option<KeepAlive>,
    /// For the worker's log; the same as in the response header and the audit record.
    pub request_id: String,
}

/// What comes before the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A conversation, put to the model by its own template.
    Chat(Chat),
    /// A text to be continued, as it is; nothing in it is a special token.
    Text(String),
    /// Tokens to be continued.
    Tokens(Vec<u32>),
}

impl Prompt {
    /// Whether the model is told of tools that it could call.
    #[must_use]
    pub fn offers_tools(&self) -> bool {
        matches!(self, Self::Chat(chat) if !chat.tools.is_empty())
    }
}

/// A conversation and what the model may do in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// The conversation so far; at least one message.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, must or must not.
    pub tool_choice: ToolChoice,
    /// Whether it may call several at once.
    pub parallel_calls: bool,
    /// Whether a model that can think first does; the model's own habit if not said.
    pub thinking: Option<bool>,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What; empty where there are only calls.
    pub content: String,
    /// What an assistant thought before.
    pub reasoning: Option<String>,
    /// What an assistant called.
    pub calls: Vec<ToolCall>,
    /// Which call a tool's message answers.
    pub call_id: Option<String>,
    /// The speaker's name, or the tool's.
    pub name: Option<String>,
}

impl Message {
    /// A message that is only text.
    #[must_use]
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), ..Self::default() }
    }
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Whoever set up the conversation.
    System,
    /// The person who asks.
    #[default]
    User,
    /// The model.
    Assistant,
    /// A tool, answering a call.
    Tool,
}

impl Role {
    /// The word in chat templates.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// Something that a model may call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for, for the model; empty if not said.
    pub description: String,
    /// JSON Schema of its arguments; an object schema.
    pub parameters: Value,
}

/// A call that a model made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolCall {
    /// Names the call within the conversation.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as JSON text.
    pub arguments: String,
}

/// Whether tools are called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// Never.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// The form that an answer must have; held token by token, so no answer can break it.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Shape {
    /// Any text.
    #[default]
    Free,
    /// Any JSON object.
    Object,
    /// JSON that obeys this JSON Schema.
    Schema(Value),
    /// A text that matches this regular expression as a whole.
    Regex(String),
    /// A text of this Lark grammar.
    Lark(String),
}

/// How tokens are chosen. What the caller left out is `None`: the backend knows what suits the model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0 always takes the likeliest token; up to 2.
    pub temperature: Option<f32>,
    /// Only the likeliest tokens that together have this probability; above 0, up to 1.
    pub top_p: Option<f32>,
    /// Only this many of the likeliest tokens; 0 for all.
    pub top_k: Option<u32>,
    /// Only tokens at least this likely relative to the likeliest; 0 to 1.
    pub min_p: Option<f32>,
    /// Above 1 makes tokens that were there before less likely; above 0, up to 2.
    pub repetition_penalty: Option<f32>,
    /// How many tokens back the repetition penalty looks.
    pub repetition_window: Option<u32>,
    /// Taken from the logits of tokens that the answer has; −2 to 2.
    pub presence_penalty: Option<f32>,
    /// Taken from the logits of tokens as often as the answer has them; −2 to 2.
    pub frequency_penalty: Option<f32>,
    /// Added to the logits of these tokens; −100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed gives the same answer.
    pub seed: Option<u64>,
}

/// How long a model stays in memory after its last answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// So long; zero unloads at once.
    For(Duration),
    /// Until somebody unloads it, or its room is needed.
    Forever,
}

/// Texts to turn into vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedRequest {
    /// The model's name.
    pub model: String,
    /// The texts, at least one.
    pub inputs: Vec<EmbedInput>,
    /// Whether a text that is too long is cut; otherwise it is refused.
    pub truncate: bool,
    /// Only so many numbers of each vector, made a unit vector again; all if not said.
    pub dimensions: Option<u32>,
    /// How long the model stays in memory afterwards; the agent's default if not said.
    pub keep_alive: Option<KeepAlive>,
    /// As in [`GenerateRequest::request_id`].
    pub request_id: String,
}

/// One text to turn into a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbedInput {
    /// As characters.
    Text(String),
    /// As tokens of the model.
    Tokens(Vec<u32>),
}

/// Vectors, one for each text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// In the order of the texts; unit vectors.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts together.
    pub prompt_tokens: u32,
    /// What made them, for the record.
    pub served: super::Served,
    /// Time that loading the model took; zero if it was there.
    pub load_time: Duration,
}
