//! `outpost model ls`, `import` and `rm`: the model files of this device.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use outpost_audit::{Kind, ObjectRef, Record};
use outpost_contract::Blake3;
use outpost_disk::{Clock, StateLock};
use outpost_engine::gguf::Gguf;
use outpost_store::Store;
use serde_json::json;

use super::{Here, say, say_json};
use crate::facts;
use crate::models::{Entry, Shelf};

pub(super) async fn list(here: &Here) -> Result<()> {
    let shelf = Arc::new(Shelf::new(Some(open(here)?)));
    let rows: Vec<_> = shelf.named().await;
    let kept = open(here)?.kept().context("cannot tell what is pinned")?;
    let keeping = |file: Blake3| kept.iter().find(|one| one.file.blake3 == file);
    if here.json {
        let row = |(name, entry): &(String, Arc<Entry>)| {
            json!({
                "name": name, "model": entry.model, "quantisation": entry.info.quantisation,
                "bytes": entry.info.file_bytes, "sha256": entry.sha256, "blake3": entry.blake3,
                "pinned": keeping(entry.blake3).is_some_and(|one| one.pinned),
                "used_s": keeping(entry.blake3).map(|one| one.used_s).filter(|used_s| *used_s > 0),
            })
        };
        return say_json(&rows.iter().map(row).collect::<Vec<_>>());
    }
    for (name, entry) in &rows {
        let mebibytes = entry.info.file_bytes >> 20;
        let digest = entry.sha256.to_hex();
        let one = keeping(entry.blake3);
        let pinned = if one.is_some_and(|one| one.pinned) { "pinned" } else { "" };
        let used = one.map_or_else(|| "never".to_owned(), |one| day(one.used_s));
        say(format!(
            "{name:<40} {:<8} {mebibytes:>6} MiB  {}  {pinned:<6}  used {used}",
            entry.info.quantisation,
            &digest[..16]
        ))?;
    }
    Ok(())
}

/// The day of a moment, as in `2026-11-27`.
fn day(used_s: i64) -> String {
    let moment = jiff::Timestamp::from_second(used_s).ok().filter(|_| used_s > 0);
    moment.map_or_else(|| "never".to_owned(), |moment| moment.strftime("%Y-%m-%d").to_string())
}

/// Keeps a model whatever else needs room, or no longer.
pub(super) async fn pin(here: &Here, name: &str, pinned: bool) -> Result<()> {
    let store = open(here)?;
    let entry = meant(&store, name).await?;
    store.pin(entry.blake3, pinned).context("the pin is not kept")?;
    let act = if pinned { "pin_model" } else { "unpin_model" };
    let clock = Clock::open(here.state.ledgers())?;
    here.record(&clock, Record::new(Kind::AdminAct).act(act).object(object(&entry)))?;
    say(if pinned { format!("`{name}` stays") } else { format!("`{name}` may leave when room is needed") })
}

pub(super) async fn import(here: &Here, file: &Path) -> Result<()> {
    let gguf = Gguf::open(file).with_context(|| format!("`{}` is not imported", file.display()))?;
    let store = open(here)?;
    let manifest = store.import(file, &facts::cuts(&gguf)).await.context("cannot import the file")?;
    if here.json {
        return say_json(&json!({"blake3": manifest.blake3, "sha256": manifest.sha256, "bytes": manifest.bytes}));
    }
    say(format!("imported {} bytes as {}", manifest.bytes, manifest.blake3))
}

pub(super) async fn remove(here: &Here, name: &str) -> Result<()> {
    let client = here.client();
    if client.is_up().await {
        client.request("DELETE", "/api/delete", Some(&json!({"model": name}))).await?;
        return removed(here, name);
    }
    here.state.prepare()?;
    let (store, clock) = (open(here)?, Clock::open(here.state.ledgers())?);
    let entry = meant(&store, name).await?;
    // Held until the file is gone: an agent that starts now must not find half a model.
    let lock = StateLock::acquire(here.state.root()).context("an agent is starting on this directory")?;
    store.remove(entry.blake3).context("the file is not removed")?;
    drop(lock);
    here.record(&clock, Record::new(Kind::AdminAct).act("delete_model").object(object(&entry)))?;
    removed(here, name)
}

fn removed(here: &Here, name: &str) -> Result<()> {
    if here.json { say_json(&json!({"removed": name})) } else { say(format!("`{name}` is removed")) }
}

/// The one file that a name means.
async fn meant(store: &Store, name: &str) -> Result<Arc<Entry>> {
    let found = Arc::new(Shelf::new(Some(store.clone()))).find(name).await;
    match &found[..] {
        [entry] => Ok(Arc::clone(entry)),
        [] => bail!("no model `{name}` is on this device; `outpost model ls` lists those that are"),
        several => {
            let tags: Vec<String> = several.iter().map(|entry| format!("`{}`", entry.tag())).collect();
            bail!("`{name}` means {} files: name one, {}", several.len(), tags.join(" or "));
        }
    }
}

fn object(entry: &Entry) -> ObjectRef {
    ObjectRef {
        model: entry.model.to_string(),
        variant: entry.info.quantisation.clone(),
        file_sha256: entry.sha256.to_hex(),
        ..ObjectRef::default()
    }
}

pub(super) fn open(here: &Here) -> Result<Store> {
    here.state.prepare()?;
    Store::open(&here.state.store()).context("cannot open the model store")
}
