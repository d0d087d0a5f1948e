//! Tools and calls as clients of Ollama write them: arguments are objects, not text.

use serde_json::{Value, json};

use crate::api::ceilings::TOOLS;
use crate::api::tools;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::{Tool, ToolCall};

const NAME_BYTES: usize = 64;

/// A call, if its arguments came whole; an answer that was cut has half of one, and says that it was cut.
pub(super) fn written(index: usize, call: &ToolCall) -> Option<Value> {
    let arguments = match call.arguments.trim() {
        "" => json!({}),
        text => serde_json::from_str(text).ok().filter(Value::is_object)?,
    };
    let function = json!({ "index": index, "name": call.name, "arguments": arguments });
    Some(json!({ "id": call.id, "function": function }))
}

/// Reads one of `tools`.
pub(super) fn tool(mut outer: Fields) -> Result<Tool, ApiError> {
    if !matches!(outer.text("type")?.as_deref(), None | Some("function")) {
        return Err(outer.not_served("type", "has to be `function`"));
    }
    let path = outer.path("function");
    let inner = outer.take("function").ok_or_else(|| outer.wrong("function", "is missing"))?;
    outer.finish()?;
    let mut function = Fields::within(path, inner)?;
    let name = name(&mut function)?;
    let description = function.text("description")?.unwrap_or_default();
    let parameters = tools::parameters(&mut function, "parameters")?;
    function.ignore(&["strict"]);
    function.finish()?;
    Ok(Tool { name, description, parameters })
}

fn name(function: &mut Fields) -> Result<String, ApiError> {
    let good = |name: &str| {
        (1..=NAME_BYTES).contains(&name.len()) && !name.chars().any(|letter| letter.is_control() || letter == '"')
    };
    match function.text("name")? {
        Some(name) if good(&name) => Ok(name),
        _ => Err(function.wrong("name", &format!("has to be a name of 1 to {NAME_BYTES} bytes"))),
    }
}

/// Reads the calls of a message of the assistant.
pub(super) fn calls(message: &mut Fields, place: usize) -> Result<Vec<ToolCall>, ApiError> {
    let list = match message.take("tool_calls") {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= TOOLS => list,
        Some(_) => return Err(message.wrong("tool_calls", &format!("has to be a list of up to {TOOLS} calls"))),
    };
    let path = message.path("tool_calls");
    let call = |(index, value)| {
        let mut call = Fields::within(format!("{path}[{index}]"), value)?;
        let id = call.text("id")?.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{place}_{index}"));
        call.ignore(&["type"]);
        let path = call.path("function");
        let inner = call.take("function").ok_or_else(|| call.wrong("function", "is missing"))?;
        call.finish()?;
        let mut function = Fields::within(path, inner)?;
        function.ignore(&["index", "description"]);
        let name = name(&mut function)?;
        let arguments = match function.take("arguments") {
            None => "{}".to_owned(),
            Some(arguments @ Value::Object(_)) => arguments.to_string(),
            Some(_) => return Err(function.wrong("arguments", "has to be an object")),
        };
        function.finish()?;
        Ok(ToolCall { id, name, arguments })
    };
    list.into_iter().enumerate().map(call).collect()
}
