//! The weights of one decoder layer.

use super::linear::{Beside, Linear};
use crate::arch::{Figures, Traits};
use crate::model::LoadError;
use crate::weights::Loader;

/// Norms that a family does not have are absent.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) query_norm: Option<Vec<f32>>,
    pub(super) key_norm: Option<Vec<f32>>,
    pub(super) attention_sub_norm: Option<Vec<f32>>,
    pub(super) attention_output: Linear,
    pub(super) post_attention_norm: Option<Vec<f32>>,
    pub(super) feed_forward_norm: Vec<f32>,
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) feed_forward_sub_norm: Option<Vec<f32>>,
    pub(super) down: Linear,
    pub(super) post_feed_forward_norm: Option<Vec<f32>>,
}

impl Layer {
    pub(super) fn load(
        loader: &mut Loader<'_>,
        figures: &Figures,
        traits: &Traits,
        index: usize,
    ) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let (embedding, feed_forward) = (figures.embedding, figures.feed_forward);
        let query_rows = figures.heads * figures.key_length;
        let key_rows = figures.kv_heads * figures.key_length;
        let value_rows = figures.kv_heads * figures.value_length;
        let attended = figures.heads * figures.value_length;
        let beside = Beside { bias: traits.biases, scale: traits.scales };

        let ([query, key, value], [gate, up]);
        if traits.fused {
            let rows = [query_rows, key_rows, value_rows];
            [query, key, value] = Linear::load_fused(loader, &name("attn_qkv"), rows, embedding, beside)?;
            let rows = [feed_forward, feed_forward];
            [gate, up] = Linear::load_fused(loader, &name("ffn_up"), rows, embedding, beside)?;
        } else {
            query = Linear::load(loader, &name("attn_q"), query_rows, embedding, beside)?;
            key = Linear::load(loader, &name("attn_k"), key_rows, embedding, beside)?;
            value = Linear::load(loader, &name("attn_v"), value_rows, embedding, beside)?;
            gate = Linear::load(loader, &name("ffn_gate"), feed_forward, embedding, beside)?;
            up = Linear::load(loader, &name("ffn_up"), feed_forward, embedding, beside)?;
        }
        let attention_output = Linear::load(loader, &name("attn_output"), embedding, attended, beside)?;
        let down = Linear::load(loader, &name("ffn_down"), embedding, feed_forward, beside)?;

        let mut norm = |part: &str, length: usize| loader.vector(&format!("blk.{index}.{part}.weight"), length);
        let norms = traits.norms;
        Ok(Self {
            attention_norm: norm("attn_norm", embedding)?,
            query,
            key,
            value,
            query_norm: norms.query_and_key.then(|| norm("attn_q_norm", figures.key_length)).transpose()?,
            key_norm: norms.query_and_key.then(|| norm("attn_k_norm", figures.key_length)).transpose()?,
            attention_sub_norm: norms.inside_blocks.then(|| norm("attn_sub_norm", attended)).transpose()?,
            attention_output,
            post_attention_norm: norms.after_blocks.then(|| norm("post_attention_norm", embedding)).transpose()?,
            feed_forward_norm: norm("ffn_norm", embedding)?,
            gate,
            up,
            feed_forward_sub_norm: norms.inside_blocks.then(|| norm("ffn_sub_norm", feed_forward)).transpose()?,
            down,
            post_feed_forward_norm: norms.after_blocks.then(|| norm("post_ffw_norm", embedding)).transpose()?,
        })
    }
}
