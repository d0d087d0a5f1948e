//! One connection: HTTP/1.1 with bounds on head, time and number.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
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
use crate::handle::handle;
use crate::identify::Peer;

/// The connections there are.
pub(super) struct Connections {
    app: Arc<App>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    closing: CancellationToken,
}

impl Connections {
    pub(super) fn new(app: Arc<App>, stopping: CancellationToken) -> Self {
        let room = Arc::new(Semaphore::new(app.limits.connections));
        Self { app, room, tasks: TaskTracker::new(), stopping, closing: CancellationToken::new() }
    }

    /// Waits for room for one more connection; `None` when no more are taken.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            room = Arc::clone(&self.room).acquire_owned() => room.ok(),
        }
    }

    pub(super) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Serves a TCP connection, over TLS if there is an acceptor.
    pub(super) fn serve_tcp(
        &self,
        stream: TcpStream,
        peer: Peer,
        tls: Option<TlsAcceptor>,
        room: OwnedSemaphorePermit,
    ) {
        let Some(tls) = tls else { return self.serve(stream, peer, room) };
        let (app, stopping, closing) = self.handles();
        self.tasks.spawn(async move {
            match tokio::time::timeout(app.limits.head_timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => run(app, stream, peer, stopping, closing).await,
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
    let service = service_fn(move |request: Request<Incoming>| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(handle(app, peer, request.map(Body::new)).await) }
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
