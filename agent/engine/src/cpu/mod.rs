//! The main processor: threads, vector instructions and the products of packed weights.
//!
//! ```text
//! weights of a file ──pack──► tiles of sixteen rows ─┐
//! activations ──quantise──► groups of 32 codes ──────┴─► tile kernel ──► outputs
//! ```
//! One binary has every kernel for every set of instructions and takes the best that the processor has. A kernel is
//! written once, over [`simd::Simd`]; its scalar compilation is the twin that the others are tested against.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod activations;
mod codes;
#[cfg(target_arch = "aarch64")]
mod i8mm;
mod layouts;
mod pack;
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code, reason = "only 64-bit Arm has matrix products so far"))]
mod panel;
mod product;
mod scales;
mod shares;
pub(crate) mod simd;
mod team;
pub(crate) mod tile;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(test)]
mod tests;

pub(crate) use activations::Activations;
pub(crate) use pack::Packed;
pub(crate) use product::multiply;
pub(crate) use shares::Shares;
use simd::{Kernel, Scalar};
pub(crate) use team::Team;

use crate::gguf::Format;

/// A set of vector instructions that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// None: what every processor has.
    Scalar,
    /// AVX2, FMA and F16C.
    Avx2,
    /// The same with VNNI's byte products on 256 bits.
    AvxVnni,
    /// AVX-512 with VNNI.
    Avx512,
    /// NEON with dot products.
    Neon,
    /// The same with matrix products of bytes.
    I8mm,
}

impl Instructions {
    /// Every set, the best first.
    pub const ALL: [Self; 6] = [Self::Avx512, Self::AvxVnni, Self::Avx2, Self::I8mm, Self::Neon, Self::Scalar];

    /// Those that this processor has, the best first; never empty.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|instructions| instructions.is_there()).collect()
    }

    /// The best that this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|instructions| instructions.is_there()).unwrap_or(Self::Scalar)
    }

    /// Its name, as in `avx2`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512-vnni",
            Self::Neon => "neon-dotprod",
            Self::I8mm => "neon-i8mm",
        }
    }

    /// The features that its kernels are compiled for, and whether this processor has each; `None` if this program has no
    /// such kernels, being for another architecture.
    #[must_use]
    pub fn features(self) -> Option<Vec<(&'static str, bool)>> {
        match self {
            Self::Scalar => Some(Vec::new()),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Some(x86_64::Avx2::features()),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Some(x86_64::AvxVnni::features()),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Some(x86_64::Avx512::features()),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(aarch64::Neon::features()),
            #[cfg(target_arch = "aarch64")]
            Self::I8mm => Some(aarch64::Neon::features_with_matrices()),
            _ => None,
        }
    }

    fn is_there(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86_64::Avx2::find().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => x86_64::AvxVnni::find().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86_64::Avx512::find().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => aarch64::Neon::find().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::I8mm => aarch64::Neon::find_with_matrices().is_some(),
            _ => false,
        }
    }
}

impl Format {
    /// Whether products in this format come from a kernel; otherwise they are computed row by row, several times slower.
    #[must_use]
    pub fn has_kernel(self) -> bool {
        layouts::has_kernel(self)
    }
}

/// The threads of a model and the instructions that they compute with.
#[derive(Debug)]
pub(crate) struct Cpu {
    pub(crate) team: Team,
    instructions: Instructions,
}

impl Cpu {
    /// So many threads, 0 meaning one per core, with the best instructions or with those asked for.
    ///
    /// # Errors
    /// Fails when the system gives no more threads.
    pub(crate) fn new(threads: usize, instructions: Option<Instructions>) -> std::io::Result<Self> {
        let instructions = instructions.filter(|asked| asked.is_there()).unwrap_or_else(Instructions::best);
        Ok(Self { team: Team::new(threads)?, instructions })
    }

    /// Whether it has matrix products of bytes.
    fn has_matrices(&self) -> bool {
        self.instructions == Instructions::I8mm
    }

    pub(crate) fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// Runs a kernel as it was compiled for these instructions.
    pub(crate) fn run<K: Kernel>(&self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        match self.instructions {
            Instructions::Avx512 => {
                if let Some(simd) = x86_64::Avx512::find() {
                    return simd.run(kernel);
                }
            }
            Instructions::AvxVnni => {
                if let Some(simd) = x86_64::AvxVnni::find() {
                    return simd.run(kernel);
                }
            }
            Instructions::Avx2 => {
                if let Some(simd) = x86_64::Avx2::find() {
                    return simd.run(kernel);
                }
            }
            Instructions::I8mm | Instructions::Neon | Instructions::Scalar => {}
        }
        #[cfg(target_arch = "aarch64")]
        match self.instructions {
            Instructions::I8mm => {
                if let Some(simd) = aarch64::Neon::find_with_matrices() {
                    return simd.run(kernel);
                }
            }
            Instructions::Neon => {
                if let Some(simd) = aarch64::Neon::find() {
                    return simd.run(kernel);
                }
            }
            _ => {}
        }
        kernel.run(Scalar)
    }
}
