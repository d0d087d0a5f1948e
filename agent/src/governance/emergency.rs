//! A sealed override in use: on record before it counts, loud while it lasts, over by itself, and never open after a
//! restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use outpost_audit::leaf::Time;
use outpost_audit::{Kind, Record};
use outpost_contract::SealedKind;
use outpost_disk::Ledger;
use outpost_policies::BreakGlass;
use outpost_serve::GovernanceError;
use outpost_trust::Signers;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Surroundings, facts, failed};

/// How often an open override is told of in the log.
const REMINDER: Duration = Duration::from_secs(60);

/// How long after its end an override that was closed is remembered: it could not be opened any more anyway, unless the
/// clock went back.
const REMEMBER_S: i64 = 7 * 24 * 3600;

/// What survives a restart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    /// The override that is open.
    open: Option<Open>,
    /// Those that were closed, with their ends: none is opened again.
    closed: BTreeMap<String, i64>,
}

/// The override that is open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Open {
    id: String,
    roles: Vec<String>,
    until_s: i64,
    /// How long it may last by a clock that nobody can set.
    lasts_s: u64,
    sealed_by: BTreeSet<String>,
}

/// Opens and closes overrides on one device, one at a time.
#[derive(Debug)]
pub(super) struct Emergency {
    kept: Mutex<(Ledger<Kept>, Kept)>,
    around: Surroundings,
}

impl Emergency {
    /// Ends on record what was open when the agent stopped.
    pub(super) fn open(ledgers: &Path, around: Surroundings) -> Result<Self> {
        let (ledger, kept) = Ledger::<Kept>::open(ledgers, "break-glass")?;
        let emergency = Self { kept: Mutex::new((ledger, kept.unwrap_or_default())), around };
        let mut held = emergency.held();
        if let Some(open) = held.1.open.take() {
            emergency.record("end", &open, "restart")?;
            let next = held.1.clone();
            held.0.commit(&next)?;
        }
        drop(held);
        Ok(emergency)
    }

    /// Opens one: on record first, then on disk, then in force.
    pub(super) fn begin(&self, document: &[u8], signers: &Signers, opener: &str) -> Result<Open, GovernanceError> {
        let opened = super::signers::open(signers, SealedKind::BreakGlass, document)?;
        let glass = BreakGlass::parse(&opened.payload).map_err(|error| GovernanceError::Invalid(error.to_string()))?;
        if let Some(name) = glass.sealed_by.iter().find(|name| !opened.signed_by.contains(*name)) {
            let why = format!("the override says that `{name}` sealed it, who has not signed it, or may not");
            return Err(GovernanceError::NotApproved(why));
        }
        let (now_s, device) = (self.around.clock.now_s(), self.around.device.as_str());
        if !(glass.from_s..glass.until_s).contains(&now_s) {
            let (from, until, now) = (said(glass.from_s), said(glass.until_s), said(now_s));
            let why = format!("the override `{}` lasts from {from} to {until}, and it is {now}", glass.id);
            return Err(GovernanceError::Conflict(format!("{why}: have a new one sealed")));
        }
        if glass.device.as_ref().is_some_and(|named| named != device) {
            return Err(GovernanceError::Conflict(format!("the override `{}` is for another device", glass.id)));
        }
        let mut held = self.held();
        if let Some(open) = &held.1.open {
            return Err(GovernanceError::Conflict(format!("the override `{}` is open: close it first", open.id)));
        }
        if held.1.closed.contains_key(&glass.id) {
            let why = format!("the override `{}` was used and closed: have a new one sealed", glass.id);
            return Err(GovernanceError::Conflict(why));
        }
        let open = Open {
            id: glass.id.clone(),
            roles: glass.roles.clone(),
            until_s: glass.until_s,
            lasts_s: u64::try_from(glass.until_s - now_s).unwrap_or(0),
            sealed_by: opened.signed_by,
        };
        let record = self.event("open", &open).detail("reason", glass.reason.as_str());
        let record = record.detail("opened_by", self.around.pseudonyms.of(opener));
        self.around.audit.append(record).wait().map_err(failed)?;
        let next = Kept { open: Some(open.clone()), ..held.1.clone() };
        held.0.commit(&next).map_err(failed)?;
        held.1 = next;
        self.around.identities.set_break_glass(Some(glass)).map_err(failed)?;
        Ok(open)
    }

    /// Closes the one that is open, for good.
    pub(super) fn close(&self) -> Result<Map<String, Value>, GovernanceError> {
        let Some(open) = self.held().1.open.clone() else {
            return Err(GovernanceError::Conflict("no override is open".to_owned()));
        };
        self.end(&open.id, "closed")?;
        Ok(facts([("closed", json!(open.id))]))
    }

    /// Tells of it while it lasts, and ends it when its time is over by the wall clock or by one that nobody can set.
    pub(super) fn watch(self: Arc<Self>, open: &Open) {
        let (id, until_s) = (open.id.clone(), open.until_s);
        let deadline = Instant::now() + Duration::from_secs(open.lasts_s);
        tokio::spawn(async move {
            loop {
                let is_over = Instant::now() >= deadline || self.around.clock.now_s() >= until_s;
                let is_open = self.held().1.open.as_ref().is_some_and(|open| open.id == id);
                if !is_open {
                    return;
                }
                if is_over {
                    break;
                }
                tracing::warn!(glass = id, until_s, "an override is open: its roles count beside the callers' own");
                let soon = Instant::now() + REMINDER;
                tokio::time::sleep_until(soon.min(deadline)).await;
            }
            let ending = tokio::task::spawn_blocking(move || self.end(&id, "expired")).await;
            if let Ok(Err(error)) = ending {
                tracing::error!(%error, "the end of an override could not be recorded");
            }
        });
    }

    /// Out of force first: that it cannot be recorded must not keep it open.
    fn end(&self, id: &str, because: &str) -> Result<(), GovernanceError> {
        let mut held = self.held();
        let Some(open) = held.1.open.clone().filter(|open| open.id == id) else { return Ok(()) };
        self.around.identities.set_break_glass(None).map_err(failed)?;
        let mut next = Kept { open: None, ..held.1.clone() };
        let forget = self.around.clock.now_s().saturating_sub(REMEMBER_S);
        next.closed.retain(|_, until_s| *until_s > forget);
        next.closed.insert(open.id.clone(), open.until_s);
        held.1 = next.clone();
        held.0.commit(&next).map_err(failed)?;
        self.record("end", &open, because).map_err(failed)
    }

    fn record(&self, act: &str, open: &Open, because: &str) -> Result<(), outpost_audit::AuditError> {
        tracing::warn!(glass = open.id, act, because, "an override");
        self.around.audit.append(self.event(act, open).detail("because", because)).wait().map(|_| ())
    }

    fn event(&self, act: &str, open: &Open) -> Record {
        let sealed_by: Vec<_> = open.sealed_by.iter().map(|name| self.around.pseudonyms.of(name)).collect();
        Record::new(Kind::BreakGlass)
            .act(act)
            .detail("glass", open.id.as_str())
            .detail("roles", open.roles.join(" "))
            .detail("until_s", open.until_s)
            .detail("sealed_by", sealed_by.join(" "))
    }

    fn held(&self) -> std::sync::MutexGuard<'_, (Ledger<Kept>, Kept)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// What whoever opened it is told.
    pub(super) fn facts(&self) -> Map<String, Value> {
        facts([
            ("id", json!(self.id)),
            ("roles", json!(self.roles)),
            ("until_s", json!(self.until_s)),
            ("until", json!(said(self.until_s))),
            ("sealed_by", json!(self.sealed_by)),
        ])
    }
}

/// A moment for people.
fn said(second: i64) -> String {
    Time(second.saturating_mul(1000)).to_string()
}
