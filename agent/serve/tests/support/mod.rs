//! A whole server over real sockets: the real audit log in a temporary directory, the default policies, and a backend
//! that does what the last message says.
#![allow(dead_code, unreachable_pub, reason = "each test file is a program of its own and uses its part")]

mod governed;
mod reply;
mod scripted;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use outpost_audit::{AuditLog, BootInfo, CheckpointKey, LogIdentity, Pseudonyms};
use outpost_policies::{Bundle, InForce, Policies, RoleLimits};
use outpost_serve::identify::{CertificateSubjects, NewApiKey};
use outpost_serve::{
    ApiKeys, Backend, Circumstances, Governance, Identities, Limits, LocalUsers, ServeConfig, Server, Serving,
    TlsFiles, TokenIssuer,
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use reply::{Open, Reply};
pub use scripted::{Scripted, Trap};

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
    /// What local time is ahead of UTC.
    pub utc_offset_s: Arc<AtomicI32>,
    pub policies: InForce,
    pub identities: Arc<Identities>,
    /// Comes by whenever the server asks for the time.
    pub clock_trap: Arc<Trap>,
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
    pub certificates: CertificateSubjects,
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
        let roots = directory.path().join("roots");
        let (audit, _) = AuditLog::open_with_vault(&audit_directory, identity, info, &roots).unwrap();
        let signer = Ed25519KeyPair::generate().unwrap();
        let identities = Identities::new()
            .with_api_keys(ApiKeys::open(directory.path()).unwrap())
            .with_local_users(options.local)
            .with_certificates(options.certificates);
        identities.set_issuers(&[issuer(&signer)]).unwrap();
        let identities = Arc::new(identities);
        let policies = InForce::new(Policies::activate(bundle()).unwrap());
        let backend = Arc::new(Scripted::default());
        let now_s = Arc::new(AtomicI64::new(NOW_S));
        let utc_offset_s = Arc::new(AtomicI32::new(0));
        let (clock, zone) = (Arc::clone(&now_s), Arc::clone(&utc_offset_s));
        let clock_trap = Arc::new(Trap::default());
        let trap = Arc::clone(&clock_trap);
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
            retention: outpost_audit::Retention::default(),
            pseudonyms: pseudonyms(),
            policies: policies.clone(),
            identities: Arc::clone(&identities),
            backend: Arc::clone(&backend) as Arc<dyn Backend>,
            governance: Arc::clone(&backend) as Arc<dyn Governance>,
            circumstances: Arc::new(move || {
                trap.pass_at_once();
                Circumstances {
                    now_s: clock.load(Ordering::SeqCst),
                    utc_offset_s: zone.load(Ordering::SeqCst),
                    ..Circumstances::default()
                }
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
            utc_offset_s,
            policies,
            identities,
            clock_trap,
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

    /// A request that labels its data.
    pub async fn post_labelled(&self, path: &str, token: &str, labels: &[&str], body: &Value) -> Reply {
        let mut headers: Vec<(&str, &str)> = json_headers(token).to_vec();
        headers.extend(labels.iter().map(|label| ("x-outpost-data-class", *label)));
        self.call("POST", path, &headers, body.to_string()).await
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
        self.open_at(CHAT, token, body).await
    }

    /// The same on another route.
    pub async fn open_at(&self, path: &str, token: &str, body: &Value) -> Open {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Open { response: send(stream, "POST", path, &json_headers(token), body.to_string().into()).await }
    }

    /// Puts rules in force in which operators ask, and so much of it is kept.
    pub fn keep(&self, level: &str) {
        self.change(|bundle| {
            let rules = bundle.policies.get_mut("operator.cedar").unwrap();
            let annotated = format!("@audit(\"{level}\") @id(\"operators-use-models\")");
            *rules = rules.replacen("@id(\"operators-use-models\")", &annotated, 1);
            assert!(rules.contains(level));
        });
    }

    /// Puts other policies in force: the default ones, changed.
    pub fn change(&self, change: impl FnOnce(&mut Bundle)) {
        let mut bundle = bundle();
        bundle.version = 2;
        change(&mut bundle);
        self.policies.replace(Policies::activate(bundle).unwrap());
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

/// The default policies, and somebody who may destroy content: by default nobody may.
pub fn bundle() -> Bundle {
    let mut bundle = Bundle::default_bundle();
    bundle.limits.insert("eraser".to_owned(), RoleLimits::default());
    let rule = r#"@id("erasers-erase") @title("Erasers destroy content") @reason("Somebody has to answer requests for erasure.")
        permit (principal in Role::"eraser", action == Action::"erase_audit", resource);"#;
    bundle.policies.insert("eraser.cedar".to_owned(), rule.to_owned());
    bundle
}

/// How callers are called in the record.
pub fn pseudonyms() -> Pseudonyms {
    Pseudonyms::new(b"a secret of the device")
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
