//! Requests that are not what they should be: each a clear error in the one shape, none a way in.

mod support;

use std::time::Duration;

use outpost_serve::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::{CHAT, Fixture, Options, question, streamed};

#[tokio::test]
async fn json_that_is_not_json_is_named_with_its_place_and_recorded() {
    let fixture = Fixture::start().await;
    let bearer = format!("Bearer {}", fixture.token("operator"));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json; charset=utf-8")];
    for (body, says) in
        [("{\"model\": }", "line 1 column 11"), ("", "EOF"), ("[]", "not an object"), ("\u{0}", "line 1")]
    {
        let reply = fixture.call("POST", CHAT, &headers, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_json"));
        assert!(reply.message().contains(says), "{}", reply.text);
    }
    let refused = fixture.records(&["infer.denied"]);
    assert_eq!((refused.len(), refused[0]["res"]["err"].as_str()), (4, Some("invalid_json")));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(fixture.call("POST", CHAT, &headers, deep).await.code(), "invalid_json");
    assert_eq!(fixture.call("POST", CHAT, &headers, vec![0xff, 0xfe]).await.code(), "invalid_json");
}

#[tokio::test]
async fn a_field_that_is_not_implemented_is_refused_by_name() {
    let fixture = Fixture::start().await;
    let mut asked = question("hello");
    asked["grammar"] = json!("root ::= x");
    let reply = fixture.post(CHAT, &fixture.token("operator"), &asked).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "unsupported_parameter"));
    assert_eq!(reply.json()["error"]["param"], "grammar");
}

#[tokio::test]
async fn anything_but_json_is_answered_415() {
    let fixture = Fixture::start().await;
    let bearer = format!("Bearer {}", fixture.token("operator"));
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")] {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(kind.map(|kind| ("content-type", kind)));
        let reply = fixture.call("POST", CHAT, &headers, question("hello").to_string()).await;
        assert_eq!((reply.status, reply.code().as_str()), (415, "unsupported_media_type"), "{kind:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_413() {
    let limits = Limits { body_bytes: 1000, ..Limits::default() };
    let fixture = Fixture::start_with(Options { limits, ..Options::default() }).await;
    let reply = fixture.post(CHAT, &fixture.token("operator"), &question(&"x".repeat(1000))).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "request_too_large"));
    // Without a length it is counted while it comes.
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        fixture.token("operator")
    );
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    let reply = raw(&fixture, &format!("{head}{chunk}{chunk}0\r\n\r\n")).await;
    assert!(reply.starts_with("HTTP/1.1 413") && reply.contains("request_too_large"), "{reply}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_408() {
    let limits = Limits { body_timeout: Duration::from_millis(20), ..Limits::default() };
    let fixture = Fixture::start_with(Options { limits, ..Options::default() }).await;
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 10\r\n\r\n{{",
        fixture.token("operator")
    );
    let reply = raw(&fixture, &head).await;
    assert!(reply.starts_with("HTTP/1.1 408") && reply.contains("request_timeout"), "{reply}");
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let limits = Limits { head_timeout: Duration::from_millis(20), ..Limits::default() };
    let fixture = Fixture::start_with(Options { limits, ..Options::default() }).await;
    let reply = raw(&fixture, "GET /health HTTP/1.1\r\nHost: localhost\r\n").await;
    assert!(!reply.contains("200"), "{reply}");
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_have_the_same_shape_and_no_get_changes_anything() {
    let fixture = Fixture::start().await;
    let token = fixture.token("admin");
    let reply = fixture.get("/v1/nothing", &token).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"));
    let reply = fixture.get(CHAT, &token).await;
    assert_eq!((reply.status, reply.code().as_str(), reply.header("allow")), (405, "method_not_allowed", "POST"));
    let reply = fixture.post("/v1/models", &token, &json!({})).await;
    assert_eq!((reply.status, reply.code().as_str(), reply.header("allow")), (405, "method_not_allowed", "GET, HEAD"));
    assert_eq!(fixture.get("/v1/models/%ff", &token).await.code(), "model_not_found");
}

#[tokio::test]
async fn a_rebound_host_is_answered_421_and_a_foreign_page_403_even_with_a_good_token() {
    let fixture = Fixture::start().await;
    let bearer = format!("Bearer {}", fixture.token("operator"));
    let call = async |name: &'static str, value: &'static str| {
        let headers = [("authorization", bearer.as_str()), (name, value)];
        let reply = fixture.call("GET", "/v1/models", &headers, "").await;
        (reply.status, reply.code())
    };
    assert_eq!(call("host", "evil.example").await, (421, "unknown_host".to_owned()));
    assert_eq!(call("origin", "https://evil.example").await, (403, "cross_site".to_owned()));
    assert_eq!(call("sec-fetch-site", "cross-site").await, (403, "cross_site".to_owned()));
    assert_eq!(fixture.call("GET", "/health", &[("host", "evil.example")], "").await.status, 421);
    assert_eq!(fixture.records(&["auth.fail"]).len(), 1, "one source, one record");
}

#[tokio::test]
async fn a_preflight_from_a_foreign_page_is_refused_and_allows_nothing() {
    let fixture = Fixture::start().await;
    let headers = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let reply = fixture.call("OPTIONS", CHAT, &headers, "").await;
    assert_eq!(reply.status, 403);
    assert!(!reply.headers.keys().any(|name| name.as_str().starts_with("access-control")));
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_ask_and_call_but_still_needs_an_identity() {
    let console = "https://console.example";
    let fixture = Fixture::start_with(Options { origins: vec![console.to_owned()], ..Options::default() }).await;
    let headers = [("origin", console), ("access-control-request-method", "POST")];
    let reply = fixture.call("OPTIONS", CHAT, &headers, "").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, console));
    assert_eq!(reply.header("access-control-allow-methods"), "GET, POST, DELETE");
    for header in ["authorization", "x-api-key", "api-key", "content-type"] {
        let allowed = reply.header("access-control-allow-headers");
        assert!(allowed.split(", ").any(|name| name == header), "{header}: {allowed}");
    }
    let reply = fixture.call("GET", "/v1/models", &[("origin", console)], "").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (401, console));
    let bearer = format!("Bearer {}", fixture.token("operator"));
    let headers = [("origin", console), ("sec-fetch-site", "cross-site"), ("authorization", bearer.as_str())];
    assert_eq!(fixture.call("GET", "/v1/models", &headers, "").await.status, 200);
    let reply = fixture.call("GET", "/v1/models", &[("authorization", bearer.as_str())], "").await;
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn request_ids_are_our_own_and_one_per_request() {
    let fixture = Fixture::start().await;
    let bearer = format!("Bearer {}", fixture.token("operator"));
    let headers = [("authorization", bearer.as_str()), ("x-request-id", "mine")];
    let first = fixture.call("GET", "/v1/models", &headers, "").await;
    let second = fixture.call("GET", "/v1/models", &headers, "").await;
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    assert_eq!(first.header("x-request-id").len(), 26);
    let stream = fixture.post(CHAT, &fixture.token("operator"), &streamed("hello")).await;
    assert_eq!(stream.header("x-request-id").len(), 26);
}

/// Sends bytes as they are and reads to the end.
async fn raw(fixture: &Fixture, request: &str) -> String {
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    let reading = stream.read_to_end(&mut reply);
    // A reset after the answer is an end too.
    let _ = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the connection ends");
    String::from_utf8_lossy(&reply).into_owned()
}
