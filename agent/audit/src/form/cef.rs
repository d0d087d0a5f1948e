//! ArcSight's Common Event Format, version 0: a header with `|`, then `key=value` parts; `rawEvent` is the leaf.

use super::Ending;
use crate::Leaf;
use crate::leaf::printable;

/// The last part of every line.
const RAW: &str = " rawEvent=";

/// The event of a record, without its line feed.
pub(super) fn line(index: u64, raw: &str, leaf: &Leaf) -> String {
    let ending = Ending::of(leaf);
    let severity = match ending {
        Ending::Success => 2,
        Ending::Failure => 6,
    };
    let kind = header(leaf.kind().unwrap_or_default());
    let agent = header(leaf.text("agent").unwrap_or_default());
    let mut line =
        format!("CEF:0|Outpost|outpost|{agent}|{kind}|{kind}|{severity}|rt={}", leaf.wall_ms().unwrap_or_default());
    let mut part = |key: &str, value: &str| {
        if !value.is_empty() {
            line.push_str(&format!(" {key}={}", extension(&printable(value))));
        }
    };
    part("externalId", &index.to_string());
    for (key, path) in
        [("dvchost", "dev"), ("suid", "who.pid"), ("act", "act"), ("request", "obj.endpoint"), ("reason", "res.err")]
    {
        part(key, leaf.text(path).unwrap_or_default());
    }
    part("spriv", &leaf.texts("who.roles").join(" "));
    part("outcome", ending.word());
    for (number, label, value) in [
        (1, "model", leaf.text("obj.model").unwrap_or_default().to_owned()),
        (2, "effect", leaf.text("dec.effect").unwrap_or_default().to_owned()),
        (3, "rules", leaf.texts("dec.rules").join(" ")),
        (4, "request", leaf.text("req").unwrap_or_default().to_owned()),
        (5, "auth", leaf.text("who.auth").unwrap_or_default().to_owned()),
    ] {
        if !value.is_empty() {
            part(&format!("cs{number}Label"), label);
            part(&format!("cs{number}"), &value);
        }
    }
    for (number, label, path) in
        [(1, "status", "res.status"), (2, "tokensIn", "io.in.tok"), (3, "tokensOut", "io.out.tok")]
    {
        if let Some(value) = leaf.integer(path) {
            part(&format!("cn{number}Label"), label);
            part(&format!("cn{number}"), &value.to_string());
        }
    }
    line + RAW + &extension(raw)
}

/// A field of the header: `|` and `\` are escaped.
pub(super) fn header(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('|', "\\|")
}

/// A value of a part: `=`, `\` and line ends are escaped.
fn extension(text: &str) -> String {
    text.replace('\\', "\\\\").replace('=', "\\=").replace('\n', "\\n").replace('\r', "\\r")
}

/// The value of the last part. A `=` in a value is escaped, so the first ` rawEvent=` is the key.
pub(super) fn leaf_of(line: &str) -> Option<String> {
    let (_, escaped) = line.split_once(RAW)?;
    let mut leaf = String::with_capacity(escaped.len());
    let mut letters = escaped.chars();
    while let Some(letter) = letters.next() {
        leaf.push(match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                'r' => '\r',
                other => other,
            },
            other => other,
        });
    }
    Some(leaf)
}
