//! A conversation as a template sees it: messages, and what is told beside them.

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Deserialize as Derive, Serialize};

use super::json::{Json, Object};

/// One message of a conversation: an object that has a `role`. Its `content` is a text, a list of parts, null or missing,
/// as in the OpenAI API; whatever else it says (`name`, `tool_calls`, `reasoning_content` …) reaches the template too, all
/// in the caller's order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Message(Object);

impl Message {
    /// A message that has a role and a text.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let mut fields = Object::default();
        fields.set("role", role.into());
        fields.set("content", content.into());
        Self(fields)
    }

    /// The same message with a further field, or with another value of one it has.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.0.set(name, value);
        self
    }

    /// All that the message says.
    #[must_use]
    pub fn fields(&self) -> &Object {
        &self.0
    }
}

/// Why a JSON value is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoMessage {
    /// It is a list, a text or the like.
    #[error("a message has to be an object with a `role` and a `content`")]
    NoObject,
    /// It does not say who speaks.
    #[error("a message needs a `role`, a text as in `user`")]
    NoRole,
    /// What is said has a shape that the OpenAI API does not know.
    #[error("a message's `content` has to be a text, a list of parts or null")]
    Content,
}

impl TryFrom<Json> for Message {
    type Error = NoMessage;

    fn try_from(json: Json) -> Result<Self, NoMessage> {
        let Json::Object(fields) = json else { return Err(NoMessage::NoObject) };
        if fields.get("role").and_then(Json::as_text).is_none() {
            return Err(NoMessage::NoRole);
        }
        match fields.get("content") {
            None | Some(Json::Null | Json::Text(_)) => Ok(Self(fields)),
            Some(Json::List(parts)) if parts.iter().all(|part| matches!(part, Json::Object(_))) => Ok(Self(fields)),
            _ => Err(NoMessage::Content),
        }
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Json::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// What a template is told beside the messages.
#[derive(Debug, Clone, PartialEq, Serialize, Derive)]
pub struct RenderOptions {
    /// Whether to open the assistant's turn at the end.
    pub add_generation_prompt: bool,
    /// Tools that the model may call, as the OpenAI API writes them.
    pub tools: Option<Json>,
    /// Further variables, as in `enable_thinking`.
    pub variables: Object,
    /// The time for templates that print a date, seconds since 1970-01-01 UTC. Without it such a template prints the
    /// first of January 1970: the engine has no clock, so that the same input gives the same tokens.
    pub now_s: i64,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self { add_generation_prompt: true, tools: None, variables: Object::default(), now_s: 0 }
    }
}
