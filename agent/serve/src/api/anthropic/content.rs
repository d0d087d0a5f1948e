//! Messages made of blocks, into messages as templates know them.

use serde_json::Value;

use crate::error::ApiError;
use crate::fields::Fields;
use crate::{Message, Role, ToolCall};

const BLOCKS: usize = 4096;

/// A text, or blocks of text.
pub(super) fn text(place: &str, value: Value) -> Result<String, ApiError> {
    let mut texts = Vec::new();
    for block in blocks(place, value)? {
        match block {
            Block::Text(text) => texts.push(text),
            _ => return Err(ApiError::invalid(place, format!("`{place}` has to be a text or blocks of type `text`"))),
        }
    }
    Ok(texts.join("\n"))
}

/// Reads one message. Results of tools become messages of their own, before what the user says besides.
pub(super) fn message(place: &str, value: Value, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    let mut fields = Fields::within(place, value)?;
    let role = match fields.text("role")?.as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => return Err(fields.wrong("role", "has to be `user` or `assistant`; what the system says goes in `system`")),
    };
    let path = fields.path("content");
    let content = fields.take("content").ok_or_else(|| fields.wrong("content", "is missing"))?;
    fields.finish()?;
    let (mut texts, mut thoughts, mut calls, mut results) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for block in blocks(&path, content)? {
        match block {
            Block::Text(text) => texts.push(text),
            Block::Thinking(thought) if role == Role::Assistant => thoughts.push(thought),
            Block::Call(call) if role == Role::Assistant => calls.push(call),
            Block::Result { call_id, content } if role == Role::User => {
                let call_id = Some(call_id);
                messages.push(Message { call_id, ..Message::new(Role::Tool, content) });
                results += 1;
            }
            _ => {
                let message = format!("`{path}` has a block that does not belong to a message of this role");
                return Err(ApiError::invalid(path, message));
            }
        }
    }
    if texts.is_empty() && results > 0 {
        return Ok(());
    }
    let reasoning = (!thoughts.is_empty()).then(|| thoughts.join("\n"));
    messages.push(Message { reasoning, calls, ..Message::new(role, texts.join("\n")) });
    Ok(())
}

enum Block {
    Text(String),
    Thinking(String),
    Call(ToolCall),
    Result { call_id: String, content: String },
}

fn blocks(place: &str, value: Value) -> Result<Vec<Block>, ApiError> {
    match value {
        Value::String(text) => Ok(vec![Block::Text(text)]),
        Value::Array(list) if list.len() <= BLOCKS => {
            list.into_iter().enumerate().map(|(index, value)| block(&format!("{place}[{index}]"), value)).collect()
        }
        _ => Err(ApiError::invalid(place, format!("`{place}` has to be a text or a list of blocks"))),
    }
}

fn block(place: &str, value: Value) -> Result<Block, ApiError> {
    let mut block = Fields::within(place, value)?;
    block.ignore(&["cache_control"]);
    let kind = block.text("type")?;
    let mut needed = |field| block.text(field)?.ok_or_else(|| block.wrong(field, "has to be a text"));
    let read = match kind.as_deref() {
        Some("text") => Block::Text(needed("text")?),
        Some("thinking") => Block::Thinking(needed("thinking")?),
        Some("tool_use") => {
            let (id, name) = (needed("id")?, needed("name")?);
            match block.take("input") {
                Some(input @ Value::Object(_)) => Block::Call(ToolCall { id, name, arguments: input.to_string() }),
                _ => return Err(block.wrong("input", "has to be an object")),
            }
        }
        Some("tool_result") => {
            let call_id = needed("tool_use_id")?;
            let failed = block.flag("is_error")?.unwrap_or(false);
            let path = block.path("content");
            let content = block.take("content").map_or(Ok(String::new()), |content| text(&path, content))?;
            let content = if failed { format!("Error: {content}") } else { content };
            Block::Result { call_id, content }
        }
        Some("image" | "document" | "search_result" | "redacted_thinking") => {
            return Err(block.not_served("type", "is not read by the models here: send blocks of type `text`"));
        }
        _ => return Err(block.wrong("type", "has to be `text`, `thinking`, `tool_use` or `tool_result`")),
    };
    block.ignore(&["citations", "signature", "caller"]);
    block.finish()?;
    Ok(read)
}
