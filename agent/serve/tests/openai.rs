//! The OpenAI family as its clients speak it: several answers, tools, thought, scores, plain completions and vectors.

mod support;

use serde_json::{Value, json};

use support::{CHAT, Fixture, Reply, question, streamed};

const COMPLETIONS: &str = "/v1/completions";
const EMBEDDINGS: &str = "/v1/embeddings";

#[tokio::test]
async fn models_say_what_they_are_for_and_what_they_can() {
    let fixture = Fixture::start().await;
    let models = fixture.get("/v1/models", &fixture.token("operator")).await.json();
    let meta = |place: usize| models["data"][place]["meta"].clone();
    assert_eq!(
        (&meta(0)["purpose"], &meta(0)["tools"], &meta(0)["thinking"]),
        (&json!("generation"), &json!(true), &json!(true))
    );
    assert_eq!((&meta(1)["purpose"], &meta(1)["loaded"]), (&json!("embedding"), &json!(false)));
}

/// The chunks of a stream that came to its end.
fn chunks(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/event-stream"), "{}", reply.text);
    let mut events: Vec<&str> = reply.text.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert_eq!(events.pop(), Some("data: [DONE]"), "{}", reply.text);
    events.iter().map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
}

fn with(mut asked: Value, more: Value) -> Value {
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    asked
}

fn tools() -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    json!([{ "type": "function", "function": { "name": "weather", "parameters": parameters } }])
}

#[tokio::test]
async fn several_answers_have_their_own_seeds_and_records_and_one_prompt() {
    let fixture = Fixture::start().await;
    let asked = with(question("hello"), json!({ "n": 3, "seed": 40 }));
    let reply = fixture.post(CHAT, &fixture.token("operator"), &asked).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let answer = reply.json();
    let indexes: Vec<_> = answer["choices"].as_array().unwrap().iter().map(|choice| choice["index"].clone()).collect();
    assert_eq!(indexes, [0, 1, 2]);
    assert_eq!(answer["choices"][2]["message"]["content"], "Hello, wörld");
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]), (&json!(5), &json!(9)));
    assert_eq!(answer["system_fingerprint"], "fp_Q4_0_abababababab");
    let mut seeds: Vec<_> =
        fixture.backend.started.lock().unwrap().iter().map(|request| request.sampling.seed.unwrap()).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [40, 41, 42]);
    let mut requests: Vec<String> = fixture.records(&["infer.end"]).iter().map(|end| end["req"].to_string()).collect();
    requests.sort();
    requests.dedup();
    assert_eq!(requests.len(), 3, "each answer is opened and closed in the log by a name of its own");
}

#[tokio::test]
async fn several_answers_come_in_one_stream_each_with_its_index() {
    let fixture = Fixture::start().await;
    let asked = with(streamed("hello"), json!({ "n": 2 }));
    let chunks = chunks(&fixture.post(CHAT, &fixture.token("operator"), &asked).await);
    for index in 0..2 {
        let own: Vec<&Value> =
            chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|choice| choice["index"] == index).collect();
        let text: String = own.iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!((text.as_str(), &own.last().unwrap()["finish_reason"]), ("Hello, wörld", &json!("stop")));
        assert_eq!(own[0]["delta"]["role"], "assistant");
    }
    let last = chunks.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(11)));
    assert_eq!(fixture.records(&["infer.end"]).len(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_gives_up_all_its_answers() {
    let fixture = Fixture::start().await;
    let mut answer = fixture.open(&fixture.token("operator"), &with(streamed("wait"), json!({ "n": 3 }))).await;
    answer.until("first").await;
    drop(answer);
    let aborted = fixture.wait_for("infer.aborted", 3).await;
    assert!(aborted.iter().all(|record| record["res"]["err"] == "client_left"), "{aborted:?}");
}

#[tokio::test]
async fn one_answer_that_breaks_off_ends_the_stream_of_all_without_done() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    for script in ["fail", "vanish"] {
        let reply = fixture.post(CHAT, &token, &with(streamed(script), json!({ "n": 2 }))).await;
        assert!(reply.text.contains("internal_error") && !reply.text.contains("[DONE]"), "{}", reply.text);
        let reply = fixture.post(CHAT, &token, &with(question(script), json!({ "n": 2 }))).await;
        assert_eq!((reply.status, reply.code().as_str()), (500, "internal_error"));
        let completion = json!({ "model": "demo", "prompt": script, "stream": true });
        let reply = fixture.post(COMPLETIONS, &token, &completion).await;
        assert!(reply.text.contains("internal_error") && !reply.text.contains("[DONE]"), "{}", reply.text);
    }
    assert!(fixture.records(&["infer.end"]).is_empty());
}

#[tokio::test]
async fn a_tool_is_called_and_its_answer_is_taken() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let asked = with(question("how is it in Oslo?"), json!({ "tools": tools(), "tool_choice": "required" }));
    let reply = fixture.post(CHAT, &token, &asked).await.json();
    let choice = &reply["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"], json!({ "name": "weather", "arguments": "{\"city\":\"Oslo\"}" }));
    assert!(call["id"].as_str().unwrap().starts_with("call_"));
    let mut again = question("how is it in Oslo?");
    let messages = again["messages"].as_array_mut().unwrap();
    messages.push(choice["message"].clone());
    messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": "hello" }));
    let reply = fixture.post(CHAT, &token, &again).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "Hello, wörld", "{}", reply.text);
}

#[tokio::test]
async fn a_call_is_streamed_with_its_name_first_and_its_arguments_after() {
    let fixture = Fixture::start().await;
    let asked = with(streamed("x"), json!({ "tools": tools(), "tool_choice": "required" }));
    let chunks = chunks(&fixture.post(CHAT, &fixture.token("operator"), &asked).await);
    let deltas: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0])
        .filter(|call| call.is_object())
        .collect();
    assert_eq!((&deltas[0]["index"], &deltas[0]["type"]), (&json!(0), &json!("function")));
    assert_eq!(deltas[0]["function"], json!({ "name": "weather", "arguments": "" }));
    let arguments: String = deltas.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
    assert_eq!(arguments, "{\"city\":\"Oslo\"}");
    assert!(deltas[1].get("id").is_none());
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn what_is_thought_is_kept_apart_from_what_is_said() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let message = fixture.post(CHAT, &token, &question("think")).await.json()["choices"][0]["message"].clone();
    assert_eq!((&message["reasoning_content"], &message["content"]), (&json!("Let me see."), &json!("Yes.")));
    let chunks = chunks(&fixture.post(CHAT, &token, &streamed("think")).await);
    let said = |field: &str| -> String {
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][field].as_str()).collect()
    };
    assert_eq!((said("reasoning_content").as_str(), said("content").as_str()), ("Let me see.", "Yes."));
}

#[tokio::test]
async fn scores_stand_beside_their_tokens_whole_and_streamed() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let scored = json!({ "logprobs": true, "top_logprobs": 1 });
    let reply = fixture.post(CHAT, &token, &with(question("json"), scored.clone())).await.json();
    let content = reply["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    let first = json!({ "token": "{\"a\":", "bytes": b"{\"a\":", "logprob": -0.5 });
    assert_eq!(content[0], with(first.clone(), json!({ "top_logprobs": [first] })));
    let chunks = chunks(&fixture.post(CHAT, &token, &with(streamed("json"), scored)).await);
    let streamed: Vec<Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(streamed, content);
}

#[tokio::test]
async fn a_schema_reaches_the_model_and_its_reason_to_end_the_caller() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let format = json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": { "type": "object" } } });
    let reply = fixture.post(CHAT, &token, &with(question("x"), json!({ "response_format": format }))).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "{\"a\":1}", "{}", reply.text);
    for (script, reason) in [("length", "length"), ("stop text", "stop")] {
        assert_eq!(fixture.post(CHAT, &token, &question(script)).await.json()["choices"][0]["finish_reason"], reason);
    }
}

#[tokio::test]
async fn a_text_is_continued_whole_and_streamed() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let asked = json!({ "model": "demo", "prompt": ["one", "two"], "n": 2, "echo": true });
    let reply = fixture.post(COMPLETIONS, &token, &asked).await;
    let answer = reply.json();
    assert_eq!((&answer["object"], answer["choices"].as_array().unwrap().len()), (&json!("text_completion"), 4));
    assert_eq!(answer["choices"][1]["text"], "oneHello, wörld");
    assert_eq!(
        answer["choices"][3],
        json!({ "index": 3, "text": "twoHello, wörld", "logprobs": null, "finish_reason": "stop" })
    );
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]), (&json!(10), &json!(12)));
    let chunks = chunks(&fixture.post(COMPLETIONS, &token, &with(asked, json!({ "stream": true }))).await);
    for (index, expected) in
        ["oneHello, wörld", "oneHello, wörld", "twoHello, wörld", "twoHello, wörld"].iter().enumerate()
    {
        let own = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|choice| choice["index"] == index);
        let text: String = own.map(|choice| choice["text"].as_str().unwrap()).collect();
        assert_eq!(text, *expected);
    }
}

#[tokio::test]
async fn a_prompt_is_scored_as_harnesses_ask_for_it() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let asked = json!({ "model": "demo", "prompt": [[1, 2]], "echo": true, "logprobs": 1, "max_tokens": 1, "seed": 1 });
    let reply = fixture.post(COMPLETIONS, &token, &asked).await;
    let choice = reply.json()["choices"][0].clone();
    assert_eq!(choice["text"], "What nowHello, wörld", "{}", reply.text);
    let scores = &choice["logprobs"];
    assert_eq!(scores["tokens"], json!(["What", " now", "Hel", "lo, ", "wörld"]));
    assert_eq!(scores["token_logprobs"], json!([null, -1.5, -0.5, -0.5, -0.5]));
    assert_eq!(scores["text_offset"], json!([0, 4, 8, 11, 15]));
    assert_eq!((&scores["top_logprobs"][0], &scores["top_logprobs"][1]), (&Value::Null, &json!({ " now": -1.5 })));
    let whole: Vec<Value> = scores["tokens"].as_array().unwrap().clone();
    let chunks = chunks(&fixture.post(COMPLETIONS, &token, &with(asked, json!({ "stream": true }))).await);
    let lists = |list: &str| -> Vec<Value> {
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["logprobs"][list].as_array().cloned()).flatten().collect()
    };
    assert_eq!((lists("tokens"), json!(lists("text_offset"))), (whole, scores["text_offset"].clone()));
    let only = json!({ "model": "demo", "prompt": "x", "echo": true, "logprobs": 1, "max_tokens": 0 });
    assert_eq!(fixture.post(COMPLETIONS, &token, &only).await.status, 200);
    assert_eq!(fixture.backend.started.lock().unwrap().last().unwrap().max_tokens, 0);
}

#[tokio::test]
async fn what_the_model_refuses_names_the_field_of_the_route() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let reply = fixture.post(COMPLETIONS, &token, &json!({ "model": "demo", "prompt": "too long" })).await;
    assert_eq!((reply.code().as_str(), &reply.json()["error"]["param"]), ("context_length_exceeded", &json!("prompt")));
    let reply = fixture.post(EMBEDDINGS, &token, &json!({ "model": "vectors", "input": "too long" })).await;
    assert_eq!((reply.code().as_str(), &reply.json()["error"]["param"]), ("context_length_exceeded", &json!("input")));
    let reply = fixture.post(EMBEDDINGS, &token, &json!({ "model": "demo", "input": "x" })).await;
    assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("model")));
}

#[tokio::test]
async fn vectors_come_as_numbers_or_packed_and_are_on_record() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let asked = json!({ "model": "vectors", "input": ["one", "two"], "dimensions": 2 });
    let reply = fixture.post(EMBEDDINGS, &token, &asked).await;
    assert_eq!(
        reply.json(),
        json!({
            "object": "list", "model": "vectors", "usage": { "prompt_tokens": 6, "total_tokens": 6 },
            "data": [
                { "object": "embedding", "index": 0, "embedding": [1.0, 0.0] },
                { "object": "embedding", "index": 1, "embedding": [1.0, 0.0] },
            ],
        })
    );
    let packed = fixture.post(EMBEDDINGS, &token, &with(asked, json!({ "encoding_format": "base64" }))).await.json();
    assert_eq!(packed["data"][0]["embedding"], "AACAPwAAAAA=");
    let (starts, ends) = (fixture.records(&["infer.start"]), fixture.records(&["infer.end"]));
    assert_eq!((starts.len(), ends.len()), (2, 2));
    assert_eq!((&ends[0]["act"], &ends[0]["io"]["in"]["tok"]), (&json!("embed"), &json!(6)));
    assert_eq!(ends[0]["req"], reply.header("x-request-id"));
    assert!(!ends[0].to_string().contains("one\""), "no content in the record");
}

#[tokio::test]
async fn vectors_need_a_permit_and_a_record() {
    let fixture = Fixture::start().await;
    let asked = json!({ "model": "vectors", "input": "x" });
    assert_eq!(fixture.post(EMBEDDINGS, &fixture.token("auditor"), &asked).await.status, 403);
    assert_eq!(fixture.records(&["infer.denied"])[0]["act"], "embed");
    fixture.audit.shutdown("test").unwrap();
    let reply = fixture.post(EMBEDDINGS, &fixture.token("operator"), &asked).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "audit_unavailable"));
}
