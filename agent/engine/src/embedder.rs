//! Text in, one vector out: sentence embedders of the BERT kind, read from GGUF.

mod encoder;
#[cfg(test)]
mod tests;

use std::path::Path;

use encoder::Encoder;

use crate::gguf::{Gguf, ModelInfo};
use crate::model::LoadError;
use crate::tokenizer::Tokenizer;

/// Tokens that are read in one pass before another is begun; a text is never cut in two.
const TOKENS_AT_ONCE: usize = 512;

/// An embedder ready to use: weights and tokenizer, shared and immutable.
#[derive(Debug)]
pub struct Embedder {
    info: ModelInfo,
    encoder: Encoder,
    tokenizer: Tokenizer,
    /// The token that begins every text, and the one that ends it.
    frame: [u32; 2],
    /// Tokens after which a text is cut, frame included; absent where a longer text is an error.
    cut_at: Option<usize>,
}

/// Why texts could not be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// A text is longer than the model can read.
    #[error(
        "text {text} has {tokens} tokens and the model reads {context_tokens}; split it, or ask for long texts to be cut"
    )]
    TooLong {
        /// Which text, counting from 0.
        text: usize,
        /// Its tokens, with the two that frame it.
        tokens: usize,
        /// Tokens that fit.
        context_tokens: usize,
    },
    /// A token that the model does not have.
    #[error("token {token} is not in the vocabulary of {vocabulary}")]
    UnknownToken {
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// The kernels failed.
    #[error("the computation failed: {0}")]
    Kernel(candle_core::Error),
}

impl Embedder {
    /// Validates and loads a model file, to compute on every core.
    ///
    /// # Errors
    /// Says which check failed, with the file's key or tensor and the way out where there is one.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::from_gguf(&Gguf::open(path)?, 0)
    }

    /// Loads a model from a file that is open already, to compute on so many threads of the main processor; 0 means one per
    /// core.
    ///
    /// # Errors
    /// As [`Embedder::load`].
    pub fn from_gguf(gguf: &Gguf, threads: usize) -> Result<Self, LoadError> {
        let encoder = Encoder::load(gguf, threads)?;
        let tokenizer = Tokenizer::from_gguf(gguf)?;
        let (tokens, rows) = (tokenizer.vocabulary(), encoder.figures().vocabulary);
        if tokens > rows {
            return Err(LoadError::VocabularyMismatch { tokens, rows });
        }
        let frame = [
            framing(gguf, &tokenizer, rows, &["cls_token_id", "bos_token_id"], "[CLS]")?,
            framing(gguf, &tokenizer, rows, &["seperator_token_id", "eos_token_id"], "[SEP]")?,
        ];
        Ok(Self { info: gguf.info(), encoder, tokenizer, frame, cut_at: None })
    }

    /// Cuts longer texts after so many tokens, the two that frame a text included, instead of refusing them. More than the
    /// model reads counts as what it reads.
    #[must_use]
    pub fn cutting_at(mut self, tokens: usize) -> Self {
        self.cut_at = Some(tokens.clamp(2, self.context_tokens().max(2)));
        self
    }

    /// What the file says of the model.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Numbers of a vector.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.encoder.figures().embedding
    }

    /// Tokens of the longest text that the model reads, the two that frame it included.
    #[must_use]
    pub fn context_tokens(&self) -> usize {
        self.encoder.figures().context_tokens
    }

    /// One vector of length 1 for each text: the cosine of two is their product.
    ///
    /// # Errors
    /// Fails when a text is longer than the model reads, unless [`Embedder::cutting_at`] was asked for.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let tokens: Vec<Vec<u32>> = texts.iter().map(|text| self.tokens(text)).collect();
        let context_tokens = self.context_tokens();
        if let Some((text, tokens)) = tokens.iter().enumerate().find(|(_, tokens)| tokens.len() > context_tokens) {
            return Err(EmbedError::TooLong { text, tokens: tokens.len(), context_tokens });
        }
        let mut vectors = Vec::with_capacity(texts.len());
        let mut rest = &tokens[..];
        while !rest.is_empty() {
            let mut sum = 0;
            let fit = rest.iter().take_while(|tokens| {
                sum += tokens.len();
                sum <= TOKENS_AT_ONCE
            });
            let (now, later) = rest.split_at(fit.count().max(1));
            vectors.extend(self.encoder.encode(now)?);
            rest = later;
        }
        Ok(vectors)
    }

    /// A text's tokens between the two that frame it.
    fn tokens(&self, text: &str) -> Vec<u32> {
        let [begin, end] = self.frame;
        let mut tokens = self.tokenizer.encode(text, false, true);
        if tokens.first() != Some(&begin) {
            tokens.insert(0, begin);
        }
        if tokens.len() == 1 || tokens.last() != Some(&end) {
            tokens.push(end);
        }
        if let Some(most) = self.cut_at.filter(|most| tokens.len() > *most) {
            tokens.truncate(most - 1);
            tokens.push(end);
        }
        tokens
    }
}

/// A token that frames texts: by the first of its keys that is there, else by its usual spelling.
fn framing(gguf: &Gguf, tokenizer: &Tokenizer, rows: usize, keys: &[&str], spelling: &str) -> Result<u32, LoadError> {
    let keys: Vec<String> = keys.iter().map(|key| format!("tokenizer.ggml.{key}")).collect();
    for key in &keys {
        if let Some(value) = gguf.get(key) {
            let id = value.as_count().and_then(|id| u32::try_from(id).ok()).filter(|id| (*id as usize) < rows);
            return id.ok_or_else(|| LoadError::BadFigure { key: key.clone(), value: "no token".to_owned() });
        }
    }
    tokenizer.special(spelling).ok_or_else(|| LoadError::MissingKey { key: keys[0].clone() })
}
