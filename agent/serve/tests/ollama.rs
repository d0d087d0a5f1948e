//! Clients of Ollama: answers, lines, models that come and go, and refusals as they read them.

mod support;

use serde_json::{Value, json};

use support::{Fixture, Reply};

fn lines(reply: &Reply) -> Vec<Value> {
    reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn chat(text: &str) -> Value {
    json!({ "model": "demo:latest", "messages": [{ "role": "user", "content": text }] })
}

#[tokio::test]
async fn a_chat_comes_line_by_line_and_ends_with_its_statistics() {
    let fixture = Fixture::start().await;
    let reply = fixture.post("/api/chat", &fixture.token("operator"), &chat("hello")).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/x-ndjson"), "{}", reply.text);
    let lines = lines(&reply);
    let text: String = lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
    assert_eq!(text, "Hello, wörld");
    assert!(lines.iter().all(|line| line["model"] == "demo:latest" && line["created_at"].is_string()));
    let last = lines.last().unwrap();
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("stop")));
    assert_eq!((&last["prompt_eval_count"], &last["eval_count"]), (&json!(5), &json!(3)));
    assert_eq!((&last["prompt_eval_duration"], &last["eval_duration"]), (&json!(4_000_000), &json!(6_000_000)));
    assert!(last["total_duration"].as_u64().unwrap() > 0);
    assert_eq!(fixture.backend.started.lock().unwrap()[0].model, "demo", "`:latest` says nothing");
    assert_eq!(fixture.records(&["infer.start", "infer.end"]).len(), 2);
}

#[tokio::test]
async fn an_answer_at_once_has_everything_in_one_object() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let asked = json!({ "model": "demo", "prompt": "think", "system": "Be brief.", "stream": false, "think": "high" });
    let answer = fixture.post("/api/generate", &token, &asked).await.json();
    assert_eq!((&answer["response"], &answer["thinking"]), (&json!("Yes."), &json!("Let me see.")));
    assert_eq!((&answer["done"], &answer["done_reason"]), (&json!(true), &json!("stop")));
    let asked = json!({ "model": "demo", "prompt": "length", "stream": false, "raw": true, "logprobs": true });
    let answer = fixture.post("/api/generate", &token, &asked).await.json();
    assert_eq!((&answer["response"], &answer["done_reason"]), (&json!("cut"), &json!("length")));
    assert_eq!(answer["logprobs"][0]["logprob"], json!(-0.5));
    let asked = json!({ "model": "demo", "prompt": "x", "stream": false, "format": { "type": "object" } });
    assert_eq!(fixture.post("/api/generate", &token, &asked).await.json()["response"], "{\"a\":1}");
}

#[tokio::test]
async fn a_call_comes_whole_with_its_arguments_as_an_object() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let mut asked = chat("call weather");
    asked["tools"] = json!([{ "type": "function", "function": { "name": "weather", "description": "tells it",
        "parameters": { "type": "object", "properties": { "city": { "type": "string" } } } } }]);
    let streamed = lines(&fixture.post("/api/chat", &token, &asked).await);
    let called: Vec<&Value> = streamed.iter().filter(|line| line["message"].get("tool_calls").is_some()).collect();
    assert_eq!(called.len(), 1);
    let function = &called[0]["message"]["tool_calls"][0]["function"];
    assert_eq!((&function["name"], &function["arguments"]), (&json!("weather"), &json!({ "city": "Oslo" })));
    asked["stream"] = json!(false);
    let whole = fixture.post("/api/chat", &token, &asked).await.json();
    let calls = whole["message"]["tool_calls"].clone();
    assert_eq!(calls[0]["function"]["arguments"]["city"], "Oslo");
    asked["messages"] = json!([
        { "role": "user", "content": "call weather" },
        { "role": "assistant", "content": "", "tool_calls": calls },
        { "role": "tool", "content": "rain", "tool_name": "weather" },
    ]);
    assert_eq!(fixture.post("/api/chat", &token, &asked).await.status, 200);
}

#[tokio::test]
async fn an_answer_that_breaks_off_says_so_in_a_line_of_its_own() {
    let fixture = Fixture::start().await;
    let reply = fixture.post("/api/chat", &fixture.token("operator"), &chat("fail")).await;
    let lines = lines(&reply);
    assert!(lines.last().unwrap()["error"].is_string(), "{}", reply.text);
    assert!(lines.iter().all(|line| line["done"] != true) && !reply.text.contains("/a/path"));
}

#[tokio::test]
async fn a_question_without_a_question_loads_and_unloading_takes_more() {
    let fixture = Fixture::start().await;
    let (operator, admin) = (fixture.token("operator"), fixture.token("admin"));
    let load = json!({ "model": "demo", "prompt": "", "keep_alive": "1h30m" });
    let answer = fixture.post("/api/generate", &operator, &load).await.json();
    assert_eq!(
        (&answer["done"], &answer["done_reason"], &answer["response"]),
        (&json!(true), &json!("load"), &json!(""))
    );
    let unload = json!({ "model": "demo", "messages": [], "keep_alive": 0 });
    assert_eq!(fixture.post("/api/chat", &operator, &unload).await.status, 403);
    let answer = fixture.post("/api/chat", &admin, &unload).await.json();
    assert_eq!((&answer["done_reason"], &answer["message"]["content"]), (&json!("unload"), &json!("")));
    assert_eq!(*fixture.backend.acts.lock().unwrap(), ["load demo Some(For(5400s))", "unload demo"]);
    let acts = fixture.records(&["admin.act"]);
    assert_eq!(acts.len(), 5, "each act twice, and the denial");
    assert_eq!((&acts[0]["act"], &acts[0]["detail"]["phase"]), (&json!("load_model"), &json!("begin")));
}

#[tokio::test]
async fn vectors_come_for_one_text_and_for_many() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let asked = json!({ "model": "vectors", "input": ["a", "b"], "dimensions": 2 });
    let answer = fixture.post("/api/embed", &token, &asked).await.json();
    assert_eq!((&answer["embeddings"], &answer["prompt_eval_count"]), (&json!([[1.0, 0.0], [1.0, 0.0]]), &json!(6)));
    let asked = json!({ "model": "vectors", "prompt": "a" });
    assert_eq!(fixture.post("/api/embeddings", &token, &asked).await.json()["embedding"], json!([1.0, 0.0, 0.0, 0.0]));
    let asked = json!({ "model": "vectors", "input": "too long", "truncate": false });
    assert_eq!(fixture.post("/api/embed", &token, &asked).await.code(), "context_length_exceeded");
    assert_eq!(fixture.post("/api/embed", &token, &json!({ "model": "vectors", "input": [] })).await.status, 400);
}

#[tokio::test]
async fn models_are_listed_shown_and_named() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let tags = fixture.get("/api/tags", &token).await.json();
    assert_eq!(tags["models"][0]["name"], "demo");
    assert_eq!(tags["models"][0]["details"]["parameter_size"], "5.00M");
    assert_eq!(tags["models"][1]["capabilities"], json!(["embedding"]));
    let loaded = fixture.get("/api/ps", &token).await.json();
    assert_eq!((&loaded["models"][0]["size"], &loaded["models"][0]["size_vram"]), (&json!(50_000_000), &json!(0)));
    let shown = fixture.post("/api/show", &token, &json!({ "model": "demo" })).await.json();
    assert_eq!(shown["model_info"]["general.architecture"], "llama");
    assert!(shown["modelfile"].as_str().unwrap().starts_with("FROM demo\n"));
    assert_eq!(fixture.get("/", &token).await.text, "Outpost is running");
    assert!(fixture.get("/api/version", &token).await.json()["version"].is_string());
    let bearer = format!("Bearer {token}");
    for path in ["/", "/api/tags", "/api/version", "/api/ps"] {
        assert_eq!(fixture.call("HEAD", path, &[("authorization", &bearer)], "").await.status, 200, "{path}");
        assert_eq!(fixture.call("HEAD", path, &[], "").await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_pull_is_told_as_it_goes_and_both_its_ends_are_on_record() {
    let fixture = Fixture::start().await;
    let admin = fixture.token("admin");
    let lines = lines(&fixture.post("/api/pull", &admin, &json!({ "model": "demo" })).await);
    assert_eq!(lines[0]["status"], "looking");
    assert_eq!((&lines[1]["total"], &lines[1]["completed"]), (&json!(100), &json!(50)));
    assert_eq!(lines.last().unwrap(), &json!({ "status": "success" }));
    let acts = fixture.records(&["admin.act"]);
    assert_eq!((acts.len(), &acts[0]["act"], &acts[1]["res"]["status"]), (2, &json!("pull_model"), &json!(200)));
    let reply = fixture.post("/api/pull", &admin, &json!({ "model": "other", "stream": false })).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "pull_failed"));
    assert!(fixture.post("/api/pull", &admin, &json!({ "model": "other" })).await.text.contains("\"error\""));
    assert_eq!(fixture.records(&["admin.act"]).len(), 6);
}

#[tokio::test]
async fn what_a_hub_has_comes_once_rules_have_seen_what_it_is_and_where_from_is_on_record() {
    let fixture = Fixture::start().await;
    let admin = fixture.token("admin");
    fixture.change(|bundle| {
        let rule = "@id(\"licences\")\n@title(\"Licences\")\n@reason(\"Only what our lawyers know may come.\")\n\
                    forbid (principal, action == Action::\"pull_model\", resource) when {\n\
                    resource.licence != \"\" && !([\"Apache-2.0\", \"apache-2.0\", \"mit\"].contains(resource.licence)) };\n\
                    @id(\"banned\")\n@title(\"Banned\")\n@reason(\"We do not trust them.\")\n\
                    forbid (principal, action == Action::\"pull_model\", resource) when { resource.name == \"hf:tiny/mit\" };\n";
        bundle.policies.insert("licences.cedar".to_owned(), rule.to_owned());
    });
    let told = lines(&fixture.post("/api/pull", &admin, &json!({ "model": "hf:tiny/apache-2.0@main#*Q4*" })).await);
    let step = told[0]["status"].as_str().unwrap();
    assert!(step.contains("at commit 0123456789ab, licence apache-2.0"), "{step}");
    assert_eq!(told.last().unwrap(), &json!({ "status": "success" }));
    let acts = fixture.records(&["admin.act"]);
    let end = &acts[1];
    assert_eq!(end["detail"]["origin"], "https://hub.example.org/tiny/model");
    assert_eq!(end["detail"]["commit"], "0123456789abcdef0123456789abcdef01234567");
    assert_eq!((&end["detail"]["path"], &end["detail"]["licence"]), (&json!("tiny-Q4_0.gguf"), &json!("apache-2.0")));
    assert!(end.to_string().contains(&"cd".repeat(32)), "{end}");
    for (name, rule) in
        [("hf:tiny/gemma", "licences"), ("hf:tiny/noassertion", "licences"), ("hf:tiny/mit@v1", "banned")]
    {
        let refused = fixture.post("/api/pull", &admin, &json!({ "model": name, "stream": false })).await;
        assert_eq!(refused.status, 403, "{name}: {}", refused.text);
        let last = fixture.records(&["admin.act"]).pop().unwrap();
        assert!(last.to_string().contains("403") || last.to_string().contains(rule), "{name}: {last}");
    }
}

#[tokio::test]
async fn models_are_made_copied_and_removed_by_those_who_may() {
    let fixture = Fixture::start().await;
    let (operator, admin) = (fixture.token("operator"), fixture.token("admin"));
    let new = json!({ "model": "mine", "from": "demo", "system": "Be brief.", "parameters": { "temperature": 0.1 } });
    assert_eq!(fixture.post("/api/create", &operator, &new).await.status, 403);
    assert_eq!(fixture.post("/api/create", &admin, &new).await.json(), json!({ "status": "success" }));
    for (field, value) in [("files", json!({ "a": "b" })), ("adapters", json!({ "a": "b" })), ("quantize", json!("q4"))]
    {
        let mut refused = new.clone();
        refused[field] = value;
        let reply = fixture.post("/api/create", &admin, &refused).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "unsupported_parameter"));
        assert!(reply.message().contains(field));
    }
    let copy = json!({ "source": "demo", "destination": "vectors" });
    assert_eq!(fixture.post("/api/copy", &admin, &copy).await.status, 409);
    let headers = [("authorization", format!("Bearer {admin}")), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(fixture.call("DELETE", "/api/delete", &headers, r#"{"model":"demo"}"#).await.status, 200);
    assert_eq!(fixture.call("DELETE", "/api/delete", &headers, r#"{"model":"other"}"#).await.status, 404);
    assert_eq!(fixture.call("POST", "/api/delete", &headers, r#"{"model":"demo"}"#).await.header("allow"), "DELETE");
    assert_eq!(*fixture.backend.acts.lock().unwrap(), ["create mine from demo", "delete demo"]);
}

#[tokio::test]
async fn refusals_have_the_shape_that_clients_read() {
    let fixture = Fixture::start().await;
    let operator = fixture.token("operator");
    let reply = fixture.post("/api/chat", "nobody", &chat("hello")).await;
    assert!(reply.status == 401 && reply.json()["error"].is_string(), "{}", reply.text);
    assert_eq!(fixture.post("/api/chat", &fixture.token("auditor"), &chat("hello")).await.code(), "denied_by_policy");
    let reply = fixture.post("/api/chat", &operator, &json!({ "model": "no", "messages": [{ "role": "user" }] })).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "model_not_found"));
    let reply = fixture.post("/api/chat", &operator, &chat("busy")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "7"));
    assert_eq!(fixture.get("/api/chat", &operator).await.status, 405);
    for (field, value) in [
        ("suffix", json!("x")),
        ("template", json!("x")),
        ("context", json!([1, 2])),
        ("images", json!(["aGk="])),
        ("keep_alive", json!("soon")),
        ("options", json!({ "temprature": 1 })),
    ] {
        let mut asked = json!({ "model": "demo", "prompt": "hello" });
        asked[field] = value;
        let reply = fixture.post("/api/generate", &operator, &asked).await;
        assert_eq!(reply.status, 400, "{field}");
        assert!(reply.message().contains(field), "{}", reply.text);
    }
}
