//! What a model may call: the list of tools and the choice among them, nested as in chats or flat as in responses.

use serde_json::Value;

use crate::api::ceilings::TOOLS;
use crate::api::tools;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::{Tool, ToolChoice};

const NAME_BYTES: usize = 64;

/// How a function is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `{"type": "function", "function": {"name": …}}`.
    Nested,
    /// `{"type": "function", "name": …}`.
    Flat,
}

/// Tools and how they may be used.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Tools {
    pub(super) list: Vec<Tool>,
    pub(super) choice: ToolChoice,
    pub(super) parallel: bool,
}

/// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
///
/// # Errors
/// 400, naming the field.
pub(super) fn read(fields: &mut Fields, form: Form) -> Result<Tools, ApiError> {
    let mut list = tools::list(fields, |tool_fields| tool(tool_fields, form))?;
    let parallel = fields.flag("parallel_tool_calls")?.unwrap_or(true) && !list.is_empty();
    let choice = choose(fields, form, &mut list)?;
    Ok(Tools { list, choice, parallel })
}

fn tool(mut fields: Fields, form: Form) -> Result<Tool, ApiError> {
    match fields.text("type")?.as_deref() {
        Some("function") => {}
        Some(other) => {
            let other: String = other.chars().take(32).collect();
            let what =
                format!("is `{other}`: only tools of type `function`, which the caller runs, can be called here");
            return Err(fields.not_served("type", &what));
        }
        None => return Err(fields.wrong("type", "has to be `function`")),
    }
    if form == Form::Flat {
        return function(fields);
    }
    let place = fields.path("function");
    let Some(inner) = fields.take("function") else { return Err(fields.wrong("function", "has to be an object")) };
    fields.finish()?;
    function(Fields::within(place, inner)?)
}

fn function(mut fields: Fields) -> Result<Tool, ApiError> {
    let name = name(&mut fields)?;
    let description = fields.text("description")?.unwrap_or_default();
    let parameters = tools::parameters(&mut fields, "parameters")?;
    // Arguments are held to the schema token by token either way.
    fields.flag("strict")?;
    fields.finish()?;
    Ok(Tool { name, description, parameters })
}

/// Reads the name of a function or a schema.
///
/// # Errors
/// 400 if it cannot be one.
pub(super) fn name(fields: &mut Fields) -> Result<String, ApiError> {
    tools::name(fields, NAME_BYTES)
}

fn choose(fields: &mut Fields, form: Form, list: &mut Vec<Tool>) -> Result<ToolChoice, ApiError> {
    let choice = match fields.take("tool_choice") {
        None => ToolChoice::Auto,
        Some(Value::String(word)) => mode(fields, &word)?,
        Some(object) => {
            let mut choice = Fields::within(fields.path("tool_choice"), object)?;
            match choice.text("type")?.as_deref() {
                Some("function") => ToolChoice::Named(chosen(choice, form)?),
                Some("allowed_tools") => allowed(choice, form, list)?,
                _ => return Err(choice.wrong("type", "has to be `function` or `allowed_tools`")),
            }
        }
    };
    match &choice {
        ToolChoice::Named(name) if list.iter().all(|tool| tool.name != *name) => {
            let what = format!("names `{name}`, which is not among `tools`");
            Err(fields.wrong("tool_choice", &what))
        }
        ToolChoice::Required if list.is_empty() => {
            Err(fields.wrong("tool_choice", "is `required`, but there are no `tools`"))
        }
        _ => Ok(choice),
    }
}

fn mode(fields: &Fields, word: &str) -> Result<ToolChoice, ApiError> {
    match word {
        "none" => Ok(ToolChoice::None),
        "auto" => Ok(ToolChoice::Auto),
        "required" => Ok(ToolChoice::Required),
        _ => Err(fields.wrong("tool_choice", "has to be `none`, `auto`, `required` or name a function")),
    }
}

/// The function that a choice names.
fn chosen(mut choice: Fields, form: Form) -> Result<String, ApiError> {
    if form == Form::Flat {
        let name = name(&mut choice)?;
        return choice.finish().map(|()| name);
    }
    let place = choice.path("function");
    let mut function = Fields::within(place, choice.take("function").unwrap_or_default())?;
    let name = name(&mut function)?;
    function.finish()?;
    choice.finish().map(|()| name)
}

/// Keeps only the tools that are allowed this time.
fn allowed(mut choice: Fields, form: Form, list: &mut Vec<Tool>) -> Result<ToolChoice, ApiError> {
    if form == Form::Nested {
        let place = choice.path("allowed_tools");
        let inner = choice.take("allowed_tools").unwrap_or_default();
        choice.finish()?;
        choice = Fields::within(place, inner)?;
    }
    let mode = choice.word("mode", &["auto", "required"])?;
    let mut names = Vec::new();
    for (index, value) in choice.list("tools", TOOLS)?.into_iter().enumerate() {
        let mut entry = Fields::within(choice.path(&format!("tools[{index}]")), value)?;
        entry.word("type", &["function"])?;
        names.push(chosen(entry, form)?);
    }
    if let Some(unknown) = names.iter().find(|name| list.iter().all(|tool| tool.name != **name)) {
        return Err(choice.wrong("tools", &format!("names `{unknown}`, which is not among `tools`")));
    }
    choice.finish()?;
    list.retain(|tool| names.contains(&tool.name));
    Ok(if mode == Some("required") { ToolChoice::Required } else { ToolChoice::Auto })
}
