//! What the settings do, and that the same seed does the same again.

use super::*;

const LOGITS: [f32; 6] = [0.0, 3.0, 1.0, 3.0, -2.0, 2.5];

fn draw(sampling: Sampling, times: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(sampling);
    (0..times).map(|_| sampler.choose(&LOGITS, &[], &[], None).expect("there is a choice")).collect()
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
fn a_large_vocabulary_is_drawn_from_as_if_all_of_it_had_been_put_in_order() {
    let logits: Vec<f32> = (0..5_000u32).map(|id| (id * 7_919 % 4_001) as f32 / 400.0).collect();
    let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    all.sort_by(likelier);
    for sampling in [
        Sampling { temperature: 3.0, ..warm() },
        Sampling { top_p: 0.9, ..warm() },
        Sampling { top_k: 700, temperature: 2.0, ..warm() },
        Sampling { min_p: 0.2, top_p: 0.99, ..warm() },
    ] {
        let mut sampler = Sampler::new(sampling.clone());
        let mut random = Random::new(sampling.seed);
        let weight = |logit: f32| f64::from((logit - all[0].1) / sampling.temperature).exp();
        let mut kept = all.clone();
        kept.retain(|(_, logit)| weight(*logit) >= f64::from(sampling.min_p));
        kept.truncate(if sampling.top_k == 0 { kept.len() } else { sampling.top_k as usize });
        let sums = |kept: &[(u32, f32)]| {
            let sums = kept.iter().scan(0.0, |sum, (_, logit)| {
                *sum += weight(*logit);
                Some(*sum)
            });
            sums.collect::<Vec<f64>>()
        };
        let enough = f64::from(sampling.top_p) * sums(&kept).last().expect("some are left");
        let last = sums(&kept).iter().position(|sum| *sum >= enough).unwrap_or(kept.len() - 1);
        kept.truncate(last + 1);
        let sums = sums(&kept);
        for _ in 0..300 {
            let left = f64::from(random.unit()) * sums[last.min(sums.len() - 1)];
            let place = sums.iter().position(|sum| left < *sum).expect("it is below the last sum");
            let got = sampler.choose(&logits, &[], &[], None).expect("there is a choice");
            let near = |sum: f64| (sum - left).abs() < 1e-3;
            // Sums of many small numbers are a little off in single precision.
            let at_the_edge = near(sums[place]) || place > 0 && near(sums[place - 1]);
            assert!(got == kept[place].0 || at_the_edge, "{sampling:?}: {got} for {}", kept[place].0);
        }
    }
}

#[test]
fn a_penalty_makes_what_was_said_less_likely() {
    let mut sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..Sampling::default() });
    assert_eq!(sampler.choose(&LOGITS, &[1], &[3], None), Some(5));
    assert_eq!(sampler.choose(&[-1.0, -1.5], &[], &[0], None), Some(1));
}

#[test]
fn the_repetition_penalty_looks_back_as_far_as_it_is_told() {
    let choose = |penalty_window| {
        let sampling = Sampling { repetition_penalty: 2.0, penalty_window, ..Sampling::default() };
        Sampler::new(sampling).choose(&LOGITS, &[1, 4], &[3, 4], None)
    };
    assert_eq!([0, 1, 2, 3, 4].map(choose), [Some(1), Some(1), Some(1), Some(1), Some(5)]);
}

#[test]
fn presence_counts_once_and_frequency_every_time_and_neither_counts_the_prompt() {
    let choose = |presence_penalty, frequency_penalty, answer: &[u32]| {
        let mut sampler = Sampler::new(Sampling { presence_penalty, frequency_penalty, ..Sampling::default() });
        // As in an answer: one token after the other, each counted when it is there.
        (0..=answer.len()).map(|said| sampler.choose(&LOGITS, &[1, 1, 1, 3, 3, 5], &answer[..said], None)).last()
    };
    assert_eq!(choose(0.4, 0.0, &[]), Some(Some(1)));
    assert_eq!(choose(0.4, 0.0, &[1]), Some(Some(3)));
    assert_eq!(choose(0.4, 0.0, &[1, 3, 3, 3]), Some(Some(1)));
    assert_eq!(choose(0.0, 0.2, &[1, 3, 3, 3]), Some(Some(1)));
    assert_eq!(choose(0.0, 0.2, &[1, 3, 3, 3, 1, 1]), Some(Some(5)));
    assert_eq!(choose(-1.0, 0.0, &[5]), Some(Some(5)));
}

#[test]
fn a_bias_is_added_and_a_token_that_is_not_there_is_no_matter() {
    let choose = |logit_bias: &[(u32, f32)]| {
        let mut sampler = Sampler::new(Sampling { logit_bias: logit_bias.to_vec(), ..Sampling::default() });
        sampler.choose(&LOGITS, &[], &[], None)
    };
    assert_eq!(choose(&[(4, 100.0)]), Some(4));
    assert_eq!(choose(&[(1, -100.0), (3, -0.6)]), Some(5));
    assert_eq!(choose(&[(99, 100.0)]), Some(1));
}

#[test]
fn only_what_is_allowed_is_chosen() {
    let allowed = [0b1_0101];
    let mut sampler = Sampler::new(Sampling::default());
    assert_eq!(sampler.choose(&LOGITS, &[], &[], Some(&allowed)), Some(2));
    assert_eq!(sampler.choose(&LOGITS, &[], &[], Some(&[])), None);
    let mut warm = Sampler::new(Sampling { logit_bias: vec![(1, 100.0)], ..warm() });
    let drawn: Vec<u32> = (0..200).filter_map(|_| warm.choose(&LOGITS, &[], &[], Some(&allowed))).collect();
    assert!(drawn.len() == 200 && drawn.iter().all(|token| [0, 2, 4].contains(token)), "{drawn:?}");
    // Tokens of later words of the set.
    let logits: Vec<f32> = (0..100).map(|id| id as f32).collect();
    assert_eq!(sampler.choose(&logits, &[], &[], Some(&[0, 1 << 3, 0])), Some(35));
}

#[test]
fn logits_that_are_no_numbers_are_never_chosen() {
    for temperature in [0.0, 1.0] {
        let mut sampler = Sampler::new(Sampling { temperature, ..Sampling::default() });
        assert_eq!(sampler.choose(&[f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY], &[], &[], None), Some(1));
        assert_eq!(sampler.choose(&[f32::NAN], &[], &[], None), None);
        assert_eq!(sampler.choose(&[], &[], &[], None), None);
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let check = |sampling: Sampling| sampling.check().expect_err("it is out of range");
    assert!(check(Sampling { temperature: -1.0, ..warm() }).contains("`temperature`"));
    assert!(check(Sampling { top_p: 1.5, ..warm() }).contains("`top_p`"));
    assert!(check(Sampling { min_p: f32::NAN, ..warm() }).contains("`min_p`"));
    assert!(check(Sampling { repetition_penalty: 0.0, ..warm() }).contains("`repetition_penalty`"));
    assert!(check(Sampling { presence_penalty: 2.5, ..warm() }).contains("`presence_penalty`"));
    assert!(check(Sampling { frequency_penalty: -2.5, ..warm() }).contains("`frequency_penalty`"));
    assert!(check(Sampling { logit_bias: vec![(0, 5.0), (1, 101.0)], ..warm() }).contains("`logit_bias` is 101"));
    assert!(check(Sampling { logit_bias: vec![(0, f32::NAN)], ..warm() }).contains("`logit_bias`"));
    assert!(check(Sampling { logit_bias: vec![(0, 1.0); 5_000], ..warm() }).contains("5000 entries"));
    assert_eq!(Sampling { presence_penalty: -2.0, logit_bias: vec![(0, -100.0)], ..warm() }.check(), Ok(()));
    assert_eq!(warm().check(), Ok(()));
}
