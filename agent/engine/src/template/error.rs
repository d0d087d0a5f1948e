//! Why a chat template could not be used: plain data, since it may come from another process.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Why a chat template could not be compiled or did not take a conversation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TemplateError {
    /// The model file has no template.
    #[error("the model file has no chat template (`tokenizer.chat_template`); use a chat model")]
    Missing,
    /// The template's source is wrong.
    #[error("the template does not compile: {0}")]
    Compile(String),
    /// The template refused the conversation, in its own words where it has some.
    #[error("the template refuses this conversation: {0}")]
    Refused(String),
    /// The template failed.
    #[error("the template failed: {0}")]
    Render(String),
    /// The template ran for too long.
    #[error("the template used up its fuel; it loops or the conversation is absurdly long")]
    Fuel,
    /// Too many bytes.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// What is too long.
        what: Cow<'static, str>,
        /// The limit, bytes.
        limit: usize,
    },
}

impl TemplateError {
    pub(super) fn compile(error: minijinja::Error) -> Self {
        Self::Compile(error.to_string())
    }

    pub(super) fn render(error: &minijinja::Error) -> Self {
        match error.detail().and_then(|detail| detail.strip_prefix(super::functions::REFUSED)) {
            Some(words) => Self::Refused(words.to_owned()),
            None => Self::Render(error.to_string()),
        }
    }
}
