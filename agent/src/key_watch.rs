//! Records each local API key that is made or revoked while the agent runs, whoever did it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use outpost_audit::{AuditLog, Kind, Record};
use outpost_serve::ApiKeys;
use outpost_serve::identify::ApiKey;
use tokio_util::sync::CancellationToken;

/// How often the keys are looked at: one read of a small table.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches until told to stop. A key counts as soon as it is made; its record follows within a second.
pub(crate) async fn watch(directory: PathBuf, audit: AuditLog, stop: CancellationToken) {
    let api_keys = match ApiKeys::open(&directory) {
        Ok(api_keys) => api_keys,
        Err(error) => {
            tracing::error!(%error, "changes of local API keys are not recorded");
            return;
        }
    };
    let mut known = states(&api_keys);
    let mut timer = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        let now = states(&api_keys);
        for (key, kind) in changes(&known, &now) {
            if let Err(error) = audit.append(record_of(kind, key)).await {
                tracing::error!(%error, "a change of a local API key could not be recorded");
            }
        }
        known = now;
    }
}

/// The record of a key's making or revocation; never the key itself.
pub(crate) fn record_of(kind: Kind, key: &ApiKey) -> Record {
    let record = Record::new(kind).detail("key", key.id.as_str()).detail("roles", key.roles.join(","));
    match &key.replaces {
        Some(replaced) => record.detail("replaces", replaced.as_str()),
        None => record,
    }
}

fn states(api_keys: &ApiKeys) -> BTreeMap<String, ApiKey> {
    let listed = api_keys.list().unwrap_or_else(|error| {
        tracing::warn!(%error, "the local API keys cannot be read");
        Vec::new()
    });
    listed.into_iter().map(|key| (key.id.clone(), key)).collect()
}

fn changes<'a>(
    before: &'a BTreeMap<String, ApiKey>,
    now: &'a BTreeMap<String, ApiKey>,
) -> impl Iterator<Item = (&'a ApiKey, Kind)> {
    now.values().filter_map(|key| match (before.get(&key.id), key.revoked_s) {
        (None, _) => Some((key, Kind::KeyCreate)),
        (Some(before), Some(_)) if before.revoked_s.is_none() => Some((key, Kind::KeyRevoke)),
        _ => None,
    })
}
