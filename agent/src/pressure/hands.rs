//! What each step of the retreat does, and how it is undone.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outpost_contract::Blake3;
use outpost_engine::batch::Limits;
use outpost_probe::Room;

use super::Note;
use super::ladder::Level;
use super::stand_in::{StandIn, StandIns};
use crate::active::{Active, Card};
use crate::backend::Readiness;
use crate::install::Installer;
use crate::models::{Residents, Shelf};

/// The shortest context that conversations are left, tokens.
const LEAST_CONTEXT_TOKENS: u32 = 256;

/// Whoever steps back.
#[derive(Debug)]
pub(crate) struct Hands {
    installer: Arc<Installer>,
    active: Arc<Active>,
    residents: Arc<Residents>,
    stand_ins: StandIns,
    displaced: Mutex<Displaced>,
}

/// The model that was to serve, while another one stands in for it.
#[derive(Debug, Clone, Default)]
struct Displaced {
    wanted: Option<Card>,
    stands_in: Option<Blake3>,
    /// When it was last tried to bring it back.
    tried_ms: u64,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// It is taken; and whether no smaller variant is left, where that was found out.
    Taken { is_smallest: Option<bool> },
    /// No model is in memory now.
    Gone,
    /// It cannot be taken yet.
    PutOff,
    /// Another model was thought of, which is no step.
    Returned,
}

impl Hands {
    pub(crate) fn new(
        installer: Arc<Installer>,
        active: Arc<Active>,
        residents: Arc<Residents>,
        shelf: Arc<Shelf>,
    ) -> Self {
        let stand_ins = StandIns { installer: Arc::clone(&installer), shelf };
        Self { installer, active, residents, stand_ins, displaced: Mutex::default() }
    }

    /// The calm that a step up needs before it.
    pub(super) fn calm(&self) -> Duration {
        Duration::from_secs(self.installer.settings.calm_seconds)
    }

    /// Has every model in memory keep the limits of a level.
    pub(super) fn limit(&self, level: Level, is_hot: bool) {
        if let Some(serving) = self.active.current() {
            serving.worker.limit(limits(level, is_hot, &serving.card));
        }
        self.residents.limit(|card| limits(level, is_hot, card));
    }

    /// Does what a level without another model means; says what that is.
    pub(super) async fn adjust(&self, level: Level, is_hot: bool) -> String {
        self.limit(level, is_hot);
        let gone = if level >= Level::Cache {
            self.residents.close(Some("memory is short: no model is loaded beside the one that serves".to_owned()));
            self.residents.yield_room().await
        } else {
            self.residents.close(None);
            0
        };
        let serving = self.active.current();
        let Some(limits) = serving.as_ref().map(|serving| (limits(level, is_hot, &serving.card), &serving.card)) else {
            return format!("{gone} idle models left");
        };
        let (limits, card) = limits;
        let kept = if limits.kept_bytes == 0 { "no" } else { "all" };
        format!(
            "{kept} beginnings of prompts are kept, {} answers at once, new conversations have {} tokens, {gone} idle models left",
            limits.slots.min(card.slots),
            limits.context_tokens.min(card.context_tokens),
        )
    }

    /// Has a smaller variant serve, if there is one that fits.
    pub(super) async fn step_down(&self, because: &str, left: &Room, is_the_end: &AtomicBool, told: Note) -> Done {
        let Some(serving) = self.active.current().map(|serving| serving.card.clone()) else {
            told.tell("no model serves that could become smaller".to_owned()).await;
            return Done::Taken { is_smallest: Some(true) };
        };
        let found = self.stand_ins.smaller(&serving, left).await;
        let chosen = match found {
            Ok(chosen) => chosen,
            Err(why) => {
                told.tell(why).await;
                return Done::Taken { is_smallest: Some(true) };
            }
        };
        let did = format!("`{}` {} takes the place of {}", chosen.card.model, chosen.card.variant, serving.variant);
        told.tell(did).await;
        let says = Readiness::Switching(format!("a smaller variant comes, since memory is short: {because}"));
        if let Err(reason) = self.installer.retreat(because, says, self.patience(), is_the_end).await {
            tracing::error!(detail = reason.detail, "the model cannot leave");
            return Done::Taken { is_smallest: None };
        }
        crate::allocator::give_back();
        self.displace(&serving);
        // Planned again, with the room that there really is now.
        let brought = match self.stand_ins.best_below(&serving).await {
            Ok(chosen) => self.bring(&chosen).await,
            Err(why) => Err(why),
        };
        match brought {
            Ok(()) => Done::Taken { is_smallest: Some(false) },
            Err(why) => {
                self.nothing_serves(&format!("memory ran short, and no smaller variant could take over: {why}"));
                Done::Gone
            }
        }
    }

    /// Has the last model leave: better no answers for a while than a process that is killed.
    pub(super) async fn leave(&self, because: &str, is_the_end: &AtomicBool, told: Note) -> Done {
        let serving = self.active.current().map(|serving| serving.card.clone());
        let did = serving.as_ref().map_or_else(
            || "no model is in memory".to_owned(),
            |card| format!("`{}` {} leaves, and comes back when there is room", card.model, card.variant),
        );
        told.tell(did).await;
        if let Some(card) = &serving {
            self.displace(card);
        }
        let says = Readiness::Nothing(gone(because));
        if let Err(reason) = self.installer.retreat(because, says, Duration::ZERO, is_the_end).await {
            tracing::error!(detail = reason.detail, "the model cannot leave");
        }
        crate::allocator::give_back();
        Done::Gone
    }

    /// Takes back that another variant serves, or none.
    pub(super) async fn step_up(&self, from: Level, now_ms: u64, told: Note) -> Done {
        let serving = self.active.current();
        let Some(wanted) = self.wanted() else {
            told.tell("no other variant took over, so none has to come back".to_owned()).await;
            return Done::Taken { is_smallest: None };
        };
        if from == Level::Nothing && serving.is_none() {
            return match self.stand_ins.best(&wanted).await {
                Ok(chosen) => self.bring_and_tell(&wanted, &chosen, told).await.unwrap_or(Done::PutOff),
                Err(why) => {
                    self.nothing_serves(&gone(&why));
                    Done::PutOff
                }
            };
        }
        drop(serving);
        match self.better(&wanted, now_ms).await {
            Some(chosen) => {
                let done = self.bring_and_tell(&wanted, &chosen, told).await;
                done.unwrap_or(Done::Taken { is_smallest: None })
            }
            None => {
                told.tell("the variant that took over stays for now".to_owned()).await;
                Done::Taken { is_smallest: None }
            }
        }
    }

    /// Whether it is time to think of the variant that was chosen at first.
    pub(super) fn may_return(&self, now_ms: u64, every_ms: u64) -> bool {
        let displaced = self.displaced();
        displaced.wanted.is_some() && now_ms.saturating_sub(displaced.tried_ms) >= every_ms
    }

    /// Has a larger variant serve again, if one fits by now.
    pub(super) async fn bring_back(&self, now_ms: u64, told: Note) -> Done {
        if let Some(wanted) = self.wanted()
            && let Some(chosen) = self.better(&wanted, now_ms).await
        {
            self.bring_and_tell(&wanted, &chosen, told).await;
        }
        Done::Returned
    }

    async fn better(&self, wanted: &Card, now_ms: u64) -> Option<StandIn> {
        self.displaced().tried_ms = now_ms;
        let serving = self.active.current()?;
        let found = self.stand_ins.larger(wanted, &serving).await;
        found.inspect_err(|why| tracing::info!(why, "a smaller variant goes on serving")).ok()
    }

    /// Nothing if it does not come.
    async fn bring_and_tell(&self, wanted: &Card, chosen: &StandIn, told: Note) -> Option<Done> {
        told.tell(format!("`{}` {} serves again", chosen.card.model, chosen.card.variant)).await;
        match self.bring(chosen).await {
            Ok(()) => {
                if chosen.card.sha256 == wanted.sha256 {
                    *self.displaced() = Displaced::default();
                }
                Some(Done::Taken { is_smallest: Some(false) })
            }
            Err(why) => {
                tracing::warn!(why, "a model does not come back yet");
                None
            }
        }
    }

    async fn bring(&self, chosen: &StandIn) -> Result<(), String> {
        let wanted = self.stand_ins.wanted(chosen).await?;
        let came = self.installer.stand_in(wanted, &chosen.choice).await.map_err(|reason| reason.detail)?;
        self.displaced().stands_in = came.blake3;
        Ok(())
    }

    /// Remembers what was to serve, unless something stands in for it already.
    fn displace(&self, serving: &Card) {
        let mut displaced = self.displaced();
        if displaced.stands_in.is_none() || displaced.stands_in != serving.blake3 {
            displaced.wanted = Some(serving.clone());
            displaced.stands_in = None;
        }
    }

    /// What was to serve, unless somebody has decided otherwise since.
    fn wanted(&self) -> Option<Card> {
        let serving = self.active.current().map(|serving| serving.card.blake3);
        let mut displaced = self.displaced();
        if serving.is_some_and(|file| file != displaced.stands_in || displaced.stands_in.is_none()) {
            *displaced = Displaced::default();
        }
        displaced.wanted.clone()
    }

    fn displaced(&self) -> std::sync::MutexGuard<'_, Displaced> {
        self.displaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nothing_serves(&self, because: &str) {
        if self.active.current().is_none() {
            self.installer.readiness.send_replace(Readiness::Nothing(because.to_owned()));
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.installer.settings.drain_seconds)
    }
}

fn gone(because: &str) -> String {
    format!("the model left for want of memory and comes back when there is room: {because}")
}

/// What a model may do on a level.
fn limits(level: Level, is_hot: bool, card: &Card) -> Limits {
    let mut limits = Limits::default();
    if level >= Level::Cache {
        limits.kept_bytes = 0;
    }
    if level >= Level::Slots || is_hot {
        limits.slots = (card.slots / 2).max(1);
    }
    if level >= Level::Context {
        limits.context_tokens = (card.context_tokens / 2).max(LEAST_CONTEXT_TOKENS);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(slots: u32, context_tokens: u32) -> Card {
        serde_json::from_value(serde_json::json!({
            "model": "a", "variant": "Q8_0", "target": null, "blake3": null, "path": null, "sha256": "0".repeat(64),
            "licence": "", "context_tokens": context_tokens, "slots": slots, "threads": 1,
            "tokens_per_second_milli": 0, "installed_at_s": 0,
        }))
        .unwrap()
    }

    #[test]
    fn each_level_takes_more_than_the_one_above_and_nothing_back() {
        let card = card(8, 4_096);
        let of = |level| limits(level, false, &card);
        assert_eq!(of(Level::Full), Limits::default());
        assert_eq!(of(Level::Cache), Limits { kept_bytes: 0, ..Limits::default() });
        assert_eq!(of(Level::Slots), Limits { kept_bytes: 0, slots: 4, ..Limits::default() });
        assert_eq!(of(Level::Context), Limits { kept_bytes: 0, slots: 4, context_tokens: 2_048 });
        assert_eq!(of(Level::Variant), of(Level::Context));
        assert_eq!(limits(Level::Full, true, &card), Limits { slots: 4, ..Limits::default() });
    }

    #[test]
    fn one_slot_and_a_useful_context_are_left() {
        let limits = limits(Level::Nothing, true, &card(1, 300));
        assert_eq!((limits.slots, limits.context_tokens), (1, LEAST_CONTEXT_TOKENS));
    }
}
