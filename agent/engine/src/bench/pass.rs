//! What a pass takes beside the products of its weights, measured on a small model that has few of them.
//!
//! ```text
//! one token                  layers whose threads wait for one another
//! a chunk of a prompt        … and activations: normed, turned, activated, added
//! attention alone            keys and values: from memory, from the cache, for many queries
//! the sampler alone          logits
//! ```

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use super::attention::Pages;
use super::{BenchError, KernelFigures, Window, best, per_second};
use crate::backends::Backend;
use crate::gguf::{Array, Gguf, Value, write};
use crate::model::{ForwardError, LoadOptions, Model, Workspace};
use crate::sampler::{Sampler, Sampling};
use crate::session::Session;
use crate::shape::Shape;

/// Tokens of a prompt that are read together.
const CHUNK: usize = 64;
/// Tokens that the model knows: all bytes.
const TOKENS: u32 = 256;
/// Its figures: as few weights to an activation as kernels take.
const LAYERS: u32 = 8;
const EMBEDDING: u32 = 256;
const FEED_FORWARD: u32 = 256;
const HEADS: u32 = 2;
const HEAD: u32 = 64;
/// Logits that are chosen among, as of a usual vocabulary.
const LOGITS: usize = 64_000;

/// What a pass takes beside the products of its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassFigures {
    /// Threads it ran on.
    pub threads: usize,
    /// What a layer takes of one token whatever its size.
    pub layer: Duration,
    /// Elements of activations per second, as [`elements`] counts them.
    pub elements_per_second: u64,
    /// Elements of keys and values per second that are fetched from memory for one query each.
    pub fetched_elements_per_second: u64,
    /// The same from the cache.
    pub attended_elements_per_second: u64,
    /// Multiply-adds with keys and values per second where many queries are answered together.
    pub attended_macs_per_second: u64,
    /// Logits per second that a token is chosen among.
    pub logits_per_second: u64,
}

/// Elements of activations that a layer norms, turns, activates and adds for one token: the residual stream before and after
/// both halves, queries and keys, both halves of the feed-forward.
#[must_use]
pub fn elements(embedding: u64, queries: u64, keys: u64, feed_forward: u64) -> u64 {
    let parts = [embedding.saturating_mul(4), queries, keys, feed_forward.saturating_mul(2)];
    parts.into_iter().fold(0, u64::saturating_add)
}

/// Measures passes on so many threads, where the kernel of their format is so fast, and keys and values of so many bytes: more
/// than the last cache holds. Takes about a fifth of a second.
///
/// # Errors
/// Fails when the threads cannot be started or the pass cannot be computed.
pub fn pass(threads: usize, kernel: &KernelFigures, bytes: u64) -> Result<PassFigures, BenchError> {
    let failed = |reason: &dyn std::fmt::Display| BenchError::Pass { reason: reason.to_string() };
    let file = file().map_err(|error| failed(&error))?;
    let gguf = Gguf::from_bytes("measured", file).map_err(|error| failed(&error))?;
    // The main processor's kernels are measured, whatever else the machine has.
    let options = LoadOptions { backend: Some(Backend::Cpu), ..LoadOptions::threads(threads.max(1)) };
    let model = Model::from_gguf(&gguf, &options).map_err(|error| failed(&error))?;
    let [one, chunk] = [1, CHUNK].map(|tokens| time(&model, tokens));
    let (one, chunk) = (one.map_err(|error| failed(&error))?, chunk.map_err(|error| failed(&error))?);
    let [embedding, feed_forward, queries] = [EMBEDDING, FEED_FORWARD, HEADS * HEAD].map(u64::from);
    let weights = embedding * (4 * queries + 3 * feed_forward) * u64::from(LAYERS);
    let products = weights as f64 * CHUNK as f64 / kernel.prefill_macs_per_second.max(1) as f64;
    let read = kernel.format.bytes_for(weights).unwrap_or(0) as f64 / kernel.cached_bytes_per_second.max(1) as f64;
    let elements = elements(embedding, queries, queries, feed_forward) * u64::from(LAYERS) * CHUNK as u64;
    let attention = Pages::new(threads, bytes).measure(&model.cpu);
    Ok(PassFigures {
        threads: model.threads(),
        // At least a part of what was measured is theirs, whatever the products are said to have taken.
        layer: Duration::from_secs_f64((one - read).max(one / 3.0) / f64::from(LAYERS)),
        elements_per_second: (elements as f64 / (chunk - one - products).max(chunk / 10.0)) as u64,
        fetched_elements_per_second: attention.fetched.min(attention.cached),
        attended_elements_per_second: attention.cached,
        attended_macs_per_second: attention.macs,
        logits_per_second: logits_per_second(),
    })
}

/// Seconds that a pass of so many tokens takes: the best third of some tries.
fn time(model: &Model, tokens: usize) -> Result<f64, ForwardError> {
    const LONG: Duration = Duration::from_millis(15);
    const FEWEST: usize = 4;
    let mut workspace = Workspace::default();
    let mut session = Session::new(model, tokens);
    let all: Vec<u32> = (0..tokens).map(|at| at as u32 * 31 % TOKENS).collect();
    let (mut times, began) = (Vec::new(), Instant::now());
    while times.len() < FEWEST || began.elapsed() < LONG {
        let pass = Instant::now();
        model.forward(&mut session, &all, &[tokens - 1], &mut workspace)?;
        times.push(pass.elapsed().as_secs_f64());
        session.truncate(0);
    }
    // The first has buffers to make.
    Ok(best(&mut times[1..]))
}

fn logits_per_second() -> u64 {
    let logits: Vec<f32> = (0..LOGITS).map(|id| (id * 7919 % 1009) as f32 / 1009.0).collect();
    let mut sampler = Sampler::new(Sampling::default());
    per_second(LOGITS as f64, Window::of_ms(8), || {
        black_box(sampler.choose(&logits, &[], &[], None));
    })
}

/// A file of weights that are all alike.
fn file() -> io::Result<Vec<u8>> {
    let shape = Shape {
        architecture: "llama".to_owned(),
        layers: LAYERS,
        embedding: EMBEDDING,
        feed_forward: FEED_FORWARD,
        heads: HEADS,
        kv_heads: HEADS,
        head_length: HEAD,
        vocabulary: TOKENS,
        context_tokens: CHUNK as u32,
        tied: true,
        window_tokens: 0,
        rotated: None,
        rotary_divisors: false,
        merges: 0,
    };
    let mut outline = shape.outline("Q8_0").ok_or_else(|| io::Error::other("no such quantisation"))?;
    let mut key = |name: &str, value| outline.metadata.push((format!("tokenizer.ggml.{name}"), value));
    key("model", Value::Text("llama".to_owned()));
    key("tokens", Value::Array(Array::Text((0..TOKENS).map(|byte| format!("<0x{byte:02X}>")).collect())));
    key("scores", Value::Array(Array::F32(vec![0.0; TOKENS as usize])));
    key("token_type", Value::Array(Array::I32(vec![6; TOKENS as usize])));
    let mut bytes = Vec::new();
    write::write(&mut bytes, &outline, |index, tensor| {
        let (_, shape, format) = &outline.tensors[index];
        let weights = vec![0.01; shape.iter().product::<u64>() as usize];
        tensor.resize(format.bytes_for(weights.len() as u64).unwrap_or(0) as usize, 0);
        crate::blocks::encode::encode(*format, &weights, tensor);
        Ok(())
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Format;

    fn kernel(speed: u64) -> KernelFigures {
        KernelFigures {
            format: Format::Q8_0,
            threads: 1,
            decode_bytes_per_second: speed,
            cached_bytes_per_second: speed,
            prefill_macs_per_second: speed,
        }
    }

    #[test]
    fn a_pass_is_measured_on_any_number_of_threads() {
        for threads in [1, 2, 3] {
            let figures = pass(threads, &kernel(100_000_000_000), 1 << 20).expect("such a model computes");
            assert_eq!(figures.threads, threads);
            assert!(figures.layer > Duration::ZERO && figures.elements_per_second > 100_000, "{figures:?}");
            let [fetched, attended] = [figures.fetched_elements_per_second, figures.attended_elements_per_second];
            assert!((1_000_000..=attended).contains(&fetched), "{figures:?}");
            assert!(figures.attended_macs_per_second > 1_000_000, "{figures:?}");
            assert!(figures.logits_per_second > 100_000, "{figures:?}");
        }
        // Products that are said to take no time, or all of it.
        assert!(pass(1, &kernel(u64::MAX), 0).is_ok() && pass(1, &kernel(0), 0).is_ok());
    }
}
