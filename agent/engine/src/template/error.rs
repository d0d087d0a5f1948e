//! Why a chat template could not be used.

/// Why a chat template could not be compiled or did not take a conversation.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The model file has no template.
    #[error("the model file has no chat template (`tokenizer.chat_template`); use a chat model")]
    Missing,
    /// The template's source is wrong.
    #[error("the template does not compile: {0}")]
    Compile(Box<minijinja::Error>),
    /// The template refused the conversation, in its own words where it has some.
    #[error("the template refuses this conversation: {0}")]
    Refused(String),
    /// The template failed.
    #[error("the template failed: {0}")]
    Render(Box<minijinja::Error>),
    /// The messages cannot be handed over.
    #[error("the messages cannot be handed to the template: {0}")]
    Input(String),
    /// The template ran for too long.
    #[error("the template used up its fuel; it loops or the conversation is absurdly long")]
    Fuel,
    /// Too many bytes.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// The limit, bytes.
        limit: usize,
    },
}

impl TemplateError {
    pub(super) fn compile(error: minijinja::Error) -> Self {
        Self::Compile(Box::new(error))
    }

    pub(super) fn input(error: impl std::fmt::Display) -> Self {
        Self::Input(error.to_string())
    }

    pub(super) fn render(error: minijinja::Error) -> Self {
        match error.detail().and_then(|detail| detail.strip_prefix(super::functions::REFUSED)) {
            Some(words) => Self::Refused(words.to_owned()),
            None => Self::Render(Box::new(error)),
        }
    }
}
