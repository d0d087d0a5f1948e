//! Who may send how much and when: every chunk, over whatever wire, asks here first.

mod bucket;
mod line;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outpost_contract::DeviceId;
use outpost_contract::limits::CHUNK_BYTES;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

pub(crate) use line::Priority;
use line::{Line, Next, Ticket};

/// Bytes per second that may leave; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// For all devices together.
    pub fleet: u64,
    /// For the devices of one site together.
    pub site: u64,
    /// For one device.
    pub device: u64,
}

/// Says which site a device is at.
type Sites = Arc<dyn Fn(&DeviceId) -> Option<String> + Send + Sync>;

/// The line that all devices share. Clones share it, so that MQTT and HTTPS draw from the same rates; somebody must
/// [`run`](Self::run) it.
#[derive(Clone)]
pub(crate) struct Shares {
    line: Arc<Mutex<Line<oneshot::Sender<()>>>>,
    asked: Arc<Notify>,
    sites: Sites,
    began: Instant,
}

impl std::fmt::Debug for Shares {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shares").finish_non_exhaustive()
    }
}

impl Shares {
    pub(crate) fn new(rates: Rates, sites: impl Fn(&DeviceId) -> Option<String> + Send + Sync + 'static) -> Self {
        let line = Arc::new(Mutex::new(Line::new(rates)));
        Self { line, asked: Arc::new(Notify::new()), sites: Arc::new(sites), began: Instant::now() }
    }

    /// Waits for the device's turn to send this many bytes: call it before each chunk, and send once it returns. Dropping
    /// the future gives the place up.
    pub(crate) async fn take(&self, device: &DeviceId, bytes: u32, priority: Priority) {
        let site = (self.sites)(device);
        let mut left = bytes as usize;
        while left > 0 {
            // Nobody holds the line for longer than a chunk.
            let part = left.min(CHUNK_BYTES);
            let (payload, granted) = oneshot::channel();
            let (device, site) = (device.clone(), site.clone());
            self.line().put(Ticket { device, site, bytes: part as u64, priority, payload }, self.now());
            self.asked.notify_one();
            if granted.await.is_err() {
                // Nobody runs the line any more: the server stops, and so does whoever asked.
                return std::future::pending().await;
            }
            left -= part;
        }
    }

    /// How long the device's next chunk waits at least, if it asks now or has asked.
    pub(crate) fn wait(&self, device: &DeviceId, priority: Priority) -> Duration {
        let site = (self.sites)(device);
        self.line().wait(device, site.as_deref(), priority, self.now())
    }

    /// What was taken and not sent.
    pub(crate) fn give_back(&self, device: &DeviceId, bytes: u32) {
        let site = (self.sites)(device);
        self.line().give_back(device, site.as_deref(), u64::from(bytes));
        self.asked.notify_one();
    }

    /// Grants turns as they come, without end.
    pub(crate) async fn run(self) {
        loop {
            let next = self.line().next(self.now());
            match next {
                Next::Grant(ticket) => {
                    if ticket.payload.send(()).is_err() {
                        self.line().give_back(&ticket.device, ticket.site.as_deref(), ticket.bytes);
                    }
                }
                Next::In(wait) => {
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = self.asked.notified() => {}
                    }
                }
                Next::Idle => self.asked.notified().await,
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn line(&self) -> MutexGuard<'_, Line<oneshot::Sender<()>>> {
        // Every method leaves the line whole, so a panic elsewhere cannot have left it half changed.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u32 = CHUNK_BYTES as u32;

    #[tokio::test(start_paused = true)]
    async fn a_policy_overtakes_two_models_on_a_slow_line() {
        let rates = Rates { fleet: 128 * 1024, ..Rates::default() };
        let shares = Shares::new(rates, |_| None);
        let driver = tokio::spawn(shares.clone().run());
        let mut pulls = Vec::new();
        for device in ["till-1", "till-2"] {
            let (shares, device) = (shares.clone(), device.parse::<DeviceId>().unwrap());
            pulls.push(tokio::spawn(async move {
                loop {
                    shares.take(&device, CHUNK, Priority::Model).await;
                }
            }));
        }
        tokio::time::sleep(Duration::from_secs(11)).await;
        let asked = Instant::now();
        shares.take(&"till-1".parse().unwrap(), 40_000, Priority::Small).await;
        assert!(asked.elapsed() <= Duration::from_secs(2), "{:?}", asked.elapsed());
        driver.abort();
        pulls.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_dropped_while_it_waited_costs_the_others_nothing() {
        let rates = Rates { fleet: u64::from(CHUNK), ..Rates::default() };
        let shares = Shares::new(rates, |_| None);
        let driver = tokio::spawn(shares.clone().run());
        let (one, two) = ("till-1".parse().unwrap(), "till-2".parse().unwrap());
        shares.take(&one, CHUNK, Priority::Model).await;
        let began = Instant::now();
        let given_up = tokio::time::timeout(Duration::from_millis(10), shares.take(&one, CHUNK, Priority::Model));
        assert!(given_up.await.is_err());
        shares.take(&two, CHUNK, Priority::Model).await;
        assert!(began.elapsed() <= Duration::from_millis(1100), "{:?}", began.elapsed());
        driver.abort();
    }
}
