//! Text to tokens and back, built from the keys of a GGUF file; a `tokenizer.json` becomes such keys first.

mod build;
mod byte_pair;
mod bytes;
mod error;
pub mod huggingface;
mod keys;
mod kinds;
mod merge;
mod sentence_piece;
pub(crate) mod special;
mod stream;
mod vocabulary;
mod word_piece;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use error::TokenizerError;
pub use stream::StreamDecoder;

use crate::gguf::{Gguf, Value};
use crate::template::Piece;

/// Special tokens of Phi-3 that keep the white space after them.
const KEEPS_SPACE_AFTER: &[&str] = &["<unk>", "<s>", "<|endoftext|>"];

/// A model's tokenizer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokenizer(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    method: Method,
    vocabulary: vocabulary::Vocabulary,
    /// Structure: matched only where the caller allows it.
    specials: special::Specials,
    /// Tokens that every text is cut at before the method sees it.
    added: special::Specials,
    /// Whether a text, at its beginning and after a special token, is given a space in front.
    space_prefix: bool,
    strips_after_specials: bool,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    /// What ends a text that is to be embedded, if the file asks for that.
    closing: Option<u32>,
    end_of_generation: BTreeSet<u32>,
}

/// How text without special tokens becomes tokens.
#[derive(Debug)]
enum Method {
    BytePair(byte_pair::BytePair),
    SentencePiece(sentence_piece::SentencePiece),
    WordPiece(word_piece::WordPiece),
}

impl Tokenizer {
    /// Builds the tokenizer from `tokenizer.ggml.*`.
    ///
    /// # Errors
    /// Says which key is missing, contradicts another or asks for a kind of tokenizer that is not supported.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        Self::from_metadata(gguf.metadata())
    }

    /// Builds the tokenizer from metadata that need not have come from a file.
    ///
    /// # Errors
    /// Says which key is missing, contradicts another or asks for a kind of tokenizer that is not supported.
    pub fn from_metadata(metadata: &[(String, Value)]) -> Result<Self, TokenizerError> {
        build::build(keys::Keys(metadata)).map(|parts| Self(Arc::new(parts)))
    }

    /// Tokens of a text. `special`: whether special tokens written in the text count as such, which is right for
    /// templates and wrong for anything a person typed. `bos`: whether to begin with the token that begins sequences,
    /// if the model has one.
    #[must_use]
    pub fn encode(&self, text: &str, special: bool, bos: bool) -> Vec<u32> {
        let mut writer = Writer::new(self);
        if bos {
            writer.tokens.extend(self.0.bos);
        }
        if !special {
            writer.text(text);
            return writer.tokens;
        }
        for part in self.0.specials.split(text) {
            match part {
                special::Part::Special(id) => writer.special(id),
                special::Part::Text(text) => writer.text(text),
            }
        }
        writer.tokens
    }

    /// Tokens of what a template wrote. `bos`: whether the model's `add_bos_token` is to be honoured; the token is
    /// never doubled when the template has written it already.
    #[must_use]
    pub fn encode_pieces(&self, pieces: &[Piece], bos: bool) -> Vec<u32> {
        let mut writer = Writer::new(self);
        for piece in pieces {
            match piece {
                Piece::Special(id) => writer.special(*id),
                Piece::Text(text) => writer.text(text),
            }
        }
        match self.0.bos {
            Some(id) if bos && self.0.add_bos && writer.tokens.first() != Some(&id) => writer.tokens.insert(0, id),
            _ => {}
        }
        writer.tokens
    }

    /// Tokens of a text that is to be embedded: between `[CLS]` and `[SEP]` for BERT's kind, between the tokens that
    /// begin and end sequences for others, where the file asks for them. Nothing in the text counts as a special token.
    /// Whoever must shorten the result to a context keeps its last token.
    #[must_use]
    pub fn encode_for_embedding(&self, text: &str) -> Vec<u32> {
        let mut tokens = self.encode(text, false, self.0.add_bos);
        tokens.extend(self.0.closing);
        tokens
    }

    /// The text that tokens write. Control tokens write nothing; bytes that are not UTF-8 become U+FFFD. A space that
    /// [`Tokenizer::encode`] put in front of a text is taken away again.
    #[must_use]
    pub fn decode(&self, tokens: &[u32]) -> String {
        let (mut bytes, mut fresh) = (Vec::new(), true);
        for id in tokens {
            self.write(*id, &mut fresh, &mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A decoder for a text as it comes, token by token, from its beginning.
    #[must_use]
    pub fn decode_stream(&self) -> StreamDecoder {
        StreamDecoder::new(self.clone(), true)
    }

    /// A decoder for what follows `tokens`. After ordinary text a space in front belongs to the answer; after a special
    /// token it is the one that the tokenizer puts in front of every text.
    #[must_use]
    pub fn decode_stream_after(&self, tokens: &[u32]) -> StreamDecoder {
        StreamDecoder::new(self.clone(), tokens.last().is_none_or(|id| self.set_apart(*id)))
    }

    /// Number of tokens.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.0.vocabulary.len()
    }

    /// A token as the file spells it.
    #[must_use]
    pub fn text(&self, id: u32) -> Option<&str> {
        self.0.vocabulary.spelling(id)
    }

    /// What a token writes, be it a part of a character; its spelling where it writes nothing by itself.
    #[must_use]
    pub fn bytes(&self, id: u32) -> &[u8] {
        match self.0.vocabulary.piece(id) {
            [] => self.text(id).unwrap_or_default().as_bytes(),
            piece => piece,
        }
    }

    /// The text that tokens write, special tokens spelled out: for looking at a prompt, never for tokenizing it again.
    #[must_use]
    pub fn spell_out(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|id| self.bytes(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether a token is structure: found in texts only where they are allowed to hold it, and writing nothing.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        matches!(self.0.vocabulary.kind(id), Some(vocabulary::Kind::Special))
    }

    /// The bytes that a token adds to a text, if it is the token that a text has for them.
    pub(crate) fn own_bytes(&self, id: u32) -> Option<&[u8]> {
        let piece = self.0.vocabulary.piece(id);
        (!piece.is_empty() && self.0.vocabulary.find(piece).is_none_or(|found| found == id)).then_some(piece)
    }

    /// The special token that is spelled so.
    #[must_use]
    pub fn special(&self, text: &str) -> Option<u32> {
        self.0.specials.id(text)
    }

    /// The token that begins sequences.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.0.bos
    }

    /// The token that ends sequences.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.0.eos
    }

    /// Whether the file asks for every sequence to begin with [`Tokenizer::bos`].
    #[must_use]
    pub fn add_bos(&self) -> bool {
        self.0.add_bos
    }

    /// The tokens that end an answer.
    #[must_use]
    pub fn end_of_generation(&self) -> &BTreeSet<u32> {
        &self.0.end_of_generation
    }

    pub(crate) fn specials(&self) -> &special::Specials {
        &self.0.specials
    }

    /// Appends what a token writes. `fresh`: whether it begins a text; says afterwards whether the next one does.
    fn write(&self, id: u32, fresh: &mut bool, bytes: &mut Vec<u8>) {
        if self.set_apart(id) {
            *fresh = true;
            bytes.extend_from_slice(self.0.vocabulary.piece(id));
            return;
        }
        let piece = self.0.vocabulary.piece(id);
        let prefixed = *fresh && self.0.space_prefix && piece.first() == Some(&b' ');
        *fresh &= piece.is_empty();
        bytes.extend_from_slice(&piece[usize::from(prefixed)..]);
    }

    /// Whether a token stands between texts rather than in one.
    fn set_apart(&self, id: u32) -> bool {
        matches!(self.0.vocabulary.kind(id), Some(vocabulary::Kind::Special | vocabulary::Kind::Added))
    }
}

/// Tokens on their way out.
struct Writer<'tokenizer> {
    parts: &'tokenizer Parts,
    tokens: Vec<u32>,
    /// Whether a text begins here: at the start and after a special token.
    fresh: bool,
    /// Whether white space that comes next goes away.
    strip: bool,
}

impl<'tokenizer> Writer<'tokenizer> {
    fn new(tokenizer: &'tokenizer Tokenizer) -> Self {
        Self { parts: &tokenizer.0, tokens: Vec::new(), fresh: true, strip: false }
    }

    fn special(&mut self, id: u32) {
        self.tokens.push(id);
        self.fresh = true;
        let spelling = self.parts.vocabulary.spelling(id).unwrap_or_default();
        self.strip = self.parts.strips_after_specials && !KEEPS_SPACE_AFTER.contains(&spelling);
    }

    /// Text in which no special token counts.
    fn text(&mut self, text: &str) {
        let text = if self.strip { text.trim_start() } else { text };
        for part in self.parts.added.split(text) {
            match part {
                special::Part::Special(id) => {
                    self.tokens.push(id);
                    self.fresh = true;
                }
                special::Part::Text(text) => {
                    self.ordinary(text);
                    self.fresh = false;
                }
            }
            self.strip = false;
        }
    }

    fn ordinary(&mut self, text: &str) {
        let vocabulary = &self.parts.vocabulary;
        match &self.parts.method {
            Method::BytePair(method) => method.encode(vocabulary, text, &mut self.tokens),
            Method::SentencePiece(method) => {
                method.encode(vocabulary, text, self.fresh && self.parts.space_prefix, &mut self.tokens);
            }
            Method::WordPiece(method) => method.encode(vocabulary, text, &mut self.tokens),
        }
    }
}
