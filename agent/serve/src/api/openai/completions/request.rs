//! What a completion request may say.

use serde_json::{Map, Value};

use crate::Prompt;
use crate::api::openai::choices::{self, AT_ONCE};
use crate::api::openai::{format, logprobs, sampling};
use crate::api::stop;
use crate::converse::{Asked, model_name};
use crate::error::ApiError;
use crate::fields::{Fields, Neutral};

/// Answers to one request, over all its prompts.
const ANSWERS: usize = 128;

/// Tokens of a prompt; what fits the model's context is the model's to say.
const TOKENS: usize = 1 << 20;

/// As many as OpenAI gives when nothing is said.
const MAX_TOKENS: u32 = 16;

/// Fields that do not change the answer.
const HARMLESS: [&str; 6] = ["user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "store"];

/// A completion request, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Completion {
    /// One for each answer: those to the same prompt stand together.
    pub(super) questions: Vec<Asked>,
    /// Answers to each prompt.
    pub(super) n: usize,
    /// Whether prompts are told again before what continues them.
    pub(super) echo: bool,
    /// Alternatives for each token, where scores are wanted.
    pub(super) top: Option<u8>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl Completion {
    /// The prompt of an answer as it is told again, where it is text; tokens are told by the model.
    pub(super) fn echoed(&self, choice: usize) -> Option<&str> {
        match &self.questions.get(choice)?.prompt {
            Prompt::Text(text) if self.echo => Some(text),
            _ => None,
        }
    }
}

/// Understands a request.
///
/// # Errors
/// 400, naming the field.
pub(super) fn parse(object: Map<String, Value>) -> Result<Completion, ApiError> {
    let mut fields = Fields::new(object);
    fields.ignore(&HARMLESS);
    let way_out = "is not served: leave it out, and write what comes after into the `prompt`";
    fields.refuse_saying("suffix", Neutral::Text(""), way_out)?;
    let model = model_name(fields.text("model")?)?;
    let prompts = prompts(&mut fields)?;
    let n = sampling::n(&mut fields)?;
    if fields.whole("best_of", 1, u64::MAX)?.is_some_and(|best| best != n as u64) {
        return Err(fields.not_served("best_of", "has to be the same as `n`: no answers are thrown away here"));
    }
    let echo = fields.flag("echo")?.unwrap_or(false);
    let top = fields.whole("logprobs", 0, logprobs::MOST)?.and_then(|top| u8::try_from(top).ok());
    let max_tokens = fields.count("max_tokens", u32::from(!echo))?.unwrap_or(MAX_TOKENS);
    let shape = format::read(&mut fields)?;
    let sampling = sampling::sampling(&mut fields)?;
    let stop = stop::read(&mut fields, "stop")?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let include_usage = sampling::include_usage(&mut fields, stream)?;
    let most = if stream { AT_ONCE } else { ANSWERS };
    if prompts.len() * n > most {
        return Err(
            fields.wrong("prompt", &format!("asks for {} answers, and {most} are given at most", prompts.len() * n))
        );
    }
    fields.finish()?;
    let question = |prompt: Prompt| {
        // Tokens become text again, and a prompt is only scored, by asking for its scores.
        let prompt_scores = echo && (top.is_some() || max_tokens == 0 || matches!(prompt, Prompt::Tokens(_)));
        Asked {
            sampling: sampling.clone(),
            shape: shape.clone(),
            stop: stop.clone(),
            max_tokens: Some(max_tokens),
            scores: if prompt_scores { top.or(Some(0)) } else { top },
            prompt_scores,
            stream,
            ..Asked::new(model.clone(), prompt)
        }
    };
    let questions = prompts.into_iter().map(question).flat_map(|asked| choices::repeat(&asked, n).collect::<Vec<_>>());
    Ok(Completion { questions: questions.collect(), n, echo, top, stream, include_usage })
}

fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, ApiError> {
    let what = "has to be a text, a list of texts, a list of tokens, or a list of such lists, none of them empty";
    let prompts = match fields.take("prompt") {
        Some(Value::String(text)) => Some(vec![Prompt::Text(text)]),
        Some(Value::Array(list)) if list.len() > TOKENS => None,
        Some(Value::Array(list)) => match list.first() {
            Some(Value::Number(_)) => tokens(&list).map(|tokens| vec![Prompt::Tokens(tokens)]),
            _ if list.len() > ANSWERS => {
                return Err(fields.wrong("prompt", &format!("has more than {ANSWERS} entries")));
            }
            _ => list.into_iter().map(prompt).collect(),
        },
        _ => None,
    };
    match prompts.filter(|prompts| !prompts.is_empty()) {
        Some(prompts) => Ok(prompts),
        None => Err(fields.wrong("prompt", what)),
    }
}

fn prompt(value: Value) -> Option<Prompt> {
    match value {
        Value::String(text) => Some(Prompt::Text(text)),
        Value::Array(list) => tokens(&list).map(Prompt::Tokens),
        _ => None,
    }
}

/// The numbers of tokens; none if something else is among them, or nothing.
pub(in crate::api::openai) fn tokens(list: &[Value]) -> Option<Vec<u32>> {
    let token = |value: &Value| u32::try_from(value.as_u64()?).ok();
    (!list.is_empty()).then(|| list.iter().map(token).collect())?
}

#[cfg(test)]
mod tests;
