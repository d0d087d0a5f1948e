//! The HTTPS listener: TLS with an optional client certificate, then the API's router. Every wait has an end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::certificate::ShownCertificate;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 1024;

/// Longest TLS handshake, and longest wait for a request's header.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest life of a connection: enrolment and operators need seconds.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);

/// How long stopping waits for answers under way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Pause after the system refused a connection (too many open files): trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is on the other side of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The client certificate, if one was shown; our authority signed it.
    pub(crate) certificate: Option<ShownCertificate>,
}

/// Serves until `stop`, then lets the answers under way finish.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
                connections.spawn(async move {
                    let served = connection(stream, address, acceptor, router, stop);
                    if timeout(CONNECTION_LIFE, served).await.is_err() {
                        tracing::debug!(%address, "a connection was ended for its age");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(STOP_PATIENCE, connections.wait()).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let stream = match timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::info!(%address, %error, "a TLS handshake failed"),
        Err(_) => return tracing::info!(%address, "a TLS handshake took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = Peer { address, certificate: certificate.and_then(|certificate| ShownCertificate::read(certificate)) };
    let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(PATIENCE).max_concurrent_streams(32);
    let serving = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        served = serving.as_mut() => return log_end(address, served),
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    log_end(address, serving.await);
}

fn log_end(address: SocketAddr, served: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = served {
        tracing::debug!(%address, %error, "a connection broke off");
    }
}
