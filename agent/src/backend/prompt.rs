//! From what was asked to what the model's thread takes: tokens, settings and the grammar that holds the answer to its form.

use std::sync::Arc;

use outpost_engine::batch::Refusal;
use outpost_engine::dialect::{Choice, Reader, Tool, Wish};
use outpost_engine::encode_chat_with;
use outpost_engine::generate::{Cancel, Request, Sampling};
use outpost_engine::grammar::{self, Grammar, GrammarError};
use outpost_engine::template::{Json, Message, RenderOptions, TemplateError};
use outpost_policies::Permit;
use outpost_serve::{BackendError, Chat, GenerateRequest, Prompt, Role, Shape, ToolChoice};

use super::answer::Begun;
use super::{LocalBackend, failed};
use crate::active::Loaded;
use crate::models::{Engine, InUse, Preset};
use crate::template_worker::RenderError;
use crate::worker::NotTaken;

/// Seconds after which a caller who found every slot taken may ask again.
const RETRY_AFTER_S: u32 = 1;

/// A prompt as the model's thread takes it.
struct Prepared {
    tokens: Vec<u32>,
    grammar: Option<Grammar>,
    reader: Option<Reader>,
    spelled: Vec<u32>,
    /// Whether the first token is one that the caller did not write.
    framed: bool,
}

impl LocalBackend {
    /// Puts a question to a model's thread.
    pub(super) async fn begin(
        &self,
        loaded: Arc<Loaded>,
        in_use: InUse,
        preset: Option<Preset>,
        permit: &Permit,
        mut request: GenerateRequest,
    ) -> Result<Begun, BackendError> {
        if let Some(preset) = preset {
            request.sampling = preset.complete(request.sampling);
            request.stop.extend(preset.stop.iter().cloned());
            if let Prompt::Chat(chat) = &mut request.prompt {
                preset.introduce(chat);
            }
        }
        let now_s = self.clock.now_s();
        let model = Arc::clone(&loaded);
        let (prompt, shape) = (request.prompt, request.shape);
        let preparing = tokio::task::spawn_blocking(move || prepare(&model, prompt, &shape, now_s));
        let Prepared { tokens, grammar, reader, spelled, framed } =
            preparing.await.map_err(|error| failed(error.to_string()))??;
        let cancel = Cancel::default();
        let asked = Request {
            tokens,
            // Nothing of what one caller sends is shared with another, not even the time it takes.
            scope: format!("{}/{}", permit.principal().kind.word(), permit.principal().id),
            sampling: sampling(request.sampling),
            stop: request.stop,
            limit: Some(request.max_tokens.min(permit.max_tokens())),
            cancel: cancel.clone(),
            grammar,
            logprobs: request.scores,
            prompt_logprobs: request.prompt_scores,
            spelled,
        };
        let events = loaded.worker.generate(asked).await.map_err(refusal)?;
        Ok(Begun { loaded, in_use, events, cancel, reader, framed })
    }

    /// Tokens that a prompt has.
    pub(super) async fn tokens(&self, name: &str, prompt: Prompt) -> Result<u32, BackendError> {
        let (in_use, preset) = self.acquire(name, None).await?;
        let mut prompt = prompt;
        if let (Some(preset), Prompt::Chat(chat)) = (&preset, &mut prompt) {
            preset.introduce(chat);
        }
        let now_s = self.clock.now_s();
        let engine = in_use.engine.clone();
        let counting = tokio::task::spawn_blocking(move || match (engine, prompt) {
            (Engine::Generator(loaded), prompt) => {
                prepare(&loaded, prompt, &Shape::Free, now_s).map(|prepared| prepared.tokens.len())
            }
            (Engine::Embedder(loaded), Prompt::Text(text)) => Ok(loaded.embedder.count(&text)),
            (Engine::Embedder(_), Prompt::Tokens(tokens)) => Ok(tokens.len()),
            (Engine::Embedder(_), Prompt::Chat(_)) => Err(BackendError::Unsuitable {
                field: "messages",
                detail: "this model makes vectors and takes no conversation: send a text".to_owned(),
            }),
        });
        let counted = counting.await.map_err(|error| failed(error.to_string()))??;
        Ok(u32::try_from(counted).unwrap_or(u32::MAX))
    }
}

fn prepare(loaded: &Loaded, prompt: Prompt, shape: &Shape, now_s: i64) -> Result<Prepared, BackendError> {
    let model = loaded.worker.model();
    let tokenizer = model.tokenizer();
    let format = format(shape);
    let framed = matches!(prompt, Prompt::Text(_));
    let tokens = match prompt {
        Prompt::Chat(chat) => return prepare_chat(loaded, &chat, format.as_ref(), now_s),
        Prompt::Text(text) => tokenizer.encode(&text, false, true),
        Prompt::Tokens(tokens) => tokens,
    };
    let grammar = match &format {
        None => None,
        Some(shape) => {
            let vocabulary = model.vocabulary().map_err(|error| ungrammatical(&error, "response_format"))?;
            let grammar = vocabulary.compile(shape).map_err(|error| ungrammatical(&error, "response_format"))?;
            Some(grammar)
        }
    };
    let framed = framed && tokens.first().is_some_and(|first| tokenizer.bos() == Some(*first));
    Ok(Prepared { tokens, grammar, reader: None, spelled: Vec::new(), framed })
}

fn prepare_chat(
    loaded: &Loaded,
    chat: &Chat,
    format: Option<&grammar::Shape>,
    now_s: i64,
) -> Result<Prepared, BackendError> {
    let model = loaded.worker.model();
    let tokenizer = model.tokenizer();
    let dialect = loaded.dialect;
    let tools: Vec<Tool> = chat
        .tools
        .iter()
        .map(|tool| Tool {
            name: tool.name.clone(),
            description: (!tool.description.is_empty()).then(|| tool.description.clone()),
            parameters: tool.parameters.clone(),
        })
        .collect();
    let choice = match &chat.tool_choice {
        ToolChoice::None => Choice::None,
        ToolChoice::Auto => Choice::Auto,
        ToolChoice::Required => Choice::Required,
        ToolChoice::Named(name) => Choice::Named(name.clone()),
    };
    let messages = chat.messages.iter().map(message).collect();
    let options = RenderOptions { now_s, ..RenderOptions::default() };
    let (messages, options) = dialect.conversation(messages, &tools, &choice, chat.thinking, options);
    let tokens = encode(loaded, &messages, &options)?;
    let field = if format.is_some() { "response_format" } else { "tools" };
    let needs_grammar = format.is_some() || !tools.is_empty() && choice != Choice::None;
    let grammar = if needs_grammar {
        let vocabulary = model.vocabulary().map_err(|error| ungrammatical(&error, field))?;
        let wish = Wish {
            tools: &tools,
            choice: &choice,
            parallel: chat.parallel_calls,
            format,
            prompt: &tokens,
            thinking: chat.thinking.unwrap_or(true),
        };
        dialect.grammar(vocabulary, &wish).map_err(|error| ungrammatical(&error, field))?
    } else {
        None
    };
    let reader = dialect.reader(tokenizer, &tokens, &tools, &choice);
    Ok(Prepared { reader: Some(reader), spelled: dialect.spelled(tokenizer), tokens, grammar, framed: false })
}

/// A message as templates read it.
fn message(message: &outpost_serve::Message) -> Message {
    let mut told = Message::new(message.role.word(), message.content.as_str());
    if let Some(reasoning) = &message.reasoning {
        told = told.with("reasoning_content", reasoning.as_str());
    }
    if !message.calls.is_empty() {
        let call = |call: &outpost_serve::ToolCall| {
            serde_json::json!({
                "id": call.id, "type": "function",
                "function": { "name": call.name, "arguments": call.arguments },
            })
        };
        told = told.with("tool_calls", Json::from(serde_json::Value::Array(message.calls.iter().map(call).collect())));
    }
    if let Some(id) = &message.call_id {
        told = told.with("tool_call_id", id.as_str());
    }
    match &message.name {
        Some(name) => told.with("name", name.as_str()),
        None => told,
    }
}

fn encode(loaded: &Loaded, messages: &[Message], options: &RenderOptions) -> Result<Vec<u32>, BackendError> {
    let run = |job: &_| loaded.template.as_ref().ok_or(TemplateError::Missing)?.run(job);
    encode_chat_with(loaded.worker.model(), messages, options, run).map_err(|error: RenderError| {
        let detail = describe(&error);
        match error {
            // The agent's trouble, not the conversation's.
            RenderError::NotStarted { .. } | RenderError::Broken { .. } => failed(detail),
            _ => {
                let detail = format!("the conversation cannot be put to this model: {detail}");
                BackendError::Unsuitable { field: "messages", detail }
            }
        }
    })
}

/// An error with what caused it, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", describe(source)),
        None => error.to_string(),
    }
}

fn format(shape: &Shape) -> Option<grammar::Shape> {
    Some(match shape {
        Shape::Free => return None,
        Shape::Object => grammar::Shape::Object,
        Shape::Schema(schema) => grammar::Shape::Schema(schema.clone()),
        Shape::Regex(pattern) => grammar::Shape::Regex(pattern.clone()),
        Shape::Lark(text) => grammar::Shape::Lark(text.clone()),
    })
}

fn ungrammatical(error: &GrammarError, field: &'static str) -> BackendError {
    match error {
        GrammarError::Thread(_) => failed(error.to_string()),
        _ => BackendError::Unsuitable { field, detail: error.to_string() },
    }
}

/// What the caller left out gets the engine's default: the likeliest token every time.
fn sampling(asked: outpost_serve::Sampling) -> Sampling {
    let default = Sampling::default();
    Sampling {
        temperature: asked.temperature.unwrap_or(default.temperature),
        top_k: asked.top_k.unwrap_or(default.top_k),
        top_p: asked.top_p.unwrap_or(default.top_p),
        min_p: asked.min_p.unwrap_or(default.min_p),
        repetition_penalty: asked.repetition_penalty.unwrap_or(default.repetition_penalty),
        penalty_window: asked.repetition_window.unwrap_or(default.penalty_window),
        presence_penalty: asked.presence_penalty.unwrap_or(default.presence_penalty),
        frequency_penalty: asked.frequency_penalty.unwrap_or(default.frequency_penalty),
        logit_bias: asked.logit_bias,
        seed: asked.seed.unwrap_or(default.seed),
    }
}

fn refusal(refused: NotTaken) -> BackendError {
    match refused {
        NotTaken::Refused(Refusal::Busy { .. }) => BackendError::Busy { retry_after_s: RETRY_AFTER_S },
        NotTaken::Refused(Refusal::TooLong { tokens, context_tokens }) => {
            BackendError::TooLong { prompt_tokens: u32::try_from(tokens).unwrap_or(u32::MAX), context_tokens }
        }
        NotTaken::Refused(other @ Refusal::Sampling(_)) => {
            BackendError::Unsuitable { field: "logit_bias", detail: other.to_string() }
        }
        NotTaken::Refused(other) => BackendError::Unsuitable { field: "prompt", detail: other.to_string() },
        NotTaken::Ended => failed(refused.to_string()),
    }
}

impl Preset {
    /// Says what the preset says before a conversation in which nobody said anything as the system.
    fn introduce(&self, chat: &mut Chat) {
        let silent = !chat.messages.iter().any(|message| message.role == Role::System);
        if let Some(system) = self.system.as_ref().filter(|_| silent) {
            chat.messages.insert(0, outpost_serve::Message::new(Role::System, system.as_str()));
        }
    }
}
