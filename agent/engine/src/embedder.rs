//! Text in, one vector out: sentence embedders of the BERT kind, read from GGUF.

mod encoder;
#[cfg(test)]
mod tests;

use std::path::Path;

use encoder::Encoder;

use crate::generate::Cancel;
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

/// What is asked of vectors.
#[derive(Debug, Clone, Default)]
pub struct EmbedOptions {
    /// Whether a text that is longer than the model reads is cut there; refused if not.
    pub truncate: bool,
    /// Numbers of a vector: the first so many, made as long as 1 again. All if not said.
    pub dimensions: Option<usize>,
    /// Ends the work from outside, between two passes.
    pub cancel: Cancel,
}

/// Vectors and what they took.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// One vector of length 1 for each text.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens that were read of each, the two that frame it included.
    pub tokens: Vec<usize>,
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
    /// More numbers than a vector has, or none.
    #[error("`dimensions` is {asked}; it must be from 1 to {dimensions}, as many as this model gives")]
    Dimensions {
        /// Numbers asked for.
        asked: usize,
        /// Numbers of a vector.
        dimensions: usize,
    },
    /// Someone ended it.
    #[error("the work was cancelled")]
    Cancelled,
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

    /// Tokens of a text, the two that frame it included, before anything is cut.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.tokens(text, None).len()
    }

    /// The text of some tokens.
    ///
    /// # Errors
    /// Fails on a token that the model does not have.
    pub fn text_of(&self, tokens: &[u32]) -> Result<String, EmbedError> {
        let vocabulary = self.tokenizer.vocabulary();
        match tokens.iter().find(|token| **token as usize >= vocabulary) {
            Some(token) => Err(EmbedError::UnknownToken { token: *token, vocabulary }),
            None => Ok(self.tokenizer.decode(tokens)),
        }
    }

    /// One vector of length 1 for each text: the cosine of two is their product.
    ///
    /// # Errors
    /// Fails when a text is longer than the model reads, unless [`Embedder::cutting_at`] was asked for.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.embed_with(texts, &EmbedOptions::default()).map(|embedded| embedded.vectors)
    }

    /// As [`Embedder::embed`], with options; says the tokens of each text too. Every text is checked before the first is
    /// read.
    ///
    /// # Errors
    /// Fails when a text is too long and not to be cut, the options ask for more numbers than there are, or on a cancellation.
    pub fn embed_with(&self, texts: &[&str], options: &EmbedOptions) -> Result<Embedded, EmbedError> {
        let dimensions = self.dimensions();
        if let Some(asked) = options.dimensions.filter(|asked| !(1..=dimensions).contains(asked)) {
            return Err(EmbedError::Dimensions { asked, dimensions });
        }
        let context_tokens = self.context_tokens();
        let longest = if options.truncate { Some(context_tokens) } else { None };
        let cut_at = [longest, self.cut_at].into_iter().flatten().min();
        let tokens: Vec<Vec<u32>> = texts.iter().map(|text| self.tokens(text, cut_at)).collect();
        if let Some((text, tokens)) = tokens.iter().enumerate().find(|(_, tokens)| tokens.len() > context_tokens) {
            return Err(EmbedError::TooLong { text, tokens: tokens.len(), context_tokens });
        }
        let mut vectors = Vec::with_capacity(texts.len());
        let mut rest = &tokens[..];
        while !rest.is_empty() {
            if options.cancel.is_cancelled() {
                return Err(EmbedError::Cancelled);
            }
            let mut sum = 0;
            let fit = rest.iter().take_while(|tokens| {
                sum += tokens.len();
                sum <= TOKENS_AT_ONCE
            });
            let (now, later) = rest.split_at(fit.count().max(1));
            vectors.extend(self.encoder.encode(now)?);
            rest = later;
        }
        if let Some(dimensions) = options.dimensions {
            vectors.iter_mut().for_each(|vector| shorten(vector, dimensions));
        }
        Ok(Embedded { vectors, tokens: tokens.iter().map(Vec::len).collect() })
    }

    /// A text's tokens between the two that frame it.
    fn tokens(&self, text: &str, cut_at: Option<usize>) -> Vec<u32> {
        let [begin, end] = self.frame;
        let mut tokens = self.tokenizer.encode(text, false, true);
        if tokens.first() != Some(&begin) {
            tokens.insert(0, begin);
        }
        if tokens.len() == 1 || tokens.last() != Some(&end) {
            tokens.push(end);
        }
        if let Some(most) = cut_at.filter(|most| tokens.len() > *most) {
            tokens.truncate(most - 1);
            tokens.push(end);
        }
        tokens
    }
}

/// Leaves the first so many numbers of a vector and makes it as long as 1 again.
fn shorten(vector: &mut Vec<f32>, dimensions: usize) {
    vector.truncate(dimensions);
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number /= length);
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
