//! A small computation with known answers: whether every kernel gives on this processor what its clear twin gives, bit for bit.

use crate::blocks::encode::{WRITTEN, encode};
use crate::cpu::{Activations, Cpu, Instructions};
use crate::gguf::Format;
use crate::weights::{Matrix, multiply};

/// A few tiles with a rest, and two blocks of the widest format to a row.
const ROWS: usize = 37;
const COLUMNS: usize = 512;
/// As many as a pass over a prompt and an answer takes at once.
const TOKENS: usize = 3;

/// A kernel does not work on this processor.
#[derive(Debug, thiserror::Error)]
pub enum KernelFault {
    /// It gives other numbers than its definition.
    #[error("the {format} kernel for {instructions} gives other products than its twin")]
    Differs {
        /// The format.
        format: &'static str,
        /// The instructions it is compiled for.
        instructions: &'static str,
    },
    /// It could not be run.
    #[error("the {format} kernel for {instructions} cannot be run: {because}")]
    Failed {
        /// The format.
        format: &'static str,
        /// The instructions it is compiled for.
        instructions: &'static str,
        /// What it said.
        because: String,
    },
}

/// Runs every kernel that this processor has, for every format that is made here, against its scalar twin.
///
/// # Errors
/// The first that gives something else, or cannot be run.
pub fn kernels() -> Result<(), KernelFault> {
    let mut weights = Numbers(0x9e37_79b9_7f4a_7c15);
    let weights: Vec<f32> = (0..ROWS * COLUMNS).map(|_| weights.next()).collect();
    let mut input = Numbers(0x1234_5678_9abc_def1);
    let input: Vec<f32> = (0..TOKENS * COLUMNS).map(|_| input.next()).collect();
    for format in WRITTEN.iter().copied() {
        let run = |instructions: Instructions| {
            let failed = |because: String| {
                let (format, instructions) = (format.name(), instructions.name());
                KernelFault::Failed { format, instructions, because }
            };
            products(instructions, format, &weights, &input).map_err(failed)
        };
        let twin = run(Instructions::Scalar)?;
        for instructions in Instructions::available() {
            if run(instructions)? != twin {
                let (format, instructions) = (format.name(), instructions.name());
                return Err(KernelFault::Differs { format, instructions });
            }
        }
    }
    Ok(())
}

/// The products of these weights in one format, by the kernels for one set of instructions, as their bits.
fn products(instructions: Instructions, format: Format, weights: &[f32], input: &[f32]) -> Result<Vec<u32>, String> {
    let blocks = weights.len() / format.block_weights() as usize;
    let mut encoded = vec![0; blocks * format.block_bytes() as usize];
    encode(format, weights, &mut encoded);
    let cpu = Cpu::new(1, Some(instructions)).map_err(|error| error.to_string())?;
    let matrix = Matrix::owned(&cpu, ROWS, COLUMNS, format, encoded).map_err(|error| error.to_string())?;
    let mut activations = Activations::default();
    activations.set(input, COLUMNS);
    let mut output = vec![0.0; TOKENS * ROWS];
    multiply(&cpu, &mut activations, &mut [(&matrix, &mut output)]).map_err(|error| error.to_string())?;
    Ok(output.into_iter().map(f32::to_bits).collect())
}

/// The same numbers on every machine, between -1 and 1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        // Xorshift; the upper half is even enough for weights.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let upper = (self.0 >> 40) as f32;
        upper / (1_u64 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_of_this_processor_gives_what_its_twin_gives() {
        kernels().unwrap();
    }

    #[test]
    fn one_changed_weight_is_seen_in_the_products() {
        let mut numbers = Numbers(7);
        let mut weights: Vec<f32> = (0..ROWS * COLUMNS).map(|_| numbers.next()).collect();
        let input: Vec<f32> = (0..TOKENS * COLUMNS).map(|_| numbers.next()).collect();
        let before = products(Instructions::best(), Format::Q8_0, &weights, &input).unwrap();
        weights[COLUMNS + 1] = 0.0;
        let after = products(Instructions::best(), Format::Q8_0, &weights, &input).unwrap();
        assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), TOKENS);
    }
}
