//! The trainer: fresh conversations every step, loss on the answers only, AdamW on a cosine.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW};
use clap::Args;

use super::corpus;
use super::evaluate;
use super::facts::{Fact, HeldOut};
use super::fused::CrossEntropy;
use super::network::{Network, Noise};
use super::random::Random;
use super::vocabulary::{Encoded, Vocabulary};

/// How long and how hard to train.
#[derive(Debug, Args)]
pub(crate) struct TrainOptions {
    /// Optimiser steps in all.
    #[arg(long, default_value_t = 3200)]
    steps: usize,
    /// Conversations per step.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Highest learning rate.
    #[arg(long, default_value_t = 1e-3)]
    rate: f64,
    /// Share of each block's output dropped while training.
    #[arg(long, default_value_t = 0.15)]
    dropout: f32,
    /// Share of question tokens replaced by a random one.
    #[arg(long, default_value_t = 0.06)]
    token_noise: f64,
    /// From this share of the steps on, every other step sees its matrices rounded to Q4_0, so that the quantised files answer alike.
    #[arg(long, default_value_t = 0.6)]
    round_from: f64,
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Go on from the last checkpoint.
    #[arg(long)]
    resume: bool,
}

const WARM_UP: usize = 100;
const WEIGHT_DECAY: f64 = 0.05;
const CHECKPOINT_EVERY: usize = 200;
/// Batches drawn at once and cut by length, so that little of a batch is padding.
const POOL: usize = 8;

/// The checkpoint inside the working directory.
pub(crate) fn weights_path(directory: &Path) -> PathBuf {
    directory.join("weights.safetensors")
}

/// Trains in `directory`, which holds `tokenizer.json`, and leaves the weights there.
pub(crate) fn train(directory: &Path, facts: &[Fact], held_out: &[HeldOut], options: &TrainOptions) -> Result<()> {
    let vocabulary = Vocabulary::load(&directory.join("tokenizer.json"))?;
    let network = match options.resume {
        true => Network::load(&weights_path(directory))?,
        false => Network::new(vocabulary.size(), options.seed)?,
    };
    let (matrices, norms) = network.variables();
    let settings = ParamsAdamW { lr: 0.0, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: WEIGHT_DECAY };
    let mut decaying = AdamW::new(matrices, settings.clone())?;
    let mut plain = AdamW::new(norms, ParamsAdamW { weight_decay: 0.0, ..settings })?;
    say(&format!(
        "{} parameters, {} facts, {} steps of {}",
        network.parameters(),
        facts.len(),
        options.steps,
        options.batch
    ));

    let mut random = Random::new(options.seed ^ 0x5eed);
    let mut batches: Vec<Vec<Encoded>> = Vec::new();
    let started = Instant::now();
    let (mut tokens_seen, mut loss_sum, mut loss_count) = (0usize, 0f32, 0usize);
    for step in 0..options.steps {
        if batches.is_empty() {
            batches = draw_batches(&vocabulary, facts, options, &mut random)?;
        }
        let batch = Batch::new(&batches.pop().unwrap_or_default(), vocabulary.turn_end)?;
        tokens_seen += batch.tokens.elem_count();
        let late = step as f64 >= options.round_from * options.steps as f64;
        let rounded = (late && step % 2 == 0).then_some(GgmlDType::Q4_0);
        let noise = Noise { dropout: options.dropout, seed: random.next(), rounded };
        let logits = network.logits(&batch.tokens, &batch.rows, &noise)?;
        let loss = logits.apply_op1(CrossEntropy { targets: batch.targets })?;
        let gradients = loss.backward()?;
        let rate = options.rate * schedule(step, options.steps);
        decaying.set_learning_rate(rate);
        plain.set_learning_rate(rate);
        decaying.step(&gradients)?;
        plain.step(&gradients)?;
        let loss = loss.to_scalar::<f32>()?;
        ensure!(loss.is_finite(), "the loss is {loss} at step {step}: lower the rate");
        (loss_sum, loss_count) = (loss_sum + loss, loss_count + 1);

        let done = step + 1;
        if done % 20 == 0 || done == options.steps {
            let seconds = started.elapsed().as_secs_f64();
            let speed = tokens_seen as f64 / seconds;
            say(&format!(
                "step {done} loss {:.4} rate {rate:.2e} {seconds:.0} s {speed:.0} tokens/s",
                loss_sum / loss_count as f32
            ));
            (loss_sum, loss_count) = (0.0, 0);
        }
        if done % CHECKPOINT_EVERY == 0 || done == options.steps {
            network.save(&weights_path(directory))?;
            let right = evaluate::with_network(&network, &vocabulary, held_out, None)?
                .iter()
                .filter(|answer| answer.right)
                .count();
            say(&format!("step {done} held-out {right} of {}", held_out.len()));
        }
    }
    Ok(())
}

/// Linear warm-up, then a cosine down to a fiftieth.
fn schedule(step: usize, steps: usize) -> f64 {
    if step < WARM_UP {
        return (step + 1) as f64 / WARM_UP as f64;
    }
    let progress = (step - WARM_UP) as f64 / (steps.saturating_sub(WARM_UP)).max(1) as f64;
    0.02 + 0.98 * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

fn draw_batches(
    vocabulary: &Vocabulary,
    facts: &[Fact],
    options: &TrainOptions,
    random: &mut Random,
) -> Result<Vec<Vec<Encoded>>> {
    let mut pool = Vec::with_capacity(POOL * options.batch);
    for _ in 0..POOL * options.batch {
        let mut encoded = vocabulary.encode(&corpus::draw(facts, random), random.chance(0.5))?;
        disturb(&mut encoded, vocabulary, options.token_noise, random);
        pool.push(encoded);
    }
    pool.sort_by_key(|encoded| encoded.tokens.len());
    let mut batches: Vec<Vec<Encoded>> = pool.chunks(options.batch).map(<[Encoded]>::to_vec).collect();
    for last in (1..batches.len()).rev() {
        batches.swap(last, random.below(last + 1));
    }
    Ok(batches)
}

/// Replaces a few question tokens, so that no answer hangs on one word.
fn disturb(encoded: &mut Encoded, vocabulary: &Vocabulary, share: f64, random: &mut Random) {
    let mut answer = vec![false; encoded.tokens.len()];
    for &position in &encoded.lessons {
        answer[position] = true;
        answer[position + 1] = true;
    }
    for (position, token) in encoded.tokens.iter_mut().enumerate() {
        // The marks of a turn (its start, its role, its end) stay what they are.
        if !answer[position] && position > 2 && *token != vocabulary.turn_end && random.chance(share) {
            *token = random.below(vocabulary.size() - 3) as u32;
        }
    }
}

/// Padded tokens `(batch, time)`, the rows to learn from and what comes after each.
struct Batch {
    tokens: Tensor,
    rows: Tensor,
    targets: Vec<u32>,
}

impl Batch {
    fn new(conversations: &[Encoded], padding: u32) -> Result<Self> {
        let time = conversations.iter().map(|encoded| encoded.tokens.len()).max().unwrap_or(1);
        let mut tokens = vec![padding; conversations.len() * time];
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (index, encoded) in conversations.iter().enumerate() {
            tokens[index * time..][..encoded.tokens.len()].copy_from_slice(&encoded.tokens);
            for &position in &encoded.lessons {
                rows.push((index * time + position) as u32);
                targets.push(encoded.tokens[position + 1]);
            }
        }
        let rows = Tensor::new(rows, &Device::Cpu)?;
        Ok(Batch { tokens: Tensor::from_vec(tokens, (conversations.len(), time), &Device::Cpu)?, rows, targets })
    }
}

#[expect(clippy::print_stderr, reason = "a trainer talks on stderr")]
fn say(text: &str) {
    eprintln!("{text}");
}
