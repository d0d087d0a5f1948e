//! `outpost model …`: list, import, inspect, quantise, and what another implementation can be compared with.

use std::path::Path;

use anyhow::{Context, Result, bail};
use outpost_engine::gguf::Gguf;
use outpost_engine::quantize::{Quantisation, quantize};
use outpost_engine::{LoadOptions, logits};
use outpost_store::Store;
use serde_json::json;

use super::{Here, Outcome, say, say_json};
use crate::args::Model;
use crate::facts;

/// Largest text that `tokenize` reads.
const TEXT_BYTES: u64 = 16 * 1024 * 1024;

/// Runs the command.
pub(super) async fn run(here: &Here, command: Model) -> Result<Outcome> {
    match command {
        Model::Ls => list(here)?,
        Model::Import { file } => import(here, &file).await?,
        Model::Inspect { file } => inspect(here, &file)?,
        Model::Quantize { input, output, to } => quantise(here, &input, &output, &to)?,
        Model::Logits { file, tokens, positions } => show_logits(&file, &tokens, &positions)?,
        Model::Tokenize { file, text_file, special, bos } => tokenize(&file, &text_file, special, bos)?,
    }
    Ok(Outcome::Done)
}

fn list(here: &Here) -> Result<()> {
    here.state.prepare()?;
    let files =
        Store::open(&here.state.store()).context("cannot open the store")?.list().context("cannot read the store")?;
    let rows: Vec<_> = files
        .iter()
        .map(|file| {
            let info = Gguf::open(&file.path).map(|gguf| gguf.info());
            let (name, quantisation) = info.map_or_else(|_| Default::default(), |info| (info.name, info.quantisation));
            json!({"blake3": file.blake3, "name": name, "quantisation": quantisation, "bytes": file.bytes})
        })
        .collect();
    if here.json {
        return say_json(&rows);
    }
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let mebibytes = row["bytes"].as_u64().unwrap_or(0) >> 20;
        say(format!("{:<32} {:<8} {mebibytes:>6} MiB  {}", text("name"), text("quantisation"), &text("blake3")[..16]))?;
    }
    Ok(())
}

async fn import(here: &Here, file: &Path) -> Result<()> {
    here.state.prepare()?;
    let gguf = Gguf::open(file).with_context(|| format!("`{}` is not imported", file.display()))?;
    let store = Store::open(&here.state.store()).context("cannot open the store")?;
    let manifest = store.import(file, &facts::cuts(&gguf)).await.context("cannot import the file")?;
    if here.json {
        return say_json(&json!({"blake3": manifest.blake3, "sha256": manifest.sha256, "bytes": manifest.bytes}));
    }
    say(format!("imported {} bytes as {}", manifest.bytes, manifest.blake3))
}

fn inspect(here: &Here, file: &Path) -> Result<()> {
    let gguf = Gguf::open(file).with_context(|| format!("cannot inspect `{}`", file.display()))?;
    let info = gguf.info();
    let facts = facts::variant(facts::model_id(file, &info)?, 1, &info);
    let class = parameter_class(info.parameters);
    if here.json {
        let path = std::path::absolute(file).context("cannot resolve the file's path")?;
        let cuts = facts::cuts(&gguf);
        return say_json(&json!({"path": path, "info": info, "class": class, "facts": facts, "cuts": cuts}));
    }
    let rows = [
        ("name", info.name.clone()),
        ("architecture", info.architecture.clone()),
        ("class", format!("{class} ({} parameters)", info.parameters)),
        (
            "quantisation",
            format!(
                "{} ({}.{:03} bits per weight)",
                info.quantisation,
                facts.quality_milli / 1000,
                facts.quality_milli % 1000
            ),
        ),
        ("licence", if info.licence.is_empty() { "not named".into() } else { info.licence.clone() }),
        ("context", format!("{} tokens", info.context_tokens)),
        ("layers", info.layers.to_string()),
        ("embedding", info.embedding_length.to_string()),
        ("vocabulary", info.vocabulary.to_string()),
        ("file", format!("{} bytes, {} of them weights", info.file_bytes, info.weight_bytes)),
        ("tensors", gguf.tensors().len().to_string()),
    ];
    for (name, value) in rows {
        say(format!("{name:<14} {value}"))?;
    }
    Ok(())
}

/// The framework's class of a parameter count.
fn parameter_class(parameters: u64) -> &'static str {
    match parameters {
        0..100_000_000 => "Tiny",
        100_000_000..1_450_000_000 => "Micro",
        1_450_000_000..14_000_000_000 => "Small",
        14_000_000_000..=30_500_000_000 => "Medium",
        _ => "Large",
    }
}

fn quantise(here: &Here, input: &Path, output: &Path, to: &str) -> Result<()> {
    let Some(target) = Quantisation::from_name(to) else {
        let names: Vec<_> = Quantisation::ALL.iter().map(|known| known.name()).collect();
        bail!("`{to}` is not a quantisation that can be written here; choose one of {}", names.join(", "));
    };
    let summary = quantize(input, output, target).context("no variant was written")?;
    if here.json {
        return say_json(&json!({
            "tensors": summary.tensors, "changed": summary.changed,
            "input_bytes": summary.input_bytes, "output_bytes": summary.output_bytes,
        }));
    }
    say(format!(
        "{}: {} of {} tensors changed, {} → {} bytes",
        output.display(),
        summary.changed,
        summary.tensors,
        summary.input_bytes,
        summary.output_bytes
    ))
}

fn show_logits(file: &Path, tokens: &[u32], positions: &[usize]) -> Result<()> {
    let model = outpost_engine::Model::load(file, &LoadOptions::default()).context("cannot load the model")?;
    let positions = if positions.is_empty() { vec![tokens.len().saturating_sub(1)] } else { positions.to_vec() };
    let logits = logits(&model, tokens, &positions).context("cannot compute logits")?;
    say(json!({"positions": positions, "logits": logits}).to_string())
}

fn tokenize(file: &Path, text_file: &Path, special: bool, bos: bool) -> Result<()> {
    let reading = || format!("cannot read `{}`", text_file.display());
    if std::fs::metadata(text_file).with_context(reading)?.len() > TEXT_BYTES {
        bail!("`{}` is larger than {TEXT_BYTES} bytes: split it", text_file.display());
    }
    let text = std::fs::read_to_string(text_file).with_context(reading)?;
    let gguf = Gguf::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let tokenizer =
        outpost_engine::tokenizer::Tokenizer::from_gguf(&gguf).context("the file's tokenizer cannot be used")?;
    say(json!({"tokens": tokenizer.encode(&text, special, bos)}).to_string())
}
