//! Enrolment against a small TLS server, and every way in which it is refused.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outpost_contract::limits::ENROL_BYTES;
use outpost_contract::{EnrolRefusal, EnrolRequest, EnrolResponse};
use outpost_disk::Clock;
use outpost_sync::{
    BackOff, EnrolError, Enrolment, Identity, Patience, WebError, device_fingerprint, enrol, enrol_patiently,
};
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
                let Some(request) = read_request(&mut stream).await else { continue };
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

/// None if the wire is cut before all of it came.
async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<EnrolRequest> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|&read| read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("POST /v1/enrol HTTP/1.1"), "{head}");
        let length: usize =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap();
        if body.len() >= length {
            return Some(serde_json::from_str(body).unwrap());
        }
    }
}

async fn attempt(url: &str, authority: &str, dir: &Path) -> Result<Identity, EnrolError> {
    let enrolment = Enrolment {
        server_url: url,
        code: "K7Q2-9XTF",
        wished_name: "",
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
        ("not_allowed", 403, "may not enrol with its key alone"),
        ("pending", 202, "no operator has decided yet"),
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
    assert!(matches!(error, EnrolError::Web(WebError::Refused { status: 503, .. })), "{error}");
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
    assert!(matches!(error, EnrolError::Web(WebError::NotTheServer { .. })), "{error}");
    assert!(server.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_endless_or_no_answer_is_refused() {
    let authority = Authority::new();
    for body in [vec![b' '; ENROL_BYTES + 1], b"{}".to_vec(), b"not json".to_vec()] {
        let server = Server::start(&authority, move |_| (200, body.clone())).await;
        let dir = tempfile::tempdir().unwrap();
        let error = attempt(&server.url(), &authority.certificate.pem(), dir.path()).await.unwrap_err();
        assert!(matches!(error, EnrolError::Web(WebError::BadAnswer { .. })), "{error}");
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
        assert!(matches!(error, EnrolError::Web(WebError::BadAddress { .. })), "{bad}: {error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = attempt(&url, &authority.certificate.pem(), dir.path()).await.unwrap_err();
    assert!(matches!(error, EnrolError::Web(WebError::Unreachable { .. })), "{error}");
    let error = attempt(&url, "no certificate in here", dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("holds no usable certificate"), "{error}");
}

#[tokio::test]
async fn the_fingerprint_that_is_shown_is_the_key_that_is_sent() {
    let authority = Arc::new(Authority::new());
    let signer = Arc::clone(&authority);
    let server = Server::start(&authority, move |request| json(200, &signer.response(request, "till-7"))).await;
    let dir = tempfile::tempdir().unwrap();
    let shown = device_fingerprint(dir.path()).unwrap();
    assert_eq!(device_fingerprint(dir.path()).unwrap(), shown, "made once");
    let identity = attempt(&server.url(), &authority.certificate.pem(), dir.path()).await.unwrap();
    assert_eq!((identity.fingerprint().unwrap(), device_fingerprint(dir.path()).unwrap()), (shown, shown));
}

#[tokio::test]
async fn a_device_waits_for_an_operator_as_long_as_it_was_told_and_longer_for_nobody() {
    let authority = Arc::new(Authority::new());
    let pending = EnrolRefusal { code: "pending".into(), message: "wait".into() };
    let (signer, asked) = (Arc::clone(&authority), std::sync::atomic::AtomicU32::new(0));
    let word = pending.clone();
    let server =
        Server::start(&authority, move |request| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 | 1 => json(202, &word),
            2 => (503, b"restarting".to_vec()),
            _ => json(200, &signer.response(request, "till-7")),
        })
        .await;
    let dir = tempfile::tempdir().unwrap();
    let pem = authority.certificate.pem();
    let url = server.url();
    let enrolment = |dir, url| Enrolment {
        server_url: url,
        code: "",
        wished_name: "till-at-the-door",
        authority: &pem,
        dir,
        agent: "0.1.0",
        audit_key: "till-7+12345678+AAAA",
    };
    let patience = Patience {
        at_most: Duration::from_secs(60),
        asking: BackOff { base: Duration::from_millis(5), cap: Duration::from_millis(20) },
    };
    let (told, clock, wanted) = (Mutex::new(0), Clock::system(), enrolment(dir.path(), &url));
    let identity = enrol_patiently(&wanted, &clock, patience, |_| *told.lock().unwrap() += 1).await.unwrap();
    assert_eq!(identity.device().as_str(), "till-7");
    assert_eq!(*told.lock().unwrap(), 3);
    let requests = server.requests.lock().unwrap().clone();
    assert!(requests.iter().all(|request| request.wished_name == "till-at-the-door" && request.code.is_empty()));
    assert!(requests.iter().all(|request| request.certificate_request.contains("CERTIFICATE REQUEST")));

    let never = Server::start(&authority, move |_| json(202, &pending)).await;
    let (dir, url) = (tempfile::tempdir().unwrap(), never.url());
    let (patience, wanted) =
        (Patience { at_most: Duration::from_millis(500), ..patience }, enrolment(dir.path(), &url));
    let error = enrol_patiently(&wanted, &clock, patience, |_| {}).await.unwrap_err();
    assert!(matches!(error, EnrolError::Pending { .. }), "{error}");
    assert!(!never.requests.lock().unwrap().is_empty());
}

/// A wire that is cut once `budget` bytes passed in one direction, and whole from the second connection on.
async fn cut_wire(
    to: SocketAddr,
    budget: usize,
    towards_server: bool,
) -> (SocketAddr, Arc<std::sync::atomic::AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let was_cut = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let cut = Arc::clone(&was_cut);
    tokio::spawn(async move {
        let mut left = Some(budget);
        while let Ok((near, _)) = listener.accept().await {
            let far = tokio::net::TcpStream::connect(to).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let budget = left.take();
            let (up, down) = if towards_server { (budget, None) } else { (None, budget) };
            tokio::select! {
                over = carry(near_in, far_out, up) => cut.fetch_or(over, std::sync::atomic::Ordering::SeqCst),
                over = carry(far_in, near_out, down) => cut.fetch_or(over, std::sync::atomic::Ordering::SeqCst),
            };
        }
    });
    (address, was_cut)
}

/// Carries bytes; true if the budget ended it.
async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut budget: Option<usize>,
) -> bool {
    let mut buffer = vec![0; 4096];
    while let Ok(count) = from.read(&mut buffer).await {
        let passes = budget.map_or(count, |left| left.min(count));
        if count == 0 || to.write_all(&buffer[..passes]).await.is_err() {
            return false;
        }
        if let Some(left) = &mut budget {
            *left -= passes;
            if *left == 0 {
                return true;
            }
        }
    }
    false
}

#[tokio::test]
async fn a_wire_that_is_cut_after_any_number_of_bytes_costs_one_more_attempt_with_the_same_key() {
    let authority = Arc::new(Authority::new());
    let signer = Arc::clone(&authority);
    let server = Server::start(&authority, move |request| json(200, &signer.response(request, "till-7"))).await;
    let pem = authority.certificate.pem();
    for towards_server in [true, false] {
        let (mut budget, mut cuts) = (1, 0);
        loop {
            let (wire, was_cut) = cut_wire(server.address, budget, towards_server).await;
            let url = format!("https://{wire}");
            let dir = tempfile::tempdir().unwrap();
            let first = attempt(&url, &pem, dir.path()).await;
            let shown = device_fingerprint(dir.path()).unwrap();
            let identity = match first {
                Ok(identity) => identity,
                Err(error) => {
                    assert!(matches!(error, EnrolError::Web(_)), "{budget}: {error}");
                    attempt(&url, &pem, dir.path()).await.unwrap()
                }
            };
            assert_eq!(identity.fingerprint().unwrap(), shown, "{budget}");
            if !was_cut.load(std::sync::atomic::Ordering::SeqCst) {
                break;
            }
            cuts += 1;
            budget += 173;
        }
        assert!(cuts > 5, "{cuts} cuts");
    }
}
