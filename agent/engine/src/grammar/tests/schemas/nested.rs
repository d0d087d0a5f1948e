//! Schemas of objects, of alternatives and of what refers to others.

use super::*;

pub(super) fn objects(cases: &mut Cases) {
    let object = |more: Value| with(json!({ "type": "object" }), more);
    let whole = json!({ "type": "integer", "minimum": 0, "maximum": 99 });
    let text = json!({ "type": "string", "maxLength": 5 });
    cases.takes(
        "properties",
        object(json!({ "properties": { "a": whole, "b": text } })),
        json!([{}, { "a": 1 }, { "a": 1, "b": "x" }]),
        json!([{ "a": "x" }, { "b": 1 }]),
    );
    cases.takes(
        "properties",
        object(json!({ "properties": { "é \"q\"\n": whole }, "required": ["é \"q\"\n"] })),
        json!([{ "é \"q\"\n": 1 }]),
        json!([{ "é": 1 }]),
    );
    cases.takes(
        "properties",
        json!({ "properties": { "a": whole } }),
        json!([{ "a": 1 }, 3, "a"]),
        json!([{ "a": null }]),
    );
    cases.takes("properties", object(json!({ "properties": { "a": false } })), json!([{}]), json!([{ "a": 1 }]));
    cases.takes(
        "required",
        object(json!({ "properties": { "a": whole, "b": text, "c": {} }, "required": ["b", "a"] })),
        json!([{ "a": 1, "b": "" }, { "a": 1, "b": "", "c": null }]),
        json!([{ "a": 1 }, {}]),
    );
    cases.takes(
        "required",
        object(json!({ "properties": { "a": whole }, "required": ["z"] })),
        json!([{ "z": 1 }, { "a": 1, "z": 1 }]),
        json!([{}, { "a": 1 }]),
    );
    cases.takes("required", object(json!({ "required": ["z"] })), json!([{ "z": 1 }]), json!([{}, { "a": 1 }]));
    cases.takes("required", object(json!({ "required": [] })), json!([{}]), json!([]));
    cases.refused("required", object(json!({ "required": [1] })), "`#/required`");
    cases.refused("required", object(json!({ "required": ["a"], "properties": { "a": false } })), "cannot be enforced");
    cases.refused(
        "required",
        object(json!({ "required": ["a"], "additionalProperties": false })),
        "cannot be enforced",
    );
    cases.takes(
        "additionalProperties",
        object(json!({ "properties": { "a": whole }, "additionalProperties": false })),
        json!([{}, { "a": 1 }]),
        json!([{ "b": 1 }, { "a": 1, "b": 1 }]),
    );
    cases.takes(
        "additionalProperties",
        object(json!({ "properties": { "a": whole }, "additionalProperties": text })),
        json!([{ "a": 1, "b": "x" }, { "b": "x", "c": "y" }]),
        json!([{ "b": 1 }, { "a": "x" }]),
    );
    cases.takes(
        "additionalProperties",
        object(json!({ "additionalProperties": { "type": "boolean" } })),
        json!([{}, { "x": true, "y": false }]),
        json!([{ "x": 1 }]),
    );
    cases.takes(
        "additionalProperties",
        object(json!({ "additionalProperties": false })),
        json!([{}]),
        json!([{ "x": 1 }]),
    );
    cases.takes(
        "patternProperties",
        object(json!({ "patternProperties": { "^n_": whole, "^t_": text }, "additionalProperties": false })),
        json!([{ "n_a": 1, "t_b": "x" }, {}]),
        json!([{ "n_a": "x" }, { "other": 1 }]),
    );
    cases.takes(
        "patternProperties",
        object(json!({ "properties": { "n_x": { "maximum": 5 } }, "patternProperties": { "^n_": whole } })),
        json!([{ "n_x": 5 }, { "n_y": 50 }, { "o": null }]),
        json!([{ "n_x": 6 }, { "n_y": "x" }]),
    );
    cases.refused("patternProperties", object(json!({ "patternProperties": { "a": whole, "b": text } })), "disjoint");
    cases.refused(
        "patternProperties",
        object(json!({ "patternProperties": { r"\ba": whole } })),
        "`#/patternProperties/\\ba`",
    );
    cases.takes(
        "minProperties",
        object(json!({ "minProperties": 1, "additionalProperties": whole })),
        json!([{ "a": 1 }, { "a": 1, "b": 2 }]),
        json!([{}]),
    );
    cases.takes(
        "minProperties",
        object(json!({ "properties": { "a": whole, "b": whole }, "additionalProperties": false, "minProperties": 1 })),
        json!([{ "a": 1 }, { "b": 1 }, { "a": 1, "b": 2 }]),
        json!([{}]),
    );
    cases.takes(
        "minProperties",
        object(json!({ "properties": { "a": whole, "b": whole }, "required": ["a", "b"], "minProperties": 2 })),
        json!([{ "a": 1, "b": 2 }]),
        json!([{ "a": 1 }]),
    );
    cases.refused("minProperties", object(json!({ "minProperties": 2 })), "`#/minProperties`");
    cases.refused(
        "minProperties",
        object(json!({ "properties": { "a": whole }, "additionalProperties": {}, "minProperties": 1 })),
        "`minProperties`",
    );
    cases.takes(
        "maxProperties",
        object(json!({ "maxProperties": 2, "additionalProperties": whole })),
        json!([{}, { "a": 1, "b": 2 }]),
        json!([{ "a": 1, "b": 2, "c": 3 }]),
    );
    cases.takes(
        "maxProperties",
        object(json!({ "properties": { "a": whole, "b": whole }, "additionalProperties": false, "maxProperties": 1 })),
        json!([{}, { "b": 1 }]),
        json!([{ "a": 1, "b": 2 }]),
    );
    cases.refused(
        "maxProperties",
        object(json!({ "properties": { "a": whole, "b": whole }, "additionalProperties": {}, "maxProperties": 1 })),
        "`maxProperties`",
    );
    cases.refused("propertyNames", object(json!({ "propertyNames": { "maxLength": 3 } })), "`#/propertyNames`");
    cases.refused("dependentRequired", object(json!({ "dependentRequired": { "a": ["b"] } })), "`#/dependentRequired`");
    cases.refused(
        "unevaluatedProperties",
        object(json!({ "unevaluatedProperties": false })),
        "`#/unevaluatedProperties`",
    );
}

pub(super) fn combined(cases: &mut Cases) {
    let text = json!({ "type": "string", "maxLength": 5 });
    let kind = |name: &str, more: Value| json!({ "type": "object", "properties": { "kind": { "const": name }, "value": more }, "required": ["kind", "value"], "additionalProperties": false });
    cases.takes(
        "anyOf",
        json!({ "anyOf": [{ "type": "integer" }, text] }),
        json!([1, "a"]),
        json!([1.5, "abcdef", null]),
    );
    cases.takes("anyOf", json!({ "type": "object", "anyOf": [{ "required": ["a"] }, { "required": ["b"] }], "properties": { "a": {}, "b": {} } }), json!([{ "a": 1 }, { "b": 1 }]), json!([{}, 3]));
    cases.takes(
        "anyOf",
        json!({ "anyOf": [kind("x", text.clone()), kind("y", json!({ "type": "null" }))] }),
        json!([{ "kind": "x", "value": "a" }, { "kind": "y", "value": null }]),
        json!([{ "kind": "x", "value": null }]),
    );
    cases.takes("anyOf", json!({ "anyOf": [false, { "const": 1 }] }), json!([1]), json!([2]));
    cases.refused("anyOf", json!({ "anyOf": [] }), "`#/anyOf`");
    cases.refused("anyOf", json!({ "anyOf": [{ "not": {} }] }), "`#/anyOf/0/not`");
    cases.takes(
        "oneOf",
        json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }] }),
        json!([1, "a"]),
        json!([null, 1.5]),
    );
    cases.takes("oneOf", json!({ "oneOf": [{ "const": "a" }, { "const": "b" }] }), json!(["a", "b"]), json!(["c"]));
    cases.takes(
        "oneOf",
        json!({ "oneOf": [kind("x", text.clone()), kind("y", text.clone())] }),
        json!([{ "kind": "x", "value": "a" }]),
        json!([{ "kind": "z", "value": "a" }]),
    );
    cases.takes("oneOf", json!({ "oneOf": [{ "type": "null" }] }), json!([null]), json!([1]));
    cases.refused("oneOf", json!({ "oneOf": [{ "type": "integer" }, { "type": "number" }] }), "`oneOf`");
    cases.refused("oneOf", json!({ "oneOf": [{ "minimum": 3 }, { "maximum": 5 }] }), "`oneOf`");
    cases.refused("oneOf", json!({ "properties": { "a": { "oneOf": {} } } }), "`#/properties/a/oneOf`");
    cases.takes(
        "allOf",
        json!({ "allOf": [{ "type": "string" }, { "minLength": 2 }, { "maxLength": 3 }] }),
        json!(["ab", "abc"]),
        json!(["a", "abcd", 3]),
    );
    cases.takes("allOf", json!({ "allOf": [{ "properties": { "a": { "type": "integer" } }, "required": ["a"] }, { "properties": { "b": text }, "required": ["b"] }], "type": "object" }), json!([{ "a": 1, "b": "x" }]), json!([{ "a": 1 }, { "a": "x", "b": "x" }]));
    cases.takes(
        "allOf",
        json!({ "allOf": [{ "minimum": 3 }, { "type": "integer", "maximum": 9 }] }),
        json!([3, 9]),
        json!([2, 10]),
    );
    cases.takes("allOf", json!({ "allOf": [{ "anyOf": [{ "type": "integer" }, { "type": "string" }] }, { "anyOf": [{ "type": "string" }, { "type": "null" }] }] }), json!(["a"]), json!([1, null]));
    cases.refused("allOf", json!({ "allOf": [{ "type": "string" }, { "type": "integer" }] }), "cannot be enforced");

    let tree = json!({ "type": "object", "properties": { "value": { "type": "integer", "minimum": 0, "maximum": 9 }, "next": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] } }, "required": ["value", "next"], "additionalProperties": false });
    cases.takes(
        "$ref",
        tree,
        json!([{ "value": 1, "next": { "value": 2, "next": null } }]),
        json!([{ "value": 1 }, { "value": 1, "next": { "value": "x", "next": null } }]),
    );
    cases.takes("$ref", json!({ "properties": { "a": { "type": "boolean" }, "b": { "$ref": "#/properties/a" } }, "type": "object", "required": ["b"] }), json!([{ "b": true }]), json!([{ "b": 1 }]));
    cases.takes(
        "$ref",
        json!({ "$ref": "#/$defs/a~1b%20c", "$defs": { "a/b c": { "const": 3 } } }),
        json!([3]),
        json!([4]),
    );
    cases.takes(
        "$ref",
        json!({ "$ref": "#/$defs/a", "maxLength": 2, "$defs": { "a": { "type": "string" } } }),
        json!(["ab"]),
        json!(["abc", 1]),
    );
    cases.takes(
        "$ref",
        json!({ "$ref": "#/$defs/when", "$defs": { "when": { "type": "string", "format": "date" } } }),
        json!(["2024-02-29"]),
        json!(["2023-02-29"]),
    );
    cases.refused("$ref", json!({ "$ref": "https://example.com/schema" }), "`#/$ref`");
    cases.refused("$ref", json!({ "$ref": "#/$defs/missing" }), "`#/$ref`");
    cases.refused("$ref", json!({ "$ref": "#name" }), "`#/$ref`");
    cases.refused("$ref", json!({ "$ref": "#/$defs/a", "$defs": { "a": { "not": {} } } }), "`#/$defs/a/not`");
    cases.takes("$defs", json!({ "$defs": { "unused": { "not": {} } }, "type": "null" }), json!([null]), json!([1]));
    cases.takes(
        "definitions",
        json!({ "$ref": "#/definitions/a", "definitions": { "a": { "enum": [1, 2] } } }),
        json!([1, 2]),
        json!([3]),
    );
    cases.refused("not", json!({ "type": "string", "not": { "const": "a" } }), "`#/not`");
    cases.refused("if", json!({ "if": { "type": "string" }, "then": { "minLength": 3 } }), "`#/if`");
}

/// As they are sent by those who make them from classes.
pub(super) fn real(cases: &mut Cases) {
    let steps = json!({
        "$defs": { "Step": { "title": "Step", "type": "object", "additionalProperties": false, "required": ["explanation", "output"],
            "properties": { "explanation": { "title": "Explanation", "type": "string" }, "output": { "title": "Output", "type": "string" } } } },
        "title": "Reasoning", "type": "object", "additionalProperties": false, "required": ["steps", "final_answer"],
        "properties": { "steps": { "title": "Steps", "type": "array", "items": { "$ref": "#/$defs/Step" } }, "final_answer": { "type": "string" } },
    });
    cases.takes(
        "properties",
        steps,
        json!([{ "steps": [{ "explanation": "a", "output": "b" }], "final_answer": "c" }]),
        json!([{ "steps": [] }]),
    );
    let person = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/person", "type": "object",
        "required": ["name", "age", "mail"], "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "minLength": 1, "maxLength": 40 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "mail": { "anyOf": [{ "type": "string", "format": "email" }, { "type": "null" }], "default": null },
            "born": { "type": "string", "format": "date" },
            "tags": { "type": "array", "items": { "enum": ["new", "old"] }, "maxItems": 3 },
            "address": { "type": "object", "properties": { "street": { "type": "string" }, "number": { "type": ["integer", "null"] } }, "required": ["street", "number"] },
        },
    });
    cases.takes(
        "required",
        person,
        json!([{ "name": "A", "age": 3, "mail": null, "tags": ["new"] }]),
        json!([{ "name": "", "age": 3, "mail": null }, { "name": "A", "age": 151, "mail": null }]),
    );
}
