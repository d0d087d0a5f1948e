//! A backend that does what the last message says, and at a chosen point waits or panics.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outpost_policies::{Permit, Principal};
use outpost_serve::{
    Alternative, Backend, BackendError, Consent, EmbedInput, EmbedRequest, Embeddings, Ending, FinishReason, Found,
    GenerateRequest, Generation, GenerationEvent, Health, KeepAlive, LoadOutcome, LoadedModel, ModelCard, ModelDetail,
    NewModel, Progress, Prompt, Purpose, Said, Served, Shape, Timings, TokenScore, ToolChoice, Usage,
};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc};

use super::NOW_S;

/// A backend that does what the last message says.
#[derive(Default)]
pub struct Scripted {
    pub started: std::sync::Mutex<Vec<GenerateRequest>>,
    /// Who asked each of them, as the permit says.
    pub askers: std::sync::Mutex<Vec<Principal>>,
    /// What was done beside answering, as in `load demo`.
    pub acts: std::sync::Mutex<Vec<String>>,
    /// Models beside the two that are always there.
    pub more: std::sync::Mutex<Vec<ModelCard>>,
    /// What answers in the place of what was asked for, as a planner may choose among variants.
    pub instead: std::sync::Mutex<Option<Served>>,
    /// How often the list of models was asked for.
    pub listed: AtomicUsize,
    /// Told when a generation was cancelled, and its flag was set.
    pub cancelled: Arc<Notify>,
    /// Lets a generation that waits go on.
    pub go_on: Arc<Notify>,
    /// What happens to whoever asks this backend something.
    pub trap: Trap,
}

/// Counts what comes by, and at one of them waits or panics.
#[derive(Default)]
pub struct Trap {
    /// How many came by since it was set.
    pub passed: AtomicUsize,
    at: AtomicUsize,
    panics: AtomicBool,
    /// Told when somebody waits.
    pub caught: Notify,
    release: Notify,
}

impl Trap {
    /// Sets it for the `at`th to come by; 0 is nobody.
    pub fn set(&self, at: usize, panics: bool) {
        self.passed.store(0, Ordering::SeqCst);
        self.panics.store(panics, Ordering::SeqCst);
        self.at.store(at, Ordering::SeqCst);
    }

    /// Lets whoever waits go on.
    pub fn release(&self) {
        self.at.store(0, Ordering::SeqCst);
        self.release.notify_waiters();
    }

    /// Everybody comes by here.
    pub async fn pass(&self) {
        let number = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if number != self.at.load(Ordering::SeqCst) {
            return;
        }
        assert!(!self.panics.load(Ordering::SeqCst), "the trap panics, as asked");
        let released = self.release.notified();
        self.caught.notify_one();
        released.await;
    }

    /// The same for what cannot wait.
    pub fn pass_at_once(&self) {
        let number = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(number != self.at.load(Ordering::SeqCst), "the trap panics, as asked");
    }
}

impl Scripted {
    pub(super) fn did(&self, act: String) {
        self.acts.lock().unwrap().push(act);
    }

    async fn known(&self, model: &str) -> Result<ModelCard, BackendError> {
        let unknown = || BackendError::UnknownModel { model: model.to_owned() };
        self.cards().into_iter().find(|card| card.id == model).ok_or_else(unknown)
    }

    fn cards(&self) -> Vec<ModelCard> {
        let demo = ModelCard {
            id: "demo".to_owned(),
            created_s: NOW_S,
            licence: "Apache-2.0".to_owned(),
            variant: "Q4_0".to_owned(),
            family: "llama".to_owned(),
            file_sha256: "ab".repeat(32),
            file_bytes: 3_000_000,
            context_tokens: 512,
            parameters: 5_000_000,
            width: 256,
            tools: true,
            thinking: true,
            loaded: true,
            ..ModelCard::default()
        };
        let vectors = ModelCard {
            id: "vectors".to_owned(),
            purpose: Purpose::Embedding,
            family: "bert".to_owned(),
            width: 4,
            loaded: false,
            tools: false,
            thinking: false,
            ..demo.clone()
        };
        [demo, vectors].into_iter().chain(self.more.lock().unwrap().iter().cloned()).collect()
    }
}

fn served(model: &str) -> Served {
    Served { model: model.to_owned(), variant: "Q4_0".to_owned(), file_sha256: "ab".repeat(32) }
}

#[async_trait]
impl Backend for Scripted {
    async fn models(&self) -> Vec<ModelCard> {
        self.trap.pass().await;
        self.listed.fetch_add(1, Ordering::SeqCst);
        self.cards()
    }

    async fn health(&self) -> Health {
        self.trap.pass().await;
        Health::Ready
    }

    async fn start(&self, permit: Permit, request: GenerateRequest) -> Result<Generation, BackendError> {
        self.trap.pass().await;
        assert!(request.max_tokens <= permit.max_tokens());
        let mut script = match &request.prompt {
            Prompt::Chat(chat) => chat.messages.last().unwrap().content.clone(),
            Prompt::Text(text) => text.clone(),
            Prompt::Tokens(tokens) => format!("{tokens:?}"),
        };
        match script.as_str() {
            _ if request.model != "demo" => return Err(BackendError::UnknownModel { model: request.model }),
            "too long" => return Err(BackendError::TooLong { prompt_tokens: 600, context_tokens: 512 }),
            "busy" => return Err(BackendError::Busy { retry_after_s: 7 }),
            "panic" => panic!("as asked"),
            _ => {}
        }
        if let Prompt::Chat(chat) = &request.prompt {
            let forced = matches!(chat.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
            if forced && let Some(tool) = chat.tools.first() {
                script = format!("call {}", tool.name);
            }
        }
        if matches!(request.shape, Shape::Object | Shape::Schema(_)) {
            script = "json".to_owned();
        }
        let scores = request.scores;
        let prompt_scores = request.prompt_scores;
        self.started.lock().unwrap().push(request);
        self.askers.lock().unwrap().push(permit.principal().clone());
        let (sender, events) = mpsc::unbounded_channel();
        let cancel = Arc::new(AtomicBool::new(false));
        if prompt_scores {
            let tokens =
                ["What", " now"].iter().enumerate().map(|(place, text)| score(text, (place > 0).then_some(-1.5)));
            let _ = sender.send(GenerationEvent::Said(Said::Prompt(tokens.collect())));
        }
        let (flag, cancelled, go_on) = (Arc::clone(&cancel), Arc::clone(&self.cancelled), Arc::clone(&self.go_on));
        tokio::spawn(play(script, scores, sender, flag, cancelled, go_on));
        let served = self.instead.lock().unwrap().clone().unwrap_or_else(|| served("demo"));
        Ok(Generation::new(events, served, cancel))
    }

    async fn embed(&self, _permit: Permit, request: EmbedRequest) -> Result<Embeddings, BackendError> {
        self.trap.pass().await;
        if self.known(&request.model).await?.purpose != Purpose::Embedding {
            let detail = format!("`{}` makes no vectors", request.model);
            return Err(BackendError::Unsuitable { field: "model", detail });
        }
        let width = request.dimensions.unwrap_or(4) as usize;
        let vector = |input: &EmbedInput| match input {
            EmbedInput::Text(text) if text == "too long" && !request.truncate => {
                Err(BackendError::TooLong { prompt_tokens: 600, context_tokens: 512 })
            }
            _ => Ok((0..width).map(|place| if place == 0 { 1.0 } else { 0.0 }).collect()),
        };
        let vectors = request.inputs.iter().map(vector).collect::<Result<Vec<_>, _>>()?;
        let prompt_tokens = 3 * u32::try_from(request.inputs.len()).unwrap();
        let served = self.instead.lock().unwrap().clone().unwrap_or_else(|| served("vectors"));
        Ok(Embeddings { vectors, prompt_tokens, served, load_time: Duration::ZERO })
    }

    async fn count(&self, _permit: Permit, model: &str, prompt: Prompt) -> Result<u32, BackendError> {
        self.trap.pass().await;
        self.known(model).await?;
        Ok(match prompt {
            Prompt::Chat(chat) => u32::try_from(5 * chat.messages.len()).unwrap(),
            Prompt::Text(text) => u32::try_from(text.split_whitespace().count()).unwrap(),
            Prompt::Tokens(tokens) => u32::try_from(tokens.len()).unwrap(),
        })
    }

    async fn detail(&self, model: &str) -> Result<ModelDetail, BackendError> {
        self.trap.pass().await;
        let card = self.known(model).await?;
        let keys = json!({ "general.architecture": "llama", "llama.block_count": 4 });
        let Value::Object(keys) = keys else { unreachable!() };
        Ok(ModelDetail {
            licence: card.licence.clone(),
            template: "{{ messages }}".into(),
            keys,
            card,
            ..ModelDetail::default()
        })
    }

    async fn loaded(&self) -> Vec<LoadedModel> {
        self.trap.pass().await;
        let card = self.cards().remove(0);
        let expires_in = Some(Duration::from_secs(300));
        vec![LoadedModel { card, memory_bytes: 50_000_000, expires_in, running: 0, waiting: 0 }]
    }

    async fn load(&self, _permit: Permit, model: &str, keep: Option<KeepAlive>) -> Result<LoadOutcome, BackendError> {
        self.trap.pass().await;
        let card = self.known(model).await?;
        self.did(format!("load {model} {keep:?}"));
        Ok(if card.loaded { LoadOutcome::AlreadyLoaded } else { LoadOutcome::Loaded(Duration::from_millis(20)) })
    }

    async fn unload(&self, _permit: Permit, model: &str) -> Result<bool, BackendError> {
        self.trap.pass().await;
        let card = self.known(model).await?;
        self.did(format!("unload {model}"));
        Ok(card.loaded)
    }

    async fn pull(&self, _permit: Permit, reference: &str) -> Result<mpsc::Receiver<Progress>, BackendError> {
        self.trap.pass().await;
        let (sender, progress) = mpsc::channel(8);
        self.did(format!("pull {reference}"));
        let last = match self.known(reference).await {
            Ok(_) => Progress::Done,
            Err(error) => Progress::Failed(error.to_string()),
        };
        let bytes = |completed| Progress::Bytes { digest: "ab".repeat(32), total: 100, completed };
        if let Some(licence) = reference.strip_prefix("hf:tiny/").and_then(|rest| rest.split('@').next()) {
            let consent = Consent::default();
            let found = Found {
                licence: licence.to_owned(),
                family: "qwen3".to_owned(),
                variant: "Q4_0".to_owned(),
                parameters: 600_000_000,
                source: "https://hub.example.org/tiny/model".to_owned(),
                commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
                path: "tiny-Q4_0.gguf".to_owned(),
                consent: consent.clone(),
            };
            sender.send(Progress::Found(Box::new(found))).await.unwrap();
            let acts = self.acts.lock().unwrap().len();
            let came = format!("came {acts}");
            tokio::spawn(async move {
                if consent.given().await {
                    sender.send(Progress::Verified("cd".repeat(32))).await.unwrap();
                    sender.send(Progress::Step(came)).await.unwrap();
                    sender.send(Progress::Done).await.unwrap();
                }
            });
            return Ok(progress);
        }
        for step in [Progress::Step("looking".to_owned()), bytes(50), bytes(100), last] {
            sender.send(step).await.unwrap();
        }
        Ok(progress)
    }

    async fn create(&self, _permit: Permit, new: NewModel) -> Result<(), BackendError> {
        self.trap.pass().await;
        self.known(&new.from).await?;
        if self.known(&new.name).await.is_ok() {
            return Err(BackendError::Conflict { detail: format!("there is a model `{}` already", new.name) });
        }
        self.did(format!("create {} from {}", new.name, new.from));
        Ok(())
    }

    async fn delete(&self, _permit: Permit, model: &str) -> Result<(), BackendError> {
        self.trap.pass().await;
        self.known(model).await?;
        self.did(format!("delete {model}"));
        Ok(())
    }

    async fn import(&self, permit: Permit, directory: &Path) -> Result<Map<String, Value>, BackendError> {
        self.trap.pass().await;
        self.did(format!("import {} by {}", directory.display(), permit.principal().id));
        Ok(Map::from_iter([("version".to_owned(), json!(3))]))
    }

    async fn export(
        &self,
        permit: Permit,
        directory: &Path,
        from: Option<u64>,
    ) -> Result<Map<String, Value>, BackendError> {
        self.trap.pass().await;
        self.did(format!("export to {} from {from:?} by {}", directory.display(), permit.principal().id));
        Ok(Map::from_iter([("records".to_owned(), json!(3))]))
    }

    async fn update(&self, permit: Permit, file: &Path, again: bool) -> Result<Map<String, Value>, BackendError> {
        self.trap.pass().await;
        self.did(format!("update {} again={again} by {}", file.display(), permit.principal().id));
        Ok(Map::from_iter([("version".to_owned(), json!("0.2.0"))]))
    }

    async fn clear_dead_letters(&self, permit: Permit) -> Result<u64, BackendError> {
        self.trap.pass().await;
        self.did(format!("clear dead letters by {}", permit.principal().id));
        Ok(2)
    }
}

/// A token that is as likely as said, beside one other.
fn score(text: &str, logprob: Option<f32>) -> TokenScore {
    let other = Alternative { token: 9, bytes: b"other".to_vec(), logprob: -2.5 };
    let top = logprob.map(|logprob| Alternative { token: 7, bytes: text.as_bytes().to_vec(), logprob });
    TokenScore { token: 7, bytes: text.as_bytes().to_vec(), logprob, top: top.into_iter().chain([other]).collect() }
}

async fn play(
    script: String,
    scores: Option<u8>,
    sender: mpsc::UnboundedSender<GenerationEvent>,
    cancel: Arc<AtomicBool>,
    cancelled: Arc<Notify>,
    go_on: Arc<Notify>,
) {
    let say = |said: Said| {
        let _ = sender.send(GenerationEvent::Said(said));
    };
    let text = |text: &str| {
        let tokens = scores.map(|_| score(text, Some(-0.5)));
        say(Said::Text { text: text.to_owned(), tokens: tokens.into_iter().collect() });
    };
    let mut reason = FinishReason::Stop;
    match script.as_str() {
        "wait" => {
            text("first");
            tokio::select! {
                () = sender.closed() => {
                    assert!(cancel.load(Ordering::Acquire));
                    return cancelled.notify_one();
                }
                () = go_on.notified() => text(" last"),
            }
        }
        "fail" => {
            text("half");
            let _ = sender.send(GenerationEvent::Failed { detail: "/a/path/of/the/device".to_owned() });
            return;
        }
        "displace" => {
            text("half");
            let _ = sender.send(GenerationEvent::Displaced);
            return;
        }
        "vanish" => return text("half"),
        "length" => {
            text("cut");
            reason = FinishReason::Length;
        }
        "stop text" => {
            text("before");
            reason = FinishReason::StopText("END".to_owned());
        }
        "think" => {
            say(Said::Reasoning("Let me ".to_owned()));
            say(Said::Reasoning("see.".to_owned()));
            text("Yes.");
        }
        "json" => ["{\"a\":", "1}"].into_iter().for_each(text),
        call if call.starts_with("call ") => {
            let name = call.trim_start_matches("call ").to_owned();
            say(Said::Call { index: 0, name });
            say(Said::Arguments { index: 0, text: "{\"city\":".to_owned() });
            say(Said::Arguments { index: 0, text: "\"Oslo\"}".to_owned() });
            reason = FinishReason::ToolCalls;
        }
        _ => ["Hel", "lo, ", "wörld"].into_iter().for_each(text),
    }
    let usage = Usage { prompt_tokens: 5, cached_tokens: 2, generated_tokens: 3, reasoning_tokens: 0 };
    let timings =
        Timings { prompt: Duration::from_millis(4), generation: Duration::from_millis(6), ..Timings::default() };
    let _ = sender.send(GenerationEvent::Finished(Ending { reason, usage, timings }));
}
