//! `outpost model logits` and `perplexity`: what another implementation, or another variant, can be compared with.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use outpost_engine::evaluate::{Evaluation, evaluate, windows};
use outpost_engine::{Backend, LoadOptions, Model};
use serde_json::json;

use super::super::bar::Bar;
use super::{Here, read_text, say, say_json};
use crate::args::Perplexity;

pub(super) fn logits(file: &Path, tokens: &[u32], positions: &[usize], backend: Option<&str>) -> Result<()> {
    let options = LoadOptions { backend: named(backend)?, ..LoadOptions::default() };
    let model = Model::load(file, &options).context("cannot load the model")?;
    let positions = if positions.is_empty() { vec![tokens.len().saturating_sub(1)] } else { positions.to_vec() };
    let logits = outpost_engine::logits(&model, tokens, &positions).context("cannot compute logits")?;
    say(json!({"positions": positions, "logits": logits}).to_string())
}

pub(super) fn perplexity(here: &Here, arguments: &Perplexity) -> Result<()> {
    let backend = named(arguments.backend.as_deref())?;
    let options = LoadOptions { threads: arguments.threads.unwrap_or(0), backend, ..LoadOptions::default() };
    let text = read_text(&arguments.text_file)?;
    let load = |file: &Path| Model::load(file, &options).with_context(|| format!("cannot load `{}`", file.display()));
    let model = load(&arguments.file)?;
    let reference = arguments.against.as_deref().map(load).transpose()?;
    let tokens = model.tokenizer().encode(&text, arguments.special, model.tokenizer().add_bos());
    let scoring = || format!("`{}` cannot be scored", arguments.text_file.display());
    let passages = windows(&model, &tokens, arguments.context).with_context(scoring)?;
    let mut bar = Bar::new("windows");
    let mut progress = |done: usize, total: usize| bar.at(done as u64, total as u64);
    let found = evaluate(&model, reference.as_deref(), &passages, &mut progress);
    drop(bar);
    let found = found.with_context(scoring)?;
    if here.json {
        return say_json(&found);
    }
    show(&found)
}

pub(super) fn named(backend: Option<&str>) -> Result<Option<Backend>> {
    let unknown = |name: &str| anyhow!("`{name}` is no backend; choose `cpu`, `cuda` or `metal`");
    backend.map(|name| Backend::from_name(name).ok_or_else(|| unknown(name))).transpose()
}

fn show(found: &Evaluation) -> Result<()> {
    say(format!("perplexity      {:.4} ± {:.4}", found.perplexity, found.standard_error))?;
    say(format!("scored          {} tokens in {} windows", found.scored_tokens, found.passages))?;
    let Some(against) = &found.against else { return Ok(()) };
    say(format!("the other's     {:.4}", against.perplexity))?;
    say(format!("divergence      {:.6} nats per token", against.mean_divergence))?;
    say(format!("same choice     {:.2} % of tokens", against.top1_agreement * 100.0))
}
