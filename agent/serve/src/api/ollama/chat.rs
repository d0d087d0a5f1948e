//! `POST /api/chat`: a conversation in, its continuation out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde_json::{Map, Value};

use super::answer::Form;
use super::generate::{Question, answered, finish, no_images};
use super::{names, options, tools};
use crate::api::ceilings::MESSAGES;
use crate::api::tools::list;
use crate::app::App;
use crate::converse;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::{Chat, Message, Prompt, Role};

pub(crate) async fn chat(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let (call, question) = converse::read(&app, request, parse).await?;
    answered(&app, &call, question, Form::Message).await
}

pub(super) fn parse(object: Map<String, Value>) -> Result<Question, ApiError> {
    let mut fields = Fields::new(object);
    let called = names::called(&mut fields, "model")?;
    let messages = match fields.take("messages") {
        None => Vec::new(),
        Some(Value::Array(list)) if list.len() <= MESSAGES => {
            list.into_iter().enumerate().map(|(index, value)| message(index, value)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(fields.wrong("messages", &format!("has to be a list of up to {MESSAGES} messages"))),
    };
    let tools = list(&mut fields, tools::tool)?;
    let thinking = options::think(&mut fields)?;
    let empty = messages.is_empty();
    let chat = Chat { messages, tools, thinking, parallel_calls: true, ..Chat::default() };
    finish(fields, called, Prompt::Chat(chat), empty)
}

fn message(index: usize, value: Value) -> Result<Message, ApiError> {
    let mut message = Fields::within(format!("messages[{index}]"), value)?;
    let role = match message.text("role")?.as_deref() {
        Some("system") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => return Err(message.wrong("role", "has to be `system`, `user`, `assistant` or `tool`")),
    };
    let content = message.text("content")?.unwrap_or_default();
    let reasoning = message.text("thinking")?.filter(|thinking| !thinking.is_empty());
    no_images(&mut message)?;
    let calls = tools::calls(&mut message, index)?;
    let call_id = message.text("tool_call_id")?.filter(|id| !id.is_empty());
    let tool_name = message.text("tool_name")?;
    let name = message.text("name")?.or(tool_name).filter(|name| !name.is_empty());
    if !calls.is_empty() && role != Role::Assistant {
        return Err(message.wrong("tool_calls", "belongs to a message of the `assistant`"));
    }
    message.finish()?;
    Ok(Message { role, content, reasoning, calls, call_id, name })
}
