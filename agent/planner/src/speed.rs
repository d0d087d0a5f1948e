//! How fast a variant would answer here: what its passes take by the kernels that were measured, corrected by what answers
//! taught.

use std::fmt;

use outpost_contract::{Measurements, VariantFacts};

use crate::learning::{corrected, learned};
use crate::table::thousandths;
use crate::times::Times;

/// A predicted speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// Thousandths of a token per second; 0 if nothing was measured.
    pub tokens_per_second_milli: u64,
    /// What the prediction rests on.
    pub basis: Basis,
}

/// What a predicted speed rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The kernels of the formats of this file, or of formats that lie alike, ran on this machine.
    Measured,
    /// A kernel ran here, but the file's matrices were not counted or passes not measured: all bytes over its speed.
    Size,
    /// Half of the measured memory bandwidth: no kernel of this format was measured.
    Bandwidth,
    /// One of the above, and so many answers of this very variant here.
    Corrected(u64),
    /// Nothing was measured.
    Nothing,
}

impl fmt::Display for Speed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = thousandths(self.tokens_per_second_milli);
        match self.basis {
            Basis::Measured => write!(formatter, "about {tokens} tokens/s (predicted from kernels measured here)"),
            Basis::Size => write!(formatter, "about {tokens} tokens/s (predicted from its size)"),
            Basis::Bandwidth => write!(formatter, "about {tokens} tokens/s (estimated from memory bandwidth)"),
            Basis::Corrected(1) => write!(formatter, "about {tokens} tokens/s (corrected by 1 answer)"),
            Basis::Corrected(answers) => write!(formatter, "about {tokens} tokens/s (corrected by {answers} answers)"),
            Basis::Nothing => formatter.write_str("at a speed that was not measured"),
        }
    }
}

/// Predicts decoding speed at the start of a conversation, with all the machine's threads.
#[must_use]
pub fn speed(facts: &VariantFacts, measurements: &Measurements) -> Speed {
    let run = Run { threads: measurements.cores.max(1), depth_tokens: 0 };
    let (predicted, learned) = (plain_speed(facts, measurements, &run), learned(facts, measurements));
    match learned.map(|correction| correction.decode).filter(|decode| decode.answers > 0) {
        Some(decode) if predicted.basis != Basis::Nothing => Speed {
            tokens_per_second_milli: speed_of(corrected(time_of(predicted.tokens_per_second_milli), &decode)),
            basis: Basis::Corrected(decode.answers),
        },
        _ => predicted,
    }
}

/// How an answer is given: what its times depend on beside the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Threads of the engine.
    pub threads: u32,
    /// Tokens that the conversation has already.
    pub depth_tokens: u32,
}

/// Predicts nanoseconds from one token of an answer to the next, as if nothing had been learned; `None` where nothing was
/// measured.
#[must_use]
pub fn next_token_ns(facts: &VariantFacts, measurements: &Measurements, run: &Run) -> Option<u64> {
    let speed = plain_speed(facts, measurements, run);
    (speed.basis != Basis::Nothing).then(|| time_of(speed.tokens_per_second_milli))
}

/// Predicts nanoseconds to the first token behind a prompt of so many of which nothing was read before, as if nothing had
/// been learned; `None` where passes were not measured or the file's matrices not counted.
#[must_use]
pub fn first_token_ns(
    facts: &VariantFacts,
    measurements: &Measurements,
    threads: u32,
    prompt_tokens: u32,
) -> Option<u64> {
    let times = Times::new(facts, measurements, threads)?;
    Some(nanoseconds(times.first_token(prompt_tokens.into()))).filter(|nanoseconds| *nanoseconds < u64::MAX)
}

fn plain_speed(facts: &VariantFacts, measurements: &Measurements, run: &Run) -> Speed {
    let counted = Times::new(facts, measurements, run.threads).map(|times| Speed {
        tokens_per_second_milli: speed_of(nanoseconds(times.next_token(run.depth_tokens.into()))),
        basis: if times.is_measured { Basis::Measured } else { Basis::Bandwidth },
    });
    // Too slow to be said in thousandths is too slow to have been measured.
    counted.filter(|speed| speed.tokens_per_second_milli > 0).unwrap_or_else(|| by_size(facts, measurements))
}

/// All weight bytes over the speed of the kernel that reads most of them.
fn by_size(facts: &VariantFacts, measurements: &Measurements) -> Speed {
    let of_format = measurements.kernels.iter().filter(|kernel| is_format_of(&kernel.format, &facts.quantisation));
    let kernel = of_format.map(|kernel| kernel.decode_bytes_per_second).max().unwrap_or(0);
    let memory = measurements.memory_read_bytes_per_second;
    let (bytes_per_second, basis) = match (kernel, memory) {
        (0, 0) => (0, Basis::Nothing),
        // What peers' kernels get out of such machines.
        (0, memory) => (memory / 2, Basis::Bandwidth),
        (kernel, 0) => (kernel, Basis::Size),
        // A kernel measured within a cache is faster than any that must fetch its weights from memory.
        (kernel, memory) => (kernel.min(memory), Basis::Size),
    };
    let tokens = u128::from(bytes_per_second) * 1_000 / u128::from(facts.weight_bytes.max(1));
    Speed { tokens_per_second_milli: u64::try_from(tokens).unwrap_or(u64::MAX), basis }
}

/// `Q4_K` is the block format of most weights in `Q4_K_M` and `Q4_K_S`.
fn is_format_of(format: &str, quantisation: &str) -> bool {
    quantisation.strip_prefix(format).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

fn nanoseconds(picoseconds: u128) -> u64 {
    u64::try_from(picoseconds / 1_000).unwrap_or(u64::MAX)
}

/// Thousandths of a token per second where each takes so many nanoseconds, and the other way round.
fn speed_of(nanoseconds: u64) -> u64 {
    1_000_000_000_000 / nanoseconds.max(1)
}

fn time_of(tokens_per_second_milli: u64) -> u64 {
    1_000_000_000_000 / tokens_per_second_milli.max(1)
}

#[cfg(test)]
mod tests;
