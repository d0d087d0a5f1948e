//! What the device says of itself: a whole snapshot each time, counts of an absence included.

use std::sync::Arc;

use outpost_audit::{AuditError, AuditLog, Filter, Kind};
use outpost_contract::{
    Activity, BootId, BuildReport, BuildSource, DeviceId, Installed, LinkHealth, Reported, RolledBack,
};
use outpost_policies::InForce;
use outpost_sync::Events;
use outpost_update::{Builds, Source};

use crate::active::Active;
use crate::backend::LocalBackend;
use crate::measure::Measured;
use crate::pulling::Pulling;
use crate::reconcile::Standing;
use crate::updates::aside;

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
    /// The version whose answers are counted as well or failed, and the counts when it came into force.
    pub(crate) counted_for: (u64, Refusals),
    pub(crate) absence: Absence,
    pub(crate) sequence: u64,
    /// Knows how what is said gets through.
    pub(crate) events: Events,
    /// Which program runs.
    pub(crate) builds: Builds,
}

/// How many requests were refused, answers ended and failed, so that no record is read for it twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusals {
    count: u64,
    /// Answers that ended, well or not.
    ended: u64,
    /// Those of them that failed by the device's own fault.
    failed: u64,
    /// The first record that was not looked at.
    next: u64,
}

impl Refusals {
    /// None before this size of the log.
    pub(crate) fn since(size: u64) -> Self {
        Self { count: 0, ended: 0, failed: 0, next: size }
    }

    /// Looks at what is new in the log.
    fn look(self, audit: &AuditLog) -> Result<Self, AuditError> {
        let until = audit.size();
        let filter = Filter {
            kinds: vec![Kind::InferDenied, Kind::AuthFail, Kind::InferEnd],
            from: Some(self.next),
            until: Some(until),
            ..Filter::default()
        };
        let mut seen = Self { next: until, ..self };
        for entry in audit.find(&filter)? {
            // The log was written here: what cannot be read is for its verification to find.
            let Ok(leaf) = entry.leaf() else { continue };
            if leaf.kind() != Some(Kind::InferEnd.name()) {
                seen.count += 1;
                continue;
            }
            seen.ended += 1;
            seen.failed += u64::from(leaf.integer("res.status").is_some_and(|status| status >= 500));
        }
        Ok(seen)
    }

    /// Failed answers of a thousand since `before`; 0 if none has ended.
    fn errors_per_mille_since(&self, before: &Self) -> u16 {
        let (ended, failed) = (self.ended - before.ended, self.failed - before.failed);
        u16::try_from((failed * 1000).checked_div(ended).unwrap_or(0)).unwrap_or(1000)
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
        if self.counted_for.0 != standing.applied_version {
            self.counted_for = (standing.applied_version, self.refusals);
        }
        let golden_prompts = self.active.current().map_or(0, |loaded| loaded.card.golden_prompts);
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
                errors_per_mille: Some(self.refusals.errors_per_mille_since(&self.counted_for.1)),
                // A model that answers one of them otherwise does not pass its self-test and does not serve.
                golden_failures: (golden_prompts > 0).then_some(0),
                utc_offset_minutes: Some(utc_offset_minutes(now_s)),
            },
            transfer,
            link: self.events.health().unwrap_or_else(|error| {
                tracing::warn!(%error, "the outbox cannot be read");
                LinkHealth::default()
            }),
            build: self.build().await,
        }
    }

    /// Which program runs; none if what the slots hold cannot be read.
    async fn build(&self) -> Option<BuildReport> {
        let builds = self.builds.clone();
        match aside(move || builds.standing()).await {
            Ok(standing) => build_report(&standing),
            Err(error) => {
                tracing::warn!(%error, "which program runs cannot be told");
                None
            }
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

/// What the fleet is told of the slots.
fn build_report(standing: &outpost_update::Standing) -> Option<BuildReport> {
    let running = &standing.running;
    let rolled_back = standing.rolled_back.as_ref().and_then(|one| {
        Some(RolledBack { version: one.version.parse().ok()?, sha256: one.sha256, reason: one.reason.clone() })
    });
    Some(BuildReport {
        version: running.version.parse().ok()?,
        target: running.target.parse().ok()?,
        sha256: running.sha256,
        source: match running.source {
            Source::Packaged => BuildSource::Packaged,
            Source::Slot => BuildSource::Slot,
        },
        trial: running.on_trial,
        rolled_back,
    })
}

/// How far local time is from UTC now, minutes.
fn utc_offset_minutes(now_s: i64) -> i16 {
    let now = jiff::Timestamp::from_second(now_s).unwrap_or_default();
    let seconds = jiff::tz::TimeZone::system().to_offset(now).seconds();
    i16::try_from(seconds / 60).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use outpost_audit::{BootInfo, Outcome, Record};
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
        let before = refusals;
        assert_eq!(refusals.errors_per_mille_since(&before), 0, "nothing was asked");
        for status in [200, 200, 400, 500] {
            let outcome = Outcome { status: Some(status), ..Outcome::default() };
            audit.append(Record::new(Kind::InferEnd).result(outcome)).wait().unwrap();
        }
        let refusals = refusals.look(&audit).unwrap();
        assert_eq!(refusals.errors_per_mille_since(&before), 250, "a caller's mistake is none of the device");
        refuse();
        assert_eq!(refusals.look(&audit).unwrap().look(&audit).unwrap().count, 2);
    }
}
