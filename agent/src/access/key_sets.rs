//! The keys of all providers: at hand from the first request on, and read in the background for as long as the agent runs.
//! No request ever waits for one of these readings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use outpost_disk::Clock;
use outpost_serve::Identities;
use outpost_sync::BackOff;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::LOOK_EVERY;
use super::key_set::{KeySet, Within};
use super::schedule::{Pace, Schedule};
use crate::config::{KeySource, Oidc};

/// How long one reading over the network may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits after an address could not be read.
const BACK_OFF: BackOff = BackOff { base: Duration::from_secs(5), cap: Duration::from_secs(15 * 60) };

/// The most that strangers with unknown keys can make a device ask a provider.
const AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// The key sets of the configured providers.
#[derive(Debug)]
pub(crate) struct KeySets {
    pub(super) sets: Vec<KeySet>,
    pub(super) within: Within,
    pub(super) back_off: BackOff,
    pub(super) at_most_every: Duration,
}

impl KeySets {
    /// With the keys that an earlier run kept in `ledgers`, which count when this returns.
    ///
    /// # Errors
    /// If a provider does not say where its keys come from.
    pub(crate) fn open(
        providers: &[Oidc],
        ledgers: &Path,
        identities: &Arc<Identities>,
        clock: &Clock,
    ) -> Result<Self> {
        // An issuer may stand there for several audiences; its keys are one set.
        let mut sources = BTreeMap::new();
        for provider in providers {
            sources.insert(provider.issuer.as_str(), provider.key_source()?);
        }
        let within = Within { identities: Arc::clone(identities), clock: clock.clone(), patience: PATIENCE };
        let sets = sources.into_iter().map(|(issuer, source)| KeySet::open(issuer, source, ledgers, &within)).collect();
        Ok(Self { sets, within, back_off: BACK_OFF, at_most_every: AT_MOST_EVERY })
    }

    /// Reads the sets until told to stop.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        if self.sets.is_empty() {
            return;
        }
        let identities = Arc::clone(&self.within.identities);
        let mut wanted = Vec::new();
        let mut watching = JoinSet::new();
        for set in self.sets {
            let pace = match &set.source {
                KeySource::File(_) => {
                    let back_off = BackOff { base: LOOK_EVERY, cap: LOOK_EVERY };
                    Pace { refresh: LOOK_EVERY, back_off, at_most_every: LOOK_EVERY / 10 }
                }
                KeySource::Address(address) => {
                    let (back_off, at_most_every) = (self.back_off, self.at_most_every);
                    Pace { refresh: address.refresh, back_off, at_most_every }
                }
            };
            let notify = Arc::new(Notify::new());
            wanted.push(Arc::clone(&notify));
            watching.spawn(keep_reading(set, pace, notify, self.within.clone(), stop.clone()));
        }
        loop {
            tokio::select! {
                // First, for when everybody stops at once.
                biased;
                () = stop.cancelled() => break,
                () = identities.keys_wanted() => wanted.iter().for_each(|set| set.notify_one()),
                Some(ended) = watching.join_next() => {
                    let error = ended.err().map(|error| error.to_string());
                    tracing::error!(error, "a bug: a provider's keys are not read any more");
                }
            }
        }
        while watching.join_next().await.is_some() {}
    }
}

async fn keep_reading(mut set: KeySet, pace: Pace, wanted: Arc<Notify>, within: Within, stop: CancellationToken) {
    let mut schedule = Schedule::new(pace, Instant::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(schedule.due()) => {}
            () = wanted.notified() => {
                schedule.want();
                continue;
            }
        }
        let Some(read) = stop.run_until_cancelled(set.read(&within)).await else { return };
        if set.take(read, &within).await {
            schedule.read(Instant::now());
        } else {
            schedule.failed(Instant::now());
        }
    }
}
