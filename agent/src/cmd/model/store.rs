//! `outpost model ls` and `import`: the model files of this device.

use std::path::Path;

use anyhow::{Context, Result};
use outpost_engine::gguf::Gguf;
use outpost_store::Store;
use serde_json::json;

use super::{Here, say, say_json};
use crate::facts;

pub(super) fn list(here: &Here) -> Result<()> {
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

pub(super) async fn import(here: &Here, file: &Path) -> Result<()> {
    here.state.prepare()?;
    let gguf = Gguf::open(file).with_context(|| format!("`{}` is not imported", file.display()))?;
    let store = Store::open(&here.state.store()).context("cannot open the store")?;
    let manifest = store.import(file, &facts::cuts(&gguf)).await.context("cannot import the file")?;
    if here.json {
        return say_json(&json!({"blake3": manifest.blake3, "sha256": manifest.sha256, "bytes": manifest.bytes}));
    }
    say(format!("imported {} bytes as {}", manifest.bytes, manifest.blake3))
}
