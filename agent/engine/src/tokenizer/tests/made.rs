//! Small vocabularies made by hand.

use crate::gguf::{Array, Value};

pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;

pub(super) type Keys = Vec<(String, Value)>;

pub(super) fn put(keys: &mut Keys, name: &str, value: Value) {
    let key =
        if name == "chat_template" { "tokenizer.chat_template".to_owned() } else { format!("tokenizer.ggml.{name}") };
    keys.retain(|written| written.0 != key);
    keys.push((key, value));
}

/// Tokens with their types and scores.
pub(super) fn keys(model: &str, tokens: &[(&str, i32, f32)]) -> Keys {
    let mut keys = Vec::new();
    put(&mut keys, "model", Value::Text(model.to_owned()));
    put(&mut keys, "tokens", Value::Array(Array::Text(tokens.iter().map(|token| token.0.to_owned()).collect())));
    put(&mut keys, "token_type", Value::Array(Array::I32(tokens.iter().map(|token| token.1).collect())));
    put(&mut keys, "scores", Value::Array(Array::F32(tokens.iter().map(|token| token.2).collect())));
    keys
}

/// A SentencePiece vocabulary that can say hello; every byte has a token at its value plus 100.
pub(super) fn hello() -> Keys {
    let mut tokens = vec![
        ("<unk>".to_owned(), UNKNOWN, 0.0),
        ("<s>".to_owned(), CONTROL, 0.0),
        ("</s>".to_owned(), CONTROL, 0.0),
        ("▁".to_owned(), NORMAL, -9.0),
    ];
    let pieces = ["h", "e", "l", "o", "ll", "▁h", "▁he", "▁hell", "▁hello", "aa", "a", "lo"];
    let scores = [-9., -9., -9., -9., -1., -2., -3., -4., -5., -6., -9., -7.];
    tokens.extend(pieces.iter().zip(scores).map(|(text, score)| ((*text).to_owned(), NORMAL, score)));
    tokens.push(("\n\n".to_owned(), USER_DEFINED, 0.0));
    tokens.push(("<tool>".to_owned(), USER_DEFINED, 0.0));
    tokens.push(("<|end|>".to_owned(), NORMAL, 0.0));
    tokens.extend((tokens.len()..100).map(|id| (format!("[PAD{id}]"), UNKNOWN, 0.0)));
    tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), 6, 0.0)));
    let tokens: Vec<_> = tokens.iter().map(|(text, kind, score)| (text.as_str(), *kind, *score)).collect();
    let mut keys = keys("llama", &tokens);
    put(&mut keys, "bos_token_id", Value::U32(1));
    put(&mut keys, "eos_token_id", Value::U32(2));
    keys
}

/// A WordPiece vocabulary of a few words.
pub(super) fn words() -> Keys {
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(|text| (text, CONTROL, 0.0));
    let pieces =
        ["▁un", "affable", "▁ecole", "▁!", "▁中", "aff", "▁a", "a", "▁'", "▁-", "▁[", "▁]", "▁sep", "ß", "▁grue"];
    let tokens: Vec<_> = specials.into_iter().chain(pieces.map(|text| (text, NORMAL, 0.0))).collect();
    keys("bert", &tokens)
}
