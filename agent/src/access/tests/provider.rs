//! An OIDC provider's server: real TLS by an authority of its own, and the answer that a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(super) const ISSUER: &str = "https://login.example/tenant";

/// How long anything may take before the test is stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What the server answers.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// 200 and this.
    Body(Vec<u8>),
    /// This instead of a head and a body.
    Raw(String),
    /// 200 and a body that goes on for ever.
    Endless,
    /// 200 and a body that does not come.
    Stalled,
}

#[derive(Debug)]
struct State {
    answer: Answer,
    /// Connections that were opened, and requests that got through.
    reached: usize,
    asked: usize,
}

/// A running server; it is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) address: SocketAddr,
    /// The authority that vouches for it, PEM.
    pub(super) authority: String,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

impl Provider {
    pub(super) async fn start(answer: Answer) -> Self {
        let (authority, tls) = tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { answer, reached: 0, asked: 0 }));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, tls, Arc::clone(&state)));
        Self { address, authority, state, _serving: serving }
    }

    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}/keys", self.address.port())
    }

    /// Answers this from now on.
    pub(super) fn answer(&self, answer: Answer) {
        self.locked(|state| state.answer = answer);
    }

    /// Waits until a request that came from now on was answered, and what it brought was taken in: until the next one.
    pub(super) async fn used(&self) {
        let before = self.locked(|state| state.asked);
        until(async || self.locked(|state| state.asked) >= before + 2).await;
    }

    /// Waits until somebody connected, and after that once more.
    pub(super) async fn reached(&self) {
        let before = self.locked(|state| state.reached);
        until(async || self.locked(|state| state.reached) >= before + 2).await;
    }

    pub(super) fn asked(&self) -> usize {
        self.locked(|state| state.asked)
    }

    fn locked<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Waits for a condition.
pub(super) async fn until(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it happens in the end");
}

fn tls() -> (String, TlsAcceptor) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        state.lock().unwrap().reached += 1;
        connections.spawn(answer(stream, tls.clone(), Arc::clone(&state)));
    }
}

/// One request; an error means that the other end left, which is its business.
async fn answer(stream: TcpStream, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    let Ok(mut stream) = tls.accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).await.is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let wanted = {
        let mut state = state.lock().unwrap();
        state.asked += 1;
        state.answer.clone()
    };
    let _ = match wanted {
        Answer::Body(body) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat()).await
        }
        Answer::Raw(text) => stream.write_all(text.as_bytes()).await,
        Answer::Endless => {
            let mut written =
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{\"keys\":\r\n").await;
            while written.is_ok() {
                written = stream.write_all(format!("1000\r\n{}\r\n", " ".repeat(0x1000)).as_bytes()).await;
            }
            written
        }
        Answer::Stalled => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{").await.unwrap();
            stream.flush().await.unwrap();
            std::future::pending().await
        }
    };
    let _ = stream.shutdown().await;
}

/// A key of the provider.
#[derive(Debug)]
pub(super) struct Signer {
    kid: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub(super) fn new(kid: &'static str) -> Self {
        Self { kid, pair: Ed25519KeyPair::generate().unwrap() }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.kid, "x": x })
    }

    /// An operator's token, valid for ten minutes from `now_s`.
    pub(super) fn token(&self, now_s: i64) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({
            "iss": ISSUER, "aud": "api://outpost", "sub": "ada", "groups": ["group-7"], "exp": now_s + 600,
        });
        let body = format!("{}.{}", encode(&json!({ "alg": "EdDSA", "kid": self.kid })), encode(&claims));
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(body.as_bytes()).as_ref()))
    }
}

/// A key set.
pub(super) fn set(signers: &[&Signer]) -> Answer {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    Answer::Body(json!({ "keys": keys }).to_string().into_bytes())
}
