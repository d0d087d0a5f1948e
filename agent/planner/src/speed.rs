//! How fast a variant would decode here: weight bytes over the measured speed of the kernel that reads them.

use std::fmt;

use outpost_contract::{Measurements, VariantFacts};

use crate::table::thousandths;

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
    /// The kernel of this very format ran on this machine.
    Measured,
    /// Half of the measured memory bandwidth: no kernel of this format was measured.
    Bandwidth,
    /// Nothing was measured.
    Nothing,
}

impl fmt::Display for Speed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = thousandths(self.tokens_per_second_milli);
        match self.basis {
            Basis::Measured => write!(formatter, "about {tokens} tokens/s"),
            Basis::Bandwidth => write!(formatter, "about {tokens} tokens/s (estimated from memory bandwidth)"),
            Basis::Nothing => formatter.write_str("at a speed that was not measured"),
        }
    }
}

/// Predicts decoding speed at the start of a conversation, with all the machine's threads.
#[must_use]
pub fn speed(facts: &VariantFacts, measurements: &Measurements) -> Speed {
    let of_format = measurements.kernels.iter().filter(|kernel| is_format_of(&kernel.format, &facts.quantisation));
    let kernel = of_format.map(|kernel| kernel.decode_bytes_per_second).max().unwrap_or(0);
    let memory = measurements.memory_read_bytes_per_second;
    let (bytes_per_second, basis) = match (kernel, memory) {
        (0, 0) => (0, Basis::Nothing),
        // What peers' kernels get out of such machines.
        (0, memory) => (memory / 2, Basis::Bandwidth),
        (kernel, 0) => (kernel, Basis::Measured),
        // A kernel measured within a cache is faster than any that must fetch its weights from memory.
        (kernel, memory) => (kernel.min(memory), Basis::Measured),
    };
    let tokens = u128::from(bytes_per_second) * 1_000 / u128::from(facts.weight_bytes.max(1));
    Speed { tokens_per_second_milli: u64::try_from(tokens).unwrap_or(u64::MAX), basis }
}

/// `Q4_K` is the block format of most weights in `Q4_K_M` and `Q4_K_S`.
fn is_format_of(format: &str, quantisation: &str) -> bool {
    quantisation.strip_prefix(format).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}
