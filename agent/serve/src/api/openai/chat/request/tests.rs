//! Requests as clients send them, and as they should not.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::anything::any_json;
use crate::{Message, Role, Sampling, Shape, ToolCall, ToolChoice};

/// Fields with which anything may come.
const FIELDS: [&str; 29] = [
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
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "response_format",
    "guided_json",
    "guided_choice",
    "guided_regex",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "reasoning_effort",
    "chat_template_kwargs",
    "presence_penalty",
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
fn what_is_not_served_is_refused_by_name_with_the_way_out() {
    for (field, value) in [
        ("functions", json!([{ "name": "f" }])),
        ("function_call", json!("auto")),
        ("grammar", json!("root ::= x")),
        ("structured_outputs", json!({ "json": {} })),
        ("audio", json!({ "voice": "x" })),
        ("modalities", json!(["text", "audio"])),
        ("web_search_options", json!({})),
        ("verbosity", json!("low")),
    ] {
        assert_eq!(fault(json!({ field: value })), (field.to_owned(), "unsupported_parameter".to_owned()));
    }
    let error = with(json!({ "functions": [{ "name": "f" }] })).unwrap_err().to_json(crate::api::Family::OpenAi);
    assert!(error["error"]["message"].as_str().unwrap().contains("`tools`"), "{error}");
}

fn weather() -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    json!({ "type": "function", "function": { "name": "weather", "description": "of a city", "parameters": parameters } })
}

fn chat_of(more: Value) -> Chat {
    match with(more).unwrap().asked.prompt {
        Prompt::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tools_and_every_choice_among_them_are_understood() {
    let time = json!({ "type": "function", "function": { "name": "time", "strict": true } });
    let choose = |choice: Value| chat_of(json!({ "tools": [weather(), time.clone()], "tool_choice": choice }));
    let chat = choose(json!("auto"));
    assert_eq!((chat.tools[0].name.as_str(), chat.tools[0].description.as_str()), ("weather", "of a city"));
    assert_eq!(chat.tools[1].parameters, json!({ "type": "object", "properties": {} }));
    assert_eq!((chat.tool_choice, chat.parallel_calls), (ToolChoice::Auto, true));
    assert_eq!(choose(json!("none")).tool_choice, ToolChoice::None);
    assert_eq!(choose(json!("required")).tool_choice, ToolChoice::Required);
    let named = json!({ "type": "function", "function": { "name": "time" } });
    assert_eq!(choose(named.clone()).tool_choice, ToolChoice::Named("time".to_owned()));
    let allowed = choose(json!({ "type": "allowed_tools", "allowed_tools": { "mode": "required", "tools": [named] } }));
    assert_eq!((allowed.tools.len(), allowed.tool_choice), (1, ToolChoice::Required));
    assert!(!chat_of(json!({ "tools": [weather()], "parallel_tool_calls": false })).parallel_calls);
}

#[test]
fn tools_that_are_none_are_refused_by_place() {
    let function = |function: Value| json!({ "tools": [{ "type": "function", "function": function }] });
    for (more, place) in [
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
        (json!({ "tools": ["weather"] }), "tools[0]"),
        (json!({ "tools": [weather(), weather()] }), "tools[1]"),
        (json!({ "tools": vec![weather(); 129] }), "tools"),
        (function(json!({ "name": "a b" })), "tools[0].function.name"),
        (function(json!({ "name": "x".repeat(65) })), "tools[0].function.name"),
        (function(json!({ "name": "a", "parameters": { "type": "string" } })), "tools[0].function.parameters"),
        (function(json!({ "name": "a", "parameters": [] })), "tools[0].function.parameters"),
        (function(json!({ "name": "a", "descripton": "x" })), "tools[0].function.descripton"),
        (function(json!({ "name": "a", "description": "x".repeat(300_000) })), "tools"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "tool_choice": "sometimes" }), "tool_choice"),
        (json!({ "tool_choice": { "type": "function", "function": { "name": "weather" } } }), "tool_choice"),
        (json!({ "tool_choice": { "type": "function" } }), "tool_choice.function"),
    ] {
        assert_eq!(fault(more.clone()).0, place, "{place}");
    }
}

#[test]
fn every_form_of_an_answer_is_understood() {
    let shape = |more: Value| with(more).unwrap().asked.shape;
    let schema = json!({ "type": "object", "properties": {} });
    let named = json!({ "name": "answer", "schema": schema, "strict": true });
    let formatted = |format: Value| shape(json!({ "response_format": format }));
    assert_eq!(formatted(json!({ "type": "json_object" })), Shape::Object);
    assert_eq!(formatted(json!({ "type": "json_object", "schema": schema })), Shape::Schema(schema.clone()));
    assert_eq!(formatted(json!({ "type": "json_schema", "json_schema": named })), Shape::Schema(schema.clone()));
    assert_eq!(shape(json!({ "guided_json": schema.to_string() })), Shape::Schema(schema));
    assert_eq!(shape(json!({ "guided_regex": "[a-z]+" })), Shape::Regex("[a-z]+".to_owned()));
    assert_eq!(shape(json!({ "guided_choice": ["a.b", "c"] })), Shape::Regex("(a\\.b|c)".to_owned()));
    assert_eq!(shape(json!({ "guided_grammar": "start: \"a\"" })), Shape::Lark("start: \"a\"".to_owned()));
    for (more, place) in [
        (json!({ "response_format": { "type": "xml" } }), "response_format.type"),
        (json!({ "response_format": "json" }), "response_format"),
        (json!({ "response_format": { "type": "json_schema" } }), "response_format.json_schema"),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": {} } } }),
            "response_format.json_schema.name",
        ),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "a" } } }),
            "response_format.json_schema.schema",
        ),
        (json!({ "response_format": { "type": "json_object" }, "guided_regex": "a" }), "response_format"),
        (json!({ "guided_json": "{" }), "guided_json"),
        (json!({ "guided_choice": [1] }), "guided_choice"),
    ] {
        assert_eq!(fault(more.clone()).0, place, "{more}");
    }
}

#[test]
fn thinking_is_switched_by_effort_or_by_the_templates_own_switch() {
    assert_eq!(chat_of(json!({})).thinking, None);
    assert_eq!(chat_of(json!({ "reasoning_effort": "none" })).thinking, Some(false));
    assert_eq!(chat_of(json!({ "reasoning_effort": "low" })).thinking, Some(true));
    let both = json!({ "reasoning_effort": "high", "chat_template_kwargs": { "enable_thinking": false } });
    assert_eq!(chat_of(both).thinking, Some(false));
    assert_eq!(fault(json!({ "chat_template_kwargs": { "x": 1 } })).0, "chat_template_kwargs.x");
}

#[test]
fn biases_are_read_by_token_and_scores_need_to_be_asked_for() {
    let asked =
        with(json!({ "logit_bias": { "50": -100, "7": 1.5 }, "logprobs": true, "top_logprobs": 3 })).unwrap().asked;
    let mut bias = asked.sampling.logit_bias;
    bias.sort_by_key(|(token, _)| *token);
    assert_eq!((bias, asked.scores), (vec![(7, 1.5), (50, -100.0)], Some(3)));
    assert_eq!(with(json!({ "logprobs": true })).unwrap().asked.scores, Some(0));
    assert_eq!(fault(json!({ "top_logprobs": 3 })).0, "top_logprobs");
}

#[test]
fn calls_and_what_tools_said_come_back_with_their_names() {
    let call = json!({ "id": "c1", "type": "function", "function": { "name": "weather", "arguments": "{}" } });
    let messages = json!([
        { "role": "user", "content": "how is it?" },
        { "role": "assistant", "content": null, "reasoning_content": "I should look", "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "c1", "content": "rain" },
    ]);
    let read = messages_of(with(json!({ "messages": messages })).unwrap());
    let call = ToolCall { id: "c1".to_owned(), name: "weather".to_owned(), arguments: "{}".to_owned() };
    assert_eq!((read[1].calls.clone(), read[1].reasoning.as_deref()), (vec![call], Some("I should look")));
    assert_eq!(
        (read[2].role, read[2].call_id.as_deref(), read[2].name.as_deref()),
        (Role::Tool, Some("c1"), Some("weather"))
    );
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
        ("n", json!(9)),
        ("n", json!(0)),
        ("frequency_penalty", json!(2.5)),
        ("reasoning_effort", json!("much")),
        ("logit_bias", json!({ "word": 1 })),
        ("logit_bias", json!({ "1": 200 })),
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
fn a_message_by_nobody_or_with_half_a_call_is_refused_by_place() {
    let fault_of = |message: Value| fault(json!({ "messages": [{ "role": "user", "content": "x" }, message] })).0;
    assert_eq!(fault_of(json!({ "role": "wizard", "content": "x" })), "messages[1].role");
    assert_eq!(fault_of(json!({ "role": "function", "content": "x" })), "messages[1].role");
    assert_eq!(fault_of(json!({ "role": "tool", "content": "x" })), "messages[1].tool_call_id");
    assert_eq!(fault_of(json!({ "role": "tool", "tool_call_id": "c9", "content": "x" })), "messages[1].tool_call_id");
    assert_eq!(fault_of(json!({ "content": "x" })), "messages[1].role");
    assert_eq!(fault_of(json!("x")), "messages[1]");
    assert_eq!(fault_of(json!({ "role": "assistant", "content": null })), "messages[1].content");
    assert_eq!(fault_of(json!({ "role": "user", "content": "x", "tool_calls": [1] })), "messages[1].tool_calls");
    let call = |call: Value| json!({ "role": "assistant", "tool_calls": [call] });
    assert_eq!(fault_of(call(json!({ "id": "1" }))), "messages[1].tool_calls[0].function");
    assert_eq!(fault_of(call(json!({ "function": { "name": "f" } }))), "messages[1].tool_calls[0].id");
    let old = json!({ "role": "assistant", "content": "x", "function_call": { "name": "f" } });
    assert_eq!(fault_of(old), "messages[1].function_call");
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_value_of_any_field_is_read_or_refused_without_panic(field in prop::sample::select(&FIELDS[..]), value in any_json()) {
        if let Ok(call) = with(json!({ field: value })) {
            prop_assert!(call.asked.max_tokens != Some(0));
            prop_assert!(!messages_of(call).is_empty());
        }
    }
}
