//! The operations against their definitions.

use super::activation::gelu_tanh;
use super::*;
use crate::cpu::Cpu;

fn cpu() -> Cpu {
    Cpu::new(1, None).expect("no thread is needed")
}

#[test]
fn attention_over_a_ring_is_attention_over_everything_it_may_see() {
    let (tokens, window, rows) = (23, 5, 7);
    let attention =
        Attention { heads: 4, kv_heads: 2, key_length: 6, value_length: 3, scale: 0.4, sight: Sight::Window(window) };
    let wave = |count: usize, speed: f32| -> Vec<f32> { (0..count).map(|at| (at as f32 * speed).sin()).collect() };
    let (queries, keys, values) = (wave(tokens * 24, 0.7), wave(tokens * 12, 1.3), wave(tokens * 6, 2.1));
    let mut whole = vec![0.0; tokens * 12];
    attention.apply(&cpu(), &queries, &keys, &values, 0, &mut whole);
    let (mut ring_keys, mut ring_values) = (vec![0.0; rows * 12], vec![0.0; rows * 6]);
    for token in 0..tokens {
        let row = token % rows;
        ring_keys[row * 12..][..12].copy_from_slice(&keys[token * 12..][..12]);
        ring_values[row * 6..][..6].copy_from_slice(&values[token * 6..][..6]);
        let mut answer = vec![0.0; 12];
        attention.apply(&cpu(), &queries[token * 24..][..24], &ring_keys, &ring_values, token, &mut answer);
        assert_eq!(answer, whole[token * 12..][..12], "token {token}");
    }
}

#[test]
fn a_pair_turns_by_its_speed_and_the_rest_of_the_head_stays() {
    let mut turns = Vec::new();
    let rope = Rope::new(Pairing::Halves, 4, 100.0, None).slowed(2.0).magnified(3.0);
    rope.turns(64, 7, 1, &mut turns);
    let mut head = [1.0, 1.0, 0.0, 0.0, 9.0, 9.0];
    rope.apply(&cpu(), &mut head, 1, 6, &turns);
    // Speeds 1 and 1/10, halved: angles 3.5 and 0.35.
    let expected = [3.0 * 3.5f32.cos(), 3.0 * 0.35f32.cos(), 3.0 * 3.5f32.sin(), 3.0 * 0.35f32.sin(), 9.0, 9.0];
    let worst = head.iter().zip(expected).map(|(head, expected)| (head - expected).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{head:?} and not {expected:?}");
}

#[test]
fn long_divisors_turn_sessions_beyond_the_original_context_only() {
    let rope = Rope::new(Pairing::Halves, 2, 10_000.0, Some(&[2.0])).long(64, 10_000.0, &[8.0]);
    let sine_at = |capacity: usize| {
        let mut turns = Vec::new();
        rope.turns(capacity, 1, 1, &mut turns);
        turns[0].1
    };
    assert_eq!([sine_at(1), sine_at(64), sine_at(65)], [0.5f32.sin(), 0.5f32.sin(), 0.125f32.sin()]);
}

#[test]
fn gelu_is_its_formula_to_the_precision_of_a_half() {
    let ones = [1.0; 1];
    for step in -1_200..=1_200 {
        let x = step as f32 / 100.0;
        let mut bent = [x];
        activate(&cpu(), Activation::GeluTanh, &mut bent, &ones);
        let exact = gelu_tanh(x);
        assert!((bent[0] - exact).abs() <= 1.2e-3 * x.abs().max(0.1), "{x}: {} and not {exact}", bent[0]);
    }
    assert!(activated_nan().is_nan());
}

fn activated_nan() -> f32 {
    let mut bent = [f32::NAN];
    activate(&cpu(), Activation::GeluTanh, &mut bent, &[1.0]);
    bent[0]
}
