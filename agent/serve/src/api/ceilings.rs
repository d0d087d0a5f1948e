//! Ceilings on parts of a request that every family keeps and the description tells; the body's size bounds the rest.

/// Messages of a conversation, or items of an input.
pub(crate) const MESSAGES: usize = 4096;

/// Tools that a model is told of.
pub(crate) const TOOLS: usize = 128;

/// Texts that end an answer.
pub(crate) const STOPS: usize = 16;

/// Bytes of one of them.
pub(crate) const STOP_BYTES: usize = 256;
