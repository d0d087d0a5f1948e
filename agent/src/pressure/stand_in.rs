//! Which variant stands in for another one for want of memory: the planner's choice among those that are here, by the room that
//! there is now.

use std::path::PathBuf;
use std::sync::Arc;

use outpost_contract::{Blake3, Measurements, Sha256, TargetName, VariantFacts};
use outpost_engine::gguf::Gguf;
use outpost_planner::{Candidate, Choice, Constraints, KvType, Setting, given_back, needs, plan};
use outpost_probe::Room;
use outpost_serve::Purpose;

use super::marks::Marks;
use crate::activation::Wanted;
use crate::active::{Card, Loaded};
use crate::facts::{self, MINIMUM_CONTEXT_TOKENS};
use crate::install::Installer;
use crate::models::Shelf;

/// Finds them.
#[derive(Debug)]
pub(super) struct StandIns {
    pub(super) installer: Arc<Installer>,
    pub(super) shelf: Arc<Shelf>,
}

/// A variant that is here, as the planner would have it serve.
#[derive(Debug, Clone)]
pub(super) struct StandIn {
    pub(super) card: Card,
    pub(super) choice: Choice,
    facts: VariantFacts,
}

/// A variant that may serve and is here.
#[derive(Debug, Clone)]
struct Here {
    candidate: Candidate,
    sha256: Sha256,
    blake3: Option<Blake3>,
    path: Option<PathBuf>,
    /// Whether its name is one of the catalogue's.
    is_offered: bool,
}

impl StandIns {
    /// The best of those that are smaller than what serves, once that has left.
    ///
    /// # Errors
    /// In words, why there is none.
    pub(super) async fn smaller(&self, serving: &Card, left: &Room) -> Result<StandIn, String> {
        let here = self.here(serving).await?;
        let own = own(&here, serving)?;
        let smaller = smaller_than(&here, own);
        if smaller.is_empty() {
            return Err(format!("no variant smaller than {} is on this device", serving.variant));
        }
        let measured = self.installer.measured.get().await;
        let measured = given_back(&measured, &own.candidate.facts, &self.constraints(&here, None).await?);
        self.choose(&smaller, &tight(measured, own, left), None).await
    }

    /// The same, now that it has left.
    pub(super) async fn best_below(&self, served: &Card) -> Result<StandIn, String> {
        let here = self.here(served).await?;
        let own = own(&here, served)?;
        let smaller = smaller_than(&here, own);
        let room = outpost_probe::room();
        let measured = self.installer.measured.get().await;
        self.choose(&smaller, &tight(measured, own, &room), None).await
    }

    /// The best of all, where none is in memory.
    pub(super) async fn best(&self, wanted: &Card) -> Result<StandIn, String> {
        let here = self.here(wanted).await?;
        self.choose(&here, &self.installer.measured.get().await, None).await
    }

    /// One that is larger than what serves and fits by now, with room to spare.
    pub(super) async fn larger(&self, wanted: &Card, serving: &Loaded) -> Result<StandIn, String> {
        let here = self.here(wanted).await?;
        let now = facts::variant(serving.card.model.clone(), 1, serving.worker.model().info());
        let target = here.iter().find(|one| one.sha256 == serving.card.sha256).map(|one| one.candidate.target.clone());
        let measured = self.installer.measured.get().await;
        let measured = given_back(&measured, &now, &self.constraints(&here, None).await?);
        let chosen = self.choose(&here, &measured, target).await?;
        if chosen.card.sha256 == serving.card.sha256 || memory_of(&chosen.facts) <= memory_of(&now) {
            return Err("nothing larger fits yet".to_owned());
        }
        Ok(chosen)
    }

    /// Its file, checked as a whole.
    pub(super) async fn wanted(&self, chosen: &StandIn) -> Result<Wanted, String> {
        let path = match (&chosen.card.path, chosen.card.blake3) {
            (Some(path), _) => path.clone(),
            (None, Some(file)) => {
                let store = self.installer.store.clone();
                let checking = tokio::task::spawn_blocking(move || store.verify_file(file)).await;
                checking.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?.path
            }
            (None, None) => return Err("it is not known where its file lies".to_owned()),
        };
        Ok(Wanted { card: chosen.card.clone(), path, golden: chosen.facts.golden.clone() })
    }

    async fn choose(
        &self,
        among: &[Here],
        measured: &Measurements,
        serving: Option<TargetName>,
    ) -> Result<StandIn, String> {
        let candidates: Vec<_> = among.iter().map(|one| one.candidate.clone()).collect();
        let plan = plan(&candidates, measured, &self.constraints(among, serving).await?);
        let Some(choice) = plan.choice else {
            let why = plan.verdicts.into_iter().map(|one| format!("{}: {}", one.quantisation, one.because));
            return Err(format!("nothing fits: {}", why.collect::<Vec<_>>().join("; ")));
        };
        let chosen = among.iter().find(|one| one.candidate.target == choice.target);
        let one = chosen.ok_or_else(|| "the planner chose what was not offered".to_owned())?;
        let facts = &one.candidate.facts;
        let card = Card {
            target: one.is_offered.then(|| choice.target.clone()),
            blake3: one.blake3,
            path: one.path.clone(),
            ..self.installer.card(&choice, facts, one.sha256)
        };
        Ok(StandIn { card, facts: facts.clone(), choice })
    }

    async fn constraints(&self, among: &[Here], serving: Option<TargetName>) -> Result<Constraints, String> {
        let installer = Arc::clone(&self.installer);
        let draft = tokio::task::spawn_blocking(move || installer.draft()).await.map_err(|error| error.to_string())?;
        let trained = among.iter().map(|one| one.candidate.facts.model.context_tokens).min().unwrap_or(0);
        let asked = match self.installer.offered() {
            offered if offered.offers.is_empty() => MINIMUM_CONTEXT_TOKENS.min(trained),
            offered => offered.minimum_context_tokens,
        };
        Ok(Constraints {
            minimum_context_tokens: asked,
            slots: self.installer.settings.slots,
            draft: draft.map_err(|error| format!("{error:#}"))?,
            serving,
            ..Constraints::default()
        })
    }

    /// What may serve in the place of a model: what the fleet offers, or what was imported on a box of its own; of a file that
    /// somebody named, only itself.
    async fn here(&self, instead_of: &Card) -> Result<Vec<Here>, String> {
        if let Some(path) = instead_of.path.clone() {
            return self.file(instead_of, path).await.map(|one| vec![one]);
        }
        let offered = self.installer.offered();
        let mut here: Vec<_> = if offered.offers.is_empty() {
            let mut entries = self.shelf.entries().await;
            entries.retain(|entry| entry.purpose == Purpose::Generation);
            let one = |entry: &Arc<crate::models::Entry>| {
                let candidate = Candidate { target: entry.target().ok()?, facts: entry.facts() };
                Some(Here {
                    candidate,
                    sha256: entry.sha256,
                    blake3: Some(entry.blake3),
                    path: None,
                    is_offered: false,
                })
            };
            entries.iter().filter_map(one).collect()
        } else {
            let store = &self.installer.store;
            let is_here = |file: Blake3| matches!(store.find(file), Ok(Some(_)));
            let offers = offered.offers.into_iter().filter(|offer| is_here(offer.manifest.blake3));
            offers
                .map(|offer| Here {
                    candidate: Candidate { target: offer.target, facts: offer.facts },
                    sha256: offer.manifest.sha256,
                    blake3: Some(offer.manifest.blake3),
                    path: None,
                    is_offered: true,
                })
                .collect()
        };
        let withdrawn = &self.installer.withdrawn;
        here.retain(|one| withdrawn.due(&one.candidate.facts.model.model, &one.sha256).is_none());
        here.retain(|one| one.blake3.is_none_or(|file| self.installer.attempts.failure(file).is_none()));
        Ok(here)
    }

    async fn file(&self, card: &Card, path: PathBuf) -> Result<Here, String> {
        let file = path.clone();
        let reading = tokio::task::spawn_blocking(move || Gguf::open(&file).map(|gguf| gguf.info())).await;
        let info = reading.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let target = "local-file".parse().map_err(|_| "a fixed name".to_owned())?;
        let candidate = Candidate { target, facts: facts::variant(card.model.clone(), 1, &info) };
        Ok(Here { candidate, sha256: card.sha256, blake3: None, path: Some(path), is_offered: false })
    }
}

/// What the memory of a variant is compared by: with one short conversation.
fn memory_of(facts: &VariantFacts) -> u64 {
    let setting = Setting { context_tokens: MINIMUM_CONTEXT_TOKENS, slots: 1, threads: 1, kv_type: KvType::default() };
    needs(facts, &setting).total()
}

fn own<'a>(here: &'a [Here], card: &Card) -> Result<&'a Here, String> {
    let found = here.iter().find(|one| one.sha256 == card.sha256);
    found.ok_or_else(|| "what serves is none of what may serve here".to_owned())
}

fn smaller_than(here: &[Here], own: &Here) -> Vec<Here> {
    let most = memory_of(&own.candidate.facts);
    here.iter().filter(|one| memory_of(&one.candidate.facts) < most).cloned().collect()
}

/// What to plan with where memory is short: somebody may be about to take more, and the agent itself, which a plan counts, is
/// in memory already.
fn tight(measured: Measurements, own: &Here, left: &Room) -> Measurements {
    let setting = Setting { context_tokens: 0, slots: 1, threads: 1, kv_type: KvType::default() };
    let (base, margin) =
        (needs(&own.candidate.facts, &setting).base_bytes, Marks::of(left.capacity_bytes).critical_bytes);
    let tightened = |bytes: u64| bytes.saturating_add(base).saturating_sub(margin);
    Measurements {
        memory_available_bytes: tightened(measured.memory_available_bytes),
        memory_cgroup_headroom_bytes: measured.memory_cgroup_headroom_bytes.map(tightened),
        ..measured
    }
}
