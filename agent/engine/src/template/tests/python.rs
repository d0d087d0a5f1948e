//! Every template on every conversation against what Python's template engine answers, text for text.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

/// What `tests/peers/templates.py` told Python: 2024-02-29 12:15 UTC.
const NOW_S: i64 = 1_709_208_900;

#[derive(Deserialize)]
struct Case {
    name: String,
    messages: Vec<Message>,
    tools: Option<Json>,
    #[serde(default)]
    variables: Object,
    add_generation_prompt: Option<bool>,
}

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/templates");
    std::fs::read_to_string(folder.join(name)).expect("the fixture is there")
}

#[test]
fn every_template_writes_what_python_writes_and_refuses_what_python_refuses() {
    let cases: Vec<Case> = serde_json::from_str(&fixture("conversations.json")).expect("conversations");
    let answers: BTreeMap<String, BTreeMap<String, Option<String>>> =
        serde_json::from_str(&fixture("answers.json")).expect("answers");
    assert_eq!((answers.len(), cases.len()), (7, 17));
    let mut different = Vec::new();
    for (template, answers) in &answers {
        let mut chat = ChatTemplate::new(&fixture(&format!("{template}.jinja")), None).expect("it is short");
        (chat.bos, chat.eos) = ("<|begin|>".to_owned(), "<|endoftext|>".to_owned());
        for case in &cases {
            let options = RenderOptions {
                add_generation_prompt: case.add_generation_prompt.unwrap_or(true),
                tools: case.tools.clone(),
                variables: case.variables.clone(),
                now_s: NOW_S,
            };
            let ours = chat.render_text(&case.messages, &options);
            let python = &answers[&case.name];
            if ours.as_ref().ok() != python.as_ref() {
                different.push(format!("{template}, {}:\n   ours {ours:?}\n python {python:?}", case.name));
            }
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}
