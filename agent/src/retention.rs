//! Nothing is kept for ever: sealed content past its time is destroyed, and records past theirs leave the device once a mirror
//! has them. Looked at when the agent starts, and once an hour.

use std::time::Duration;

use outpost_audit::{AuditLog, PruneBasis, RecordRetention, Retention, Who};
use outpost_policies::InForce;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::witnessing::Standing;

/// How often it is looked: often enough that a box which is switched off every night is not always at its first look, when
/// nothing is known of the mirror yet.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// What goes when.
pub(crate) struct Keeping {
    pub(crate) audit: AuditLog,
    pub(crate) content: Retention,
    /// 0 keeps records for ever.
    pub(crate) record_days: u32,
    /// Say whether records may leave that no mirror has.
    pub(crate) policies: InForce,
    pub(crate) vouched: watch::Receiver<Standing>,
}

impl Keeping {
    /// Looks until told to stop.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let mut timer = tokio::time::interval(LOOK_EVERY);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = timer.tick() => {}
            }
            if !self.audit.moment().clock_is_trusted {
                // A clock that runs ahead would destroy what is still to be kept, and nothing brings it back.
                tracing::warn!("the clock is not believed, so nothing in the audit log is past its time for now");
                continue;
            }
            let (log, content, records) = (self.audit.clone(), self.content, self.records());
            if let Err(error) = tokio::task::spawn_blocking(move || look(&log, content, records)).await {
                tracing::error!(%error, "a bug: looking for what is past its time panicked");
            }
        }
    }

    /// How long records stay, and why they may leave; none if they stay for ever.
    fn records(&self) -> Option<RecordRetention> {
        let basis = if self.policies.now().audit().leave_unmirrored {
            PruneBasis::Policy
        } else {
            PruneBasis::Mirrored { records: self.vouched.borrow().mirrored }
        };
        (self.record_days > 0).then_some(RecordRetention { days: self.record_days, basis })
    }
}

fn look(log: &AuditLog, content: Retention, records: Option<RecordRetention>) {
    let who = Who { kind: "agent".to_owned(), ..Who::default() };
    match log.prune(content, who.clone()) {
        Ok(pruned) => {
            if let Some(record) = pruned.index {
                tracing::info!(record, months = ?pruned.plan.months, "sealed content past its time was destroyed");
            }
        }
        Err(error) => tracing::error!(%error, "sealed content past its time could not be destroyed"),
    }
    match log.prune_ended(content, &who) {
        Ok(None) => {}
        Ok(Some((keys, record))) => tracing::info!(record, keys, "content of ended logs past its time was destroyed"),
        Err(error) => tracing::error!(%error, "content of ended logs past its time could not be destroyed"),
    }
    match records.map_or(Ok(0..0), |records| log.prune_records(records, &who)) {
        Ok(left) if left.is_empty() => {}
        Ok(left) => tracing::info!(from = left.start, to = left.end, "records past their time left the device"),
        Err(error) => tracing::error!(%error, "records past their time could not leave the device"),
    }
}
