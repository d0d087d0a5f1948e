//! `/v1/responses`: items whole and as events, and responses that are kept for their owner alone.

mod support;

use serde_json::{Value, json};

use support::{Fixture, Reply};

const RESPONSES: &str = "/v1/responses";

/// Length of an id that cannot be guessed.
const GOOD_ID: usize = "resp_".len() + 40;

fn asked(input: &str) -> Value {
    json!({ "model": "demo", "input": input })
}

fn with(mut asked: Value, more: Value) -> Value {
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    asked
}

/// The events of a stream, after checking that each is named by its type and that they are counted.
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/event-stream"), "{}", reply.text);
    let blocks = reply.text.split("\n\n").filter(|block| !block.is_empty() && *block != "data: [DONE]");
    let events: Vec<Value> = blocks
        .map(|block| {
            let (name, data) = block.split_once('\n').unwrap();
            let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name, format!("event: {}", event["type"].as_str().unwrap()));
            event
        })
        .collect();
    assert!(events.iter().enumerate().all(|(place, event)| event["sequence_number"] == place), "{}", reply.text);
    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().trim_start_matches("response.")).collect()
}

fn weather() -> Value {
    json!([{ "type": "function", "name": "weather", "parameters": { "type": "object", "properties": {} } }])
}

#[tokio::test]
async fn an_answer_has_every_field_that_strict_clients_look_for() {
    let fixture = Fixture::start().await;
    let request = with(
        asked("hello"),
        json!({ "instructions": "be brief", "temperature": 0.7, "metadata": { "a": "b" }, "store": false }),
    );
    let reply = fixture.post(RESPONSES, &fixture.token("operator"), &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let mut response = reply.json();
    let id = response["id"].take();
    assert_eq!(id.as_str().unwrap().len(), GOOD_ID);
    let item = response["output"][0]["id"].take();
    assert!(item.as_str().unwrap().starts_with("msg_"));
    let part = json!({ "type": "output_text", "text": "Hello, wörld", "annotations": [], "logprobs": [] });
    assert_eq!(
        response,
        json!({
            "id": null, "object": "response", "created_at": support::NOW_S, "completed_at": support::NOW_S,
            "status": "completed", "background": false, "error": null, "incomplete_details": null,
            "instructions": "be brief", "max_output_tokens": null, "max_tool_calls": null, "model": "demo",
            "output": [{ "type": "message", "id": null, "status": "completed", "role": "assistant", "content": [part] }],
            "parallel_tool_calls": true, "previous_response_id": null, "reasoning": { "effort": null, "summary": null },
            "service_tier": "default", "store": false, "temperature": 0.7, "text": { "format": { "type": "text" } },
            "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0, "presence_penalty": 0.0,
            "frequency_penalty": 0.0, "truncation": "disabled", "metadata": { "a": "b" }, "user": null,
            "safety_identifier": null, "prompt_cache_key": null,
            "usage": {
                "input_tokens": 5, "input_tokens_details": { "cached_tokens": 2 }, "output_tokens": 3,
                "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 8,
            },
        })
    );
    assert_eq!(fixture.records(&["infer.start", "infer.end"]).len(), 2);
}

#[tokio::test]
async fn a_text_is_told_in_typed_events_in_their_order() {
    let fixture = Fixture::start().await;
    let request = with(asked("hello"), json!({ "stream": true }));
    let reply = fixture.post(RESPONSES, &fixture.token("operator"), &request).await;
    let events = events(&reply);
    assert!(reply.text.ends_with("data: [DONE]\n\n"));
    assert_eq!(
        kinds(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
    );
    assert_eq!(
        (&events[0]["response"]["status"], &events[0]["response"]["output"]),
        (&json!("in_progress"), &json!([]))
    );
    assert_eq!((&events[2]["item"]["status"], &events[2]["item"]["content"]), (&json!("in_progress"), &json!([])));
    let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!((text.as_str(), &events[7]["text"]), ("Hello, wörld", &json!("Hello, wörld")));
    assert!(
        events[3..9].iter().all(|event| event["item_id"] == events[2]["item"]["id"] && event["content_index"] == 0)
    );
    assert_eq!(events[10]["response"]["output"][0], events[9]["item"]);
    assert_eq!(events[10]["response"]["usage"]["total_tokens"], 8);
}

#[tokio::test]
async fn what_is_thought_is_an_item_of_its_own() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let output = fixture.post(RESPONSES, &token, &asked("think")).await.json()["output"].clone();
    assert_eq!((&output[0]["type"], &output[0]["summary"]), (&json!("reasoning"), &json!([])));
    assert_eq!(output[0]["content"], json!([{ "type": "reasoning_text", "text": "Let me see." }]));
    assert_eq!(output[1]["content"][0]["text"], "Yes.");
    let events = events(&fixture.post(RESPONSES, &token, &with(asked("think"), json!({ "stream": true }))).await);
    assert_eq!(
        kinds(&events)[2..10],
        [
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
        ]
    );
    assert_eq!((&events[8]["output_index"], &events[9]["output_index"]), (&json!(0), &json!(1)));
    // What came can be sent back as it is.
    let mut input = output.as_array().unwrap().clone();
    input.push(json!({ "role": "user", "content": "hello" }));
    let reply = fixture.post(RESPONSES, &token, &json!({ "model": "demo", "input": input })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test]
async fn a_call_is_told_with_its_arguments_and_answered_by_its_id() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let request = with(asked("x"), json!({ "tools": weather(), "tool_choice": "required" }));
    let whole = fixture.post(RESPONSES, &token, &request).await.json();
    let call = whole["output"][0].clone();
    assert_eq!(
        (&call["type"], &call["name"], &call["arguments"]),
        (&json!("function_call"), &json!("weather"), &json!("{\"city\":\"Oslo\"}"))
    );
    assert_eq!((&call["status"], &whole["tools"][0]["strict"]), (&json!("completed"), &json!(true)));
    let events = events(&fixture.post(RESPONSES, &token, &with(request, json!({ "stream": true }))).await);
    assert_eq!(
        kinds(&events)[2..],
        [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    assert_eq!((&events[2]["item"]["arguments"], &events[5]["arguments"]), (&json!(""), &json!("{\"city\":\"Oslo\"}")));
    let answer = json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "hello" });
    let again = json!({ "model": "demo", "input": [{ "role": "user", "content": "x" }, call, answer] });
    assert_eq!(fixture.post(RESPONSES, &token, &again).await.json()["output"][0]["content"][0]["text"], "Hello, wörld");
}

#[tokio::test]
async fn an_answer_that_is_cut_is_incomplete_and_one_that_breaks_off_has_failed() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let cut = fixture.post(RESPONSES, &token, &asked("length")).await.json();
    assert_eq!((&cut["status"], &cut["completed_at"]), (&json!("incomplete"), &Value::Null));
    assert_eq!(
        (&cut["incomplete_details"]["reason"], &cut["output"][0]["status"]),
        (&json!("max_output_tokens"), &json!("incomplete"))
    );
    let events_of = async |script: &str| {
        events(&fixture.post(RESPONSES, &token, &with(asked(script), json!({ "stream": true }))).await)
    };
    assert_eq!(kinds(&events_of("length").await).last(), Some(&"incomplete"));
    for script in ["fail", "vanish"] {
        let reply = fixture.post(RESPONSES, &token, &asked(script)).await;
        assert_eq!((reply.status, reply.code().as_str()), (500, "internal_error"));
        let reply = fixture.post(RESPONSES, &token, &with(asked(script), json!({ "stream": true }))).await;
        assert!(!reply.text.contains("[DONE]") && !reply.text.contains("/a/path"), "{}", reply.text);
        let events = events(&reply);
        let last = events.last().unwrap();
        assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
        assert_eq!(last["response"]["error"]["code"], "server_error");
    }
    let reply = fixture.post(RESPONSES, &token, &asked("too long")).await;
    assert_eq!((reply.code().as_str(), &reply.json()["error"]["param"]), ("context_length_exceeded", &json!("input")));
}

#[tokio::test]
async fn scores_are_told_where_they_are_included() {
    let fixture = Fixture::start().await;
    let include = json!({ "include": ["message.output_text.logprobs"], "top_logprobs": 1 });
    let response = fixture.post(RESPONSES, &fixture.token("operator"), &with(asked("json"), include)).await.json();
    let scores = &response["output"][0]["content"][0]["logprobs"];
    assert_eq!((scores.as_array().unwrap().len(), &scores[0]["logprob"]), (2, &json!(-0.5)));
    assert_eq!(scores[0]["top_logprobs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_policy_does_not_let_be_kept_is_kept_nowhere_and_the_answer_says_so() {
    let fixture = Fixture::start().await;
    let token = fixture.token("auditor");
    assert_eq!(fixture.post(RESPONSES, &token, &asked("hello")).await.status, 403);
    let token = fixture.token("operator");
    let response = fixture.post(RESPONSES, &token, &with(asked("hello"), json!({ "store": false }))).await.json();
    assert_eq!(response["store"], false);
    let path = format!("{RESPONSES}/{}", response["id"].as_str().unwrap());
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("GET", format!("{path}/input_items")),
        ("POST", format!("{path}/cancel")),
        ("GET", format!("{RESPONSES}/%ff")),
    ] {
        let reply = fixture.call(method, &path, &[("authorization", &format!("Bearer {token}"))], "").await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "response_not_found"), "{method} {path}");
    }
    let request = with(asked("again"), json!({ "previous_response_id": response["id"] }));
    let reply = fixture.post(RESPONSES, &token, &request).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "response_not_found"));
    assert!(reply.message().contains("if policy lets them be"), "{}", reply.text);
    assert_eq!(fixture.records(&["infer.denied"]).last().unwrap()["res"]["err"], "response_not_found");
    let output = json!([{ "type": "function_call_output", "call_id": "c9", "output": "rain" }]);
    let reply = fixture.post(RESPONSES, &token, &json!({ "model": "demo", "input": output })).await;
    assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("input")));
}

#[tokio::test]
async fn what_is_kept_goes_on_is_read_and_is_deleted_by_its_owner_alone() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let first =
        fixture.post(RESPONSES, &token, &with(asked("think"), json!({ "instructions": "be brief" }))).await.json();
    assert_eq!(first["store"], true);
    let request = with(asked("hello"), json!({ "previous_response_id": first["id"], "stream": true }));
    let events = events(&fixture.post(RESPONSES, &token, &request).await);
    let second = events.last().unwrap()["response"].clone();
    assert_eq!(second["previous_response_id"], first["id"]);
    let outpost_serve::Prompt::Chat(chat) = fixture.backend.started.lock().unwrap()[1].prompt.clone() else {
        panic!("no chat")
    };
    let said: Vec<_> = chat.messages.iter().map(|message| (message.role.word(), message.content.as_str())).collect();
    assert_eq!(said, [("user", "think"), ("assistant", "Yes."), ("user", "hello")], "instructions are of one turn");
    assert_eq!(chat.messages[1].reasoning.as_deref(), Some("Let me see."));

    let path = format!("{RESPONSES}/{}", second["id"].as_str().unwrap());
    assert_eq!(fixture.get(&path, &token).await.json(), second);
    let items = fixture.get(&format!("{path}/input_items?limit=1&order=asc"), &token).await.json();
    assert_eq!((&items["data"][0]["content"][0]["text"], &items["has_more"]), (&json!("hello"), &json!(false)));
    assert_eq!(fixture.get(&format!("{path}/input_items?limit=0"), &token).await.status, 400);
    assert_eq!(fixture.get(&format!("{path}?stream=true"), &token).await.code(), "unsupported_parameter");
    let cancel =
        fixture.call("POST", &format!("{path}/cancel"), &[("authorization", &format!("Bearer {token}"))], "").await;
    assert_eq!((cancel.status, cancel.code().as_str()), (400, "unsupported_parameter"));

    let other = fixture.api_key("operator");
    assert_eq!(fixture.get(&path, &other).await.code(), "response_not_found");
    let delete =
        async |token: &str| fixture.call("DELETE", &path, &[("authorization", &format!("Bearer {token}"))], "").await;
    assert_eq!(delete(&other).await.status, 404);
    assert_eq!(delete(&token).await.json()["deleted"], true);
    assert_eq!(fixture.get(&path, &token).await.status, 404);
    let acts: Vec<_> = fixture.records(&["admin.act"]).iter().map(|record| record["act"].clone()).collect();
    assert_eq!(acts.iter().filter(|act| **act == "response_delete").count(), 1);
}
