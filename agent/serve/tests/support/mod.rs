//! A whole server over real sockets: the real audit log in a temporary directory, the default policies, and a backend
//! that does what the last message says.
#![allow(dead_code, unreachable_pub, reason = "each test file is a program of its own and uses its part")]

mod governed;
mod reply;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
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
use outpost_policies::{Bundle, InForce, Permit, Policies, Principal, RoleLimits};
use outpost_serve::identify::{CertificateSubjects, NewApiKey};
use outpost_serve::{
    Alternative, ApiKeys, Backend, BackendError, Circumstances, EmbedInput, EmbedRequest, Embeddings, Ending,
    FinishReason, GenerateRequest, Generation, GenerationEvent, Governance, Health, Identities, KeepAlive, Limits,
    LoadOutcome, LoadedModel, LocalUsers, ModelCard, ModelDetail, NewModel, Progress, Prompt, Purpose, Said,
    ServeConfig, Served, Server, Serving, Shape, Timings, TlsFiles, TokenIssuer, TokenScore, ToolChoice, Usage,
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

pub use reply::{Open, Reply};

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

/// A backend that does what the last message says.
#[derive(Default)]
pub struct Scripted {
    pub started: std::sync::Mutex<Vec<GenerateRequest>>,
    /// Who asked each of them, as the permit says.
    pub askers: std::sync::Mutex<Vec<Principal>>,
    /// What was done beside answering, as in `load demo`.
    pub acts: std::sync::Mutex<Vec<String>>,
    /// Models beside the two that are always there.
    pub more: std::sync::Mutex<Vec<ModelCard>>,
    /// How often the list of models was asked for.
    pub listed: AtomicUsize,
    /// Told when a generation was cancelled, and its flag was set.
    pub cancelled: Arc<Notify>,
    /// Lets a generation that waits go on.
    pub go_on: Arc<Notify>,
    /// What happens to whoever asks this backend something.
    pub trap: Trap,
}

/// Counts what comes by, and at one of them waits or panics.
#[derive(Default)]
pub struct Trap {
    /// How many came by since it was set.
    pub passed: AtomicUsize,
    at: AtomicUsize,
    panics: AtomicBool,
    /// Told when somebody waits.
    pub caught: Notify,
    release: Notify,
}

impl Trap {
    /// Sets it for the `at`th to come by; 0 is nobody.
    pub fn set(&self, at: usize, panics: bool) {
        self.passed.store(0, Ordering::SeqCst);
        self.panics.store(panics, Ordering::SeqCst);
        self.at.store(at, Ordering::SeqCst);
    }

    /// Lets whoever waits go on.
    pub fn release(&self) {
        self.at.store(0, Ordering::SeqCst);
        self.release.notify_waiters();
    }

    /// Everybody comes by here.
    pub async fn pass(&self) {
        let number = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if number != self.at.load(Ordering::SeqCst) {
            return;
        }
        assert!(!self.panics.load(Ordering::SeqCst), "the trap panics, as asked");
        let released = self.release.notified();
        self.caught.notify_one();
        released.await;
    }

    /// The same for what cannot wait.
    pub fn pass_at_once(&self) {
        let number = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(number != self.at.load(Ordering::SeqCst), "the trap panics, as asked");
    }
}

impl Scripted {
    fn did(&self, act: String) {
        self.acts.lock().unwrap().push(act);
    }

    async fn known(&self, model: &str) -> Result<ModelCard, BackendError> {
        let unknown = || BackendError::UnknownModel { model: model.to_owned() };
        self.cards().into_iter().find(|card| card.id == model).ok_or_else(unknown)
    }

    fn cards(&self) -> Vec<ModelCard> {
        let demo = ModelCard {
            id: "demo".to_owned(),
            created_s: NOW_S,
            licence: "Apache-2.0".to_owned(),
            variant: "Q4_0".to_owned(),
            family: "llama".to_owned(),
            file_sha256: "ab".repeat(32),
            file_bytes: 3_000_000,
            context_tokens: 512,
            parameters: 5_000_000,
            width: 256,
            tools: true,
            thinking: true,
            loaded: true,
            ..ModelCard::default()
        };
        let vectors = ModelCard {
            id: "vectors".to_owned(),
            purpose: Purpose::Embedding,
            family: "bert".to_owned(),
            width: 4,
            loaded: false,
            tools: false,
            thinking: false,
            ..demo.clone()
        };
        [demo, vectors].into_iter().chain(self.more.lock().unwrap().iter().cloned()).collect()
    }
}

fn served(model: &str) -> Served {
    Served { model: model.to_owned(), variant: "Q4_0".to_owned(), file_sha256: "ab".repeat(32) }
}

#[async_trait]
impl Backend for Scripted {
    async fn models(&self) -> Vec<ModelCard> {
        self.trap.pass().await;
        self.listed.fetch_add(1, Ordering::SeqCst);
        self.cards()
    }

    async fn health(&self) -> Health {
        self.trap.pass().await;
        Health::Ready
    }

    async fn start(&self, permit: Permit, request: GenerateRequest) -> Result<Generation, BackendError> {
        self.trap.pass().await;
        assert!(request.max_tokens <= permit.max_tokens());
        let mut script = match &request.prompt {
            Prompt::Chat(chat) => chat.messages.last().unwrap().content.clone(),
            Prompt::Text(text) => text.clone(),
            Prompt::Tokens(tokens) => format!("{tokens:?}"),
        };
        match script.as_str() {
            _ if request.model != "demo" => return Err(BackendError::UnknownModel { model: request.model }),
            "too long" => return Err(BackendError::TooLong { prompt_tokens: 600, context_tokens: 512 }),
            "busy" => return Err(BackendError::Busy { retry_after_s: 7 }),
            "panic" => panic!("as asked"),
            _ => {}
        }
        if let Prompt::Chat(chat) = &request.prompt {
            let forced = matches!(chat.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
            if forced && let Some(tool) = chat.tools.first() {
                script = format!("call {}", tool.name);
            }
        }
        if matches!(request.shape, Shape::Object | Shape::Schema(_)) {
            script = "json".to_owned();
        }
        let scores = request.scores;
        let prompt_scores = request.prompt_scores;
        self.started.lock().unwrap().push(request);
        self.askers.lock().unwrap().push(permit.principal().clone());
        let (sender, events) = mpsc::unbounded_channel();
        let cancel = Arc::new(AtomicBool::new(false));
        if prompt_scores {
            let tokens =
                ["What", " now"].iter().enumerate().map(|(place, text)| score(text, (place > 0).then_some(-1.5)));
            let _ = sender.send(GenerationEvent::Said(Said::Prompt(tokens.collect())));
        }
        let (flag, cancelled, go_on) = (Arc::clone(&cancel), Arc::clone(&self.cancelled), Arc::clone(&self.go_on));
        tokio::spawn(play(script, scores, sender, flag, cancelled, go_on));
        Ok(Generation::new(events, served("demo"), cancel))
    }

    async fn embed(&self, _permit: Permit, request: EmbedRequest) -> Result<Embeddings, BackendError> {
        self.trap.pass().await;
        if self.known(&request.model).await?.purpose != Purpose::Embedding {
            let detail = format!("`{}` makes no vectors", request.model);
            return Err(BackendError::Unsuitable { field: "model", detail });
        }
        let width = request.dimensions.unwrap_or(4) as usize;
        let vector = |input: &EmbedInput| match input {
            EmbedInput::Text(text) if text == "too long" && !request.truncate => {
                Err(BackendError::TooLong { prompt_tokens: 600, context_tokens: 512 })
            }
            _ => Ok((0..width).map(|place| if place == 0 { 1.0 } else { 0.0 }).collect()),
        };
        let vectors = request.inputs.iter().map(vector).collect::<Result<Vec<_>, _>>()?;
        let prompt_tokens = 3 * u32::try_from(request.inputs.len()).unwrap();
        Ok(Embeddings { vectors, prompt_tokens, served: served("vectors"), load_time: Duration::ZERO })
    }

    async fn count(&self, _permit: Permit, model: &str, prompt: Prompt) -> Result<u32, BackendError> {
        self.trap.pass().await;
        self.known(model).await?;
        Ok(match prompt {
            Prompt::Chat(chat) => u32::try_from(5 * chat.messages.len()).unwrap(),
            Prompt::Text(text) => u32::try_from(text.split_whitespace().count()).unwrap(),
            Prompt::Tokens(tokens) => u32::try_from(tokens.len()).unwrap(),
        })
    }

    async fn detail(&self, model: &str) -> Result<ModelDetail, BackendError> {
        self.trap.pass().await;
        let card = self.known(model).await?;
        let keys = json!({ "general.architecture": "llama", "llama.block_count": 4 });
        let Value::Object(keys) = keys else { unreachable!() };
        Ok(ModelDetail {
            licence: card.licence.clone(),
            template: "{{ messages }}".into(),
            keys,
            card,
            ..ModelDetail::default()
        })
    }

    async fn loaded(&self) -> Vec<LoadedModel> {
        self.trap.pass().await;
        let card = self.cards().remove(0);
        let expires_in = Some(Duration::from_secs(300));
        vec![LoadedModel { card, memory_bytes: 50_000_000, expires_in, running: 0, waiting: 0 }]
    }

    async fn load(&self, _permit: Permit, model: &str, keep: Option<KeepAlive>) -> Result<LoadOutcome, BackendError> {
        self.trap.pass().await;
        let card = self.known(model).await?;
        self.did(format!("load {model} {keep:?}"));
        Ok(if card.loaded { LoadOutcome::AlreadyLoaded } else { LoadOutcome::Loaded(Duration::from_millis(20)) })
    }

    async fn unload(&self, _permit: Permit, model: &str) -> Result<bool, BackendError> {
        self.trap.pass().await;
        let card = self.known(model).await?;
        self.did(format!("unload {model}"));
        Ok(card.loaded)
    }

    async fn pull(&self, _permit: Permit, reference: &str) -> Result<mpsc::Receiver<Progress>, BackendError> {
        self.trap.pass().await;
        let (sender, progress) = mpsc::channel(8);
        self.did(format!("pull {reference}"));
        let last = match self.known(reference).await {
            Ok(_) => Progress::Done,
            Err(error) => Progress::Failed(error.to_string()),
        };
        let bytes = |completed| Progress::Bytes { digest: "ab".repeat(32), total: 100, completed };
        for step in [Progress::Step("looking".to_owned()), bytes(50), bytes(100), last] {
            sender.send(step).await.unwrap();
        }
        Ok(progress)
    }

    async fn create(&self, _permit: Permit, new: NewModel) -> Result<(), BackendError> {
        self.trap.pass().await;
        self.known(&new.from).await?;
        if self.known(&new.name).await.is_ok() {
            return Err(BackendError::Conflict { detail: format!("there is a model `{}` already", new.name) });
        }
        self.did(format!("create {} from {}", new.name, new.from));
        Ok(())
    }

    async fn delete(&self, _permit: Permit, model: &str) -> Result<(), BackendError> {
        self.trap.pass().await;
        self.known(model).await?;
        self.did(format!("delete {model}"));
        Ok(())
    }
}

/// A token that is as likely as said, beside one other.
fn score(text: &str, logprob: Option<f32>) -> TokenScore {
    let other = Alternative { token: 9, bytes: b"other".to_vec(), logprob: -2.5 };
    let top = logprob.map(|logprob| Alternative { token: 7, bytes: text.as_bytes().to_vec(), logprob });
    TokenScore { token: 7, bytes: text.as_bytes().to_vec(), logprob, top: top.into_iter().chain([other]).collect() }
}

async fn play(
    script: String,
    scores: Option<u8>,
    sender: mpsc::UnboundedSender<GenerationEvent>,
    cancel: Arc<AtomicBool>,
    cancelled: Arc<Notify>,
    go_on: Arc<Notify>,
) {
    let say = |said: Said| {
        let _ = sender.send(GenerationEvent::Said(said));
    };
    let text = |text: &str| {
        let tokens = scores.map(|_| score(text, Some(-0.5)));
        say(Said::Text { text: text.to_owned(), tokens: tokens.into_iter().collect() });
    };
    let mut reason = FinishReason::Stop;
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
        "length" => {
            text("cut");
            reason = FinishReason::Length;
        }
        "stop text" => {
            text("before");
            reason = FinishReason::StopText("END".to_owned());
        }
        "think" => {
            say(Said::Reasoning("Let me ".to_owned()));
            say(Said::Reasoning("see.".to_owned()));
            text("Yes.");
        }
        "json" => ["{\"a\":", "1}"].into_iter().for_each(text),
        call if call.starts_with("call ") => {
            let name = call.trim_start_matches("call ").to_owned();
            say(Said::Call { index: 0, name });
            say(Said::Arguments { index: 0, text: "{\"city\":".to_owned() });
            say(Said::Arguments { index: 0, text: "\"Oslo\"}".to_owned() });
            reason = FinishReason::ToolCalls;
        }
        _ => ["Hel", "lo, ", "wörld"].into_iter().for_each(text),
    }
    let usage = Usage { prompt_tokens: 5, cached_tokens: 2, generated_tokens: 3, reasoning_tokens: 0 };
    let timings =
        Timings { prompt: Duration::from_millis(4), generation: Duration::from_millis(6), ..Timings::default() };
    let _ = sender.send(GenerationEvent::Finished(Ending { reason, usage, timings }));
}
