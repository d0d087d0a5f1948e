//! Destroys sealed content that is past its time: at the start, and once a day.

use std::time::Duration;

use outpost_audit::{AuditLog, Retention, Who};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often it is looked for content that is past its time. Content goes by whole months, so a day is soon enough.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Looks until told to stop.
pub(crate) async fn watch(audit: AuditLog, retention: Retention, stop: CancellationToken) {
    let mut timer = tokio::time::interval(LOOK_EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        if !audit.moment().clock_is_trusted {
            // A clock that runs ahead would destroy what is still to be kept, and nothing brings it back.
            tracing::warn!("the clock is not believed, so no sealed content is past its time for now");
            continue;
        }
        let (log, who) = (audit.clone(), Who { kind: "agent".to_owned(), ..Who::default() });
        match tokio::task::spawn_blocking(move || log.prune(retention, who)).await {
            Ok(Ok(pruned)) => {
                if let Some(record) = pruned.index {
                    tracing::info!(record, months = ?pruned.plan.months, "sealed content past its time was destroyed");
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "sealed content past its time could not be destroyed"),
            Err(error) => tracing::error!(%error, "a bug: destroying sealed content past its time panicked"),
        }
    }
}
