//! What rules can look at: each of it reaches them over every route that asks a model, whichever clients it is for.

mod support;

use std::sync::atomic::Ordering;

use outpost_policies::{Bundle, ClockTime, Expect, Hours, ModelEntry, Weekday};
use outpost_serve::ModelCard;
use serde_json::{Value, json};

use support::{CHAT, Fixture, NOW_S, question};

const COUNT: &str = "/v1/chat/completions/tokenizer/encode/count";

/// Every route that asks a model, with a question that it answers.
fn routes() -> Vec<(&'static str, Value)> {
    let messages = json!([{ "role": "user", "content": "hello" }]);
    let conversation = json!({ "model": "demo", "messages": messages });
    vec![
        (CHAT, conversation.clone()),
        ("/v1/completions", json!({ "model": "demo", "prompt": "hello" })),
        ("/v1/responses", json!({ "model": "demo", "input": "hello" })),
        ("/v1/embeddings", json!({ "model": "vectors", "input": "hello" })),
        ("/api/chat", json!({ "model": "demo", "messages": messages, "stream": false })),
        ("/api/generate", json!({ "model": "demo", "prompt": "hello", "stream": false })),
        ("/api/generate", json!({ "model": "demo", "prompt": "", "stream": false })),
        ("/api/embed", json!({ "model": "vectors", "input": "hello" })),
        ("/api/embeddings", json!({ "model": "vectors", "prompt": "hello" })),
        ("/v1/messages", json!({ "model": "demo", "max_tokens": 9, "messages": messages })),
        ("/v1/messages/count_tokens", conversation.clone()),
        (COUNT, conversation),
        ("/models/load/demo", json!({})),
        ("/openai/load/demo", json!({})),
    ]
}

/// The same with tools, where there can be some, as the clients of the route write them.
fn with_tools() -> Vec<(&'static str, Value)> {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let nested = json!([{ "type": "function", "function": { "name": "weather", "parameters": schema } }]);
    let tools = |path: &str| match path {
        CHAT | "/api/chat" => Some(nested.clone()),
        "/v1/responses" => Some(json!([{ "type": "function", "name": "weather", "parameters": schema }])),
        "/v1/messages" | "/v1/messages/count_tokens" => Some(json!([{ "name": "weather", "input_schema": schema }])),
        _ => None,
    };
    let with = |(path, body): (&'static str, Value)| {
        let tools = tools(path)?;
        Some((path, with(body, "tools", tools)))
    };
    routes().into_iter().filter_map(with).collect()
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// Puts changed policies in force. What the default ones allow may be denied now, so only their denials are still tried.
fn change(fixture: &Fixture, change: impl FnOnce(&mut Bundle)) {
    fixture.change(|bundle| {
        bundle.cases.retain(|case| case.expect == Expect::Deny);
        change(bundle);
    });
}

/// Adds a rule that forbids to ask a model.
fn forbid(fixture: &Fixture, when: &str) {
    let rule = format!(
        "@id(\"on-trial\") @title(\"A rule on trial\") @reason(\"It is on trial: ask otherwise.\")\n\
         forbid (principal, action in [Action::\"infer\", Action::\"embed\"], resource) when {{ {when} }};"
    );
    change(fixture, |bundle| drop(bundle.policies.insert("trial.cedar".to_owned(), rule)));
}

async fn denied(fixture: &Fixture, token: &str, (path, body): &(&'static str, Value), labels: &[&str]) {
    let reply = fixture.post_labelled(path, token, labels, body).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "denied_by_policy"), "{path} {body}: {}", reply.text);
    let denied = fixture.records(&["infer.denied"]);
    assert_eq!(denied.last().unwrap()["dec"]["rules"], json!(["on-trial"]), "{path}");
}

async fn allowed(fixture: &Fixture, token: &str, (path, body): &(&'static str, Value), labels: &[&str]) {
    let reply = fixture.post_labelled(path, token, labels, body).await;
    assert_eq!(reply.status, 200, "{path} {body}: {}", reply.text);
}

#[tokio::test]
async fn a_rule_about_tools_sees_those_of_every_family() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    forbid(&fixture, "context.tools");
    for route in routes() {
        allowed(&fixture, &token, &route, &[]).await;
    }
    let with_tools = with_tools();
    assert_eq!(with_tools.len(), 5);
    for (path, body) in with_tools {
        denied(&fixture, &token, &(path, body.clone()), &[]).await;
        let none = (path, with(body, "tools", json!([])));
        allowed(&fixture, &token, &none, &[]).await;
    }
}

#[tokio::test]
async fn a_rule_about_streams_sees_those_of_every_family() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    forbid(&fixture, "context.stream");
    for route in routes() {
        allowed(&fixture, &token, &route, &[]).await;
    }
    let streaming = [CHAT, "/v1/completions", "/v1/responses", "/api/chat", "/api/generate", "/v1/messages"];
    for (path, body) in routes().into_iter().filter(|(path, body)| streaming.contains(path) && body["prompt"] != "") {
        denied(&fixture, &token, &(path, with(body.clone(), "stream", json!(true))), &[]).await;
        if path.starts_with("/api/") {
            let mut unsaid = body;
            unsaid.as_object_mut().unwrap().remove("stream");
            denied(&fixture, &token, &(path, unsaid), &[]).await;
        }
    }
}

#[tokio::test]
async fn a_rule_about_data_sees_the_label_and_the_record_keeps_it() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    forbid(&fixture, "context.data_class == DataClass::\"special\"");
    for route in routes() {
        allowed(&fixture, &token, &route, &["personal"]).await;
        denied(&fixture, &token, &route, &["special"]).await;
        assert_eq!(fixture.records(&["infer.denied"]).last().unwrap()["detail"]["data_class"], "special");
    }
    for kind in ["infer.start", "infer.end"] {
        let records = fixture.records(&[kind]);
        assert!(records.len() > 8 && records.iter().all(|record| record["detail"]["data_class"] == "personal"));
    }
    forbid(&fixture, "context.data_class == DataClass::\"internal\"");
    for route in routes() {
        denied(&fixture, &token, &route, &[]).await;
        assert!(fixture.records(&["infer.denied"]).last().unwrap()["detail"].get("data_class").is_none());
        allowed(&fixture, &token, &route, &["public"]).await;
    }
}

#[tokio::test]
async fn a_label_that_cannot_be_read_is_refused_with_the_words_and_recorded() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    for (path, body) in routes() {
        for labels in [&["secret"][..], &["Special"], &[""], &["public, special"], &["public", "public"]] {
            let before = fixture.records(&["infer.denied"]).len();
            let reply = fixture.post_labelled(path, &token, labels, &body).await;
            assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_value"), "{path} {labels:?}");
            let says = if labels.len() == 1 {
                "`public`, `internal`, `confidential`, `personal`, `special`"
            } else {
                "more than once"
            };
            assert!(reply.message().contains(says), "{}", reply.text);
            assert_eq!(fixture.records(&["infer.denied"]).len(), before + 1, "{path}");
        }
    }
    assert!(fixture.backend.started.lock().unwrap().is_empty());
    let headers = [("authorization", format!("Bearer {token}")), ("x-outpost-data-class", "x".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(fixture.call("GET", "/v1/models", &headers, "").await.status, 200, "no data is sent here");
}

#[tokio::test]
async fn days_and_hours_are_local() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    // Midnight UTC, at the beginning of a Tuesday.
    assert_eq!(NOW_S, 1_796_083_200);
    let ask = (CHAT, question("hello"));
    forbid(&fixture, "context.weekday == 1 && context.minute_of_day >= 1380");
    allowed(&fixture, &token, &ask, &[]).await;
    fixture.utc_offset_s.store(-3600, Ordering::SeqCst);
    denied(&fixture, &token, &ask, &[]).await;
    let (from, to) = (ClockTime::parse("08:00").unwrap(), ClockTime::parse("18:00").unwrap());
    let hours = Hours { weekdays: vec![Weekday::Tue], from, to };
    change(&fixture, |bundle| bundle.limits.get_mut("operator").unwrap().hours = Some(vec![hours]));
    for (offset_s, status) in [(0, 403), (8 * 3600, 200), (8 * 3600 - 60, 403), (18 * 3600 - 60, 200), (-7 * 3600, 403)]
    {
        fixture.utc_offset_s.store(offset_s, Ordering::SeqCst);
        assert_eq!(fixture.post(ask.0, &token, &ask.1).await.status, status, "{offset_s}");
    }
}

#[tokio::test]
async fn a_rule_that_asks_for_approval_sees_what_the_bundle_says_of_a_model_by_all_its_names() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let card = |id: &str, variant: &str, parent: Option<&str>| ModelCard {
        id: id.to_owned(),
        variant: variant.to_owned(),
        parent: parent.map(str::to_owned),
        ..ModelCard::default()
    };
    *fixture.backend.more.lock().unwrap() =
        vec![card("twin:q4_0", "Q4_0", None), card("twin:q8_0", "Q8_0", None), card("mine", "Q4_0", Some("demo"))];
    let approve = |name: &str, entry: ModelEntry| {
        let rule = "@id(\"approved\") @title(\"Approved models only\") @reason(\"Nobody has approved this model.\")\n\
                    forbid (principal, action in [Action::\"infer\", Action::\"embed\"], resource)\n\
                    unless { resource.approved && \
                    (if resource has approved_until then context.now <= resource.approved_until else true) };";
        change(&fixture, |bundle| {
            bundle.policies.insert("approved.cedar".to_owned(), rule.to_owned());
            bundle.models.insert(name.to_owned(), entry);
        });
    };
    let yes = || ModelEntry { approved: true, ..ModelEntry::default() };
    let status = async |name: &str| {
        let reply = fixture.post(CHAT, &token, &with(question("hello"), "model", json!(name))).await;
        let rules = reply.json()["error"]["rules"].clone();
        assert!(reply.status != 403 || rules == json!(["approved"]), "{}", reply.text);
        reply.status
    };
    approve("another", yes());
    for name in ["demo", "demo:latest", "demo:q4_0", "mine", "twin:q8_0", "not-here"] {
        assert_eq!(status(name).await, 403, "{name}");
    }
    approve("demo", yes());
    // The backend of this test knows only the one name.
    assert_eq!((status("demo").await, status("mine").await, status("twin:q4_0").await), (200, 404, 403));
    approve("twin", yes());
    for (name, expected) in [("twin", 404), ("twin:q4_0", 404), ("twin:Q8_0", 404), ("demo", 403)] {
        assert_eq!(status(name).await, expected, "{name}");
    }
    approve("demo", ModelEntry { approved: false, ..ModelEntry::default() });
    assert_eq!(status("demo").await, 403);
    let until = |day: &str| ModelEntry { approved_until: Some(day.to_owned()), ..yes() };
    approve("demo", until("2026-11-30"));
    assert_eq!(status("demo").await, 403, "it is 2026-12-01");
    approve("demo", until("2026-12-01"));
    assert_eq!(status("demo").await, 200);
}

#[tokio::test]
async fn a_model_is_looked_up_once_for_each_request_however_many_answers_it_has() {
    let fixture = Fixture::start().await;
    fixture.change(|bundle| bundle.limits.get_mut("operator").unwrap().context_tokens = Some(100));
    let token = fixture.token("operator");
    let mut several = with(question("hello"), "n", json!(3));
    for stream in [false, true] {
        several["stream"] = json!(stream);
        fixture.backend.listed.store(0, Ordering::SeqCst);
        assert_eq!(fixture.post(CHAT, &token, &several).await.status, 200);
        assert_eq!(fixture.backend.listed.load(Ordering::SeqCst), 1);
    }
    for (path, body) in routes() {
        fixture.backend.listed.store(0, Ordering::SeqCst);
        allowed(&fixture, &token, &(path, body), &[]).await;
        assert_eq!(fixture.backend.listed.load(Ordering::SeqCst), 1, "{path}");
    }
}
