//! One connection: HTTP/1.1 with bounds on head, time and number.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::handle::{handle, tally_knock};
use crate::identify::{Peer, ProvenCertificate};

/// Connections over the socket at once, at the most.
const LOCAL_CONNECTIONS: usize = 128;

/// The connections there are.
pub(super) struct Connections {
    app: Arc<App>,
    room: Arc<Semaphore>,
    /// The socket's own: however many come over TCP, whoever is on this machine is heard.
    local_room: Arc<Semaphore>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    closing: CancellationToken,
}

impl Connections {
    pub(super) fn new(app: Arc<App>, stopping: CancellationToken) -> Self {
        let room = Arc::new(Semaphore::new(app.limits.connections));
        let local_room = Arc::new(Semaphore::new(app.limits.connections.min(LOCAL_CONNECTIONS)));
        Self { app, room, local_room, tasks: TaskTracker::new(), stopping, closing: CancellationToken::new() }
    }

    /// Waits for room for one more connection over TCP; `None` when no more are taken.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.in_room(&self.room).await
    }

    /// The same over the socket.
    pub(super) async fn local_room(&self) -> Option<OwnedSemaphorePermit> {
        self.in_room(&self.local_room).await
    }

    async fn in_room(&self, room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            room = Arc::clone(room).acquire_owned() => room.ok(),
        }
    }

    pub(super) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Serves a TCP connection, over TLS if there is an acceptor.
    pub(super) fn serve_tcp(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        room: OwnedSemaphorePermit,
    ) {
        let Some(tls) = tls else {
            return self.serve(stream, Peer::Tcp { address, tls: false, certificate: None }, room);
        };
        let (app, stopping, closing) = self.handles();
        self.tasks.spawn(async move {
            match tokio::time::timeout(app.limits.head_timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                    let certificate = shown.and_then(|shown| ProvenCertificate::read(shown)).map(Arc::new);
                    let peer = Peer::Tcp { address, tls: true, certificate };
                    run(app, stream, peer, stopping, closing).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
            drop(room);
        });
    }

    /// Serves a connection.
    pub(super) fn serve<S>(&self, stream: S, peer: Peer, room: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (app, stopping, closing) = self.handles();
        self.tasks.spawn(async move {
            run(app, stream, peer, stopping, closing).await;
            drop(room);
        });
    }

    /// Waits until every connection is done by itself.
    pub(super) async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Closes every connection, answered or not.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.wait().await;
    }

    fn handles(&self) -> (Arc<App>, CancellationToken, CancellationToken) {
        (Arc::clone(&self.app), self.stopping.clone(), self.closing.clone())
    }
}

async fn run<S>(app: Arc<App>, stream: S, peer: Peer, stopping: CancellationToken, closing: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = app.limits.clone();
    let (owner, source, served) = (Arc::clone(&app), peer.clone(), AtomicUsize::new(0));
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, peer) = (Arc::clone(&app), peer.clone());
        let is_last = served.fetch_add(1, Ordering::Relaxed) + 1 >= app.limits.requests;
        async move {
            let mut response = handle(app, peer, request.map(Body::new)).await;
            if is_last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes.max(8 * 1024))
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut asked_to_finish = false;
    loop {
        tokio::select! {
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection broke off");
                    if error.is_parse() {
                        // Answered 400 or 431 before a request was seen: it counts as a knock like any other.
                        let code = if error.is_parse_too_large() { "head_too_large" } else { "malformed_request" };
                        tally_knock(&owner, &source, code).await;
                    }
                }
                return;
            }
            () = stopping.cancelled(), if !asked_to_finish => {
                asked_to_finish = true;
                connection.as_mut().graceful_shutdown();
            }
            () = closing.cancelled() => return,
        }
    }
}
