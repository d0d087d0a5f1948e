//! The HTTPS listener: TLS with an optional client certificate, then the API's router. Every wait has an end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
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

/// How long answers under way may take once a connection has lived long enough: nothing new begins on it.
const LAST_ANSWERS: Duration = Duration::from_secs(120);

/// A connection that carries a download lives on for so long after each block that the device took.
const DOWNLOAD_LIFE: Duration = Duration::from_secs(120);

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
    /// How long the connection may live.
    pub(crate) life: Arc<Life>,
}

#[cfg(test)]
impl Peer {
    /// Somebody without a certificate, for tests of routes.
    pub(crate) fn stranger(address: SocketAddr) -> Self {
        Self { address, certificate: None, life: Arc::new(Life::new()) }
    }
}

/// When a connection is to end: at its age, or later while a download on it goes on.
#[derive(Debug)]
pub(crate) struct Life {
    began: Instant,
    /// When a block was taken last, milliseconds after the beginning; 0 if never.
    touched_ms: AtomicU64,
}

impl Life {
    fn new() -> Self {
        Self { began: Instant::now(), touched_ms: AtomicU64::new(0) }
    }

    /// A block of a download was taken.
    pub(crate) fn touch(&self) {
        let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.touched_ms.store(elapsed_ms.max(1), Ordering::Relaxed);
    }

    fn ends_at(&self) -> Instant {
        let touched_ms = self.touched_ms.load(Ordering::Relaxed);
        let by_age = self.began + CONNECTION_LIFE;
        let by_download = self.began + Duration::from_millis(touched_ms) + DOWNLOAD_LIFE;
        if touched_ms == 0 { by_age } else { by_age.max(by_download) }
    }

    /// Waits until the connection has lived long enough.
    async fn is_over(&self) {
        while Instant::now() < self.ends_at() {
            sleep_until(self.ends_at()).await;
        }
    }
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
                    connection(stream, address, Arc::new(Life::new()), acceptor, router, stop).await;
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
    life: Arc<Life>,
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
    let certificate = certificate.and_then(|certificate| ShownCertificate::read(certificate));
    let peer = Peer { address, certificate, life: Arc::clone(&life) };
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
        () = life.is_over() => serving.as_mut().graceful_shutdown(),
    }
    match timeout(LAST_ANSWERS, serving).await {
        Ok(served) => log_end(address, served),
        Err(_) => tracing::debug!(%address, "a connection was ended for its age"),
    }
}

fn log_end(address: SocketAddr, served: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = served {
        tracing::debug!(%address, %error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_at_its_age_unless_a_download_goes_on() {
        let idle = Life::new();
        idle.is_over().await;
        assert_eq!(idle.began.elapsed().as_secs(), CONNECTION_LIFE.as_secs());

        let busy = Life::new();
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(100)).await;
            busy.touch();
            assert!(Instant::now() < busy.ends_at());
        }
        busy.is_over().await;
        assert!(busy.began.elapsed() >= Duration::from_secs(1000) + DOWNLOAD_LIFE);
    }
}
