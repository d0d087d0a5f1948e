//! Memory that a variant needs and memory that there is, in bytes, term by term.
//!
//! ```text
//! weights     every tensor as the engine keeps it (the catalogue's footprint)
//! KV          per conversation and layer: whole pages of 32 positions, all of them or those that a window reaches
//! compute     the buffers of the largest pass, which the engine makes once: tokens × row, logits, scores per thread
//! tokenizer   vocabulary, indices, the tree of tokens
//! base        the agent itself
//! ```

use outpost_contract::{Footprint, Measurements, VariantFacts};

/// The agent itself without a model.
const BASE_BYTES: u64 = 40 << 20;

/// Tokens of a prompt that are read at once, at the most.
pub const PREFILL_CHUNK_TOKENS: u64 = 128;

/// Bytes of one cached key or value element, unless another type is asked for: half precision.
pub const KV_BYTES_PER_ELEMENT: u64 = 2;

/// Positions of a page of keys and values: a conversation takes whole pages.
pub const PAGE_TOKENS: u64 = 32;

/// Elements that the values of a page are laid out by: a head's value is filled up to whole ones.
const LANES: u64 = 16;

/// Queries that are answered together, each with a score for every position.
const QUERIES_TOGETHER: u64 = 8;

/// Tokens that a pass checks beside those it must compute, each with its logits.
pub const CHECKED_TOGETHER: u64 = 8;

/// Tokens of prompts that a pass scores, each with its logits.
pub const SCORED_TOGETHER: u64 = 16;

/// What the system's allocator and its pages of memory add to each page of keys and values.
const PAGE_OVERHEAD_BYTES: u64 = 4_096;

/// Stacks of the threads, and what the system's allocator keeps of what was let go.
pub(crate) const ALLOCATOR_BYTES: u64 = 8 << 20;

/// Where nobody read the tensor table: a packed matrix is larger than the file's by one part in so many, at the most.
const PACKING: u64 = 32;

/// Where nobody read the vocabulary: what a token takes of memory, bytes.
const TOKEN_BYTES: u64 = 300;

/// The least that is left to everybody else.
const RESERVE_BYTES: u64 = 256 << 20;

/// What keys and values are kept as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KvType {
    /// Half precision.
    #[default]
    F16,
    /// Single precision: twice the memory, for measuring against references.
    F32,
}

impl KvType {
    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::F16 => KV_BYTES_PER_ELEMENT,
            Self::F32 => 4,
        }
    }
}

/// How a variant is to be run: what its memory depends on beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Tokens of one conversation.
    pub context_tokens: u32,
    /// Conversations at once.
    pub slots: u32,
    /// Threads of the engine.
    pub threads: u32,
    /// What keys and values are kept as.
    pub kv_type: KvType,
}

/// What a variant needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// All tensors as the engine keeps them.
    pub weight_bytes: u64,
    /// Keys and values of every conversation at full context.
    pub kv_bytes: u64,
    /// Buffers of the largest pass.
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
        sum(&[weight_bytes, kv_bytes, compute_bytes, tokenizer_bytes, base_bytes, draft_bytes])
    }

    /// The same with a draft model beside it, which needs as much by itself.
    #[must_use]
    pub fn beside(self, draft: &Self) -> Self {
        Self { draft_bytes: draft.total().saturating_sub(draft.base_bytes), ..self }
    }
}

/// What a variant needs for conversations of this setting.
#[must_use]
pub fn needs(facts: &VariantFacts, setting: &Setting) -> Needs {
    let footprint = facts.footprint.as_deref().cloned().unwrap_or_else(|| assumed(facts));
    Needs {
        weight_bytes: footprint.weight_bytes,
        kv_bytes: kv_bytes(&footprint, facts.model.layers, setting),
        compute_bytes: compute_bytes(&footprint, facts, setting),
        tokenizer_bytes: footprint.tokenizer_bytes,
        base_bytes: BASE_BYTES,
        draft_bytes: 0,
    }
}

/// The most that a variant may take of which only the plain facts are known.
fn assumed(facts: &VariantFacts) -> Footprint {
    let model = &facts.model;
    Footprint {
        weight_bytes: facts.weight_bytes.saturating_add(facts.weight_bytes / PACKING),
        tokenizer_bytes: u64::from(model.vocabulary).saturating_mul(TOKEN_BYTES),
        kv_heads: 1,
        key_length: model.kv_elements_per_layer / 2,
        value_length: model.kv_elements_per_layer.div_ceil(2),
        attended_elements: model.query_elements,
        rotary_pairs: model.query_elements,
        windowed_layers: 0,
        window_tokens: 0,
        matrices: Vec::new(),
    }
}

/// Pages of every layer and conversation. A windowed layer keeps what the first token of a pass sees and the pass itself,
/// either end of which may lie within a page.
fn kv_bytes(footprint: &Footprint, layers: u32, setting: &Setting) -> u64 {
    let [context, slots, layers, windowed, window] =
        [setting.context_tokens, setting.slots, layers, footprint.windowed_layers, footprint.window_tokens]
            .map(u64::from);
    let windowed = windowed.min(layers);
    let [heads, key, value] = [footprint.kv_heads, footprint.key_length, footprint.value_length].map(u64::from);
    let elements = key.saturating_add(value.next_multiple_of(LANES));
    let layer_bytes = product(&[heads, elements, PAGE_TOKENS, setting.kv_type.bytes()]);
    let of_group = |layers: u64, positions: u64| {
        let page = if layers == 0 { 0 } else { product(&[layers, layer_bytes]).saturating_add(PAGE_OVERHEAD_BYTES) };
        product(&[positions.div_ceil(PAGE_TOKENS), page])
    };
    let reach = context.min(window + PREFILL_CHUNK_TOKENS + 2 * PAGE_TOKENS);
    let one = sum(&[of_group(layers - windowed, context), of_group(windowed, reach)]);
    slots.saturating_mul(one)
}

/// The buffers of the largest pass: a whole chunk of prompts and a token or a few guesses of every answer.
fn compute_bytes(footprint: &Footprint, facts: &VariantFacts, setting: &Setting) -> u64 {
    let model = &facts.model;
    let [slots, threads, context] = [setting.slots, setting.threads, setting.context_tokens].map(u64::from);
    let [embedding, feed_forward, vocabulary, queries, pairs, attended] = [
        model.embedding_length,
        model.feed_forward_length,
        model.vocabulary,
        model.query_elements,
        footprint.rotary_pairs,
        footprint.attended_elements,
    ]
    .map(u64::from);
    let kv = product(&[footprint.kv_heads.into(), sum(&[footprint.key_length.into(), footprint.value_length.into()])]);
    // What matrices are multiplied with: F32, the same in groups of 32 codes of 64 bytes, and again in panels where the
    // processor multiplies matrices.
    let multiplied = |elements: u64| product(&[elements, 4 + 2]).saturating_add(elements.saturating_mul(5) / 4);
    let row = sum(&[
        // The residual stream, what a block ends with, what it begins with.
        product(&[embedding, 4 + 4]),
        multiplied(embedding),
        product(&[queries, 4]),
        product(&[kv, 4]),
        multiplied(attended),
        multiplied(feed_forward),
        product(&[feed_forward, 4]),
        // Sine and cosine.
        product(&[pairs, 8]),
    ]);
    let tokens = PREFILL_CHUNK_TOKENS + slots.max(CHECKED_TOGETHER);
    sum(&[
        product(&[row, tokens]),
        product(&[vocabulary, slots + CHECKED_TOGETHER + SCORED_TOGETHER, 4]),
        // The sampler's candidates, each with its id.
        product(&[vocabulary, slots, 8]),
        // Scores; a list that grew has left as much behind.
        product(&[threads, QUERIES_TOGETHER, context.next_multiple_of(LANES), 4, 2]),
        ALLOCATOR_BYTES,
    ])
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().copied().fold(1, u64::saturating_mul)
}

fn sum(terms: &[u64]) -> u64 {
    terms.iter().copied().fold(0, u64::saturating_add)
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
