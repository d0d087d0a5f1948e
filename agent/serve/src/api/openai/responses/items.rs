//! The items of a conversation: messages, calls, what tools said, and what was thought.

use serde_json::{Value, json};

use crate::api::ceilings::MESSAGES as ITEMS;
use crate::api::openai::parts;
use crate::error::ApiError;
use crate::fields::{Fields, Neutral};
use crate::{Message, Role, ToolCall};

const ID_BYTES: usize = 256;

/// Types of the parts that are text.
const TEXT: [&str; 3] = ["input_text", "output_text", "text"];

/// Reads `input`: the items as they are kept, and the conversation that they are.
///
/// # Errors
/// 400, naming the place.
pub(super) fn read(fields: &mut Fields) -> Result<(Vec<Value>, Vec<Message>), ApiError> {
    let list = match fields.take("input") {
        Some(Value::String(text)) => {
            vec![json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] })]
        }
        Some(Value::Array(list)) if !list.is_empty() && list.len() <= ITEMS => list,
        _ => return Err(fields.wrong("input", &format!("has to be a text or a list of 1 to {ITEMS} items"))),
    };
    let (mut kept, mut messages) = (Vec::with_capacity(list.len()), Vec::with_capacity(list.len()));
    for (index, value) in list.into_iter().enumerate() {
        kept.push(with_id(index, value.clone()));
        messages.push(item(Fields::within(format!("input[{index}]"), value)?)?);
    }
    Ok((kept, joined(messages)))
}

/// An item by its own name, or one made from its place; a message that says no type says it now.
fn with_id(index: usize, mut item: Value) -> Value {
    if let Value::Object(map) = &mut item {
        map.entry("type").or_insert_with(|| json!("message"));
        map.entry("id").or_insert_with(|| json!(format!("item_{index}")));
    }
    item
}

fn item(mut fields: Fields) -> Result<Message, ApiError> {
    fields.ignore(&["id", "status", "phase"]);
    let kind = fields.text("type")?.unwrap_or_else(|| "message".to_owned());
    let message = match kind.as_str() {
        "message" => message(&mut fields)?,
        "function_call" => {
            let id = call_id(&mut fields)?;
            let name = fields.text("name")?.ok_or_else(|| fields.wrong("name", "has to be the function's name"))?;
            let arguments = fields.text("arguments")?.unwrap_or_default();
            fields.ignore(&["namespace"]);
            Message { calls: vec![ToolCall { id, name, arguments }], ..Message::new(Role::Assistant, "") }
        }
        "function_call_output" => {
            let id = call_id(&mut fields)?;
            let place = fields.path("output");
            let output = parts::text(&place, fields.take("output"), &TEXT)?;
            Message { call_id: Some(id), ..Message::new(Role::Tool, output) }
        }
        "reasoning" => reasoning(&mut fields)?,
        "item_reference" => {
            let what = "is `item_reference`: items are not kept by themselves, send the item or `previous_response_id`";
            return Err(fields.not_served("type", what));
        }
        other => {
            let other: String = other.chars().take(32).collect();
            let what = format!(
                "is `{other}`: `message`, `function_call`, `function_call_output` and `reasoning` can be read here"
            );
            return Err(fields.not_served("type", &what));
        }
    };
    fields.finish().map(|()| message)
}

fn message(fields: &mut Fields) -> Result<Message, ApiError> {
    let role = match fields.text("role")?.as_deref() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => return Err(fields.wrong("role", "has to be `system`, `developer`, `user` or `assistant`")),
    };
    let place = fields.path("content");
    Ok(Message::new(role, parts::text(&place, fields.take("content"), &TEXT)?))
}

fn reasoning(fields: &mut Fields) -> Result<Message, ApiError> {
    fields.refuse_saying("encrypted_content", Neutral::Text(""), "cannot be read here: leave the item out")?;
    let (content, summary) = (fields.path("content"), fields.path("summary"));
    let content = fields.take("content").map(|value| parts::text(&content, Some(value), &["reasoning_text", "text"]));
    let summary = fields.take("summary").map(|value| parts::text(&summary, Some(value), &["summary_text"]));
    let said = content.transpose()?.filter(|text| !text.is_empty()).or(summary.transpose()?);
    Ok(Message { reasoning: Some(said.unwrap_or_default()), ..Message::new(Role::Assistant, "") })
}

fn call_id(fields: &mut Fields) -> Result<String, ApiError> {
    match fields.text("call_id")? {
        Some(id) if (1..=ID_BYTES).contains(&id.len()) => Ok(id),
        _ => Err(fields.wrong("call_id", &format!("has to be the id of a call, 1 to {ID_BYTES} bytes"))),
    }
}

/// One message for what an assistant thought, said and called in one go, and tools called by their names.
pub(super) fn joined(items: Vec<Message>) -> Vec<Message> {
    let mut messages = Vec::<Message>::with_capacity(items.len());
    for mut item in items {
        if item.role == Role::Tool && item.name.is_none() {
            let calls = messages.iter().rev().flat_map(|message| &message.calls);
            item.name =
                calls.into_iter().find(|call| Some(&call.id) == item.call_id.as_ref()).map(|call| call.name.clone());
        }
        match messages.last_mut().filter(|last| continues(last, &item)) {
            Some(last) => {
                last.content.push_str(&item.content);
                last.calls.append(&mut item.calls);
                last.reasoning = last.reasoning.take().or(item.reasoning);
            }
            None => messages.push(item),
        }
    }
    for message in &mut messages {
        message.reasoning = message.reasoning.take().filter(|text| !text.is_empty());
    }
    messages
}

/// Thought comes before text and calls, and text before calls, of the same turn.
fn continues(last: &Message, item: &Message) -> bool {
    let both = last.role == Role::Assistant && item.role == Role::Assistant;
    let text = !item.content.is_empty() && last.content.is_empty() && last.calls.is_empty();
    both && item.reasoning.is_none() && (!item.calls.is_empty() || text)
}
