//! Models that were withdrawn: what the newest accepted desired state says of them holds at its deadline, reachable or not.
//!
//! ```text
//! desired state ─► list ──┬─► every question: a model whose deadline is over answers none
//!                         └─► every few seconds: it leaves the memory, on record, with an event and a report
//! ```
//!
//! The clock is the device's, which never runs below what is known to have passed: setting it back wins no time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outpost_audit::{Kind, Record};
use outpost_contract::{EventKind, ModelId, Reason, ReasonCode, Sha256, Withdrawal};
use outpost_disk::Clock;
use outpost_sync::Events;
use tokio::sync::Notify;

use crate::active::Card;
use crate::reconcile::Reconciler;

/// How often it is looked whether a deadline is over.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was withdrawn; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Withdrawn {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    list: Vec<Withdrawal>,
    /// What served and had to stop, until something serves or the withdrawal is taken back.
    stopped: Option<(Withdrawal, Reason)>,
}

impl Withdrawn {
    /// Nothing is withdrawn yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// Takes the list of a desired state in the place of the one before.
    pub(crate) fn say(&self, list: &[Withdrawal]) {
        let mut state = self.state();
        state.list = list.to_vec();
        if state.stopped.as_ref().is_some_and(|(withdrawal, _)| !list.contains(withdrawal)) {
            state.stopped = None;
        }
    }

    /// Why a file may not serve any more, under whatever name; none if it may.
    pub(crate) fn due(&self, model: &ModelId, file: &Sha256) -> Option<Reason> {
        let now_s = self.clock.now_s();
        self.state()
            .list
            .iter()
            .find(|one| one.after_s <= now_s && one.means(model, file))
            .map(|one| reason(model, one))
    }

    /// Why nothing serves, if that is because of a withdrawal.
    pub(crate) fn stopped(&self) -> Option<Reason> {
        self.state().stopped.as_ref().map(|(_, reason)| reason.clone())
    }

    /// Remembers that a model had to stop.
    pub(crate) fn stop(&self, model: &ModelId, file: &Sha256) {
        let now_s = self.clock.now_s();
        let mut state = self.state();
        let due = state.list.iter().find(|one| one.after_s <= now_s && one.means(model, file)).cloned();
        state.stopped = due.map(|withdrawal| {
            let reason = reason(model, &withdrawal);
            (withdrawal, reason)
        });
    }

    /// Something serves that may.
    pub(crate) fn serves(&self) {
        self.state().stopped = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every update leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reason(model: &ModelId, withdrawal: &Withdrawal) -> Reason {
    let detail = format!(
        "`{model}` was withdrawn from the fleet and may not serve any more: {}; ask the operator for another model",
        withdrawal.reason
    );
    Reason { code: ReasonCode::Withdrawn, subject: model.to_string(), detail }
}

impl Reconciler {
    /// Takes a withdrawn model out of service once its deadline is over, until it is told to stop; then rings `news`.
    pub(crate) async fn keep_withdrawn_out(self: Arc<Self>, events: Events, news: Arc<Notify>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let Some(reason) = self.stop_withdrawn().await else { continue };
            if let Err(error) = events.say(EventKind::Withdrawn, &reason.detail) {
                tracing::error!(%error, "an event could not be queued");
            }
            news.notify_one();
        }
    }

    /// Lets what serves go if it was withdrawn and its deadline is over; says why.
    pub(crate) async fn stop_withdrawn(&self) -> Option<Reason> {
        let card: Card = self.installer.active.current()?.card.clone();
        let withdrawn = &self.installer.withdrawn;
        let reason = withdrawn.due(&card.model, &card.sha256)?;
        tracing::error!(model = %card.model, variant = card.variant, detail = reason.detail, "a withdrawn model stops");
        withdrawn.stop(&card.model, &card.sha256);
        let record = Record::new(Kind::ModelUnload)
            .object(card.object())
            .detail("because", "withdrawn")
            .detail("reason", reason.detail.as_str());
        // It stops all the same: this narrows what is served, and questions to it are refused, on record, already.
        if let Err(error) = self.audit.append(record).await {
            tracing::error!(%error, "it could not be recorded that a withdrawn model left");
        }
        self.installer.withhold(&reason).await;
        // The next start does not wake up before this moment, whatever its clock says.
        if let Err(error) = self.clock.persist() {
            tracing::warn!(%error, "the time is not kept");
        }
        Some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_800_000_000;

    fn withdrawal(model: &str, whole: bool, files: &[u8], after_s: i64) -> Withdrawal {
        let files = files.iter().map(|byte| Sha256([*byte; 32])).collect();
        Withdrawal { model: model.parse().unwrap(), whole, files, after_s, reason: "it leaks".into() }
    }

    #[test]
    fn a_model_stops_at_its_deadline_without_a_word_from_anybody_and_by_a_clock_that_was_set_back_too() {
        let clock = Clock::fixed(NOW_S);
        let withdrawn = Withdrawn::new(clock.clone());
        let (alpha, file) = ("alpha".parse().unwrap(), Sha256([1; 32]));
        let is_due = || withdrawn.due(&alpha, &file).is_some();
        assert!(!is_due());
        withdrawn.say(&[withdrawal("alpha", true, &[], NOW_S + 3600)]);
        assert!(!is_due());
        clock.advance(Duration::from_secs(3599));
        assert!(!is_due());
        clock.advance(Duration::from_secs(1));
        assert!(is_due());
        let reason = withdrawn.due(&alpha, &file).unwrap();
        assert_eq!((reason.code, reason.subject.as_str()), (ReasonCode::Withdrawn, "alpha"));
        assert!(reason.detail.contains("it leaks"));
        // Taken back, it may serve again.
        withdrawn.stop(&alpha, &file);
        assert!(withdrawn.stopped().is_some());
        withdrawn.say(&[]);
        assert!(!is_due() && withdrawn.stopped().is_none());
    }

    #[test]
    fn a_file_is_meant_under_any_name_and_a_name_with_any_file_only_if_all_of_it_is() {
        let withdrawn = Withdrawn::new(Clock::fixed(NOW_S));
        withdrawn.say(&[withdrawal("alpha", false, &[1], NOW_S), withdrawal("beta", true, &[2], NOW_S)]);
        let due = |model: &str, file: u8| withdrawn.due(&model.parse().unwrap(), &Sha256([file; 32])).is_some();
        assert!(due("alpha", 1) && due("gamma", 1) && due("beta", 9) && due("gamma", 2));
        assert!(!due("alpha", 3) && !due("gamma", 3));
    }

    #[test]
    fn that_it_had_to_stop_is_said_until_something_serves() {
        let withdrawn = Withdrawn::new(Clock::fixed(NOW_S));
        let list = [withdrawal("alpha", true, &[], NOW_S)];
        withdrawn.say(&list);
        withdrawn.stop(&"alpha".parse().unwrap(), &Sha256([1; 32]));
        withdrawn.say(&list);
        assert!(withdrawn.stopped().unwrap().detail.contains("`alpha` was withdrawn"));
        withdrawn.serves();
        assert_eq!(withdrawn.stopped(), None);
    }
}
