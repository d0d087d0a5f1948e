//! What the server listens on and the ceilings it keeps.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::Trace;

/// Where to listen, for whom.
#[derive(Debug, Clone, Default)]
pub struct ServeConfig {
    /// TCP address; port 0 takes a free one. Beyond loopback only with [`tls`](Self::tls).
    pub tcp: Option<SocketAddr>,
    /// Unix socket; whoever connects is identified by the kernel.
    pub unix: Option<PathBuf>,
    /// One more Unix socket, opened by whoever started this program: callers wait in it while no server runs.
    pub handed: Option<Arc<UnixListener>>,
    /// Certificate and key for the TCP address.
    pub tls: Option<TlsFiles>,
    /// Names, besides `localhost`, `127.0.0.1` and `[::1]`, under which browsers and clients may address this server.
    pub hosts: Vec<String>,
    /// Web origins, as in `https://console.example`, whose pages may call; none unless told.
    pub origins: Vec<String>,
    /// Ceilings.
    pub limits: Limits,
    /// Where the course of each answer is told; nowhere if not said. What does not fit into the channel is dropped.
    pub traces: Option<mpsc::Sender<Trace>>,
}

/// PEM files of a TLS server.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Authorities whose client certificates are asked for; none are, without.
    pub client_authorities: Option<PathBuf>,
}

/// Ceilings on what a caller can take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest request body, bytes.
    pub body_bytes: usize,
    /// Largest request head, bytes; a token of the largest accepted size still fits.
    pub head_bytes: usize,
    /// How long a client may take to send the head of a request, or to start the next one.
    pub head_timeout: Duration,
    /// How long a client may take to send the body.
    pub body_timeout: Duration,
    /// How long a client may leave an answer unread before it counts as gone.
    pub stall_timeout: Duration,
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Requests over one connection; it is closed after the last of them.
    pub requests: usize,
    /// Answers being generated at once; more wait for their turn.
    pub generations: usize,
    /// Requests that may wait; more are refused with 503 and `Retry-After`.
    pub waiting: usize,
    /// Requests of one caller that may wait; more are refused with 429 and `Retry-After`.
    pub waiting_per_tenant: usize,
    /// Whoever would have to wait longer, as far as can be foreseen, is refused at once with 503 and `Retry-After`.
    pub start_within: Duration,
    /// How long answers that are being given may go on when the server shuts down.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 * 1024 * 1024,
            head_bytes: 64 * 1024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            connections: 512,
            requests: 10_000,
            generations: 64,
            waiting: 256,
            waiting_per_tenant: 32,
            start_within: Duration::from_secs(60),
            drain: Duration::from_secs(20),
        }
    }
}
