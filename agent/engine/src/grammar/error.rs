//! Why a shape cannot be had.

/// Why a shape is not made into a grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// A place of a JSON Schema asks for what cannot be enforced, or is no schema.
    #[error("the schema at `{path}`: {why}")]
    Schema {
        /// Where, as a JSON pointer behind `#`.
        path: String,
        /// What is wrong, and the way out.
        why: String,
    },
    /// A schema whose places are each in order, but not together.
    #[error("the schema cannot be enforced: {why}")]
    Whole {
        /// What is wrong, and the way out.
        why: String,
    },
    /// A regular expression or a grammar that is none, or asks for what is not supported.
    #[error("the {what} cannot be enforced: {why}")]
    Text {
        /// Which of them.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A bound is exceeded.
    #[error("{what} is {value}, and the limit is {limit}; make it smaller")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How large it is.
        value: usize,
        /// How large it may be.
        limit: usize,
    },
    /// No grammar can be made from this model's tokens.
    #[error("no grammar can be made from this model's tokens: {0}")]
    Vocabulary(String),
    /// The thread that makes grammars could not be started.
    #[error("cannot start a thread to make the grammar: {0}")]
    Thread(String),
}
