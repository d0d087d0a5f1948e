//! Clients of Anthropic: messages, events, tools, counts, and refusals as they read them.

mod support;

use serde_json::{Value, json};

use support::{Fixture, Reply};

const MESSAGES: &str = "/v1/messages";

fn asked(text: &str) -> Value {
    json!({ "model": "demo", "max_tokens": 64, "messages": [{ "role": "user", "content": text }] })
}

fn events(reply: &Reply) -> Vec<Value> {
    let read = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
        data
    };
    reply.text.split("\n\n").filter(|event| !event.is_empty()).map(read).collect()
}

#[tokio::test]
async fn a_message_comes_whole_with_its_usage() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let answer = fixture.post(MESSAGES, &token, &asked("hello")).await.json();
    assert_eq!(answer["content"], json!([{ "type": "text", "text": "Hello, wörld" }]));
    assert_eq!((&answer["stop_reason"], &answer["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    let usage = &answer["usage"];
    assert_eq!((&usage["input_tokens"], &usage["cache_read_input_tokens"]), (&json!(3), &json!(2)));
    for (text, reason, sequence) in
        [("length", "max_tokens", Value::Null), ("stop text", "stop_sequence", json!("END"))]
    {
        let answer = fixture.post(MESSAGES, &token, &asked(text)).await.json();
        assert_eq!((&answer["stop_reason"], &answer["stop_sequence"]), (&json!(reason), &sequence));
    }
    let answer = fixture.post(MESSAGES, &token, &asked("think")).await.json();
    assert_eq!(answer["content"][0]["thinking"], "Let me see.");
}

#[tokio::test]
async fn a_stream_opens_and_closes_its_blocks() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let mut question = asked("think");
    question["stream"] = json!(true);
    let events = events(&fixture.post(MESSAGES, &token, &question).await);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    assert_eq!((&events[6]["index"], &events[7]["delta"]["text"]), (&json!(1), &json!("Yes.")));
    assert_eq!(
        (&events[9]["delta"]["stop_reason"], &events[9]["usage"]["output_tokens"]),
        (&json!("end_turn"), &json!(3))
    );
    question = asked("fail");
    question["stream"] = json!(true);
    let reply = fixture.post(MESSAGES, &token, &question).await;
    assert!(reply.text.contains("event: error") && !reply.text.contains("message_stop"), "{}", reply.text);
}

#[tokio::test]
async fn tools_are_called_and_answered() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let mut question = asked("hello");
    question["tools"] = json!([{ "name": "weather", "description": "tells it", "input_schema": { "type": "object" } }]);
    question["tool_choice"] = json!({ "type": "any", "disable_parallel_tool_use": true });
    let answer = fixture.post(MESSAGES, &token, &question).await.json();
    assert_eq!(answer["stop_reason"], "tool_use");
    let call = &answer["content"][0];
    assert_eq!((&call["name"], &call["input"]), (&json!("weather"), &json!({ "city": "Oslo" })));
    question["stream"] = json!(true);
    let streamed = events(&fixture.post(MESSAGES, &token, &question).await);
    let partial: String = streamed.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!(partial, r#"{"city":"Oslo"}"#);
    let mut question = asked("call weather");
    question["system"] = json!([{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } }]);
    question["messages"] = json!([
        { "role": "user", "content": "weather?" },
        { "role": "assistant", "content": answer["content"] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": call["id"], "content": [{ "type": "text", "text": "rain" }] },
        ] },
    ]);
    assert_eq!(fixture.post(MESSAGES, &token, &question).await.status, 200);
    let started = fixture.backend.started.lock().unwrap().pop().unwrap();
    let outpost_serve::Prompt::Chat(chat) = started.prompt else { panic!() };
    let said: Vec<&str> = chat.messages.iter().map(|message| message.role.word()).collect();
    assert_eq!(said, ["system", "user", "assistant", "tool"]);
    assert_eq!(chat.messages[3].call_id, chat.messages[2].calls.first().map(|call| call.id.clone()));
}

#[tokio::test]
async fn tokens_are_counted_and_refusals_have_the_shape_that_clients_read() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let mut count = asked("hello");
    count.as_object_mut().unwrap().remove("max_tokens");
    let reply = fixture.post("/v1/messages/count_tokens", &token, &count).await;
    assert_eq!(reply.json(), json!({ "input_tokens": 5 }));
    let refused = |reply: Reply, status: u16, kind: &str| {
        let error = reply.json();
        assert_eq!((reply.status, &error["type"], &error["error"]["type"]), (status, &json!("error"), &json!(kind)));
        assert!(error["error"]["message"].is_string());
    };
    refused(fixture.post(MESSAGES, &token, &count).await, 400, "invalid_request_error");
    refused(fixture.post(MESSAGES, "nobody", &asked("x")).await, 401, "authentication_error");
    refused(fixture.post(MESSAGES, &fixture.token("auditor"), &asked("x")).await, 403, "permission_error");
    refused(fixture.get(MESSAGES, &token).await, 405, "invalid_request_error");
    let busy = fixture.post(MESSAGES, &token, &asked("busy")).await;
    assert_eq!(busy.header("retry-after"), "7");
    refused(busy, 503, "overloaded_error");
    let mut other = asked("x");
    other["model"] = json!("other");
    refused(fixture.post(MESSAGES, &token, &other).await, 404, "not_found_error");
    let mut picture = asked("x");
    picture["messages"][0]["content"] = json!([{ "type": "image", "source": {} }]);
    let reply = fixture.post(MESSAGES, &token, &picture).await;
    assert!(reply.message().contains("messages[0].content[0].type"), "{}", reply.text);
}
