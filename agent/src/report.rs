//! What the device says of itself: a whole snapshot each time, counts of an absence included.

use std::sync::Arc;

use outpost_audit::{AuditError, AuditLog, Filter, Kind};
use outpost_contract::{Activity, BootId, DeviceId, Installed, LinkHealth, Reported};
use outpost_policies::InForce;
use outpost_sync::Events;

use crate::active::Active;
use crate::backend::LocalBackend;
use crate::measure::Measured;
use crate::pulling::Pulling;
use crate::reconcile::Standing;

/// Builds reports and remembers what the control plane has not stored yet.
pub(crate) struct Reporter {
    pub(crate) device: DeviceId,
    pub(crate) active: Arc<Active>,
    pub(crate) backend: Arc<LocalBackend>,
    pub(crate) policies: InForce,
    pub(crate) audit: AuditLog,
    pub(crate) pulling: Arc<Pulling>,
    pub(crate) measured: Arc<Measured>,
    /// Refusals since this run began, counted in the log up to a size of it.
    pub(crate) refusals: Refusals,
    pub(crate) absence: Absence,
    pub(crate) sequence: u64,
    /// Knows how what is said gets through.
    pub(crate) events: Events,
}

/// How many requests were refused, so that no record is read for it twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusals {
    count: u64,
    /// The first record that was not looked at.
    next: u64,
}

impl Refusals {
    /// None before this size of the log.
    pub(crate) fn since(size: u64) -> Self {
        Self { count: 0, next: size }
    }

    /// Looks at what is new in the log.
    fn look(self, audit: &AuditLog) -> Result<Self, AuditError> {
        let until = audit.size();
        let filter = Filter {
            kinds: vec![Kind::InferDenied, Kind::AuthFail],
            from: Some(self.next),
            until: Some(until),
            ..Filter::default()
        };
        Ok(Self { count: self.count + audit.find(&filter)?.len() as u64, next: until })
    }
}

/// An absence of the control plane, until a report of it is stored.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Absence {
    /// Since when, while it lasts.
    since_s: Option<i64>,
    /// Answers given before it began.
    answered_before: u64,
    /// Length of the finished ones, seconds.
    offline_s: u64,
    /// Answers given during the finished ones.
    answered: u64,
    /// The report that tells of them.
    told_in: Option<u64>,
}

impl Absence {
    /// An absence that begins with the agent's start: the control plane was not heard yet.
    pub(crate) fn since(now_s: i64) -> Self {
        Self { since_s: Some(now_s), ..Self::default() }
    }
}

impl Reporter {
    /// The control plane is out of reach from now on.
    pub(crate) fn went_away(&mut self, now_s: i64) {
        self.absence.since_s = Some(now_s);
        self.absence.answered_before = self.backend.answered();
    }

    /// It is back; gives the seconds of the absence.
    pub(crate) fn came_back(&mut self, now_s: i64) -> u64 {
        let Some(since_s) = self.absence.since_s.take() else { return 0 };
        let seconds = u64::try_from(now_s.saturating_sub(since_s)).unwrap_or(0);
        self.absence.offline_s += seconds;
        self.absence.answered += self.backend.answered().saturating_sub(self.absence.answered_before);
        self.absence.told_in = None;
        seconds
    }

    /// The control plane has stored reports up to this one: what it tells need not be told again.
    pub(crate) fn stored(&mut self, sequence: u64) {
        if self.absence.told_in.is_some_and(|told| told <= sequence) {
            self.absence = Absence {
                since_s: self.absence.since_s,
                answered_before: self.absence.answered_before,
                ..Absence::default()
            };
        }
    }

    /// The device as it is now.
    pub(crate) async fn snapshot(
        &mut self,
        boot: &BootId,
        standing: &Standing,
        connected: bool,
        now_s: i64,
    ) -> Reported {
        self.sequence += 1;
        if connected && self.absence.since_s.is_none() {
            self.absence.told_in.get_or_insert(self.sequence);
        }
        let offline_now =
            self.absence.since_s.map_or(0, |since_s| u64::try_from(now_s.saturating_sub(since_s)).unwrap_or(0));
        let model = self.active.current().and_then(|loaded| {
            let card = &loaded.card;
            Some(Installed {
                model: card.model.clone(),
                target: card.target.clone()?,
                sha256: card.sha256,
                context_tokens: card.context_tokens,
                self_test_tokens_per_second_milli: card.tokens_per_second_milli,
            })
        });
        let (transfer, slow) = self.pulling.look().unzip();
        let reasons = standing.reasons.iter().cloned().chain(slow.flatten()).collect();
        let refused = self.refused().await;
        Reported {
            v: 1,
            device: self.device.clone(),
            boot: boot.clone(),
            sequence: self.sequence,
            agent: env!("CARGO_PKG_VERSION").into(),
            desired_version: standing.desired_version,
            applied_version: standing.applied_version,
            model,
            policy_version: self.policies.now().version(),
            reasons,
            measurements: self.measured.known().await,
            plan: standing.plan.clone(),
            activity: Activity {
                audit_records: self.audit.size(),
                audit_root: hex::encode(self.audit.root()),
                answered: self.backend.answered(),
                refused,
                answered_offline: self.absence.answered,
                offline_s: self.absence.offline_s + offline_now,
            },
            transfer,
            link: self.events.health().unwrap_or_else(|error| {
                tracing::warn!(%error, "the outbox cannot be read");
                LinkHealth::default()
            }),
        }
    }

    async fn refused(&mut self) -> u64 {
        let (audit, refusals) = (self.audit.clone(), self.refusals);
        match tokio::task::spawn_blocking(move || refusals.look(&audit)).await {
            Ok(Ok(refusals)) => self.refusals = refusals,
            Ok(Err(error)) => tracing::warn!(%error, "refusals could not be counted"),
            Err(error) => tracing::warn!(%error, "refusals could not be counted"),
        }
        self.refusals.count
    }
}

#[cfg(test)]
mod tests {
    use outpost_audit::{BootInfo, Record};
    use outpost_disk::Clock;

    use super::*;
    use crate::keys;
    use crate::state::StateDir;

    #[test]
    fn each_refusal_of_this_run_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::locate(Some(dir.path())).unwrap();
        state.prepare().unwrap();
        let info = BootInfo { agent: "1".into(), device: "till-7".into(), clock: Clock::fixed(1_796_126_400) };
        let (audit, _) = AuditLog::open(&state.audit(), keys::log_identity(&state).unwrap(), info).unwrap();
        let refuse = || audit.append(Record::new(Kind::AuthFail)).wait().unwrap();
        refuse();
        let refusals = Refusals::since(audit.size()).look(&audit).unwrap();
        assert_eq!(refusals.count, 0, "of an earlier run");
        refuse();
        let refusals = refusals.look(&audit).unwrap();
        assert_eq!(refusals.count, 1);
        refuse();
        assert_eq!(refusals.look(&audit).unwrap().look(&audit).unwrap().count, 2);
    }
}
