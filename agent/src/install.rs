//! From "may run" to "runs": plan, pull, check, load, self-test, switch; a failure anywhere leaves what serves alone.

mod replace;
mod retreat;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use outpost_audit::{AuditLog, Kind, ObjectRef, Record};
use outpost_contract::{Blake3, Manifest, Measurements, ModelId, Reason, ReasonCode, Sha256, TargetName, VariantFacts};
use outpost_disk::{Clock, Ledger};
use outpost_engine::gguf::Gguf;
use outpost_planner::{Candidate, Choice, Constraints, Entrance, Plan, given_back, plan};
use outpost_store::{Source, SourceError, Store, StoreError, StoredFile};
use tokio::sync::watch;

use crate::activation::{Wanted, recorded};
use crate::active::{Active, Card};
use crate::attempts::Attempts;
use crate::backend::Readiness;
use crate::config;
use crate::facts;
use crate::gate::{Gate, Gated};
use crate::housekeeping::Housekeeper;
use crate::measure::Measured;
use crate::progress::{Announcer, Progress};
use crate::pulling::Pulling;
use crate::template_worker::{Limits, TemplateWorker};
use crate::withdrawn::Withdrawn;
use crate::worker::{Worker, WorkerOptions};

/// Everything that installing needs; shared by the fleet and by a box on its own.
#[derive(Debug)]
pub struct Installer {
    pub(crate) settings: config::Model,
    pub(crate) store: Store,
    /// When models may be fetched.
    pub(crate) gate: Gate,
    pub(crate) pulling: Arc<Pulling>,
    pub(crate) active: Arc<Active>,
    pub(crate) audit: AuditLog,
    pub(crate) clock: Clock,
    pub(crate) announcer: Announcer,
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) ledger: Arc<Mutex<Ledger<Card>>>,
    pub(crate) measured: Arc<Measured>,
    pub(crate) housekeeper: Arc<Housekeeper>,
    /// What was tried and failed.
    pub(crate) attempts: Arc<Attempts>,
    /// Whoever exchanges models holds it.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// Counts decisions on what is to serve: what was decided before is not brought back.
    pub(crate) decisions: Arc<AtomicU64>,
    /// What was refused last and why: trying again every half minute is no reason to record it every half minute.
    pub(crate) last_rejection: Mutex<Option<Reason>>,
    /// What templates run in.
    pub(crate) program: PathBuf,
    /// What may not serve any more.
    pub(crate) withdrawn: Withdrawn,
    /// What may serve in the place of what does, on a device of a fleet.
    pub(crate) offered: Mutex<Offered>,
}

/// One variant that both signatures allow.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Its name in the catalogue.
    pub target: TargetName,
    /// What the catalogue says of it.
    pub facts: VariantFacts,
    /// What the file consists of.
    pub manifest: Manifest,
}

/// What the fleet lets this device choose from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offered {
    pub(crate) offers: Vec<Offer>,
    pub(crate) minimum_context_tokens: u32,
}

/// What became of an installation.
#[derive(Debug)]
pub struct Installed {
    /// The plan that chose.
    pub plan: Plan,
    /// What serves now.
    pub card: Card,
    /// How it came in, if something else served.
    pub entrance: Option<Entrance>,
    /// Variants that would have been chosen first and failed here, each with its reason.
    pub passed_over: Vec<Reason>,
}

impl Installer {
    /// Plans among the offers and makes the chosen one serve. What already serves and is still the choice stays. A variant that
    /// fails here is not tried again for this desired state: the next best has its turn.
    ///
    /// # Errors
    /// Why it does not serve, for the report; whatever served before still does. The plan comes along where one was made.
    pub async fn install(
        &self,
        model: &ModelId,
        offers: &[Offer],
        minimum_context_tokens: u32,
        measurements: &Measurements,
        source: &dyn Source,
    ) -> Result<Installed, (Option<Plan>, Vec<Reason>)> {
        let (mut passed_over, mut open) = (Vec::new(), Vec::new());
        for offer in offers {
            match self.attempts.failure(offer.manifest.blake3) {
                Some(before) => {
                    let detail = format!("`{}` is not tried again: {}", offer.target, before.detail);
                    passed_over.push(Reason { detail, ..before });
                }
                None => open.push(offer.clone()),
            }
        }
        let mut last = None;
        while !open.is_empty() {
            let (plan, chosen) = match self.choose(model, &open, minimum_context_tokens, measurements).await {
                Ok(chosen) => chosen,
                Err((plan, reason)) => {
                    passed_over.push(reason);
                    return Err((plan.or(last), passed_over));
                }
            };
            let Chosen { offer, card } = chosen;
            if let Some(current) = self.active.current()
                && current.card.blake3 == Some(offer.manifest.blake3)
            {
                // Whatever was fetched before is not wanted any more.
                self.pulling.ended();
                return Ok(Installed { card: current.card.clone(), plan, entrance: None, passed_over });
            }
            match self.pull_and_load(card, &offer, &plan, source).await {
                Ok((card, entrance)) => return Ok(Installed { plan, card, entrance, passed_over }),
                Err(reason) => {
                    let is_known = self.attempts.failure(offer.manifest.blake3).is_some();
                    passed_over.push(reason);
                    if !is_known {
                        return Err((Some(plan), passed_over));
                    }
                }
            }
            open.retain(|other| other.manifest.blake3 != offer.manifest.blake3);
            last = Some(plan);
        }
        if passed_over.is_empty() {
            passed_over.push(reason(ReasonCode::DoesNotFit, model, "no variant is offered".into()));
        }
        Err((last, passed_over))
    }

    /// The plan among the offers, for the machine as it would be without what serves now.
    async fn choose(
        &self,
        model: &ModelId,
        offers: &[Offer],
        minimum_context_tokens: u32,
        measurements: &Measurements,
    ) -> Result<(Plan, Chosen), (Option<Plan>, Reason)> {
        let candidates: Vec<_> =
            offers.iter().map(|offer| Candidate { target: offer.target.clone(), facts: offer.facts.clone() }).collect();
        let absent = |offer: &&Offer| !matches!(self.store.find(offer.manifest.blake3), Ok(Some(_)));
        let to_fetch = offers.iter().filter(absent).map(|offer| offer.target.clone()).collect();
        let slots = self.settings.slots;
        let draft = match self.draft() {
            Ok(draft) => draft,
            Err(error) => {
                let reason = reason(ReasonCode::Unloadable, model, format!("{error:#}"));
                self.reject(model, &reason).await;
                return Err((None, reason));
            }
        };
        let mut constraints = Constraints { minimum_context_tokens, slots, to_fetch, draft, ..Constraints::default() };
        let mut measurements = self.housekeeper.with_room_made(measurements).await;
        if let Some(current) = self.active.current() {
            let loaded = current.worker.model();
            let serving = facts::variant(current.card.model.clone(), 1, loaded.info());
            measurements = given_back(&measurements, &serving, &constraints);
            constraints.serving.clone_from(&current.card.target);
        }
        let plan = plan(&candidates, &measurements, &constraints);
        self.announcer.say(Progress::Planned {
            table: plan.table(),
            chosen: plan.choice.as_ref().map(|choice| choice.target.to_string()),
        });
        let Some(choice) = &plan.choice else {
            self.pulling.ended();
            let detail = plan.verdicts.iter().map(|verdict| format!("{}: {}", verdict.target, verdict.because));
            let reason = reason(ReasonCode::DoesNotFit, model, detail.collect::<Vec<_>>().join("; "));
            self.reject(model, &reason).await;
            return Err((Some(plan), reason));
        };
        let Some(offer) = offers.iter().find(|offer| offer.target == choice.target) else {
            let reason = reason(ReasonCode::DoesNotFit, model, "the planner chose what was not offered".into());
            return Err((Some(plan), reason));
        };
        let card = Card {
            model: model.clone(),
            target: Some(offer.target.clone()),
            blake3: Some(offer.manifest.blake3),
            ..self.card(choice, &offer.facts, offer.manifest.sha256)
        };
        let chosen = Chosen { offer: offer.clone(), card };
        Ok((plan, chosen))
    }

    /// The card of a variant as the planner would have it serve, within the settings; where its file lies, the caller knows.
    pub(crate) fn card(&self, choice: &Choice, facts: &VariantFacts, sha256: Sha256) -> Card {
        let settings = &self.settings;
        Card {
            model: facts.model.model.clone(),
            variant: facts.quantisation.clone(),
            target: None,
            blake3: None,
            path: None,
            sha256,
            licence: facts.model.licence.clone(),
            context_tokens: match settings.context_tokens {
                0 => choice.context_tokens,
                wanted => wanted.min(choice.context_tokens),
            },
            slots: choice.slots,
            threads: if settings.threads == 0 { choice.threads } else { settings.threads },
            tokens_per_second_milli: 0,
            golden_prompts: 0,
            installed_at_s: self.clock.now_s(),
            previous: None,
        }
    }

    /// What is known of the draft model, if one is configured.
    ///
    /// # Errors
    /// If its file is no model.
    pub(crate) fn draft(&self) -> anyhow::Result<Option<VariantFacts>> {
        let Some(file) = &self.settings.draft else { return Ok(None) };
        let unusable = || format!("`model.draft` in outpost.toml cannot be used: `{}`", file.display());
        let info = Gguf::open(file).with_context(unusable)?.info();
        Ok(Some(facts::variant(facts::model_id(file, &info).with_context(unusable)?, 1, &info)))
    }

    async fn pull_and_load(
        &self,
        card: Card,
        offer: &Offer,
        plan: &Plan,
        source: &dyn Source,
    ) -> Result<(Card, Option<Entrance>), Reason> {
        let manifest = &offer.manifest;
        let was_here = self.is_here_and_whole(&card, manifest.blake3).await;
        let stored = match self.fetch(card.model.as_str(), card.target.as_ref(), manifest, source).await {
            Ok(stored) => stored,
            Err(reason) => {
                // A link that comes and goes is no event of its own, and neither are hours; it is tried again.
                if !is_waiting(reason.code) {
                    self.reject(&card.model, &reason).await;
                }
                self.nothing_serves(&reason);
                return Err(reason);
            }
        };
        if !was_here {
            let record = Record::new(Kind::ModelPull).object(card.object()).detail("bytes", stored.bytes);
            recorded(&self.audit, record).await?;
        }
        let golden = offer.facts.golden.clone();
        self.exchange(Wanted { card, path: stored.path, golden }, plan.choice.as_ref()).await
    }

    /// Brings a file whole into the store, within the hours and the budget of the policy; says how far it is on the way.
    ///
    /// # Errors
    /// Why it did not come; what came of it stays.
    pub(crate) async fn fetch(
        &self,
        subject: &str,
        target: Option<&TargetName>,
        manifest: &Manifest,
        source: &dyn Source,
    ) -> Result<StoredFile, Reason> {
        self.housekeeper.make_room(subject, manifest).await?;
        let (announcer, pulling) = (self.announcer.clone(), Arc::clone(&self.pulling));
        let (target, origin) = (target.cloned(), source.name());
        let gated = Gated { gate: &self.gate, source };
        // Hours and budgets are for lines: a stick takes nothing of one.
        let from: &dyn Source = if source.is_here() { source } else { &gated };
        let pulled = self
            .store
            .pull(manifest, from, move |progress| {
                if let Some(target) = &target {
                    pulling.progress(target, &origin, progress.present_bytes, progress.total_bytes);
                }
                announcer.say(Progress::Pulling { done: progress.present_bytes, total: progress.total_bytes });
            })
            .await;
        match pulled {
            Ok(stored) => {
                self.pulling.ended();
                Ok(stored)
            }
            Err(error) => {
                let reason = self.why_not_pulled(subject, &error, source);
                self.pulling.waits(&reason.detail);
                Err(reason)
            }
        }
    }

    /// Why a file did not come; where the policy closed the gate, when it opens.
    fn why_not_pulled(&self, subject: &str, error: &StoreError, source: &dyn Source) -> Reason {
        let is_stopped = matches!(error, StoreError::Incomplete { .. }) && !source.is_here();
        let closed = self.gate.closed().filter(|_| is_stopped);
        match closed {
            Some(closed) => reason(closed.code, subject, closed.detail),
            None => reason(store_code(error), subject, error.to_string()),
        }
    }

    /// True if the file is in the store and still is what was installed. A file that rotted is recorded and removed, so that
    /// it is fetched again.
    async fn is_here_and_whole(&self, card: &Card, file: Blake3) -> bool {
        let store = self.store.clone();
        let checking = tokio::task::spawn_blocking(move || match store.verify_file(file) {
            Err(damage @ StoreError::Damaged { .. }) => {
                let removed = store.remove(file);
                Err(removed.map_or_else(|error| format!("{damage}; and {error}"), |()| damage.to_string()))
            }
            checked => Ok(checked.is_ok()),
        });
        match checking.await {
            Ok(Ok(is_whole)) => is_whole,
            Ok(Err(detail)) => {
                self.reject(&card.model, &reason(ReasonCode::CorruptContent, &card.model, detail)).await;
                false
            }
            Err(_) => false,
        }
    }

    async fn reject(&self, model: &ModelId, reason: &Reason) {
        self.announcer.say(Progress::Refused(format!("{}: {}", code_name(reason.code), reason.detail)));
        let before = self.last_rejection.lock().unwrap_or_else(PoisonError::into_inner).replace(reason.clone());
        if before.is_some_and(|before| before.code == reason.code && before.subject == reason.subject) {
            return;
        }
        let object = ObjectRef { model: model.to_string(), ..ObjectRef::default() };
        let record = Record::new(Kind::ModelReject)
            .object(object)
            .detail("code", code_name(reason.code))
            .detail("reason", reason.detail.as_str());
        if let Err(error) = self.audit.append(record).await {
            tracing::error!(%error, "a refusal could not be recorded");
        }
    }
}

/// What the plan chose, as it will serve.
struct Chosen {
    offer: Offer,
    card: Card,
}

/// A model on its thread, and its template in its process; a template that does not compile is as bad as a broken file.
pub(crate) fn load(
    file: &Path,
    options: WorkerOptions,
    program: PathBuf,
) -> anyhow::Result<(Worker, Option<TemplateWorker>)> {
    let worker = Worker::load(file, options)?;
    let template = worker.model().template().map(|template| {
        TemplateWorker::start(program, template.source(), Limits::default())
            .with_context(|| format!("cannot use the chat template of `{}`", file.display()))
    });
    let template = template.transpose()?;
    Ok((worker, template))
}

fn reason(code: ReasonCode, subject: &(impl std::fmt::Display + ?Sized), detail: String) -> Reason {
    Reason { code, subject: subject.to_string(), detail }
}

/// Whether time alone may bring what is missing.
fn is_waiting(code: ReasonCode) -> bool {
    matches!(code, ReasonCode::Unavailable | ReasonCode::WindowClosed | ReasonCode::BudgetSpent)
}

fn store_code(error: &StoreError) -> ReasonCode {
    match error {
        StoreError::NotEnoughSpace { .. } => ReasonCode::InsufficientSpace,
        StoreError::CorruptChunk { .. }
        | StoreError::WrongDigest { .. }
        | StoreError::Incomplete { source: SourceError::Corrupt { .. }, .. } => ReasonCode::CorruptContent,
        StoreError::Disk(error) if error.is_full() => ReasonCode::InsufficientSpace,
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            ReasonCode::InsufficientSpace
        }
        _ => ReasonCode::Unavailable,
    }
}

/// The code as the wire spells it.
#[must_use]
pub fn code_name(code: ReasonCode) -> String {
    serde_json::to_value(code).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
