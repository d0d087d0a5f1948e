//! A message by RFC 5424: facility 13 (log audit), the type as its MSGID, the leaf as its text.

use super::Ending;
use crate::Leaf;
use crate::leaf::Time;

/// `log audit` in the list of facilities.
const FACILITY: u8 = 13;

/// Fields of the header before the structured data: PRI and version, time, host, program, process, message type.
const HEADER_FIELDS: usize = 6;

/// The message of a record, without its line feed.
pub(super) fn line(raw: &str, leaf: &Leaf) -> String {
    let severity = match Ending::of(leaf) {
        Ending::Success => 6,
        Ending::Failure => 4,
    };
    let time = Time(leaf.wall_ms().unwrap_or_default());
    let host = name(leaf.text("dev").unwrap_or_default(), 255);
    let process = name(leaf.text("t.boot").unwrap_or_default(), 128);
    let kind = name(leaf.kind().unwrap_or_default(), 32);
    format!("<{}>1 {time} {host} outpost {process} {kind} - {raw}", FACILITY * 8 + severity)
}

/// A name as a header may hold it: printable ASCII without spaces, `-` for none.
fn name(text: &str, limit: usize) -> String {
    let name: String =
        text.chars().take(limit).map(|letter| if letter.is_ascii_graphic() { letter } else { '_' }).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// Everything after the header and the (absent) structured data.
pub(super) fn leaf_of(message: &str) -> Option<String> {
    let mut rest = message.strip_prefix('<')?;
    for _ in 0..HEADER_FIELDS {
        rest = rest.split_once(' ')?.1;
    }
    rest.strip_prefix("- ").map(str::to_owned)
}
