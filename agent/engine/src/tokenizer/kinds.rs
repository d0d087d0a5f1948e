//! Which tokens are structure, which are text, and which end an answer.
//!
//! A file gives every token a type. Two things it does not say as clearly as is needed here:
//! * *User-defined* tokens (type 4) are of two sorts. Runs of blank lines or HTML tags are text, and a text that holds
//!   them has always been tokenized with them. Others, such as `<tool_call>`, are structure that the model's chat
//!   template writes; a person who types one must not get it. A user-defined token is structure if it is spelled
//!   `<|…|>`, if the chat template names it, or if a key of the file gives it a role; otherwise it is text.
//! * Some converters leave end-of-turn tokens and the like as ordinary: a token spelled `<|…|>` or as one of
//!   [`ENDINGS`] is structure whatever its type, and so is `</s>` where `<s>` begins sequences.

use std::collections::BTreeSet;

use super::TokenizerError;
use super::keys::Keys;
use super::sentence_piece::byte_of;
use super::vocabulary::Kind;

/// Spellings that end an answer in models whose files name only one such token. All are spelled so that nothing else
/// would be.
const ENDINGS: &[&str] = &[
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<|EOT|>",
];

/// Ends sequences where the first of these begins them, whatever its type. Gemma has HTML tags that are spelled so, and
/// begins its sequences otherwise.
const SENTENCE: [&str; 2] = ["<s>", "</s>"];

const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;
const BYTE: u64 = 6;

/// The keys that name the tokens which end an answer.
const ENDING_KEYS: &[&str] =
    &["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// The other keys that give a token a role.
const ROLE_KEYS: &[&str] = &[
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.cls_token_id",
    "tokenizer.ggml.mask_token_id",
];

/// What tells the kinds of a file's tokens apart.
pub(super) struct Kinds<'file> {
    types: Vec<u64>,
    template: &'file str,
    roles: BTreeSet<u32>,
    endings: BTreeSet<u32>,
    /// Whether `<s>` begins sequences.
    sentences: bool,
    /// Whether `<0x0A>` is a byte: in vocabularies that are not byte-level themselves.
    bytes: bool,
}

impl<'file> Kinds<'file> {
    pub(super) fn new(keys: Keys<'file>, texts: &[String], bytes: bool) -> Result<Self, TokenizerError> {
        let tokens = texts.len();
        let ids = |names: &'static [&'static str]| {
            names.iter().filter_map(|key| keys.token(key, tokens).transpose()).collect::<Result<BTreeSet<_>, _>>()
        };
        let endings = ids(ENDING_KEYS)?;
        let roles = ids(ROLE_KEYS)?.union(&endings).copied().collect();
        let begins = keys.token("tokenizer.ggml.bos_token_id", tokens)?.and_then(|id| texts.get(id as usize));
        let sentences = begins.is_some_and(|text| text == SENTENCE[0]);
        let template = keys.text("tokenizer.chat_template").unwrap_or_default();
        Ok(Self { types: keys.types(tokens)?, template, roles, endings, sentences, bytes })
    }

    pub(super) fn of(&self, id: u32, spelling: &str) -> Kind {
        let named = marked(spelling) || ENDINGS.contains(&spelling) || self.sentences && SENTENCE.contains(&spelling);
        match self.types.get(id as usize) {
            Some(&(CONTROL | UNKNOWN)) => Kind::Special,
            Some(&UNUSED) => Kind::Unused,
            _ if named => Kind::Special,
            // Every template holds blanks, and blanks are text.
            Some(&USER_DEFINED) if spelling.trim().is_empty() => Kind::Added,
            Some(&USER_DEFINED) if self.roles.contains(&id) || self.template.contains(spelling) => Kind::Special,
            Some(&USER_DEFINED) => Kind::Added,
            _ if self.bytes && byte_of(spelling).is_some() => Kind::Byte,
            // A byte that is not spelled as one stands for nothing.
            Some(&BYTE) if self.bytes => Kind::Unused,
            _ => Kind::Ordinary,
        }
    }

    /// Whether this token of [`Kind::Special`] ends an answer.
    pub(super) fn ends(&self, id: u32, spelling: &str) -> bool {
        self.endings.contains(&id) || ENDINGS.contains(&spelling) || spelling == SENTENCE[1]
    }

    /// The tokens that the file's keys name as endings, whatever their kind.
    pub(super) fn endings(&self) -> BTreeSet<u32> {
        self.endings.clone()
    }
}

/// Whether a token is spelled `<|name|>`.
fn marked(spelling: &str) -> bool {
    let name = spelling.strip_prefix("<|").and_then(|rest| rest.strip_suffix("|>")).unwrap_or_default();
    !name.is_empty() && name.chars().all(|character| character.is_alphanumeric() || "_-.:".contains(character))
}
