//! How likely tokens were, in the lists of the old API: texts, logarithms, alternatives and places beside each other.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::TokenScore;
use crate::api::openai::logprobs::finite;

/// Tokens on their way into the lists; knows how far the text has come.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Characters of the text before the next token.
    offset: usize,
}

impl Lists {
    /// The lists for more tokens, with at most `top` alternatives each besides the token itself.
    pub(super) fn of(&mut self, scores: &[TokenScore], top: u8) -> Value {
        let (mut tokens, mut logprobs, mut likeliest, mut offsets) = (vec![], vec![], vec![], vec![]);
        for score in scores {
            tokens.push(written(&score.bytes));
            logprobs.push(score.logprob.map(|logprob| finite(Some(logprob))));
            likeliest.push(alternatives(score, top));
            offsets.push(self.offset);
            // A character begins at each byte that does not continue one.
            self.offset += score.bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        }
        json!({ "tokens": tokens, "token_logprobs": logprobs, "top_logprobs": likeliest, "text_offset": offsets })
    }
}

/// The likeliest tokens and the one that is there; nothing precedes the first token of a prompt, so it has none.
fn alternatives(score: &TokenScore, top: u8) -> Option<Value> {
    let own = score.logprob?;
    let mut map = Map::new();
    for other in score.top.iter().take(top.into()) {
        map.entry(written(&other.bytes)).or_insert_with(|| json!(finite(Some(other.logprob))));
    }
    map.entry(written(&score.bytes)).or_insert_with(|| json!(finite(Some(own))));
    Some(Value::Object(map))
}

/// A token as text; half characters as OpenAI writes them, so that two tokens never look the same.
fn written(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut text = "bytes:".to_owned();
    for byte in bytes {
        // Writing to a text cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
    text
}

/// What tokens write together.
pub(super) fn text(scores: &[TokenScore]) -> String {
    let bytes: Vec<u8> = scores.iter().flat_map(|score| score.bytes.iter().copied()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Alternative;

    fn score(bytes: &[u8], logprob: Option<f32>) -> TokenScore {
        let top = vec![Alternative { token: 1, bytes: b"x".to_vec(), logprob: -0.5 }];
        TokenScore { token: 0, bytes: bytes.to_vec(), logprob, top }
    }

    #[test]
    fn places_count_characters_and_halves_of_one_are_written_as_bytes() {
        let mut lists = Lists::default();
        let umlaut = "ä".as_bytes();
        let first = lists.of(&[score("né".as_bytes(), None), score(&umlaut[..1], Some(-1.0))], 1);
        assert_eq!(first["tokens"], json!(["né", "bytes:\\xc3"]));
        assert_eq!(first["token_logprobs"], json!([null, -1.0]));
        assert_eq!(first["top_logprobs"], json!([null, { "x": -0.5, "bytes:\\xc3": -1.0 }]));
        assert_eq!(first["text_offset"], json!([0, 2]));
        let second = lists.of(&[score(&umlaut[1..], Some(f32::NEG_INFINITY)), score(b"!", Some(-2.0))], 0);
        assert_eq!(second["text_offset"], json!([3, 3]));
        assert_eq!(second["token_logprobs"], json!([-9999.0, -2.0]));
        assert_eq!(second["top_logprobs"][1], json!({ "!": -2.0 }));
    }
}
