//! Several answers at once are the answers each would have had alone.

mod asked;

use std::path::Path;

use super::*;
use crate::generate::Sampling;
use crate::model::LoadOptions;

fn model() -> Arc<Model> {
    golden("qwen3")
}

fn golden(family: &str) -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/fixtures/golden/{family}.gguf"));
    Model::load(path, &LoadOptions::threads(1)).expect("the golden model loads")
}

fn engine(slots: u32) -> Engine {
    Engine::new(model(), EngineOptions { context_tokens: 96, slots, prefill_chunk: 5, speculate: false })
}

fn request(seed: u64, prompt: usize) -> Request {
    let tokens = (0..prompt as u32).map(|index| (index * 37 + seed as u32 * 11) % 256).collect();
    let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
    Request { sampling, limit: Some(20), ..Request::new(tokens) }
}

/// Steps until nothing is left; returns text and end of every answer.
fn finish(engine: &mut Engine) -> BTreeMap<SessionId, (String, Finished)> {
    let mut texts: BTreeMap<SessionId, String> = BTreeMap::new();
    let mut ends = BTreeMap::new();
    while !engine.is_idle() {
        for event in engine.step() {
            match event.kind {
                EventKind::Prompt(_) => {}
                EventKind::Text(text) => {
                    assert!(!ends.contains_key(&event.session), "text after the end");
                    texts.entry(event.session).or_default().push_str(&text.text);
                }
                EventKind::Finished(finished) => {
                    let text = texts.remove(&event.session).unwrap_or_default();
                    assert!(ends.insert(event.session, (text, finished)).is_none(), "two ends");
                }
            }
        }
    }
    ends
}

fn alone(request: Request) -> (String, Finished) {
    let mut engine = engine(1);
    engine.submit(request).expect("it is taken");
    finish(&mut engine).into_values().next().expect("it ends")
}

#[test]
fn answers_in_a_batch_are_the_answers_alone() {
    let mut engine = engine(4);
    let requests: Vec<Request> = [(1, 3), (2, 17), (3, 5), (4, 30)].map(|(seed, prompt)| request(seed, prompt)).into();
    // Two begin together, the others join while those are running.
    let mut ids =
        vec![engine.submit(requests[0].clone()).expect("taken"), engine.submit(requests[1].clone()).expect("taken")];
    let mut early = engine.step();
    early.extend(engine.step());
    ids.extend([&requests[2], &requests[3]].map(|request| engine.submit(request.clone()).expect("taken")));
    let mut ends = finish(&mut engine);
    for event in early.iter().rev() {
        if let EventKind::Text(text) = &event.kind {
            ends.get_mut(&event.session).expect("it ended").0.insert_str(0, &text.text);
        }
    }
    for (id, request) in ids.iter().zip(requests) {
        let (text, finished) = &ends[id];
        let (text_alone, finished_alone) = alone(request);
        assert_eq!(*text, text_alone);
        assert_eq!(finished.generated_tokens, finished_alone.generated_tokens);
        assert_eq!(finished.reason, finished_alone.reason);
    }
}

#[test]
fn a_used_slot_remembers_nothing_of_the_one_before() {
    let mut engine = engine(1);
    engine.submit(request(9, 40)).expect("it is taken");
    finish(&mut engine);
    engine.submit(request(5, 8)).expect("it is taken");
    let again = finish(&mut engine).into_values().next().expect("it ends");
    assert_eq!(again.0, alone(request(5, 8)).0);
}

#[test]
fn an_answer_ends_at_its_limit_and_counts_its_tokens() {
    let (_, finished) = alone(Request { limit: Some(7), ..request(1, 6) });
    assert!(finished.generated_tokens <= 7);
    assert_eq!(finished.prompt_tokens, 6);
    assert!(finished.time_to_first_token.is_some_and(|time| time <= finished.total_time));
    let (_, to_the_brim) = alone(Request { limit: None, sampling: Sampling::default(), ..request(3, 10) });
    if to_the_brim.reason == FinishReason::Length {
        assert_eq!(to_the_brim.generated_tokens, 96 - 10);
    }
}

#[test]
fn a_stop_text_of_the_request_ends_the_answer() {
    let (text, _) = alone(request(6, 6));
    let letters: Vec<char> = text.chars().collect();
    assert!(letters.len() > 6, "{text:?}");
    let stop: String = letters[3..6].iter().collect();
    let (shorter, finished) = alone(Request { stop: vec![stop.clone()], ..request(6, 6) });
    assert_eq!(finished.reason, FinishReason::Stop);
    assert_eq!(Some(shorter.as_str()), text.split(&stop).next());
}

#[test]
fn a_cancelled_answer_ends_with_the_next_step_even_while_its_prompt_is_read() {
    let mut engine = engine(2);
    let reading = engine.submit(request(1, 60)).expect("it is taken");
    engine.step();
    engine.cancel(reading);
    let events = engine.step();
    assert!(
        matches!(
            &events[..],
            [Event {
                kind: EventKind::Finished(Finished { reason: FinishReason::Cancelled, generated_tokens: 0, .. }),
                ..
            }]
        ),
        "{events:?}"
    );
    let request = request(2, 4);
    let cancel = request.cancel.clone();
    engine.submit(request).expect("it is taken");
    engine.step();
    cancel.cancel();
    assert!(matches!(
        engine.step().last(),
        Some(Event { kind: EventKind::Finished(Finished { reason: FinishReason::Cancelled, .. }), .. })
    ));
    assert!(engine.is_idle());
}

#[test]
fn a_long_prompt_does_not_hold_up_a_running_answer() {
    let mut engine = engine(2);
    let running = engine.submit(request(1, 3)).expect("it is taken");
    engine.step();
    engine.submit(request(2, 90)).expect("it is taken");
    let before = engine.running[&running].answer.generated;
    (0..4).for_each(|_| drop(engine.step()));
    if let Some(running) = engine.running.get(&running) {
        assert_eq!(running.answer.generated, before + 4);
    }
}

#[test]
fn what_cannot_be_served_is_refused_with_the_reason() {
    let mut engine = engine(1);
    assert_eq!(engine.submit(Request::new(Vec::new())), Err(Refusal::Empty));
    assert_eq!(engine.submit(request(1, 96)), Err(Refusal::TooLong { tokens: 96, context_tokens: 96 }));
    assert_eq!(engine.submit(Request::new(vec![1, 320])), Err(Refusal::UnknownToken { token: 320 }));
    let odd = Request { sampling: Sampling { top_p: 2.0, ..Sampling::default() }, ..request(1, 4) };
    assert!(matches!(engine.submit(odd), Err(Refusal::Sampling(_))));
    engine.submit(request(1, 4)).expect("it is taken");
    assert_eq!(engine.submit(request(2, 4)), Err(Refusal::Busy { slots: 1 }));
}

#[test]
fn the_context_is_never_longer_than_the_model_was_trained_for() {
    let engine =
        Engine::new(model(), EngineOptions { context_tokens: 1 << 30, slots: 0, prefill_chunk: 0, speculate: true });
    assert_eq!(engine.options(), EngineOptions { context_tokens: 4_096, slots: 1, prefill_chunk: 1, speculate: true });
}

#[test]
fn every_family_answers_greedily_in_a_batch_as_it_does_alone() {
    for family in ["qwen3", "llama", "phi3", "gemma3", "bitnet"] {
        let model = golden(family);
        let greedy = |seed, prompt| Request { sampling: Sampling::default(), limit: Some(40), ..request(seed, prompt) };
        let options = |slots| EngineOptions { context_tokens: 96, slots, prefill_chunk: 5, speculate: false };
        let requests = [greedy(1, 30), greedy(2, 3), greedy(3, 17), greedy(4, 41)];
        let mut together = Engine::new(Arc::clone(&model), options(4));
        let ids = requests.each_ref().map(|request| together.submit(request.clone()).expect("it is taken"));
        let answers = finish(&mut together);
        for (id, request) in ids.iter().zip(requests) {
            let mut alone = Engine::new(Arc::clone(&model), options(1));
            alone.submit(request).expect("it is taken");
            let (text, finished) = finish(&mut alone).into_values().next().expect("it ends");
            assert_eq!(answers[id].0, text, "{family}");
            assert_eq!(answers[id].1.generated_tokens, finished.generated_tokens, "{family}");
        }
    }
}

fn demo() -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/outpost-demo-f16.gguf");
    Model::load(path, &LoadOptions::threads(1)).expect("the demo model loads")
}

fn models() -> Vec<Arc<Model>> {
    vec![golden("qwen3"), golden("llama"), golden("gemma3"), demo()]
}

/// A prompt that repeats itself, so that there is something to guess from.
fn repetitive(seed: u64) -> Request {
    let tokens = (0..90).map(|index| (index % 9) * 7 + seed as u32).collect();
    Request { limit: Some(60), ..Request::new(tokens) }
}

#[test]
fn guessing_ahead_changes_no_answer() {
    for model in models() {
        let engine = |speculate| {
            let options = EngineOptions { context_tokens: 200, slots: 3, prefill_chunk: 32, speculate };
            Engine::new(Arc::clone(&model), options)
        };
        let (mut plain, mut guessing) = (engine(false), engine(true));
        let sampled = |seed| Sampling { temperature: 0.8, seed, repetition_penalty: 1.1, ..Sampling::default() };
        for request in [
            repetitive(3),
            Request { sampling: sampled(5), ..repetitive(8) },
            Request { limit: Some(7), ..repetitive(1) },
            Request { limit: None, ..repetitive(2) },
        ] {
            plain.submit(request.clone()).expect("it is taken");
            guessing.submit(request).expect("it is taken");
            let (plain, guessing) = (finish(&mut plain), finish(&mut guessing));
            let ends = plain.into_values().zip(guessing.into_values());
            for ((text, finished), (guessed_text, guessed)) in ends {
                assert_eq!(text, guessed_text);
                assert_eq!((finished.reason, finished.generated_tokens), (guessed.reason, guessed.generated_tokens));
                assert_eq!(finished.drafted_tokens, [0, 0]);
            }
        }
    }
}

#[test]
fn a_draft_model_changes_no_answer_however_good_its_guesses_are() {
    // The same model is right every time, another family hardly ever.
    for (family, draft, right) in [("qwen3", "qwen3", true), ("llama", "qwen3", false), ("gemma3", "gemma3", true)] {
        let options = EngineOptions { context_tokens: 150, slots: 3, prefill_chunk: 16, speculate: true };
        let mut plain = Engine::new(golden(family), EngineOptions { speculate: false, ..options });
        let mut guessing = Engine::with_draft(golden(family), golden(draft), options).expect("they speak the same");
        let greedy = |seed, prompt| Request { sampling: Sampling::default(), limit: Some(40), ..request(seed, prompt) };
        for request in [greedy(1, 30), request(2, 3), greedy(3, 70)] {
            plain.submit(request.clone()).expect("it is taken");
            guessing.submit(request).expect("it is taken");
        }
        let (plain, guessing) = (finish(&mut plain), finish(&mut guessing));
        let [mut drafted, mut accepted] = [0, 0];
        for ((text, finished), (guessed_text, guessed)) in plain.values().zip(guessing.values()) {
            assert_eq!(text, guessed_text, "{family} with {draft}");
            assert_eq!((&finished.reason, finished.generated_tokens), (&guessed.reason, guessed.generated_tokens));
            drafted += guessed.drafted_tokens[0];
            accepted += guessed.drafted_tokens[1];
        }
        assert!(drafted > 0, "{family} with {draft}");
        assert!(!right || 2 * accepted > drafted, "{family} with {draft}: {accepted} of {drafted} were right");
    }
}

#[test]
fn a_draft_model_of_another_vocabulary_is_refused_with_the_token() {
    let options = EngineOptions::default();
    let error = Engine::with_draft(golden("qwen3"), demo(), options).expect_err("they do not speak the same");
    assert!(error.to_string().contains("vocabulary"), "{error}");
}

#[test]
fn a_text_that_repeats_itself_takes_fewer_passes() {
    let passes = |speculate| {
        let options = EngineOptions { context_tokens: 400, slots: 1, prefill_chunk: 64, speculate };
        let mut engine = Engine::new(golden("llama"), options);
        engine.submit(Request { limit: Some(200), ..repetitive(4) }).expect("it is taken");
        let (mut passes, mut drafted) = (0u32, [0, 0]);
        while !engine.is_idle() {
            passes += 1;
            for event in engine.step() {
                if let EventKind::Finished(finished) = event.kind {
                    drafted = finished.drafted_tokens;
                }
            }
        }
        (passes, drafted)
    };
    let ((plain, _), (guessing, [drafted, accepted])) = (passes(false), passes(true));
    assert_eq!(guessing + accepted, plain);
    assert!(drafted >= accepted && accepted > 30, "{accepted} of {drafted} were right");
}

#[test]
fn what_prompts_share_is_computed_once_and_changes_no_answer() {
    for model in models() {
        let options = EngineOptions { context_tokens: 200, slots: 2, prefill_chunk: 32, speculate: true };
        let request = |scope: &str, ending: u32| {
            let mut tokens: Vec<u32> = (0..100).map(|index| index * 37 % 250).collect();
            tokens.push(ending);
            Request { scope: scope.to_owned(), limit: Some(20), ..Request::new(tokens) }
        };
        let alone = |request: Request| {
            let mut engine = Engine::new(Arc::clone(&model), options);
            engine.submit(request).expect("it is taken");
            finish(&mut engine).into_values().next().expect("it ends")
        };
        let mut engine = Engine::new(Arc::clone(&model), options);
        for (scope, ending, cached) in [("one", 1, 0), ("one", 2, 96), ("two", 2, 0), ("one", 1, 96), ("two", 1, 96)] {
            engine.submit(request(scope, ending)).expect("it is taken");
            let (text, finished) = finish(&mut engine).into_values().next().expect("it ends");
            assert_eq!(finished.cached_tokens, cached, "{scope}, {ending}");
            assert_eq!(text, alone(request(scope, ending)).0, "{scope}, {ending}");
        }
    }
}

#[test]
fn kept_beginnings_and_sessions_together_stay_within_what_the_slots_may_have() {
    let model = golden("gemma3");
    let mut engine = Engine::new(
        Arc::clone(&model),
        EngineOptions { context_tokens: 128, slots: 2, prefill_chunk: 32, speculate: false },
    );
    let most = 2 * model.session_bytes(128);
    for round in 0..12 {
        for seed in [2 * round, 2 * round + 1] {
            let tokens = (0..100).map(|index| (index * 31 + seed * 7) % 250).collect();
            engine.submit(Request { limit: Some(20), ..Request::new(tokens) }).expect("it is taken");
        }
        while !engine.is_idle() {
            engine.step();
            let held: u64 = engine.running.values().map(|running| running.session.bytes()).sum();
            assert!(held + engine.prefixes.alone_bytes() <= most, "round {round}");
        }
    }
    assert!(engine.prefixes.alone_bytes() > 0);
}
