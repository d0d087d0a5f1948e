//! What a request for a message may say.

use serde_json::{Map, Value};

use super::content;
use crate::api::ceilings::MESSAGES;
use crate::api::openai::format::bounded;
use crate::api::{stop, tools};
use crate::converse::{Asked, model_name};
use crate::error::ApiError;
use crate::fields::{Fields, Neutral};
use crate::{Chat, Message, Prompt, Role, Sampling, Shape, Tool, ToolChoice};

/// Bytes of a tool's name.
const NAME_BYTES: usize = 128;

/// Understands a request for an answer.
///
/// # Errors
/// 400, naming the field.
pub(super) fn parse(object: Map<String, Value>) -> Result<Asked, ApiError> {
    let mut fields = Fields::new(object);
    let max_tokens = fields.count("max_tokens", 1)?;
    if max_tokens.is_none() {
        return Err(fields.wrong("max_tokens", "has to say how many tokens the answer may have"));
    }
    let stream = fields.flag("stream")?.unwrap_or(false);
    let top_p = fields.number("top_p", 0.0, 1.0)?;
    if top_p == Some(0.0) {
        return Err(fields.wrong("top_p", "has to be above 0"));
    }
    let temperature = fields.number("temperature", 0.0, 1.0)?;
    let sampling = Sampling { temperature, top_p, top_k: fields.count("top_k", 0)?, ..Sampling::default() };
    let stop = stop::read(&mut fields, "stop_sequences")?;
    fields.ignore(&["metadata", "service_tier", "inference_geo"]);
    let asked = conversation(fields)?;
    Ok(Asked { max_tokens, stream, sampling, stop, ..asked })
}

/// Understands a request for a count.
///
/// # Errors
/// 400, naming the field.
pub(super) fn parse_count(object: Map<String, Value>) -> Result<Asked, ApiError> {
    conversation(Fields::new(object))
}

/// Reads what both have, and nothing besides.
fn conversation(mut fields: Fields) -> Result<Asked, ApiError> {
    let model = model_name(fields.text("model")?)?;
    let mut messages: Vec<Message> = Vec::new();
    if let Some(system) = fields.take("system") {
        messages.push(Message::new(Role::System, content::text("system", system)?));
    }
    match fields.take("messages") {
        Some(Value::Array(list)) if (1..=MESSAGES).contains(&list.len()) => {
            for (index, value) in list.into_iter().enumerate() {
                content::message(&format!("messages[{index}]"), value, &mut messages)?;
            }
        }
        _ => return Err(fields.wrong("messages", &format!("has to be a list of 1 to {MESSAGES} messages"))),
    }
    let tools = tools::list(&mut fields, tool)?;
    let (tool_choice, parallel_calls) = choice(&mut fields, &tools)?;
    let thinking = thinking(&mut fields)?;
    // What marks a prompt for a cache changes no answer; prompts are kept here without being asked.
    fields.ignore(&["cache_control"]);
    fields.refuse("mcp_servers", Neutral::Empty)?;
    fields.refuse("container", Neutral::Nothing)?;
    fields.refuse("context_management", Neutral::Nothing)?;
    let shape = shape(&mut fields)?;
    fields.finish()?;
    let prompt = Prompt::Chat(Chat { messages, tools, tool_choice, parallel_calls, thinking });
    Ok(Asked { shape, ..Asked::new(model, prompt) })
}

/// The form of the answer: `output_config.format`, or the older `output_format`.
fn shape(fields: &mut Fields) -> Result<Shape, ApiError> {
    let older = fields.take("output_format");
    let format = match fields.take("output_config") {
        None => older,
        Some(config) => {
            let mut config = Fields::within("output_config", config)?;
            let format = config.take("format");
            // How hard to try changes no answer of a model that knows no efforts.
            config.ignore(&["effort"]);
            config.finish()?;
            format.or(older)
        }
    };
    let Some(format) = format else { return Ok(Shape::Free) };
    let mut format = Fields::within("output_config.format", format)?;
    if format.text("type")?.as_deref() != Some("json_schema") {
        return Err(format.not_served("type", "has to be `json_schema`"));
    }
    let Some(schema @ Value::Object(_)) = format.take("schema") else {
        return Err(format.wrong("schema", "has to be a JSON Schema"));
    };
    let shape = bounded(&format, "schema", schema)?;
    format.finish().map(|()| shape)
}

fn tool(mut tool: Fields) -> Result<Tool, ApiError> {
    if !matches!(tool.text("type")?.as_deref(), None | Some("custom")) {
        return Err(tool.not_served("type", "has to be `custom`: no tools are run here"));
    }
    let name = tools::name(&mut tool, NAME_BYTES)?;
    let description = tool.text("description")?.unwrap_or_default();
    if !tool.has("input_schema") {
        return Err(tool.wrong("input_schema", "has to be a JSON Schema of type `object`"));
    }
    let parameters = tools::parameters(&mut tool, "input_schema")?;
    tool.ignore(&["cache_control", "strict", "input_examples", "eager_input_streaming"]);
    tool.finish()?;
    Ok(Tool { name, description, parameters })
}

fn choice(fields: &mut Fields, tools: &[Tool]) -> Result<(ToolChoice, bool), ApiError> {
    let Some(value) = fields.take("tool_choice") else { return Ok((ToolChoice::Auto, true)) };
    let mut choice = Fields::within("tool_choice", value)?;
    let kind = choice.text("type")?;
    let name = choice.text("name")?;
    let parallel = !choice.flag("disable_parallel_tool_use")?.unwrap_or(false);
    let chosen = match kind.as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("none") => ToolChoice::None,
        Some("any") if !tools.is_empty() => ToolChoice::Required,
        Some("any") => return Err(choice.wrong("type", "asks for a call, but `tools` has nothing to call")),
        Some("tool") => match name {
            Some(name) if tools.iter().any(|tool| tool.name == name) => ToolChoice::Named(name),
            _ => return Err(choice.wrong("name", "has to be the name of one of `tools`")),
        },
        _ => return Err(choice.wrong("type", "has to be `auto`, `any`, `tool` or `none`")),
    };
    choice.finish()?;
    Ok((chosen, parallel))
}

fn thinking(fields: &mut Fields) -> Result<Option<bool>, ApiError> {
    let Some(value) = fields.take("thinking") else { return Ok(None) };
    let mut thinking = Fields::within("thinking", value)?;
    // A budget is a ceiling within `max_tokens`, which holds anyway.
    thinking.whole("budget_tokens", 1, u64::MAX)?;
    thinking.ignore(&["display"]);
    let wanted = match thinking.text("type")?.as_deref() {
        Some("enabled") => Some(true),
        Some("disabled") => Some(false),
        Some("adaptive") => None,
        _ => return Err(thinking.wrong("type", "has to be `enabled`, `disabled` or `adaptive`")),
    };
    thinking.finish()?;
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::anything::{any_json, holds};

    #[test]
    fn any_conversation_to_count_is_read_or_refused() {
        let good = json!({
            "model": "demo", "system": "Be brief.", "messages": [{ "role": "user", "content": "hello" }],
            "tools": [{ "name": "weather", "input_schema": { "type": "object" } }], "tool_choice": { "type": "auto" },
            "thinking": { "type": "disabled" }, "mcp_servers": [], "output_config": { "effort": "low" },
            "output_format": { "type": "json_schema", "schema": {} },
        });
        holds(&good, parse_count);
    }

    #[test]
    fn tools_have_names_of_their_own() {
        let tool = json!({ "name": "weather", "input_schema": {} });
        let asked = |tools: Value| {
            let object =
                json!({ "model": "demo", "messages": [{ "role": "user", "content": "hello" }], "tools": tools });
            let Value::Object(object) = object else { unreachable!() };
            parse_count(object)
        };
        let Prompt::Chat(chat) = asked(json!([tool])).unwrap().prompt else { unreachable!() };
        assert_eq!(chat.tools[0].parameters, json!({ "type": "object" }));
        assert!(asked(json!([tool, tool])).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_value_in_any_field_is_read_or_refused_without_panic(
            field in prop::sample::select(&[
                "model", "max_tokens", "messages", "system", "stop_sequences", "temperature", "top_p", "top_k", "tools",
                "tool_choice", "thinking", "metadata", "stream", "x",
            ][..]),
            value in any_json(),
        ) {
            let mut object = json!({
                "model": "demo", "max_tokens": 9, "messages": [{ "role": "user", "content": "hello" }],
            });
            object[field] = value;
            let Value::Object(object) = object else { unreachable!() };
            if let Ok(asked) = parse(object) {
                prop_assert!(asked.max_tokens.is_some() && !asked.model.is_empty());
            }
        }
    }
}
