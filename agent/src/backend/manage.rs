//! Which models there are, and how one comes and goes.

use std::borrow::Cow;
use std::sync::Arc;

use outpost_engine::embedder::{EmbedError, EmbedOptions, Embedder};
use outpost_engine::generate::Cancel;
use outpost_engine::gguf::Gguf;
use outpost_serve::{
    BackendError, EmbedInput, EmbedRequest, Embeddings, LoadedModel, ModelCard, ModelDetail, NewModel, Progress,
    Purpose,
};
use tokio::sync::mpsc;

use super::{DEFAULT_MODEL, LocalBackend, Meant, failed, served};
use crate::active::Loaded;
use crate::models::hub::Wish;
use crate::models::shelf::keys;
use crate::models::{Engine, Entry, Preset, sources};

/// Bytes of a name that a model is given.
const NAME_BYTES: usize = 128;

impl LocalBackend {
    /// All models, each once: the planned one first, then the shelf, then what presets made of them.
    pub(super) async fn cards(&self) -> Vec<ModelCard> {
        let planned = self.active.current();
        let mut cards = Vec::new();
        if let Some(loaded) = &planned {
            cards.push(planned_card(loaded, loaded.card.model.as_str()));
            cards
                .push(ModelCard { parent: Some(loaded.card.model.to_string()), ..planned_card(loaded, DEFAULT_MODEL) });
        }
        for (name, entry) in self.shelf.named().await {
            let is_planned = planned.as_ref().is_some_and(|loaded| loaded.card.sha256 == entry.sha256);
            if !is_planned && !cards.iter().any(|card| card.id == name) {
                cards.push(entry.card(name, self.residents.has(entry.blake3)));
            } else if !is_planned {
                cards.push(entry.card(entry.tag(), self.residents.has(entry.blake3)));
            }
        }
        for (name, preset) in self.presets.all() {
            let original = cards.iter().find(|card| card.id == preset.from).cloned();
            if let Some(original) = original {
                let parent = Some(preset.parent.clone());
                cards.push(ModelCard { id: name, created_s: preset.created_s, parent, ..original });
            }
        }
        cards
    }

    /// Everything about one model.
    pub(super) async fn described(&self, name: &str) -> Result<ModelDetail, BackendError> {
        let (meant, preset) = self.meant(name).await?;
        let mut detail = match meant {
            Meant::Planned(loaded) => described_planned(&loaded).await?,
            Meant::Shelved(variants) => {
                let entry = variants.first().ok_or_else(|| failed("a name without a model"))?;
                described_shelved(entry, self.residents.has(entry.blake3))
            }
        };
        name.clone_into(&mut detail.card.id);
        if let Some(preset) = preset {
            detail.system = preset.system.clone().unwrap_or_default();
            detail.stop.clone_from(&preset.stop);
            detail.card.parent = Some(preset.parent.clone());
            detail.sampling = preset.sampling;
        }
        Ok(detail)
    }

    /// The models in memory.
    pub(super) async fn in_memory(&self) -> Vec<LoadedModel> {
        let mut all = Vec::new();
        if let Some(loaded) = self.active.current() {
            let model = loaded.worker.model();
            let sessions = model.session_bytes(loaded.card.context_tokens) * u64::from(loaded.card.slots);
            all.push(LoadedModel {
                card: planned_card(&loaded, loaded.card.model.as_str()),
                memory_bytes: model.info().weight_bytes.saturating_add(sessions),
                expires_in: None,
                running: loaded.worker.running(),
                waiting: 0,
            });
        }
        for one in self.residents.snapshot() {
            let mut card = one.entry.card(one.entry.model.to_string(), true);
            card.context_tokens = one.context_tokens;
            let (memory_bytes, expires_in, running) = (one.memory_bytes, one.expires_in, one.running);
            all.push(LoadedModel { card, memory_bytes, expires_in, running, waiting: 0 });
        }
        all
    }

    /// Takes a model out of memory.
    pub(super) async fn let_go(&self, name: &str) -> Result<bool, BackendError> {
        match self.meant(name).await?.0 {
            Meant::Planned(loaded) => Err(stays(&loaded)),
            Meant::Shelved(variants) => {
                let mut was_there = false;
                for entry in variants {
                    was_there |= self.residents.release(entry.blake3).await?;
                }
                Ok(was_there)
            }
        }
    }

    /// Makes a model by presets.
    pub(super) async fn make(&self, new: NewModel) -> Result<(), BackendError> {
        let name = new.name.strip_suffix(":latest").unwrap_or(&new.name).to_owned();
        let shaped = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/');
        if name.is_empty() || name.len() > NAME_BYTES || !name.chars().all(shaped) {
            let detail = format!("a model's name has 1 to {NAME_BYTES} letters, digits and `. _ - : /`");
            return Err(BackendError::Unsuitable { field: "model", detail });
        }
        if self.presets.get(&name).is_none() && self.cards().await.iter().any(|card| card.id == name) {
            return Err(BackendError::Conflict {
                detail: format!("there is a model `{name}` already: choose another name"),
            });
        }
        let (meant, earlier) = self.meant(&new.from).await?;
        let from = match (&earlier, &meant) {
            (Some(preset), _) => preset.from.clone(),
            (None, Meant::Planned(loaded)) => loaded.card.model.to_string(),
            (None, Meant::Shelved(_)) => new.from.strip_suffix(":latest").unwrap_or(&new.from).to_owned(),
        };
        let mut preset = Preset {
            from,
            parent: new.from,
            system: new.system,
            sampling: new.sampling,
            stop: new.stop,
            created_s: self.clock.now_s(),
        };
        if let Some(earlier) = earlier {
            preset.sampling = earlier.complete(preset.sampling);
            preset.system = preset.system.or(earlier.system);
            if preset.stop.is_empty() {
                preset.stop = earlier.stop;
            }
        }
        self.presets.add(&name, preset).map_err(|error| match error {
            crate::models::presets::PresetError::Disk(error) => failed(error.to_string()),
            other => BackendError::Conflict { detail: other.to_string() },
        })
    }

    /// Removes a model.
    pub(super) async fn remove(&self, name: &str) -> Result<(), BackendError> {
        let bare = name.strip_suffix(":latest").unwrap_or(name);
        if self.presets.remove(bare).map_err(|error| failed(error.to_string()))? {
            return Ok(());
        }
        let variants = match self.meant(name).await?.0 {
            Meant::Planned(loaded) => return Err(stays(&loaded)),
            Meant::Shelved(variants) => variants,
        };
        let [entry] = &variants[..] else {
            let tags: Vec<String> = variants.iter().map(|entry| format!("`{}`", entry.tag())).collect();
            let detail = format!("`{name}` means {} files: name one, {}", variants.len(), tags.join(" or "));
            return Err(BackendError::Conflict { detail });
        };
        self.residents.release(entry.blake3).await?;
        let store = self.shelf.store().cloned().ok_or_else(|| failed("the shelf has no store"))?;
        let file = entry.blake3;
        let removed = tokio::task::spawn_blocking(move || store.remove(file)).await;
        self.shelf.forget();
        removed.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }

    /// Fetches a model file from one of the source directories, unless it is here.
    pub(super) async fn fetch(&self, reference: &str) -> Result<mpsc::Receiver<Progress>, BackendError> {
        let (sender, progress) = mpsc::channel(16);
        if self.meant(reference).await.is_ok() {
            let here = Progress::Step("it is on this device already".to_owned());
            let steps = [here, Progress::Called(reference.to_owned()), Progress::Done];
            for step in steps {
                // The channel holds more than these.
                let _ = sender.try_send(step);
            }
            return Ok(progress);
        }
        let Some(store) = self.shelf.store().cloned() else {
            let detail = "this device belongs to a fleet, which decides what is fetched: ask for the model there";
            return Err(BackendError::Conflict { detail: detail.to_owned() });
        };
        let (sources, wanted) = (self.sources.clone(), reference.to_owned());
        let found = tokio::task::spawn_blocking(move || sources::find(&sources, &wanted)).await;
        let Some(file) = found.map_err(|error| failed(error.to_string()))? else {
            return self.fetch_from_hub(reference, sender, progress);
        };
        let shelf = Arc::clone(&self.shelf);
        tokio::spawn(async move {
            let last = match sources::import(&store, &file, &sender).await {
                Ok(()) => Progress::Done,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "a model could not be fetched");
                    Progress::Failed("the file is no model that can be served here; the device's log says why".into())
                }
            };
            shelf.forget();
            // Whoever asked may have left; the file is here all the same.
            let _ = sender.send(last).await;
        });
        Ok(progress)
    }

    /// Fetches a model of a hub. Whoever stops listening stops it.
    fn fetch_from_hub(
        &self,
        reference: &str,
        sender: mpsc::Sender<Progress>,
        progress: mpsc::Receiver<Progress>,
    ) -> Result<mpsc::Receiver<Progress>, BackendError> {
        let wish = match Wish::parse(reference) {
            Ok(Some(wish)) => wish,
            Ok(None) => return Err(BackendError::UnknownModel { model: reference.to_owned() }),
            Err(error) => return Err(BackendError::Unsuitable { field: "model", detail: format!("{error:#}") }),
        };
        let (from_hub, shelf) = (Arc::clone(&self.from_hub), Arc::clone(&self.shelf));
        tokio::spawn(async move {
            let last = tokio::select! {
                fetched = from_hub.fetch(&wish, &sender) => match fetched {
                    Ok(()) => Progress::Done,
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::warn!(error, %wish, "a model could not be fetched");
                        Progress::Failed(error)
                    }
                },
                () = sender.closed() => return,
            };
            shelf.forget();
            let _ = sender.send(last).await;
        });
        Ok(progress)
    }

    /// Turns texts into vectors; no longer than somebody waits for them.
    pub(super) async fn vectors(&self, request: EmbedRequest) -> Result<Embeddings, BackendError> {
        let (in_use, _) = self.acquire(&request.model, request.keep_alive).await?;
        let Engine::Embedder(loaded) = in_use.engine.clone() else {
            return Err(BackendError::Unsuitable {
                field: "model",
                detail: format!("`{}` answers and makes no vectors: name an embedding model", request.model),
            });
        };
        let (load_time, served) = (in_use.load_time, served(&loaded.card));
        let _turn = loaded.turn.lock().await;
        let embedder = Arc::clone(&loaded);
        let leaving = Leaving(Cancel::default());
        let cancel = leaving.0.clone();
        let computed = tokio::task::spawn_blocking(move || {
            let made = embed(&embedder.embedder, &request, cancel);
            drop(in_use);
            made
        });
        let computed = computed.await;
        let (vectors, prompt_tokens) = computed.map_err(|error| failed(error.to_string()))??;
        Ok(Embeddings { vectors, prompt_tokens, served, load_time })
    }
}

/// Ends work that nobody waits for any more.
struct Leaving(Cancel);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn embed(embedder: &Embedder, request: &EmbedRequest, cancel: Cancel) -> Result<(Vec<Vec<f32>>, u32), BackendError> {
    let texts: Vec<Cow<'_, str>> = request
        .inputs
        .iter()
        .map(|input| match input {
            EmbedInput::Text(text) => Ok(Cow::Borrowed(text.as_str())),
            EmbedInput::Tokens(tokens) => embedder.text_of(tokens).map(Cow::Owned),
        })
        .collect::<Result<_, _>>()
        .map_err(|error| cannot_embed(&error))?;
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let dimensions = request.dimensions.map(|dimensions| dimensions as usize);
    let options = EmbedOptions { truncate: request.truncate, dimensions, cancel };
    let made = embedder.embed_with(&texts, &options).map_err(|error| cannot_embed(&error))?;
    let tokens: usize = made.tokens.iter().sum();
    Ok((made.vectors, u32::try_from(tokens).unwrap_or(u32::MAX)))
}

fn cannot_embed(error: &EmbedError) -> BackendError {
    match error {
        EmbedError::TooLong { tokens, context_tokens, .. } => BackendError::TooLong {
            prompt_tokens: u32::try_from(*tokens).unwrap_or(u32::MAX),
            context_tokens: u32::try_from(*context_tokens).unwrap_or(u32::MAX),
        },
        EmbedError::Dimensions { .. } => BackendError::Unsuitable { field: "dimensions", detail: error.to_string() },
        EmbedError::UnknownToken { .. } => BackendError::Unsuitable { field: "input", detail: error.to_string() },
        EmbedError::Cancelled | EmbedError::Kernel(_) => failed(error.to_string()),
    }
}

fn planned_card(loaded: &Loaded, name: &str) -> ModelCard {
    let (card, info) = (&loaded.card, loaded.worker.model().info());
    ModelCard {
        id: name.to_owned(),
        created_s: card.installed_at_s,
        licence: card.licence.clone(),
        variant: card.variant.clone(),
        family: info.architecture.clone(),
        file_sha256: card.sha256.to_hex(),
        file_bytes: info.file_bytes,
        context_tokens: card.context_tokens,
        parameters: info.parameters,
        width: info.embedding_length,
        purpose: Purpose::Generation,
        tools: loaded.dialect.knows_tools(),
        thinking: loaded.dialect.reasons(),
        parent: None,
        loaded: true,
    }
}

async fn described_planned(loaded: &Arc<Loaded>) -> Result<ModelDetail, BackendError> {
    let card = planned_card(loaded, loaded.card.model.as_str());
    let template = loaded.worker.model().template().map(|template| template.source().to_owned()).unwrap_or_default();
    let keys = match loaded.card.path.clone() {
        None => serde_json::Map::new(),
        Some(path) => {
            let reading = tokio::task::spawn_blocking(move || Gguf::open(path).map(|gguf| keys(&gguf)));
            let read = reading.await.map_err(|error| failed(error.to_string()))?;
            read.map_err(|error| failed(error.to_string()))?
        }
    };
    Ok(ModelDetail { licence: card.licence.clone(), template, keys, card, ..ModelDetail::default() })
}

fn described_shelved(entry: &Entry, loaded: bool) -> ModelDetail {
    ModelDetail {
        card: entry.card(entry.model.to_string(), loaded),
        licence: entry.info.licence.clone(),
        template: entry.template.clone(),
        keys: entry.keys.clone(),
        ..ModelDetail::default()
    }
}

/// What the plan chose stays where it is.
fn stays(loaded: &Loaded) -> BackendError {
    let detail = format!("`{}` is what this device was told to serve: it stays", loaded.card.model);
    BackendError::Conflict { detail }
}
