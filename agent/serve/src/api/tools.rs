//! What every family keeps of the tools that a model is told of: how many, how large, and that each has its own name.

use serde_json::{Value, json};

use crate::Tool;
use crate::api::ceilings::TOOLS;
use crate::error::ApiError;
use crate::fields::Fields;

/// Bytes of all names, descriptions and schemas together.
const BYTES: usize = 256 * 1024;

/// Reads `tools`, each as the family writes it.
///
/// # Errors
/// 400, naming the place.
pub(crate) fn list(
    fields: &mut Fields,
    tool: impl Fn(Fields) -> Result<Tool, ApiError>,
) -> Result<Vec<Tool>, ApiError> {
    let mut list = Vec::<Tool>::new();
    let mut bytes = 0;
    for (index, value) in fields.list("tools", TOOLS)?.into_iter().enumerate() {
        let place = format!("tools[{index}]");
        let tool = tool(Fields::within(fields.path(&place), value)?)?;
        bytes += tool.name.len() + tool.description.len() + tool.parameters.to_string().len();
        if list.iter().any(|other| other.name == tool.name) {
            let what = format!("names `{}` a second time: each tool needs a name of its own", tool.name);
            return Err(fields.wrong(&place, &what));
        }
        list.push(tool);
    }
    if bytes > BYTES {
        let what = format!("has more than {BYTES} bytes: leave tools out or describe them shorter");
        return Err(fields.wrong("tools", &what));
    }
    Ok(list)
}

/// Reads the name of a function or a schema.
///
/// # Errors
/// 400 if it cannot be one.
pub(crate) fn name(fields: &mut Fields, most: usize) -> Result<String, ApiError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    match fields.text("name")? {
        Some(name) if (1..=most).contains(&name.len()) && name.chars().all(fits) => Ok(name),
        _ => Err(fields.wrong("name", &format!("has to be 1 to {most} letters, digits, `_` or `-`"))),
    }
}

/// Reads the schema of a tool's arguments, which are an object whether it says so or not.
///
/// # Errors
/// 400 if it is no such schema.
pub(crate) fn parameters(fields: &mut Fields, field: &'static str) -> Result<Value, ApiError> {
    match fields.take(field) {
        None => Ok(json!({ "type": "object", "properties": {} })),
        Some(Value::Object(mut schema)) if schema.get("type").is_none_or(|kind| kind.is_null() || kind == "object") => {
            // Some clients write what they leave out as null.
            schema.retain(|_, value| !value.is_null());
            schema.entry("type").or_insert_with(|| json!("object"));
            Ok(Value::Object(schema))
        }
        Some(_) => Err(fields.wrong(field, "has to be a JSON Schema of type `object`")),
    }
}
