//! What many viewers look at and what is dear to make: made once for all of them, and seldom when it is dear.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::overview::OverviewPage;
use crate::audit::MirrorSummary;
use crate::fleet::{Fleet, FleetError};

/// How long a value counts at least.
const FRESH: Duration = Duration::from_secs(1);

/// A value that took long counts for so many times as long: making it takes a tenth of one core at the most.
const REST: u32 = 9;

/// The two views that go over the whole fleet.
#[derive(Debug, Default)]
pub(super) struct Boards {
    pub(super) overview: Cached<OverviewPage>,
    pub(super) mirrors: Cached<Vec<MirrorSummary>>,
}

/// A value that is made when it is asked for and too old.
#[derive(Debug)]
pub(super) struct Cached<T> {
    kept: Mutex<Option<Kept<T>>>,
}

#[derive(Debug)]
struct Kept<T> {
    value: Arc<T>,
    good_until: Instant,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self { kept: Mutex::new(None) }
    }
}

impl<T: Send + Sync + 'static> Cached<T> {
    /// The value, made by `make` unless there is a fresh one. Who comes while it is made waits for that one.
    pub(super) async fn get(
        &self,
        fleet: &Fleet,
        make: impl FnOnce(&Fleet) -> Result<T, FleetError> + Send + 'static,
    ) -> Result<Arc<T>, FleetError> {
        let mut kept = self.kept.lock().await;
        let began = Instant::now();
        if let Some(kept) = kept.as_ref().filter(|kept| began < kept.good_until) {
            return Ok(Arc::clone(&kept.value));
        }
        let value = Arc::new(fleet.run(make).await?);
        let now = Instant::now();
        let good_until = now + FRESH.max((now - began) * REST);
        *kept = Some(Kept { value: Arc::clone(&value), good_until });
        Ok(value)
    }
}
