//! The few operations that candle would otherwise spell out in a dozen tensor passes each, with their gradients.
//!
//! Each is an ordinary candle custom operation: contiguous `f32` in, `f32` out, and a gradient written by hand beside it.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Rows that one task takes at a time: enough work to pay for handing it over.
const ROWS_PER_TASK: usize = 64;

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a fused operation needs a contiguous tensor") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1::<f32>()
}

fn width_of(shape: &Shape) -> Result<usize> {
    shape
        .dims()
        .last()
        .copied()
        .ok_or_else(|| candle_core::Error::Msg("a fused operation needs a last dimension".into()))
}

/// `x / rms(x) * weight` over the last dimension.
pub(crate) struct RmsNorm {
    pub(crate) epsilon: f32,
}

impl RmsNorm {
    fn inverse(&self, row: &[f32]) -> f32 {
        let mean = row.iter().map(|value| value * value).sum::<f32>() / row.len() as f32;
        (mean + self.epsilon).sqrt().recip()
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (input, weight) = (floats(x, x_layout)?, floats(w, w_layout)?);
        let width = weight.len();
        let mut output = vec![0f32; input.len()];
        output.par_chunks_mut(width * ROWS_PER_TASK).zip(input.par_chunks(width * ROWS_PER_TASK)).for_each(
            |(output, input)| {
                for (output, input) in output.chunks_mut(width).zip(input.chunks(width)) {
                    let inverse = self.inverse(input);
                    for ((output, input), weight) in output.iter_mut().zip(input).zip(weight) {
                        *output = input * inverse * weight;
                    }
                }
            },
        );
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (input, weight, grad) = (values(x)?, values(w)?, values(grad)?);
        let width = weight.len();
        let mut input_grad = vec![0f32; input.len()];
        let task = width * ROWS_PER_TASK;
        let weight_grad = (input_grad.par_chunks_mut(task), input.par_chunks(task), grad.par_chunks(task))
            .into_par_iter()
            .map(|(input_grad, input, grad)| {
                let mut weight_grad = vec![0f32; width];
                for ((out, x), g) in input_grad.chunks_mut(width).zip(input.chunks(width)).zip(grad.chunks(width)) {
                    let inverse = self.inverse(x);
                    let mut along = 0f32;
                    for i in 0..width {
                        along += g[i] * weight[i] * x[i];
                        weight_grad[i] += g[i] * x[i] * inverse;
                    }
                    let pull = along * inverse * inverse * inverse / width as f32;
                    for i in 0..width {
                        out[i] = g[i] * weight[i] * inverse - x[i] * pull;
                    }
                }
                weight_grad
            })
            .collect::<Vec<_>>();
        let mut total = vec![0f32; width];
        for part in weight_grad {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        let device = Device::Cpu;
        Ok((
            Some(Tensor::from_vec(input_grad, x.shape(), &device)?),
            Some(Tensor::from_vec(total, w.shape(), &device)?),
        ))
    }
}

/// `silu(gate) * up`, element by element.
pub(crate) struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        g: &CpuStorage,
        g_layout: &Layout,
        u: &CpuStorage,
        u_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (floats(g, g_layout)?, floats(u, u_layout)?);
        let output = gate.par_iter().zip(up).with_min_len(4096).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        Ok((CpuStorage::F32(output), g_layout.shape().clone()))
    }

    fn bwd(&self, g: &Tensor, u: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (gate, up, grad) = (values(g)?, values(u)?, values(grad)?);
        let (gate_grad, up_grad): (Vec<f32>, Vec<f32>) = (&gate, &up, &grad)
            .into_par_iter()
            .with_min_len(4096)
            .map(|(g, u, d)| {
                let sigmoid = 1.0 / (1.0 + (-g).exp());
                (d * u * sigmoid * (1.0 + g * (1.0 - sigmoid)), d * g * sigmoid)
            })
            .unzip();
        let device = Device::Cpu;
        Ok((
            Some(Tensor::from_vec(gate_grad, g.shape(), &device)?),
            Some(Tensor::from_vec(up_grad, u.shape(), &device)?),
        ))
    }
}

/// Softmax over the keys up to each query's own position. Scores are `(batch, group × time, time)`: row `r` is position `r % time`.
pub(crate) struct CausalSoftmax {
    pub(crate) scale: f32,
}

impl CustomOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let time = width_of(layout.shape())?;
        let input = floats(scores, layout)?;
        let mut output = vec![0f32; input.len()];
        output.par_chunks_mut(time * time).zip(input.par_chunks(time * time)).for_each(|(output, input)| {
            for (position, (output, input)) in output.chunks_mut(time).zip(input.chunks(time)).enumerate() {
                let (output, input) = (&mut output[..=position], &input[..=position]);
                let largest = input.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut total = 0f32;
                for (output, input) in output.iter_mut().zip(input) {
                    *output = ((input - largest) * self.scale).exp();
                    total += *output;
                }
                output.iter_mut().for_each(|output| *output /= total);
            }
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let time = width_of(arg.shape())?;
        let (chosen, mut grad) = (values(result)?, values(grad)?);
        grad.par_chunks_mut(time * time).zip(chosen.par_chunks(time * time)).for_each(|(grad, chosen)| {
            for (grad, chosen) in grad.chunks_mut(time).zip(chosen.chunks(time)) {
                let along = grad.iter().zip(chosen).map(|(grad, chosen)| grad * chosen).sum::<f32>();
                grad.iter_mut().zip(chosen).for_each(|(grad, chosen)| *grad = self.scale * chosen * (*grad - along));
            }
        });
        Ok(Some(Tensor::from_vec(grad, arg.shape(), &Device::Cpu)?))
    }
}

/// Rotary positions in the NEOX pairing (first half with second half) over `(batch, time, heads, head_dim)`.
pub(crate) struct Rope {
    pub(crate) base: f32,
}

impl Rope {
    fn turn(&self, data: &mut [f32], shape: &Shape, sign: f32) -> Result<()> {
        let (_, time, heads, width) = shape.dims4()?;
        let half = width / 2;
        let angles: Vec<(f32, f32)> = (0..time * half)
            .map(|i| {
                let frequency = self.base.powf(-2.0 * (i % half) as f32 / width as f32);
                let (sine, cosine) = ((i / half) as f32 * frequency).sin_cos();
                (sine * sign, cosine)
            })
            .collect();
        data.par_chunks_mut(heads * width * time).for_each(|sequence| {
            for (position, step) in sequence.chunks_mut(heads * width).enumerate() {
                let angles = &angles[position * half..(position + 1) * half];
                for head in step.chunks_mut(width) {
                    let (first, second) = head.split_at_mut(half);
                    for ((a, b), (sine, cosine)) in first.iter_mut().zip(second).zip(angles) {
                        (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
                    }
                }
            }
        });
        Ok(())
    }
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut output = floats(x, layout)?.to_vec();
        self.turn(&mut output, layout.shape(), 1.0)?;
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut grad = values(grad)?;
        self.turn(&mut grad, arg.shape(), -1.0)?;
        Ok(Some(Tensor::from_vec(grad, arg.shape(), &Device::Cpu)?))
    }
}

/// Zeroes a share of the values and scales the rest up; the seed makes forward and gradient drop the same ones.
pub(crate) struct Dropout {
    pub(crate) share: f32,
    pub(crate) seed: u64,
}

impl Dropout {
    fn apply(&self, data: &mut [f32]) {
        let keep = 1.0 / (1.0 - self.share);
        let limit = (f64::from(self.share) * f64::from(u32::MAX)) as u32;
        data.par_chunks_mut(1 << 14).enumerate().for_each(|(chunk, data)| {
            let mut random = super::random::Random::new(self.seed ^ ((chunk as u64) << 40));
            for pair in data.chunks_mut(2) {
                let word = random.next();
                for (value, draw) in pair.iter_mut().zip([word as u32, (word >> 32) as u32]) {
                    *value = if draw < limit { 0.0 } else { *value * keep };
                }
            }
        });
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut output = floats(x, layout)?.to_vec();
        self.apply(&mut output);
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut grad = values(grad)?;
        self.apply(&mut grad);
        Ok(Some(Tensor::from_vec(grad, arg.shape(), &Device::Cpu)?))
    }
}

/// Mean cross-entropy of `(rows, vocabulary)` logits against one target per row.
pub(crate) struct CrossEntropy {
    pub(crate) targets: Vec<u32>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = width_of(layout.shape())?;
        let input = floats(logits, layout)?;
        let total: f32 = input
            .par_chunks(width)
            .zip(&self.targets)
            .map(|(row, &target)| {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = row.iter().map(|value| (value - largest).exp()).sum();
                sum.ln() + largest - row[target as usize]
            })
            .sum();
        Ok((CpuStorage::F32(vec![total / self.targets.len() as f32]), Shape::from(())))
    }

    fn bwd(&self, arg: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = width_of(arg.shape())?;
        let share = grad.to_scalar::<f32>()? / self.targets.len() as f32;
        let mut logits = values(arg)?;
        logits.par_chunks_mut(width).zip(&self.targets).for_each(|(row, &target)| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|value| *value = (*value - largest).exp());
            let factor = share / row.iter().sum::<f32>();
            row.iter_mut().for_each(|value| *value *= factor);
            row[target as usize] -= share;
        });
        Ok(Some(Tensor::from_vec(logits, arg.shape(), &Device::Cpu)?))
    }
}
