//! What a pass takes beside the products of its weights, measured on a model that hardly has any.
//!
//! ```text
//! one token,  nothing before it    layers that wait for their threads
//! one token,  a text before it     … and keys and values, read for one query each
//! a chunk,    nothing before it    … and activations: normed, turned, activated, added
//! a chunk,    a text before it     … and products with keys and values, many queries together
//! ```

use std::io;
use std::time::{Duration, Instant};

use super::BenchError;
use crate::gguf::{Array, Gguf, Value, write};
use crate::model::{ForwardError, LoadOptions, Model, Workspace};
use crate::session::Session;
use crate::shape::Shape;

/// Tokens before the measured ones: enough for what reads them to show, few enough to stay in a cache.
const TEXT: usize = 768;
/// Tokens of a prompt that are read together.
const CHUNK: usize = 64;
/// Tokens that such a model knows: all bytes.
const TOKENS: u32 = 256;
const LAYERS: u32 = 8;
const EMBEDDING: u32 = 64;
const FEED_FORWARD: u32 = 256;
const HEAD: u32 = 64;

/// What a pass takes beside the products of its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassFigures {
    /// Threads it ran on.
    pub threads: usize,
    /// What a layer takes of one token whatever its size.
    pub layer: Duration,
    /// Elements of activations per second, as [`elements`] counts them.
    pub elements_per_second: u64,
    /// Elements of keys and values per second that are read for one query each.
    pub attended_elements_per_second: u64,
    /// Multiply-adds with keys and values per second where many queries are answered together.
    pub attended_macs_per_second: u64,
}

/// Elements of activations that a layer norms, turns, activates and adds for one token: the residual stream before and after
/// both halves, queries and keys, both halves of the feed-forward.
#[must_use]
pub fn elements(embedding: u64, queries: u64, keys: u64, feed_forward: u64) -> u64 {
    [embedding.saturating_mul(4), queries, keys, feed_forward.saturating_mul(2)].into_iter().fold(0, u64::saturating_add)
}

/// Measures passes on so many threads, whose prompts' products go so fast. Takes about a fifth of a second.
///
/// # Errors
/// Fails when the threads cannot be started or the pass cannot be computed.
pub fn pass(threads: usize, prefill_macs_per_second: u64) -> Result<PassFigures, BenchError> {
    let threads = threads.max(1);
    let failed = |reason: &dyn std::fmt::Display| BenchError::Pass { reason: reason.to_string() };
    // A head of keys for each thread, so that all have as much to read.
    let heads = u32::try_from(threads).unwrap_or(u32::MAX).min(64);
    let file = file(heads).map_err(|error| failed(&error))?;
    let gguf = Gguf::from_bytes("measured", file).map_err(|error| failed(&error))?;
    let model = Model::from_gguf(&gguf, &LoadOptions::threads(threads)).map_err(|error| failed(&error))?;
    let mut probe = Probe { model: &model, workspace: Workspace::default() };
    let mut measured = |before: usize, tokens: usize| probe.time(before, tokens).map_err(|error| failed(&error));
    let [one, one_after, chunk, chunk_after] =
        [measured(0, 1)?, measured(TEXT, 1)?, measured(0, CHUNK)?, measured(TEXT, CHUNK)?];
    let layers = f64::from(LAYERS);
    let queries = f64::from(heads * HEAD);
    // Keys and values of a position, and as many multiply-adds for each query.
    let read = layers * 2.0 * queries * TEXT as f64;
    let weights = f64::from(EMBEDDING) * (4.0 * queries + 3.0 * f64::from(FEED_FORWARD));
    let products = layers * CHUNK as f64 * weights / (prefill_macs_per_second.max(1) as f64);
    let queries = u64::from(heads * HEAD);
    let elements = elements(EMBEDDING.into(), queries, queries, FEED_FORWARD.into()) as f64 * CHUNK as f64 * layers;
    Ok(PassFigures {
        threads: model.threads(),
        layer: Duration::from_secs_f64(one / layers),
        // At least a tenth of what was measured is theirs, whatever the products are said to have taken.
        elements_per_second: (elements / (chunk - one - products).max(chunk / 10.0)) as u64,
        attended_elements_per_second: (read / (one_after - one).max(one / 100.0)) as u64,
        attended_macs_per_second: (read * CHUNK as f64 / (chunk_after - chunk).max(chunk / 100.0)) as u64,
    })
}

struct Probe<'a> {
    model: &'a Model,
    workspace: Workspace,
}

impl Probe<'_> {
    /// Seconds that a pass of so many tokens takes with so many before them: the best third of some tries.
    fn time(&mut self, before: usize, tokens: usize) -> Result<f64, ForwardError> {
        const WINDOW: Duration = Duration::from_millis(20);
        const FEWEST: usize = 4;
        let mut session = Session::new(self.model, before + tokens);
        let all: Vec<u32> = (0..before + tokens).map(|at| at as u32 * 31 % TOKENS).collect();
        self.model.forward(&mut session, &all[..before], &[], &mut self.workspace)?;
        let (mut times, began) = (Vec::new(), Instant::now());
        while times.len() < FEWEST || began.elapsed() < WINDOW {
            let pass = Instant::now();
            self.model.forward(&mut session, &all[before..], &[tokens - 1], &mut self.workspace)?;
            times.push(pass.elapsed().as_secs_f64());
            session.truncate(before);
        }
        // The first has buffers to make.
        Ok(super::best(&mut times[1..]))
    }
}

/// A file of weights that are all alike.
fn file(heads: u32) -> io::Result<Vec<u8>> {
    let shape = Shape {
        architecture: "llama".to_owned(),
        layers: LAYERS,
        embedding: EMBEDDING,
        feed_forward: FEED_FORWARD,
        heads,
        kv_heads: heads,
        head_length: HEAD,
        vocabulary: TOKENS,
        context_tokens: (TEXT + CHUNK) as u32,
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

    #[test]
    fn a_pass_is_measured_on_any_number_of_threads() {
        for threads in [1, 2, 3] {
            let figures = pass(threads, 100_000_000_000).expect("such a model computes");
            assert_eq!(figures.threads, threads);
            assert!(figures.layer > Duration::ZERO && figures.elements_per_second > 1_000_000, "{figures:?}");
            assert!(figures.attended_elements_per_second > 1_000_000, "{figures:?}");
            assert!(figures.attended_macs_per_second > 1_000_000, "{figures:?}");
        }
        // Products that are said to take no time, or all of it.
        assert!(pass(1, u64::MAX).is_ok() && pass(1, 0).is_ok());
    }
}
