//! `POST /api/generate`: a text in, its continuation out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde_json::{Map, Value};

use super::answer::{self, Form};
use super::{load, names, options};
use crate::api::openai::logprobs;
use crate::app::App;
use crate::converse::{self, Asked};
use crate::error::ApiError;
use crate::fields::{Fields, Neutral};
use crate::{Chat, Message, Prompt, Role};

/// A question, or only a wish to have the model loaded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub(super) asked: Asked,
    /// The model as the caller wrote it.
    pub(super) called: String,
    pub(super) empty: bool,
}

pub(crate) async fn generate(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let (call, question) = converse::read(&app, request, parse).await?;
    answered(&app, &call, question, Form::Response).await
}

/// Answers a question of either form.
pub(super) async fn answered(
    app: &Arc<App>,
    call: &crate::handle::Call,
    question: Question,
    form: Form,
) -> Result<Response, ApiError> {
    let Question { asked, called, empty } = question;
    if empty {
        let because = load::load(app, call, &asked.model, asked.keep_alive).await?;
        return Ok(answer::loaded(&called, app.circumstances().now_s, form, because));
    }
    let mut answer = converse::begin(app, call, &asked).await?;
    answer.model = called;
    answer::respond(answer, call, form, asked.stream).await
}

fn parse(object: Map<String, Value>) -> Result<Question, ApiError> {
    let mut fields = Fields::new(object);
    let called = names::called(&mut fields, "model")?;
    let prompt = fields.text("prompt")?.unwrap_or_default();
    let system = fields.text("system")?.filter(|system| !system.is_empty());
    let raw = fields.flag("raw")?.unwrap_or(false);
    for (field, what) in [
        ("suffix", "is not implemented here: no model is asked to fill a gap; leave it out"),
        ("template", "is not taken here: every model uses its own; write the prompt yourself and set `raw`"),
    ] {
        if fields.text(field)?.is_some_and(|text| !text.is_empty()) {
            return Err(fields.not_served(field, what));
        }
    }
    if fields.take("context").is_some_and(|context| !is_empty(&context)) {
        let what = "is not taken here: send the conversation so far to `/api/chat` as `messages`";
        return Err(fields.not_served("context", what));
    }
    no_images(&mut fields)?;
    if raw && system.is_some() {
        return Err(fields.wrong("system", "has no place where `raw` is true: write it into the prompt"));
    }
    let empty = prompt.is_empty();
    let thinking = options::think(&mut fields)?;
    let prompt = if raw {
        Prompt::Text(prompt)
    } else {
        let system = system.map(|system| Message::new(Role::System, system));
        let messages = system.into_iter().chain([Message::new(Role::User, prompt)]).collect();
        Prompt::Chat(Chat { messages, thinking, ..Chat::default() })
    };
    finish(fields, called, prompt, empty)
}

/// Reads what both forms share.
pub(super) fn finish(mut fields: Fields, called: String, prompt: Prompt, empty: bool) -> Result<Question, ApiError> {
    // What does not fit a context is refused here, never cut.
    fields.ignore(&["truncate", "shift"]);
    let options = options::options(&mut fields, "options")?;
    let shape = options::format(&mut fields)?;
    let keep_alive = options::keep_alive(&mut fields)?;
    let scores = logprobs::read(&mut fields)?;
    let stream = fields.flag("stream")?.unwrap_or(true);
    fields.refuse("width", Neutral::Zero)?;
    fields.refuse("height", Neutral::Zero)?;
    fields.refuse("steps", Neutral::Zero)?;
    fields.finish()?;
    let asked = Asked {
        sampling: options.sampling,
        stop: options.stop,
        max_tokens: options.max_tokens,
        shape,
        scores,
        keep_alive,
        stream,
        ..Asked::new(names::plain(&called), prompt)
    };
    Ok(Question { asked, called, empty })
}

/// Refuses pictures.
pub(super) fn no_images(fields: &mut Fields) -> Result<(), ApiError> {
    match fields.take("images") {
        Some(images) if !is_empty(&images) => {
            Err(fields.not_served("images", "is not implemented here: the models read text only"))
        }
        _ => Ok(()),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::anything::any_json;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_value_in_any_field_is_read_or_refused_without_panic(
            field in prop::sample::select(&[
                "model", "prompt", "system", "raw", "suffix", "template", "context", "images", "think", "options",
                "format", "keep_alive", "logprobs", "top_logprobs", "stream", "truncate", "messages", "tools", "x",
            ][..]),
            value in any_json(),
        ) {
            let mut object = json!({ "model": "demo", "prompt": "hello", "messages": [] });
            object[field] = value;
            let Value::Object(object) = object else { unreachable!() };
            let _ = super::super::chat::parse(object.clone());
            let _ = super::super::embed::parse(object.clone(), "prompt");
            if let Ok(question) = parse(object) {
                prop_assert!(!question.asked.model.is_empty());
            }
        }
    }
}
