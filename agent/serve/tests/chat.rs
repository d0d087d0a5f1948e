//! Conversations: answers, streams, the order of records, and what becomes of an answer that nobody waits for.

mod support;

use std::time::Duration;

use outpost_serve::Limits;
use serde_json::{Value, json};

use support::{CHAT, Fixture, Options, question, streamed};

#[tokio::test]
async fn an_answer_comes_whole_with_its_usage_and_both_records() {
    let fixture = Fixture::start().await;
    let mut asked = question("hello");
    asked["temperature"] = json!(0.25);
    asked["max_tokens"] = json!(64);
    let reply = fixture.post(CHAT, &fixture.token("operator"), &asked).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let answer = reply.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(
        answer["choices"][0]["message"],
        json!({ "role": "assistant", "content": "Hello, wörld", "refusal": null })
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        answer["usage"],
        json!({
            "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "prompt_tokens_details": { "cached_tokens": 2 },
            "completion_tokens_details": { "reasoning_tokens": 0 },
        })
    );
    let request = fixture.backend.started.lock().unwrap()[0].clone();
    assert_eq!((request.max_tokens, request.sampling.temperature), (64, Some(0.25)));
    assert_eq!(request.request_id, reply.header("x-request-id"));

    let records = fixture.records(&["infer.start", "infer.end"]);
    let (start, end) = (&records[0], &records[1]);
    assert_eq!((start["type"].as_str(), end["type"].as_str()), (Some("infer.start"), Some("infer.end")));
    assert_eq!(start["req"], reply.header("x-request-id"));
    assert_eq!(start["dec"]["rules"], json!(["operators-use-models"]));
    assert_eq!((&start["obj"]["variant"], &start["detail"]["temperature_milli"]), (&json!("Q4_0"), &json!(250)));
    assert_eq!(end["io"], json!({ "in": { "tok": 5 }, "out": { "tok": 3 } }));
    assert!(!end.to_string().contains("hello"), "no content in the record");
}

#[tokio::test]
async fn a_limit_that_is_not_asked_for_is_the_roles() {
    let fixture = Fixture::start().await;
    fixture.post(CHAT, &fixture.token("operator"), &question("hello")).await;
    assert_eq!(fixture.backend.started.lock().unwrap()[0].max_tokens, 4096);
    let mut asked = question("hello");
    asked["max_tokens"] = json!(5000);
    let reply = fixture.post(CHAT, &fixture.token("operator"), &asked).await;
    assert_eq!((reply.status, &reply.json()["error"]["rules"]), (403, &json!(["token-limit"])));
}

#[tokio::test]
async fn a_stream_carries_the_answer_the_reason_the_usage_and_done() {
    let fixture = Fixture::start().await;
    let reply = fixture.post(CHAT, &fixture.token("operator"), &streamed("hello")).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/event-stream"));
    let events: Vec<&str> = reply.text.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert_eq!(events.last(), Some(&"data: [DONE]"));
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk"));
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "Hello, wörld");
    let (finish, usage) = (&chunks[chunks.len() - 2], &chunks[chunks.len() - 1]);
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(8)));
}

#[tokio::test]
async fn the_start_is_on_record_before_the_first_token_and_the_end_before_the_last_chunk() {
    let fixture = Fixture::start().await;
    for _ in 0..10 {
        let before = fixture.records(&["infer.end"]).len();
        let mut answer = fixture.open(&fixture.token("operator"), &streamed("wait")).await;
        answer.until("first").await;
        assert_eq!(fixture.records(&["infer.start"]).len(), before + 1);
        assert_eq!(fixture.records(&["infer.end"]).len(), before);
        fixture.backend.go_on.notify_one();
        answer.until("finish_reason\":\"stop\"").await;
        assert_eq!(fixture.records(&["infer.end"]).len(), before + 1);
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_cancels_the_generation_and_the_record_says_so() {
    let fixture = Fixture::start().await;
    let mut answer = fixture.open(&fixture.token("operator"), &streamed("wait")).await;
    answer.until("first").await;
    drop(answer);
    fixture.backend.cancelled.notified().await;
    let aborted = fixture.wait_for("infer.aborted", 1).await;
    assert_eq!(aborted[0]["res"]["err"], "client_left");
    assert_eq!(aborted[0]["req"], fixture.records(&["infer.start"])[0]["req"]);
    assert!(fixture.records(&["infer.end"]).is_empty());
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_a_whole_answer_cancels_it_too() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let waiting = question("wait");
    tokio::select! {
        _ = fixture.post(CHAT, &token, &waiting) => panic!("nothing ends this answer"),
        _ = fixture.wait_for("infer.start", 1) => {}
    }
    // The client task still holds the connection of the dropped call; its request was given up with it.
    fixture.backend.cancelled.notified().await;
    assert_eq!(fixture.wait_for("infer.aborted", 1).await[0]["res"]["err"], "client_left");
}

#[tokio::test]
async fn a_worker_that_fails_or_vanishes_is_an_error_without_its_secrets() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    for script in ["fail", "vanish"] {
        let reply = fixture.post(CHAT, &token, &question(script)).await;
        assert_eq!((reply.status, reply.code().as_str()), (500, "internal_error"));
        assert!(!reply.text.contains("/a/path"));
        let reply = fixture.post(CHAT, &token, &streamed(script)).await;
        assert!(reply.text.contains("half") && reply.text.contains("internal_error"), "{}", reply.text);
        assert!(!reply.text.contains("[DONE]") && !reply.text.contains("/a/path"), "{}", reply.text);
    }
    assert_eq!(fixture.records(&["infer.aborted"]).len(), 4);
    assert!(fixture.records(&["infer.end"]).is_empty());
}

#[tokio::test]
async fn a_panic_on_the_way_is_an_error_and_the_server_goes_on() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    assert_eq!(fixture.post(CHAT, &token, &question("panic")).await.code(), "internal_error");
    assert_eq!(fixture.post(CHAT, &token, &question("hello")).await.status, 200);
}

#[tokio::test]
async fn what_the_backend_refuses_is_told_with_the_way_out_and_recorded() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let mut other = question("hello");
    other["model"] = json!("other");
    let reply = fixture.post(CHAT, &token, &other).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "model_not_found"));
    let reply = fixture.post(CHAT, &token, &question("too long")).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "context_length_exceeded"));
    let reply = fixture.post(CHAT, &token, &question("busy")).await;
    assert_eq!((reply.status, reply.code().as_str(), reply.header("retry-after")), (503, "busy", "7"));
    let statuses: Vec<Value> =
        fixture.records(&["infer.denied"]).iter().map(|record| record["res"]["status"].clone()).collect();
    assert_eq!(statuses, [404, 400, 503]);
}

#[tokio::test]
async fn more_answers_than_there_are_slots_and_places_to_wait_are_refused_with_a_time_to_come_back() {
    let limits = Limits { generations: 1, waiting: 0, ..Limits::default() };
    let fixture = Fixture::start_with(Options { limits, ..Options::default() }).await;
    let token = fixture.token("operator");
    let mut first = fixture.open(&token, &streamed("wait")).await;
    first.until("first").await;
    let reply = fixture.post(CHAT, &token, &question("hello")).await;
    assert_eq!((reply.status, reply.code().as_str(), reply.header("retry-after")), (503, "busy", "2"));
    fixture.backend.go_on.notify_one();
    first.until("[DONE]").await;
    drop(first);
    // The slot comes back when the end is on record and told, which the client sees a moment earlier.
    let again = async {
        while fixture.post(CHAT, &token, &question("hello")).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("the slot comes back");
}

#[tokio::test]
async fn nothing_is_answered_that_cannot_be_recorded() {
    let fixture = Fixture::start().await;
    let (token, auditor) = (fixture.token("operator"), fixture.token("auditor"));
    fixture.audit.shutdown("test").unwrap();
    for asked in [question("hello"), streamed("hello")] {
        let reply = fixture.post(CHAT, &token, &asked).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "audit_unavailable"));
        assert!(reply.message().contains("nothing is answered that cannot be recorded"));
        assert!(!reply.text.contains("Hel"));
    }
    assert_eq!(fixture.post(CHAT, &auditor, &question("hello")).await.code(), "audit_unavailable", "nor is a denial");
    assert_eq!(fixture.get("/v1/models", "nobody").await.code(), "audit_unavailable", "nor a failure to identify");
    assert_eq!(fixture.call("GET", "/health", &[], "").await.status, 200);
}

#[tokio::test]
async fn an_end_that_cannot_be_recorded_is_no_end() {
    let fixture = Fixture::start().await;
    let mut answer = fixture.open(&fixture.token("operator"), &streamed("wait")).await;
    answer.until("first").await;
    fixture.audit.shutdown("test").unwrap();
    fixture.backend.go_on.notify_one();
    let mut rest = String::new();
    while let Some(more) = answer.next().await {
        rest.push_str(&more);
    }
    assert!(rest.contains("audit_unavailable"), "{rest}");
    assert!(!rest.contains("[DONE]") && !rest.contains("finish_reason\":\"stop\""), "{rest}");
}

#[tokio::test]
async fn a_server_that_shuts_down_lets_an_answer_end_or_records_that_it_gave_it_up() {
    let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
    let mut fixture = Fixture::start_with(Options { limits, ..Options::default() }).await;
    let mut answer = fixture.open(&fixture.token("operator"), &streamed("wait")).await;
    answer.until("first").await;
    fixture.stop().await;
    assert_eq!(fixture.records(&["infer.aborted"])[0]["res"]["err"], "shutdown");
    assert!(!fixture.unix.exists());
}

#[tokio::test]
async fn policies_that_are_replaced_decide_the_next_request() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    assert_eq!(fixture.post(CHAT, &token, &question("hello")).await.status, 200);
    let mut bundle = outpost_policies::Bundle::default_bundle();
    bundle.version = 2;
    bundle.policies.remove("operator.cedar");
    bundle.cases.retain(|case| !case.title.contains("operator"));
    fixture.policies.replace(outpost_policies::Policies::activate(bundle).unwrap());
    let reply = fixture.post(CHAT, &token, &question("hello")).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "denied_by_policy"));
    assert_eq!(fixture.records(&["infer.denied"])[0]["dec"]["policy"], "bundle-2");
}
