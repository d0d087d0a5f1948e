//! Requests as clients send them, and as they should not.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Fields with which anything may come.
const FIELDS: [&str; 16] = [
    "model",
    "messages",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "repeat_penalty",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "stream",
    "stream_options",
    "n",
    "tools",
];

fn with(more: Value) -> Result<ChatCall, ApiError> {
    let mut request = json!({ "model": "demo", "messages": [{ "role": "user", "content": "hello" }] });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parse(request.as_object().unwrap().clone())
}

fn messages_of(call: ChatCall) -> Vec<Message> {
    match call.asked.prompt {
        Prompt::Chat(chat) => chat.messages,
        other => panic!("{other:?}"),
    }
}

/// The field that an error names, and its code.
fn fault(more: Value) -> (String, String) {
    let error = with(more.clone()).expect_err(&more.to_string()).to_json(crate::api::Family::OpenAi);
    let text = |key: &str| error["error"][key].as_str().unwrap_or_default().to_owned();
    assert!(text("message").len() > 10);
    (text("param"), text("code"))
}

#[test]
fn a_plain_question_leaves_everything_else_to_the_model() {
    let call = with(json!({})).unwrap();
    let asked = call.asked;
    let messages = vec![Message::new(Role::User, "hello")];
    assert_eq!((asked.sampling, asked.max_tokens, asked.stream), (Sampling::default(), None, false));
    assert_eq!(asked.prompt, Prompt::Chat(Chat { messages, ..Chat::default() }));
}

#[test]
fn every_field_that_is_read_is_understood() {
    let call = with(json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "seed": -1,
        "max_tokens": 7, "max_completion_tokens": 8, "stop": ["a", "b"], "stream": true,
        "stream_options": { "include_usage": true }, "n": 1, "user": "u", "frequency_penalty": 0,
    }))
    .unwrap();
    let asked = call.asked;
    assert_eq!((asked.max_tokens, asked.stream, call.include_usage), (Some(8), true, true));
    assert_eq!(asked.stop, ["a", "b"]);
    let sampling = asked.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (Some(0.5), Some(0.9), Some(40)));
    assert_eq!((sampling.min_p, sampling.repetition_penalty, sampling.seed), (Some(0.05), Some(1.1), Some(u64::MAX)));
}

#[test]
fn null_and_neutral_values_ask_for_nothing() {
    with(json!({
        "temperature": null, "stop": null, "tools": [], "tool_choice": "none", "response_format": { "type": "text" },
        "logprobs": false, "logit_bias": {}, "modalities": ["text"], "top_logprobs": 0, "functions": null,
    }))
    .unwrap();
}

#[test]
fn what_would_change_the_answer_is_refused_by_name() {
    for (field, value) in [
        ("tools", json!([{ "type": "function" }])),
        ("tool_choice", json!("auto")),
        ("response_format", json!({ "type": "json_object" })),
        ("logprobs", json!(true)),
        ("logit_bias", json!({ "1": 5 })),
        ("n", json!(2)),
        ("frequency_penalty", json!(0.5)),
        ("presence_penalty", json!(-0.5)),
        ("reasoning_effort", json!("high")),
        ("grammar", json!("root ::= x")),
    ] {
        assert_eq!(fault(json!({ field: value })), (field.to_owned(), "unsupported_parameter".to_owned()));
    }
}

#[test]
fn a_misspelt_field_is_refused_with_the_nearest_one() {
    let error = with(json!({ "temprature": 0.5 })).unwrap_err().to_json(crate::api::Family::OpenAi);
    assert!(error["error"]["message"].as_str().unwrap().contains("did you mean `temperature`?"), "{error}");
    assert_eq!(error["error"]["param"], "temprature");
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (field, value) in [
        ("temperature", json!(2.1)),
        ("temperature", json!("hot")),
        ("temperature", json!(-0.1)),
        ("top_p", json!(0)),
        ("top_k", json!(-1)),
        ("min_p", json!(1.5)),
        ("repetition_penalty", json!(0)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(1.5)),
        ("max_completion_tokens", json!(u64::MAX)),
        ("seed", json!(1.5)),
        ("stop", json!([""])),
        ("stop", json!(vec!["x"; 17])),
        ("stop", json!(5)),
        ("stream", json!("yes")),
        ("stream_options", json!({ "include_usage": true })),
        ("model", json!("")),
        ("model", json!(["demo"])),
        ("messages", json!([])),
        ("messages", json!("hello")),
    ] {
        assert_eq!(fault(json!({ field: value })).0, field, "{value}");
    }
}

#[test]
fn text_parts_are_joined_and_other_parts_are_refused_by_place() {
    let message = |content: Value| json!({ "messages": [{ "role": "user", "content": content }] });
    let parts = json!([{ "type": "text", "text": "one " }, { "type": "text", "text": "two" }]);
    assert_eq!(messages_of(with(message(parts)).unwrap())[0].content, "one two");
    let image = json!([{ "type": "text", "text": "see" }, { "type": "image_url", "image_url": {} }]);
    assert_eq!(fault(message(image)).0, "messages[0].content[1]");
    assert_eq!(fault(message(json!(5))).0, "messages[0].content");
}

#[test]
fn a_message_by_nobody_or_with_tools_is_refused_by_place() {
    let fault_of = |message: Value| fault(json!({ "messages": [{ "role": "user", "content": "x" }, message] })).0;
    assert_eq!(fault_of(json!({ "role": "wizard", "content": "x" })), "messages[1].role");
    assert_eq!(fault_of(json!({ "role": "tool", "content": "x" })), "messages[1].role");
    assert_eq!(fault_of(json!({ "content": "x" })), "messages[1].role");
    assert_eq!(fault_of(json!("x")), "messages[1]");
    let calls = json!({ "role": "assistant", "content": "x", "tool_calls": [{ "id": "1" }] });
    assert_eq!(fault_of(calls), "messages[1].tool_calls");
}

#[test]
fn an_answer_can_be_sent_back_as_it_came() {
    let messages = json!([
        { "role": "developer", "content": "be brief" },
        { "role": "user", "content": "hello", "name": "ada" },
        { "role": "assistant", "content": "hi", "refusal": null, "tool_calls": [], "annotations": [] },
    ]);
    let call = with(json!({ "messages": messages })).unwrap();
    assert_eq!(
        messages_of(call).iter().map(|message| message.role.word()).collect::<Vec<_>>(),
        ["system", "user", "assistant"]
    );
}

/// Any JSON of a few levels.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::String),
        Just(json!("user")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::hash_map("role|content|type|text|[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_value_of_any_field_is_read_or_refused_without_panic(field in prop::sample::select(&FIELDS[..]), value in any_json()) {
        if let Ok(call) = with(json!({ field: value })) {
            prop_assert!(call.asked.max_tokens != Some(0));
            prop_assert!(!messages_of(call).is_empty());
        }
    }
}
