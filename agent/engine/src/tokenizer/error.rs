//! Why a tokenizer could not be built.

/// Why a tokenizer could not be built from a file.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A key is not there or holds the wrong type.
    #[error("metadata key `{key}` is missing or of the wrong type")]
    Key {
        /// The key.
        key: &'static str,
    },
    /// A kind of tokenizer that is not supported.
    #[error("`{key}` is `{value}`, which is not supported; supported: {known}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        known: &'static str,
    },
    /// Two keys contradict each other.
    #[error("`{key}` does not fit the vocabulary: {why}")]
    Inconsistent {
        /// The key.
        key: &'static str,
        /// What does not fit.
        why: String,
    },
    /// More than any real vocabulary has.
    #[error("{what} is too large: {value}, of which at most {limit} are read")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        value: usize,
        /// How much may be.
        limit: usize,
    },
    /// A file of a Hugging Face directory cannot be read.
    #[error("`{file}` is not what it should be: {source}")]
    Json {
        /// The file's name.
        file: &'static str,
        /// What is wrong with it, and where.
        source: serde_json::Error,
    },
    /// The vocabulary or the rules cannot be compiled.
    #[error("cannot build it: {0}")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>),
}
