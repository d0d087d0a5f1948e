//! Completion requests as clients send them, and as they should not.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::anything::any_json;

/// Fields with which anything may come.
const FIELDS: [&str; 16] = [
    "model",
    "prompt",
    "suffix",
    "best_of",
    "n",
    "echo",
    "logprobs",
    "max_tokens",
    "stop",
    "stream",
    "stream_options",
    "seed",
    "logit_bias",
    "guided_json",
    "response_format",
    "presence_penalty",
];

fn with(more: Value) -> Result<Completion, ApiError> {
    let mut request = json!({ "model": "demo", "prompt": "hello" });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parse(request.as_object().unwrap().clone())
}

fn fault(more: Value) -> String {
    let error = with(more.clone()).expect_err(&more.to_string()).to_json(crate::api::Family::OpenAi);
    assert!(error["error"]["message"].as_str().unwrap().len() > 10);
    error["error"]["param"].as_str().unwrap_or_default().to_owned()
}

fn prompts_of(more: Value) -> Vec<Prompt> {
    with(more).unwrap().questions.into_iter().map(|asked| asked.prompt).collect()
}

#[test]
fn a_prompt_is_a_text_texts_tokens_or_lists_of_tokens() {
    let text = |text: &str| Prompt::Text(text.to_owned());
    assert_eq!(prompts_of(json!({ "prompt": "a" })), [text("a")]);
    assert_eq!(prompts_of(json!({ "prompt": ["a", "b"] })), [text("a"), text("b")]);
    assert_eq!(prompts_of(json!({ "prompt": [1, 2] })), [Prompt::Tokens(vec![1, 2])]);
    assert_eq!(prompts_of(json!({ "prompt": [[1], [2, 3]] })), [Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2, 3])]);
    for wrong in [
        json!([]),
        json!([[]]),
        json!(5),
        json!(["a", 1]),
        json!([1, "a"]),
        json!([-1]),
        json!({ "a": 1 }),
        json!(null),
    ] {
        assert_eq!(fault(json!({ "prompt": wrong })), "prompt");
    }
}

#[test]
fn answers_to_one_prompt_stand_together_and_each_has_a_seed_of_its_own() {
    let asked = with(json!({ "prompt": ["a", "b"], "n": 2, "seed": 7, "best_of": 2 })).unwrap();
    let seeds: Vec<_> = asked.questions.iter().map(|asked| asked.sampling.seed.unwrap()).collect();
    assert_eq!((asked.n, seeds), (2, vec![7, 8, 7, 8]));
    assert_eq!(asked.questions[1].prompt, Prompt::Text("a".to_owned()));
    assert_eq!(asked.questions[0].max_tokens, Some(16));
}

#[test]
fn a_prompt_can_be_scored_without_an_answer_but_only_if_it_is_told_again() {
    let asked = with(json!({ "echo": true, "logprobs": 1, "max_tokens": 0 })).unwrap();
    let question = &asked.questions[0];
    assert_eq!((question.max_tokens, question.scores, question.prompt_scores), (Some(0), Some(1), true));
    let tokens = with(json!({ "prompt": [1, 2], "echo": true })).unwrap();
    assert_eq!((tokens.questions[0].scores, tokens.questions[0].prompt_scores, tokens.top), (Some(0), true, None));
    let plain = with(json!({ "echo": true })).unwrap();
    assert!(!plain.questions[0].prompt_scores && plain.echoed(0) == Some("hello"));
    assert_eq!(fault(json!({ "max_tokens": 0 })), "max_tokens");
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    for (field, value) in [
        ("suffix", json!("end")),
        ("best_of", json!(3)),
        ("logprobs", json!(21)),
        ("logprobs", json!(true)),
        ("n", json!(0)),
        ("n", json!(9)),
        ("logit_bias", json!({ "x": 1 })),
        ("logit_bias", json!({ "1": 101 })),
        ("presence_penalty", json!(3)),
    ] {
        assert_eq!(fault(json!({ field: value })), field, "{value}");
    }
    assert_eq!(fault(json!({ "prompt": vec!["a"; 17], "stream": true })), "prompt", "a stream tells all at once");
    assert_eq!(with(json!({ "prompt": vec!["a"; 128] })).unwrap().questions.len(), 128);
    assert_eq!(fault(json!({ "prompt": vec!["a"; 65], "n": 2 })), "prompt");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_value_of_any_field_is_read_or_refused_without_panic(field in prop::sample::select(&FIELDS[..]), value in any_json()) {
        if let Ok(asked) = with(json!({ field: value })) {
            prop_assert!(!asked.questions.is_empty());
            prop_assert!(asked.questions.iter().all(|asked| asked.max_tokens != Some(0) || asked.prompt_scores));
        }
    }
}
