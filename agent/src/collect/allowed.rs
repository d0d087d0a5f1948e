//! What may leave the box of its settings and its operations log: known fields alone, each only in a form that has no room for
//! a secret. What is not known, or has another form, is not there; what stands in the way of reading is said without its text.

use std::net::SocketAddr;

use serde_json::{Map, Value};

/// A form that a value may have.
#[derive(Clone, Copy)]
enum Form {
    /// A number, or yes and no.
    Plain,
    /// One of these words, or a list of them.
    Words(&'static [&'static str]),
    /// An address and port.
    Address,
    /// Not shown: only that it is set.
    Set,
}

use Form::{Address, Plain, Set, Words};

/// Settings by section; nothing else of the file is shown.
const SETTINGS: &[(&str, &str, Form)] = &[
    ("api", "listen", Address),
    ("api", "unix_socket", Plain),
    ("api", "certificate", Set),
    ("api", "private_key", Set),
    ("model", "path", Set),
    ("model", "context_tokens", Plain),
    ("model", "slots", Plain),
    ("model", "threads", Plain),
    ("model", "backend", Words(&["auto", "cpu", "cuda", "metal"])),
    ("model", "draft", Set),
    ("model", "drain_seconds", Plain),
    ("store", "disk_budget_mib", Plain),
    ("store", "keep_previous", Plain),
    ("transfer", "order", Words(&["directory", "lan", "https", "mqtt"])),
    ("transfer", "directory", Set),
    ("transfer", "site", Set),
    ("transfer", "serve_peers", Address),
    ("transfer", "announce", Address),
    ("transfer", "peers_mib_per_s", Plain),
    ("transfer", "slow_kib_per_s", Plain),
    ("audit", "record_days", Plain),
    ("audit", "quota_mib", Plain),
    ("audit", "content_days", Plain),
    ("audit", "ask_neighbours_after_s", Plain),
    ("logs", "level", Words(&["error", "warn", "info", "debug", "trace"])),
    ("logs", "keep_days", Plain),
    ("telemetry", "otlp_endpoint", Set),
];

/// Numbers of a log line.
const NUMBERS: &[&str] = &[
    "attempt",
    "bytes",
    "connection",
    "desired_version",
    "free_bytes",
    "missing_bytes",
    "not_after_s",
    "offline_s",
    "sequence",
    "status",
    "version",
];

/// The levels of log lines.
const LEVELS: &[&str] = &["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// Whose messages are sentences of this program; what varies in them stands in fields.
const OURS: &str = "outpost_";

impl Form {
    fn of(self, value: Value) -> Option<Value> {
        let is_word = |words: &[&str], value: &Value| value.as_str().is_some_and(|text| words.contains(&text));
        let is_fit = match self {
            Plain => value.is_number() || value.is_boolean(),
            Words(words) => match &value {
                Value::Array(all) => all.iter().all(|one| is_word(words, one)),
                one => is_word(words, one),
            },
            // As it was read, not as it was written.
            Address => return Some(Value::from(value.as_str()?.parse::<SocketAddr>().ok()?.to_string())),
            Set => return Some(Value::from("(set)")),
        };
        is_fit.then_some(value)
    }
}

/// What may be shown of `outpost.toml`.
///
/// # Errors
/// If it is no TOML: the parser's own words would quote it.
pub(super) fn settings(text: &str) -> Result<Value, &'static str> {
    let file: toml::Table = text.parse().map_err(|_| "the settings file is no TOML, or not all of it was read")?;
    let mut shown = Map::new();
    for (section, key, form) in SETTINGS {
        let Some(value) = file.get(*section).and_then(|section| section.get(key)) else { continue };
        let value = serde_json::to_value(value).ok().and_then(|value| form.of(value));
        let section = shown.entry(*section).or_insert_with(|| Value::Object(Map::new()));
        section[*key] = value.unwrap_or_else(|| Value::from("(not shown: it has an unknown form)"));
    }
    Ok(Value::Object(shown))
}

/// What may be shown of a log: the lines that are read, and how many were not.
pub(super) fn log(text: &str) -> Value {
    let all: Vec<_> = text.lines().map(line).collect();
    let unread = all.iter().filter(|line| line.is_none()).count();
    serde_json::json!({ "lines": all.into_iter().flatten().collect::<Vec<_>>(), "unreadable": unread })
}

/// When, how bad, which part of the program, its sentence, and numbers.
fn line(text: &str) -> Option<Value> {
    let Value::Object(written) = serde_json::from_str(text).ok()? else { return None };
    let mut shown = Map::new();
    let text = |key: &str| written.get(key).and_then(Value::as_str);
    let is_time = |text: &str| {
        text.len() <= 40
            && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b':' | b'.' | b'T' | b'Z' | b'+'))
    };
    if let Some(time) = text("timestamp").filter(|time| is_time(time)) {
        shown.insert("timestamp".into(), time.into());
    }
    if let Some(level) = text("level").filter(|level| LEVELS.contains(level)) {
        shown.insert("level".into(), level.into());
    }
    let is_path = |text: &str| text.len() <= 100 && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_' | b':'));
    if let Some(target) = text("target").filter(|target| is_path(target)) {
        shown.insert("target".into(), target.into());
        if let Some(message) = text("message").filter(|_| target.starts_with(OURS)) {
            shown.insert("message".into(), message.into());
        }
    }
    for key in NUMBERS {
        if let Some(number) = written.get(*key).filter(|value| value.is_number()) {
            shown.insert((*key).into(), number.clone());
        }
    }
    Some(Value::Object(shown))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, TEMPLATE};

    /// Puts a secret wherever a value stands.
    fn spoil(value: &mut toml::Value, secret: &str) {
        match value {
            toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| spoil(value, secret)),
            toml::Value::Array(all) if !all.is_empty() => all.iter_mut().for_each(|value| spoil(value, secret)),
            other => *other = toml::Value::String(secret.to_owned()),
        }
    }

    /// The template with the keys that stand in it as comments.
    fn everything() -> toml::Table {
        let is_setting = |line: &str| {
            let rest = line.strip_prefix("# ").unwrap_or_default();
            let key = rest.split(" = ").next().unwrap_or_default();
            rest.contains(" = ") && key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'))
                || rest.starts_with('[') && rest.ends_with(']')
        };
        let lines = TEMPLATE.lines().map(|line| if is_setting(line) { &line[2..] } else { line });
        lines.collect::<Vec<_>>().join("\n").parse().unwrap()
    }

    #[test]
    fn what_the_template_sets_is_shown_and_paths_only_as_set() {
        Config::parse(TEMPLATE).unwrap();
        let shown = settings(&everything().to_string()).unwrap();
        assert_eq!((&shown["api"]["listen"], &shown["model"]["slots"]), (&"127.0.0.1:8780".into(), &4.into()));
        assert_eq!((&shown["api"]["private_key"], &shown["transfer"]["site"]), (&"(set)".into(), &"(set)".into()));
        assert_eq!(shown["transfer"]["order"], serde_json::json!(["lan", "https", "mqtt"]));
        assert!(!shown.to_string().contains("not shown"), "{shown}");
        assert!(settings("api = \"s3cr3t").unwrap_err().starts_with("the settings file is no TOML"));
    }

    #[test]
    fn a_line_of_the_log_keeps_its_sentence_and_numbers_and_loses_what_may_vary() {
        let text = r#"{"timestamp":"2026-11-27T06:50:00.1Z","level":"WARN","message":"it waits","error":"Bearer s3cr3t","bytes":7,"target":"outpost_sync::link"}
            not JSON, s3cr3t
            {"level":"s3cr3t","message":"s3cr3t","target":"rumqttc","version":"s3cr3t"}"#;
        let shown = log(text);
        assert_eq!((&shown["lines"][0]["message"], &shown["lines"][0]["bytes"]), (&"it waits".into(), &7.into()));
        assert_eq!((&shown["unreadable"], &shown["lines"][1]), (&1.into(), &serde_json::json!({"target": "rumqttc"})));
        assert!(!shown.to_string().contains("s3cr3t"), "{shown}");
    }

    proptest! {
        #[test]
        fn a_secret_in_any_field_is_not_in_what_is_shown(secret in "[A-Z][A-Za-z0-9+/=:@.-]{9,40}", key in "[a-z_]{1,12}") {
            let mut file = toml::Value::Table(everything());
            spoil(&mut file, &secret);
            let toml::Value::Table(mut file) = file else { unreachable!() };
            file.insert(secret.clone(), toml::Value::String(secret.clone()));
            let shown = settings(&file.to_string()).unwrap();
            prop_assert!(!shown.to_string().contains(&secret), "{}", shown);
            let mut line: Map<String, Value> =
                NUMBERS.iter().chain(&["timestamp", "level", "target", "error", "reason", "span", "spans"]).map(|key| ((*key).to_owned(), Value::from(secret.clone()))).collect();
            line.insert(key.clone(), serde_json::json!({ "inner": [secret] }));
            line.insert(secret.clone(), 1.into());
            let written = Value::Object(line).to_string();
            for text in [written.clone(), format!("{secret} {written}"), secret.clone()] {
                let shown = log(&text).to_string();
                prop_assert!(!shown.contains(&secret), "{}", shown);
            }
        }
    }
}
