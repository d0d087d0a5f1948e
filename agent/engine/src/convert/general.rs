//! What the file says of the model as a whole: `general.*`.

use super::directory::Directory;
use super::{ConvertError, Precision};
use crate::gguf::Value;

const README: &str = "README.md";
/// Longest front matter that is looked at, lines.
const LINES: usize = 500;

/// Keys in the order in which the format's own tools write them.
pub(super) fn keys(
    directory: &Directory,
    architecture: &str,
    precision: Precision,
) -> Result<Vec<(String, Value)>, ConvertError> {
    let text = |key: &str, text: &str| (format!("general.{key}"), Value::Text(text.to_owned()));
    let mut keys = vec![text("architecture", architecture), text("type", "model")];
    keys.extend(directory.name().map(|name| text("name", &name)));
    if let Some(readme) = directory.optional_text(README)? {
        for (key, name) in [("license", "license"), ("license_name", "license.name"), ("license_link", "license.link")]
        {
            keys.extend(front_matter(&readme, key).map(|value| text(name, value)));
        }
    }
    keys.push(("general.file_type".to_owned(), Value::U32(precision.file_type())));
    keys.push(("general.quantization_version".to_owned(), Value::U32(2)));
    Ok(keys)
}

/// A plain text of the front matter (`key: value` between two lines of dashes), without quotation marks. Nothing deeper is
/// looked at: a card is written by strangers.
fn front_matter<'readme>(readme: &'readme str, key: &str) -> Option<&'readme str> {
    let mut lines = readme.trim_start_matches('\u{feff}').lines();
    if lines.next()?.trim_end() != "---" {
        return None;
    }
    let inside = lines.take(LINES).take_while(|line| line.trim_end() != "---");
    let value = inside.filter_map(|line| line.strip_prefix(key)?.strip_prefix(':')).next()?.trim();
    let value = value.trim_matches(['"', '\'']);
    (!value.is_empty() && value.len() <= 200).then_some(value)
}
