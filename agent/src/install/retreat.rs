//! Out of the way in time: what serves leaves before the kernel makes it leave.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outpost_audit::{Kind, Record};
use outpost_contract::Reason;

use super::{Installer, Offer, Offered};
use crate::activation::{LETTING_GO, LOOK_EVERY, let_go, recorded};
use crate::active::Card;
use crate::backend::Readiness;

impl Installer {
    /// What the fleet lets this device choose from, from now on.
    pub(crate) fn offer(&self, offers: &[Offer], minimum_context_tokens: u32) {
        let offered = Offered { offers: offers.to_vec(), minimum_context_tokens };
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = offered;
    }

    /// What the fleet lets this device choose from.
    pub(crate) fn offered(&self) -> Offered {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what serves out of service at once, and out of memory when its answers are given: those that are not by then, or
    /// when it is the end, are cut off. Gives what served.
    ///
    /// # Errors
    /// If it cannot be recorded; then it still serves.
    pub(crate) async fn retreat(
        &self,
        because: &str,
        readiness: Readiness,
        patience: Duration,
        is_the_end: &AtomicBool,
    ) -> Result<Option<Card>, Reason> {
        let _turn = self.turn.lock().await;
        self.decisions.fetch_add(1, Ordering::AcqRel);
        let Some(serving) = self.active.current() else {
            self.readiness.send_replace(readiness);
            return Ok(None);
        };
        let record = Record::new(Kind::ModelUnload)
            .object(serving.card.object())
            .detail("because", because)
            .detail("running", u64::from(serving.worker.running()));
        drop(serving);
        recorded(&self.audit, record).await?;
        self.readiness.send_replace(readiness);
        let Some(old) = self.active.replace(None) else { return Ok(None) };
        let began = Instant::now();
        while !let_go(&old, LOOK_EVERY).await {
            if is_the_end.load(Ordering::Acquire) || began.elapsed() >= patience {
                tracing::warn!(running = old.worker.running(), because, "answers are cut off for want of memory");
                old.worker.stop();
                if !let_go(&old, LETTING_GO).await {
                    tracing::error!(model = %old.card.model, "somebody holds the model: its memory is not free yet");
                }
                break;
            }
        }
        let card = old.card.clone();
        tokio::task::spawn_blocking(move || drop(old)).await.ok();
        Ok(Some(card))
    }
}
