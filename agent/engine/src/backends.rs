//! Which processors this binary can compute on: what was compiled in, and what of the processor it uses.

use serde::Serialize;

use crate::cpu::Instructions;

/// Where matrix products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The main processor, with our own kernels.
    Cpu,
    /// A graphics processor through CUDA: binaries built with the feature `cuda`.
    Cuda,
    /// A graphics processor through Metal: binaries built with the feature `metal`.
    Metal,
}

impl Backend {
    /// Those that this binary was built with; the main processor is always one.
    pub const COMPILED: &[Self] = &[
        Self::Cpu,
        #[cfg(feature = "cuda")]
        Self::Cuda,
        #[cfg(feature = "metal")]
        Self::Metal,
    ];

    /// Its name, as in `cuda`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }

    /// The one with this name, compiled in or not.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Cpu, Self::Cuda, Self::Metal].into_iter().find(|backend| backend.name() == name)
    }
}

/// The backends of this binary for people to read, the main processor first with the instructions that its kernels use.
#[must_use]
pub fn backends() -> Vec<String> {
    let described = |backend: &Backend| match backend {
        Backend::Cpu => format!("cpu ({} kernels)", Instructions::best().name()),
        backend => backend.name().to_owned(),
    };
    Backend::COMPILED.iter().map(described).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_found_by_its_name_and_the_main_processor_is_always_there() {
        for backend in [Backend::Cpu, Backend::Cuda, Backend::Metal] {
            assert_eq!(Backend::from_name(backend.name()), Some(backend));
        }
        assert_eq!(Backend::from_name("abacus"), None);
        assert_eq!(Backend::COMPILED.first(), Some(&Backend::Cpu));
        assert!(backends()[0].starts_with("cpu"));
    }
}
