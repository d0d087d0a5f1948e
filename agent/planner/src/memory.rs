//! Memory that a variant needs and memory that there is, in bytes, term by term.

use outpost_contract::{Measurements, VariantFacts};

/// The agent itself without a model.
const BASE_BYTES: u64 = 40 << 20;

/// Tokens of a prompt that are read at once, at the most.
pub const PREFILL_CHUNK_TOKENS: u64 = 128;

/// Bytes of one cached key or value element: half precision.
pub const KV_BYTES_PER_ELEMENT: u64 = 2;

/// Positions of a page of keys and values: a conversation takes whole pages.
const PAGE_TOKENS: u64 = 32;

/// Queries that are answered together, each with a score for every position.
const QUERIES_TOGETHER: u64 = 8;

/// Tokens that a pass checks beside those it must compute, each with its logits.
const CHECKED_TOGETHER: u64 = 8;

/// A packed matrix is larger than the file's by one part in so many, at the most.
const PACKING: u64 = 32;

/// The least that is left to everybody else.
const RESERVE_BYTES: u64 = 256 << 20;

/// What a variant needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// All tensors, from the catalogue's tensor table; exact.
    pub weight_bytes: u64,
    /// Keys and values of every conversation at full context.
    pub kv_bytes: u64,
    /// Buffers of one step.
    pub compute_bytes: u64,
    /// Vocabulary and its maps.
    pub tokenizer_bytes: u64,
    /// The agent itself.
    pub base_bytes: u64,
    /// All that a draft model takes.
    pub draft_bytes: u64,
}

impl Needs {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { weight_bytes, kv_bytes, compute_bytes, tokenizer_bytes, base_bytes, draft_bytes } = *self;
        [weight_bytes, kv_bytes, compute_bytes, tokenizer_bytes, base_bytes, draft_bytes]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// The same with a draft model beside it, which needs as much by itself.
    #[must_use]
    pub fn beside(self, draft: &Self) -> Self {
        Self { draft_bytes: draft.total().saturating_sub(draft.base_bytes), ..self }
    }
}

/// What a variant needs for so many conversations of so many tokens.
#[must_use]
pub fn needs(facts: &VariantFacts, context_tokens: u32, slots: u32, threads: u32) -> Needs {
    let model = &facts.model;
    let [layers, kv, context, slots, threads, embedding, feed_forward, query, vocabulary] = [
        model.layers,
        model.kv_elements_per_layer,
        context_tokens,
        slots,
        threads,
        model.embedding_length,
        model.feed_forward_length,
        model.query_elements,
        model.vocabulary,
    ]
    .map(u64::from);
    let product = |factors: &[u64]| factors.iter().copied().fold(1, u64::saturating_mul);
    let sum = |terms: &[u64]| terms.iter().copied().fold(0, u64::saturating_add);
    let context = context.next_multiple_of(PAGE_TOKENS);
    let kv_bytes = product(&[layers, kv, context, slots, KV_BYTES_PER_ELEMENT]);
    // The residual stream and its normed copy; queries and what attention answers; gate and up; then the widest of them twice
    // more, which is what a matrix product takes in and gives out.
    let widest = embedding.max(feed_forward).max(query);
    let row = sum(&[embedding, query, feed_forward, widest]).saturating_mul(2);
    let compute_bytes = sum(&[
        product(&[row, PREFILL_CHUNK_TOKENS, 4]),
        // The same rows in eight bits, with what belongs to them, and again as matrix products take them.
        product(&[sum(&[embedding, query, feed_forward]), PREFILL_CHUNK_TOKENS, 4]),
        // Logits, what made them, and the sampler's candidates.
        product(&[vocabulary, sum(&[slots, CHECKED_TOGETHER, 3]), 4]),
        product(&[threads, QUERIES_TOGETHER, context, 4]),
        facts.weight_bytes / PACKING,
    ]);
    // Measured on this project's own structures: text, two maps, a merge per token.
    let tokenizer_bytes = vocabulary.saturating_mul(300);
    Needs {
        weight_bytes: facts.weight_bytes,
        kv_bytes,
        compute_bytes,
        tokenizer_bytes,
        base_bytes: BASE_BYTES,
        draft_bytes: 0,
    }
}

/// What there is to plan with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Memory that can be had: the smaller of what the machine and the cgroup leave.
    pub available_bytes: u64,
    /// What is left to everybody else.
    pub reserve_bytes: u64,
    /// The difference.
    pub usable_bytes: u64,
}

/// The memory of a machine that a model may take: what is available, less 256 MiB or a tenth of all, whichever is more, but
/// never more than a quarter of what is available, so that a small box is not reserved away.
#[must_use]
pub fn budget(measurements: &Measurements) -> Budget {
    let headroom = measurements.memory_cgroup_headroom_bytes.unwrap_or(u64::MAX);
    let available_bytes = measurements.memory_available_bytes.min(headroom);
    let reserve_bytes = RESERVE_BYTES.max(measurements.memory_total_bytes / 10).min(available_bytes / 4);
    Budget { available_bytes, reserve_bytes, usable_bytes: available_bytes - reserve_bytes }
}
