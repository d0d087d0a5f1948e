//! `outpost model embed`: the vectors of sentences, or how near they are to the first.

use std::path::Path;

use anyhow::{Context, Result, bail};
use outpost_engine::embedder::Embedder;
use serde_json::json;

use super::{Here, read_text, say, say_json};

pub(super) fn run(here: &Here, file: &Path, text_file: &Path) -> Result<()> {
    let text = read_text(text_file)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let embedder = Embedder::load(file).with_context(|| format!("cannot load `{}`", file.display()))?;
    let vectors = embedder.embed(&lines).with_context(|| format!("`{}` is not embedded", text_file.display()))?;
    if here.json {
        return say_json(&json!({"dimensions": embedder.dimensions(), "embeddings": vectors}));
    }
    let Some(first) = vectors.first() else { bail!("`{}` has no line with words", text_file.display()) };
    for (line, vector) in lines.iter().zip(&vectors) {
        let cosine: f32 = first.iter().zip(vector).map(|(first, other)| first * other).sum();
        say(format!("{cosine:>7.4}  {line}"))?;
    }
    Ok(())
}
