//! What an engine says to a request that it does not take.

use crate::generate::ALTERNATIVES;

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every slot is in use.
    #[error("all {slots} slots are in use; try again when an answer has ended")]
    Busy {
        /// Slots of this engine.
        slots: u32,
    },
    /// The prompt has no tokens.
    #[error("the prompt is empty")]
    Empty,
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {tokens} tokens and the context holds {context_tokens}; shorten the conversation")]
    TooLong {
        /// Tokens of the prompt.
        tokens: u64,
        /// Tokens that prompt and answer may have together.
        context_tokens: u32,
    },
    /// The prompt names a token that the model does not have.
    #[error("token {token} is not in the model's vocabulary")]
    UnknownToken {
        /// The token.
        token: u32,
    },
    /// A sampling setting is out of range.
    #[error("{0}")]
    Sampling(String),
    /// More alternatives than are told.
    #[error("`logprobs` asks for {asked} alternatives; at most {ALTERNATIVES} are told")]
    Alternatives {
        /// Alternatives asked for.
        asked: u8,
    },
    /// The grammar speaks another model's tokens.
    #[error("the grammar was made for another model; make it from the vocabulary of the model that is asked")]
    Grammar,
}
