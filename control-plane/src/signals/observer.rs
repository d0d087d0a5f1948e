//! Compares what the database holds with what was told last, and tells the difference.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::db::{NewEvent, Row, Told};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::Drift;
use outpost_contract::TargetKind;

/// How often it is looked, if something has changed.
const LOOK: Duration = Duration::from_secs(3);

/// How often it is looked in any case.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// A look that took long is followed by so many times as long without one.
const REST: u32 = 9;

/// After a start, everybody is offline until they come back: nobody counts as lost before that.
const SETTLED: Duration = Duration::from_secs(120);

/// Whoever is back within this time was not lost, seconds.
const LOST_S: i64 = 30;

/// Devices that are told of in one transaction.
const BATCH: usize = 256;

/// Incidents that are told at once.
const INCIDENTS: u32 = 100;

const BEGUN: &str = "events_begun";
const CATALOGUE: &str = "events_catalogue";
const INCIDENT: &str = "events_incident";

/// Tells what happens, for as long as the server runs.
pub(crate) async fn observe(fleet: Fleet) {
    let started = Instant::now();
    let mut news = fleet.inner.news.subscribe();
    let mut changed = fleet.inner.changed.subscribe();
    let (mut foreign, mut waits, mut looked): (_, _, Option<Instant>) = (None, false, None);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = fleet.run(|fleet| fleet.inner.database.foreign_changes()).await.ok();
        let is_old = looked.is_none_or(|looked| looked.elapsed() >= LOOK_ANYWAY);
        let moved = news.has_changed().unwrap_or(true) | changed.has_changed().unwrap_or(true) | (now != foreign);
        if !(moved || waits || is_old) {
            continue;
        }
        news.mark_unchanged();
        changed.mark_unchanged();
        foreign = now;
        let began = Instant::now();
        let is_settled = started.elapsed() >= SETTLED && fleet.inner.linked.load(Ordering::Relaxed);
        match fleet.run(move |fleet| look(fleet, is_settled)).await {
            Ok(still) => waits = still,
            Err(error) => tracing::error!(%error, "what happened in the fleet is not told; it is looked at again"),
        }
        looked = Some(Instant::now());
        tokio::time::sleep(began.elapsed() * REST).await;
    }
}

/// One look. True if somebody is out of reach, and soon counts as lost.
pub(super) fn look(fleet: &Fleet, is_settled: bool) -> Result<bool, FleetError> {
    let database = &fleet.inner.database;
    let is_begun = database.setting(BEGUN)?.is_some();
    let now_s = fleet.now_s();
    let told = database.told_devices()?;
    let (mut changes, mut waits) = (Vec::new(), false);
    fleet.rows("", |row| {
        let before = told.get(&row.device);
        let next = next(row, before, is_settled, now_s);
        waits |= next.online && !row.online;
        if before != Some(&next) {
            let events = if is_begun { differences(row, before, &next) } else { Vec::new() };
            changes.push((row.device.clone(), before.cloned(), next, events));
        }
        true
    })?;
    for batch in changes.chunks(BATCH) {
        database.together(|| {
            for (device, before, next, events) in batch {
                // Nobody else has told it meanwhile.
                if database.note_told(device, before.as_ref(), next)? {
                    events.iter().try_for_each(|event| fleet.tell(event).map(drop))?;
                }
            }
            Ok::<_, FleetError>(())
        })?;
    }
    if !is_begun {
        database.set(BEGUN, b"1")?;
    }
    look_at_catalogue(fleet)?;
    look_at_incidents(fleet)?;
    Ok(waits)
}

/// What is told of a device from now on.
fn next(row: &Row, before: Option<&Told>, is_settled: bool, now_s: i64) -> Told {
    let revoked = row.revoked_s.is_some();
    let was_online = before.is_some_and(|before| before.online && before.enrolled_s == row.enrolled_s);
    let is_lost = is_settled && row.seen_s.is_none_or(|seen_s| now_s - seen_s >= LOST_S);
    let drift = Drift::of(row, &[], 0);
    let drift = match drift {
        Drift::Refused { .. } | Drift::Differs { .. } | Drift::Ahead { .. } => drift.state().to_owned(),
        Drift::InStep | Drift::NotAssigned | Drift::Revoked { .. } => String::new(),
        // On its way, or not heard of: as before.
        _ => before.map(|before| before.drift.clone()).unwrap_or_default(),
    };
    Told {
        enrolled_s: row.enrolled_s,
        revoked,
        online: !revoked && (row.online || (was_online && !is_lost)),
        drift: if revoked { String::new() } else { drift },
    }
}

fn differences(row: &Row, before: Option<&Told>, next: &Told) -> Vec<NewEvent> {
    let mut events = Vec::new();
    let mut tell = |kind, data| events.push(NewEvent { kind, subject: row.device.clone(), data });
    let is_new = before.is_none_or(|before| before.enrolled_s != next.enrolled_s);
    let nothing = Told::default();
    let before = before.filter(|_| !is_new).unwrap_or(&nothing);
    if is_new {
        tell("device.enrolled", json!({ "enrolled_s": row.enrolled_s, "agent": row.agent }));
    }
    if next.revoked && !before.revoked {
        tell("device.revoked", json!({ "revoked_s": row.revoked_s }));
        return events;
    }
    match (before.online, next.online) {
        (false, true) => tell("device.seen", json!({ "agent": row.agent, "site": row.site })),
        (true, false) => tell("device.lost", json!({ "seen_s": row.seen_s, "site": row.site })),
        _ => {}
    }
    if before.drift != next.drift {
        let said = row.said.as_ref();
        let reasons: Vec<&str> =
            said.map(|said| said.reasons.split(',').filter(|code| !code.is_empty()).collect()).unwrap_or_default();
        let applied = said.map(|said| said.applied_version);
        match next.drift.as_str() {
            "" => tell("device.in_step", json!({ "desired_version": row.desired_version })),
            state => tell(
                "device.drift",
                json!({ "state": state, "reasons": reasons, "wanted": row.wanted, "runs": said.and_then(|said| said.model.clone()),
                    "desired_version": row.desired_version, "applied_version": applied }),
            ),
        }
    }
    events
}

/// Tells of a catalogue with something else in it; signing the same once more is not told.
fn look_at_catalogue(fleet: &Fleet) -> Result<(), FleetError> {
    let database = &fleet.inner.database;
    let number = database.newest_catalogue()?;
    let kept = database.setting(CATALOGUE)?.and_then(|kept| String::from_utf8(kept).ok());
    let words: Vec<&str> = kept.as_deref().unwrap_or("0 - -").split(' ').collect();
    if words.first() == Some(&number.to_string().as_str()) {
        return Ok(());
    }
    let (mut all, mut policy, mut version, targets) = (Sha256::new(), "-".to_owned(), None, fleet.targets()?);
    for target in &targets {
        all.update(format!("{} {}\n", target.name, target.sha256));
        if let TargetKind::Policy(facts) = &target.facts {
            (policy, version) = (target.sha256.to_string(), Some(facts.version));
        }
    }
    let all = hex::encode(all.finalize());
    database.together(|| {
        if database.setting(CATALOGUE)?.as_deref() != kept.as_ref().map(String::as_bytes) {
            return Ok(());
        }
        if words.get(1) != Some(&all.as_str()) {
            let data = json!({ "number": number, "targets": targets.len() });
            fleet.tell(&NewEvent { kind: "catalogue.published", subject: "catalogue".to_owned(), data })?;
        }
        if policy != "-" && words.get(2) != Some(&policy.as_str()) {
            let data = json!({ "version": version, "sha256": policy });
            fleet.tell(&NewEvent { kind: "policy.published", subject: "policy".to_owned(), data })?;
        }
        Ok(database.set(CATALOGUE, format!("{number} {all} {policy}").as_bytes())?)
    })
}

/// Tells what was found against audit logs.
fn look_at_incidents(fleet: &Fleet) -> Result<(), FleetError> {
    let database = &fleet.inner.database;
    let kept = database.setting(INCIDENT)?.and_then(|kept| String::from_utf8(kept).ok());
    let last: i64 = kept.and_then(|kept| kept.parse().ok()).unwrap_or(0);
    for (number, evidence) in fleet.inner.audit.evidence_after(last, INCIDENTS)? {
        let stem = evidence.origin.rfind('/').map_or("", |at| &evidence.origin[..=at]);
        let device = database.device_of_log(stem)?;
        let data = json!({ "incident": number, "log": evidence.origin, "suspicion": evidence.suspicion.name(),
            "found_s": evidence.found_s });
        let subject = device.unwrap_or_else(|| evidence.origin.clone());
        database.together(|| {
            fleet.tell(&NewEvent { kind: "audit.incident", subject, data })?;
            Ok::<_, FleetError>(database.set(INCIDENT, number.to_string().as_bytes())?)
        })?;
    }
    Ok(())
}
