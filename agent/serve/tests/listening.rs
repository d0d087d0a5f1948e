//! Where the server listens, and where it refuses to.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
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
    let tls = TlsFiles { certificate: directory.path().join("cert.pem"), key: directory.path().join("key.pem") };
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
    let tls = TlsFiles { certificate: file.clone(), key: file };
    let error = Server::bind(ServeConfig { tls: Some(tls), ..tcp("127.0.0.1:0") }).await.unwrap_err().to_string();
    assert!(error.contains("cert.pem") && error.contains("holds none"), "{error}");
}
