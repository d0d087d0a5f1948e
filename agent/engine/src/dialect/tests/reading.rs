//! Answers, however they are cut.

use proptest::prelude::*;

use super::*;

/// Pieces with neighbours of one kind made one.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (all.last_mut(), &piece) {
            (Some(Piece::Reasoning(last)), Piece::Reasoning(text)) | (Some(Piece::Text(last)), Piece::Text(text)) => {
                last.push_str(text);
            }
            (Some(Piece::CallArguments { index: last, text: before }), Piece::CallArguments { index, text })
                if last == index =>
            {
                before.push_str(text);
            }
            _ => all.push(piece),
        }
    }
    all
}

fn reader(template: &str) -> Reader {
    Dialect::of(Some(template)).reader(&tokenizer(), &[], &weather(), &Choice::Auto)
}

fn read(mut reader: Reader, pieces: &[&str]) -> Vec<Piece> {
    let mut all: Vec<Piece> = pieces.iter().flat_map(|piece| reader.push(piece)).collect();
    all.extend(reader.finish());
    joined(all)
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn reasoning(text: &str) -> Piece {
    Piece::Reasoning(text.to_owned())
}

fn call(index: usize, name: &str, arguments: &str) -> [Piece; 2] {
    [Piece::CallBegin { index, name: name.to_owned() }, Piece::CallArguments { index, text: arguments.to_owned() }]
}

#[test]
fn reasoning_text_and_calls_are_told_apart() {
    let answer = "<think>\nIt rains?\n</think>\n\nLet me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n\
                  </tool_call>\n<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>";
    let [first, second] = call(0, "weather", "{\"city\": \"Rome\"}");
    let [third, fourth] = call(1, "time", "{}");
    let expected = vec![reasoning("It rains?"), text("Let me see."), first, second, third, fourth];
    assert_eq!(read(reader(HERMES_TEMPLATE), &[answer]), expected);
    let characters: Vec<String> = answer.chars().map(String::from).collect();
    assert_eq!(read(reader(HERMES_TEMPLATE), &characters.iter().map(String::as_str).collect::<Vec<_>>()), expected);
}

#[test]
fn arguments_come_as_they_are_written() {
    let mut reader = reader(HERMES_TEMPLATE);
    assert!(reader.push("<tool_call>{\"name\": \"weather\", \"argum").is_empty());
    assert_eq!(reader.push("ents\": {\"city\": \"Ro"), call(0, "weather", "{\"city\": \"Ro"));
    assert_eq!(reader.push("me}\\\"\""), [Piece::CallArguments { index: 0, text: "me}\\\"\"".to_owned() }]);
    assert_eq!(reader.push("}"), [Piece::CallArguments { index: 0, text: "}".to_owned() }]);
    assert!(reader.has_calls());
    assert!(reader.push("}\n</tool_call>\n").is_empty() && reader.finish().is_empty());
}

#[test]
fn what_looks_like_a_call_and_is_none_is_text() {
    for answer in [
        "<tool_call>\n{\"name\": \"unknown\", \"arguments\": {}}\n</tool_call> more",
        "a <tool_call> b </tool_call> c",
        "<tool_call>{\"name\": \"weather\"",
        "<tool_call>{\"name\": \"weather\", \"arguments\": 3}</tool_call>",
        "a <tool_",
        "1 < 2\n\n",
        "  {\"name\": \"weather\", \"arguments\": {}}",
        "",
    ] {
        let expected: Vec<Piece> = (!answer.is_empty()).then(|| text(answer)).into_iter().collect();
        assert_eq!(read(reader(HERMES_TEMPLATE), &[answer]), expected);
    }
    assert_eq!(
        read(reader(LLAMA_TEMPLATE), &["{\"name\": \"unknown\", \"parameters\": {}}"]),
        [text("{\"name\": \"unknown\", \"parameters\": {}}")]
    );
    assert_eq!(read(reader(LLAMA_TEMPLATE), &["{\"a\": 1}"]), [text("{\"a\": 1}")]);
    assert_eq!(
        read(reader(LLAMA_TEMPLATE), &["See {\"name\": \"time\", \"parameters\": {}}"]),
        [text("See {\"name\": \"time\", \"parameters\": {}}")]
    );
    // Nobody asked for calls.
    let none = Dialect::of(Some(HERMES_TEMPLATE)).reader(&tokenizer(), &[], &weather(), &Choice::None);
    let answer = "<tool_call>{\"name\": \"time\", \"arguments\": {}}</tool_call>";
    assert_eq!(read(none, &[answer]), [text(answer)]);
}

#[test]
fn a_call_that_is_written_in_another_order_is_one() {
    let answer = "<tool_call>{\"arguments\": {\"city\": \"Oslo\"}, \"name\": \"weather\"}</tool_call>";
    assert_eq!(read(reader(HERMES_TEMPLATE), &[answer]), call(0, "weather", "{\"city\":\"Oslo\"}"));
    let text = "<tool_call>{\"name\": \"weather\", \"arguments\": \"{\\\"city\\\": \\\"Oslo\\\"}\"}</tool_call>";
    assert_eq!(read(reader(HERMES_TEMPLATE), &[text]), call(0, "weather", "{\"city\":\"Oslo\"}"));
}

#[test]
fn a_call_that_is_cut_off_keeps_what_there_is_of_it() {
    let answer = "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Ro";
    assert_eq!(read(reader(HERMES_TEMPLATE), &[answer]), call(0, "weather", "{\"city\": \"Ro"));
    let broken = "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": </tool_call> sorry";
    // The blank too: it may have left before it was known to be the last.
    let [first, second] = call(0, "weather", "{\"city\": ");
    assert_eq!(read(reader(HERMES_TEMPLATE), &[broken]), [first, second, text("sorry")]);
}

#[test]
fn llama_writes_calls_bare_behind_a_tag_or_one_behind_the_other() {
    let weather = "{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\"}}";
    let expected = call(0, "weather", "{\"city\": \"Rome\"}");
    assert_eq!(read(reader(LLAMA_TEMPLATE), &[weather]), expected);
    assert_eq!(read(reader(LLAMA_TEMPLATE), &["<|python_tag|>", weather]), expected);
    let [third, fourth] = call(1, "time", "{}");
    let two = format!("{weather}; {{\"type\": \"function\", \"name\": \"time\", \"parameters\": {{}}}}");
    assert_eq!(
        read(reader(LLAMA_TEMPLATE), &[&two]),
        expected.iter().cloned().chain([third, fourth]).collect::<Vec<_>>()
    );
    assert_eq!(read(reader(LLAMA_TEMPLATE), &["<|python_tag|>print(1)"]), [text("<|python_tag|>print(1)")]);
}

#[test]
fn phi_writes_them_as_a_list() {
    let answer = "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}, {\"name\": \"time\", \"arguments\": {}}]<|/tool_call|>";
    let [first, second] = call(0, "weather", "{\"city\": \"Rome\"}");
    let [third, fourth] = call(1, "time", "{}");
    assert_eq!(read(reader(PHI_TEMPLATE), &[answer]), [first, second, third, fourth]);
}

#[test]
fn reasoning_that_the_prompt_has_opened_goes_on() {
    let tokenizer = tokenizer();
    let prompt = tokenizer.encode("<think>\n", true, false);
    let dialect = Dialect::of(Some(HERMES_TEMPLATE));
    let reader = dialect.reader(&tokenizer, &prompt, &[], &Choice::Auto);
    assert_eq!(read(reader, &["Well.\n</think>\n\nYes."]), [reasoning("Well."), text("Yes.")]);
    let reader =
        dialect.reader(&tokenizer, &tokenizer.encode("<think>\n\n</think>\n\n", true, false), &[], &Choice::Auto);
    assert_eq!(read(reader, &["Yes."]), [text("Yes.")]);
}

/// Answers made of what matters to a reader.
fn answer() -> impl Strategy<Value = String> {
    let parts = [
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<|tool_call|>",
        "<|/tool_call|>",
        "<|python_tag|>",
        "\n",
        " ",
        "é",
        "word",
        "{\"name\": \"weather\", \"arguments\": ",
        "{\"city\": \"Rome\"}",
        "}",
        "{\"name\": \"time\", \"parameters\": {}}",
        "{\"arguments\": {}, \"name\": \"time\"}",
        "[",
        "]",
        ", ",
        ";",
        "\"",
        "\\",
        "{",
        "<",
        "<tool",
    ];
    prop::collection::vec(prop::sample::select(parts.to_vec()), 0..14).prop_map(|parts| parts.concat())
}

/// The texts of pieces without blanks, and without what a reader takes away.
fn letters(text: &str) -> String {
    text.chars().filter(|letter| letter.is_alphabetic()).collect()
}

#[test]
fn an_unfinished_call_keeps_its_blanks_however_it_is_cut() {
    let parts = ["<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": ", "</tool_call>"];
    let whole = read(reader(HERMES_TEMPLATE), &[&parts.concat()]);
    assert_eq!(read(reader(HERMES_TEMPLATE), &parts), whole);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn how_an_answer_is_cut_changes_nothing(
        answer in answer(),
        template in prop::sample::select(vec![HERMES_TEMPLATE, LLAMA_TEMPLATE, PHI_TEMPLATE, PLAIN_TEMPLATE]),
        cuts in prop::collection::vec(0usize..6, 60),
    ) {
        let whole = read(reader(template), &[&answer]);
        let mut characters = answer.chars();
        let mut pieces: Vec<String> = cuts.iter().map(|count| characters.by_ref().take(*count).collect()).collect();
        pieces.push(characters.collect());
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        prop_assert_eq!(read(reader(template), &pieces), whole);
    }

    #[test]
    fn nothing_but_the_frame_of_calls_and_reasoning_is_lost(
        answer in answer(),
        template in prop::sample::select(vec![HERMES_TEMPLATE, LLAMA_TEMPLATE, PHI_TEMPLATE]),
    ) {
        let pieces = read(reader(template), &[&answer]);
        let calls = pieces.iter().filter(|piece| matches!(piece, Piece::CallBegin { .. })).count();
        let kept: String = pieces.iter().map(|piece| match piece {
            Piece::Reasoning(text) | Piece::Text(text) | Piece::CallArguments { text, .. } => text.as_str(),
            Piece::CallBegin { name, .. } => name.as_str(),
        }).collect();
        if calls == 0 && !pieces.iter().any(|piece| matches!(piece, Piece::Reasoning(_))) && !answer.contains("think>") {
            prop_assert_eq!(letters(&kept), letters(&answer));
        }
        let words = |text: &str| text.matches("word").count() + text.matches("Rome").count();
        prop_assert_eq!(words(&kept), words(&answer), "{:?}", pieces);
    }
}
