//! A table by RFC 4180: lines end in CR LF, a field with a comma, a quote or a space at its edge is quoted.

use crate::Leaf;
use crate::leaf::{Time, printable};

/// What the columns hold.
pub(super) const HEADING: &[u8] = b"index,time,type,id,act,who,auth,roles,model,variant,endpoint,effect,rules,policy,status,ms,ttft_ms,tokens_in,tokens_out,error,request,leaf\r\n";

/// The row of a record, without its line feed.
pub(super) fn line(index: u64, raw: &str, leaf: &Leaf) -> String {
    let text = |path: &str| leaf.text(path).unwrap_or_default().to_owned();
    let number = |path: &str| leaf.integer(path).map(|number| number.to_string()).unwrap_or_default();
    let list = |path: &str| leaf.texts(path).join(" ");
    let fields = [
        index.to_string(),
        Time(leaf.wall_ms().unwrap_or_default()).to_string(),
        text("type"),
        text("id"),
        text("act"),
        text("who.pid"),
        text("who.auth"),
        list("who.roles"),
        text("obj.model"),
        text("obj.variant"),
        text("obj.endpoint"),
        text("dec.effect"),
        list("dec.rules"),
        text("dec.policy"),
        number("res.status"),
        number("res.ms"),
        number("res.ttft_ms"),
        number("io.in.tok"),
        number("io.out.tok"),
        text("res.err"),
        text("req"),
    ];
    let mut row: String = fields.iter().map(|value| field(value) + ",").collect();
    row.push_str(&quoted(raw));
    row.push('\r');
    row
}

/// A value that a spreadsheet shows and does not run. Control characters would break the line.
fn field(value: &str) -> String {
    let mut value = printable(value);
    if value.starts_with(['=', '+', '-', '@']) {
        value.insert(0, '\'');
    }
    if value.contains([',', '"', '\'']) || value.trim() != value { quoted(&value) } else { value }
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\"\""))
}

/// The last field of a row.
pub(super) fn leaf_of(row: &str) -> Option<String> {
    let row = row.strip_suffix('\r')?.strip_suffix('"')?;
    let mut is_quoted = false;
    let mut start = None;
    for (at, letter) in row.char_indices() {
        match letter {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => start = Some(at + 1),
            _ => {}
        }
    }
    Some(row.get(start?..)?.strip_prefix('"')?.replace("\"\"", "\""))
}
