//! Special tokens: which tokens are structure, where they count, and which end an answer.

use super::made::{CONTROL, NORMAL, USER_DEFINED, hello, put};
use super::*;

fn built(keys: &[(String, Value)]) -> Tokenizer {
    Tokenizer::from_metadata(keys).expect("the tokenizer builds")
}

/// A byte-level vocabulary with one token of every sort.
fn byte_level(template: Option<&str>) -> Tokenizer {
    let tokens = [
        ("a", NORMAL, 0.0),
        ("<", NORMAL, 0.0),
        (">", NORMAL, 0.0),
        ("Ċ", NORMAL, 0.0),
        ("\n\n", USER_DEFINED, 0.0),
        ("<a>", USER_DEFINED, 0.0),
        ("<|a|>", USER_DEFINED, 0.0),
        ("<end_of_turn>", NORMAL, 0.0),
        ("<aa>", CONTROL, 0.0),
    ];
    let mut keys = made::keys("gpt2", &tokens);
    put(&mut keys, "pre", Value::Text("qwen2".to_owned()));
    if let Some(template) = template {
        put(&mut keys, "chat_template", Value::Text(template.to_owned()));
    }
    built(&keys)
}

#[test]
fn user_defined_text_is_matched_always_and_written_back() {
    for tokenizer in [byte_level(None), built(&hello())] {
        let [line] = tokenizer.encode("\n\n", false, false)[..] else { panic!("one token") };
        assert_eq!(tokenizer.text(line), Some("\n\n"));
        assert_eq!(tokenizer.decode(&tokenizer.encode("a\n\na", false, false)), "a\n\na");
    }
    assert_eq!(byte_level(None).encode("<a>\n\n\n", false, false), [5, 4, 3]);
}

#[test]
fn a_user_defined_token_that_the_chat_template_writes_is_structure() {
    let tokenizer = byte_level(Some("{{ '<a>' }}"));
    assert_eq!(tokenizer.encode("<a>", false, false), [1, 0, 2]);
    assert_eq!(tokenizer.encode("<a>", true, false), [5]);
    let mut keys = hello();
    let tool = |keys: &[(String, Value)]| built(keys).encode("<tool>", false, false).len();
    assert_eq!(tool(&keys), 1);
    put(&mut keys, "chat_template", Value::Text("<tool>{{ tools }}</tool>".to_owned()));
    assert!(tool(&keys) > 1);
}

#[test]
fn tokens_that_are_spelled_as_structure_are_structure_whatever_their_type() {
    let tokenizer = byte_level(None);
    let [marked, turn] = ["<|a|>", "<end_of_turn>"].map(|text| tokenizer.special(text).expect("it is special"));
    assert!(!tokenizer.encode("<|a|><end_of_turn>", false, false).iter().any(|id| [marked, turn].contains(id)));
    assert_eq!(tokenizer.encode("<|a|><end_of_turn>a", true, false), [marked, turn, 0]);
    assert_eq!(tokenizer.decode(&[marked, turn]), "");
    assert_eq!(tokenizer.end_of_generation().iter().copied().collect::<Vec<_>>(), [turn]);
}

#[test]
fn control_tokens_are_never_taken_from_a_text() {
    assert_eq!(byte_level(None).encode("<aa>", false, false), [1, 0, 0, 2]);
    assert_eq!(byte_level(None).encode("<aa>", true, false), [8]);
    let tokenizer = built(&hello());
    assert_eq!(tokenizer.encode("</s>", true, false), [2]);
    assert!(!tokenizer.encode("<s></s>", false, false).iter().any(|id| [1, 2].contains(id)));
    assert_eq!(tokenizer.decode(&tokenizer.encode("<s></s><unk>", false, false)), "<s></s><unk>");
}

#[test]
fn the_end_of_a_sentence_is_structure_only_where_its_beginning_begins_sequences() {
    let tokens = [("<s>", USER_DEFINED, 0.0), ("</s>", USER_DEFINED, 0.0), ("<bos>", CONTROL, 0.0), ("▁", NORMAL, 0.0)];
    let begun = |bos| {
        let mut keys = made::keys("llama", &tokens);
        put(&mut keys, "bos_token_id", Value::U32(bos));
        let tokenizer = built(&keys);
        (tokenizer.encode("</s>", false, false).contains(&1), tokenizer.end_of_generation().contains(&1))
    };
    assert_eq!(begun(2), (true, false));
    assert_eq!(begun(0), (false, true));
    // Phi-3 marks it as user-defined.
    assert!(!phi3().encode("</s>", false, false).contains(&2));
}

#[test]
fn every_key_that_names_an_ending_counts() {
    let mut keys = hello();
    put(&mut keys, "eot_token_id", Value::U32(8));
    put(&mut keys, "eom_token_id", Value::I64(9));
    let end = built(&keys).special("<|end|>").expect("it has one");
    assert_eq!(built(&keys).end_of_generation(), &BTreeSet::from([2, 8, 9, end]));
}

#[test]
fn the_token_that_begins_sequences_is_never_doubled() {
    let tokenizer = built(&hello());
    assert!(tokenizer.add_bos());
    let text = Piece::Text("hello".to_owned());
    assert_eq!(tokenizer.encode_pieces(std::slice::from_ref(&text), true), [1, 12]);
    assert_eq!(tokenizer.encode_pieces(&[Piece::Special(1), text.clone()], true), [1, 12]);
    assert_eq!(tokenizer.encode_pieces(&[text], false), [12]);
    let mut keys = hello();
    put(&mut keys, "add_eos_token", Value::Bool(true));
    assert_eq!(built(&keys).encode_for_embedding("hello"), [1, 12, 2]);
}

#[test]
fn of_special_tokens_that_begin_alike_the_longest_counts() {
    let specials = special::Specials::new(
        [("<a", 1), ("<a>", 2), ("<a>>", 3), ("b", 4), ("b", 9), ("", 5)]
            .map(|(text, id)| (text.to_owned(), id))
            .into_iter(),
    );
    use special::Part::{Special, Text};
    assert_eq!(
        specials.split("é<a>>b<a<a>x<"),
        [Text("é"), Special(3), Special(4), Special(1), Special(2), Text("x<")]
    );
    assert_eq!(
        [specials.id("<a>"), specials.id("b"), specials.id("<"), specials.id("")],
        [Some(2), Some(4), None, None]
    );
    assert!(specials.begins(b"<A>x") && specials.begins(b"B") && !specials.begins(b"<") && !specials.begins(b""));
}
