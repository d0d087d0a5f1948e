//! What the settings do, and that the same seed does the same again.

use super::*;

const LOGITS: [f32; 6] = [0.0, 3.0, 1.0, 3.0, -2.0, 2.5];

fn draw(sampling: Sampling, times: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(sampling);
    (0..times).map(|_| sampler.choose(&LOGITS, &[]).expect("there is a choice")).collect()
}

fn warm() -> Sampling {
    Sampling { temperature: 1.0, seed: 7, ..Sampling::default() }
}

#[test]
fn greedy_takes_the_likeliest_and_the_lower_id_of_equals() {
    assert_eq!(draw(Sampling::default(), 3), [1, 1, 1]);
}

#[test]
fn the_same_seed_draws_the_same_tokens_and_another_seed_others() {
    assert_eq!(draw(warm(), 200), draw(warm(), 200));
    assert_ne!(draw(warm(), 200), draw(Sampling { seed: 8, ..warm() }, 200));
}

#[test]
fn the_first_draws_of_a_seed_never_change() {
    // Held so that a recorded request can be replayed by a later version.
    assert_eq!(draw(warm(), 12), FIRST_DRAWS);
}

const FIRST_DRAWS: [u32; 12] = [3, 1, 5, 3, 3, 1, 3, 1, 1, 3, 1, 2];

#[test]
fn draws_follow_the_probabilities() {
    let drawn = draw(warm(), 20_000);
    let total: f32 = LOGITS.iter().map(|logit| logit.exp()).sum();
    for (id, logit) in (0..).zip(LOGITS) {
        let share = drawn.iter().filter(|token| **token == id).count() as f32 / 20_000.0;
        assert!((share - logit.exp() / total).abs() < 0.02, "token {id}: {share}");
    }
}

#[test]
fn each_limit_leaves_out_the_unlikely() {
    let only = |sampling: Sampling| {
        let mut drawn = draw(sampling, 500);
        drawn.sort_unstable();
        drawn.dedup();
        drawn
    };
    assert_eq!(only(Sampling { top_k: 2, ..warm() }), [1, 3]);
    assert_eq!(only(Sampling { top_k: 1, ..warm() }), [1]);
    assert_eq!(only(Sampling { top_p: 0.5, ..warm() }), [1, 3]);
    assert_eq!(only(Sampling { top_p: 0.0, ..warm() }), [1]);
    assert_eq!(only(Sampling { min_p: 0.5, ..warm() }), [1, 3, 5]);
    assert_eq!(only(Sampling { min_p: 1.0, ..warm() }), [1, 3]);
}

#[test]
fn a_penalty_makes_what_was_said_less_likely() {
    let mut sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..Sampling::default() });
    assert_eq!(sampler.choose(&LOGITS, &[1, 3]), Some(5));
    assert_eq!(sampler.choose(&[-1.0, -1.5], &[0]), Some(1));
}

#[test]
fn logits_that_are_no_numbers_are_never_chosen() {
    for temperature in [0.0, 1.0] {
        let mut sampler = Sampler::new(Sampling { temperature, ..Sampling::default() });
        assert_eq!(sampler.choose(&[f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY], &[]), Some(1));
        assert_eq!(sampler.choose(&[f32::NAN], &[]), None);
        assert_eq!(sampler.choose(&[], &[]), None);
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let check = |sampling: Sampling| sampling.check().expect_err("it is out of range");
    assert!(check(Sampling { temperature: -1.0, ..warm() }).contains("`temperature`"));
    assert!(check(Sampling { top_p: 1.5, ..warm() }).contains("`top_p`"));
    assert!(check(Sampling { min_p: f32::NAN, ..warm() }).contains("`min_p`"));
    assert!(check(Sampling { repetition_penalty: 0.0, ..warm() }).contains("`repetition_penalty`"));
    assert_eq!(warm().check(), Ok(()));
}
