//! What a pass takes, from what the engine's kernels were measured to take: to the next token and to the first.
//!
//! ```text
//! next token    Σ formats: bytes of matrices ÷ bytes/s of its kernel      from memory, or from the cache where all fits
//!             + keys and values of all positions ÷ elements/s             never faster than memory where they do not fit
//!             + layers × what one takes + elements of activations ÷ elements/s
//!             + logits ÷ logits/s
//! first token   Σ formats: weights × tokens ÷ multiply-adds/s + chunks × bytes ÷ memory's bytes/s
//!             + multiply-adds with keys and values ÷ multiply-adds/s
//!             + chunks × layers × what one takes + elements × tokens ÷ elements/s
//!             + the output matrix and its logits, once
//! ```

use outpost_contract::{Footprint, KernelSpeed, Matrices, Measurements, PassSpeed, VariantFacts};

use crate::memory::KV_BYTES_PER_ELEMENT;

/// Prompt tokens that are read in a pass while others are answered.
pub const READ_TOGETHER: u32 = 64;

/// Queries that are answered together, so that keys and values are read once for them.
const QUERIES_TOGETHER: u64 = 8;

/// Picoseconds in a second.
const SECOND: u128 = 1_000_000_000_000;

/// Times of a variant on a machine with so many threads.
#[derive(Debug, Clone)]
pub(crate) struct Times<'a> {
    facts: &'a VariantFacts,
    footprint: &'a Footprint,
    memory: u64,
    pass: &'a PassSpeed,
    parts: Vec<(&'a Matrices, Rates)>,
    /// Whether the kernel of nearly every byte, or one that does the same, was measured.
    pub(crate) is_measured: bool,
}

/// How fast matrices of one format are.
#[derive(Debug, Clone, Copy)]
struct Rates {
    fetched: u64,
    cached: u64,
    macs: u64,
}

impl<'a> Times<'a> {
    /// Nothing where the variant's matrices were not counted, or passes not measured.
    pub(crate) fn new(facts: &'a VariantFacts, measurements: &'a Measurements, threads: u32) -> Option<Self> {
        let footprint = facts.footprint.as_deref().filter(|footprint| !footprint.matrices.is_empty())?;
        let pass = nearest(measurements.passes.iter(), threads, |pass| pass.threads)?;
        let memory = measurements.memory_read_bytes_per_second;
        // What was not measured is taken to read a prompt as slowly as the slowest that was.
        let of_threads = |kernel: &&KernelSpeed| kernel.threads == pass.threads;
        let slowest =
            measurements.kernels.iter().filter(of_threads).map(|kernel| kernel.prefill_macs_per_second).min()?;
        let (mut measured, mut all) = (0u64, 0u64);
        let parts: Vec<_> = footprint
            .matrices
            .iter()
            .map(|matrices| {
                let kernel_of = |format: &str| {
                    let of_format = measurements.kernels.iter().filter(|kernel| kernel.format == format);
                    nearest(of_format, threads, |kernel| kernel.threads)
                };
                let kernel = kernel_of(&matrices.format).or_else(|| kernel_of(alike(&matrices.format)?));
                let bytes = matrices.layer_bytes.saturating_add(matrices.output_bytes);
                all = all.saturating_add(bytes);
                measured = measured.saturating_add(kernel.map_or(0, |_| bytes));
                (matrices, kernel.map_or_else(|| Rates::guessed(memory, slowest), |kernel| Rates::of(kernel, memory)))
            })
            .collect();
        // A table in half precision or a few norms in another format change little.
        let is_measured = u128::from(measured) * 10 >= u128::from(all) * 9;
        Some(Self { facts, footprint, memory, pass, parts, is_measured })
    }

    /// Picoseconds to the next token of a conversation that has so many.
    pub(crate) fn next_token(&self, positions: u64) -> u128 {
        let kv_bytes = product(&[self.seen(positions, positions), self.kv_elements(), KV_BYTES_PER_ELEMENT]);
        let weights: u128 = self
            .parts
            .iter()
            .map(|(matrices, rates)| self.read(matrices.layer_bytes, *rates, kv_bytes))
            .fold(0, u128::saturating_add);
        weights
            .saturating_add(self.output(kv_bytes))
            .saturating_add(self.attended(positions, kv_bytes))
            .saturating_add(self.beside(1, 1))
            .saturating_add(self.chosen())
    }

    /// Picoseconds to the first token behind a prompt of so many, none of which was read before.
    pub(crate) fn first_token(&self, tokens: u64) -> u128 {
        let tokens = tokens.max(1);
        let chunks = tokens.div_ceil(READ_TOGETHER.into());
        let products = self.parts.iter().map(|(matrices, rates)| {
            let computed = over(product(&[matrices.layer_weights, tokens]), rates.macs);
            // A kernel computes with what it has fetched: the first of a chunk's tokens waits for it.
            computed.saturating_add(u128::from(chunks).saturating_mul(self.fetched(matrices.layer_bytes)))
        });
        let per_position =
            u64::from(self.facts.model.query_elements).saturating_add(self.footprint.attended_elements.into());
        let attended = over(product(&[self.seen_by_all(tokens), per_position]), self.pass.attended_macs_per_second);
        products
            .fold(0, u128::saturating_add)
            .saturating_add(attended)
            .saturating_add(self.output(0))
            .saturating_add(self.beside(tokens, chunks))
            .saturating_add(self.chosen())
    }

    /// Reading some of the weights once, while so many bytes of keys and values are read too.
    fn read(&self, bytes: u64, rates: Rates, beside: u128) -> u128 {
        let (fetched, cached) = (over(bytes.into(), rates.fetched), over(bytes.into(), rates.cached));
        let (inside, half) = self.inside(beside);
        fetched.saturating_sub(fetched.saturating_sub(cached).saturating_mul(inside) / half)
    }

    /// Fetching as much of so many bytes of weights as the cache has not.
    fn fetched(&self, bytes: u64) -> u128 {
        if self.memory == 0 {
            return 0;
        }
        let (inside, half) = self.inside(0);
        over(bytes.into(), self.memory).saturating_mul(half - inside) / half
    }

    /// How much of the weights stays in the cache, while so many bytes are read beside them: so many parts of so many. What
    /// fits into half of the cache stays there; what is as large as it pushes itself out each time.
    fn inside(&self, beside: u128) -> (u128, u128) {
        let cache = u128::from(self.pass.cache_bytes);
        let all = self.weight_bytes().saturating_add(beside);
        (cache.saturating_sub(all).min(cache / 2), (cache / 2).max(1))
    }

    fn weight_bytes(&self) -> u128 {
        let bytes = |(matrices, _): &(&Matrices, Rates)| {
            u128::from(matrices.layer_bytes).saturating_add(matrices.output_bytes.into())
        };
        self.parts.iter().map(bytes).fold(0, u128::saturating_add)
    }

    fn output(&self, beside: u128) -> u128 {
        let read = |(matrices, rates): &(&Matrices, Rates)| self.read(matrices.output_bytes, *rates, beside);
        self.parts.iter().map(read).fold(0, u128::saturating_add)
    }

    /// Choosing a token.
    fn chosen(&self) -> u128 {
        over(self.facts.model.vocabulary.into(), self.pass.logits_per_second)
    }

    /// What layers take beside products, of so many tokens in so many passes.
    fn beside(&self, tokens: u64, passes: u64) -> u128 {
        let (model, layers) = (&self.facts.model, u64::from(self.facts.model.layers));
        let waiting = product(&[layers, self.pass.layer_ns, passes, 1_000]);
        let [embedding, queries, feed_forward] =
            [model.embedding_length, model.query_elements, model.feed_forward_length].map(u64::from);
        let keys = u64::from(self.footprint.kv_heads).saturating_mul(self.footprint.key_length.into());
        // As the measured run counts them.
        let elements = embedding
            .saturating_mul(4)
            .saturating_add(queries)
            .saturating_add(keys)
            .saturating_add(feed_forward.saturating_mul(2));
        // The one token of a pass is in what a layer takes anyway, as far as it is as small as the measured one's.
        waiting.saturating_add(over(product(&[layers, elements, tokens]), self.pass.elements_per_second))
    }

    /// Reading keys and values for one token.
    fn attended(&self, positions: u64, kv_bytes: u128) -> u128 {
        let heads = u64::from(self.footprint.kv_heads).max(1);
        let queries = u64::from(self.facts.model.query_elements);
        let sharing = (queries / heads.saturating_mul(self.footprint.key_length.max(1).into())).max(1);
        let elements = product(&[self.seen(positions, positions), self.kv_elements()]);
        // An element that is read for T queries takes a + T·b: known are a + b, and a ÷ 8 + b.
        let [alone, together] = [self.pass.attended_elements_per_second, self.pass.attended_macs_per_second]
            .map(|rate| over(elements, rate));
        let once = (alone.saturating_sub(together).saturating_mul(8) / 7).min(alone);
        let each = alone - once;
        let blocks = sharing.div_ceil(QUERIES_TOGETHER);
        let computed = once.saturating_mul(blocks.into()).saturating_add(each.saturating_mul(sharing.into()));
        // Each head's block of queries is one thread's: those that have none wait.
        let (pieces, threads) = (heads.saturating_mul(blocks), u64::from(self.pass.threads.max(1)));
        let rounds = u128::from(pieces.div_ceil(threads)) * u128::from(threads);
        let computed = computed.saturating_mul(rounds) / u128::from(pieces.max(1));
        // In the time in which a thread fetches, it computes.
        let fetched =
            over(elements, self.pass.fetched_elements_per_second).saturating_mul(rounds) / u128::from(pieces.max(1));
        let (inside, half) = self.inside(kv_bytes);
        let waited = fetched.saturating_sub(computed);
        computed.saturating_add(waited.saturating_mul(half - inside) / half)
    }

    /// Elements of keys and values of a position in a layer.
    fn kv_elements(&self) -> u64 {
        let Footprint { kv_heads, key_length, value_length, .. } = self.footprint;
        u64::from(*kv_heads).saturating_mul(u64::from(*key_length).saturating_add((*value_length).into()))
    }

    /// Positions that the token behind so many sees, of all layers; those with a window see no more than it.
    fn seen(&self, all: u64, windowed: u64) -> u64 {
        let (windows, layers) = self.windows();
        let window = u64::from(self.footprint.window_tokens);
        (layers - windows).saturating_mul(all).saturating_add(windows.saturating_mul(windowed.min(window)))
    }

    /// The same, of all tokens of a prompt together.
    fn seen_by_all(&self, tokens: u64) -> u64 {
        let triangle = |count: u64| count.saturating_mul(count.saturating_add(1)) / 2;
        let (windows, layers) = self.windows();
        let window = u64::from(self.footprint.window_tokens).min(tokens);
        let windowed = triangle(window).saturating_add((tokens - window).saturating_mul(window));
        (layers - windows).saturating_mul(triangle(tokens)).saturating_add(windows.saturating_mul(windowed))
    }

    fn windows(&self) -> (u64, u64) {
        let layers = u64::from(self.facts.model.layers);
        (u64::from(self.footprint.windowed_layers).min(layers), layers)
    }
}

impl Rates {
    fn of(kernel: &KernelSpeed, memory: u64) -> Self {
        let decode = kernel.decode_bytes_per_second;
        // A kernel that seems to be faster than memory was measured within a cache.
        let fetched = if memory == 0 { decode } else { decode.min(memory) };
        let cached = kernel.cached_bytes_per_second.unwrap_or(0).max(fetched);
        Self { fetched, cached, macs: kernel.prefill_macs_per_second }
    }

    /// What peers' kernels get out of such machines.
    fn guessed(memory: u64, macs: u64) -> Self {
        Self { fetched: memory / 2, cached: memory / 2, macs }
    }
}

/// A format whose codes are as wide and lie alike, so that its kernel does the same to as many bytes.
fn alike(format: &str) -> Option<&'static str> {
    Some(match format {
        "Q4_1" => "Q4_0",
        "Q5_0" | "Q5_K" => "Q5_1",
        "BF16" => "F16",
        _ => return None,
    })
}

/// What was measured on as many threads, or else on the next fewer, or else on the fewest.
fn nearest<'a, T>(all: impl Iterator<Item = &'a T> + Clone, threads: u32, of: impl Fn(&T) -> u32) -> Option<&'a T> {
    let fewer = all.clone().filter(|one| of(one) <= threads).max_by_key(|one| of(one));
    fewer.or_else(|| all.min_by_key(|one| of(one)))
}

/// Picoseconds that so much takes at so much per second.
fn over(amount: u128, per_second: u64) -> u128 {
    amount.saturating_mul(SECOND).checked_div(per_second.into()).unwrap_or(u128::MAX / 1_000_000)
}

fn product(factors: &[u64]) -> u128 {
    factors.iter().fold(1, |product, factor| u128::saturating_mul(product, (*factor).into()))
}
