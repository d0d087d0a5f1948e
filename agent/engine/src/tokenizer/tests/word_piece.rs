//! WordPiece vocabularies: how text is cleaned and cut, and what stands around it.

use super::made::{Keys, put, words};
use super::*;

fn tokenizer(change: impl Fn(&mut Keys)) -> Tokenizer {
    let mut keys = words();
    change(&mut keys);
    Tokenizer::from_metadata(&keys).expect("the tokenizer builds")
}

fn spelled(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let tokens = tokenizer.encode(text, false, false);
    tokens.iter().map(|id| tokenizer.text(*id).expect("it is in the vocabulary").to_owned()).collect()
}

#[test]
fn the_longest_beginning_of_a_word_is_taken_again_and_again() {
    let tokenizer = tokenizer(|_| {});
    assert_eq!(spelled(&tokenizer, "unaffable"), ["▁un", "affable"]);
    assert_eq!(spelled(&tokenizer, "unaff a"), ["▁un", "aff", "▁a"]);
    // A word of which any part is unknown is unknown as a whole.
    assert_eq!(spelled(&tokenizer, "unaffix a"), ["[UNK]", "▁a"]);
    assert_eq!(spelled(&tokenizer, &"a".repeat(100)).len(), 100);
    assert_eq!(spelled(&tokenizer, &"a".repeat(101)), ["[UNK]"]);
}

#[test]
fn text_is_cleaned_and_cut_as_the_reference_does() {
    let tokenizer = tokenizer(|_| {});
    assert_eq!(spelled(&tokenizer, "École!"), ["▁ecole", "▁!"]);
    assert_eq!(spelled(&tokenizer, "E\u{301}co\u{0}l\u{200D}e\u{A0}\u{3000}\t a"), ["▁ecole", "▁a"]);
    assert_eq!(spelled(&tokenizer, "a中a'a-un"), ["▁a", "▁中", "▁a", "▁'", "▁a", "▁-", "▁un"]);
    assert_eq!(spelled(&tokenizer, "Grüße"), ["[UNK]"]);
    assert_eq!(spelled(&tokenizer, " \n\t"), [""; 0]);
}

#[test]
fn a_vocabulary_with_case_keeps_case_and_accents() {
    let tokenizer = tokenizer(|keys| put(keys, "normalizer.lowercase", Value::Bool(false)));
    assert_eq!(spelled(&tokenizer, "ecole"), ["▁ecole"]);
    assert_eq!(spelled(&tokenizer, "École Ecole"), ["[UNK]", "[UNK]"]);
}

#[test]
fn a_text_to_embed_stands_between_its_two_tokens() {
    let tokenizer = tokenizer(|_| {});
    let [start, end] = ["[CLS]", "[SEP]"].map(|text| tokenizer.special(text).expect("it has one"));
    assert_eq!(tokenizer.encode_for_embedding("a"), [start, 10, end]);
    assert_eq!(tokenizer.encode_for_embedding(""), [start, end]);
    // Someone who writes the tokens themselves gets brackets and a word.
    assert!(!tokenizer.encode("[SEP]", false, false).contains(&end));
    assert_eq!(spelled(&tokenizer, "[SEP]"), ["▁[", "▁sep", "▁]"]);
    assert_eq!(tokenizer.encode("a[SEP]a", true, false), [10, end, 10]);
}

#[test]
fn words_come_back_with_one_space_between_them() {
    let tokenizer = tokenizer(|_| {});
    let tokens = tokenizer.encode_for_embedding(" Unaffable\n\nÉcole");
    assert_eq!(tokenizer.decode(&tokens), "unaffable ecole");
    let mut stream = tokenizer.decode_stream();
    let streamed: Vec<String> = tokens.iter().filter_map(|id| stream.push(*id)).collect();
    assert_eq!(streamed, ["un", "affable", " ecole"]);
}
