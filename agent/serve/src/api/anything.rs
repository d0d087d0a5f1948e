//! Any JSON, for tests of what reads requests.

use proptest::prelude::*;
use serde_json::{Value, json};

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
