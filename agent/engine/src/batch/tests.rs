//! Several answers at once are the answers each would have had alone.

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
    Engine::new(model(), EngineOptions { context_tokens: 96, slots, prefill_chunk: 5 })
}

fn request(seed: u64, prompt: usize) -> Request {
    let tokens = (0..prompt as u32).map(|index| (index * 37 + seed as u32 * 11) % 256).collect();
    let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
    Request { sampling, limit: 20, ..Request::new(tokens) }
}

/// Steps until nothing is left; returns text and end of every answer.
fn finish(engine: &mut Engine) -> BTreeMap<SessionId, (String, Finished)> {
    let mut texts: BTreeMap<SessionId, String> = BTreeMap::new();
    let mut ends = BTreeMap::new();
    while !engine.is_idle() {
        for event in engine.step() {
            match event.kind {
                EventKind::Text(text) => {
                    assert!(!ends.contains_key(&event.session), "text after the end");
                    texts.entry(event.session).or_default().push_str(&text);
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
            ends.get_mut(&event.session).expect("it ended").0.insert_str(0, text);
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
    let (_, finished) = alone(Request { limit: 7, ..request(1, 6) });
    assert!(finished.generated_tokens <= 7);
    assert_eq!(finished.prompt_tokens, 6);
    assert!(finished.time_to_first_token.is_some_and(|time| time <= finished.total_time));
    let (_, to_the_brim) = alone(Request { limit: 0, sampling: Sampling::default(), ..request(3, 10) });
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
    let engine = Engine::new(model(), EngineOptions { context_tokens: 1 << 30, slots: 0, prefill_chunk: 0 });
    assert_eq!(engine.options(), EngineOptions { context_tokens: 4_096, slots: 1, prefill_chunk: 1 });
}

#[test]
fn every_family_answers_greedily_in_a_batch_as_it_does_alone() {
    for family in ["qwen3", "llama", "phi3", "gemma3", "bitnet"] {
        let model = golden(family);
        let greedy = |seed, prompt| Request { sampling: Sampling::default(), limit: 40, ..request(seed, prompt) };
        let options = |slots| EngineOptions { context_tokens: 96, slots, prefill_chunk: 5 };
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
