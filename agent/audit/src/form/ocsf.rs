//! Events of the Open Cybersecurity Schema Framework, schema 1.3.0: API Activity (6003), Authentication (3002) and
//! Application Lifecycle (6002). What the schema has no place for is in `unmapped`; `raw_data` is the leaf.

use std::collections::BTreeMap;

use super::Ending;
use crate::Leaf;
use crate::canonical::Value;

/// The release of the schema whose classes and attributes these are.
const SCHEMA: &str = "1.3.0";

/// Who made what the events speak of.
const PRODUCT: &str = "Outpost";

/// A class of events, and the activity within it.
struct Class {
    uid: i64,
    category: i64,
    activity: i64,
}

impl Class {
    fn of(kind: &str) -> Self {
        let (uid, activity) = match kind {
            "auth.fail" => (3002, 1),
            "boot" => (6002, 3),
            "shutdown" => (6002, 4),
            "model.pull" => (6002, 1),
            "model.load" => (6002, 3),
            "model.unload" => (6002, 4),
            "model.reject" => (6002, 99),
            "key.create" | "device.enrol" => (6003, 1),
            "audit.read" => (6003, 2),
            "policy.activate" | "desired.accept" => (6003, 3),
            "key.revoke" => (6003, 4),
            _ => (6003, 99),
        };
        Self { uid, category: uid / 1000, activity }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The parts that are there.
fn object<const COUNT: usize>(parts: [(&str, Option<Value>); COUNT]) -> Value {
    Value::Object(parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

/// The event of a record, without its line feed.
pub(super) fn line(index: u64, raw: &str, leaf: &Leaf) -> Vec<u8> {
    let kind = leaf.kind().unwrap_or_default();
    let class = Class::of(kind);
    let (status, severity) = match Ending::of(leaf) {
        Ending::Success => (1, 1),
        Ending::Failure => (2, 3),
    };
    let named = |path: &str| leaf.text(path).map(text);
    let product =
        object([("name", Some(text(PRODUCT))), ("vendor_name", Some(text(PRODUCT))), ("version", named("agent"))]);
    let metadata = object([
        ("version", Some(text(SCHEMA))),
        ("product", Some(product.clone())),
        ("uid", named("id")),
        ("sequence", Some(Value::Integer(i64::try_from(index).unwrap_or(i64::MAX)))),
        ("event_code", Some(text(kind))),
        ("log_name", Some(text("audit"))),
    ]);
    let user = object([("uid", Some(text(leaf.who().unwrap_or("device")))), ("type", named("who.kind"))]);
    let mut event = vec![
        ("activity_id", Value::Integer(class.activity)),
        ("activity_name", text(leaf.text("act").unwrap_or(kind))),
        ("category_uid", Value::Integer(class.category)),
        ("class_uid", Value::Integer(class.uid)),
        ("metadata", metadata),
        ("raw_data", text(raw)),
        ("severity_id", Value::Integer(severity)),
        ("status_id", Value::Integer(status)),
        ("time", Value::Integer(leaf.wall_ms().unwrap_or_default())),
        ("type_uid", Value::Integer(class.uid * 100 + class.activity)),
    ];
    if let Some(detail) = named("res.err") {
        event.push(("status_detail", detail));
    }
    match class.uid {
        3002 => {
            event.push(("user", user));
            event.push(("service", object([("name", Some(text(PRODUCT)))])));
        }
        6002 => event.push(("app", product)),
        _ => {
            let operation = text(leaf.text("act").unwrap_or(kind));
            let request = leaf.request().map(|id| object([("uid", Some(text(id)))]));
            event.push(("actor", object([("user", Some(user))])));
            event.push(("api", object([("operation", Some(operation)), ("request", request)])));
            event.push(("src_endpoint", object([("name", Some(text(source(leaf))))])));
        }
    }
    let unmapped: BTreeMap<String, Value> = ["obj", "dec", "io", "res", "dev", "detail"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), leaf.at(key)?.clone())))
        .collect();
    event.push(("unmapped", Value::Object(unmapped)));
    let event = Value::Object(event.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
    let mut line = Vec::new();
    event.write(&mut line);
    line
}

/// Where a call came from, as far as the record says: addresses are not recorded.
fn source(leaf: &Leaf) -> &'static str {
    match (leaf.who(), leaf.text("who.auth")) {
        (None, _) => "device",
        (_, Some("uds")) => "local socket",
        _ => "unknown",
    }
}

/// The raw data of an event.
pub(super) fn leaf_of(line: &str) -> Option<String> {
    Value::parse(line.as_bytes()).ok()?.at(&["raw_data"])?.text().map(str::to_owned)
}
