//! A box on its own: serves a local file, or what it served last, with the same plan, self-test and records as a fleet device.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_contract::{Sha256, TargetName};
use outpost_engine::gguf::Gguf;
use outpost_planner::{Candidate, Choice, Constraints, KvType, Setting, budget, needs, plan};
use outpost_serve::Purpose;

use crate::active::Card;
use crate::backend::Readiness;
use crate::facts::{self, MINIMUM_CONTEXT_TOKENS};
use crate::install::Installer;
use crate::measure::Measured;
use crate::parts::Parts;
use crate::progress::Progress;
use crate::state::StateDir;
use crate::tune::used;

/// Makes the file serve; without one, the file that served last, or else the best of those that were imported.
pub(crate) async fn serve(parts: Parts, file: Option<PathBuf>) {
    let installer = &parts.installer;
    let outcome = match (file, parts.last_card.clone()) {
        (Some(file), _) => serve_file(&parts.state, installer, &file, &parts.measured).await,
        (None, Some(card)) => serve_last(&parts, card).await,
        (None, None) => serve_best(&parts).await,
    };
    if let Err(error) = outcome {
        let because = format!("{error:#}");
        tracing::warn!(because, "no model serves");
        installer.readiness.send_replace(Readiness::Nothing(because));
    }
}

/// The file that served last. If it has less memory than when it was planned, as much context as there is room for; if there
/// is none for it at all, another one.
async fn serve_last(parts: &Parts, card: Card) -> Result<()> {
    let Some(path) = path_of(&parts.installer, &card).await? else { return serve_again(&parts.installer, card).await };
    let reading = tokio::task::spawn_blocking(move || Gguf::open(&path).map(|gguf| gguf.info()));
    let info = reading.await.context("reading the file was interrupted")??;
    let facts = facts::variant(card.model.clone(), 1, &info);
    let (context_tokens, slots, threads) = (card.context_tokens, card.slots, card.threads);
    let needed = needs(&facts, &Setting { context_tokens, slots, threads, kv_type: KvType::default() }).total();
    if needed <= budget(&parts.measured.get().await).usable_bytes {
        return serve_again(&parts.installer, card).await;
    }
    tracing::warn!(model = %card.model, variant = card.variant, needed, "what served last has less memory now");
    let target: TargetName = "local-file".parse().context("a fixed name")?;
    let planned = decide(&parts.installer, &[Candidate { target, facts }], info.context_tokens, &parts.measured).await;
    match planned {
        Ok(choice) => {
            let context_tokens = card.context_tokens.min(choice.context_tokens);
            serve_again(&parts.installer, Card { context_tokens, slots: choice.slots, ..card }).await
        }
        Err(error) if card.path.is_some() => Err(error),
        Err(_) => serve_best(parts).await,
    }
}

/// Where the file of a model lies; none if it is not there any more.
async fn path_of(installer: &Installer, card: &Card) -> Result<Option<PathBuf>> {
    let Some(file) = card.blake3.filter(|_| card.path.is_none()) else { return Ok(card.path.clone()) };
    let store = installer.store.clone();
    let looking = tokio::task::spawn_blocking(move || store.path(file)).await;
    Ok(looking.context("looking for the file was interrupted")?.unwrap_or_default())
}

/// Of the files that were imported, the one that the planner finds best.
async fn serve_best(parts: &Parts) -> Result<()> {
    let mut entries = parts.shelf.entries().await;
    entries.retain(|entry| entry.purpose == Purpose::Generation);
    if entries.is_empty() {
        bail!(
            "this device has no model; give one with `outpost run --model FILE` or `outpost model import FILE`, or \
             enrol it in a fleet"
        );
    }
    let mut candidates = Vec::new();
    for entry in &entries {
        candidates.push(Candidate { target: entry.target()?, facts: entry.facts() });
    }
    let trained = entries.iter().map(|entry| entry.info.context_tokens).min().unwrap_or(0);
    let planned = decide(&parts.installer, &candidates, trained, &parts.measured).await?;
    let chosen = candidates.iter().position(|candidate| candidate.target == planned.target);
    let chosen = chosen.and_then(|place| entries.get(place).zip(candidates.get(place)));
    let (entry, candidate) = chosen.context("the planner chose what was not offered")?;
    let (store, file) = (parts.store.clone(), entry.blake3);
    let checked = tokio::task::spawn_blocking(move || store.verify_file(file)).await;
    let stored = checked.context("checking the file was interrupted")?.context("the chosen file cannot be used")?;
    let planned = tuned(&parts.state, planned, entry.sha256, &parts.measured).await;
    let card = Card { blake3: Some(file), ..parts.installer.card(&planned, &candidate.facts, entry.sha256) };
    parts.installer.load(card, &stored.path).await.map(|_| ()).map_err(|reason| anyhow::anyhow!(reason.detail))
}

/// The planner's choice, told to whoever listens.
async fn decide(installer: &Installer, candidates: &[Candidate], trained: u32, measured: &Measured) -> Result<Choice> {
    let constraints = Constraints {
        minimum_context_tokens: MINIMUM_CONTEXT_TOKENS.min(trained),
        slots: installer.settings.slots,
        draft: installer.draft()?,
        ..Constraints::default()
    };
    let plan = plan(candidates, &measured.get().await, &constraints);
    let chosen = plan.choice.as_ref().map(|choice| choice.target.to_string());
    installer.announcer.say(Progress::Planned { table: plan.table(), chosen });
    plan.choice.with_context(|| {
        let because: Vec<_> = plan.verdicts.into_iter().map(|verdict| verdict.because).collect();
        format!("no model fits this machine: {}", because.join("; "))
    })
}

/// The choice with as many threads as evidence of `outpost tune` says, if there is some that holds for this box and this file.
async fn tuned(state: &StateDir, choice: Choice, sha256: Sha256, measured: &Measured) -> Choice {
    let (state, slots, measurements) = (state.clone(), choice.slots, measured.get().await);
    let looking = tokio::task::spawn_blocking(move || used::of_file(&state, sha256, slots, &measurements));
    // Evidence is a help: where it cannot be looked for, the plan stands.
    let Ok(Some(found)) = looking.await else { return choice };
    tracing::info!(because = found.because, "threads are chosen by evidence");
    Choice { threads: found.threads, ..choice }
}

async fn serve_file(state: &StateDir, installer: &Installer, file: &Path, measured: &Measured) -> Result<()> {
    let inspected = {
        let file = file.to_owned();
        tokio::task::spawn_blocking(move || -> Result<_> {
            let info = Gguf::open(&file).with_context(|| format!("`{}` is not served", file.display()))?.info();
            let sha256 = outpost_store::manifest::of_file(&file, &[]).context("cannot read the file")?.sha256;
            Ok((info, sha256))
        })
    };
    let (info, sha256) = inspected.await.context("reading the file was interrupted")??;
    let target: TargetName = "local-file".parse().context("a fixed name")?;
    let candidate = Candidate { target, facts: facts::variant(facts::model_id(file, &info)?, 1, &info) };
    let choice = decide(installer, std::slice::from_ref(&candidate), info.context_tokens, measured).await?;
    let choice = tuned(state, choice, sha256, measured).await;
    let path = std::path::absolute(file).with_context(|| format!("cannot resolve `{}`", file.display()))?;
    let card = Card { path: Some(path), ..installer.card(&choice, &candidate.facts, sha256) };
    installer.load(card, file).await.map(|_| ()).map_err(|reason| anyhow::anyhow!(reason.detail))
}

/// Has a model that served before serve again, if its file is whole.
///
/// # Errors
/// Why it does not.
pub(crate) async fn serve_again(installer: &Installer, card: Card) -> Result<()> {
    let path = match (&card.path, card.blake3) {
        (Some(path), _) => path.clone(),
        (None, Some(blake3)) => {
            let store = installer.store.clone();
            let checked = tokio::task::spawn_blocking(move || store.verify_file(blake3)).await;
            checked
                .context("checking the file was interrupted")?
                .context("the model that served last cannot be used")?
                .path
        }
        (None, None) => bail!("it is not known which file served last; give one with `outpost run --model FILE`"),
    };
    installer.load(card, &path).await.map(|_| ()).map_err(|reason| anyhow::anyhow!(reason.detail))
}
