//! Which processors this binary can compute on: what was compiled in, and what of the processor it uses.

use serde::Serialize;

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

/// The backends of this binary for people to read, the main processor first with the instruction sets found there.
#[must_use]
pub fn backends() -> Vec<String> {
    let features = processor_features().join(" ");
    let described = |backend: &Backend| match backend {
        Backend::Cpu if !features.is_empty() => format!("cpu ({features})"),
        backend => backend.name().to_owned(),
    };
    Backend::COMPILED.iter().map(described).collect()
}

#[cfg(target_arch = "x86_64")]
fn processor_features() -> Vec<&'static str> {
    let found = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
    ];
    found.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect()
}

#[cfg(target_arch = "aarch64")]
fn processor_features() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected;
    let found = [
        ("neon", is_aarch64_feature_detected!("neon")),
        ("dotprod", is_aarch64_feature_detected!("dotprod")),
        ("i8mm", is_aarch64_feature_detected!("i8mm")),
    ];
    found.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn processor_features() -> Vec<&'static str> {
    Vec::new()
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
