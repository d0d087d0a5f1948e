//! A whole server over real sockets: the real audit log in a temporary directory, the default policies, and a backend
//! that does what the last message says.
#![allow(dead_code, unreachable_pub, reason = "each test file is a program of its own and uses its part")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use outpost_audit::{AuditLog, BootInfo, CheckpointKey, LogIdentity, Pseudonyms};
use outpost_policies::{Bundle, InForce, Permit, Policies};
use outpost_serve::identify::NewApiKey;
use outpost_serve::{
    ApiKeys, Backend, BackendError, ChatRequest, Circumstances, FinishReason, Generation, GenerationEvent, Health,
    Identities, Limits, LocalUsers, ModelCard, ServeConfig, Served, Server, Serving, TlsFiles, TokenIssuer, Usage,
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

pub const NOW_S: i64 = 1_796_083_200;
pub const ISSUER: &str = "https://control.example";
pub const AUDIENCE: &str = "outpost-devices";
pub const KEY_ID: &str = "2026-12";
pub const CHAT: &str = "/v1/chat/completions";

/// How long anything may take before the test is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Fixture {
    pub directory: tempfile::TempDir,
    pub audit: AuditLog,
    pub address: SocketAddr,
    pub unix: PathBuf,
    pub keys: ApiKeys,
    pub backend: Arc<Scripted>,
    pub now_s: Arc<AtomicI64>,
    pub policies: InForce,
    signer: Ed25519KeyPair,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

#[derive(Default)]
pub struct Options {
    pub limits: Limits,
    pub local: LocalUsers,
    pub tls: Option<TlsFiles>,
    pub origins: Vec<String>,
}

impl Fixture {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let audit_directory = directory.path().join("audit");
        let identity = LogIdentity {
            origin: "audit.test/device/1".to_owned(),
            key: CheckpointKey::read_or_create(directory.path().join("audit.key")).unwrap(),
        };
        let info =
            BootInfo { agent: "0.1.0".to_owned(), device: "device".to_owned(), clock: outpost_disk::Clock::system() };
        let (audit, _) = AuditLog::open(&audit_directory, identity, info).unwrap();
        let signer = Ed25519KeyPair::generate().unwrap();
        let identities =
            Identities::new().with_api_keys(ApiKeys::open(directory.path()).unwrap()).with_local_users(options.local);
        identities.set_issuers(&[issuer(&signer)]).unwrap();
        let policies = InForce::new(Policies::activate(Bundle::default_bundle()).unwrap());
        let backend = Arc::new(Scripted::default());
        let now_s = Arc::new(AtomicI64::new(NOW_S));
        let clock = Arc::clone(&now_s);
        let unix = directory.path().join("outpost.sock");
        let server = Server::bind(ServeConfig {
            tcp: Some(([127, 0, 0, 1], 0).into()),
            unix: Some(unix.clone()),
            tls: options.tls,
            origins: options.origins,
            limits: options.limits,
            ..ServeConfig::default()
        })
        .await
        .unwrap();
        let address = server.tcp_address().unwrap();
        let serving = Serving {
            device: "device".to_owned(),
            audit: audit.clone(),
            pseudonyms: Pseudonyms::new(b"a secret of the device"),
            policies: policies.clone(),
            identities: Arc::new(identities),
            backend: Arc::clone(&backend) as Arc<dyn Backend>,
            circumstances: Arc::new(move || Circumstances {
                now_s: clock.load(Ordering::SeqCst),
                ..Circumstances::default()
            }),
        };
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.serve(serving, async {
            let _ = stopped.await;
        }));
        let keys = ApiKeys::open(directory.path()).unwrap();
        Self {
            directory,
            audit,
            address,
            unix,
            keys,
            backend,
            now_s,
            policies,
            signer,
            stop: Some(stop),
            served: Some(served),
        }
    }

    /// Ends the server and waits until it has recorded what there was.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        let served = self.served.take().unwrap();
        tokio::time::timeout(PATIENCE, served).await.expect("the server ends").unwrap();
    }

    /// A token as the control plane makes it.
    pub fn token(&self, role: &str) -> String {
        self.signed(&json!({ "alg": "EdDSA", "typ": "JWT", "kid": KEY_ID }), &self.claims(role))
    }

    pub fn claims(&self, role: &str) -> Value {
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "roles": [role],
            "nbf": NOW_S - 10, "iat": NOW_S - 10, "exp": NOW_S + 600,
        })
    }

    pub fn signed(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let body = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signer.sign(body.as_bytes());
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    pub fn public_key(&self) -> Vec<u8> {
        self.signer.public_key().as_ref().to_vec()
    }

    pub fn api_key(&self, role: &str) -> String {
        let new = NewApiKey { name: "test".to_owned(), roles: vec![role.to_owned()], expires_s: None };
        self.keys.create(&new, NOW_S).unwrap().1
    }

    pub async fn get(&self, path: &str, token: &str) -> Reply {
        self.call("GET", path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    pub async fn post(&self, path: &str, token: &str, body: &Value) -> Reply {
        self.call("POST", path, &json_headers(token), body.to_string()).await
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Reply::of(send(stream, method, path, headers, body.into()).await).await
    }

    pub async fn call_unix(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let stream = UnixStream::connect(&self.unix).await.unwrap();
        Reply::of(send(stream, method, path, headers, body.into()).await).await
    }

    /// A request whose answer is read piece by piece; dropping it closes the connection.
    pub async fn open(&self, token: &str, body: &Value) -> Open {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Open { response: send(stream, "POST", CHAT, &json_headers(token), body.to_string().into()).await }
    }

    /// The records of these types, as JSON, in order.
    pub fn records(&self, kinds: &[&str]) -> Vec<Value> {
        let all = self.audit.list(0..u64::MAX).unwrap();
        all.iter()
            .map(|entry| serde_json::from_slice::<Value>(&entry.bytes).unwrap())
            .filter(|leaf| kinds.contains(&leaf["type"].as_str().unwrap()))
            .collect()
    }

    /// Waits until there are this many records of a type.
    pub async fn wait_for(&self, kind: &str, count: usize) -> Vec<Value> {
        let waiting = async {
            loop {
                let found = self.records(&[kind]);
                if found.len() >= count {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the record is written")
    }
}

pub fn issuer(signer: &Ed25519KeyPair) -> TokenIssuer {
    TokenIssuer {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        key_id: KEY_ID.to_owned(),
        public_key: hex::encode(signer.public_key().as_ref()),
    }
}

pub fn question(text: &str) -> Value {
    json!({ "model": "demo", "messages": [{ "role": "user", "content": text }] })
}

pub fn streamed(text: &str) -> Value {
    let mut question = question(text);
    question["stream"] = json!(true);
    question["stream_options"] = json!({ "include_usage": true });
    question
}

fn json_headers(token: &str) -> [(&'static str, &'static str); 2] {
    // Leaked: a few bytes in a test, and the callers stay readable.
    let bearer: &'static str = Box::leak(format!("Bearer {token}").into_boxed_str());
    [("authorization", bearer), ("content-type", "application/json")]
}

async fn send<S>(stream: S, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Response<Incoming>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut request = Request::builder().method(method).uri(path).body(Full::new(body)).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    if !request.headers().contains_key("host") {
        request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
    }
    tokio::spawn(connection);
    tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("the server answers").unwrap()
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    async fn of(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = tokio::time::timeout(PATIENCE, body.collect()).await.expect("the body ends").unwrap().to_bytes();
        Self { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The error's code, after checking that it has the shape that every error has.
    pub fn code(&self) -> String {
        let json = self.json();
        let error = &json["error"];
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{json}");
        assert!(error["type"].is_string() && error.get("param").is_some(), "{json}");
        assert_eq!(self.header("x-request-id").len(), 26);
        error["code"].as_str().unwrap().to_owned()
    }

    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// An answer that is still coming.
pub struct Open {
    pub response: Response<Incoming>,
}

impl Open {
    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.response.body_mut().frame()).await.expect("more comes")?;
            if let Ok(data) = frame.ok()?.into_data() {
                return Some(String::from_utf8(data.to_vec()).unwrap());
            }
        }
    }

    /// Reads until something contains `text`; what was read.
    pub async fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            read.push_str(&self.next().await.unwrap_or_else(|| panic!("`{text}` never came: {read}")));
        }
        read
    }
}

/// A backend that does what the last message says.
#[derive(Default)]
pub struct Scripted {
    pub started: std::sync::Mutex<Vec<ChatRequest>>,
    /// Told when a generation was cancelled, and its flag was set.
    pub cancelled: Arc<Notify>,
    /// Lets a generation that waits go on.
    pub go_on: Arc<Notify>,
}

#[async_trait]
impl Backend for Scripted {
    async fn models(&self) -> Vec<ModelCard> {
        vec![ModelCard {
            id: "demo".to_owned(),
            created_s: NOW_S,
            licence: "Apache-2.0".to_owned(),
            variant: "Q4_0".to_owned(),
            file_sha256: "ab".repeat(32),
            context_tokens: 512,
            parameters: 5_000_000,
        }]
    }

    async fn health(&self) -> Health {
        Health::Ready
    }

    async fn start(&self, permit: Permit, request: ChatRequest) -> Result<Generation, BackendError> {
        assert!(request.max_tokens <= permit.max_tokens());
        let script = request.messages.last().unwrap().content.clone();
        match script.as_str() {
            _ if request.model != "demo" => return Err(BackendError::UnknownModel { model: request.model }),
            "too long" => return Err(BackendError::TooLong { prompt_tokens: 600, context_tokens: 512 }),
            "busy" => return Err(BackendError::Busy { retry_after_s: 7 }),
            "panic" => panic!("as asked"),
            _ => {}
        }
        self.started.lock().unwrap().push(request);
        let (sender, events) = mpsc::unbounded_channel();
        let cancel = Arc::new(AtomicBool::new(false));
        tokio::spawn(play(script, sender, Arc::clone(&cancel), Arc::clone(&self.cancelled), Arc::clone(&self.go_on)));
        let served = Served { model: "demo".to_owned(), variant: "Q4_0".to_owned(), file_sha256: "ab".repeat(32) };
        Ok(Generation::new(events, served, cancel))
    }
}

async fn play(
    script: String,
    sender: mpsc::UnboundedSender<GenerationEvent>,
    cancel: Arc<AtomicBool>,
    cancelled: Arc<Notify>,
    go_on: Arc<Notify>,
) {
    let text = |text: &str| {
        let _ = sender.send(GenerationEvent::Text(text.to_owned()));
    };
    match script.as_str() {
        "wait" => {
            text("first");
            tokio::select! {
                () = sender.closed() => {
                    assert!(cancel.load(Ordering::Acquire));
                    return cancelled.notify_one();
                }
                () = go_on.notified() => text(" last"),
            }
        }
        "fail" => {
            text("half");
            let _ = sender.send(GenerationEvent::Failed { detail: "/a/path/of/the/device".to_owned() });
            return;
        }
        "vanish" => return text("half"),
        _ => ["Hel", "lo, ", "wörld"].into_iter().for_each(text),
    }
    let usage = Usage { prompt_tokens: 5, cached_tokens: 2, generated_tokens: 3 };
    let _ = sender.send(GenerationEvent::Finished { reason: FinishReason::Stop, usage });
}
