//! Requests for responses as clients send them, and as they should not.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::anything::any_json;
use crate::{Shape, ToolChoice};

/// Fields with which anything may come.
const FIELDS: [&str; 18] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "include",
    "metadata",
    "previous_response_id",
    "store",
    "truncation",
    "max_output_tokens",
    "top_logprobs",
    "stream",
    "stream_options",
    "background",
];

fn with(more: Value) -> Result<ResponseCall, ApiError> {
    let mut request = json!({ "model": "demo", "input": "hello" });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parse(request.as_object().unwrap().clone())
}

fn fault(more: Value) -> String {
    let error = with(more.clone()).expect_err(&more.to_string()).to_json(crate::api::Family::OpenAi);
    assert!(error["error"]["message"].as_str().unwrap().len() > 10);
    error["error"]["param"].as_str().unwrap_or_default().to_owned()
}

fn chat_of(more: Value) -> Chat {
    match with(more).unwrap().asked.prompt {
        Prompt::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_is_one_message_after_the_instructions() {
    let call = with(json!({ "instructions": "be brief" })).unwrap();
    assert_eq!(call.messages, [Message::new(Role::User, "hello")]);
    let chat = chat_of(json!({ "instructions": "be brief" }));
    assert_eq!(chat.messages, [Message::new(Role::System, "be brief"), Message::new(Role::User, "hello")]);
    assert_eq!(call.input[0]["content"][0], json!({ "type": "input_text", "text": "hello" }));
    assert!(call.store && !call.asked.stream);
}

#[test]
fn items_of_one_turn_become_one_message() {
    let input = json!([
        { "role": "user", "content": [{ "type": "input_text", "text": "how is it?" }] },
        { "type": "reasoning", "id": "rs_1", "summary": [], "content": [{ "type": "reasoning_text", "text": "look" }] },
        { "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": "{}", "status": "completed" },
        { "type": "function_call", "call_id": "c2", "name": "time", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "c2", "output": "noon" },
        { "type": "function_call_output", "call_id": "c1", "output": [{ "type": "input_text", "text": "rain" }] },
        { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "Rain.", "annotations": [] }] },
        { "type": "message", "role": "assistant", "content": "Noon." },
    ]);
    let messages = with(json!({ "input": input })).unwrap().messages;
    let roles: Vec<_> = messages.iter().map(|message| message.role.word()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "assistant", "assistant"]);
    assert_eq!((messages[1].calls.len(), messages[1].reasoning.as_deref()), (2, Some("look")));
    assert_eq!((messages[2].name.as_deref(), messages[3].name.as_deref()), (Some("time"), Some("weather")));
    assert_eq!(messages[3].content, "rain");
}

#[test]
fn everything_else_that_is_read_is_understood() {
    let call = with(json!({
        "tools": [{ "type": "function", "name": "weather", "parameters": { "type": "object" }, "strict": true }],
        "tool_choice": { "type": "function", "name": "weather" }, "parallel_tool_calls": false,
        "text": { "format": { "type": "json_schema", "name": "a", "schema": { "type": "object" } }, "verbosity": "medium" },
        "reasoning": { "effort": "none", "summary": "auto" }, "include": ["message.output_text.logprobs"], "top_logprobs": 2,
        "max_output_tokens": 9, "temperature": 0.5, "metadata": { "a": "b" }, "truncation": "disabled", "store": false,
        "stream": true, "previous_response_id": "resp_1", "background": false,
    }))
    .unwrap();
    let Prompt::Chat(chat) = &call.asked.prompt else { panic!("no chat") };
    assert_eq!((&chat.tool_choice, chat.parallel_calls), (&ToolChoice::Named("weather".to_owned()), false));
    assert_eq!((chat.thinking, call.top, call.asked.max_tokens), (Some(false), Some(2), Some(9)));
    assert_eq!(call.asked.shape, Shape::Schema(json!({ "type": "object" })));
    assert_eq!((call.store, call.previous.as_deref()), (false, Some("resp_1")));
    assert_eq!(with(json!({ "include": ["reasoning.encrypted_content"] })).unwrap().top, None);
}

#[test]
fn what_is_not_served_is_refused_by_place() {
    let item = |item: Value| json!({ "input": [item] });
    for (more, place) in [
        (json!({ "background": true }), "background"),
        (json!({ "conversation": "conv_1" }), "conversation"),
        (json!({ "prompt": { "id": "pmpt_1" } }), "prompt"),
        (json!({ "truncation": "auto" }), "truncation"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
        (json!({ "tools": [{ "type": "mcp", "server_label": "x" }] }), "tools[0].type"),
        (json!({ "include": ["web_search_call.results"] }), "include[0]"),
        (json!({ "text": { "format": { "type": "grammar" } } }), "text.format.type"),
        (json!({ "text": { "verbosity": "low" } }), "text.verbosity"),
        (json!({ "reasoning": { "summary": "detailed" } }), "reasoning.summary"),
        (json!({ "metadata": { "a": 1 } }), "metadata"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": null }), "input"),
        (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
        (json!({ "max_tokens": 5 }), "max_tokens"),
        (item(json!({ "type": "item_reference", "id": "x" })), "input[0].type"),
        (item(json!({ "type": "image_generation_call" })), "input[0].type"),
        (
            item(json!({ "role": "user", "content": [{ "type": "input_image", "image_url": "x" }] })),
            "input[0].content[0]",
        ),
        (item(json!({ "role": "user", "content": [{ "type": "input_file", "file_id": "x" }] })), "input[0].content[0]"),
        (item(json!({ "role": "tool", "content": "x" })), "input[0].role"),
        (item(json!({ "type": "function_call_output", "output": "x" })), "input[0].call_id"),
        (item(json!({ "type": "reasoning", "summary": [], "encrypted_content": "x" })), "input[0].encrypted_content"),
    ] {
        assert_eq!(fault(more.clone()), place, "{more}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_value_of_any_field_is_read_or_refused_without_panic(field in prop::sample::select(&FIELDS[..]), value in any_json()) {
        if let Ok(call) = with(json!({ field: value })) {
            prop_assert!(!call.messages.is_empty() && !call.input.is_empty());
        }
    }

    #[test]
    fn any_item_is_read_or_refused_without_panic(items in prop::collection::vec(any_json(), 0..4)) {
        let _ = with(json!({ "input": items }));
    }
}
