//! The Qwen3 graph for training: whole padded batches forward, candle's autograd backward.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor, Var};

use super::fused::{CausalSoftmax, Dropout, RmsNorm, Rope, SwiGlu};
use super::random::Random;

pub(crate) const WIDTH: usize = 256;
pub(crate) const LAYERS: usize = 6;
pub(crate) const HEADS: usize = 4;
pub(crate) const KEY_HEADS: usize = 2;
pub(crate) const HEAD_WIDTH: usize = 64;
pub(crate) const FEED_FORWARD: usize = 768;
/// Tokens of context that the exported file promises.
pub(crate) const CONTEXT: usize = 512;
pub(crate) const EPSILON: f32 = 1e-6;
pub(crate) const ROPE_BASE: f32 = 1e6;

/// The weights by their GGUF names; matrices are `(out, in)`.
pub(crate) struct Network {
    weights: HashMap<String, Var>,
}

/// What training adds to the pass and answering leaves out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Noise {
    /// Share of each block's output that is dropped.
    pub(crate) dropout: f32,
    pub(crate) seed: u64,
    /// Round matrices to this format in the forward pass, with the gradient passing straight through.
    pub(crate) rounded: Option<GgmlDType>,
}

fn shapes(vocabulary: usize) -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![("token_embd.weight".to_owned(), vec![vocabulary, WIDTH])];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("attn_norm", vec![WIDTH]),
            ("attn_q", vec![HEADS * HEAD_WIDTH, WIDTH]),
            ("attn_k", vec![KEY_HEADS * HEAD_WIDTH, WIDTH]),
            ("attn_v", vec![KEY_HEADS * HEAD_WIDTH, WIDTH]),
            ("attn_q_norm", vec![HEAD_WIDTH]),
            ("attn_k_norm", vec![HEAD_WIDTH]),
            ("attn_output", vec![WIDTH, HEADS * HEAD_WIDTH]),
            ("ffn_norm", vec![WIDTH]),
            ("ffn_gate", vec![FEED_FORWARD, WIDTH]),
            ("ffn_up", vec![FEED_FORWARD, WIDTH]),
            ("ffn_down", vec![WIDTH, FEED_FORWARD]),
        ] {
            shapes.push((format!("blk.{layer}.{name}.weight"), shape));
        }
    }
    shapes.push(("output_norm.weight".to_owned(), vec![WIDTH]));
    shapes
}

impl Network {
    /// Fresh weights: norms at one, matrices normal, the two that write to the residual stream smaller with depth.
    pub(crate) fn new(vocabulary: usize, seed: u64) -> Result<Self> {
        let mut random = Random::new(seed);
        let mut weights = HashMap::new();
        for (name, shape) in shapes(vocabulary) {
            let deep = if name.contains("attn_output") || name.contains("ffn_down") {
                (2.0 * LAYERS as f64).sqrt()
            } else {
                1.0
            };
            let spread = if name.contains("token_embd") {
                0.02
            } else {
                (shape.last().copied().unwrap_or(1) as f64).sqrt().recip()
            };
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|_| if shape.len() == 1 { 1.0 } else { (normal(&mut random) * spread / deep) as f32 })
                .collect();
            weights.insert(name, Var::from_vec(values, shape, &Device::Cpu)?);
        }
        Ok(Network { weights })
    }

    pub(crate) fn load(path: &Path) -> Result<Self> {
        let tensors = candle_core::safetensors::load(path, &Device::Cpu)
            .with_context(|| format!("cannot load the weights of `{}`", path.display()))?;
        let weights =
            tensors.into_iter().map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor)?))).collect::<Result<_>>()?;
        Ok(Network { weights })
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let tensors: HashMap<String, Tensor> =
            self.weights.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        candle_core::safetensors::save(&tensors, path)
            .with_context(|| format!("cannot save the weights to `{}`", path.display()))
    }

    /// Names and weights in the order of the file.
    pub(crate) fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let vocabulary = self.weight("token_embd.weight")?.dim(0)?;
        shapes(vocabulary).into_iter().map(|(name, _)| Ok((name.clone(), self.weight(&name)?.clone()))).collect()
    }

    pub(crate) fn parameters(&self) -> usize {
        self.weights.values().map(|var| var.elem_count()).sum()
    }

    /// Matrices that decay, and the rest.
    pub(crate) fn variables(&self) -> (Vec<Var>, Vec<Var>) {
        let mut names: Vec<_> = self.weights.keys().collect();
        names.sort();
        let all = names.into_iter().map(|name| self.weights[name].clone());
        all.partition(|var| var.rank() == 2)
    }

    fn weight(&self, name: &str) -> Result<&Tensor> {
        Ok(self.weights.get(name).with_context(|| format!("the weights have no `{name}`"))?.as_tensor())
    }

    fn matrix(&self, name: &str, noise: &Noise) -> Result<Tensor> {
        let weight = self.weight(name)?;
        let Some(format) = noise.rounded else { return Ok(weight.clone()) };
        let rounded = QTensor::quantize(&weight.detach(), format)?.dequantize(&Device::Cpu)?;
        Ok((weight + (rounded - weight.detach())?)?)
    }

    /// The logits at the chosen rows of `tokens`, a padded `(batch, time)`; rows count through `batch × time`.
    pub(crate) fn logits(&self, tokens: &Tensor, rows: &Tensor, noise: &Noise) -> Result<Tensor> {
        let (batch, time) = tokens.dims2()?;
        let embedding = self.matrix("token_embd.weight", noise)?;
        let mut stream = embedding.index_select(&tokens.flatten_all()?, 0)?; // (batch × time, width)
        for layer in 0..LAYERS {
            let mut noise = *noise;
            noise.seed = noise.seed.wrapping_mul(31).wrapping_add(layer as u64 * 2);
            let attended = self.attention(&stream, layer, batch, time, &noise)?;
            stream = (stream + drop_some(attended, &noise)?)?;
            noise.seed = noise.seed.wrapping_add(1);
            let thought = self.feed_forward(&stream, layer, &noise)?;
            stream = (stream + drop_some(thought, &noise)?)?;
        }
        let chosen = stream.index_select(rows, 0)?;
        Ok(self.norm(&chosen, "output_norm.weight")?.matmul(&embedding.t()?)?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        Ok(x.apply_op2(self.weight(name)?, RmsNorm { epsilon: EPSILON })?)
    }

    fn attention(&self, stream: &Tensor, layer: usize, batch: usize, time: usize, noise: &Noise) -> Result<Tensor> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let input = self.norm(stream, &name("attn_norm"))?;
        let project = |part: &str, heads: usize| -> Result<Tensor> {
            Ok(input.matmul(&self.matrix(&name(part), noise)?.t()?)?.reshape((batch, time, heads, HEAD_WIDTH))?)
        };
        let query = self.norm(&project("attn_q", HEADS)?, &name("attn_q_norm"))?.apply_op1(Rope { base: ROPE_BASE })?;
        let key =
            self.norm(&project("attn_k", KEY_HEADS)?, &name("attn_k_norm"))?.apply_op1(Rope { base: ROPE_BASE })?;
        let value = project("attn_v", KEY_HEADS)?;
        // The query heads that share a key head stand below each other: (batch × key heads, group × time, head width).
        let rows = HEADS / KEY_HEADS * time;
        let query = query.transpose(1, 2)?.contiguous()?.reshape((batch * KEY_HEADS, rows, HEAD_WIDTH))?;
        let key = key.transpose(1, 2)?.contiguous()?.reshape((batch * KEY_HEADS, time, HEAD_WIDTH))?;
        let value = value.transpose(1, 2)?.contiguous()?.reshape((batch * KEY_HEADS, time, HEAD_WIDTH))?;
        let chosen = query.matmul(&key.t()?)?.apply_op1(CausalSoftmax { scale: (HEAD_WIDTH as f32).sqrt().recip() })?;
        let mixed = chosen.matmul(&value)?.reshape((batch, HEADS, time, HEAD_WIDTH))?;
        let mixed = mixed.transpose(1, 2)?.contiguous()?.reshape((batch * time, HEADS * HEAD_WIDTH))?;
        Ok(mixed.matmul(&self.matrix(&name("attn_output"), noise)?.t()?)?)
    }

    fn feed_forward(&self, stream: &Tensor, layer: usize, noise: &Noise) -> Result<Tensor> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let input = self.norm(stream, &name("ffn_norm"))?;
        let gate = input.matmul(&self.matrix(&name("ffn_gate"), noise)?.t()?)?;
        let up = input.matmul(&self.matrix(&name("ffn_up"), noise)?.t()?)?;
        Ok(gate.apply_op2(&up, SwiGlu)?.matmul(&self.matrix(&name("ffn_down"), noise)?.t()?)?)
    }
}

fn drop_some(x: Tensor, noise: &Noise) -> Result<Tensor> {
    if noise.dropout == 0.0 {
        return Ok(x);
    }
    Ok(x.apply_op1(Dropout { share: noise.dropout, seed: noise.seed })?)
}

/// A draw from the standard normal distribution (Box and Muller, 1958).
fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.unit()).cos()
}
