//! Why a model could not be loaded or a pass could not be computed.

use crate::gguf::GgufError;
use crate::template::TemplateError;
use crate::tokenizer::TokenizerError;

/// Why a model file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not a sound GGUF.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The tokenizer cannot be built.
    #[error("cannot build the model's tokenizer: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// The chat template does not compile.
    #[error("cannot compile the model's chat template: {0}")]
    Template(#[from] TemplateError),
    /// A family that this engine does not run.
    #[error("architecture `{architecture}` is not run by this engine; it runs {known}")]
    Architecture {
        /// `general.architecture` of the file.
        architecture: String,
        /// What it may be.
        known: String,
    },
    /// An embedder was loaded to generate.
    #[error(
        "`{architecture}` is a sentence embedder: it turns texts into vectors and generates none; load it as an embedder"
    )]
    Embedder {
        /// `general.architecture` of the file.
        architecture: String,
    },
    /// A model that generates was loaded to embed.
    #[error(
        "`{architecture}` generates text and is no sentence embedder; load it as a model, or embed with a `bert` file"
    )]
    Decoder {
        /// `general.architecture` of the file.
        architecture: String,
    },
    /// A figure that the graph needs is not in the metadata.
    #[error("metadata key `{key}` is missing or no number; convert the model again")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A figure is outside of what the engine can compute rightly.
    #[error("metadata key `{key}` is {value}, which this engine cannot serve")]
    BadFigure {
        /// The key.
        key: String,
        /// Its value, with the reason where there is one.
        value: String,
    },
    /// A tensor that the graph needs is not in the file.
    #[error("tensor `{tensor}` is missing; the file is incomplete or of a different family than it says")]
    MissingTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor in the file has no place in the graph.
    #[error("tensor `{tensor}` has no place in this family's graph; serving without it would give wrong answers")]
    UnknownTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor's shape disagrees with the metadata.
    #[error("tensor `{tensor}` has shape {got:?}, the metadata calls for {expected:?}")]
    TensorShape {
        /// The tensor.
        tensor: String,
        /// What the metadata calls for.
        expected: Vec<u64>,
        /// What the file has.
        got: Vec<u64>,
    },
    /// A norm is quantised.
    #[error("vector `{tensor}` is stored as {format}; vectors must be F32, F16 or BF16")]
    VectorFormat {
        /// The tensor.
        tensor: String,
        /// Its format.
        format: &'static str,
    },
    /// A rotary speed would be divided by nothing sensible.
    #[error("tensor `{tensor}` divides a rotary speed by {divisor}; convert the model again")]
    BadDivisor {
        /// The tensor.
        tensor: String,
        /// What it has.
        divisor: f32,
    },
    /// More tokens than rows.
    #[error("the tokenizer has {tokens} tokens but the embedding only {rows} rows")]
    VocabularyMismatch {
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// A tensor's one scale is no number.
    #[error("tensor `{tensor}` is multiplied by {scale}; the file is damaged, fetch it again")]
    Scale {
        /// The tensor.
        tensor: String,
        /// Its scale.
        scale: f32,
    },
    /// The processor that was asked for is not there.
    #[error("cannot compute on `{backend}`: {reason}")]
    Backend {
        /// What was asked for.
        backend: &'static str,
        /// Why not, and the way out.
        reason: String,
    },
    /// A tensor does not get onto the graphics processor.
    #[error("cannot put tensor `{tensor}` on the graphics processor: {source}; choose a smaller variant or `cpu`")]
    Upload {
        /// The tensor.
        tensor: String,
        /// What the driver said.
        source: candle_core::Error,
    },
    /// No memory for a matrix.
    #[error("no memory for `{tensor}`: {source}; free some, or choose a smaller variant")]
    Memory {
        /// Its name.
        tensor: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread pool could not be started.
    #[error("cannot start the engine's threads: {source}; lower `threads` or raise the process limit")]
    Threads {
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why a pass could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The session is full.
    #[error("{needed} tokens do not fit into a context of {capacity}")]
    ContextFull {
        /// Tokens after the pass.
        needed: usize,
        /// Tokens that fit.
        capacity: usize,
    },
    /// A token id that the model does not have.
    #[error("token {token} is not in the vocabulary of {vocabulary}")]
    UnknownToken {
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// Logits were asked for a position that was not read.
    #[error("position {position} lies outside the {tokens} tokens given")]
    NoSuchPosition {
        /// The position.
        position: usize,
        /// Tokens given.
        tokens: usize,
    },
    /// The kernels failed.
    #[error("the computation failed: {0}")]
    Kernel(candle_core::Error),
}
