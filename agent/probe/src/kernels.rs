//! The processor's name, those of its features that kernels can use, and which kernels of this program it can run.

use outpost_contract::LackingKernels;
use outpost_engine::Instructions;

use crate::tree::{Tree, shown};

/// The processor as the machine names it; its architecture if it has no name.
pub(crate) fn processor(tree: &Tree) -> String {
    let text = tree.text("proc/cpuinfo").unwrap_or_default();
    // Boards without a line for the model name at least say what board they are.
    let named = name_in(&text).and_then(shown).or_else(|| board(tree));
    named.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn name_in(cpuinfo: &str) -> Option<&str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (matches!(key.trim(), "model name" | "Model") && !value.trim().is_empty()).then(|| value.trim())
    })
}

/// The board or the computer, as its firmware names it.
pub(crate) fn board(tree: &Tree) -> Option<String> {
    let device_tree = ["proc/device-tree/model", "sys/firmware/devicetree/base/model"];
    if let Some(model) = device_tree.iter().find_map(|path| tree.name(path)) {
        return Some(model);
    }
    let of = |name: &str| tree.name(&format!("sys/class/dmi/id/{name}"));
    let (vendor, product) = (of("sys_vendor"), of("product_name"));
    let all: Vec<_> = [vendor, product].into_iter().flatten().collect();
    shown(&all.join(" "))
}

/// The set of kernels that this processor runs, and the better ones in this program that it lacks something for.
pub(crate) fn sets() -> (String, Vec<LackingKernels>) {
    let best = Instructions::best();
    let better = Instructions::ALL.into_iter().take_while(|set| *set != best);
    let lacking = better.filter_map(|set| {
        let missing = set.features()?.into_iter().filter(|(_, has)| !has).map(|(name, _)| name.to_owned());
        let features: Vec<_> = missing.collect();
        (!features.is_empty()).then(|| LackingKernels { name: set.name().to_owned(), features })
    });
    (best.name().to_owned(), lacking.collect())
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
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{Fixture, battery_laptop, jetson, raspberry_pi_5, server};

    #[test]
    fn the_processor_is_named_by_the_model_and_by_the_board_where_there_is_no_model() {
        assert_eq!(name_in("processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n"), Some("AMD EPYC"));
        assert_eq!(name_in("processor\t: 0\nHardware\t: x\nModel\t\t: Raspberry Pi 5\n"), Some("Raspberry Pi 5"));
        assert_eq!(name_in("model\t\t: 49\nmodel name\t:\n"), None);
        assert_eq!(processor(&server().tree()), "AMD EPYC 7313P");
        assert_eq!(processor(&jetson().tree()), "NVIDIA Jetson Orin Nano Developer Kit");
        assert_eq!(processor(&Fixture::default().tree()), std::env::consts::ARCH);
    }

    #[test]
    fn a_board_is_named_by_its_firmware_without_what_ends_its_text() {
        assert_eq!(board(&raspberry_pi_5().tree()).as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
        assert_eq!(board(&battery_laptop().tree()).as_deref(), Some("LENOVO 21ME"));
        assert_eq!(board(&Fixture::default().tree()), None);
    }

    #[test]
    fn kernels_that_run_here_lack_nothing() {
        let (best, lacking) = sets();
        assert!(!best.is_empty() && lacking.iter().all(|set| set.name != best && !set.features.is_empty()));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_name_that_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let text = String::from_utf8_lossy(&bytes);
            name_in(&text);
            name_in(&format!("Model : {text}"));
        }
    }
}
