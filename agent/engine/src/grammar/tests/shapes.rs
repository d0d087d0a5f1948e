//! The shapes, and what ends an answer.

use serde_json::json;

use super::*;

fn compile(shape: Shape) -> Grammar {
    vocabulary().compile(&shape).expect("it is a grammar")
}

#[test]
fn an_object_is_any_object_and_nothing_else() {
    let grammar = compile(Shape::Object);
    for text in ["{}", r#"{"a": [1, 2.5, null, {"b": "é\n"}]}"#, "{\n  \"a\": 1\n}"] {
        assert!(takes(&grammar, text), "{text}");
    }
    for text in ["[]", "1", "{", "{}}", "{'a': 1}", "{\"a\": 1,}", " {}", "{\"a\":      1}"] {
        assert!(!takes(&grammar, text), "{text}");
    }
    for seed in 0..50 {
        match walk(&grammar, seed) {
            Walked::Whole(text) => {
                drop(serde_json::from_str::<serde_json::Map<String, Value>>(&text).map_err(|error| {
                    assert!(error.to_string().contains("number out of range"), "{text}: {error}");
                }))
            }
            Walked::Long(_) => {}
            Walked::Failed(reason) => panic!("{reason}"),
        }
    }
}

#[test]
fn a_regular_expression_holds_from_beginning_to_end() {
    let grammar = compile(Shape::Regex("[a-c]{2,4}/(true|false)".to_owned()));
    assert!(takes(&grammar, "abc/true") && takes(&grammar, "cc/false"));
    assert!(!takes(&grammar, "a/true") && !takes(&grammar, "abc/truef") && !takes(&grammar, "xabc/true"));
    for seed in 0..20 {
        let Walked::Whole(text) = walk(&grammar, seed) else { panic!("it ends by itself") };
        assert!(text.ends_with("/true") || text.ends_with("/false"), "{text}");
    }
}

#[test]
fn a_lark_grammar_may_be_recursive() {
    let grammar = compile(Shape::Lark("start: \"(\" start \")\" | \"x\"".to_owned()));
    assert!(takes(&grammar, "((x))") && takes(&grammar, "x"));
    assert!(!takes(&grammar, "((x)") && !takes(&grammar, "()"));
}

#[test]
fn white_space_in_json_is_bounded_in_every_place() {
    let grammar = compile(Shape::Schema(json!({ "type": "array", "items": { "type": "boolean" }, "maxItems": 3 })));
    let blank = |text: &[u8]| text.iter().all(u8::is_ascii_whitespace);
    let tokenizer = vocabulary().tokenizer();
    for seed in 0..30 {
        // Says blanks wherever it may.
        let mut constraint = grammar.constraint();
        let (mut chance, mut said) = (Chance::new(seed), Vec::new());
        for _ in 0..400 {
            let Ok(Next::Among(allowed)) = constraint.next() else { break };
            let tokens: Vec<u32> = (0..tokenizer.vocabulary() as u32)
                .filter(|id| allowed[*id as usize / 32] >> (id % 32) & 1 == 1)
                .collect();
            let blanks: Vec<u32> = tokens.iter().filter(|id| blank(tokenizer.bytes(**id))).copied().collect();
            let among = if blanks.is_empty() { &tokens } else { &blanks };
            let token = among[chance.below(among.len())];
            if token == 2 {
                break;
            }
            said.push(token);
            if constraint.consume(token) == Ok(true) {
                break;
            }
        }
        let text = tokenizer.spell_out(&said);
        let value: Value = serde_json::from_str(&text).expect("blanks come to an end");
        assert!(value.as_array().is_some_and(|items| items.len() <= 3), "{text}");
        assert!(text.len() < 400, "{text}");
    }
}

#[test]
fn what_may_not_follow_is_not_allowed_and_the_end_only_where_it_is_whole() {
    let grammar = compile(Shape::Schema(json!({ "const": 12 })));
    let tokenizer = vocabulary().tokenizer();
    let mut constraint = grammar.constraint();
    assert_eq!(constraint.allows(2), Ok(false));
    assert_eq!(constraint.allows(10_000), Ok(false));
    let one = tokenizer.encode("1", false, false)[0];
    assert_eq!(constraint.allows(one), Ok(true));
    assert_eq!(constraint.consume(one), Ok(false));
    let two = tokenizer.encode("2", false, false)[0];
    assert_eq!(constraint.allows(one), Ok(false));
    assert_eq!(constraint.consume(two), Ok(true), "nothing may follow");
    assert!(constraint.consume(two).is_err());
}

#[test]
fn a_grammar_can_be_followed_by_several_answers_in_several_threads() {
    fn sent<T: Send + Sync>(_: &T) {}
    let grammar = compile(Shape::Object);
    sent(&grammar);
    let alone: Vec<Walked> = (0..4).map(|seed| walk(&grammar, seed)).collect();
    let together = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|seed| (seed, grammar.clone()))
            .map(|(seed, grammar)| scope.spawn(move || walk(&grammar, seed)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it ends")).collect::<Vec<_>>()
    });
    assert_eq!(alone, together);
}
