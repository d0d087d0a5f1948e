//! Every route, ended in every way that a call can end, and the record that each leaves.
//!
//! The routes come from [`routes`], what is sent from the examples that the description of the API is held to, and the
//! places where a call can break off or panic from what the route asked its backend when it was answered: a route that is
//! added is walked from then on. Prints the table of what was found.

#![expect(clippy::print_stdout, reason = "the table is for who asks with --nocapture")]

#[path = "openapi/good.rs"]
mod good;
mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use outpost_serve::identify::{NewApiKey, Scope};
use outpost_serve::{Route, routes};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use good::good;
use support::{Fixture, ISSUER, NOW_S, Reply, pseudonyms};

/// How often the server asks for the time before a route is entered: for the request's id, and for the identity.
const CLOCK_BEFORE_ROUTE: usize = 2;

/// How long a record may take before the test is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is sent to a route, and by whom, so that it is answered.
#[derive(Clone)]
struct Sent {
    method: &'static str,
    path: String,
    role: &'static str,
    body: Value,
}

/// A server, and how far its log has been looked through.
struct Walk {
    fixture: Fixture,
    mark: u64,
    table: Vec<String>,
    exempt: Vec<String>,
}

impl Walk {
    async fn start() -> Self {
        let fixture = Fixture::start().await;
        fixture.keep("request_and_response");
        Self { fixture, mark: 0, table: Vec::new(), exempt: Vec::new() }
    }

    /// From here on, records are of the next call.
    fn turn_the_page(&mut self) {
        // What was seen on the disk, which the log's own count may not have reached yet.
        self.mark += self.page().len() as u64;
        self.fixture.backend.trap.set(0, false);
        self.fixture.clock_trap.set(0, false);
    }

    /// What was recorded since.
    fn page(&self) -> Vec<Value> {
        let entries = self.fixture.audit.list(self.mark..u64::MAX).unwrap();
        entries.iter().map(|entry| serde_json::from_slice(&entry.bytes).unwrap()).collect()
    }

    /// Waits until what was recorded is as it should be.
    async fn page_when(&self, what: &str, is_whole: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let waiting = async {
            loop {
                let page = self.page();
                if is_whole(&page) && is_settled(&page) {
                    return page;
                }
                tokio::task::yield_now().await;
            }
        };
        let page = tokio::time::timeout(PATIENCE, waiting).await;
        page.unwrap_or_else(|_| panic!("{what}: this is all that was recorded: {:#?}", self.page()))
    }

    async fn send(&self, sent: &Sent, bearer: &str) -> Reply {
        let (bearer, body) = (format!("Bearer {bearer}"), body(sent));
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.fixture.call(sent.method, &sent.path, &headers, body).await
    }

    async fn send_as_may(&self, sent: &Sent) -> Reply {
        self.send(sent, &self.fixture.token(sent.role)).await
    }

    /// Sends it and hangs up at once.
    async fn send_and_go(&self, sent: &Sent) {
        let (token, body) = (self.fixture.token(sent.role), body(sent));
        let request = format!(
            "{} {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            sent.method,
            sent.path,
            body.len()
        );
        let mut stream = TcpStream::connect(self.fixture.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
    }

    /// Enters a cell into the table.
    fn enter(&mut self, route: &Route, outcome: &str, page: &[Value]) {
        let row = format!("{:<6} {:<44} {outcome:<18}", route.method, route.path);
        let kinds: Vec<String> = page.iter().map(told).collect();
        self.table.push(format!("{row} {}", kinds.join(", ")));
    }

    fn excuse(&mut self, route: &Route, outcome: &str) {
        let why = route.unrecorded.expect("a call without a record is excused by its route, which says why");
        self.exempt.push(format!("{:<6} {:<44} {outcome:<18} no record: {why}", route.method, route.path));
        assert_eq!(self.page(), Vec::<Value>::new(), "{} {outcome}", route.path);
    }

    /// What a route is sent. A stored response is made for those that ask for one.
    async fn sent(&self, route: &Route) -> Sent {
        let known = good().into_iter().find(|(method, path, ..)| (*method, *path) == (route.method, route.path));
        let (path, role, body) = match known {
            Some((_, _, path, role, body)) => (path.to_owned(), role, asking(route.path, "hello").unwrap_or(body)),
            None if route.path.starts_with("/v1/responses/{id}") => {
                let asked = json!({ "model": "demo", "input": "hello" });
                let kept = self.fixture.post("/v1/responses", &self.fixture.token("operator"), &asked).await.json();
                (route.path.replace("{id}", kept["id"].as_str().unwrap()), "operator", Value::Null)
            }
            None if route.path == "/outpost/audit/content/{id}" => {
                let asked = asking("/v1/chat/completions", "hello").unwrap();
                self.fixture.post("/v1/chat/completions", &self.fixture.token("operator"), &asked).await;
                let sealed = self.fixture.records(&["infer.start"]).pop().unwrap();
                (route.path.replace("{id}", &sealed["i"].to_string()), "auditor", Value::Null)
            }
            None => (route.path.replace("{id}", "demo"), "admin", Value::Null),
        };
        Sent { method: route.method, path, role, body }
    }
}

fn body(sent: &Sent) -> String {
    if sent.body.is_null() { String::new() } else { sent.body.to_string() }
}

/// A question as a stream, for routes that ask a model.
fn asking(path: &str, text: &str) -> Option<Value> {
    let messages = json!([{ "role": "user", "content": text }]);
    Some(match path {
        "/v1/chat/completions" => json!({ "model": "demo", "messages": messages, "stream": true }),
        "/v1/completions" => json!({ "model": "demo", "prompt": text, "stream": true }),
        "/v1/responses" => json!({ "model": "demo", "input": text, "stream": true }),
        "/v1/messages" => json!({ "model": "demo", "messages": messages, "max_tokens": 9, "stream": true }),
        "/api/generate" => json!({ "model": "demo", "prompt": text }),
        "/api/chat" => json!({ "model": "demo", "messages": messages }),
        _ => return None,
    })
}

fn told(record: &Value) -> String {
    let part = |name: &str| record.pointer(name).map_or_else(String::new, |part| format!(" {part}").replace('"', ""));
    format!(
        "{}{}{}{}",
        record["type"].as_str().unwrap(),
        part("/detail/phase"),
        part("/res/status"),
        part("/dec/effect")
    )
}

fn statuses(page: &[Value]) -> impl Iterator<Item = u64> + '_ {
    page.iter().filter_map(|record| record["res"]["status"].as_u64())
}

fn says(page: &[Value], status: u16, code: &str) -> bool {
    let code = if code.is_empty() { Value::Null } else { json!(code) };
    page.iter().any(|record| record["res"]["status"] == status && record["res"]["err"] == code)
}

/// Whether whatever began has ended.
fn is_settled(page: &[Value]) -> bool {
    let count = |fits: &dyn Fn(&Value) -> bool| page.iter().filter(|record| fits(record)).count();
    let began = count(&|record| record["type"] == "infer.start" || record["detail"]["phase"] == "begin");
    let ended = count(&|record| {
        record["type"] == "infer.end" || record["type"] == "infer.aborted" || record["detail"]["phase"] == "end"
    });
    began == ended
}

/// Every record is of this call, of this caller, on this route, and names nobody.
fn is_of_one_call(page: &[Value], route: &Route, what: &str) {
    assert!(!page.is_empty(), "{what}: nothing is on record");
    let request = page[0]["req"].as_str().unwrap();
    // What destroys keys is the log's own record, beside those of the call.
    for record in page.iter().filter(|record| record["type"] != "audit.erase" && record["type"] != "audit.prune") {
        assert_eq!(record["req"], request, "{what}: {page:#?}");
        assert_eq!(record["who"]["pid"], pseudonyms().of(&format!("{ISSUER}|ada")), "{what}: {page:#?}");
        assert_eq!(record["obj"]["endpoint"], route.path, "{what}: {page:#?}");
        let names = [ISSUER, "|ada", "\"ada\""];
        assert!(!names.iter().any(|name| record.to_string().contains(name)), "{what}: {record}");
    }
}

/// Answered, by somebody with every right that it takes.
async fn allowed(walk: &mut Walk, route: &Route, sent: &Sent) -> usize {
    walk.turn_the_page();
    let reply = walk.send_as_may(sent).await;
    let passed = walk.fixture.backend.trap.passed.load(Ordering::SeqCst);
    let what = format!("{} {} allowed: {} {}", route.method, route.path, reply.status, reply.text);
    // What is done for nobody is refused to whoever may as well.
    let code = if reply.status == 200 { String::new() } else { reply.code() };
    assert!(matches!(code.as_str(), "" | "not_offered" | "unsupported_parameter"), "{what}");
    if route.unrecorded.is_some() {
        walk.excuse(route, "allowed");
        return passed;
    }
    let page = walk.page_when(&what, |page| says(page, reply.status, &code)).await;
    is_of_one_call(&page, route, &what);
    assert_eq!(page[0]["req"], reply.header("x-request-id"));
    for record in page.iter().filter(|record| record["type"] != "audit.erase") {
        let (effect, rule) = (&record["dec"]["effect"], &record["dec"]["rules"][0]);
        assert!(effect == "allow" && rule.is_string(), "{what}: {page:#?}");
    }
    walk.enter(route, "allowed", &page);
    passed
}

/// Refused, by policy and by the scope of a key.
async fn denied(walk: &mut Walk, route: &Route, sent: &Sent, key: &str) {
    walk.turn_the_page();
    let reply = walk.send(sent, &walk.fixture.token("nobody")).await;
    let what = format!("{} {} denied: {} {}", route.method, route.path, reply.status, reply.text);
    assert_eq!((reply.status, reply.code().as_str()), (403, "denied_by_policy"), "{what}");
    let page = walk.page();
    is_of_one_call(&page, route, &what);
    assert_eq!(page.len(), 1, "{what}: {page:#?}");
    assert!(says(&page, 403, "denied_by_policy"), "{what}: {page:#?}");
    assert_eq!((&page[0]["dec"]["effect"], &page[0]["dec"]["errors"]), (&json!("deny"), &json!([])), "{what}");
    if let Some(rules) = reply.json()["error"].get("rules") {
        assert_eq!(&page[0]["dec"]["rules"], rules, "{what}");
    }
    walk.enter(route, "denied", &page);
    walk.turn_the_page();
    let reply = walk.send(sent, key).await;
    assert_eq!(reply.status, 403, "{what}: {}", reply.text);
    let page = walk.page();
    assert_eq!(page.len(), 1, "{what}: {page:#?}");
    assert_eq!((&page[0]["dec"]["effect"], &page[0]["dec"]["rules"]), (&json!("deny"), &json!(["api-key-scope"])));
    assert_eq!((&page[0]["who"]["kind"], &page[0]["obj"]["endpoint"]), (&json!("service"), &json!(route.path)));
    walk.enter(route, "denied, by scope", &page);
}

/// Something is wrong with the request.
async fn mistaken(walk: &mut Walk, route: &Route, sent: &Sent) {
    let mut mistakes = vec![("wrong method", Sent { method: "PUT", ..sent.clone() })];
    if !sent.body.is_null() {
        mistakes.push(("malformed body", Sent { body: json!([]), ..sent.clone() }));
    }
    if route.path.contains("{id}") {
        mistakes.push(("unknown id", Sent { path: route.path.replace("{id}", "nothing"), ..sent.clone() }));
    }
    for (mistake, wrong) in mistakes {
        walk.turn_the_page();
        let reply = walk.send_as_may(&wrong).await;
        let what = format!("{} {}, {mistake}: {} {}", route.method, route.path, reply.status, reply.text);
        assert!((400..500).contains(&reply.status), "{what}");
        if !route.identified {
            walk.excuse(route, mistake);
            continue;
        }
        let page = walk.page_when(&what, |page| says(page, reply.status, &reply.code())).await;
        is_of_one_call(&page, route, &what);
        assert_eq!(page[0]["req"], reply.header("x-request-id"));
        assert_eq!(statuses(&page).collect::<Vec<_>>(), [u64::from(reply.status)], "{what}: {page:#?}");
        walk.enter(route, mistake, &page);
    }
}

/// The client hangs up while the route waits for its backend, at each of the places where it does.
async fn broken_off(walk: &mut Walk, route: &Route, sent: &Sent, waits: usize) {
    for at in 1..=waits {
        walk.turn_the_page();
        walk.fixture.backend.trap.set(at, false);
        let what = format!("{} {} left at {at} of {waits}", route.method, route.path);
        tokio::select! {
            reply = walk.send_as_may(sent) => panic!("{what}: {} {}", reply.status, reply.text),
            () = walk.fixture.backend.trap.caught.notified() => {}
        }
        if !route.identified {
            walk.fixture.backend.trap.release();
            walk.excuse(route, "client left");
            continue;
        }
        // What goes on without the client waits for the trap to open, after it was seen that the client left.
        let left = |page: &[Value]| says(page, 499, "client_left");
        let seen = async {
            while !left(&walk.page()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{what}: {:#?}", walk.page()));
        walk.fixture.backend.trap.release();
        let page = walk.page_when(&what, left).await;
        is_of_one_call(&page, route, &what);
        walk.enter(route, &format!("client left, {at}"), &page);
    }
    if waits == 0 {
        // Nothing is waited for: the answer is made before anybody can see that nobody takes it.
        walk.turn_the_page();
        walk.send_and_go(sent).await;
        let what = format!("{} {} left at once", route.method, route.path);
        let page = walk.page_when(&what, |page| statuses(page).next().is_some()).await;
        is_of_one_call(&page, route, &what);
        walk.enter(route, "client left", &page);
    }
}

/// The client hangs up while the answer comes.
async fn broken_off_in_the_middle(walk: &mut Walk, route: &Route, sent: &Sent) {
    let Some(body) = asking(route.path, "wait") else { return };
    walk.turn_the_page();
    let mut open = walk.fixture.open_at(route.path, &walk.fixture.token(sent.role), &body).await;
    open.until("first").await;
    drop(open);
    let what = format!("{} {} left in the middle", route.method, route.path);
    let page = walk.page_when(&what, |page| says(page, 499, "client_left")).await;
    is_of_one_call(&page, route, &what);
    let kinds: Vec<_> = page.iter().map(|record| record["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["infer.start", "infer.aborted"]);
    walk.enter(route, "client left, amid", &page);
}

/// Answering panics: when the policies are asked, and at each of the places where the backend is.
async fn panicked(walk: &mut Walk, route: &Route, sent: &Sent, waits: usize) {
    let first = usize::from(route.identified);
    for at in 1 - first..=waits {
        walk.turn_the_page();
        match at {
            0 => walk.fixture.clock_trap.set(CLOCK_BEFORE_ROUTE + 1, true),
            _ => walk.fixture.backend.trap.set(at, true),
        }
        let reply = walk.send_as_may(sent).await;
        let what = format!("{} {} panicked at {at}: {} {}", route.method, route.path, reply.status, reply.text);
        assert_eq!((reply.status, reply.code().as_str()), (500, "internal_error"), "{what}");
        let page = walk.page_when(&what, |page| says(page, 500, "internal_error")).await;
        if route.identified {
            is_of_one_call(&page, route, &what);
        } else {
            assert_eq!((&page[0]["who"]["kind"], &page[0]["obj"]["endpoint"]), (&json!("unknown"), &json!(route.path)));
        }
        assert_eq!(page[0]["req"], reply.header("x-request-id"), "{what}");
        assert_eq!(statuses(&page).collect::<Vec<_>>(), [500], "{what}: {page:#?}");
        walk.enter(route, &format!("panic, {at}"), &page);
    }
}

#[tokio::test]
async fn every_route_leaves_its_record_however_a_call_of_it_ends() {
    let mut walk = Walk::start().await;
    let new = NewApiKey { name: "for nothing here".to_owned(), roles: vec!["admin".to_owned()], expires_s: None };
    let scope = Scope { actions: vec!["drain".to_owned()], ..Scope::default() };
    let (_, key) = walk.fixture.keys.create_scoped(&new, &scope, NOW_S).unwrap();
    for route in routes() {
        let sent = walk.sent(route).await;
        let waits = allowed(&mut walk, route, &sent).await;
        if route.identified {
            denied(&mut walk, route, &sent, &key).await;
        }
        mistaken(&mut walk, route, &sent).await;
        let sent = walk.sent(route).await;
        broken_off(&mut walk, route, &sent, waits).await;
        broken_off_in_the_middle(&mut walk, route, &sent).await;
        let sent = walk.sent(route).await;
        panicked(&mut walk, route, &sent, waits).await;
    }
    walk.turn_the_page();
    walk.fixture.stop().await;
    assert_eq!(walk.page(), Vec::<Value>::new(), "nothing is recorded later than it is looked for");
    for line in walk.table.iter().chain(&walk.exempt) {
        println!("{line}");
    }
    println!("{} cells over {} routes, {} excused", walk.table.len(), routes().count(), walk.exempt.len());
}

#[tokio::test]
async fn a_panic_before_anybody_is_identified_is_on_record_as_nobodys() {
    let fixture = Fixture::start().await;
    fixture.clock_trap.set(CLOCK_BEFORE_ROUTE, true);
    let reply = fixture.get("/v1/models", &fixture.token("operator")).await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "internal_error"));
    let records = fixture.records(&["request"]);
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["who"]["kind"], &records[0]["res"]["status"]), (&json!("unknown"), &json!(500)));
    assert_eq!(records[0]["req"], reply.header("x-request-id"));
}

#[tokio::test]
async fn a_path_that_is_not_there_is_on_record_without_what_was_written_in_it() {
    let fixture = Fixture::start().await;
    let reply = fixture.get("/v1/secret-of-ada", &fixture.token("operator")).await;
    assert_eq!(reply.status, 404);
    let records = fixture.records(&["request"]);
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["obj"]["endpoint"], &records[0]["res"]["err"]), (&json!("unknown"), &json!("not_found")));
    assert!(!records[0].to_string().contains("secret"));
}
