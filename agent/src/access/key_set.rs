//! The keys of one provider: where they come from, which are known, and the copy on disk that outlives a network.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use outpost_disk::{Clock, Ledger};
use outpost_serve::Identities;
use outpost_serve::identify::ProviderKeys;
use sha2::{Digest, Sha256};

use super::fetch;
use crate::config::{KeyAddress, KeySource};

/// How long a key counts after it left a provider's set: longer than any access token lives.
const KEEP_REMOVED_S: i64 = 24 * 3600;

/// How much of a failure is written into the log: part of it may be somebody else's words.
const TOLD_CHARACTERS: usize = 500;

/// One provider's keys.
#[derive(Debug)]
pub(super) struct KeySet {
    pub(super) issuer: String,
    pub(super) source: KeySource,
    known: ProviderKeys,
    /// The copy on disk; none of a file, which is there itself.
    kept: Option<Arc<Mutex<Ledger<ProviderKeys>>>>,
    /// The failure that the log tells already.
    told: Option<String>,
}

impl KeySet {
    /// With the keys that an earlier run kept, which count from now on.
    pub(super) fn open(issuer: &str, source: KeySource, ledgers: &Path, within: &Within) -> Self {
        let (kept, earlier) = match &source {
            KeySource::File(_) => (None, None),
            KeySource::Address(address) => kept(issuer, address, ledgers),
        };
        let mut set = Self { issuer: issuer.to_owned(), source, known: ProviderKeys::default(), kept, told: None };
        if let Some(mut keys) = earlier {
            // Keys from the future would never grow old.
            keys.fetched_s = keys.fetched_s.min(within.clock.now_s());
            set.know(keys.without_expired(within.clock.now_s(), KEEP_REMOVED_S), within);
        }
        set
    }

    /// What the source holds now. Only this may take long, and may be broken off.
    pub(super) async fn read(&self, within: &Within) -> Result<Vec<u8>> {
        match &self.source {
            KeySource::File(path) => fetch::file(path).await,
            KeySource::Address(address) => fetch::address(address, &within.clock, within.patience).await,
        }
    }

    /// Takes in what was read; what cannot be used leaves what was known. Tells whether it could be used.
    pub(super) async fn take(&mut self, read: Result<Vec<u8>>, within: &Within) -> bool {
        let now_s = within.clock.now_s();
        let updated = read.and_then(|jwks| Ok(self.known.updated(&jwks, now_s, KEEP_REMOVED_S)?));
        let was_read = updated.is_ok();
        match updated {
            Ok(keys) => {
                self.know(keys, within);
                if self.told.take().is_some() {
                    tracing::info!(issuer = self.issuer, "a provider's keys are read again");
                }
            }
            Err(error) => {
                self.tell(&format!("{error:#}"));
                let left = self.known.without_expired(now_s, KEEP_REMOVED_S);
                if left != self.known {
                    self.know(left, within);
                }
            }
        }
        if let Some(kept) = self.kept.clone() {
            self.keep(kept, was_read, within.clock.clone()).await;
        }
        was_read
    }

    fn know(&mut self, keys: ProviderKeys, within: &Within) {
        within.identities.set_provider_keys(&self.issuer, &keys);
        self.known = keys;
    }

    /// Keeps what was read on disk, and the time in any case: a box without a battery must not wake up earlier than now and
    /// take its keys for younger than they are.
    async fn keep(&self, kept: Arc<Mutex<Ledger<ProviderKeys>>>, was_read: bool, clock: Clock) {
        let keys = was_read.then(|| self.known.clone());
        let writing = tokio::task::spawn_blocking(move || -> Result<()> {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let committed = keys.map_or(Ok(()), |keys| kept.commit(&keys));
            Ok(clock.persist().and(committed)?)
        });
        if let Err(error) = writing.await.map_err(anyhow::Error::new).flatten() {
            tracing::error!(
                issuer = self.issuer,
                error = format!("{error:#}"),
                "a provider's keys are not kept: a restart will need the network"
            );
        }
    }

    /// Says why the set cannot be read; once, not at every attempt.
    fn tell(&mut self, failure: &str) {
        let failure: String = failure.chars().take(TOLD_CHARACTERS).collect();
        if self.told.as_ref() != Some(&failure) {
            tracing::warn!(
                issuer = self.issuer,
                error = failure,
                "a provider's keys are not read: the known ones count"
            );
            self.told = Some(failure);
        }
    }
}

/// What key sets need of the device.
#[derive(Debug, Clone)]
pub(super) struct Within {
    pub(super) identities: Arc<Identities>,
    pub(super) clock: Clock,
    /// How long one reading over the network may take.
    pub(super) patience: Duration,
}

type Kept = (Option<Arc<Mutex<Ledger<ProviderKeys>>>>, Option<ProviderKeys>);

/// The copy on disk. One that is damaged stops nobody: the provider has the original.
fn kept(issuer: &str, address: &KeyAddress, ledgers: &Path) -> Kept {
    match Ledger::open(ledgers, &name(issuer, address)) {
        Ok((ledger, keys)) => (Some(Arc::new(Mutex::new(ledger))), keys),
        Err(error) => {
            tracing::error!(
                issuer,
                %error,
                "the kept keys of a provider cannot be used, and none are kept: remove their files"
            );
            (None, None)
        }
    }
}

/// The name of a provider's ledger. What another address told is not this provider's word.
pub(super) fn name(issuer: &str, address: &KeyAddress) -> String {
    format!("oidc-{}", hex::encode(Sha256::digest(format!("{issuer}\n{}", address.url))))
}
