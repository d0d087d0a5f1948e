//! Where model files come from on a box of its own: directories, a stick's for example.

use std::path::{Path, PathBuf};

use anyhow::Result;
use outpost_engine::gguf::Gguf;
use outpost_serve::Progress;
use outpost_store::{FileSource, Store, manifest};
use tokio::sync::mpsc;

use crate::facts;

/// Files of a directory that are looked at.
const FILES: usize = 1024;

/// The first file of the sources that a reference means: by its file name, or by the name of the model in it.
pub(crate) fn find(sources: &[PathBuf], wanted: &str) -> Option<PathBuf> {
    let wanted = wanted.strip_suffix(":latest").unwrap_or(wanted);
    let entries = sources.iter().filter_map(|source| std::fs::read_dir(source).ok()).flatten().filter_map(Result::ok);
    let files =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "gguf"));
    let mut files: Vec<PathBuf> = files.take(FILES).collect();
    files.sort();
    let by_name = |path: &&PathBuf| {
        [path.file_name(), path.file_stem()].into_iter().flatten().any(|name| name.to_str() == Some(wanted))
    };
    if let Some(file) = files.iter().find(by_name) {
        return Some(file.clone());
    }
    files.into_iter().find(|path| {
        let Ok(gguf) = Gguf::open(path) else { return false };
        let info = gguf.info();
        facts::model_id(path, &info).is_ok_and(|model| {
            wanted == model.as_str() || wanted == format!("{model}:{}", info.quantisation.to_lowercase())
        })
    })
}

/// Copies a checked file into the store, telling how far it is.
pub(crate) async fn import(store: &Store, file: &Path, progress: &mpsc::Sender<Progress>) -> Result<()> {
    let described = {
        let file = file.to_owned();
        tokio::task::spawn_blocking(move || -> Result<_> {
            let cuts = facts::cuts(&Gguf::open(&file)?);
            Ok(manifest::of_file(&file, &cuts)?)
        })
    };
    let _ = progress.send(Progress::Step("reading and checking the file".to_owned())).await;
    let described = described.await??;
    let source = FileSource::open(file, &described)?;
    let (digest, telling) = (described.sha256.to_hex(), progress.clone());
    store
        .pull(&described, &source, move |step| {
            let (total, completed) = (step.total_bytes, step.present_bytes);
            // A client who reads slowly misses steps, not the end.
            let _ = telling.try_send(Progress::Bytes { digest: digest.clone(), total, completed });
        })
        .await?;
    Ok(())
}
