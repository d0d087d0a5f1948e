//! Which processors this binary can compute on: what was compiled in, and what of the processor it uses.

/// The backends of this binary, the one for the main processor first, with the instruction sets that it found there.
#[must_use]
pub fn backends() -> Vec<String> {
    let features = processor_features();
    let processor = if features.is_empty() { "cpu".to_owned() } else { format!("cpu ({})", features.join(" ")) };
    let mut backends = vec![processor];
    if cfg!(feature = "cuda") {
        backends.push("cuda".to_owned());
    }
    if cfg!(feature = "metal") {
        backends.push("metal".to_owned());
    }
    backends
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
