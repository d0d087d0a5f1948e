//! Clients of Foundry Local: what there is, loading, fetching, and what is refused with the reason.

mod support;

use serde_json::{Value, json};

use support::Fixture;

#[tokio::test]
async fn what_there_is_is_told_without_a_path_of_the_device() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let get = async |path: &str| fixture.get(path, &token).await.json();
    assert_eq!(get("/status").await, json!({ "modelCachePath": "", "endpoints": [], "pid": 0 }));
    assert_eq!(get("/openai/status").await["ModelDirPath"], "");
    assert_eq!(get("/openai/models").await, json!(["demo", "vectors"]));
    assert_eq!(get("/models/loaded").await, json!(["demo"]));
    assert_eq!(get("/openai/loadedmodels").await, json!(["demo"]));
    assert_eq!(get("/openai/getgpudevice").await, json!(-1));
    assert_eq!(get("/foundry/list").await["models"][1]["task"], "embeddings");
}

#[tokio::test]
async fn loading_is_posted_and_unloading_takes_more() {
    let fixture = Fixture::start().await;
    let (operator, admin) = (fixture.token("operator"), fixture.token("admin"));
    let post = async |path: &str, token: &str| fixture.post(path, token, &json!({})).await;
    assert_eq!(post("/models/load/demo", &operator).await.json(), json!({ "status": "already_loaded" }));
    assert_eq!(post("/openai/load/vectors?ttl=60", &operator).await.json(), json!({ "status": "loaded" }));
    assert_eq!(post("/openai/load/vectors?ttl=x", &operator).await.status, 400);
    assert_eq!(post("/models/load/other", &operator).await.code(), "model_not_found");
    assert_eq!(post("/models/unload/demo", &operator).await.code(), "denied_by_policy");
    assert_eq!(post("/models/unload/vectors", &admin).await.json(), json!({ "status": "not_loaded" }));
    assert_eq!(post("/openai/unload/demo", &admin).await.json(), json!({ "status": "unloaded" }));
    assert_eq!(post("/openai/unloadall", &operator).await.status, 403);
    assert_eq!(post("/openai/unloadall", &admin).await.status, 200);
    assert_eq!(fixture.backend.acts.lock().unwrap().len(), 5);
    for path in ["/models/load/demo", "/models/unload/demo", "/openai/load/demo", "/openai/unloadall", "/shutdown"] {
        let reply = fixture.get(path, &admin).await;
        assert_eq!((reply.status, reply.header("allow")), (405, "POST"), "{path}");
        assert!(reply.message().contains("a GET never changes anything"));
    }
    for path in ["/shutdown", "/openai/register", "/openai/setgpudevice/0"] {
        let reply = post(path, &admin).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "not_offered"), "{path}");
    }
}

#[tokio::test]
async fn a_download_tells_its_progress_and_then_how_it_went() {
    let fixture = Fixture::start().await;
    let admin = fixture.token("admin");
    let wanted = json!({ "model": { "Name": "demo", "Uri": "x", "ProviderType": "y" }, "ignorePipeReport": true });
    let reply = fixture.post("/openai/download", &admin, &wanted).await;
    assert!(reply.text.contains("0.500"), "{}", reply.text);
    let last: Value = serde_json::from_str(reply.text.lines().last().unwrap()).unwrap();
    assert_eq!(last, json!({ "Success": true, "ErrorMessage": null }));
    let reply = fixture.post("/openai/download", &admin, &json!({ "model": { "Name": "other" } })).await;
    assert!(reply.text.contains("\"Success\":false"), "{}", reply.text);
    assert_eq!(fixture.post("/openai/download", &fixture.token("operator"), &wanted).await.status, 403);
}

#[tokio::test]
async fn tokens_are_counted() {
    let fixture = Fixture::start().await;
    let path = "/v1/chat/completions/tokenizer/encode/count";
    let reply = fixture.post(path, &fixture.token("operator"), &support::question("hello")).await;
    assert_eq!(reply.json(), json!({ "tokenCount": 5 }));
    assert_eq!(fixture.records(&["infer.start", "infer.end"]).len(), 2);
    assert_eq!(fixture.post(path, &fixture.token("auditor"), &support::question("hello")).await.status, 403);
}
