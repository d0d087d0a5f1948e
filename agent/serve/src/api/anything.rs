//! Any JSON, for tests of what reads requests.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use super::Family;
use crate::error::ApiError;

/// Words that requests give a meaning to.
const WORDS: [&str; 21] = [
    "user",
    "assistant",
    "tool",
    "text",
    "function",
    "message",
    "function_call",
    "function_call_output",
    "reasoning",
    "thinking",
    "tool_use",
    "tool_result",
    "input_text",
    "json_schema",
    "json_object",
    "auto",
    "required",
    "allowed_tools",
    "none",
    "high",
    "",
];

/// Any JSON of a few levels.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::String),
        prop::sample::select(&WORDS[..]).prop_map(|word| json!(word)),
    ];
    let key = "role|content|type|text|name|function|parameters|schema|id|input|tool_calls|tool_call_id|call_id|output|\
               arguments|format|effort|mode|tools|[a-z0-9]{1,4}";
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::hash_map(key, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Holds a parser to what all of them promise: any object is read, or refused with 400 and the place that is wrong. `good`
/// has every field that it knows; it is read as it is, and again with anything in up to three of its fields.
pub(super) fn holds<T>(good: &Value, parse: impl Fn(Map<String, Value>) -> Result<T, ApiError>) {
    let Value::Object(good) = good else { panic!("{good} is no object") };
    if let Err(error) = parse(good.clone()) {
        panic!("{}", error.to_json(Family::OpenAi));
    }
    let fields: Vec<String> = good.keys().cloned().chain(["name".to_owned(), "misspelt".to_owned()]).collect();
    let changes = prop::collection::vec((prop::sample::select(fields), any_json()), 1..4);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(512));
    let held = runner.run(&(changes, prop::bool::weighted(0.1)), |(changes, alone)| {
        let mut object = if alone { Map::new() } else { good.clone() };
        object.extend(changes);
        if let Err(error) = parse(object) {
            let told = error.to_json(Family::OpenAi);
            prop_assert_eq!(error.status, 400);
            prop_assert!(told["error"]["param"].as_str().is_some_and(|place| !place.is_empty()), "{}", told);
        }
        Ok(())
    });
    if let Err(broken) = held {
        panic!("{broken}");
    }
}
