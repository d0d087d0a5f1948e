//! Content that a rule asks to keep: sealed with the record, under the caller's pseudonym, and nowhere else.

mod support;

use outpost_audit::{Content, EraseOrder, VaultError, Who};
use outpost_policies::Expect;
use outpost_policies::content::{Act, ContentRule};
use serde_json::{Value, json};
use support::{CHAT, Fixture, ISSUER, pseudonyms, question, streamed};

const SECRET: &str = "my lawyer is called Blaise";

fn asked(text: &str) -> Value {
    json!({ "model": "demo", "messages": [
        { "role": "system", "content": SECRET },
        { "role": "user", "content": text },
    ] })
}

/// The newest record of a type, and what was sealed with it.
fn newest(fixture: &Fixture, kind: &str) -> (Value, Result<Content, String>) {
    let record = fixture.records(&[kind]).pop().unwrap();
    let content = fixture.audit.content(record["i"].as_u64().unwrap());
    (record, content.map_err(|error| error.to_string()))
}

fn json_of(bytes: Option<Vec<u8>>) -> Value {
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

#[tokio::test]
async fn nothing_is_kept_unless_a_rule_asks_for_it() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.post(CHAT, &fixture.token("operator"), &asked("hello")).await.status, 200);
    for kind in ["infer.start", "infer.end"] {
        let (record, content) = newest(&fixture, kind);
        assert!(record["io"].get("ct").is_none() && content.is_err(), "{record}");
    }
}

#[tokio::test]
async fn what_was_asked_and_answered_is_sealed_as_far_as_the_rule_says() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    fixture.keep("request");
    assert_eq!(fixture.post(CHAT, &token, &asked("hello")).await.status, 200);
    let (start, content) = newest(&fixture, "infer.start");
    let content = content.unwrap();
    let kept = json_of(content.input);
    assert_eq!(kept["messages"][0], json!({ "role": "system", "content": SECRET }));
    assert_eq!(content.output, None);
    assert!(start["io"]["in"]["ct"].as_str().unwrap().starts_with("sha256:") && start["io"]["in"]["key"].is_string());
    assert!(newest(&fixture, "infer.end").1.is_err(), "the answer was not asked for");

    fixture.keep("request_and_response");
    for (body, said) in [(asked("hello"), "Hello, wörld"), (streamed("think"), "Yes.")] {
        assert_eq!(fixture.post(CHAT, &token, &body).await.status, 200);
        let (_, content) = newest(&fixture, "infer.end");
        let content = content.unwrap();
        assert_eq!((json_of(content.output)["content"].clone(), content.input), (json!(said), None));
    }
    let (end, _) = newest(&fixture, "infer.end");
    assert_eq!(end["io"]["out"]["tok"], 3, "counts stand beside the digest");
}

#[tokio::test]
async fn every_way_to_ask_is_kept_and_no_byte_of_it_is_on_the_disk() {
    let mut fixture = Fixture::start().await;
    fixture.keep("request_and_response");
    let token = fixture.token("operator");
    let messages = json!([{ "role": "user", "content": SECRET }]);
    let asked = [
        (CHAT, json!({ "model": "demo", "messages": messages })),
        ("/v1/completions", json!({ "model": "demo", "prompt": SECRET })),
        ("/v1/responses", json!({ "model": "demo", "input": SECRET })),
        ("/v1/embeddings", json!({ "model": "vectors", "input": SECRET })),
        ("/v1/messages", json!({ "model": "demo", "max_tokens": 9, "messages": messages })),
        ("/v1/messages/count_tokens", json!({ "model": "demo", "messages": messages })),
        ("/api/chat", json!({ "model": "demo", "messages": messages })),
        ("/api/generate", json!({ "model": "demo", "prompt": SECRET })),
        ("/api/embed", json!({ "model": "vectors", "input": SECRET })),
    ];
    for (path, body) in asked {
        assert_eq!(fixture.post(path, &token, &body).await.status, 200, "{path}");
        let (start, content) = newest(&fixture, "infer.start");
        let input = String::from_utf8(content.unwrap().input.unwrap()).unwrap();
        assert!(input.contains(SECRET), "{path}: {input}");
        assert_eq!(start["obj"]["endpoint"], path);
    }
    fixture.stop().await;
    for directory in ["audit", "roots"] {
        for file in std::fs::read_dir(fixture.directory.path().join(directory)).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let clear = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(!clear, "{directory} holds it in clear");
        }
    }
}

#[tokio::test]
async fn what_content_rules_take_out_is_not_kept_by_another_door() {
    let fixture = Fixture::start().await;
    fixture.change(|bundle| {
        bundle.cases.retain(|case| case.expect == Expect::Deny);
        let rules = bundle.policies.get_mut("operator.cedar").unwrap();
        *rules = rules.replacen("@id", "@audit(\"request_and_response\") @id", 1);
        let rule = ContentRule { class: "email".to_owned(), act: Act::Redact };
        bundle.content.role.entry("operator".to_owned()).or_default().input.push(rule);
    });
    let token = fixture.token("operator");
    assert_eq!(fixture.post(CHAT, &token, &question("write to ada@shop.example now")).await.status, 200);
    let counted = fixture.post("/v1/messages/count_tokens", &token, &question("write to ada@shop.example now")).await;
    assert_eq!(counted.status, 200, "{}", counted.text);
    for start in fixture.records(&["infer.start"]) {
        let input = fixture.audit.content(start["i"].as_u64().unwrap()).unwrap().input.unwrap();
        let input = String::from_utf8(input).unwrap();
        assert!(input.contains("write to") && !input.contains("ada@shop.example"), "{input}");
    }
    fixture.change(|bundle| {
        bundle.version = 3;
        bundle.cases.retain(|case| case.expect == Expect::Deny);
        let rule = ContentRule { class: "email".to_owned(), act: Act::Block };
        bundle.content.role.entry("operator".to_owned()).or_default().input.push(rule);
    });
    for path in [CHAT, "/v1/messages/count_tokens"] {
        let blocked = fixture.post(path, &token, &question("write to ada@shop.example now")).await;
        assert_eq!(blocked.status, 403, "{path}: {}", blocked.text);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_kept_as_far_as_it_left() {
    let fixture = Fixture::start().await;
    fixture.keep("request_and_response");
    let mut open = fixture.open(&fixture.token("operator"), &streamed("wait")).await;
    open.until("first").await;
    drop(open);
    fixture.wait_for("infer.aborted", 1).await;
    let (_, content) = newest(&fixture, "infer.aborted");
    assert_eq!(json_of(content.unwrap().output)["content"], "first");
}

#[tokio::test]
async fn what_is_kept_is_the_callers_and_goes_when_the_caller_is_erased() {
    let fixture = Fixture::start().await;
    fixture.keep("request");
    let (ada, key) = (fixture.token("operator"), fixture.api_key("operator"));
    for token in [&ada, &key] {
        assert_eq!(fixture.post(CHAT, token, &asked("hello")).await.status, 200);
    }
    let starts: Vec<u64> = fixture.records(&["infer.start"]).iter().map(|start| start["i"].as_u64().unwrap()).collect();
    let order = EraseOrder {
        subject: pseudonyms().of(&format!("{ISSUER}|ada")),
        basis: "case 7".to_owned(),
        approver: Who::default(),
    };
    let audit = fixture.audit.clone();
    let erased = tokio::task::spawn_blocking(move || audit.erase(&order)).await.unwrap().unwrap();
    assert_eq!((erased.keys.len(), erased.ciphertexts), (1, 1));
    let gone = fixture.audit.content(starts[0]).unwrap_err();
    assert!(matches!(gone, outpost_audit::AuditError::Vault(VaultError::Destroyed { .. })), "{gone}");
    assert!(fixture.audit.content(starts[1]).is_ok(), "another caller's stays");
}

#[tokio::test]
async fn an_auditor_reads_what_was_kept_of_one_record_and_that_is_on_record() {
    let fixture = Fixture::start().await;
    fixture.keep("request");
    assert_eq!(fixture.post(CHAT, &fixture.token("operator"), &asked("hello")).await.status, 200);
    let start = newest(&fixture, "infer.start").0["i"].as_u64().unwrap();
    let (path, auditor) = (|index: u64| format!("/outpost/audit/content/{index}"), fixture.token("auditor"));
    let reply = fixture.get(&path(start), &auditor).await;
    assert_eq!((reply.status, reply.json()["record"].as_u64()), (200, Some(start)), "{}", reply.text);
    assert_eq!(reply.json()["asked"]["messages"][0]["content"], SECRET);
    assert_eq!(reply.json()["answered"], Value::Null);
    let read = fixture.records(&["audit.read"]).pop().unwrap();
    assert_eq!((&read["act"], &read["detail"]["record"]), (&json!("read_content"), &json!(start)));
    assert_eq!(fixture.get(&path(0), &auditor).await.code(), "content_not_found");
    assert_eq!(fixture.records(&["audit.read"]).pop().unwrap()["res"]["status"], 404, "a try is on record too");
    for role in ["operator", "admin", "eraser"] {
        assert_eq!(fixture.get(&path(start), &fixture.token(role)).await.status, 403, "{role}");
    }
}

#[tokio::test]
async fn an_erasure_is_asked_for_by_pseudonym_and_the_log_never_says_whose_it_was() {
    let mut fixture = Fixture::start().await;
    fixture.keep("request_and_response");
    assert_eq!(fixture.post(CHAT, &fixture.token("operator"), &asked("hello")).await.status, 200);
    let start = newest(&fixture, "infer.start").0["i"].as_u64().unwrap();
    let key = fixture.api_key("eraser");
    let subject = pseudonyms().of(&format!("{ISSUER}|ada"));
    let before = fixture.audit.size();
    let wish = json!({ "subject": subject, "basis": "case 7", "approver": pseudonyms().of("grace") });
    let reply = fixture.post("/outpost/audit/erase", &key, &wish).await;
    assert_eq!((reply.status, &reply.json()["ciphertexts"]), (200, &json!(2)), "{}", reply.text);
    let erased = fixture.records(&["audit.erase"]).pop().unwrap();
    assert_eq!((&erased["detail"]["basis"], &erased["who"]["pid"]), (&json!("case 7"), &wish["approver"]));
    assert_eq!(erased["keys"].as_array().unwrap().len(), 1);
    for entry in fixture.audit.list(before..u64::MAX).unwrap() {
        let leaf = String::from_utf8(entry.bytes).unwrap();
        assert!(!leaf.contains(&subject), "{leaf}");
    }
    let path = format!("/outpost/audit/content/{start}");
    assert_eq!(fixture.get(&path, &fixture.token("auditor")).await.code(), "content_not_found");
    assert_eq!(fixture.post("/outpost/audit/erase", &fixture.token("admin"), &wish).await.status, 403);
    let plan = fixture.post("/outpost/audit/prune", &key, &json!({ "dry_run": true })).await.json();
    assert_eq!((&plan["keys"], &plan["record"]), (&json!(0), &Value::Null), "nothing is past its time");
    fixture.stop().await;
    let directory = fixture.directory.path().join("audit");
    let report = outpost_audit::verify::verify_any(&directory, &outpost_audit::verify::Options::default()).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
}
