//! The steps of an activation with real models: worker threads, the slot, the audit log and the ledger.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use outpost_audit::{AuditLog, Kind, Record};
use outpost_contract::{GoldenPrompts, Reason, ReasonCode};
use outpost_disk::Ledger;
use outpost_planner::{Entrance, budget};
use tokio::sync::watch;

use super::{Stage, Step, Which};
use crate::active::{Active, Card, Loaded};
use crate::backend::Readiness;
use crate::config;
use crate::install::load;
use crate::measure::Measured;
use crate::self_test;
use crate::worker::WorkerOptions;

/// How often it is looked whether the last answer is given.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long answers that were cut off may take to let their model go.
pub(crate) const LETTING_GO: Duration = Duration::from_secs(10);

/// A model and where it lies.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) card: Card,
    pub(crate) path: PathBuf,
    pub(crate) golden: GoldenPrompts,
}

/// One exchange of models; owns all it needs, so that nobody who stops waiting for it stops it halfway.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) settings: config::Model,
    pub(crate) program: PathBuf,
    pub(crate) active: Arc<Active>,
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) audit: AuditLog,
    pub(crate) ledger: Arc<Mutex<Ledger<Card>>>,
    pub(crate) measured: Arc<Measured>,
    pub(crate) entrance: Option<Entrance>,
    pub(crate) new: Wanted,
    /// What serves, if anything does.
    pub(crate) old: Option<Wanted>,
    /// Whether the next start loads the new one: not, if it only stands in for another.
    pub(crate) is_kept: bool,
}

impl Exchange {
    fn wanted(&self, which: Which) -> Result<&Wanted, Reason> {
        let nothing = || Reason {
            code: ReasonCode::Unavailable,
            subject: self.new.card.model.to_string(),
            detail: "nothing served before".into(),
        };
        match which {
            Which::New => Ok(&self.new),
            Which::Old => self.old.as_ref().ok_or_else(nothing),
        }
    }

    /// What was counted on to be free is free: to load a model into less would endanger the whole box.
    async fn check_room(&self) -> Result<(), Reason> {
        let Some(Entrance::AfterDraining { needed_bytes, .. }) = self.entrance else { return Ok(()) };
        let usable_bytes = budget(&self.measured.get().await).usable_bytes;
        if needed_bytes <= usable_bytes {
            return Ok(());
        }
        Err(Reason {
            code: ReasonCode::DoesNotFit,
            subject: self.new.card.model.to_string(),
            detail: format!(
                "{needed_bytes} bytes of memory are needed and {usable_bytes} are usable even with the old model gone: \
                 something else took memory meanwhile"
            ),
        })
    }
}

#[async_trait]
impl Stage for Exchange {
    type Model = Box<Loaded>;

    async fn at(&self, step: Step) {
        tracing::info!(model = %self.new.card.model, variant = self.new.card.variant, ?step, "exchanging models");
    }

    async fn load(&self, which: Which) -> Result<Box<Loaded>, Reason> {
        let Wanted { card, path, .. } = self.wanted(which)?.clone();
        if which == Which::New {
            self.check_room().await?;
        }
        let options = WorkerOptions {
            context_tokens: card.context_tokens,
            slots: card.slots,
            threads: card.threads,
            backend: self.settings.backend.wanted(),
            draft: self.settings.draft.clone(),
        };
        let (program, model) = (self.program.clone(), card.model.to_string());
        let learning = Arc::clone(self.measured.learning());
        let loading = tokio::task::spawn_blocking(move || {
            let (worker, template) = load(&path, options, program)?;
            learning.watch(&worker, &card.model);
            Ok(Box::new(Loaded::new(worker, template, card)))
        });
        let loaded: anyhow::Result<_> = loading.await.map_err(anyhow::Error::new).and_then(|loaded| loaded);
        loaded.map_err(|error| Reason { code: ReasonCode::Unloadable, subject: model, detail: format!("{error:#}") })
    }

    async fn test(&self, which: Which, model: &mut Box<Loaded>) -> Result<(), Reason> {
        let golden = &self.wanted(which)?.golden;
        match self_test::run(&model.worker, golden).await {
            Ok(speed) => {
                model.card.tokens_per_second_milli = speed;
                model.card.golden_prompts = self_test::asked(&model.worker, golden);
            }
            Err(error) => {
                return Err(Reason {
                    code: ReasonCode::SelfTestFailed,
                    subject: model.card.model.to_string(),
                    detail: format!("{error:#}"),
                });
            }
        }
        Ok(())
    }

    async fn drain(&self) -> Result<(), Reason> {
        let Some(serving) = self.active.current() else { return Ok(()) };
        let running = serving.worker.running();
        let because = self.entrance.map(|entrance| entrance.to_string()).unwrap_or_default();
        let record = Record::new(Kind::ModelUnload)
            .object(serving.card.object())
            .detail("because", because.as_str())
            .detail("running", u64::from(running));
        drop(serving);
        recorded(&self.audit, record).await?;
        self.readiness.send_replace(Readiness::Switching("the model is being exchanged".into()));
        let Some(old) = self.active.replace(None) else { return Ok(()) };
        if !let_go(&old, Duration::from_secs(self.settings.drain_seconds)).await {
            tracing::warn!(running = old.worker.running(), "answers are cut off: their time to end is over");
            old.worker.stop();
            if !let_go(&old, LETTING_GO).await {
                tracing::error!(model = %old.card.model, "somebody holds the old model: its memory is not free yet");
            }
        }
        tokio::task::spawn_blocking(move || drop(old)).await.ok();
        Ok(())
    }

    async fn commit(&self, model: &Box<Loaded>) -> Result<(), Reason> {
        let speed = i64::try_from(model.card.tokens_per_second_milli).unwrap_or(i64::MAX);
        let mut record =
            Record::new(Kind::ModelLoad).object(model.card.object()).detail("tokens_per_second_milli", speed);
        if let Some(entrance) = self.entrance {
            record = record.detail("because", entrance.to_string());
        }
        if !self.new.golden.is_empty() {
            record = record.detail("golden_prompts", self.new.golden.as_slice().len() as u64);
        }
        recorded(&self.audit, record).await?;
        if !self.is_kept {
            return Ok(());
        }
        let committed = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).commit(&model.card);
        committed.map_err(|error| Reason {
            code: ReasonCode::InsufficientSpace,
            subject: model.card.model.to_string(),
            detail: error.to_string(),
        })
    }

    async fn serve(&self, which: Which, model: Box<Loaded>) {
        if which == Which::Old {
            tracing::warn!(model = %model.card.model, variant = model.card.variant, "the model of before serves again");
        }
        let old = self.active.replace(Some(Arc::from(model)));
        self.readiness.send_replace(Readiness::Serving);
        // Gone after its last answer; nobody here waits for that.
        tokio::task::spawn_blocking(move || drop(old));
    }

    async fn discard(&self, model: Box<Loaded>) {
        // Freeing a model joins its thread: not on a thread that serves others.
        tokio::task::spawn_blocking(move || drop(model)).await.ok();
    }
}

/// Waits until nobody else holds the model: every answer keeps it until it is given.
pub(crate) async fn let_go(old: &Arc<Loaded>, patience: Duration) -> bool {
    let began = Instant::now();
    while Arc::strong_count(old) > 1 {
        if began.elapsed() >= patience {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}

/// Makes a record durable; what cannot be recorded does not happen.
pub(crate) async fn recorded(audit: &AuditLog, record: Record) -> Result<(), Reason> {
    let written = audit.append(record).await;
    written.map(|_| ()).map_err(|error| Reason {
        code: ReasonCode::InsufficientSpace,
        subject: "audit log".into(),
        detail: error.to_string(),
    })
}
