//! What a request may ask beside an answer: scores, a grammar, penalties. Guessing ahead changes none of it.

use serde_json::{Value, json};

use super::*;
use crate::grammar::Shape;

const OPTIONS: EngineOptions = EngineOptions { context_tokens: 160, slots: 3, prefill_chunk: 7, speculate: false };

/// All that came of a request: the prompt's scores, the text, the answer's scores, the end.
type All = (Vec<TokenScore>, String, Vec<TokenScore>, Finished);

fn run(engine: &mut Engine, request: Request) -> All {
    engine.submit(request).expect("it is taken");
    let (mut prompt, mut text, mut tokens) = (Vec::new(), String::new(), Vec::new());
    loop {
        for event in engine.step() {
            match event.kind {
                EventKind::Prompt(scores) => {
                    assert!(prompt.is_empty() && text.is_empty(), "the prompt comes once and first");
                    prompt = scores;
                }
                EventKind::Text(mut said) => {
                    text.push_str(&said.text);
                    tokens.append(&mut said.tokens);
                }
                EventKind::Finished(finished) => return (prompt, text, tokens, finished),
            }
        }
    }
}

fn softmax(logits: &[f32], token: u32) -> f32 {
    let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    (f64::from(logits[token as usize]) - sum.ln()) as f32
}

#[test]
fn scores_are_those_of_the_model_itself_whatever_changes_the_choice() {
    let model = model();
    let mut engine = Engine::new(Arc::clone(&model), OPTIONS);
    let sampling = Sampling {
        temperature: 1.5,
        seed: 4,
        presence_penalty: 2.0,
        logit_bias: vec![(7, 3.0)],
        ..Sampling::default()
    };
    let asked = Request { sampling, logprobs: Some(3), prompt_logprobs: true, limit: Some(12), ..request(1, 40) };
    let (prompt, _, tokens, finished) = run(&mut engine, asked.clone());
    assert_eq!(prompt.iter().map(|score| score.token).collect::<Vec<u32>>(), asked.tokens);
    assert_eq!(tokens.len(), finished.generated_tokens as usize);
    let all: Vec<u32> = prompt.iter().chain(&tokens).map(|score| score.token).collect();
    let positions: Vec<usize> = (0..all.len() - 1).collect();
    let logits = crate::model::logits(&model, &all, &positions).expect("it computes");
    assert_eq!(prompt[0].logprob, None);
    for (logits, score) in logits.iter().zip(prompt.iter().chain(&tokens).skip(1)) {
        // Answers keep keys and values in half precision, which the reference does not.
        let near = |logprob: f32, token: u32| assert!((logprob - softmax(logits, token)).abs() < 0.05, "{score:?}");
        near(score.logprob.expect("it follows something"), score.token);
        assert_eq!(score.top.len(), 3);
        assert!(score.top.windows(2).all(|pair| pair[0].2 >= pair[1].2));
        score.top.iter().for_each(|(token, _, logprob)| near(*logprob, *token));
    }
    // The same in other chunks, and though the beginning was read before.
    let mut other = Engine::new(Arc::clone(&model), EngineOptions { prefill_chunk: 64, ..OPTIONS });
    let first = run(&mut other, Request { logprobs: Some(3), prompt_logprobs: false, ..asked.clone() });
    assert!(first.0.is_empty());
    let again = run(&mut other, asked);
    assert_eq!(again.3.cached_tokens, 0);
    for (one, two) in prompt.iter().zip(&again.0) {
        assert_eq!(one.token, two.token);
        assert!((one.logprob.unwrap_or(0.0) - two.logprob.unwrap_or(0.0)).abs() < 1e-3, "{one:?} {two:?}");
    }
}

#[test]
fn a_prompt_can_be_scored_without_an_answer_up_to_the_whole_context() {
    let mut engine = Engine::new(model(), EngineOptions { context_tokens: 40, ..OPTIONS });
    let asked = Request { limit: Some(0), prompt_logprobs: true, ..request(1, 40) };
    let (prompt, text, tokens, finished) = run(&mut engine, asked);
    assert_eq!((prompt.len(), text.as_str(), tokens.len()), (40, "", 0));
    assert_eq!((finished.reason, finished.generated_tokens), (FinishReason::Length, 0));
    assert_eq!(finished.time_to_first_token, None);
    assert!(prompt.iter().all(|score| score.top.is_empty()));
    assert!(matches!(engine.submit(request(1, 40)), Err(Refusal::TooLong { .. })));
}

#[test]
fn scores_of_what_a_stop_text_cut_off_are_not_handed_out() {
    let mut engine = Engine::new(demo(), OPTIONS);
    let whole = run(&mut engine, Request { logprobs: Some(0), limit: Some(30), ..question() });
    let stop: String = whole.1.chars().skip(12).take(3).collect();
    let (_, text, tokens, finished) =
        run(&mut engine, Request { logprobs: Some(0), stop: vec![stop.clone()], ..question() });
    assert_eq!(finished.reason, FinishReason::Stop);
    assert_eq!(whole.1.split(&stop).next(), Some(text.as_str()));
    let bytes: usize = tokens.iter().map(|score| score.bytes.len()).sum();
    assert!(bytes <= text.len() && tokens.len() < whole.2.len(), "{text:?} {tokens:?}");
}

#[test]
fn what_the_engine_cannot_give_is_refused() {
    let mut engine = Engine::new(model(), OPTIONS);
    let refused = |engine: &mut Engine, request: Request| engine.submit(request).expect_err("it is refused");
    assert_eq!(
        refused(&mut engine, Request { logprobs: Some(21), ..request(1, 3) }),
        Refusal::Alternatives { asked: 21 }
    );
    let sampling = Sampling { logit_bias: vec![(1, 1.0), (999_999, 1.0)], ..Sampling::default() };
    assert_eq!(refused(&mut engine, Request { sampling, ..request(1, 3) }), Refusal::UnknownToken { token: 999_999 });
    let grammar = demo().vocabulary().expect("it is made").compile(&Shape::Object).expect("it is made");
    assert_eq!(refused(&mut engine, Request { grammar: Some(grammar), ..request(1, 3) }), Refusal::Grammar);
}

fn question() -> Request {
    let model = demo();
    let text = "<|im_start|>user\nHow do I check the oil?<|im_end|>\n<|im_start|>assistant\n";
    Request::new(model.tokenizer().encode(text, true, false))
}

#[test]
fn answers_of_a_model_obey_their_schema_and_guessing_changes_none() {
    let model = demo();
    let vocabulary = model.vocabulary().expect("it is made");
    let schemas = [
        json!({ "type": "object", "properties": { "answer": { "type": "string", "maxLength": 12 }, "sure": { "type": "boolean" } }, "required": ["answer", "sure"], "additionalProperties": false }),
        json!({ "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": 60 }, "minItems": 2, "maxItems": 4 }),
        json!({ "enum": ["oil", "water", "air"] }),
        json!({ "type": "string", "format": "date" }),
        json!({ "type": "array", "items": { "type": "object", "properties": { "part": { "enum": ["valve", "pump"] }, "ok": { "type": "boolean" } }, "required": ["part", "ok"], "additionalProperties": false }, "minItems": 3, "maxItems": 3 }),
    ];
    let engine =
        |speculate| Engine::new(Arc::clone(&model), EngineOptions { context_tokens: 400, speculate, ..OPTIONS });
    let (mut plain, mut guessing) = (engine(false), engine(true));
    let scouted = Engine::with_draft(
        Arc::clone(&model),
        Arc::clone(&model),
        EngineOptions { context_tokens: 400, speculate: true, ..OPTIONS },
    );
    let mut scouted = scouted.expect("they speak the same");
    let (mut whole, mut cut, mut drafted, mut accepted) = (0, 0, 0, 0);
    for (schema, seed) in schemas.iter().flat_map(|schema| (0..4).map(move |seed| (schema, seed))) {
        let validator = jsonschema::options().should_validate_formats(true).build(schema).expect("it is a schema");
        let grammar = vocabulary.compile(&Shape::Schema(schema.clone())).expect("it is enforced");
        let temperature = if seed == 0 { 0.0 } else { 0.9 };
        let sampling =
            Sampling { temperature, seed, presence_penalty: 0.3, frequency_penalty: 0.1, ..Sampling::default() };
        let asked = Request { sampling, grammar: Some(grammar), logprobs: Some(1), limit: Some(160), ..question() };
        let (_, text, scores, finished) = run(&mut plain, asked.clone());
        match finished.reason {
            FinishReason::Stop => {
                let value: Value = serde_json::from_str(&text).expect("it is JSON");
                assert!(validator.is_valid(&value), "{schema}: {text}");
                whole += 1;
            }
            FinishReason::Length => cut += 1,
            other => panic!("{schema}: {other:?} after {text}"),
        }
        for engine in [&mut guessing, &mut scouted] {
            let (_, guessed, others, end) = run(engine, asked.clone());
            assert_eq!(
                (&guessed, &end.reason, end.generated_tokens),
                (&text, &finished.reason, finished.generated_tokens),
                "{schema}"
            );
            assert_eq!(
                others.iter().map(|score| score.token).collect::<Vec<_>>(),
                scores.iter().map(|score| score.token).collect::<Vec<_>>()
            );
            drafted += end.drafted_tokens[0];
            accepted += end.drafted_tokens[1];
        }
    }
    #[expect(clippy::print_stdout, reason = "the figures that the test is for")]
    {
        println!(
            "{whole} answers obey their schema, 0 do not, {cut} reached the limit; {accepted} of {drafted} guesses were right"
        );
    }
    assert!(whole >= 16 && accepted > 0, "{whole} whole, {cut} cut, {accepted} of {drafted}");
}

#[test]
fn an_answer_that_reaches_its_limit_within_a_grammar_ends_with_length() {
    let model = demo();
    let grammar =
        model.vocabulary().expect("it is made").compile(&Shape::Regex("[a-z]{50,60}".to_owned())).expect("it is made");
    let (_, text, _, finished) =
        run(&mut Engine::new(model, OPTIONS), Request { grammar: Some(grammar), limit: Some(5), ..question() });
    assert_eq!((finished.reason, finished.generated_tokens), (FinishReason::Length, 5));
    assert!(text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_lowercase()), "{text}");
}

#[test]
fn special_tokens_are_spelled_out_only_where_that_was_asked_for() {
    let model = demo();
    let special = model.tokenizer().special("<|im_start|>").expect("it is special");
    let sampling = Sampling { logit_bias: vec![(special, 100.0)], ..Sampling::default() };
    let asked = |spelled| Request { sampling: sampling.clone(), limit: Some(2), spelled, ..request(1, 5) };
    let spelling = model.tokenizer().text(special).expect("it is spelled").to_owned();
    let mut engine = Engine::new(Arc::clone(&model), OPTIONS);
    assert_eq!(run(&mut engine, asked(Vec::new())).1, "");
    assert_eq!(run(&mut engine, asked(vec![special])).1, spelling.repeat(2));
}
