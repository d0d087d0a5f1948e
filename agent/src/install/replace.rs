//! One model in the place of another: who has the turn, how the new one comes in, and what comes back if it does not.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use outpost_contract::{GoldenPrompts, ModelId, Reason, ReasonCode};
use outpost_planner::{Choice, Entrance, entrance};
use outpost_sync::{BackOff, Waits};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

use super::{Installer, reason};
use crate::activation::{Ended, Exchange, Wanted, Way, activate, restore};
use crate::active::Card;
use crate::backend::Readiness;
use crate::progress::Progress;

/// Waits between tries of a model that served and did not come back.
const COME_BACK: BackOff = BackOff { base: Duration::from_secs(2), cap: Duration::from_secs(300) };

impl Installer {
    /// Loads a file that was checked, tests it, and lets it serve in place of what did.
    ///
    /// # Errors
    /// Why it does not serve; what served before still does.
    pub async fn load(&self, card: Card, path: &Path) -> Result<Card, Reason> {
        let wanted = Wanted { card, path: path.to_owned(), golden: GoldenPrompts::default() };
        self.exchange(wanted, None).await.map(|(card, _)| card)
    }

    /// Has a model serve for as long as another one has no room: the next start loads that one again, and what is kept on the
    /// disk is kept for it.
    ///
    /// # Errors
    /// Why it does not serve; what served before still does.
    pub(crate) async fn stand_in(&self, new: Wanted, choice: &Choice) -> Result<Card, Reason> {
        let model = new.card.model.clone();
        self.put_in_place(new, Some(choice), false).await?;
        let serving = self.active.current();
        let card = serving.map(|serving| serving.card.clone());
        card.ok_or_else(|| reason(ReasonCode::Unavailable, &model, "the model left as soon as it served".into()))
    }

    /// Puts the wanted model in the place of the one that serves; see [`crate::activation`].
    pub(super) async fn exchange(
        &self,
        new: Wanted,
        choice: Option<&Choice>,
    ) -> Result<(Card, Option<Entrance>), Reason> {
        let model = new.card.model.clone();
        let entrance = self.put_in_place(new, choice, true).await?;
        Ok((self.tell_serving(&model).await?, entrance))
    }

    async fn put_in_place(
        &self,
        mut new: Wanted,
        choice: Option<&Choice>,
        is_kept: bool,
    ) -> Result<Option<Entrance>, Reason> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let old = self.old();
        if let Some(old) = &old {
            let before = &old.card;
            new.card.previous = if before.blake3 == new.card.blake3 { before.previous } else { before.blake3 };
        }
        let entrance = match (choice, &old) {
            (Some(choice), Some(_)) => Some(entrance(choice, &self.measured.get().await)),
            _ => None,
        };
        if let Some(entrance) = &entrance {
            tracing::info!(model = %new.card.model, variant = new.card.variant, "the new model comes in {entrance}");
        }
        let way = if matches!(entrance, Some(Entrance::AfterDraining { .. })) { Way::Alone } else { Way::Beside };
        let model = new.card.model.clone();
        let unkept = |error: outpost_disk::DiskError| reason(ReasonCode::InsufficientSpace, &model, error.to_string());
        if let Some(file) = new.card.blake3 {
            self.attempts.begin(file).map_err(unkept)?;
        }
        let exchange = Exchange {
            settings: self.settings.clone(),
            program: self.program.clone(),
            active: Arc::clone(&self.active),
            readiness: self.readiness.clone(),
            audit: self.audit.clone(),
            ledger: Arc::clone(&self.ledger),
            measured: Arc::clone(&self.measured),
            entrance,
            new,
            old,
            is_kept,
        };
        let interrupted = |error: tokio::task::JoinError| reason(ReasonCode::Unloadable, &model, error.to_string());
        let failed = match self.begin(exchange, way, turn).await.map_err(interrupted)? {
            Ended::New => None,
            Ended::Old(failed) => Some(failed),
            Ended::Neither { failed, lost } => {
                let detail = format!("{}; and what served before does not come back: {}", failed.detail, lost.detail);
                Some(Reason { detail, ..failed })
            }
        };
        if let Some(failed) = failed {
            self.reject(&model, &failed).await;
            self.nothing_serves(&failed);
            return Err(failed);
        }
        Ok(entrance)
    }

    /// What serves, as it can be brought back; if nothing does, says that something is on its way.
    fn old(&self) -> Option<Wanted> {
        let Some(loaded) = self.active.current() else {
            // Whoever waits for an exchange goes on waiting.
            if !matches!(*self.readiness.borrow(), Readiness::Switching(_)) {
                self.readiness.send_replace(Readiness::Preparing);
            }
            return None;
        };
        let card = loaded.card.clone();
        let path = match (&card.path, card.blake3) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(file)) => self.store.path(file).ok().flatten(),
            (None, None) => None,
        };
        path.map(|path| Wanted { card, path, golden: GoldenPrompts::default() })
    }

    /// Begins an exchange, in a task of its own: a newer desired state makes nobody wait for this one, which must not stop it
    /// halfway.
    fn begin(&self, exchange: Exchange, way: Way, turn: OwnedMutexGuard<()>) -> JoinHandle<Ended> {
        let again = ComingBack {
            decision: self.decisions.fetch_add(1, Ordering::AcqRel) + 1,
            decisions: Arc::clone(&self.decisions),
            turn: Arc::clone(&self.turn),
        };
        let attempts = Arc::clone(&self.attempts);
        tokio::spawn(async move {
            let ended = activate(&exchange, way).await;
            if let Some(file) = exchange.new.card.blake3
                && let Err(error) = attempts.end(file, its_fault(&ended))
            {
                tracing::warn!(%error, "how an attempt ended is not kept");
            }
            if let Ended::Neither { lost, .. } = &ended {
                tracing::error!(detail = lost.detail, "the model of before does not come back; it is tried again");
                tokio::spawn(again.try_on(exchange));
            }
            drop(turn);
            ended
        })
    }

    /// Says what serves now, and tidies up behind what it came after.
    async fn tell_serving(&self, model: &ModelId) -> Result<Card, Reason> {
        *self.last_rejection.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let Some(serving) = self.active.current() else {
            return Err(reason(ReasonCode::Unavailable, model, "the model left as soon as it served".into()));
        };
        let card = serving.card.clone();
        drop(serving);
        self.announcer.say(Progress::Serving {
            model: card.model.to_string(),
            variant: card.variant.clone(),
            tokens_per_second_milli: card.tokens_per_second_milli,
        });
        self.housekeeper.serves(&card);
        self.housekeeper.note_use().await;
        self.housekeeper.tidy().await;
        Ok(card)
    }

    /// Tells why nothing serves, if nothing does.
    pub(super) fn nothing_serves(&self, reason: &Reason) {
        if self.active.current().is_none() {
            self.readiness.send_replace(Readiness::Nothing(reason.detail.clone()));
        }
    }

    /// Nothing is to run: whatever serves is let go after its last answer.
    pub async fn unload(&self) {
        self.pulling.ended();
        let _turn = self.turn.lock().await;
        self.decisions.fetch_add(1, Ordering::AcqRel);
        let old = self.active.replace(None);
        self.readiness.send_replace(Readiness::Nothing("no model is assigned to this device".into()));
        tokio::task::spawn_blocking(move || drop(old));
    }

    /// Nothing may serve, and why: what was accepted cannot be put in force.
    pub(crate) async fn withhold(&self, reason: &Reason) {
        let _turn = self.turn.lock().await;
        self.decisions.fetch_add(1, Ordering::AcqRel);
        let old = self.active.replace(None);
        self.readiness.send_replace(Readiness::Nothing(reason.detail.clone()));
        tokio::task::spawn_blocking(move || drop(old));
    }
}

/// Why a file is not to be tried again: it was the file, or what it needs; not the log, or a full disk.
fn its_fault(ended: &Ended) -> Option<&Reason> {
    let (Ended::Old(failed) | Ended::Neither { failed, .. }) = ended else { return None };
    let its_own = matches!(failed.code, ReasonCode::Unloadable | ReasonCode::SelfTestFailed | ReasonCode::DoesNotFit);
    its_own.then_some(failed)
}

/// Has what served before come back, as long as nothing else was decided.
struct ComingBack {
    decision: u64,
    decisions: Arc<AtomicU64>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl ComingBack {
    async fn try_on(self, exchange: Exchange) {
        let mut waits = Waits::new(COME_BACK);
        // Alone with the slot: the agent ended.
        while Arc::strong_count(&exchange.active) > 1 {
            tokio::time::sleep(waits.next()).await;
            let _turn = self.turn.lock().await;
            if self.decisions.load(Ordering::Acquire) != self.decision || exchange.active.current().is_some() {
                return;
            }
            match restore(&exchange).await {
                Ok(()) => return,
                Err(reason) => tracing::warn!(detail = reason.detail, "the model of before does not come back yet"),
            }
        }
    }
}
