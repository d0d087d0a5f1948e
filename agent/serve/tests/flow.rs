//! Turns, limits and content: who waits, who is refused and until when, what must not pass, and what is measured of it.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use outpost_policies::RoleLimits;
use outpost_policies::content::{Act, Content, ContentRule, Pattern, RoleContent};
use outpost_serve::Limits;
use serde_json::{Value, json};

use support::{CHAT, Fixture, Options, question, streamed};

/// A server that gives so many answers at once.
async fn with_generations(generations: usize) -> Fixture {
    let limits = Limits { generations, waiting_per_tenant: 2, ..Limits::default() };
    Fixture::start_with(Options { limits, ..Options::default() }).await
}

fn limit(fixture: &Fixture, limit: impl FnOnce(&mut RoleLimits)) {
    fixture.change(|bundle| limit(bundle.limits.get_mut("operator").unwrap()));
}

/// Removes greetings from answers and card numbers from questions, and lets no e-mail address go in.
fn look_through(fixture: &Fixture) {
    let rule = |class: &str, act| ContentRule { class: class.to_owned(), act };
    let role = RoleContent {
        input: vec![rule("payment_card", Act::Redact), rule("email", Act::Block)],
        output: vec![rule("greeting", Act::Redact)],
    };
    let greeting = Pattern { matches: "Hello".to_owned(), whole_word: true };
    fixture.change(|bundle| {
        bundle.content = Content {
            pattern: BTreeMap::from([("greeting".to_owned(), greeting)]),
            role: BTreeMap::from([("operator".to_owned(), role)]),
        };
    });
}

async fn until_waiting(fixture: &Fixture, token: &str, count: u64) {
    let waiting = async {
        while fixture.get("/outpost/status", token).await.json()["waiting"] != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the queue gets there");
}

#[tokio::test]
async fn who_finds_no_slot_waits_for_its_turn() {
    let fixture = with_generations(1).await;
    let token = fixture.token("operator");
    let mut first = fixture.open(&token, &streamed("wait")).await;
    first.until("first").await;
    let asked = question("hello");
    let second = fixture.post(CHAT, &token, &asked);
    tokio::pin!(second);
    tokio::select! {
        _ = &mut second => panic!("there is no slot"),
        () = until_waiting(&fixture, &token, 1) => {}
    }
    assert_eq!(fixture.get("/outpost/status", &token).await.json()["generating"], 1);
    fixture.backend.go_on.notify_one();
    first.until("[DONE]").await;
    assert_eq!(second.await.status, 200);
    until_waiting(&fixture, &token, 0).await;
}

#[tokio::test]
async fn who_leaves_while_waiting_frees_the_place_and_is_on_record() {
    let fixture = with_generations(1).await;
    let token = fixture.token("operator");
    let mut first = fixture.open(&token, &streamed("wait")).await;
    first.until("first").await;
    let asked = question("hello");
    tokio::select! {
        _ = fixture.open(&token, &asked) => panic!("there is no slot"),
        () = until_waiting(&fixture, &token, 1) => {}
    }
    until_waiting(&fixture, &token, 0).await;
    let denied = fixture.wait_for("infer.denied", 1).await;
    assert_eq!((&denied[0]["res"]["err"], &denied[0]["res"]["status"]), (&json!("client_left"), &json!(499)));
    assert_eq!(fixture.backend.started.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_that_has_begun_comes_though_another_of_its_request_waits() {
    let fixture = with_generations(1).await;
    let token = fixture.token("operator");
    let mut asked = streamed("wait");
    asked["n"] = json!(2);
    let mut answers = fixture.open(&token, &asked).await;
    assert!(answers.until("first").await.contains("\"index\":0"));
    until_waiting(&fixture, &token, 1).await;
    fixture.backend.go_on.notify_one();
    let second = answers.until("first").await;
    assert!(second.contains(" last") && second.contains("\"index\":1"), "{second}");
    fixture.backend.go_on.notify_one();
    answers.until("[DONE]").await;
    assert_eq!(fixture.records(&["infer.end"]).len(), 2);
}

/// Waits until so many answers ended for a reason; with which statuses.
async fn ended(fixture: &Fixture, reason: &str, count: usize) -> Vec<u64> {
    let waiting = async {
        loop {
            let mut ended = fixture.records(&["infer.denied", "infer.aborted"]);
            ended.retain(|record| record["res"]["err"] == reason);
            if ended.len() >= count {
                return ended.iter().map(|record| record["res"]["status"].as_u64().unwrap()).collect();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("they end")
}

#[tokio::test]
async fn answers_that_are_given_up_with_another_are_not_recorded_as_left_by_their_client() {
    let fixture = Fixture::start().await;
    let callers = [(fixture.token("operator"), false), (fixture.api_key("operator"), true)];
    for (count, (token, stream)) in (1..).zip(&callers) {
        let both = json!({ "model": "demo", "prompt": ["wait", "fail"], "stream": stream });
        let reply = fixture.post("/v1/completions", token, &both).await;
        assert!(reply.text.contains("internal_error"), "{}", reply.text);
        assert_eq!(ended(&fixture, "worker_failed", count).await, vec![500; count]);
        assert_eq!(ended(&fixture, "choice_given_up", count).await, vec![500; count]);
    }
    // The first takes the one place that a caller may have at once; the second is refused, and the first with it.
    limit(&fixture, |limits| limits.concurrent = Some(1));
    let callers = [(fixture.api_key("operator"), false), (fixture.api_key("operator"), true)];
    for (count, (token, stream)) in (1..).zip(&callers) {
        let mut both = question("wait");
        (both["n"], both["stream"]) = (json!(2), json!(stream));
        let reply = fixture.post(CHAT, token, &both).await;
        assert_eq!((reply.status, reply.code().as_str()), (429, "rate_limit_exceeded"), "{}", reply.text);
        assert_eq!(ended(&fixture, "rate_limit_exceeded", count).await, vec![429; count]);
        assert_eq!(ended(&fixture, "choice_given_up", 2 + count).await[2..], vec![429; count]);
    }
    assert!(ended(&fixture, "client_left", 0).await.is_empty());
}

#[tokio::test]
async fn an_answer_whose_model_has_to_leave_is_recorded_as_aborted_and_says_when_to_ask_again() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    for (count, stream) in (1..).zip([false, true]) {
        let mut asked = question("displace");
        asked["stream"] = json!(stream);
        let reply = fixture.post(CHAT, &token, &asked).await;
        assert!(reply.text.contains("model_exchanged") && reply.text.contains("ask again"), "{}", reply.text);
        assert_eq!(ended(&fixture, "model_exchanged", count).await, vec![503; count]);
    }
    assert!(fixture.records(&["infer.end"]).is_empty());
}

#[tokio::test]
async fn loading_a_model_and_counting_tokens_take_their_turn_and_are_requests_like_others() {
    let fixture = with_generations(1).await;
    let token = fixture.token("operator");
    let mut first = fixture.open(&token, &streamed("wait")).await;
    first.until("first").await;
    let (wanted, counted) = (json!({ "model": "demo", "messages": [] }), question("hello"));
    let count = "/v1/messages/count_tokens";
    for (path, asked) in [("/api/chat", &wanted), ("/models/load/demo", &wanted), (count, &counted)] {
        let loading = fixture.post(path, &token, asked);
        tokio::select! {
            _ = loading => panic!("there is no place"),
            () = until_waiting(&fixture, &token, 1) => {}
        }
        until_waiting(&fixture, &token, 0).await;
    }
    assert!(fixture.backend.acts.lock().unwrap().is_empty());
    fixture.backend.go_on.notify_one();
    first.until("[DONE]").await;
    limit(&fixture, |limits| limits.requests_per_minute = Some(3));
    let statuses = [
        fixture.post(count, &token, &counted).await.status,
        fixture.post("/api/chat", &token, &wanted).await.status,
        fixture.post("/models/load/demo", &token, &json!({})).await.status,
        fixture.post("/openai/load/demo", &token, &json!({})).await.status,
    ];
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(fixture.backend.acts.lock().unwrap().len(), 2);
    assert_eq!(fixture.records(&["admin.act"]).len(), 4, "a load that is refused has not begun");
}

#[tokio::test]
async fn one_caller_cannot_fill_the_queue() {
    let fixture = with_generations(1).await;
    let token = fixture.token("operator");
    let mut first = fixture.open(&token, &streamed("wait")).await;
    first.until("first").await;
    let asked = question("hello");
    let waiting = async { tokio::join!(fixture.post(CHAT, &token, &asked), fixture.post(CHAT, &token, &asked)) };
    tokio::pin!(waiting);
    tokio::select! {
        _ = &mut waiting => panic!("there is no slot"),
        () = until_waiting(&fixture, &token, 2) => {}
    }
    let reply = fixture.post(CHAT, &token, &asked).await;
    assert_eq!((reply.status, reply.code().as_str(), reply.header("retry-after")), (429, "rate_limit_exceeded", "2"));
    let other = fixture.api_key("operator");
    let of_other = fixture.post(CHAT, &other, &asked);
    tokio::pin!(of_other);
    tokio::select! {
        _ = &mut of_other => panic!("there is no slot"),
        () = until_waiting(&fixture, &token, 3) => {}
    }
    fixture.backend.go_on.notify_one();
    let (first, second) = waiting.await;
    assert_eq!([first.status, second.status, of_other.await.status], [200, 200, 200]);
}

#[tokio::test]
async fn requests_per_minute_are_refused_with_a_time_and_told_on_every_answer() {
    let fixture = Fixture::start().await;
    limit(&fixture, |limits| limits.requests_per_minute = Some(2));
    let token = fixture.token("operator");
    let reply = fixture.post(CHAT, &token, &question("hello")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        (reply.header("x-ratelimit-limit-requests"), reply.header("x-ratelimit-remaining-requests")),
        ("2", "1")
    );
    assert_eq!(fixture.post(CHAT, &token, &question("hello")).await.header("x-ratelimit-remaining-requests"), "0");
    let reply = fixture.post(CHAT, &token, &question("hello")).await;
    assert_eq!((reply.status, reply.code().as_str()), (429, "rate_limit_exceeded"));
    let seconds: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    assert_eq!(reply.header("x-ratelimit-remaining-requests"), "0");
    let denied = fixture.records(&["infer.denied"]);
    assert_eq!((&denied[0]["res"]["status"], &denied[0]["res"]["err"]), (&json!(429), &json!("rate_limit_exceeded")));
    assert_eq!(fixture.post(CHAT, &fixture.api_key("operator"), &question("hello")).await.status, 200, "another's own");
}

#[tokio::test]
async fn tokens_per_day_are_reserved_then_settled_with_the_record_and_refused_beyond() {
    let fixture = Fixture::start().await;
    limit(&fixture, |limits| limits.tokens_per_day = Some(100));
    let token = fixture.token("operator");
    let mut asked = question("hello");
    asked["max_tokens"] = json!(60);
    let mut first = fixture.open(&token, &streamed("wait")).await;
    first.until("first").await;
    // The first left open how long it may be, and holds the whole day until it ends.
    let reply = fixture.post(CHAT, &token, &asked).await;
    assert_eq!((reply.status, reply.code().as_str()), (429, "insufficient_quota"));
    assert!(reply.header("retry-after").parse::<u64>().unwrap() <= 86_400);
    fixture.backend.go_on.notify_one();
    first.until("[DONE]").await;
    // It took 8: five read, three generated. The counter on the disk says so with the record of the end.
    let counters = fixture.audit.counters().unwrap();
    assert_eq!(counters.iter().map(|counter| counter.value).collect::<Vec<_>>(), [8]);
    assert!(!counters[0].key.contains("ada"), "{}", counters[0].key);
    let reply = fixture.post(CHAT, &token, &asked).await;
    assert_eq!((reply.status, reply.header("x-ratelimit-limit-tokens")), (200, "100"));
    asked["max_tokens"] = json!(90);
    assert_eq!(fixture.post(CHAT, &token, &asked).await.code(), "insufficient_quota");
    assert_eq!(fixture.post(CHAT, &token, &question("hello")).await.status, 200, "what is left will do");
}

#[tokio::test]
async fn requests_at_once_are_limited() {
    let fixture = Fixture::start().await;
    limit(&fixture, |limits| limits.concurrent = Some(1));
    let token = fixture.token("operator");
    let mut first = fixture.open(&token, &streamed("wait")).await;
    first.until("first").await;
    let reply = fixture.post(CHAT, &token, &question("hello")).await;
    assert_eq!((reply.status, reply.code().as_str(), reply.header("retry-after")), (429, "rate_limit_exceeded", "1"));
    fixture.backend.go_on.notify_one();
    first.until("[DONE]").await;
}

#[tokio::test]
async fn a_context_limit_is_kept_by_counting_the_prompt() {
    let fixture = Fixture::start().await;
    limit(&fixture, |limits| limits.context_tokens = Some(20));
    let token = fixture.token("operator");
    assert_eq!(fixture.post(CHAT, &token, &question("hello")).await.status, 200);
    assert_eq!(fixture.backend.started.lock().unwrap()[0].max_tokens, 15, "a message has five tokens here");
    let mut long = question("hello");
    long["messages"] = json!(vec![json!({ "role": "user", "content": "hello" }); 4]);
    assert_eq!(fixture.post(CHAT, &token, &long).await.code(), "context_length_exceeded");
}

#[tokio::test]
async fn what_goes_in_is_looked_through_before_a_model_sees_it() {
    let fixture = Fixture::start().await;
    look_through(&fixture);
    let token = fixture.token("operator");
    assert_eq!(fixture.post(CHAT, &token, &question("my card is 4111 1111 1111 1111")).await.status, 200);
    let started = format!("{:?}", fixture.backend.started.lock().unwrap());
    assert!(started.contains("my card is [payment card removed]") && !started.contains("4111"), "{started}");
    let start = &fixture.records(&["infer.start"])[0];
    assert_eq!(start["detail"]["content_input"], "payment_card redact 1");

    let reply = fixture.post(CHAT, &token, &question("write to ada@example.com")).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "content_blocked"));
    assert!(reply.message().contains("`email`") && !reply.text.contains("ada@"), "{}", reply.text);
    let denied = &fixture.records(&["infer.denied"])[0];
    assert_eq!(denied["detail"]["content_input"], "email block 1");
    assert!(!denied.to_string().contains("example.com"));
    assert_eq!(fixture.backend.started.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_comes_out_is_looked_through_while_it_streams() {
    let fixture = Fixture::start().await;
    look_through(&fixture);
    let token = fixture.token("operator");
    // The model says `Hel`, `lo, ` and `wörld`.
    for asked in [question("hello"), streamed("hello")] {
        let reply = fixture.post(CHAT, &token, &asked).await;
        assert!(reply.text.contains("[greeting removed]") && reply.text.contains("wörld"), "{}", reply.text);
        assert!(!reply.text.contains("Hel"), "{}", reply.text);
    }
    let ends = fixture.records(&["infer.end"]);
    assert!(ends.iter().all(|end| end["detail"]["content_output"] == "greeting redact 1"), "{ends:?}");
    let mut scored = question("hello");
    scored["logprobs"] = json!(true);
    let reply = fixture.post(CHAT, &token, &scored).await;
    assert!(reply.status == 400 && !reply.text.contains("Hel"), "scores repeat the text: {}", reply.text);
}

#[tokio::test]
async fn what_is_measured_goes_by_vllms_names_and_says_nothing_of_callers() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    fixture.post(CHAT, &token, &question("a question of its own")).await;
    fixture.post(CHAT, &fixture.token("auditor"), &question("hello")).await;
    fixture.get("/nowhere/of/mine", &token).await;
    assert_eq!(fixture.call("GET", "/metrics", &[], "").await.status, 401);
    let reply = fixture.get("/metrics", &token).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "vllm:num_requests_running 0",
        "vllm:num_requests_waiting 0",
        "vllm:prompt_tokens_total{model_name=\"demo\"} 5",
        "vllm:generation_tokens_total{model_name=\"demo\"} 3",
        "vllm:prefix_cache_hits_total{model_name=\"demo\"} 2",
        "vllm:request_success_total{model_name=\"demo\",finished_reason=\"stop\"} 1",
        "vllm:time_to_first_token_seconds_count{model_name=\"demo\"} 1",
        "vllm:inter_token_latency_seconds_count{model_name=\"demo\"} 2",
        "vllm:request_decode_time_seconds_sum{model_name=\"demo\"} 0.006",
        "gen_ai_server_request_duration_seconds_count{gen_ai_response_model=\"demo\",gen_ai_operation_name=\"chat\"} 1",
        "outpost_http_requests_total{endpoint=\"/v1/chat/completions\",status=\"200\"} 1",
        "outpost_http_requests_total{endpoint=\"unknown\",status=\"404\"} 1",
        "outpost_denials_total{rule=\"auditors-do-not-ask\"} 1",
        "outpost_models_loaded{model=\"demo\"} 1",
    ] {
        assert!(reply.text.lines().any(|found| found == line), "{line} is not in\n{}", reply.text);
    }
    for secret in ["ada", "question", "mine"] {
        assert!(!reply.text.contains(secret), "{secret} is in\n{}", reply.text);
    }
}

/// The engine keeps what callers send apart by who they are; here it is told who that is, and nothing of one caller's
/// answer depends on whether another asked the same before.
#[tokio::test]
async fn who_asks_what_another_asked_before_cannot_tell() {
    let shared = question("a long beginning that both of them send, and then something of their own");
    let told = |reply: &support::Reply| {
        let mut answer = reply.json();
        answer["id"] = Value::Null;
        answer["created"] = Value::Null;
        let names: Vec<String> = reply.headers.keys().map(ToString::to_string).collect();
        (answer, names)
    };
    let alone = Fixture::start().await;
    let reply = alone.post(CHAT, &alone.api_key("operator"), &shared).await;
    let unspoiled = told(&reply);

    let fixture = Fixture::start().await;
    let (first, second) = (fixture.token("operator"), fixture.api_key("operator"));
    for _ in 0..5 {
        fixture.post(CHAT, &first, &shared).await;
    }
    let reply = fixture.post(CHAT, &second, &shared).await;
    assert_eq!(told(&reply), unspoiled);
    let askers = fixture.backend.askers.lock().unwrap();
    assert!(askers[..5].iter().all(|asker| *asker == askers[0]));
    assert!(askers.len() == 6 && askers[5].id != askers[0].id, "the engine's scope is the second caller: {askers:?}");
}
