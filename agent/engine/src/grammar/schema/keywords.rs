//! Every keyword of JSON Schema and what becomes of it.

/// What becomes of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// Every answer obeys it, or the schema is refused.
    Enforced,
    /// It says nothing about what is valid.
    Annotation,
    /// A schema that has it is refused, with this way out.
    Refused(&'static str),
}

use Support::{Annotation, Enforced, Refused};

/// The way out of what decides by other places of the same value.
const SPLIT: &str = "describe the cases as alternatives of `anyOf`";
const CLOSED: &str = "say `additionalProperties` beside the `properties` themselves";

/// The keywords, in the order of the table in `KEYWORDS.md`.
pub(crate) const KEYWORDS: &[(&str, Support, &str)] = &[
    ("type", Enforced, ""),
    ("enum", Enforced, "at most 2,000 values; whole numbers below 2^53"),
    ("const", Enforced, "whole numbers below 2^53"),
    ("anyOf", Enforced, ""),
    (
        "oneOf",
        Enforced,
        "where the alternatives can be told apart: by type, by different constants or by a required property that differs; otherwise refused",
    ),
    ("allOf", Enforced, ""),
    ("$ref", Enforced, "within the schema (`#`, `#/…`); recursive ones too"),
    ("$defs", Enforced, "what `$ref` finds"),
    ("definitions", Enforced, "what `$ref` finds"),
    ("properties", Enforced, "at most 500; written in this order"),
    ("required", Enforced, ""),
    ("additionalProperties", Enforced, ""),
    ("patternProperties", Enforced, "where no name matches two of them"),
    (
        "minProperties",
        Enforced,
        "up to the number of `required`, or 1; and only where all `properties` are required, or it is 1 and nothing else may be added",
    ),
    ("maxProperties", Enforced, "only where all `properties` are required, or it is 1 and nothing else may be added"),
    ("items", Enforced, "a list of schemas, as in early drafts, too"),
    ("prefixItems", Enforced, "at most 200"),
    ("additionalItems", Enforced, "beside a list of `items`"),
    ("minItems", Enforced, "at most 10,000"),
    ("maxItems", Enforced, "at most 10,000"),
    ("uniqueItems", Enforced, "only `false`, or with at most one item"),
    ("minLength", Enforced, "at most 100,000"),
    ("maxLength", Enforced, "at most 100,000"),
    ("pattern", Enforced, "JavaScript's syntax without looking around, back or for word boundaries"),
    ("format", Enforced, "date, date-time, email, hostname, ipv4, ipv6, time, uri, uuid; another is refused"),
    (
        "minimum",
        Enforced,
        "numbers are written between -10^18 and 10^18, without exponent, some with zeros at the end to be as long as the bound",
    ),
    ("maximum", Enforced, "as `minimum`"),
    ("exclusiveMinimum", Enforced, "as `minimum`; `true`, as in early drafts, too"),
    ("exclusiveMaximum", Enforced, "as `minimum`; `true`, as in early drafts, too"),
    ("multipleOf", Enforced, "with whole numbers, or where the step has at most 6 digits behind the point"),
    ("title", Annotation, ""),
    ("description", Annotation, ""),
    ("default", Annotation, ""),
    ("examples", Annotation, ""),
    ("deprecated", Annotation, ""),
    ("readOnly", Annotation, ""),
    ("writeOnly", Annotation, ""),
    ("$comment", Annotation, ""),
    ("$schema", Annotation, "all are read as 2020-12"),
    ("$id", Annotation, "at the root only"),
    ("contentEncoding", Annotation, ""),
    ("contentMediaType", Annotation, ""),
    ("contentSchema", Annotation, ""),
    ("discriminator", Annotation, "of OpenAPI"),
    ("not", Refused("say what is allowed instead"), ""),
    ("if", Refused(SPLIT), ""),
    ("then", Refused(SPLIT), ""),
    ("else", Refused(SPLIT), ""),
    ("dependentRequired", Refused(SPLIT), ""),
    ("dependentSchemas", Refused(SPLIT), ""),
    ("dependencies", Refused(SPLIT), ""),
    ("propertyNames", Refused("use `patternProperties` with `additionalProperties: false`"), ""),
    ("unevaluatedProperties", Refused(CLOSED), ""),
    ("unevaluatedItems", Refused("say `items` beside `prefixItems`"), ""),
    ("contains", Refused("name the item in `prefixItems`"), ""),
    ("minContains", Refused("name the items in `prefixItems`"), ""),
    ("maxContains", Refused("name the items in `prefixItems`"), ""),
    ("$anchor", Refused("use `$ref` with a path, as in `#/$defs/name`"), ""),
    ("$dynamicRef", Refused("use `$ref`"), ""),
    ("$dynamicAnchor", Refused("use `$ref` with a path, as in `#/$defs/name`"), ""),
    ("$recursiveRef", Refused("use `$ref`"), ""),
    ("$recursiveAnchor", Refused("use `$ref`"), ""),
    ("$vocabulary", Refused("leave it out"), ""),
];

/// What becomes of a keyword; nothing for one that JSON Schema does not know.
pub(super) fn support(keyword: &str) -> Option<Support> {
    // Keys of other tools, which by their own rule mean nothing to anybody else.
    if keyword.starts_with("x-") {
        return Some(Annotation);
    }
    KEYWORDS.iter().find(|(name, ..)| *name == keyword).map(|(_, support, _)| *support)
}

/// The table of `KEYWORDS.md`.
#[cfg(test)]
pub(crate) fn table() -> String {
    let mut text = String::from(
        "# JSON Schema in structured output\n\n\
         Every answer obeys what is *enforced*; a schema that has what is *refused*, or a keyword that is not here, is\n\
         refused with its place and the way out. Keys that begin with `x-` mean nothing. Held by the tests of this folder.\n\n\
         | keyword | | |\n|---|---|---|\n",
    );
    for (keyword, support, note) in KEYWORDS {
        let (word, note) = match support {
            Enforced => ("enforced", *note),
            Annotation => ("no matter", *note),
            Refused(instead) => ("refused", *instead),
        };
        text.push_str(&format!("| `{keyword}` | {word} | {note} |\n"));
    }
    text
}
