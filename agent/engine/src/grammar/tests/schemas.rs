//! Schemas by keyword: what each lets through and what it does not, and those that are refused.

mod nested;

use nested::{combined, objects, real};
use serde_json::json;

use super::*;

/// A schema and what becomes of it.
pub(super) struct Case {
    pub(super) keyword: &'static str,
    pub(super) schema: Value,
    pub(super) expected: Expected,
}

pub(super) enum Expected {
    /// It is enforced: these values are let through, those are not.
    Takes(Vec<Value>, Vec<Value>),
    /// It is refused, with these words.
    Refused(&'static str),
}

struct Cases(Vec<Case>);

impl Cases {
    fn takes(&mut self, keyword: &'static str, schema: Value, valid: Value, invalid: Value) {
        let list = |value: Value| value.as_array().cloned().unwrap_or_default();
        self.0.push(Case { keyword, schema, expected: Expected::Takes(list(valid), list(invalid)) });
    }

    fn refused(&mut self, keyword: &'static str, schema: Value, part: &'static str) {
        self.0.push(Case { keyword, schema, expected: Expected::Refused(part) });
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    types(&mut cases);
    strings(&mut cases);
    numbers(&mut cases);
    arrays(&mut cases);
    objects(&mut cases);
    combined(&mut cases);
    real(&mut cases);
    cases.0
}

fn types(cases: &mut Cases) {
    let all = json!([null, true, 1, -2.5, "a", [1], { "a": 1 }]);
    let only = |index: usize| {
        let mut rest = all.as_array().cloned().unwrap_or_default();
        (json!([rest.remove(index)]), Value::Array(rest))
    };
    for (name, index) in [("null", 0), ("boolean", 1), ("string", 4), ("array", 5), ("object", 6)] {
        let (valid, invalid) = only(index);
        cases.takes("type", json!({ "type": name }), valid, invalid);
    }
    cases.takes("type", json!({ "type": "number" }), json!([1, -2.5, 0, 0.001, 123456789]), json!(["1", null]));
    cases.takes("type", json!({ "type": "integer" }), json!([1, -2, 0, 123456789]), json!([2.5, "1"]));
    cases.takes("type", json!({ "type": ["string", "null"] }), json!(["a", null]), json!([1, {}]));
    cases.takes("type", json!({ "type": ["integer", "array"] }), json!([1, [], ["a"]]), json!([1.5, {}]));
    cases.takes("type", json!({}), all.clone(), json!([]));
    cases.takes("type", json!(true), all.clone(), json!([]));
    cases.takes("type", json!({ "title": "any" }), all, json!([]));
    cases.refused("type", json!({ "type": "text" }), "`#/type`");
    cases.refused("type", json!({ "type": [] }), "`#/type`");
    cases.refused("type", json!({ "type": 3 }), "`#/type`");
    cases.refused("type", json!(false), "false");
    cases.refused("type", json!({ "properties": { "a": 3 } }), "`#/properties/a`");

    cases.takes(
        "enum",
        json!({ "enum": ["red", "green", 3, null] }),
        json!(["red", 3, null]),
        json!(["blue", 4, true]),
    );
    cases.takes(
        "enum",
        json!({ "enum": [{ "a": [1, 2] }, [], "é\"\n"] }),
        json!([{ "a": [1, 2] }, [], "é\"\n"]),
        json!([{}, [1], "é"]),
    );
    cases.takes("enum", json!({ "type": "string", "enum": ["a", "b", 3] }), json!(["a", "b"]), json!([3]));
    cases.takes("enum", json!({ "enum": ["a", "abc", "abcd"], "minLength": 2 }), json!(["abc", "abcd"]), json!(["a"]));
    cases.takes("enum", json!({ "enum": [1, 5, 10], "minimum": 4 }), json!([5, 10]), json!([1]));
    cases.takes("enum", json!({ "enum": [0.5, -1.25, 2] }), json!([0.5, -1.25, 2]), json!([0.25, -1]));
    cases.refused("enum", json!({ "enum": [] }), "`#/enum`");
    cases.refused("enum", json!({ "enum": "a" }), "`#/enum`");
    cases.refused("enum", json!({ "enum": [1, 12345678901234567890u64] }), "`#/enum/1`");
    cases.refused("enum", json!({ "type": "string", "enum": [1, 2] }), "cannot be enforced");

    cases.takes("const", json!({ "const": "yes" }), json!(["yes"]), json!(["no", "yess"]));
    cases.takes("const", json!({ "const": -7 }), json!([-7]), json!([7, -70]));
    cases.takes("const", json!({ "const": false }), json!([false]), json!([true, null]));
    cases.takes(
        "const",
        json!({ "const": { "a": { "b": [null, 1.5] } } }),
        json!([{ "a": { "b": [null, 1.5] } }]),
        json!([{ "a": {} }]),
    );
    cases.takes("const", json!({ "const": "tab\tquote\" back\\ é" }), json!(["tab\tquote\" back\\ é"]), json!(["tab"]));
    cases.refused("const", json!({ "const": "bell\u{7}" }), "`#/const`");
    cases.refused("const", json!({ "const": 1e300 }), "`#/const`");
    cases.refused("const", json!({ "const": { "a": [9007199254740993i64] } }), "`#/const/a/0`");
}

fn strings(cases: &mut Cases) {
    cases.takes(
        "minLength",
        json!({ "type": "string", "minLength": 3 }),
        json!(["abc", "日本語é"]),
        json!(["ab", "日本"]),
    );
    cases.takes("minLength", json!({ "minLength": 2 }), json!(["ab", 1, null, []]), json!(["a"]));
    cases.takes("minLength", json!({ "type": "string", "minLength": 2.0 }), json!(["ab"]), json!(["a"]));
    cases.refused("minLength", json!({ "minLength": -1 }), "`#/minLength`");
    cases.refused("minLength", json!({ "minLength": 1.5 }), "`#/minLength`");
    cases.takes(
        "maxLength",
        json!({ "type": "string", "maxLength": 3 }),
        json!(["", "abc", "\n\"\\"]),
        json!(["abcd"]),
    );
    cases.takes(
        "maxLength",
        json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
        json!(["a", "日", "\\"]),
        json!(["", "ab"]),
    );
    cases.refused("maxLength", json!({ "type": "string", "minLength": 5, "maxLength": 3 }), "cannot be enforced");

    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    cases.takes("pattern", pattern("^[a-z]{2,4}$"), json!(["ab", "abcd"]), json!(["a", "abcde", "AB"]));
    cases.takes("pattern", pattern("b"), json!(["abc", "b"]), json!(["ac", ""]));
    cases.takes("pattern", pattern("^a"), json!(["abc", "a"]), json!(["ba"]));
    cases.takes("pattern", pattern("c$"), json!(["abc", "c"]), json!(["cb"]));
    cases.takes("pattern", pattern("^a$|^b$|c"), json!(["a", "b", "xcx"]), json!(["ab", "xa"]));
    cases.takes("pattern", pattern(r"^\d{3}-\d{4}$"), json!(["123-4567"]), json!(["1234567", "१२३-4567"]));
    cases.takes("pattern", pattern(r"^\w+\s\w+$"), json!(["ab cd", "a\u{a0}b"]), json!(["abcd", "é f"]));
    cases.takes("pattern", pattern(r"^(?<year>\d{4})/(?:0[1-9]|1[0-2])$"), json!(["2024/02"]), json!(["2024/13"]));
    cases.takes("pattern", pattern(r"^[^\d\s]+$"), json!(["ab", "é!"]), json!(["a1", "a b"]));
    cases.takes("pattern", pattern("^.$"), json!(["a", "日"]), json!(["\n", "ab"]));
    cases.takes("pattern", pattern(r"^\u00e9\x41\/$"), json!(["éA/"]), json!(["eA/"]));
    cases.takes(
        "pattern",
        json!({ "type": "string", "pattern": "^a*$", "minLength": 2, "maxLength": 4 }),
        json!(["aa", "aaaa"]),
        json!(["a", "aaaaa"]),
    );
    cases.takes(
        "pattern",
        json!({ "allOf": [pattern("^a"), pattern("z$")], "type": "string" }),
        json!(["az", "abz"]),
        json!(["a", "z"]),
    );
    cases.takes("pattern", json!({ "pattern": "^a$" }), json!(["a", 1, {}]), json!(["b"]));
    cases.refused("pattern", pattern("(?=a)b"), "look");
    cases.refused("pattern", pattern(r"(a)\1"), "`#/pattern`");
    cases.refused("pattern", pattern(r"\bword\b"), "`#/pattern`");
    cases.refused("pattern", pattern("(a"), "cannot be enforced");
    cases.refused("pattern", json!({ "pattern": 1 }), "`#/pattern`");

    let format = |format: &str| json!({ "type": "string", "format": format });
    cases.takes(
        "format",
        format("date"),
        json!(["2024-02-29", "2023-12-31", "2000-02-29"]),
        json!(["2023-02-29", "1900-02-29", "2024-13-01", "24-01-01"]),
    );
    cases.takes(
        "format",
        format("time"),
        json!(["23:59:59Z", "00:00:00.5+02:00"]),
        json!(["24:00:00Z", "12:00", "12:60:00Z"]),
    );
    cases.takes(
        "format",
        format("date-time"),
        json!(["2024-02-29T12:00:00Z", "2023-01-01T00:00:00.123-05:30"]),
        json!(["2024-02-30T12:00:00Z", "2024-02-29"]),
    );
    cases.takes("format", format("email"), json!(["a.b+c@example.com"]), json!(["a@", "@b.com", "ab"]));
    cases.takes("format", format("hostname"), json!(["a", "www.example.com", "a-b.c"]), json!(["-a", "a..b", "a_b"]));
    cases.takes("format", format("ipv4"), json!(["0.0.0.0", "255.1.20.3"]), json!(["256.0.0.1", "1.2.3", "01.2.3.4"]));
    cases.takes(
        "format",
        format("ipv6"),
        json!(["::", "::1", "1:2:3:4:5:6:7:8", "fe80::1:2", "1::"]),
        json!(["1:2:3", ":::", "1::2::3", "12345::"]),
    );
    cases.takes(
        "format",
        format("uuid"),
        json!(["123e4567-e89b-12d3-a456-426614174000"]),
        json!(["123e4567e89b12d3a456426614174000"]),
    );
    cases.takes(
        "format",
        format("uri"),
        json!(["https://example.com/a?b=c#d", "ftp://a:21/%20"]),
        json!(["example.com", "http://a b"]),
    );
    cases.takes(
        "format",
        json!({ "type": "string", "format": "date", "pattern": "^2024" }),
        json!(["2024-02-29"]),
        json!(["2023-01-01"]),
    );
    cases.takes("format", json!({ "format": "ipv4" }), json!(["1.2.3.4", 5]), json!(["x"]));
    cases.refused("format", format("colour"), "`#/format`");
    cases.refused("format", format("unknown"), "`#/format`");
    cases.refused("format", format("regex"), "`#/format`");
}

fn numbers(cases: &mut Cases) {
    let integer = |bounds: Value| with(json!({ "type": "integer" }), bounds);
    let number = |bounds: Value| with(json!({ "type": "number" }), bounds);
    cases.takes("minimum", integer(json!({ "minimum": 5 })), json!([5, 10, 123]), json!([4, -5, 5.5]));
    cases.takes(
        "minimum",
        integer(json!({ "minimum": -12, "maximum": 37 })),
        json!([-12, 0, 37, 9]),
        json!([-13, 38, 100]),
    );
    cases.takes("minimum", number(json!({ "minimum": 0 })), json!([0, 0.5, 12]), json!([-0.5, -1]));
    cases.takes(
        "minimum",
        number(json!({ "minimum": -1.5, "maximum": 1.25 })),
        json!([-1.5, 0, 1.25, -0.5]),
        json!([-1.51, 1.26, 2]),
    );
    cases.takes("minimum", json!({ "minimum": 3 }), json!([3, "a", null]), json!([2]));
    cases.takes("minimum", integer(json!({ "minimum": 0.5 })), json!([1, 2]), json!([0]));
    cases.takes(
        "minimum",
        integer(json!({ "minimum": -9007199254740991i64, "maximum": 9007199254740991i64 })),
        json!([0, -9007199254740991i64]),
        json!([]),
    );
    cases.refused("minimum", number(json!({ "minimum": 1e300 })), "`#/minimum`");
    cases.refused("minimum", number(json!({ "minimum": "1" })), "`#/minimum`");
    cases.refused("minimum", integer(json!({ "minimum": 5, "maximum": 4 })), "cannot be enforced");
    cases.takes("maximum", integer(json!({ "maximum": -3 })), json!([-3, -100]), json!([-2, 0]));
    cases.takes("maximum", number(json!({ "maximum": 0.75 })), json!([0.75, 0.5, -10.25, 0]), json!([0.76, 1]));
    cases.takes("maximum", number(json!({ "minimum": 0, "maximum": 1 })), json!([0, 0.999, 1]), json!([1.01, -0.1]));
    cases.takes("maximum", number(json!({ "maximum": 1e300 })), json!([1, -5]), json!([]));
    cases.takes("exclusiveMinimum", number(json!({ "exclusiveMinimum": 0 })), json!([0.01, 3]), json!([0, -1]));
    cases.takes("exclusiveMinimum", integer(json!({ "exclusiveMinimum": 3 })), json!([4, 30]), json!([3, 0]));
    cases.takes(
        "exclusiveMinimum",
        number(json!({ "exclusiveMinimum": -0.5, "exclusiveMaximum": 0.5 })),
        json!([0, 0.25, -0.25]),
        json!([-0.5, 0.5]),
    );
    cases.takes(
        "exclusiveMaximum",
        integer(json!({ "minimum": 1, "exclusiveMaximum": 13 })),
        json!([1, 12]),
        json!([13, 0]),
    );
    cases.takes("exclusiveMaximum", number(json!({ "exclusiveMaximum": 100 })), json!([99.9, -7]), json!([100, 101]));
    cases.refused(
        "exclusiveMaximum",
        integer(json!({ "exclusiveMinimum": 3, "exclusiveMaximum": 4 })),
        "cannot be enforced",
    );
    cases.takes(
        "multipleOf",
        integer(json!({ "multipleOf": 7, "minimum": 0, "maximum": 1000 })),
        json!([0, 7, 700]),
        json!([8, 701]),
    );
    cases.takes("multipleOf", number(json!({ "multipleOf": 0.25 })), json!([0.25, 1, 7.25]), json!([0.3, 1.1]));
    cases.takes("multipleOf", integer(json!({ "multipleOf": 10 })), json!([10, 0, 250]), json!([5, 101]));
    cases.refused("multipleOf", number(json!({ "multipleOf": 0 })), "`#/multipleOf`");
    cases.refused("multipleOf", number(json!({ "multipleOf": 1e-9 })), "`#/multipleOf`");
}

fn with(mut schema: Value, more: Value) -> Value {
    let (Some(fields), Value::Object(more)) = (schema.as_object_mut(), more) else { return schema };
    fields.extend(more);
    schema
}

fn arrays(cases: &mut Cases) {
    let array = |more: Value| with(json!({ "type": "array" }), more);
    let whole = json!({ "type": "integer", "minimum": 0, "maximum": 99 });
    cases.takes("items", array(json!({ "items": whole })), json!([[], [1, 2, 3]]), json!([["a"], [1.5]]));
    cases.takes(
        "items",
        array(json!({ "items": { "type": "array", "items": { "type": "boolean" } } })),
        json!([[[true], []]]),
        json!([[true]]),
    );
    cases.takes("items", array(json!({ "items": false })), json!([[]]), json!([[1]]));
    cases.takes("items", json!({ "items": { "type": "null" } }), json!([[null, null], 3]), json!([[1]]));
    cases.refused("items", array(json!({ "items": 3 })), "`#/items`");
    cases.takes(
        "prefixItems",
        array(json!({ "prefixItems": [whole, { "type": "string" }] })),
        json!([[], [1], [1, "a"], [1, "a", null]]),
        json!([["a"], [1, 2]]),
    );
    cases.takes(
        "prefixItems",
        array(json!({ "prefixItems": [whole, { "type": "boolean" }], "items": false, "minItems": 2 })),
        json!([[1, true]]),
        json!([[1], [1, true, 2]]),
    );
    cases.takes(
        "prefixItems",
        array(json!({ "prefixItems": [whole], "items": { "type": "null" }, "maxItems": 3 })),
        json!([[1, null, null]]),
        json!([[1, 2], [1, null, null, null]]),
    );
    cases.refused("prefixItems", array(json!({ "prefixItems": {} })), "`#/prefixItems`");
    // The list form of early drafts.
    let draft = "http://json-schema.org/draft-07/schema#";
    cases.takes(
        "additionalItems",
        json!({ "$schema": draft, "type": "array", "items": [whole, { "type": "null" }], "additionalItems": false }),
        json!([[1, null], [1]]),
        json!([[1, null, 2], [null]]),
    );
    cases.takes(
        "minItems",
        array(json!({ "items": whole, "minItems": 2 })),
        json!([[1, 2], [1, 2, 3]]),
        json!([[], [1]]),
    );
    cases.takes("maxItems", array(json!({ "items": whole, "maxItems": 2 })), json!([[], [1, 2]]), json!([[1, 2, 3]]));
    cases.takes(
        "maxItems",
        array(json!({ "items": whole, "minItems": 3, "maxItems": 3 })),
        json!([[1, 2, 3]]),
        json!([[1, 2], [1, 2, 3, 4]]),
    );
    cases.takes("maxItems", array(json!({ "maxItems": 0 })), json!([[]]), json!([[1]]));
    cases.refused("minItems", array(json!({ "minItems": 3, "maxItems": 2 })), "cannot be enforced");
    cases.refused("minItems", array(json!({ "items": false, "minItems": 1 })), "cannot be enforced");
    cases.takes(
        "uniqueItems",
        array(json!({ "items": whole, "uniqueItems": false, "maxItems": 4 })),
        json!([[1, 1]]),
        json!([]),
    );
    cases.takes(
        "uniqueItems",
        array(json!({ "items": whole, "uniqueItems": true, "maxItems": 1 })),
        json!([[1], []]),
        json!([]),
    );
    cases.refused("uniqueItems", array(json!({ "uniqueItems": true })), "`#/uniqueItems`");
    cases.refused("contains", array(json!({ "contains": { "const": 1 } })), "`#/contains`");
}
