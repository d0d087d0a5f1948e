//! Neighbours: a device serves the chunks of its whole files to devices of the same fleet on the same site, and vouches for
//! their audit logs.
//!
//! Both sides show the certificate of their device, and both must chain to the fleet's authority; the name in it need not be
//! the host's, for content is named by its hash and checked by whoever receives it. A revoked device still has a certificate
//! that chains: it is refused as soon as this device was told of it, and can read chunks of models until then.

mod announce;
mod pace;
#[cfg(test)]
mod tests;
mod trust;
mod witness;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use outpost_contract::{Blake3, DeviceId};
use outpost_disk::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{Identity, TlsError};
pub use announce::Announcement;
use pace::Pace;
pub(crate) use trust::client_tls;
pub use witness::{PeerWitness, Vouch};

/// Longest TLS handshake, and longest wait for a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest life of a connection: a certificate is looked at again that often.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);

/// Pause after the system refused a connection (too many open files): trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// Where the chunks are. Called on a blocking thread.
pub trait Shelf: Send + Sync {
    /// A chunk of a whole file, checked against its id; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    fn chunk(&self, id: &Blake3) -> std::io::Result<Option<Bytes>>;
}

/// The devices that the control plane told of as revoked; clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Revoked(Arc<RwLock<HashSet<DeviceId>>>);

impl Revoked {
    /// Takes the control plane's newest list in place of the one before: a name may have enrolled again since.
    pub fn replace(&self, names: impl IntoIterator<Item = DeviceId>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = names.into_iter().collect();
    }

    fn contains(&self, name: &DeviceId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

/// What serving may cost this device.
#[derive(Debug, Clone, Copy)]
pub struct PeerLimits {
    /// Connections at once; more wait in the system's queue.
    pub connections: usize,
    /// Bytes per second, all connections together.
    pub bytes_per_s: u64,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self { connections: 16, bytes_per_s: 32 * 1024 * 1024 }
    }
}

/// Serves chunks to neighbours.
pub struct PeerServer {
    acceptor: TlsAcceptor,
    desk: Desk,
    connections: usize,
}

/// What all connections share.
struct Desk {
    shelf: Arc<dyn Shelf>,
    vouch: Option<Arc<dyn Vouch>>,
    revoked: Revoked,
    pace: Pace,
}

impl std::fmt::Debug for PeerServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PeerServer").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl PeerServer {
    /// A server with this device's certificate.
    ///
    /// # Errors
    /// If key or certificates cannot be used.
    pub fn new(
        identity: &Identity,
        shelf: Arc<dyn Shelf>,
        revoked: Revoked,
        limits: PeerLimits,
        clock: &Clock,
    ) -> Result<Self, TlsError> {
        let desk = Desk { shelf, vouch: None, revoked, pace: Pace::new(limits.bytes_per_s) };
        let acceptor = TlsAcceptor::from(Arc::new(trust::server_tls(identity, clock)?));
        Ok(Self { acceptor, desk, connections: limits.connections })
    }

    /// Vouches for the audit logs of neighbours, too.
    #[must_use]
    pub fn vouching(mut self, vouch: Arc<dyn Vouch>) -> Self {
        self.desk.vouch = Some(vouch);
        self
    }

    /// Serves until `stop`; connections end with it.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let desk = Arc::new(self.desk);
        let places = Arc::new(Semaphore::new(self.connections));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (acceptor, desk) = (self.acceptor.clone(), Arc::clone(&desk));
                    let stop = stop.clone();
                    tokio::spawn(async move {
                        let served = timeout(CONNECTION_LIFE, connection(stream, acceptor, desk));
                        let _ = stop.run_until_cancelled(served).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a neighbour's connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, desk: Arc<Desk>) {
    let _ = stream.set_nodelay(true);
    let stream = match timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a neighbour's handshake failed"),
        Err(_) => return,
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some(device) = certificate.and_then(|certificate| trust::device_of(certificate)) else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let (desk, device) = (Arc::clone(&desk), device.clone());
        async move { Ok::<_, Infallible>(desk.answer(&device, request).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(HEAD_BYTES);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a neighbour's connection broke off");
    }
}

impl Desk {
    async fn answer(&self, device: &DeviceId, request: Request<Incoming>) -> Response<Full<Bytes>> {
        // Asked for each request: the news of a revocation may come during a connection.
        if self.revoked.contains(device) {
            tracing::info!(%device, "a revoked device asked for chunks");
            return empty(StatusCode::FORBIDDEN);
        }
        if request.uri().path().starts_with(witness::PATH) {
            return witness::answer(self.vouch.as_ref(), device, request).await;
        }
        if request.method() != Method::GET {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let id = request.uri().path().strip_prefix("/v1/chunks/").and_then(|id| id.parse::<Blake3>().ok());
        let Some(id) = id else { return empty(StatusCode::NOT_FOUND) };
        let shelf = Arc::clone(&self.shelf);
        match tokio::task::spawn_blocking(move || shelf.chunk(&id)).await {
            Ok(Ok(Some(bytes))) => {
                if let Err(retry_after_s) = self.pace.wait(bytes.len()).await {
                    let mut busy = empty(StatusCode::SERVICE_UNAVAILABLE);
                    busy.headers_mut().insert(RETRY_AFTER, retry_after_s.into());
                    return busy;
                }
                let mut answer = Response::new(Full::new(bytes));
                let headers = answer.headers_mut();
                headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/octet-stream"));
                headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("immutable"));
                answer
            }
            Ok(Ok(None)) => empty(StatusCode::NOT_FOUND),
            Ok(Err(error)) => {
                tracing::warn!(chunk = %id, %error, "a chunk for a neighbour cannot be read");
                empty(StatusCode::NOT_FOUND)
            }
            Err(error) => {
                tracing::error!(chunk = %id, %error, "reading a chunk for a neighbour broke off");
                empty(StatusCode::NOT_FOUND)
            }
        }
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
