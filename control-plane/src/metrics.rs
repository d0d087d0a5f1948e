//! What is measured of the control plane and its fleet, for Prometheus. Labels are names of routes, states, reasons and hooks,
//! never what a device or a caller wrote, but for models and versions, of which a bounded number is told apart.
//!
//! What is counted as it happens (requests, messages) costs nothing to read. What is gathered from the database is gathered at
//! most every few seconds, whoever asks; what is read from the mirrors of all devices is read beside, and its age is told.

mod gather;
pub(crate) mod names;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use outpost_metrics::{Counters, Histograms, Page};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::fleet::{Fleet, FleetError};
use gather::{Gathered, Mirrors};

/// How long what was gathered counts at least, and how many times as long as it took.
const FRESH: Duration = Duration::from_secs(5);
const REST: u32 = 9;

/// The same for what is read from the mirrors.
const MIRRORS_FRESH: Duration = Duration::from_secs(300);
const MIRRORS_REST: u32 = 99;

const REQUEST_S: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const TRANSACTION_S: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Counters,
    request_seconds: Histograms,
    messages: Counters,
    transaction_seconds: Histograms,
    gathered: Mutex<Option<Kept<Gathered>>>,
    mirrors: Arc<Mutex<Option<Kept<Mirrors>>>>,
}

#[derive(Debug)]
struct Kept<T> {
    value: Arc<T>,
    made: Instant,
    good_until: Instant,
}

impl<T> Kept<T> {
    fn new(value: T, began: Instant, fresh: Duration, rest: u32) -> Self {
        let made = Instant::now();
        Self { value: Arc::new(value), made, good_until: made + fresh.max((made - began) * rest) }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Counters::default(),
            request_seconds: Histograms::new(REQUEST_S),
            messages: Counters::default(),
            transaction_seconds: Histograms::new(TRANSACTION_S),
            gathered: Mutex::default(),
            mirrors: Arc::default(),
        }
    }
}

impl Metrics {
    /// A device said something of a kind (`reported`, `event`), which was taken in or not.
    pub(crate) fn message(&self, kind: &str, is_kept: bool) {
        self.messages.add(&[kind, if is_kept { "kept" } else { "failed" }], 1);
    }

    /// Messages were taken in, in one transaction.
    pub(crate) fn transaction(&self, took: Duration) {
        self.transaction_seconds.time(&[], took);
    }
}

/// Counts a request by its route, not by its address, and how long it took to answer.
pub(crate) async fn measured(State(fleet): State<Fleet>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let began = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let metrics = &fleet.inner.metrics;
    metrics.requests.add(&[route, response.status().as_str()], 1);
    metrics.request_seconds.time(&[route], began.elapsed());
    response
}

impl Fleet {
    /// The page that Prometheus reads.
    ///
    /// # Errors
    /// If the database fails.
    pub(crate) async fn metrics_page(&self) -> Result<String, FleetError> {
        let gathered = self.gathered().await?;
        let mirrors = self.mirrors_seen().await;
        let metrics = &self.inner.metrics;
        let mut page = Page::default();
        gathered.write(&mut page);
        if let Some((mirrors, age)) = mirrors {
            mirrors.write(&mut page, age);
        }
        metrics.requests.write(&mut page, names::REQUESTS, "Requests, by route and status.", &["route", "status"]);
        let help = "From a request to the beginning of its answer.";
        metrics.request_seconds.write(&mut page, names::REQUEST_SECONDS, help, &["route"]);
        let help = "Messages of devices, by kind and whether they were kept.";
        metrics.messages.write(&mut page, names::MESSAGES, help, &["kind", "outcome"]);
        let help = "Taking in what waited, in one transaction.";
        metrics.transaction_seconds.write(&mut page, names::TRANSACTION_SECONDS, help, &[]);
        Ok(page.into_text())
    }

    /// What the database says; whoever comes while it is gathered waits for that.
    async fn gathered(&self) -> Result<Arc<Gathered>, FleetError> {
        let mut kept = self.inner.metrics.gathered.lock().await;
        let began = Instant::now();
        if let Some(kept) = kept.as_ref().filter(|kept| began < kept.good_until) {
            return Ok(Arc::clone(&kept.value));
        }
        let new = Kept::new(self.run(Gathered::of).await?, began, FRESH, REST);
        Ok(Arc::clone(&kept.insert(new).value))
    }

    /// What the mirrors last said, and how long ago. If that is old, they are asked again, and nobody waits for it.
    async fn mirrors_seen(&self) -> Option<(Arc<Mirrors>, Duration)> {
        let kept = Arc::clone(&self.inner.metrics.mirrors);
        // Held while they are asked: nobody asks them twice.
        let Ok(guard) = Arc::clone(&kept).try_lock_owned() else { return None };
        let seen = guard.as_ref().map(|kept| (Arc::clone(&kept.value), kept.made.elapsed()));
        if guard.as_ref().is_none_or(|kept| Instant::now() >= kept.good_until) {
            let fleet = self.clone();
            tokio::spawn(async move {
                let (mut guard, began) = (guard, Instant::now());
                match fleet.run(Mirrors::of).await {
                    Ok(mirrors) => *guard = Some(Kept::new(mirrors, began, MIRRORS_FRESH, MIRRORS_REST)),
                    Err(error) => tracing::error!(%error, "the mirrors of audit logs cannot be measured"),
                }
            });
        }
        seen
    }
}
