//! `POST /v1/chat/completions/tokenizer/encode/count`: tokens of a conversation.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use serde_json::{Map, Value, json};

use crate::api::ceilings::MESSAGES;
use crate::api::count;
use crate::app::App;
use crate::converse::{self, model_name};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::{Chat, Message, Prompt, Role};

pub(crate) async fn count(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Json<Value>, ApiError> {
    let (call, (model, prompt)) = converse::read(&app, request, parse).await?;
    let tokens = count::count(&app, &call, &model, prompt).await?;
    Ok(Json(json!({ "tokenCount": tokens })))
}

fn parse(object: Map<String, Value>) -> Result<(String, Prompt), ApiError> {
    let mut fields = Fields::new(object);
    let model = model_name(fields.text("model")?)?;
    let messages = match fields.take("messages") {
        Some(Value::Array(list)) if (1..=MESSAGES).contains(&list.len()) => {
            list.into_iter().enumerate().map(message).collect::<Result<Vec<_>, _>>()?
        }
        _ => return Err(fields.wrong("messages", &format!("has to be a list of 1 to {MESSAGES} messages"))),
    };
    fields.finish()?;
    Ok((model, Prompt::Chat(Chat { messages, ..Chat::default() })))
}

fn message((index, value): (usize, Value)) -> Result<Message, ApiError> {
    let mut message = Fields::within(format!("messages[{index}]"), value)?;
    let role = match message.text("role")?.as_deref() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => return Err(message.wrong("role", "has to be `system`, `user` or `assistant`: only text is counted")),
    };
    let content = message.text("content")?.ok_or_else(|| message.wrong("content", "has to be a text"))?;
    message.ignore(&["name"]);
    message.finish()?;
    Ok(Message::new(role, content))
}
