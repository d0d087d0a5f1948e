//! Schemas and texts that were made to do harm: refused or followed, in bounded time, and nothing else.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn refused(shape: Shape) -> String {
    vocabulary().compile(&shape).map(drop).expect_err("it is refused").to_string()
}

#[test]
fn what_is_too_large_is_refused_with_its_size_and_the_limit() {
    let long = json!({ "description": "x".repeat(300_000) });
    assert!(refused(Shape::Schema(long)).contains("262144"));
    let mut deep = json!({ "type": "string" });
    (0..150).for_each(|_| deep = json!({ "type": "array", "items": deep.clone() }));
    assert!(refused(Shape::Schema(deep)).contains("levels deep"));
    let many: serde_json::Map<String, Value> = (0..600).map(|index| (format!("p{index}"), json!({}))).collect();
    assert!(refused(Shape::Schema(json!({ "properties": many }))).contains("600"));
    assert!(refused(Shape::Schema(json!({ "minLength": 1_000_000 }))).contains("`#/minLength`"));
    assert!(refused(Shape::Schema(json!({ "maxItems": u64::MAX }))).contains("`#/maxItems`"));
    assert!(refused(Shape::Regex("a".repeat(5_000))).contains("4096"));
    assert!(refused(Shape::Lark("a".repeat(50_000))).contains("32768"));
    assert!(refused(Shape::Lark(format!("start: {}", "(".repeat(1_000)))).contains("nesting"));
    assert!(refused(Shape::Lark("a: b\n".repeat(1_000))).contains("lines"));
}

#[test]
fn what_is_no_regular_expression_and_no_grammar_says_so() {
    assert!(refused(Shape::Regex("(".to_owned())).contains("regular expression"));
    assert!(refused(Shape::Regex(r"(?=a)b".to_owned())).contains("regular expression"));
    for text in ["", "start", "start: missing", "start: start start |", "%import nothing", "start: /(/"] {
        let error = vocabulary().compile(&Shape::Lark(text.to_owned())).map(drop);
        assert!(error.is_err_and(|error| !error.to_string().contains("backtrace")) || text.contains("|"), "{text}");
    }
}

#[test]
fn a_schema_that_refers_to_itself_and_nothing_else_ends() {
    for schema in [
        json!({ "$ref": "#" }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
        json!({ "allOf": [{ "$ref": "#" }] }),
        json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] }),
        json!({ "type": "array", "minItems": 1, "items": { "$ref": "#" } }),
    ] {
        match vocabulary().compile(&Shape::Schema(schema.clone())) {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(grammar) => drop(walk(&grammar, 1)),
        }
    }
}

#[test]
fn what_costs_too_much_to_follow_ends_the_answer_with_an_error() {
    // As many ways to read a text as there are ways to cut it, in many rules at once.
    let alternatives: Vec<String> = (2..20).map(|count| "start ".repeat(count)).collect();
    let text = format!("start: {} | \"a\"", alternatives.join("| "));
    let grammar = vocabulary().compile(&Shape::Lark(text)).expect("it is a grammar");
    let mut constraint = grammar.constraint();
    let a = vocabulary().tokenizer().encode("a", false, false)[0];
    let ended = (0..200).find_map(|_| constraint.next().and_then(|_| constraint.consume(a)).err());
    assert!(ended.is_some_and(|reason| reason.contains("too costly")));
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-z\\\\\\[\\](){}^$.*+?|/#~%é0-9]{0,12}".prop_map(|text| json!(text)),
        prop::sample::select(vec![
            "string",
            "number",
            "integer",
            "object",
            "array",
            "null",
            "boolean",
            "date",
            "#",
            "#/$defs/a"
        ])
        .prop_map(|text| json!(text)),
    ];
    let keywords: Vec<&str> = super::super::schema::keywords::KEYWORDS.iter().map(|(name, ..)| *name).collect();
    let keyword = prop_oneof![8 => prop::sample::select(keywords), 1 => Just("a"), 1 => Just("x-guidance")];
    leaf.prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            3 => prop::collection::vec((keyword.clone(), inner.clone()), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::Array),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_json_is_a_schema_or_refused(schema in schema()) {
        if let Ok(grammar) = vocabulary().compile(&Shape::Schema(schema)) {
            walk(&grammar, 7);
        }
    }

    #[test]
    fn any_text_is_a_regular_expression_or_refused(text in "[a-c\\\\\\[\\](){}^$.*+?|/&~0-9,-]{0,30}") {
        if let Ok(grammar) = vocabulary().compile(&Shape::Regex(text)) {
            walk(&grammar, 7);
        }
    }

    #[test]
    fn any_text_is_a_grammar_or_refused(
        rules in prop::collection::vec("(start|a|B): [a-z\"/|()*+?~\\[\\]{}<>%@0-9 ABn\\\\-]{0,30}\n", 1..4),
    ) {
        if let Ok(grammar) = vocabulary().compile(&Shape::Lark(rules.concat())) {
            walk(&grammar, 7);
        }
    }

    #[test]
    fn a_pattern_is_translated_or_refused(pattern in "\\PC{0,40}") {
        let schema = json!({ "type": "string", "pattern": pattern, "maxLength": 20 });
        if let Ok(grammar) = vocabulary().compile(&Shape::Schema(schema)) {
            walk(&grammar, 7);
        }
    }
}
