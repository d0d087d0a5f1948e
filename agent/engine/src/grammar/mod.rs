//! Structured output: what an answer has to be, checked token by token while it is chosen.
//!
//! A [`Vocabulary`] is made once for a model and shared; from it a [`Shape`] becomes the [`Grammar`] of one request. A shape
//! that is not understood in full is refused with the place and the way out: nothing is enforced by halves. Which keywords
//! of JSON Schema are understood is told in `KEYWORDS.md` beside this file, which a test compares with what is so.

mod constraint;
mod error;
mod schema;
#[cfg(test)]
pub(crate) mod tests;
mod vocabulary;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use constraint::{Constraint, Next};
pub use error::GrammarError;
use llguidance::TokenParser;
pub(crate) use schema::{Document, Translator};
use serde_json::Value;
pub use vocabulary::Vocabulary;
pub(crate) use vocabulary::with_blanks;

/// What an answer has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Any JSON object.
    Object,
    /// JSON that a JSON Schema (2020-12, or what earlier drafts share with it) allows, properties in the schema's order.
    Schema(Value),
    /// A text that matches this regular expression from its beginning to its end, in the syntax of Rust's `regex`.
    Regex(String),
    /// A text of this grammar, in Lark's syntax.
    Lark(String),
}

/// A shape made ready for the tokens of one model. Clones share what is costly; each answer follows it by itself.
#[derive(Clone)]
pub struct Grammar {
    parser: Arc<Mutex<TokenParser>>,
    vocabulary: Arc<Vocabulary>,
    exact: bool,
}

impl Grammar {
    fn new(parser: TokenParser, vocabulary: Arc<Vocabulary>, exact: bool) -> Self {
        Self { parser: Arc::new(Mutex::new(parser)), vocabulary, exact }
    }

    /// The vocabulary that it was made from.
    #[must_use]
    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// Whether every byte of the answer is the grammar's, so that none may be tidied away.
    pub(crate) fn is_exact(&self) -> bool {
        self.exact
    }

    /// The grammar at its beginning, for one answer.
    pub(crate) fn constraint(&self) -> Constraint {
        let parser = self.parser.lock().unwrap_or_else(PoisonError::into_inner).deep_clone();
        Constraint::new(parser)
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grammar").field("vocabulary", &self.vocabulary).finish_non_exhaustive()
    }
}
