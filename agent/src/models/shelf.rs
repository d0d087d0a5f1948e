//! The model files in the store, by the names that they can be asked for with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result};
use outpost_contract::{Blake3, ModelId, Sha256, TargetName, VariantFacts};
use outpost_engine::dialect::Dialect;
use outpost_engine::gguf::{Array, Gguf, ModelInfo, Value};
use outpost_serve::{ModelCard, Purpose};
use outpost_store::{Store, StoredFile};
use serde_json::{Map, json};

use crate::facts;

/// How long a look into the store holds: an import while the agent runs shows after this.
const FRESH: Duration = Duration::from_secs(1);

/// Lists of a file's keys longer than this are told by their length.
const LIST: usize = 16;

/// Texts of a file's keys longer than this are left out; the chat template has a place of its own.
const TEXT: usize = 4096;

/// One model file.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) blake3: Blake3,
    pub(crate) sha256: Sha256,
    pub(crate) model: ModelId,
    pub(crate) info: ModelInfo,
    pub(crate) installed_at_s: i64,
    pub(crate) purpose: Purpose,
    pub(crate) template: String,
    pub(crate) dialect: Dialect,
    pub(crate) keys: Map<String, serde_json::Value>,
}

impl Entry {
    fn read(stored: &StoredFile) -> Result<Self> {
        let gguf = Gguf::open(&stored.path).with_context(|| format!("`{}` is no model", stored.path.display()))?;
        let info = gguf.info();
        let modified = std::fs::metadata(&stored.path).and_then(|facts| facts.modified()).ok();
        let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let purpose = if info.architecture == "bert" { Purpose::Embedding } else { Purpose::Generation };
        let template = gguf.text("tokenizer.chat_template").map(str::to_owned);
        Ok(Self {
            blake3: stored.blake3,
            sha256: stored.sha256,
            model: facts::model_id(&stored.path, &info)?,
            installed_at_s: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            purpose,
            dialect: Dialect::of(template.as_deref()),
            template: template.unwrap_or_default(),
            keys: keys(&gguf),
            info,
        })
    }

    /// The name that tells this file from other variants of its model, as in `qwen3-0.6b:q4_0`.
    pub(crate) fn tag(&self) -> String {
        format!("{}:{}", self.model, self.info.quantisation.to_lowercase())
    }

    /// What the planner has to know.
    pub(crate) fn facts(&self) -> VariantFacts {
        facts::variant(self.model.clone(), 1, &self.info)
    }

    /// The name under which the planner weighs it.
    ///
    /// # Errors
    /// Never, as long as a digest can be a target's name.
    pub(crate) fn target(&self) -> Result<TargetName> {
        format!("local-{}", self.blake3).parse().context("a digest as a name")
    }

    /// As lists show it.
    pub(crate) fn card(&self, id: String, loaded: bool) -> ModelCard {
        ModelCard {
            id,
            created_s: self.installed_at_s,
            licence: self.info.licence.clone(),
            variant: self.info.quantisation.clone(),
            family: self.info.architecture.clone(),
            file_sha256: self.sha256.to_hex(),
            file_bytes: self.info.file_bytes,
            context_tokens: self.info.context_tokens,
            parameters: self.info.parameters,
            width: self.info.embedding_length,
            purpose: self.purpose,
            tools: self.dialect.knows_tools(),
            thinking: self.dialect.reasons(),
            parent: None,
            loaded,
        }
    }
}

/// A file's keys as JSON, what is long told by its length.
pub(crate) fn keys(gguf: &Gguf) -> Map<String, serde_json::Value> {
    let shown = |value: &Value| match value {
        Value::U8(number) => json!(number),
        Value::I8(number) => json!(number),
        Value::U16(number) => json!(number),
        Value::I16(number) => json!(number),
        Value::U32(number) => json!(number),
        Value::I32(number) => json!(number),
        Value::U64(number) => json!(number),
        Value::I64(number) => json!(number),
        Value::F32(number) => json!(number),
        Value::F64(number) => json!(number),
        Value::Bool(flag) => json!(flag),
        Value::Text(text) if text.len() > TEXT => json!(null),
        Value::Text(text) => json!(text),
        Value::Array(array) => list(array),
    };
    gguf.metadata().iter().map(|(key, value)| (key.clone(), shown(value))).collect()
}

fn list(array: &Array) -> serde_json::Value {
    fn short<T: serde::Serialize>(items: &[T]) -> serde_json::Value {
        if items.len() > LIST { json!(null) } else { json!(items) }
    }
    match array {
        Array::U8(items) => short(items),
        Array::I8(items) => short(items),
        Array::U16(items) => short(items),
        Array::I16(items) => short(items),
        Array::U32(items) => short(items),
        Array::I32(items) => short(items),
        Array::F32(items) => short(items),
        Array::Bool(items) => short(items),
        Array::Text(items) => short(items),
        Array::U64(items) => short(items),
        Array::I64(items) => short(items),
        Array::F64(items) => short(items),
    }
}

/// The files of the store, read as often as they change.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// None on a device of a fleet.
    store: Option<Store>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What each file is; nothing for a file that is no model, which is said once.
    files: HashMap<Blake3, Option<Arc<Entry>>>,
    entries: Vec<Arc<Entry>>,
    looked: Option<Instant>,
}

impl Shelf {
    /// A shelf over a store; an empty one without.
    pub(crate) fn new(store: Option<Store>) -> Self {
        Self { store, seen: Mutex::default() }
    }

    /// The store behind it.
    pub(crate) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Looks again at the next question.
    pub(crate) fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).looked = None;
    }

    /// Every model file, sorted by name.
    pub(crate) async fn entries(self: &Arc<Self>) -> Vec<Arc<Entry>> {
        {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.looked.is_some_and(|looked| looked.elapsed() < FRESH) {
                return seen.entries.clone();
            }
        }
        let shelf = Arc::clone(self);
        match tokio::task::spawn_blocking(move || shelf.look()).await {
            Ok(Ok(entries)) => entries,
            Ok(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "the model store cannot be read");
                Vec::new()
            }
            Err(error) => {
                tracing::error!(%error, "looking into the model store was interrupted");
                Vec::new()
            }
        }
    }

    fn look(&self) -> Result<Vec<Arc<Entry>>> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let files = store.list().context("cannot list the store")?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = std::mem::take(&mut seen.files);
        for file in &files {
            let entry = known.remove(&file.blake3).unwrap_or_else(|| match Entry::read(file) {
                Ok(entry) => Some(Arc::new(entry)),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "a file in the store cannot be served");
                    None
                }
            });
            seen.files.insert(file.blake3, entry);
        }
        let mut entries: Vec<_> = seen.files.values().flatten().cloned().collect();
        entries.sort_by_key(|entry| (entry.tag(), entry.blake3));
        seen.entries.clone_from(&entries);
        seen.looked = Some(Instant::now());
        Ok(entries)
    }

    /// The variants that a name means: all of a model, or the one with this tag.
    pub(crate) async fn find(self: &Arc<Self>, name: &str) -> Vec<Arc<Entry>> {
        let mut entries = self.entries().await;
        entries.retain(|entry| entry.model.as_str() == name || entry.tag() == name);
        entries
    }

    /// Every file with the shortest name that means it alone.
    pub(crate) async fn named(self: &Arc<Self>) -> Vec<(String, Arc<Entry>)> {
        let entries = self.entries().await;
        let variants = |model: &ModelId| entries.iter().filter(|entry| entry.model == *model).count();
        entries
            .iter()
            .map(|entry| {
                let alone = variants(&entry.model) == 1;
                (if alone { entry.model.to_string() } else { entry.tag() }, Arc::clone(entry))
            })
            .collect()
    }
}
