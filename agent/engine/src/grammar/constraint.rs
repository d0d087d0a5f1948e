//! A grammar at one place of one answer.

use std::fmt;
use std::panic::AssertUnwindSafe;

use llguidance::api::StopReason;
use llguidance::{TokenParser, panic_utils};

use super::vocabulary::first_line;

/// Follows one answer.
pub(crate) struct Constraint {
    parser: TokenParser,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Constraint").field("tokens", &self.parser.num_tokens()).finish_non_exhaustive()
    }
}

/// What may come next.
#[derive(Debug)]
pub(crate) enum Next {
    /// One of these tokens: a set of bits, 32 tokens to a word.
    Among(Vec<u32>),
    /// Nothing: the answer is complete.
    Nothing,
}

impl Constraint {
    pub(super) fn new(parser: TokenParser) -> Self {
        Self { parser }
    }

    /// Whether this token may come next.
    ///
    /// # Errors
    /// Says so when the grammar has become too costly to follow.
    pub(crate) fn allows(&mut self, token: u32) -> Result<bool, String> {
        let ends = self.parser.token_env.tok_trie().eos_tokens().contains(&token);
        let known = (token as usize) < self.parser.token_env.tok_trie().vocab_size();
        self.guarded(|parser| match ends {
            true => Ok(parser.is_accepting()),
            false => Ok(known && parser.validate_token(token)?),
        })
    }

    /// Finds all that may come next.
    ///
    /// # Errors
    /// Says so when the grammar has become too costly to follow, or no token of the model may follow.
    pub(crate) fn next(&mut self) -> Result<Next, String> {
        match self.guarded(TokenParser::compute_mask) {
            Ok(allowed) => Ok(Next::Among(allowed.as_slice().to_vec())),
            Err(_) if self.parser.stop_reason() == StopReason::NoExtensionBias => match self.parser.is_accepting() {
                true => Ok(Next::Nothing),
                false => Err("the grammar leads to a place where no token of the model may follow".to_owned()),
            },
            Err(reason) => Err(reason),
        }
    }

    /// Takes a token that may come; says whether the answer is complete with it and nothing may follow.
    ///
    /// # Errors
    /// Says so when the grammar has become too costly to follow.
    pub(crate) fn consume(&mut self, token: u32) -> Result<bool, String> {
        self.guarded(|parser| {
            parser.consume_token(token)?;
            parser.check_stop()
        })
    }

    fn guarded<T>(&mut self, act: impl FnOnce(&mut TokenParser) -> anyhow::Result<T>) -> Result<T, String> {
        let parser = &mut self.parser;
        panic_utils::catch_unwind(AssertUnwindSafe(|| act(parser))).map_err(|error| match parser.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex => {
                "the grammar has become too costly to follow; make it simpler".to_owned()
            }
            _ => format!("the grammar cannot be followed: {}", first_line(&error)),
        })
    }
}
