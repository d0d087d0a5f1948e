//! The tokenizer against published cases of a real vocabulary, and the edges that no such case reaches.

mod hostile;
mod made;
mod round_trip;
mod sentence_piece;
mod structure;
mod word_piece;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proptest::prelude::*;

use super::bytes::byte_of;
use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

pub(super) fn vocabulary(name: &str) -> Gguf {
    Gguf::open(fixture(&format!("tokenizers/ggml-vocab-{name}.gguf"))).expect("the vocabulary is sound")
}

pub(super) fn qwen2() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| Tokenizer::from_gguf(&vocabulary("qwen2")).expect("the tokenizer builds"))
}

pub(super) fn phi3() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| Tokenizer::from_gguf(&vocabulary("phi-3")).expect("the tokenizer builds"))
}

fn tiny() -> Tokenizer {
    let gguf = Gguf::open(fixture("golden/qwen3.gguf")).expect("the model is sound");
    Tokenizer::from_gguf(&gguf).expect("the tokenizer builds")
}

/// The published texts of a vocabulary, each with its tokens.
pub(super) fn published(name: &str) -> Vec<(String, Vec<u32>)> {
    let read = |extension: &str| {
        let file = fixture(&format!("tokenizers/ggml-vocab-{name}.gguf.{extension}"));
        std::fs::read_to_string(file).expect("the fixture is there")
    };
    let (texts, answers) = (read("inp"), read("out"));
    let numbers = |answer: &str| answer.split_whitespace().map(|id| id.parse().expect("a number")).collect();
    let cases: Vec<_> =
        texts.split("\n__ggml_vocab_test__\n").map(str::to_owned).zip(answers.lines().map(numbers)).collect();
    assert_eq!(cases.len(), 46, "{name}");
    cases
}

#[test]
fn every_published_case_of_the_qwen2_and_phi_3_vocabularies_gives_the_published_tokens() {
    for (name, tokenizer) in [("qwen2", qwen2()), ("phi-3", phi3())] {
        for (text, expected) in published(name) {
            assert_eq!(tokenizer.encode(&text, false, false), expected, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&expected), text, "{name}");
        }
    }
}

#[test]
fn special_tokens_are_recognised_only_when_asked_for() {
    let text = "<|im_start|>user";
    let start = qwen2().special("<|im_start|>").expect("the vocabulary has it");
    assert_eq!(qwen2().encode(text, true, false).first(), Some(&start));
    let plain = qwen2().encode(text, false, false);
    assert!(!plain.contains(&start));
    assert_eq!(qwen2().decode(&plain), text);
}

#[test]
fn control_tokens_write_nothing_and_end_answers() {
    let end = qwen2().special("<|im_end|>").expect("the vocabulary has it");
    assert_eq!(qwen2().decode(&[end]), "");
    assert!(qwen2().end_of_generation().contains(&end));
    assert!(qwen2().end_of_generation().contains(&qwen2().eos().expect("it has one")));
}

#[test]
fn every_byte_has_exactly_one_character() {
    let mut seen = [false; 256];
    for character in (0..0x400).filter_map(char::from_u32) {
        if let Some(byte) = byte_of(character) {
            assert!(!std::mem::replace(&mut seen[usize::from(byte)], true), "{byte} has two characters");
        }
    }
    assert!(seen.iter().all(|seen| *seen));
    // Three that the GPT-2 vocabulary shows: space, new line, soft hyphen.
    assert_eq!([byte_of('Ġ'), byte_of('Ċ'), byte_of('Ń')], [Some(b' '), Some(b'\n'), Some(0xAD)]);
}

#[test]
fn a_stream_never_hands_out_half_a_character() {
    let tokenizer = tiny();
    // The tiny vocabulary has one token per byte of such characters.
    let tokens = tokenizer.encode("a🦙ö.", false, false);
    assert!(tokens.len() >= 7, "{tokens:?}");
    let mut stream = tokenizer.decode_stream();
    let pieces: Vec<String> = tokens.iter().filter_map(|id| stream.push(*id)).collect();
    assert_eq!(pieces, ["a", "🦙", "ö", "."]);
    assert_eq!(stream.finish(), None);
}

#[test]
fn a_character_that_never_comes_whole_is_replaced_at_the_end() {
    let tokenizer = tiny();
    let llama = tokenizer.encode("🦙", false, false);
    let mut stream = tokenizer.decode_stream();
    assert_eq!([stream.push(llama[0]), stream.push(llama[1])], [None, None]);
    assert_eq!(stream.finish().as_deref(), Some("\u{FFFD}"));
    let mut broken = tokenizer.decode_stream();
    let letter = tokenizer.encode("x", false, false)[0];
    assert_eq!(broken.push(llama[0]), None);
    assert_eq!(broken.push(letter).as_deref(), Some("\u{FFFD}x"));
}

#[test]
fn unknown_ids_write_nothing() {
    assert_eq!(tiny().decode(&[u32::MAX, 320]), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_survives_the_way_to_tokens_and_back(text in "\\PC{0,40}|[\\s<|>a-z0-9]{0,60}") {
        let tokens = qwen2().encode(&text, false, false);
        prop_assert_eq!(qwen2().decode(&tokens), text.clone());
        let mut stream = qwen2().decode_stream();
        let mut streamed: String = tokens.iter().filter_map(|id| stream.push(*id)).collect();
        streamed.extend(stream.finish());
        prop_assert_eq!(streamed, text);
    }

    #[test]
    fn no_typed_text_ever_becomes_a_special_token(text in "(<\\|im_(start|end)\\|>|<\\|endoftext\\|>|[a-z<|> \n]){0,12}") {
        let specials = qwen2().end_of_generation();
        let tokens = qwen2().encode(&text, false, false);
        prop_assert!(tokens.iter().all(|id| !specials.contains(id) && Some(*id) != qwen2().special("<|im_start|>")));
    }
}
