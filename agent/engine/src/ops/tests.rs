//! The operations against their definitions.

use std::ops::Range;

use super::activation::gelu_tanh;
use super::*;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::cpu::{Cpu, Instructions, Shares};
use crate::session::{KvType, PAGE_TOKENS, PageShape};

fn cpu() -> Cpu {
    Cpu::new(1, None).expect("no thread is needed")
}

/// Heads, heads of keys, length of a key, length of a value.
const FIGURES: (usize, usize, usize, usize) = (6, 2, 10, 20);

fn wave(count: usize, speed: f32) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * speed).sin()).collect()
}

/// Keys and values of so many positions as pages.
fn pages(kv_type: KvType, positions: usize) -> (PageShape, Vec<Vec<u8>>) {
    let (_, kv_heads, key_length, value_length) = FIGURES;
    let shape = PageShape { kv_heads, key_length, value_length, kv_type };
    let mut pages = vec![vec![0; shape.layer_bytes()]; positions.div_ceil(PAGE_TOKENS)];
    let (keys, values) = (wave(positions * kv_heads * key_length, 1.3), wave(positions * kv_heads * value_length, 2.1));
    let values = values.chunks_exact(kv_heads * value_length);
    for (position, (key, value)) in keys.chunks_exact(kv_heads * key_length).zip(values).enumerate() {
        shape.write(&mut pages[position / PAGE_TOKENS], position % PAGE_TOKENS, key, value);
    }
    (shape, pages)
}

fn attend(cpu: &Cpu, kv_type: KvType, sight: Sight, positions: usize, tokens: Range<usize>) -> Vec<f32> {
    let (heads, _, key_length, value_length) = FIGURES;
    let (shape, pages) = pages(kv_type, positions);
    let queries = wave(positions * heads * key_length, 0.7);
    let mut output = vec![f32::NAN; tokens.len() * heads * value_length];
    let asked = Asked {
        queries: &queries[tokens.start * heads * key_length..tokens.end * heads * key_length],
        first: tokens.start,
        pages: |page: usize| pages[page].as_slice(),
        output: Shares::new(&mut output),
    };
    Attention { heads, scale: 0.4, sight }.apply(cpu, shape, &[asked]);
    output
}

/// What attention is: the softened scores' mean of the values.
fn definition(sight: Sight, positions: usize) -> Vec<f32> {
    let (heads, kv_heads, key_length, value_length) = FIGURES;
    let (keys, values) = (wave(positions * kv_heads * key_length, 1.3), wave(positions * kv_heads * value_length, 2.1));
    let queries = wave(positions * heads * key_length, 0.7);
    let mut output = Vec::new();
    for (query, index) in queries.chunks_exact(key_length).zip(0..) {
        let (position, kv_head) = (index / heads, index % heads * kv_heads / heads);
        let seen = match sight {
            Sight::Back => 0..position + 1,
            Sight::Window(window) => (position + 1).saturating_sub(window)..position + 1,
            Sight::All(all) => 0..all,
        };
        let key = |at: usize| &keys[(at * kv_heads + kv_head) * key_length..][..key_length];
        let weights = seen.clone().map(|at| {
            let score: f64 = query.iter().zip(key(at)).map(|(query, key)| f64::from(query * key)).sum();
            (score * 0.4).exp()
        });
        let weights: Vec<f64> = weights.collect();
        let sum: f64 = weights.iter().sum();
        output.extend((0..value_length).map(|element| {
            let value = |at: usize| f64::from(values[(at * kv_heads + kv_head) * value_length + element]);
            (seen.clone().zip(&weights).map(|(at, weight)| weight * value(at)).sum::<f64>() / sum) as f32
        }));
    }
    output
}

#[test]
fn attention_is_its_definition_whatever_a_token_sees() {
    for sight in [Sight::Back, Sight::Window(1), Sight::Window(5), Sight::Window(40), Sight::All(77)] {
        let expected = definition(sight, 77);
        for (kv_type, bound) in [(KvType::F32, 2e-6), (KvType::F16, 2e-3)] {
            let got = attend(&cpu(), kv_type, sight, 77, 0..77);
            let apart = got.iter().zip(&expected).map(|(got, expected)| (got - expected).abs()).fold(0.0, f32::max);
            assert!(apart < bound, "{sight:?}, {kv_type:?}: {apart}");
        }
    }
}

#[test]
fn an_answer_has_the_same_bits_for_all_instructions_and_in_any_company() {
    let bits = |answers: Vec<f32>| answers.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for sight in [Sight::Back, Sight::Window(19)] {
        let scalar = Cpu::new(1, Some(Instructions::Scalar)).expect("no thread is needed");
        let alone: Vec<u32> =
            (0..50).flat_map(|token| bits(attend(&scalar, KvType::F16, sight, 50, token..token + 1))).collect();
        for instructions in Instructions::available() {
            let cpu = Cpu::new(2, Some(instructions)).expect("threads start");
            assert!(bits(attend(&cpu, KvType::F16, sight, 50, 0..50)) == alone, "{instructions:?}, {sight:?}");
        }
    }
}

#[test]
fn the_exponential_is_right_to_a_part_in_a_million() {
    struct All<'a>(&'a mut [[f32; LANES]]);
    impl Kernel for All<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for lanes in self.0 {
                for part in 0..S::PARTS {
                    simd.store(simd.exponential(simd.load(lanes, part)), lanes, part);
                }
            }
        }
    }
    for instructions in Instructions::available() {
        let numbers: Vec<f32> = (0..4_000).map(|at| (at as f32 - 2_000.0) / 23.0).collect();
        let mut powers = numbers.clone();
        let cpu = Cpu::new(1, Some(instructions)).expect("no thread is needed");
        cpu.run(All(powers.as_chunks_mut().0));
        for (number, power) in numbers.iter().zip(&powers) {
            let exact = f64::from(*number).exp();
            assert!((f64::from(*power) / exact - 1.0).abs() < 1e-6, "{instructions:?}: e^{number} is {power}");
        }
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
