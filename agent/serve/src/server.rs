//! Sockets in, connections served, and an orderly end: what was begun is ended, or recorded as given up.

mod connection;
mod unix;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, Serving};
use crate::gate::Gate;
use crate::handle::failure_record;
use crate::identify::{Failures, Peer, WINDOW};
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::quota::Quotas;
use crate::tls::{DeviceTime, LOOK_EVERY, Tls, TlsError};
use crate::{ServeConfig, router};

use connection::Connections;

/// A pause after the system refused a connection, so that a full file table is not met by a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a taken address is tried again.
const BIND_PATIENCE: Duration = Duration::from_secs(2);

/// How long what was given up at shutdown may take to be recorded.
const LAST_RECORDS: Duration = Duration::from_secs(10);

/// A server that listens and does not answer yet.
pub struct Server {
    config: ServeConfig,
    tcp: Option<TcpListener>,
    tls: Option<Arc<Tls>>,
    time: DeviceTime,
    unix: Option<unix::OwnedListener>,
    handed: Option<UnixListener>,
}

/// A server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Neither a TCP address nor a Unix socket.
    #[error("nothing to listen on: name a TCP address or a Unix socket")]
    Nowhere,
    /// Anybody on the network could read along.
    #[error(
        "refusing to listen on `{0}` without TLS: callers' tokens and answers would cross the network in the open; \
         give a certificate and a key, or listen on 127.0.0.1"
    )]
    PublicWithoutTls(SocketAddr),
    /// The TCP address.
    #[error("cannot listen on `{address}`: {source}; another program may hold it")]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Unix socket.
    #[error("cannot listen on the socket `{}`: {source}", path.display())]
    Unix {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Unix socket that was handed over.
    #[error("cannot listen on the socket that was handed over: {0}")]
    Handed(std::io::Error),
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts to listen; connections wait until [`serve`](Self::serve). Needs a tokio runtime.
    ///
    /// # Errors
    /// If an address is taken, TLS cannot be set up, or the address is beyond loopback without TLS.
    pub async fn bind(config: ServeConfig) -> Result<Self, BindError> {
        if config.tcp.is_none() && config.unix.is_none() && config.handed.is_none() {
            return Err(BindError::Nowhere);
        }
        let time = DeviceTime::default();
        let tls = config.tls.as_ref().map(|files| Tls::read(files, time.clone()).map(Arc::new)).transpose()?;
        let tcp = match config.tcp {
            None => None,
            Some(address) if tls.is_none() && !address.ip().to_canonical().is_loopback() => {
                return Err(BindError::PublicWithoutTls(address));
            }
            Some(address) => {
                let listener = bind_soon(|| TcpListener::bind(address)).await;
                Some(listener.map_err(|source| BindError::Tcp { address, source })?)
            }
        };
        let unix = match &config.unix {
            None => None,
            Some(path) => {
                let listener = bind_soon(|| async { unix::OwnedListener::bind(path) }).await;
                Some(listener.map_err(|source| BindError::Unix { path: path.clone(), source })?)
            }
        };
        let again = |handed: &Arc<std::os::unix::net::UnixListener>| UnixListener::from_std(handed.try_clone()?);
        let handed = config.handed.as_ref().map(again).transpose().map_err(BindError::Handed)?;
        Ok(Self { config, tcp, tls, time, unix, handed })
    }

    /// The TCP address, with the port that was taken.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The Unix socket.
    #[must_use]
    pub fn unix_path(&self) -> Option<&std::path::Path> {
        self.config.unix.as_deref()
    }

    /// Serves until `shutdown` completes; then takes no more, lets answers go on for as long as the limits say, gives
    /// up the rest, and returns when all of it is on record.
    pub async fn serve(self, serving: Serving, shutdown: impl Future<Output = ()> + Send) {
        let Self { config, tcp, tls, time, unix, handed } = self;
        time.set(Arc::clone(&serving.circumstances));
        let quotas = match Quotas::load(&serving.audit, serving.audit.moment()) {
            Ok(quotas) => quotas,
            Err(error) => {
                // Whoever does not know what was used cannot keep a limit.
                tracing::error!(%error, "what was used before cannot be read: nothing is served");
                return;
            }
        };
        let app = Arc::new(App {
            gate: Gate::new(&config.hosts, &config.origins),
            failures: Failures::default(),
            responses: crate::api::openai::Responses::default(),
            queue: Queue::new(&config.limits),
            quotas,
            metrics: Metrics::new(config.traces),
            tasks: TaskTracker::new(),
            giving_up: CancellationToken::new(),
            router: router::router(),
            tls: tls.clone(),
            limits: config.limits,
            serving,
        });
        let stopping = CancellationToken::new();
        let connections = Connections::new(Arc::clone(&app), stopping.clone());
        tokio::join!(
            accept_tcp(tcp, tls, &connections),
            accept_unix(unix.as_ref().map(|unix| &unix.listener), &connections),
            accept_unix(handed.as_ref(), &connections),
            sweep_failures(&app, &stopping),
            watch_certificate(&app, &stopping),
            async {
                shutdown.await;
                stopping.cancel();
            },
        );
        finish(&app, &connections).await;
    }
}

/// Binds, and waits a moment for another to let go of the address: a killed agent's sockets live on for a moment in a child
/// that it was starting.
async fn bind_soon<T, F: Future<Output = std::io::Result<T>>>(bind: impl Fn() -> F) -> std::io::Result<T> {
    let until = Instant::now() + BIND_PATIENCE;
    loop {
        match bind().await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < until => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn accept_tcp(listener: Option<TcpListener>, tls: Option<Arc<Tls>>, connections: &Connections) {
    let Some(listener) = listener else { return };
    while let Some(room) = connections.room().await {
        let accepted = tokio::select! {
            () = connections.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                // Tokens are small and wanted at once.
                let _ = stream.set_nodelay(true);
                let acceptor = tls.as_ref().map(|tls| tls.acceptor());
                connections.serve_tcp(stream, address, acceptor, room);
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn accept_unix(listener: Option<&UnixListener>, connections: &Connections) {
    let Some(listener) = listener else { return };
    while let Some(room) = connections.local_room().await {
        let accepted = tokio::select! {
            () = connections.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                connections.serve(stream, Peer::Unix { uid }, room);
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn refused(error: &std::io::Error) {
    tracing::warn!(%error, "the system refused a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Records what was only counted, once its window is over.
async fn sweep_failures(app: &App, stopping: &CancellationToken) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(WINDOW) => {}
        }
        for tally in app.failures.sweep(Instant::now()) {
            record_failures(app, &tally).await;
        }
    }
}

/// Looks whether the certificate's files have changed, for as long as the server lives.
async fn watch_certificate(app: &App, stopping: &CancellationToken) {
    let Some(tls) = &app.tls else { return };
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let tls = Arc::clone(tls);
        if let Err(error) = tokio::task::spawn_blocking(move || tls.look()).await {
            tracing::error!(%error, "a bug: looking at the TLS certificate panicked");
        }
    }
}

async fn record_failures(app: &App, tally: &crate::identify::Tally) {
    if let Err(error) = app.serving.audit.append(failure_record(tally)).await {
        tracing::error!(%error, source = tally.source, count = tally.count(), "failures to identify were not recorded");
    }
}

async fn finish(app: &App, connections: &Connections) {
    app.tasks.close();
    let drained = async {
        app.tasks.wait().await;
        connections.wait().await;
    };
    if tokio::time::timeout(app.limits.drain, drained).await.is_err() {
        tracing::warn!("giving up the answers that are still being given");
        app.giving_up.cancel();
        let recorded = async {
            app.tasks.wait().await;
            connections.close().await;
            // Calls that were cut off have said so.
            app.tasks.wait().await;
        };
        if tokio::time::timeout(LAST_RECORDS, recorded).await.is_err() {
            tracing::error!("not everything that was given up could be recorded in time; the next start records it");
        }
    }
    for tally in app.failures.drain() {
        record_failures(app, &tally).await;
    }
}
