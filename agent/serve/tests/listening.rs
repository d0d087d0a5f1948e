//! Where the server listens, and where it refuses to.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use outpost_policies::PrincipalKind;
use outpost_serve::identify::CertificateSubject;
use outpost_serve::{BindError, ServeConfig, Server, TlsFiles};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use support::{Fixture, Options};

fn tcp(address: &str) -> ServeConfig {
    ServeConfig { tcp: Some(address.parse().unwrap()), ..ServeConfig::default() }
}

#[tokio::test]
async fn an_address_beyond_loopback_is_refused_without_tls() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = Server::bind(tcp(address)).await.unwrap_err();
        assert!(matches!(error, BindError::PublicWithoutTls(_)), "{error}");
        assert!(error.to_string().contains("without TLS") && error.to_string().contains("127.0.0.1"), "{error}");
    }
    assert!(Server::bind(tcp("127.0.0.1:0")).await.is_ok());
}

#[tokio::test]
async fn nowhere_to_listen_and_a_taken_address_are_named() {
    assert!(matches!(Server::bind(ServeConfig::default()).await.unwrap_err(), BindError::Nowhere));
    let held = Server::bind(tcp("127.0.0.1:0")).await.unwrap();
    let address = held.tcp_address().unwrap().to_string();
    let error = Server::bind(tcp(&address)).await.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_living_one_or_a_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outpost.sock");
    let config = ServeConfig { unix: Some(path.clone()), ..ServeConfig::default() };
    // A process that was killed leaves its socket behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let living = Server::bind(config.clone()).await.unwrap();
    let error = Server::bind(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("another process is listening"), "{error}");
    drop(living);
    assert!(!path.exists());
    std::fs::File::create(&path).unwrap();
    let error = Server::bind(config).await.unwrap_err().to_string();
    assert!(error.contains("no socket is in the way"), "{error}");
    assert!(path.exists());
}

#[tokio::test]
async fn over_tls_the_server_answers_under_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = TlsFiles {
        certificate: directory.path().join("cert.pem"),
        key: directory.path().join("key.pem"),
        client_authorities: None,
    };
    outpost_disk::atomic::write(&tls.certificate, certified.cert.pem()).unwrap();
    outpost_disk::atomic::write_private(&tls.key, certified.signing_key.serialize_pem()).unwrap();
    let fixture = Fixture::start_with(Options { tls: Some(tls), ..Options::default() }).await;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certified.cert.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/v1/models")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", fixture.token("operator")))
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.unwrap().to_bytes().starts_with(b"{"));
}

#[tokio::test]
async fn a_certificate_that_is_none_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cert.pem");
    outpost_disk::atomic::write(&file, "not PEM").unwrap();
    let tls = TlsFiles { certificate: file.clone(), key: file, client_authorities: None };
    let error = Server::bind(ServeConfig { tls: Some(tls), ..tcp("127.0.0.1:0") }).await.unwrap_err().to_string();
    assert!(error.contains("cert.pem") && error.contains("holds none"), "{error}");
}

/// An authority, and what it issues.
struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        Self { issuer: rcgen::CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// A certificate of this common name, valid in these years, with its key.
    fn issue(&self, name: &str, years: std::ops::Range<i32>) -> (rcgen::Certificate, rcgen::KeyPair) {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// Writes a certificate, its key and the authority of client certificates.
    fn write(&self, directory: &std::path::Path, name: &str) -> TlsFiles {
        let (certificate, key) = self.issue(name, 2020..2090);
        let path = |file: &str| directory.join(file);
        outpost_disk::atomic::write(path("cert.pem"), certificate.pem()).unwrap();
        outpost_disk::atomic::write_private(path("key.pem"), key.serialize_pem()).unwrap();
        outpost_disk::atomic::write(path("clients.pem"), self.issuer.pem()).unwrap();
        TlsFiles { certificate: path("cert.pem"), key: path("key.pem"), client_authorities: Some(path("clients.pem")) }
    }
}

fn client_config(roots: RootCertStore, shown: Option<&(rcgen::Certificate, rcgen::KeyPair)>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
            builder.with_client_auth_cert(vec![certificate.der().clone()], key.into()).unwrap()
        }
    }
}

/// The status of `GET /v1/models`, and the server's certificate; or that the connection was refused.
async fn get(fixture: &Fixture, config: ClientConfig) -> Result<(u16, Vec<u8>), String> {
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())?;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::get("/v1/models").header("host", "localhost").body(Full::new(Bytes::new())).unwrap();
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok((response.status().as_u16(), shown))
}

#[tokio::test]
async fn a_client_certificate_identifies_by_its_name_and_the_devices_clock() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let subject = CertificateSubject { kind: PrincipalKind::Service, roles: vec!["operator".to_owned()] };
    let options = Options {
        tls: Some(authority.write(directory.path(), "server")),
        certificates: [("CN=till-7".to_owned(), subject)].into(),
        ..Options::default()
    };
    let fixture = Fixture::start_with(options).await;
    let call = async |shown: Option<(rcgen::Certificate, rcgen::KeyPair)>| {
        get(&fixture, client_config(authority.roots(), shown.as_ref())).await.map(|(status, _)| status)
    };
    assert_eq!(call(Some(authority.issue("till-7", 2020..2090))).await, Ok(200));
    assert_eq!(call(Some(authority.issue("till-8", 2020..2090))).await, Ok(401), "a name without a role");
    assert_eq!(call(None).await, Ok(401), "one is asked for, not demanded");
    assert!(call(Some(stranger.issue("till-7", 2020..2090))).await.is_err(), "another authority's");
    assert!(call(Some(authority.issue("till-7", 2020..2025))).await.is_err(), "expired by the device's clock");
    assert!(call(Some(authority.issue("till-7", 2080..2090))).await.is_err(), "not valid yet");
    fixture.now_s.store(3_786_912_000 + 24 * 3600, std::sync::atomic::Ordering::SeqCst);
    assert!(call(Some(authority.issue("till-7", 2020..2090))).await.is_err(), "the device's clock says 2090");
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let tls = authority.write(directory.path(), "first");
    let fixture = Fixture::start_with(Options { tls: Some(tls.clone()), ..Options::default() }).await;
    let shown = async || get(&fixture, client_config(authority.roots(), None)).await.unwrap().1;
    let admin = async || fixture.call_unix("GET", "/outpost/status", &[], "").await.json()["access"].clone();
    let first = shown().await;
    assert!(admin().await["tls_problem"].is_null());

    outpost_disk::atomic::write(&tls.certificate, "half a certificate").unwrap();
    let problem = async {
        while admin().await["tls_problem"].is_null() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), problem).await.expect("the status says so");
    assert_eq!(shown().await, first, "the one before stays in force");

    authority.write(directory.path(), "second");
    let renewed = async {
        while shown().await == first {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), renewed).await.expect("the new one is served");
    assert!(admin().await["tls_problem"].is_null());
}
