//! Forced calls, and answers of a form.

use super::*;
use crate::grammar::Shape;

fn wish<'a>(tools: &'a [Tool], choice: &'a Choice) -> Wish<'a> {
    Wish { tools, choice, parallel: true, format: None, prompt: &[], thinking: false }
}

const ROME: &str = "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>";
const TIME: &str = "<tool_call>\n{\"name\": \"time\", \"arguments\": {\"any\": [1]}}\n</tool_call>";

#[test]
fn a_required_call_is_one_of_a_tool_that_there_is_with_arguments_of_its_schema() {
    let tools = weather();
    let dialect = Dialect::of(Some(HERMES_TEMPLATE));
    let grammar = |wish: &Wish<'_>| dialect.grammar(vocabulary(), wish).expect("it is made").expect("there is one");
    let required = grammar(&wish(&tools, &Choice::Required));
    let both = format!("{ROME}\n{TIME}");
    assert!(takes(&required, ROME) && takes(&required, TIME) && takes(&required, &both));
    for wrong in ["Hello", "", &ROME.replace("Rome", "Bonn"), &ROME.replace("weather", "time2"), &format!("x{ROME}")] {
        assert!(!takes(&required, wrong), "{wrong}");
    }
    let single = grammar(&Wish { parallel: false, ..wish(&tools, &Choice::Required) });
    assert!(takes(&single, ROME) && !takes(&single, &both));
    let choice = Choice::Named("time".to_owned());
    let named = grammar(&wish(&tools, &choice));
    assert!(takes(&named, TIME) && !takes(&named, ROME));
    // Reasoning may come first where it may.
    let thought = format!("<think>\nHm. {{}}\n</think>\n\n{ROME}");
    assert!(!takes(&required, &thought));
    let thinking = grammar(&Wish { thinking: true, ..wish(&tools, &Choice::Required) });
    assert!(takes(&thinking, &thought) && takes(&thinking, ROME) && !takes(&thinking, "<think>\nHm.\n</think>\n\nNo."));
    let prompt = tokenizer().encode("<think>\n", true, false);
    let opened = grammar(&Wish { prompt: &prompt, ..wish(&tools, &Choice::Required) });
    assert!(takes(&opened, &format!("Hm.</think>{ROME}")) && !takes(&opened, ROME));
}

#[test]
fn a_call_that_need_not_be_follows_its_schema_once_it_is_begun() {
    let tools = weather();
    let dialect = Dialect::of(Some(HERMES_TEMPLATE));
    let auto = dialect.grammar(vocabulary(), &wish(&tools, &Choice::Auto)).expect("it is made").expect("there is one");
    for right in ["Hello, {all} of you!", ROME, &format!("Let me see.\n{ROME}\n{TIME}")] {
        assert!(takes(&auto, right), "{right}");
    }
    for wrong in [
        ROME.replace("Rome", "Bonn"),
        format!("Let me see. {}", ROME.replace("city", "town")),
        "<tool_call>".to_owned(),
    ] {
        assert!(!takes(&auto, &wrong), "{wrong}");
    }
    // Without a token of its own the mark cannot be told from text.
    let plain = Dialect::of(Some(PLAIN_TEMPLATE));
    assert!(plain.grammar(vocabulary(), &wish(&tools, &Choice::Auto)).expect("it is no mistake").is_none());
    assert!(dialect.grammar(vocabulary(), &wish(&tools, &Choice::None)).expect("it is no mistake").is_none());
}

#[test]
fn what_is_forced_is_read_as_calls_in_every_dialect() {
    let tools = weather();
    for template in [HERMES_TEMPLATE, LLAMA_TEMPLATE, PHI_TEMPLATE, PLAIN_TEMPLATE] {
        let dialect = Dialect::of(Some(template));
        for parallel in [false, true] {
            let wish = Wish { parallel, ..wish(&tools, &Choice::Required) };
            let grammar = dialect.grammar(vocabulary(), &wish).expect("it is made").expect("there is one");
            for seed in 0..25 {
                let Walked::Whole(text) = walk(&grammar, seed) else { continue };
                let mut reader = dialect.reader(&tokenizer(), &[], &tools, &Choice::Required);
                let mut pieces = reader.push(&text);
                pieces.extend(reader.finish());
                let calls = pieces.iter().filter(|piece| matches!(piece, Piece::CallBegin { .. })).count();
                assert!(calls >= 1 && (parallel || calls == 1), "{text}");
                assert!(!pieces.iter().any(|piece| matches!(piece, Piece::Text(_))), "{text}: {pieces:?}");
            }
        }
    }
}

#[test]
fn a_format_comes_behind_the_reasoning() {
    let shape = Shape::Schema(
        json!({ "type": "object", "properties": { "a": { "type": "boolean" } }, "required": ["a"], "additionalProperties": false }),
    );
    let dialect = Dialect::of(Some(HERMES_TEMPLATE));
    let wish = Wish { format: Some(&shape), thinking: true, ..wish(&[], &Choice::Auto) };
    let grammar = dialect.grammar(vocabulary(), &wish).expect("it is made").expect("there is one");
    assert!(takes(&grammar, "{\"a\": true}") && takes(&grammar, "<think>\nHm.\n</think>\n\n{\"a\": true}"));
    assert!(!takes(&grammar, "<think>\nHm.\n</think>\n\nNo."));
    let plain =
        dialect.grammar(vocabulary(), &Wish { thinking: false, ..wish }).expect("it is made").expect("there is one");
    assert!(takes(&plain, "{\"a\": true}") && !takes(&plain, "<think>\nHm.\n</think>\n\n{\"a\": true}"));
    let regex = Shape::Regex("a+".to_owned());
    let error = dialect.grammar(vocabulary(), &Wish { format: Some(&regex), ..wish }).expect_err("it is refused");
    assert!(error.to_string().contains("switch thinking off"));
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_the_tool() {
    let mut tools = weather();
    let dialect = Dialect::of(Some(HERMES_TEMPLATE));
    let error = |wish: &Wish<'_>| dialect.grammar(vocabulary(), wish).expect_err("it is refused").to_string();
    let choice = Choice::Named("tide".to_owned());
    assert!(error(&wish(&tools, &choice)).contains("`tide`"));
    assert!(error(&wish(&[], &Choice::Required)).contains("no tool is given"));
    assert!(error(&Wish { format: Some(&Shape::Object), ..wish(&tools, &Choice::Auto) }).contains("format"));
    tools[1].parameters = json!({ "properties": { "a": { "not": {} } } });
    assert!(error(&wish(&tools, &Choice::Required)).contains("`#(parameters of time)/properties/a/not`"));
}
