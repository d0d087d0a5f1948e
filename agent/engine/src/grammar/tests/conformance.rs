//! Whatever a grammar lets through obeys the schema that it was made from, as an independent validator sees it.

use serde_json::json;

use super::super::schema::keywords::{KEYWORDS, Support, table};
use super::schemas::{Expected, cases};
use super::*;

/// Answers tried for each schema.
const WALKS: u64 = 40;

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::options().should_validate_formats(true).build(schema).expect("the validator takes the schema")
}

#[test]
fn every_answer_obeys_its_schema_or_the_schema_is_refused_with_its_place() {
    let (mut accepted, mut refused, mut whole, mut long, mut huge) = (0, 0, 0, 0, 0);
    let (mut violations, mut wrong) = (Vec::new(), Vec::new());
    for case in cases() {
        let compiled = vocabulary().compile(&Shape::Schema(case.schema.clone()));
        let grammar = match (compiled, &case.expected) {
            (Ok(grammar), Expected::Takes(..)) => grammar,
            (Err(error), Expected::Refused(part)) if error.to_string().contains(part) => {
                refused += 1;
                continue;
            }
            (compiled, _) => {
                let outcome = compiled.map_or_else(|error| error.to_string(), |_| "enforced".to_owned());
                wrong.push(format!("{}: {}: {outcome}", case.keyword, case.schema));
                continue;
            }
        };
        accepted += 1;
        let validator = validator(&case.schema);
        if let Expected::Takes(valid, invalid) = &case.expected {
            for value in valid {
                if !validator.is_valid(value) {
                    wrong.push(format!("{}: {value}: the case is wrong", case.schema));
                }
                if !takes(&grammar, &value.to_string()) {
                    wrong.push(format!("{}: {value} is not let through", case.schema));
                }
            }
            for value in invalid {
                if validator.is_valid(value) {
                    wrong.push(format!("{}: {value}: the case is wrong", case.schema));
                }
                if takes(&grammar, &value.to_string()) {
                    wrong.push(format!("{}: {value} is let through", case.schema));
                }
            }
        }
        for seed in 0..WALKS {
            let text = match walk(&grammar, seed) {
                Walked::Whole(text) => text,
                Walked::Long(_) => {
                    long += 1;
                    continue;
                }
                Walked::Failed(reason) => {
                    wrong.push(format!("{}: {}: {reason}", case.keyword, case.schema));
                    continue;
                }
            };
            match serde_json::from_str::<Value>(&text) {
                Ok(value) if validator.is_valid(&value) => whole += 1,
                // Where a schema says nothing of a number it may be larger than this reader's.
                Err(error) if error.to_string().contains("number out of range") => huge += 1,
                _ => violations.push(format!("{}: {}: {text}", case.keyword, case.schema)),
            }
        }
    }
    #[expect(clippy::print_stdout, reason = "the figures that the test is for")]
    {
        println!(
            "schemas: {accepted} enforced, {refused} refused with their place; answers: {whole} obey, {} do not, \
             {long} had no end after {STEPS} tokens, {huge} hold a number beyond a double's range",
            violations.len()
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert!(whole > 20 * long, "{whole} whole, {long} long");
}

#[test]
fn the_table_of_keywords_is_what_is_so() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/grammar/KEYWORDS.md");
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(path, table()).expect("it can be written");
    }
    let written = std::fs::read_to_string(path).expect("the table is there");
    assert_eq!(written, table(), "run this test with REWRITE=1");
    let named = |keyword: &str| cases().iter().any(|case| case.keyword == keyword);
    for (keyword, support, _) in KEYWORDS {
        let simple = |value: Value| json!({ *keyword: value });
        match support {
            Support::Enforced => assert!(named(keyword), "`{keyword}` has no case"),
            Support::Annotation => {
                let grammar = vocabulary().compile(&Shape::Schema(json!({ *keyword: "x", "const": 1 })));
                assert!(grammar.is_ok_and(|grammar| takes(&grammar, "1") && !takes(&grammar, "2")), "{keyword}");
            }
            // Without `if` they say nothing.
            Support::Refused(_) if ["then", "else"].contains(keyword) => {}
            Support::Refused(instead) => {
                let error =
                    vocabulary().compile(&Shape::Schema(simple(json!({})))).expect_err("it is refused").to_string();
                assert!(error.contains(&format!("`#/{keyword}`")) && error.contains(instead), "{error}");
            }
        }
    }
}

#[test]
fn a_name_cannot_be_spelled_in_another_way_to_get_around_its_schema() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } }, "additionalProperties": { "type": "string" } });
    let grammar = vocabulary().compile(&Shape::Schema(schema)).expect("it is enforced");
    assert!(takes(&grammar, r#"{"a":1,"b":"x"}"#));
    assert!(!takes(&grammar, r#"{"\u0061":"x"}"#) && !takes(&grammar, r#"{"a":1,"a":"x"}"#));
}

#[test]
fn a_keyword_that_is_none_is_refused_with_the_one_that_may_be_meant() {
    let refused =
        |schema: Value| vocabulary().compile(&Shape::Schema(schema)).map(drop).expect_err("it is refused").to_string();
    let error = refused(json!({ "properties": { "a/b": { "minlength": 3 } } }));
    assert_eq!(
        error,
        "the schema at `#/properties/a~1b/minlength`: `minlength` is no keyword of JSON Schema; `minLength` may be meant"
    );
    // What steers the engine from within a schema is not for callers.
    let grammar = vocabulary().compile(&Shape::Schema(json!({ "x-guidance": { "lenient": true }, "type": "null" })));
    assert!(grammar.is_ok_and(|grammar| takes(&grammar, "null") && !takes(&grammar, "1")));
}
