//! SentencePiece vocabularies: merging by score, bytes, and the space in front.

use super::made::{Keys, hello, put};
use super::*;

fn tokenizer(change: impl Fn(&mut Keys)) -> Tokenizer {
    let mut keys = hello();
    change(&mut keys);
    Tokenizer::from_metadata(&keys).expect("the tokenizer builds")
}

fn spelled(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let tokens = tokenizer.encode(text, false, false);
    tokens.iter().map(|id| tokenizer.text(*id).expect("it is in the vocabulary").to_owned()).collect()
}

#[test]
fn the_best_score_merges_first_and_of_equal_ones_the_leftmost() {
    let tokenizer = tokenizer(|_| {});
    assert_eq!(spelled(&tokenizer, "hello"), ["▁hello"]);
    assert_eq!(spelled(&tokenizer, "helo"), ["▁he", "lo"]);
    assert_eq!(spelled(&tokenizer, "aaaaa"), ["▁", "aa", "aa", "a"]);
    assert_eq!(spelled(&tokenizer, " hello"), ["▁", "▁hello"]);
    assert_eq!(spelled(&tokenizer, ""), [""; 0]);
}

#[test]
fn a_character_without_a_token_is_written_as_its_bytes() {
    let tokenizer = tokenizer(|_| {});
    assert_eq!(spelled(&tokenizer, "ö"), ["▁", "<0xC3>", "<0xB6>"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("hö🦙\u{301}", false, false)), "hö🦙\u{301}");
    // What is spelled like a byte is text, not a byte.
    assert_eq!(tokenizer.decode(&tokenizer.encode("<0x41>", false, false)), "<0x41>");
}

#[test]
fn a_stream_of_byte_tokens_never_hands_out_half_a_character() {
    let tokenizer = tokenizer(|_| {});
    let tokens = tokenizer.encode("h🦙ö", false, false);
    let mut stream = tokenizer.decode_stream();
    let pieces: Vec<String> = tokens.iter().filter_map(|id| stream.push(*id)).collect();
    assert_eq!(pieces, ["h", "🦙", "ö"]);
    assert_eq!(stream.finish(), None);
}

#[test]
fn the_space_in_front_of_a_text_goes_away_again_and_others_stay() {
    let tokenizer = tokenizer(|_| {});
    for text in ["hello", " hello", "  ", "hello hello", "\n\nhello", "h\n\n hello"] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, false, false)), text);
    }
    // After a special token a text begins anew.
    let [end, hello] = [tokenizer.special("<|end|>").expect("it has one"), 12];
    assert_eq!(tokenizer.encode("hello<|end|>hello", true, true), [1, hello, end, hello]);
    assert_eq!(tokenizer.decode(&[1, hello, end, hello]), "hellohello");
}

#[test]
fn an_answer_in_the_middle_of_a_text_keeps_its_first_space() {
    let tokenizer = tokenizer(|_| {});
    let hello = 12;
    assert_eq!(tokenizer.decode_stream().push(hello).as_deref(), Some("hello"));
    assert_eq!(tokenizer.decode_stream_after(&[1]).push(hello).as_deref(), Some("hello"));
    assert_eq!(tokenizer.decode_stream_after(&[1, hello]).push(hello).as_deref(), Some(" hello"));
    let mut stream = tokenizer.decode_stream();
    assert_eq!([stream.push(hello), stream.push(hello)].map(Option::unwrap_or_default), ["hello", " hello"]);
}

#[test]
fn a_vocabulary_without_a_space_in_front_adds_and_takes_none() {
    let tokenizer = tokenizer(|keys| put(keys, "add_space_prefix", Value::Bool(false)));
    assert_eq!(spelled(&tokenizer, "helo"), ["h", "e", "lo"]);
    assert_eq!(spelled(&tokenizer, " hello"), ["▁hello"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode(" hello", false, false)), " hello");
}

#[test]
fn without_byte_tokens_a_character_without_a_token_is_unknown() {
    let keys = made::keys("llama", &[("<unk>", 2, 0.0), ("▁", 1, 0.0), ("a", 1, 0.0)]);
    let tokenizer = Tokenizer::from_metadata(&keys).expect("the tokenizer builds");
    assert_eq!(tokenizer.encode("aöa", false, false), [1, 2, 0, 2]);
}

#[test]
fn white_space_after_a_special_token_of_phi_3_goes_away() {
    let token = |text| phi3().special(text).expect("the vocabulary has it");
    let hello = phi3().encode("Hello", false, false);
    assert_eq!(hello, [15043]);
    assert_eq!(
        phi3().encode("<s><|user|>\nHello<|end|>\n<|assistant|>\n", true, false),
        [1, token("<|user|>"), 15043, token("<|end|>"), token("<|assistant|>")]
    );
    // The qwen2 family keeps it.
    assert!(qwen2().encode("<|im_start|>\n", true, false).len() == 2);
}
