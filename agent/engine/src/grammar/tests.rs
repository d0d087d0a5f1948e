//! Grammars over a small vocabulary: whatever may follow is tried by chance, and what comes of it is judged by others.

mod conformance;
mod hostile;
mod schemas;
mod shapes;

use std::sync::{Arc, OnceLock};

use super::*;
use crate::gguf::{Array, Value as Meta};
use crate::tokenizer::Tokenizer;

/// A vocabulary with a token for every byte, some longer ones and some that are special.
pub(crate) fn tokenizer() -> Tokenizer {
    let specials = [
        "<unk>",
        "<s>",
        "</s>",
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<|tool_call|>",
        "<|/tool_call|>",
    ];
    let words = [
        "true", "false", "null", "{\"", "\":", "\",\"", ", ", "[]", "{}", "name", "type", "value", "12", "0.5", "ab",
        "abc", "é", "日本", "\n  ", "  ", "\\n", "\\u00", "\"}", "]}", "e+", "-", "2024-0", "@", ".com",
    ];
    let specials = specials.map(|text| (text.to_owned(), 3));
    let words = words.map(|text| (text.to_owned(), 1));
    let bytes = (0..=255).map(|byte| (format!("<0x{byte:02X}>"), 6));
    let tokens: Vec<(String, i32)> = specials.into_iter().chain(words).chain(bytes).collect();
    let text = |text: &str| Meta::Text(text.to_owned());
    let keys = [
        ("tokenizer.ggml.model".to_owned(), text("llama")),
        (
            "tokenizer.ggml.tokens".to_owned(),
            Meta::Array(Array::Text(tokens.iter().map(|token| token.0.clone()).collect())),
        ),
        ("tokenizer.ggml.token_type".to_owned(), Meta::Array(Array::I32(tokens.iter().map(|token| token.1).collect()))),
        ("tokenizer.ggml.scores".to_owned(), Meta::Array(Array::F32(vec![0.0; tokens.len()]))),
        ("tokenizer.ggml.bos_token_id".to_owned(), Meta::U32(1)),
        ("tokenizer.ggml.eos_token_id".to_owned(), Meta::U32(2)),
        ("tokenizer.ggml.add_space_prefix".to_owned(), Meta::Bool(false)),
    ];
    Tokenizer::from_metadata(&keys).expect("the vocabulary is sound")
}

pub(crate) fn vocabulary() -> &'static Arc<Vocabulary> {
    static VOCABULARY: OnceLock<Arc<Vocabulary>> = OnceLock::new();
    VOCABULARY.get_or_init(|| Arc::new(Vocabulary::new(&tokenizer()).expect("the vocabulary is made ready")))
}

/// Numbers that look like chance.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }
}

/// How a walk ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// The grammar was complete.
    Whole(String),
    /// It could have gone on for ever.
    Long(String),
    /// It could not go on.
    Failed(String),
}

/// Most tokens of a walk.
const STEPS: usize = 1_500;

/// Says what a model might that knows nothing: any of the tokens that may follow, and after a while rather one that closes
/// something.
pub(crate) fn walk(grammar: &Grammar, seed: u64) -> Walked {
    let tokenizer = grammar.vocabulary().tokenizer();
    let mut constraint = grammar.constraint();
    let (mut chance, mut said) = (Chance::new(seed), Vec::new());
    let text = |said: &[u32]| tokenizer.spell_out(said);
    for step in 0..STEPS {
        let allowed = match constraint.next() {
            Ok(Next::Among(allowed)) => allowed,
            Ok(Next::Nothing) => return Walked::Whole(text(&said)),
            Err(reason) => return Walked::Failed(format!("{reason} after {}", text(&said))),
        };
        let tokens: Vec<u32> =
            (0..tokenizer.vocabulary() as u32).filter(|id| allowed[*id as usize / 32] >> (id % 32) & 1 == 1).collect();
        let closing = |id: &&u32| matches!(tokenizer.bytes(**id), b"\"" | b"}" | b"]" | b"\"}" | b"]}" | b"</s>");
        let closing: Vec<u32> = tokens.iter().filter(closing).copied().collect();
        let near_the_end = chance.below(120) < step;
        let among = if !closing.is_empty() && near_the_end { &closing } else { &tokens };
        let token = among[chance.below(among.len())];
        if token == 2 {
            return Walked::Whole(text(&said));
        }
        assert_eq!(constraint.allows(token), Ok(true), "what is among the allowed is allowed");
        said.push(token);
        match constraint.consume(token) {
            Ok(true) => return Walked::Whole(text(&said)),
            Ok(false) => {}
            Err(reason) => return Walked::Failed(format!("{reason} after {}", text(&said))),
        }
    }
    Walked::Long(text(&said))
}

/// Whether a grammar takes a text whole.
pub(crate) fn takes(grammar: &Grammar, text: &str) -> bool {
    let tokenizer = grammar.vocabulary().tokenizer();
    let mut constraint = grammar.constraint();
    let tokens = tokenizer.encode(text, true, false);
    for (index, token) in tokens.iter().enumerate() {
        if constraint.allows(*token) != Ok(true) {
            return false;
        }
        match constraint.consume(*token) {
            Ok(true) => return index + 1 == tokens.len(),
            Ok(false) => {}
            Err(_) => return false,
        }
    }
    constraint.allows(2) == Ok(true)
}
