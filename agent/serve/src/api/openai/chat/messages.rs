//! The conversation of a chat request.

use crate::api::ceilings::MESSAGES;
use crate::api::openai::parts;
use crate::error::ApiError;
use crate::fields::{Fields, Neutral};
use crate::{Message, Role, ToolCall};

/// Ceilings on parts of a request; the body's size bounds the rest.
const CALLS: usize = 128;
const ID_BYTES: usize = 256;

/// Types of the parts that are text.
const TEXT: [&str; 1] = ["text"];

/// Reads `messages`.
///
/// # Errors
/// 400, naming the place.
pub(in crate::api) fn read(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let list = fields.list("messages", MESSAGES)?;
    if list.is_empty() {
        return Err(fields.wrong("messages", "has to be a list of at least one message"));
    }
    let mut messages = Vec::<Message>::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        let message = message(Fields::within(format!("messages[{index}]"), value)?, &messages)?;
        messages.push(message);
    }
    Ok(messages)
}

fn message(mut fields: Fields, before: &[Message]) -> Result<Message, ApiError> {
    let role = match fields.text("role")?.as_deref() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        Some("function") => {
            let what = "is `function`, the old way: send a message of role `tool` with its `tool_call_id`";
            return Err(fields.not_served("role", what));
        }
        _ => return Err(fields.wrong("role", "has to be `system`, `developer`, `user`, `assistant` or `tool`")),
    };
    let name = fields.text("name")?;
    let message = match role {
        Role::Assistant => assistant(&mut fields)?,
        Role::Tool => tool(&mut fields, before)?,
        Role::System | Role::User => Message::new(role, content(&mut fields)?),
    };
    // What answers carry beside their text comes back with them, and says nothing where it is empty.
    for field in ["refusal", "audio"] {
        fields.refuse(field, Neutral::Text(""))?;
    }
    fields.ignore(&["annotations"]);
    for field in ["tool_calls", "reasoning_content", "reasoning"] {
        fields.refuse(field, Neutral::Blank)?;
    }
    fields.finish()?;
    Ok(Message { name: message.name.or(name), ..message })
}

fn content(fields: &mut Fields) -> Result<String, ApiError> {
    let place = fields.path("content");
    parts::text(&place, fields.take("content"), &TEXT)
}

fn assistant(fields: &mut Fields) -> Result<Message, ApiError> {
    let calls = fields.list("tool_calls", CALLS)?.into_iter().enumerate();
    let calls = calls.map(|(index, value)| call(Fields::within(fields.path(&format!("tool_calls[{index}]")), value)?));
    let calls: Vec<ToolCall> = calls.collect::<Result<_, _>>()?;
    let instead = "is the old way and not served: send `tool_calls`";
    fields.refuse_saying("function_call", Neutral::Nothing, instead)?;
    // vLLM calls the same `reasoning`; a client sends back what it was sent.
    let mut reasoning = [fields.text("reasoning_content")?, fields.text("reasoning")?].into_iter().flatten();
    let reasoning = reasoning.find(|text| !text.is_empty());
    let content = if fields.has("content") || calls.is_empty() { content(fields)? } else { String::new() };
    Ok(Message { reasoning, calls, ..Message::new(Role::Assistant, content) })
}

fn call(mut fields: Fields) -> Result<ToolCall, ApiError> {
    fields.word("type", &["function"])?;
    fields.ignore(&["index"]);
    let id = call_id(&mut fields, "id")?;
    let mut function = Fields::within(fields.path("function"), fields.take("function").unwrap_or_default())?;
    let name = function.text("name")?.ok_or_else(|| function.wrong("name", "has to be the function's name"))?;
    let arguments = function.text("arguments")?.unwrap_or_default();
    function.finish()?;
    fields.finish()?;
    Ok(ToolCall { id, name, arguments })
}

fn tool(fields: &mut Fields, before: &[Message]) -> Result<Message, ApiError> {
    let id = call_id(fields, "tool_call_id")?;
    let calls = || before.iter().rev().flat_map(|message| &message.calls);
    let Some(call) = calls().find(|call| call.id == id) else {
        let what = "answers no call of an assistant's message before it: send that message with its `tool_calls` too";
        return Err(fields.wrong("tool_call_id", what));
    };
    Ok(Message { call_id: Some(id), name: Some(call.name.clone()), ..Message::new(Role::Tool, content(fields)?) })
}

fn call_id(fields: &mut Fields, field: &'static str) -> Result<String, ApiError> {
    match fields.text(field)? {
        Some(id) if (1..=ID_BYTES).contains(&id.len()) => Ok(id),
        _ => Err(fields.wrong(field, &format!("has to be the id of a call, 1 to {ID_BYTES} bytes"))),
    }
}
