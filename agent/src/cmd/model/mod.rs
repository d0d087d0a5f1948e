//! `outpost model …`: one file per group of verbs; here the hand-over and what they share.

mod bench;
mod compare;
mod convert;
mod embed;
mod golden;
mod inspect;
mod measure;
mod pull;
mod quantize;
mod store;
mod tensors;
mod words;

pub(super) use pull::fetch;

use std::path::Path;

use anyhow::{Context, Result, bail};
use outpost_engine::gguf::Gguf;

use super::{Here, Outcome, say, say_json};
use crate::args::Model;

/// Largest text or conversation that a command reads.
const TEXT_BYTES: u64 = 16 * 1024 * 1024;

/// Runs the command.
pub(super) async fn run(here: &Here, command: Model) -> Result<Outcome> {
    match command {
        Model::Ls => store::list(here).await?,
        Model::Import { file } => store::import(here, &file).await?,
        Model::Pull { reference, file } => pull::run(here, &reference, file.as_deref()).await?,
        Model::Rm { name } => store::remove(here, &name).await?,
        Model::Pin { name } => store::pin(here, &name, true).await?,
        Model::Unpin { name } => store::pin(here, &name, false).await?,
        Model::Inspect { file, golden, golden_tokens } => {
            let golden = golden::answers(&file, golden, golden_tokens).await?;
            inspect::run(here, &file, golden)?;
        }
        Model::Compare { left, right } => compare::run(here, &left, &right)?,
        Model::Convert { directory, output, to } => convert::run(here, &directory, &output, &to)?,
        Model::Quantize(arguments) => quantize::run(here, &arguments)?,
        Model::Logits { file, tokens, positions, backend } => {
            measure::logits(&file, &tokens, &positions, backend.as_deref())?;
        }
        Model::Perplexity(arguments) => measure::perplexity(here, &arguments)?,
        Model::Bench(arguments) => bench::run(here, &arguments)?,
        Model::Tokenize { file, text_file, special, bos } => words::tokenize(&file, &text_file, special, bos)?,
        Model::Embed { file, text_file } => embed::run(here, &file, &text_file)?,
        Model::Template(arguments) => words::template(here, &arguments)?,
    }
    Ok(Outcome::Done)
}

/// Opens a file and checks it; says which one failed.
fn open(file: &Path) -> Result<Gguf> {
    Gguf::open(file).with_context(|| format!("cannot read the model file `{}`", file.display()))
}

/// Reads a text of bounded size.
fn read_text(file: &Path) -> Result<String> {
    let reading = || format!("cannot read `{}`", file.display());
    if std::fs::metadata(file).with_context(reading)?.len() > TEXT_BYTES {
        bail!("`{}` is larger than {TEXT_BYTES} bytes: split it", file.display());
    }
    std::fs::read_to_string(file).with_context(reading)
}
