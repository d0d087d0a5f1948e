//! Requests that are answered with 200: at least one for each route, and all fields between them.

use serde_json::{Value, json};

/// A request that is answered with 200: method, route, path, role and body.
pub(crate) type Good = (&'static str, &'static str, &'static str, &'static str, Value);

fn get(route: &'static str) -> Good {
    ("GET", route, route, "operator", Value::Null)
}

fn post(route: &'static str, body: Value) -> Good {
    ("POST", route, route, "operator", body)
}

fn admin(route: &'static str, body: Value) -> Good {
    ("POST", route, route, "admin", body)
}

/// What every field of the OpenAI family's sampling may say.
fn sampled(mut body: Value) -> Value {
    let sampling = json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 4, "min_p": 0.1, "repetition_penalty": 1.1, "presence_penalty": -1,
        "frequency_penalty": 0.5, "logit_bias": { "5": -100 }, "seed": -3, "stream": true,
        "stream_options": { "include_usage": true, "include_obfuscation": false },
    });
    body.as_object_mut().unwrap().extend(sampling.as_object().unwrap().clone());
    body
}

fn function() -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    json!({ "name": "weather", "description": "tells it", "parameters": parameters, "strict": true })
}

fn tools() -> Value {
    json!([{ "type": "function", "function": function() }])
}

fn conversation() -> Value {
    let call = json!({ "id": "c1", "type": "function", "function": { "name": "weather", "arguments": "{}" } });
    json!([
        { "role": "system", "content": [{ "type": "text", "text": "Be brief.", "cache_control": {} }], "name": null },
        { "role": "user", "content": "weather?", "name": "ada" },
        { "role": "assistant", "content": null, "tool_calls": [call], "reasoning_content": "hm", "refusal": null },
        { "role": "tool", "tool_call_id": "c1", "content": "rain", "tool_calls": [] },
        { "role": "user", "content": "hello" },
    ])
}

fn chats() -> Vec<Good> {
    const PATH: &str = "/v1/chat/completions";
    let asked = |text: &str| json!({ "model": "demo", "messages": [{ "role": "user", "content": text }] });
    let with = |text: &str, more: Value| {
        let mut body = asked(text);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(PATH, body)
    };
    let schema = json!({ "name": "answer", "schema": { "type": "object" }, "strict": true });
    vec![
        post(PATH, asked("hello")),
        post(PATH, asked("think")),
        post(PATH, asked("length")),
        with("call weather", json!({ "tools": tools(), "tool_choice": "auto", "parallel_tool_calls": false })),
        with(
            "x",
            json!({ "tools": tools(), "tool_choice": { "type": "function", "function": { "name": "weather" } } }),
        ),
        with(
            "x",
            json!({ "tools": tools(), "tool_choice": { "type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{ "type": "function", "function": { "name": "weather" } }] } } }),
        ),
        with("x", json!({ "n": 2, "logprobs": true, "top_logprobs": 2, "max_completion_tokens": 9, "stop": "END" })),
        with("x", json!({ "response_format": { "type": "json_schema", "json_schema": schema }, "max_tokens": 9 })),
        with(
            "x",
            json!({ "response_format": { "type": "json_object" }, "stop": ["a", "b"], "reasoning_effort": "low" }),
        ),
        with("x", json!({ "guided_choice": ["a", "b"], "chat_template_kwargs": { "enable_thinking": false } })),
        with(
            "x",
            json!({
                "user": "u", "metadata": {}, "store": false, "modalities": ["text"], "verbosity": "medium", "min_tokens": 0,
                "functions": [], "function_call": "none", "grammar": {}, "tools": [], "unknown": null, "audio": null,
            }),
        ),
        post(PATH, sampled(json!({ "model": "demo", "messages": conversation() }))),
    ]
}

fn completions() -> Vec<Good> {
    const PATH: &str = "/v1/completions";
    vec![
        post(PATH, json!({ "model": "demo", "prompt": "hello" })),
        post(
            PATH,
            json!({ "model": "demo", "prompt": ["a", "b"], "n": 2, "best_of": 2, "suffix": "", "max_tokens": 3 }),
        ),
        post(PATH, json!({ "model": "demo", "prompt": [1, 2], "echo": true, "logprobs": 2, "max_tokens": 0 })),
        post(PATH, json!({ "model": "demo", "prompt": [[1, 2], [3]], "stop": ["END"], "user": "ada" })),
        post(PATH, sampled(json!({ "model": "demo", "prompt": "hello", "guided_regex": "a+" }))),
    ]
}

fn responses() -> Vec<Good> {
    const PATH: &str = "/v1/responses";
    let function = || {
        let mut function = function();
        function["type"] = json!("function");
        function
    };
    let input = json!([
        { "role": "user", "content": "weather?" },
        { "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "hm" }], "id": "r1" },
        { "type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}", "status": "completed" },
        { "type": "function_call_output", "call_id": "c1", "output": "rain" },
        { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "hello" }] },
    ]);
    let format = json!({ "type": "json_schema", "name": "answer", "schema": { "type": "object" } });
    vec![
        post(PATH, json!({ "model": "demo", "input": "hello" })),
        post(PATH, json!({ "model": "demo", "input": "think", "reasoning": { "effort": "high", "summary": "auto" } })),
        post(PATH, json!({ "model": "demo", "input": "length", "instructions": "Be brief.", "max_output_tokens": 9 })),
        post(PATH, json!({ "model": "demo", "input": "call weather", "tools": [function()], "tool_choice": "auto" })),
        post(
            PATH,
            json!({ "model": "demo", "input": "x", "tools": [function()],
            "tool_choice": { "type": "function", "name": "weather" }, "parallel_tool_calls": false }),
        ),
        post(
            PATH,
            json!({ "model": "demo", "input": "x", "tools": [function()], "tool_choice":
            { "type": "allowed_tools", "mode": "auto", "tools": [{ "type": "function", "name": "weather" }] } }),
        ),
        post(PATH, json!({ "model": "demo", "input": "x", "text": { "format": format, "verbosity": "medium" } })),
        post(
            PATH,
            json!({ "model": "demo", "input": "x", "top_logprobs": 2, "metadata": { "a": "b" },
            "include": ["message.output_text.logprobs"], "truncation": "disabled", "background": false }),
        ),
        post(PATH, sampled(json!({ "model": "demo", "input": input, "store": true, "user": "ada" }))),
    ]
}

fn embeddings() -> Vec<Good> {
    let asked = |input: Value| json!({ "model": "vectors", "input": input });
    let mut packed = asked(json!(["a", [1, 2]]));
    packed["encoding_format"] = json!("base64");
    packed["dimensions"] = json!(2);
    packed["truncate"] = json!(true);
    let of = |more: Value| {
        let mut body = json!({ "truncate": true, "dimensions": 0, "keep_alive": "5m", "options": { "num_ctx": 9 } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    vec![
        post("/v1/embeddings", asked(json!("a"))),
        post("/v1/embeddings", asked(json!([1, 2]))),
        post("/v1/embeddings", packed),
        post("/api/embed", json!({ "model": "vectors", "input": "a" })),
        post("/api/embed", of(json!({ "name": "vectors", "input": ["a", "b"] }))),
        post("/api/embeddings", of(json!({ "model": "vectors:latest", "prompt": "a" }))),
    ]
}

fn ollama() -> Vec<Good> {
    let options = json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "repeat_penalty": 1.1, "repeat_last_n": -1,
        "presence_penalty": 0.5, "frequency_penalty": -0.5, "seed": -7, "stop": ["END"], "num_predict": -1,
        "num_ctx": 8192, "typical_p": 1, "tfs_z": 1.0, "mirostat": 0, "penalize_newline": true,
    });
    let arguments = json!({ "city": "Oslo" });
    let call = json!({ "id": "c1", "function": { "index": 0, "name": "weather", "arguments": arguments } });
    let messages = json!([
        { "role": "user", "content": "weather?", "images": [] },
        { "role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call] },
        { "role": "tool", "content": "rain", "tool_name": "weather", "tool_call_id": "c1" },
    ]);
    let hello = json!([{ "role": "user", "content": "call weather" }]);
    vec![
        get("/"),
        get("/api/version"),
        get("/api/tags"),
        get("/api/ps"),
        post("/api/show", json!({ "model": "demo", "verbose": true, "system": "", "template": null })),
        post("/api/generate", json!({ "model": "demo" })),
        post("/api/generate", json!({ "model": "demo", "prompt": "think", "stream": false, "think": "low" })),
        post(
            "/api/generate",
            json!({ "model": "demo", "prompt": "a", "raw": true, "stream": false, "logprobs": true,
            "top_logprobs": 2, "format": "", "context": [], "images": [], "suffix": "", "width": 0 }),
        ),
        post(
            "/api/generate",
            json!({ "name": "demo", "model": "", "prompt": "a", "options": options, "system": "Be brief.",
            "keep_alive": -1, "format": { "type": "object" }, "truncate": true }),
        ),
        post("/api/chat", json!({ "model": "demo", "messages": [] })),
        post("/api/chat", json!({ "model": "demo", "messages": hello, "tools": tools(), "stream": false })),
        post("/api/chat", json!({ "model": "demo", "messages": messages, "think": true, "keep_alive": "1h30m" })),
        admin("/api/pull", json!({ "model": "demo", "stream": false, "insecure": false, "username": "" })),
        admin("/api/pull", json!({ "model": "demo" })),
        admin(
            "/api/create",
            json!({ "model": "mine", "from": "demo", "system": "Be brief.", "stream": false,
            "parameters": { "temperature": 0.1 }, "files": {}, "license": [], "template": "" }),
        ),
        admin("/api/create", json!({ "name": "mine", "from": "demo" })),
        admin("/api/copy", json!({ "source": "demo", "destination": "other" })),
        ("DELETE", "/api/delete", "/api/delete", "admin", json!({ "model": "demo" })),
    ]
}

fn foundry() -> Vec<Good> {
    let named = |route: &'static str, path: &'static str, role: &'static str| ("POST", route, path, role, Value::Null);
    vec![
        get("/status"),
        get("/models/loaded"),
        get("/openai/status"),
        get("/openai/models"),
        get("/openai/loadedmodels"),
        get("/openai/getgpudevice"),
        get("/foundry/list"),
        named("/models/load/{id}", "/models/load/demo", "operator"),
        named("/openai/load/{id}", "/openai/load/vectors?ttl=60", "operator"),
        named("/models/unload/{id}", "/models/unload/demo", "admin"),
        named("/openai/unload/{id}", "/openai/unload/vectors", "admin"),
        admin("/openai/unloadall", Value::Null),
        admin(
            "/openai/download",
            json!({ "model": { "Name": "demo", "Uri": "x", "ProviderType": "y" },
            "ignorePipeReport": true, "token": "" }),
        ),
        post(
            "/v1/chat/completions/tokenizer/encode/count",
            json!({ "model": "demo", "messages": [{ "role": "user", "content": "a", "name": "ada" }] }),
        ),
    ]
}

fn anthropic() -> Vec<Good> {
    const PATH: &str = "/v1/messages";
    let asked =
        |text: &str| json!({ "model": "demo", "max_tokens": 9, "messages": [{ "role": "user", "content": text }] });
    let tool =
        json!({ "name": "weather", "description": "tells it", "input_schema": {}, "type": "custom", "strict": true });
    let mut called = asked("x");
    called["tools"] = json!([tool]);
    called["tool_choice"] = json!({ "type": "any", "disable_parallel_tool_use": true });
    let mut full = json!({
        "model": "demo", "system": [{ "type": "text", "text": "Be brief.", "cache_control": {} }], "tools": [tool],
        "thinking": { "type": "enabled", "budget_tokens": 5, "display": "x" }, "mcp_servers": [], "container": null,
        "messages": [
            { "role": "user", "content": "weather?" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "" },
                { "type": "text", "text": "Let me see.", "citations": null },
                { "type": "tool_use", "id": "t1", "name": "weather", "input": {}, "caller": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": [{ "type": "text", "text": "no" }] },
                { "type": "text", "text": "length" },
            ] },
        ],
    });
    let count = full.clone();
    let more =
        json!({ "max_tokens": 9, "temperature": 1, "top_p": 0.5, "top_k": 3, "stop_sequences": ["a"], "metadata": {} });
    full.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut streamed = full.clone();
    streamed["stream"] = json!(true);
    vec![
        post(PATH, asked("think")),
        post(PATH, asked("stop text")),
        post(PATH, called),
        post(PATH, full),
        post(PATH, streamed),
        post("/v1/messages/count_tokens", count),
    ]
}

fn own() -> Vec<Good> {
    let subject = format!("p:{}", "0a".repeat(16));
    vec![
        get("/v1/models"),
        ("GET", "/v1/models/{id}", "/v1/models/demo", "operator", Value::Null),
        get("/health"),
        get("/metrics"),
        get("/outpost/status"),
        ("GET", "/outpost/audit/checkpoint", "/outpost/audit/checkpoint", "auditor", Value::Null),
        get("/openapi.json"),
        (
            "POST",
            "/outpost/audit/erase",
            "/outpost/audit/erase",
            "eraser",
            json!({ "subject": subject, "basis": "case 7" }),
        ),
        (
            "POST",
            "/outpost/audit/erase",
            "/outpost/audit/erase",
            "eraser",
            json!({ "subject": subject, "basis": "case 7", "approver": subject }),
        ),
        ("POST", "/outpost/audit/prune", "/outpost/audit/prune", "eraser", json!({})),
        ("POST", "/outpost/audit/prune", "/outpost/audit/prune", "eraser", json!({ "dry_run": true })),
    ]
}

fn governance() -> Vec<Good> {
    let signature = json!({ "keyid": "", "sig": "AAAA" });
    let sealed = json!({ "payload": "e30=", "payloadType": "application/json", "signatures": [signature] });
    vec![
        admin("/outpost/locks", sealed.clone()),
        ("POST", "/outpost/break-glass", "/outpost/break-glass", "operator", sealed.clone()),
        ("POST", "/outpost/break-glass/close", "/outpost/break-glass/close", "operator", Value::Null),
        admin("/outpost/policy", sealed),
        admin("/outpost/policy", json!({ "v": 1, "version": 2, "policies": {}, "limits": {}, "cases": [] })),
        admin("/outpost/policy/rollback", Value::Null),
        admin("/outpost/bundle/import", json!({ "directory": "/mnt/stick/outpost" })),
        (
            "POST",
            "/outpost/bundle/export",
            "/outpost/bundle/export",
            "auditor",
            json!({ "directory": "/mnt/stick/outpost", "from": 7 }),
        ),
        admin("/outpost/update", json!({ "file": "/mnt/stick/outpost-0.2.0", "again": true })),
        admin("/outpost/link/dead-letters/clear", Value::Null),
    ]
}

pub(crate) fn good() -> Vec<Good> {
    [own(), governance(), chats(), completions(), responses(), embeddings(), ollama(), foundry(), anthropic()].concat()
}
