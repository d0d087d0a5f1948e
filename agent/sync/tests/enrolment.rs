//! Enrolment against a small TLS server, and every way in which it is refused.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use outpost_contract::limits::ENROL_BYTES;
use outpost_contract::{EnrolRefusal, EnrolRequest, EnrolResponse};
use outpost_disk::Clock;
use outpost_sync::{EnrolError, Enrolment, Identity, enrol};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A certificate authority of one test.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(parameters, key) }
    }

    fn sign_request(&self, pem: &str, name: &str) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(pem).unwrap();
        request.params.distinguished_name = rcgen::DistinguishedName::new();
        request.params.distinguished_name.push(DnType::CommonName, name);
        request.signed_by(&self.issuer).unwrap().pem()
    }

    fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }

    fn response(&self, request: &EnrolRequest, device: &str) -> EnrolResponse {
        EnrolResponse {
            device: device.parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            certificate: self.sign_request(&request.certificate_request, device),
            authority: self.certificate.pem(),
            trusted_root: "{}".into(),
            director_keys: vec!["ab".repeat(32)],
            broker: "127.0.0.1:8883".into(),
            audit_witness: String::new(),
            audit_mirror: String::new(),
        }
    }
}

/// HTTP status and body.
type Answer = (u16, Vec<u8>);

/// A server that answers each POST with what the test says, and remembers the requests.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<EnrolRequest>>>,
}

impl Server {
    async fn start(authority: &Authority, answer: impl Fn(&EnrolRequest) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(authority.server());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust us hangs up here.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let request = read_request(&mut stream).await;
                let (status, body) = answer(&request);
                seen.lock().unwrap().push(request);
                let head =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&body).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> EnrolRequest {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("POST /v1/enrol HTTP/1.1"), "{head}");
        let length: usize =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap();
        if body.len() >= length {
            return serde_json::from_str(body).unwrap();
        }
    }
}

async fn attempt(url: &str, authority: &str, dir: &Path) -> Result<Identity, EnrolError> {
    let enrolment = Enrolment {
        server_url: url,
        code: "K7Q2-9XTF",
        authority,
        dir,
        agent: "0.1.0",
        audit_key: "till-7+12345678+AAAA",
    };
    enrol(&enrolment, &Clock::system()).await
}

fn json(status: u16, body: &impl serde::Serialize) -> Answer {
    (status, serde_json::to_vec(body).unwrap())
}

#[tokio::test]
async fn a_device_enrols_with_a_code_and_its_key_never_leaves() {
    let authority = Arc::new(Authority::new());
    let signer = Arc::clone(&authority);
    let server = Server::start(&authority, move |request| json(200, &signer.response(request, "till-7"))).await;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("identity");
    let identity = attempt(&server.url(), &authority.certificate.pem(), &dir).await.unwrap();
    assert_eq!((identity.device().as_str(), identity.tenant().as_str()), ("till-7", "acme"));
    assert_eq!(identity.broker().port, 8883);

    let key = std::fs::read_to_string(dir.join("device.key")).unwrap();
    let sent = server.requests.lock().unwrap().pop().unwrap();
    assert_eq!(sent.code, "K7Q2-9XTF");
    assert!(sent.certificate_request.contains("CERTIFICATE REQUEST"));
    let secret = key.lines().nth(1).unwrap();
    assert!(!serde_json::to_string(&sent).unwrap().contains(secret));
    for name in ["device.key", "identity.json"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(dir.join(name)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    let again = Identity::load(&dir).unwrap();
    assert_eq!(again.device(), identity.device());
    assert!(again.tls(&Clock::system()).is_ok());
    assert!(!format!("{again:?}").contains(secret), "a key is never printed");
    let error = attempt(&server.url(), &authority.certificate.pem(), &dir).await.unwrap_err();
    assert!(matches!(error, EnrolError::AlreadyEnrolled { .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_used_or_expired_code_is_told_apart_and_says_the_way_out() {
    for (code, status, words) in [
        ("wrong_code", 403, "the enrolment code is wrong"),
        ("code_used", 409, "was used already"),
        ("code_expired", 410, "has expired"),
        ("too_many_attempts", 429, "too many enrolment attempts"),
        ("bad_request", 400, "refused (HTTP 400)"),
    ] {
        let authority = Authority::new();
        let refusal = EnrolRefusal { code: code.into(), message: "said\x1b[31m the server".into() };
        let server = Server::start(&authority, move |_| json(status, &refusal)).await;
        let dir = tempfile::tempdir().unwrap();
        let error = attempt(&server.url(), &authority.certificate.pem(), dir.path()).await.unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("the server"), "{error}");
        assert!(!error.contains('\x1b'), "words from outside cannot steer a terminal");
        assert!(!dir.path().join("identity.json").exists());
    }
}

#[tokio::test]
async fn a_retry_uses_the_same_key() {
    let authority = Arc::new(Authority::new());
    let failing = Server::start(&authority, |_| (503, b"try later".to_vec())).await;
    let dir = tempfile::tempdir().unwrap();
    let error = attempt(&failing.url(), &authority.certificate.pem(), dir.path()).await.unwrap_err();
    assert!(matches!(error, EnrolError::Refused { status: 503, .. }), "{error}");
    let key = std::fs::read(dir.path().join("device.key")).unwrap();
    let signer = Arc::clone(&authority);
    let server = Server::start(&authority, move |request| json(200, &signer.response(request, "till-7"))).await;
    attempt(&server.url(), &authority.certificate.pem(), dir.path()).await.unwrap();
    assert_eq!(std::fs::read(dir.path().join("device.key")).unwrap(), key);
}

#[tokio::test]
async fn a_server_with_a_certificate_of_another_authority_learns_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = Server::start(&other, |_| (200, Vec::new())).await;
    let dir = tempfile::tempdir().unwrap();
    let error = attempt(&server.url(), &authority.certificate.pem(), dir.path()).await.unwrap_err();
    assert!(matches!(error, EnrolError::NotTheServer { .. }), "{error}");
    assert!(server.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_endless_or_no_answer_is_refused() {
    let authority = Authority::new();
    for body in [vec![b' '; ENROL_BYTES + 1], b"{}".to_vec(), b"not json".to_vec()] {
        let server = Server::start(&authority, move |_| (200, body.clone())).await;
        let dir = tempfile::tempdir().unwrap();
        let error = attempt(&server.url(), &authority.certificate.pem(), dir.path()).await.unwrap_err();
        assert!(matches!(error, EnrolError::BadAnswer { .. }), "{error}");
        assert!(!dir.path().join("identity.json").exists());
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_or_another_key_is_not_kept() {
    let authority = Arc::new(Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let signer = Arc::clone(&authority);
    let wrong_name = Server::start(&authority, move |request| {
        let mut response = signer.response(request, "till-7");
        response.device = "till-8".parse().unwrap();
        json(200, &response)
    })
    .await;
    let error = attempt(&wrong_name.url(), &authority.certificate.pem(), dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("is for `till-7`, not for `till-8`"), "{error}");

    let signer = Arc::clone(&authority);
    let wrong_key = Server::start(&authority, move |request| {
        let other = KeyPair::generate().unwrap();
        let foreign = CertificateParams::default().serialize_request(&other).unwrap().pem().unwrap();
        let mut response = signer.response(request, "till-7");
        response.certificate = signer.sign_request(&foreign, "till-7");
        json(200, &response)
    })
    .await;
    let error = attempt(&wrong_key.url(), &authority.certificate.pem(), dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
    assert!(!dir.path().join("identity.json").exists());
}

#[tokio::test]
async fn an_address_that_is_no_control_plane_is_refused_before_anything_is_sent() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    for bad in ["http://127.0.0.1:1", "127.0.0.1:8790", "", "https://", "file:///etc/passwd"] {
        let error = attempt(bad, &authority.certificate.pem(), dir.path()).await.unwrap_err();
        assert!(matches!(error, EnrolError::BadAddress { .. }), "{bad}: {error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = attempt(&url, &authority.certificate.pem(), dir.path()).await.unwrap_err();
    assert!(matches!(error, EnrolError::Unreachable { .. }), "{error}");
    let error = attempt(&url, "no certificate in here", dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("holds no usable certificate"), "{error}");
}
