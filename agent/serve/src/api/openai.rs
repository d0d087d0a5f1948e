//! The OpenAI API, as its official clients speak it.

pub(crate) mod chat;
pub(crate) mod models;
