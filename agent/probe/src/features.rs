//! The processor's name and those of its features that kernels can use.

use sysinfo::System;

/// The processor as the machine names it; its architecture if it has no name.
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // Boards without a line for the model name at least say what board they are.
    let board = || std::fs::read_to_string("/sys/firmware/devicetree/base/model").ok();
    let named = name_in(&text).map(str::to_owned).or_else(board).unwrap_or_default();
    let named = named.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    if named.is_empty() { std::env::consts::ARCH.to_owned() } else { named.to_owned() }
}

fn name_in(cpuinfo: &str) -> Option<&str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (matches!(key.trim(), "model name" | "Model") && !value.trim().is_empty()).then(|| value.trim())
    })
}

/// Physical cores that this process may use: a second thread on a core adds nothing to a kernel that waits for memory, and a
/// quota or an affinity mask may leave fewer than the machine has.
pub(crate) fn cores() -> u32 {
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let physical = System::physical_core_count().unwrap_or(allowed).max(1);
    u32::try_from(allowed.min(physical)).unwrap_or(1)
}

/// Features present on this machine, among those that matter to block-quantised kernels.
#[cfg(target_arch = "x86_64")]
pub(crate) fn usable() -> Vec<String> {
    present(&[
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ("avxvnni", std::arch::is_x86_feature_detected!("avxvnni")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ])
}

/// Features present on this machine, among those that matter to block-quantised kernels.
#[cfg(target_arch = "aarch64")]
pub(crate) fn usable() -> Vec<String> {
    present(&[
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ])
}

/// No kernel looks at features of another architecture.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn usable() -> Vec<String> {
    present(&[])
}

fn present(found: &[(&str, bool)]) -> Vec<String> {
    found.iter().filter(|(_, present)| *present).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_by_the_model_and_by_the_board_where_there_is_no_model() {
        assert_eq!(name_in("processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n"), Some("AMD EPYC"));
        assert_eq!(name_in("processor\t: 0\nHardware\t: x\nModel\t\t: Raspberry Pi 5\n"), Some("Raspberry Pi 5"));
        assert_eq!(name_in("model\t\t: 49\nmodel name\t:\n"), None);
        assert!(!processor().is_empty());
    }

    #[test]
    fn there_is_at_least_one_core_and_no_more_than_this_process_may_use() {
        assert!((1..=std::thread::available_parallelism().unwrap().get()).contains(&(cores() as usize)));
    }
}
