//! The description of the API against the API: the same routes, and nothing taken, answered or refused but as it says.

#[path = "openapi/good.rs"]
mod good;
mod support;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use outpost_serve::routes;
use serde_json::{Value, json};

use good::good;
use support::{Fixture, Reply};

/// The description, and what it says of one operation.
struct Description(Value, Mutex<HashMap<String, Arc<Validator>>>);

impl Description {
    async fn of(fixture: &Fixture) -> Self {
        let reply = fixture.get("/openapi.json", &fixture.token("operator")).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
        Self(reply.json(), Mutex::default())
    }

    fn operations(&self) -> impl Iterator<Item = (String, &String, &Value)> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, operation)| (method.to_uppercase(), path, operation))
        })
    }

    fn operation(&self, method: &str, path: &str) -> &Value {
        let operation = &self.0["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not described");
        operation
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                self.0.pointer(reference.strip_prefix('#').unwrap()).expect("a reference leads somewhere")
            }
            None => value,
        }
    }

    /// Made once for each schema.
    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut made = self.1.lock().unwrap();
        let make = || {
            let schema = json!({ "allOf": [schema], "components": self.0["components"] });
            Arc::new(jsonschema::options().should_validate_formats(true).build(&schema).expect("it is a schema"))
        };
        Arc::clone(made.entry(schema.to_string()).or_insert_with(make))
    }

    /// What takes the body of an operation, if it takes one.
    fn body(&self, method: &str, path: &str) -> Option<Arc<Validator>> {
        let body = self.operation(method, path).get("requestBody")?;
        assert_eq!(body["required"], true);
        Some(self.validator(&body["content"]["application/json"]["schema"]))
    }

    /// Holds an answer to what is promised of its status.
    fn hold(&self, method: &str, path: &str, reply: &Reply) {
        let what = format!("{method} {path}: {} {}", reply.status, reply.text);
        let response = &self.operation(method, path)["responses"][reply.status.to_string()];
        assert!(response.is_object(), "a status that is not described: {what}");
        let response = self.resolve(response);
        assert!(response["headers"]["x-request-id"].is_object() && !reply.header("x-request-id").is_empty(), "{what}");
        let content_type = reply.header("content-type").split(';').next().unwrap();
        if content_type.is_empty() {
            assert!(reply.text.is_empty() && response.get("content").is_none(), "{what}");
            return;
        }
        let content = &response["content"][content_type];
        assert!(content.is_object(), "`{content_type}` is not described: {what}");
        let Some(schema) = content.get("schema") else {
            return assert!(matches!(content_type, "text/event-stream" | "application/x-ndjson"), "{what}");
        };
        let body = if content_type == "application/json" { reply.json() } else { json!(reply.text) };
        let errors: Vec<String> = self.validator(schema).iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}: {what}");
    }
}

/// Routes that are never answered with 200: what they would do is done for nobody.
const REFUSED: [&str; 4] = ["/v1/responses/{id}/cancel", "/openai/register", "/openai/setgpudevice/{id}", "/shutdown"];

/// Routes that a response has to be there for.
const KEPT: [(&str, &str); 3] =
    [("GET", "/v1/responses/{id}"), ("GET", "/v1/responses/{id}/input_items"), ("DELETE", "/v1/responses/{id}")];

/// A route that content has to be sealed for.
const SEALED: (&str, &str) = ("GET", "/outpost/audit/content/{id}");

fn path(route: &str) -> String {
    route.replace("{id}", "demo")
}

async fn send(fixture: &Fixture, (method, path, role): (&str, &str, &str), body: &Value) -> Reply {
    let bearer = format!("Bearer {}", fixture.token(role));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let (headers, body) =
        if body.is_null() { (&headers[..1], String::new()) } else { (&headers[..], body.to_string()) };
    fixture.call(method, path, headers, body).await
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else_is() {
    let fixture = Fixture::start().await;
    let description = Description::of(&fixture).await;
    let described: BTreeSet<_> = description.operations().map(|(method, path, _)| (method, path.clone())).collect();
    let served: BTreeSet<_> = routes().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(described, served);
    let ids: BTreeSet<_> =
        description.operations().map(|(_, _, operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), described.len(), "an operation has a name of its own");
    for route in routes() {
        let open = description.operation(route.method, route.path).get("security") == Some(&json!([]));
        assert_eq!(open, !route.identified, "{}", route.path);
    }
    assert_eq!(description.0["openapi"], "3.1.0");
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_component_is_used() {
    let fixture = Fixture::start().await;
    let description = Description::of(&fixture).await;
    let mut wanted = BTreeSet::new();
    let mut places = vec![&description.0];
    while let Some(value) = places.pop() {
        match value {
            Value::Object(map) => {
                if let Some(reference) = map.get("$ref") {
                    description.resolve(value);
                    wanted.insert(reference.as_str().unwrap().to_owned());
                }
                places.extend(map.values());
            }
            Value::Array(list) => places.extend(list),
            _ => {}
        }
    }
    for name in description.0["components"]["schemas"].as_object().unwrap().keys() {
        assert!(wanted.contains(&format!("#/components/schemas/{name}")), "{name} is used nowhere");
        description.validator(&json!({ "$ref": format!("#/components/schemas/{name}") }));
    }
}

#[tokio::test]
async fn what_is_answered_is_allowed_and_has_the_form_that_is_promised() {
    let fixture = Fixture::start().await;
    let description = Description::of(&fixture).await;
    let mut answered: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (method, route, path, role, body) in good() {
        let reply = send(&fixture, (method, path, role), &body).await;
        assert_eq!(reply.status, 200, "{method} {path} {body}: {}", reply.text);
        description.hold(method, route, &reply);
        answered.insert((method, route));
        let Some(allowed) = description.body(method, route) else { continue };
        let errors: Vec<String> = allowed.iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{method} {path} {body}: {errors:?}");
    }
    let played = |route: &&outpost_serve::Route| {
        let special = (route.method, route.path);
        !REFUSED.contains(&route.path) && !KEPT.contains(&special) && special != SEALED
    };
    for route in routes().filter(played) {
        assert!(answered.contains(&(route.method, route.path)), "{} {} is not played", route.method, route.path);
    }
}

#[tokio::test]
async fn what_is_kept_has_the_form_that_is_promised() {
    let fixture = Fixture::start().await;
    let description = Description::of(&fixture).await;
    let asked = json!({ "model": "demo", "input": "think" });
    let kept = fixture.post("/v1/responses", &fixture.token("operator"), &asked).await.json()["id"].clone();
    for (method, route) in KEPT {
        let path = route.replace("{id}", kept.as_str().unwrap());
        let reply = send(&fixture, (method, &path, "operator"), &Value::Null).await;
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.text);
        description.hold(method, route, &reply);
    }
    fixture.keep("request");
    send(&fixture, ("POST", "/v1/responses", "operator"), &asked).await;
    let index = fixture.records(&["infer.start"]).last().unwrap()["i"].to_string();
    let reply = send(&fixture, (SEALED.0, &SEALED.1.replace("{id}", &index), "auditor"), &Value::Null).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    description.hold(SEALED.0, SEALED.1, &reply);
}

#[tokio::test]
async fn what_is_refused_is_refused_as_described() {
    let fixture = Fixture::start().await;
    let description = Description::of(&fixture).await;
    let token = format!("Bearer {}", fixture.token("admin"));
    let json_type = ("content-type", "application/json");
    let mut seen = BTreeSet::new();
    for route in routes() {
        let path = path(route.path);
        let takes_body = description.body(route.method, route.path).is_some();
        let bearer = ("authorization", token.as_str());
        let huge = ("content-length", "999999999");
        let mut refused = vec![
            (403, route.method, vec![bearer, json_type, ("origin", "https://evil.example")], "{}"),
            (405, "PUT", vec![bearer], ""),
            (421, route.method, vec![bearer, json_type, ("host", "evil.example")], "{}"),
        ];
        if route.identified {
            refused.push((401, route.method, vec![json_type], "{}"));
        }
        if takes_body {
            refused.push((400, route.method, vec![bearer, json_type], r#"{"misspelt":1}"#));
            refused.push((400, route.method, vec![bearer, json_type], "[]"));
            refused.push((413, route.method, vec![bearer, json_type, huge], "{}"));
            refused.push((415, route.method, vec![bearer], "{}"));
        }
        for (status, method, headers, body) in refused {
            let reply = fixture.call(method, &path, &headers, body).await;
            assert_eq!(reply.status, status, "{method} {path}: {}", reply.text);
            description.hold(route.method, route.path, &reply);
            seen.insert(status);
        }
    }
    let operator = fixture.token("operator");
    for (method, route, path, status) in [
        ("GET", "/v1/models/{id}", "/v1/models/other", 404),
        ("GET", "/v1/responses/{id}", "/v1/responses/other", 404),
        ("GET", "/v1/responses/{id}", "/v1/responses/other?stream=true", 400),
        ("DELETE", "/v1/responses/{id}", "/v1/responses/other", 404),
        ("GET", "/v1/responses/{id}/input_items", "/v1/responses/other/input_items?limit=0", 400),
        ("POST", "/v1/responses/{id}/cancel", "/v1/responses/other/cancel", 404),
        ("POST", "/models/load/{id}", "/models/load/other", 404),
        ("POST", "/models/load/{id}", "/models/load/demo?ttl=x", 400),
        ("POST", "/models/load/{id}", "/models/load/%FF", 404),
        ("POST", "/models/unload/{id}", "/models/unload/demo", 403),
        ("POST", "/openai/register", "/openai/register", 403),
        ("POST", "/openai/setgpudevice/{id}", "/openai/setgpudevice/0", 403),
        ("POST", "/shutdown", "/shutdown", 403),
        ("GET", "/outpost/audit/checkpoint", "/outpost/audit/checkpoint", 403),
    ] {
        let reply = fixture.call(method, path, &[("authorization", &format!("Bearer {operator}"))], "").await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text);
        description.hold(method, route, &reply);
    }
    // The model is not here; the role may not; the backend is busy; the name is taken.
    let asked = |mut body: Value, field: &str, value: &str| {
        body[field] = json!(value);
        body
    };
    for (method, route, path, role, body) in good().into_iter().filter(|(.., body)| body.get("model").is_some()) {
        let renamed = asked(body.clone(), "model", "nothing-here");
        for (role, body) in [(role, &renamed), ("nobody", &body)] {
            let reply = send(&fixture, (method, path, role), body).await;
            description.hold(method, route, &reply);
            seen.insert(reply.status);
        }
    }
    let busy = json!([{ "role": "user", "content": "busy" }]);
    for (route, role, body) in [
        ("/v1/chat/completions", "operator", json!({ "model": "demo", "messages": busy })),
        ("/v1/completions", "operator", json!({ "model": "demo", "prompt": "busy" })),
        ("/v1/responses", "operator", json!({ "model": "demo", "input": "busy" })),
        ("/v1/messages", "operator", json!({ "model": "demo", "max_tokens": 9, "messages": busy })),
        ("/api/chat", "operator", json!({ "model": "demo", "messages": busy })),
        ("/api/create", "admin", json!({ "model": "vectors", "from": "demo" })),
    ] {
        let reply = send(&fixture, ("POST", route, role), &body).await;
        assert!(matches!(reply.status, 409 | 503), "{route}: {}", reply.text);
        description.hold("POST", route, &reply);
        seen.insert(reply.status);
    }
    assert_eq!(
        seen.into_iter().filter(|status| *status >= 400).collect::<Vec<_>>(),
        [400, 401, 403, 404, 405, 409, 413, 415, 421, 503]
    );
}

/// Values that a field may or may not take.
fn values() -> Vec<Value> {
    let long = "x".repeat(300);
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(4_294_967_296_u64),
        json!(""),
        json!("none"),
        json!(long),
        json!([]),
        json!(["text"]),
        json!([1]),
        json!({}),
        json!({ "type": "none", "name": "weather" }),
    ]
}

#[tokio::test]
async fn nothing_that_is_taken_is_forbidden_whatever_a_field_says() {
    let fixture = Fixture::start().await;
    let description = Description::of(&fixture).await;
    let mut taken = 0;
    for (method, route, path, role, body) in good() {
        let Some(allowed) = description.body(method, route) else { continue };
        let mut changed = body.clone();
        let fields: Vec<String> = body.as_object().unwrap().keys().cloned().collect();
        for field in &fields {
            for value in values() {
                changed[field] = value;
                let reply = send(&fixture, (method, path, role), &changed).await;
                description.hold(method, route, &reply);
                if reply.status == 200 {
                    assert!(allowed.is_valid(&changed), "{method} {path} takes {changed}");
                    taken += 1;
                }
            }
            changed[field] = body[field].clone();
        }
    }
    assert!(taken > 500, "{taken}");
}
