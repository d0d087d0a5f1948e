//! Calls the routes without a network, for tests of them.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::clock::Clock;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::http::Peer;
use crate::shares::{Rates, Shares};

pub(crate) const NOW_S: i64 = 1_800_000_000;

/// A control plane of its own, with the operators' token.
pub(crate) struct Caller {
    pub(crate) router: Router,
    pub(crate) fleet: Fleet,
    pub(crate) token: String,
    pub(crate) directory: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// Null if it is not JSON.
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or("none")
    }

    pub(crate) fn tag(&self) -> &str {
        self.headers[header::ETAG].to_str().unwrap()
    }
}

impl Caller {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = Fleet::init(Config::new(directory.path().join("state")), Clock::fixed(NOW_S)).unwrap();
        let router = router(&made.fleet);
        Self { router, fleet: made.fleet, token: made.admin_token, directory }
    }

    /// The same state behind another server: as after a restart, or of another replica.
    pub(crate) fn another(&self, clock: Clock) -> Router {
        router(&Fleet::open(self.fleet.config().clone(), clock).unwrap())
    }

    /// Asks with the operators' token and these headers; a body is said to be JSON unless a header says otherwise.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask_as(&self.token, method, path, headers, body).await
    }

    pub(crate) async fn ask_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        ask(&self.router, Some(token), method, path, headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// A token with these roles.
    pub(crate) fn token_of(&self, name: &str, role: &str) -> String {
        self.fleet.create_api_token(name, &[role.to_owned()], &[], 30).unwrap()
    }

    /// Devices `box-00000` and so on.
    pub(crate) fn crowd(&self, devices: usize) {
        self.fleet.add_crowd(devices).unwrap();
    }
}

fn router(fleet: &Fleet) -> Router {
    super::router(fleet.clone(), Shares::new(Rates::default(), |_: &outpost_contract::DeviceId| None))
}

/// Asks one server.
pub(crate) async fn ask(
    router: &Router,
    token: Option<&str>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "fleet.example");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let peer = Peer::stranger("192.0.2.7:4000".parse().unwrap());
    let request = request.extension(peer).body(Body::from(body.to_owned())).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let json = serde_json::from_str(&text).unwrap_or_default();
    Answer { status: parts.status, headers: parts.headers, text, json }
}
