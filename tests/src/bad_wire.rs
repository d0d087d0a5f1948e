//! A wire that breaks: passes TCP connections on, counts what passes, and cuts them when a budget of bytes is used up.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Bytes after which a slow wire pauses.
const SLICE_BYTES: u64 = 64 * 1024;

/// What passed, and what is still to be cut.
#[derive(Debug, Default)]
struct Traffic {
    /// Bytes in both directions.
    bytes: AtomicU64,
    cuts: AtomicU64,
    /// Bytes until each next cut.
    budgets: Mutex<VecDeque<u64>>,
    /// Bytes per second of each connection; 0 for as fast as it goes.
    bytes_per_s: AtomicU64,
    /// Whatever is connected when this is told breaks.
    cut: Notify,
}

/// The wire. Dropping it cuts every connection for good.
#[derive(Debug)]
pub struct BadWire {
    address: SocketAddr,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
}

impl BadWire {
    /// Takes connections on `listener` and passes them on to `target`. Each budget is a number of bytes, both directions
    /// counted, after which whatever is connected is cut in the middle; when all are used up, nothing is cut any more.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn lay(listener: TcpListener, target: SocketAddr, budgets: impl IntoIterator<Item = u64>) -> Result<Self> {
        let address = listener.local_addr()?;
        let traffic = Arc::new(Traffic { budgets: Mutex::new(budgets.into_iter().collect()), ..Traffic::default() });
        let stop = CancellationToken::new();
        let (shared, stopped) = (Arc::clone(&traffic), stop.clone());
        tokio::spawn(async move {
            let accepting = async {
                while let Ok((near, _)) = listener.accept().await {
                    let (traffic, stopped) = (Arc::clone(&shared), stopped.clone());
                    tokio::spawn(async move {
                        let _ = stopped.run_until_cancelled(pass_on(near, target, traffic)).await;
                    });
                }
            };
            let _ = stopped.run_until_cancelled(accepting).await;
        });
        Ok(Self { address, traffic, stop })
    }

    /// Where it takes connections.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that passed so far, both directions, what TLS and handshakes add included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.traffic.bytes.load(Ordering::Relaxed)
    }

    /// From now on no connection is faster than so many bytes per second.
    pub fn slow_down(&self, bytes_per_s: u64) {
        self.traffic.bytes_per_s.store(bytes_per_s, Ordering::Relaxed);
    }

    /// Cuts whatever is connected at this moment.
    pub fn cut_now(&self) {
        self.traffic.cuts.fetch_add(1, Ordering::Relaxed);
        self.traffic.cut.notify_waiters();
    }

    /// Cuts so far.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.traffic.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for BadWire {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Passes one connection on until either side ends it or its budget is used up.
async fn pass_on(near: TcpStream, target: SocketAddr, traffic: Arc<Traffic>) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // Whichever direction ends first takes the other with it: a cut wire is cut both ways.
    tokio::select! {
        () = carry(near_in, far_out, &traffic) => {}
        () = carry(far_in, near_out, &traffic) => {}
        () = traffic.cut.notified() => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, traffic: &Traffic) {
    let mut buffer = vec![0; 4096];
    let mut ahead = 0;
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 || traffic.spend(count as u64) {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        let bytes_per_s = traffic.bytes_per_s.load(Ordering::Relaxed);
        ahead += count as u64;
        // A timer cannot wait for the microseconds of one piece.
        if bytes_per_s > 0 && ahead >= SLICE_BYTES {
            sleep(Duration::from_micros(ahead * 1_000_000 / bytes_per_s)).await;
            ahead = 0;
        }
    }
}

impl Traffic {
    /// Counts; true if the wire breaks now, and these bytes are lost on it.
    fn spend(&self, bytes: u64) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(budget) = budgets.front_mut() else { return false };
        *budget = budget.saturating_sub(bytes);
        let breaks = *budget == 0;
        if breaks {
            budgets.pop_front();
            self.cuts.fetch_add(1, Ordering::Relaxed);
        }
        breaks
    }
}
