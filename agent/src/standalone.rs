//! A box on its own: serves a local file, or what it served last, with the same plan, self-test and records as a fleet device.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use outpost_contract::TargetName;
use outpost_engine::gguf::Gguf;
use outpost_planner::{Candidate, Constraints, plan};

use crate::active::Card;
use crate::backend::Readiness;
use crate::facts;
use crate::install::Installer;
use crate::measure::Measured;
use crate::progress::Progress;

/// Smallest context that a box on its own accepts, tokens: below it a conversation is of no use.
const MINIMUM_CONTEXT_TOKENS: u32 = 256;

/// Makes the file serve; without one, the file that served last.
pub(crate) async fn serve(
    installer: Arc<Installer>,
    file: Option<PathBuf>,
    last: Option<Card>,
    measured: Arc<Measured>,
) {
    let outcome = match (file, last) {
        (Some(file), _) => serve_file(&installer, &file, &measured).await,
        (None, Some(card)) => serve_again(&installer, card).await,
        (None, None) => Err(anyhow::anyhow!(
            "this device has no model; give one with `outpost run --model FILE`, or enrol it in a fleet"
        )),
    };
    if let Err(error) = outcome {
        let because = format!("{error:#}");
        tracing::warn!(because, "no model serves");
        installer.readiness.send_replace(Readiness::Nothing(because));
    }
}

async fn serve_file(installer: &Installer, file: &Path, measured: &Measured) -> Result<()> {
    let inspected = {
        let file = file.to_owned();
        tokio::task::spawn_blocking(move || -> Result<_> {
            let info = Gguf::open(&file).with_context(|| format!("`{}` is not served", file.display()))?.info();
            let sha256 = outpost_store::manifest::of_file(&file, &[]).context("cannot read the file")?.sha256;
            Ok((info, sha256))
        })
    };
    let (info, sha256) = inspected.await.context("reading the file was interrupted")??;
    let model = facts::model_id(file, &info)?;
    let facts = facts::variant(model.clone(), 1, &info);
    let target: TargetName = "local-file".parse().context("a fixed name")?;
    let minimum = MINIMUM_CONTEXT_TOKENS.min(info.context_tokens);
    let constraints = Constraints {
        minimum_context_tokens: minimum,
        slots: installer.settings.slots,
        draft: installer.draft()?,
        ..Constraints::default()
    };
    let measurements = measured.get().await;
    let plan = plan(&[Candidate { target: target.clone(), facts: facts.clone() }], &measurements, &constraints);
    installer
        .announcer
        .say(Progress::Planned { table: plan.table(), chosen: plan.choice.as_ref().map(|_| target.to_string()) });
    let Some(choice) = plan.choice else {
        let because = plan.verdicts.first().map(|verdict| verdict.because.clone()).unwrap_or_default();
        bail!("`{}` does not fit this machine: {because}", file.display());
    };
    let settings = &installer.settings;
    let card = Card {
        model,
        variant: info.quantisation,
        target: None,
        blake3: None,
        path: Some(std::path::absolute(file).with_context(|| format!("cannot resolve `{}`", file.display()))?),
        sha256,
        licence: info.licence,
        context_tokens: if settings.context_tokens == 0 {
            choice.context_tokens
        } else {
            settings.context_tokens.min(choice.context_tokens)
        },
        slots: choice.slots,
        threads: if settings.threads == 0 { choice.threads } else { settings.threads },
        tokens_per_second_milli: 0,
        installed_at_s: installer.clock.now_s(),
    };
    installer.load(card, file).await.map(|_| ()).map_err(|reason| anyhow::anyhow!(reason.detail))
}

async fn serve_again(installer: &Installer, card: Card) -> Result<()> {
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
