//! Graphics and neural processors: seen on the bus, among the drivers and by their device files, usable or not.
//!
//! A device that is seen in several ways is told once: what is found first has the most to say.

use outpost_contract::AcceleratorFacts;
use outpost_engine::Backend;

use crate::tree::{Tree, shown};

/// Makers on the PCI bus whose display controllers compute. Those of servers' management boards and of virtual machines do not.
const GRAPHICS: &[(&str, &str)] = &[("0x10de", "NVIDIA"), ("0x1002", "AMD"), ("0x8086", "Intel"), ("0x106b", "Apple")];

/// Makers on the PCI bus of what computes and displays nothing.
const COMPUTERS: &[(&str, &str)] = &[
    ("0x10de", "NVIDIA"),
    ("0x1002", "AMD"),
    ("0x1022", "AMD"),
    ("0x8086", "Intel"),
    ("0x1e60", "Hailo"),
    ("0x1ac1", "Google"),
    ("0x1da3", "Habana"),
    ("0x17cb", "Qualcomm"),
    ("0x19e5", "Huawei"),
    ("0x1e52", "Tenstorrent"),
];

/// Drivers that say what they drive: on boards, where no bus tells.
const DRIVERS: &[(&str, &str, &str, &str)] = &[
    ("v3d", "gpu", "Broadcom", "VideoCore"),
    ("panfrost", "gpu", "Arm", "Mali"),
    ("panthor", "gpu", "Arm", "Mali"),
    ("lima", "gpu", "Arm", "Mali"),
    ("mali", "gpu", "Arm", "Mali"),
    ("msm", "gpu", "Qualcomm", "Adreno"),
    ("msm_dpu", "gpu", "Qualcomm", "Adreno"),
    ("adreno", "gpu", "Qualcomm", "Adreno"),
    ("etnaviv", "gpu", "VeriSilicon", "Vivante"),
    ("powervr", "gpu", "Imagination", "PowerVR"),
    ("asahi", "gpu", "Apple", "Apple GPU"),
    ("nvgpu", "gpu", "NVIDIA", "Tegra"),
    ("gk20a", "gpu", "NVIDIA", "Tegra"),
    ("tegra-host1x", "gpu", "NVIDIA", "Tegra"),
    ("rocket", "npu", "Rockchip", "RKNN"),
    ("RKNPU", "npu", "Rockchip", "RKNN"),
    ("rknpu", "npu", "Rockchip", "RKNN"),
    ("ethosu", "npu", "Arm", "Ethos-U"),
    ("intel_vpu", "npu", "Intel", "Intel NPU"),
    ("amdxdna", "npu", "AMD", "XDNA"),
    ("qaic", "npu", "Qualcomm", "Cloud AI"),
    ("habanalabs", "npu", "Habana", "Gaudi"),
];

/// Device files that say what is behind them, for drivers that tell nothing else.
const NODES: &[(&str, &str, &str, &str)] = &[
    ("dev/nvidia0", "gpu", "NVIDIA", "NVIDIA GPU"),
    ("dev/nvhost-gpu", "gpu", "NVIDIA", "Tegra"),
    ("dev/nvgpu/igpu0", "gpu", "NVIDIA", "Tegra"),
    ("dev/kfd", "gpu", "AMD", "AMD GPU"),
    ("dev/dxg", "gpu", "Microsoft", "GPU of the Windows host"),
    ("dev/mali0", "gpu", "Arm", "Mali"),
    ("dev/kgsl-3d0", "gpu", "Qualcomm", "Adreno"),
    ("dev/nvhost-ctrl-nvdla0", "npu", "NVIDIA", "Deep Learning Accelerator"),
    ("dev/nvhost-nvdla0", "npu", "NVIDIA", "Deep Learning Accelerator"),
    ("dev/apex_0", "npu", "Google", "Coral Edge TPU"),
    ("dev/hailo0", "npu", "Hailo", "Hailo"),
    ("dev/rknpu", "npu", "Rockchip", "RKNN"),
    ("dev/galcore", "npu", "VeriSilicon", "Vivante"),
    ("dev/ethosu0", "npu", "Arm", "Ethos-U"),
    ("dev/davinci0", "npu", "Huawei", "Ascend"),
];

/// Everything that could compute beside the main processor.
pub(crate) fn read(tree: &Tree) -> Vec<AcceleratorFacts> {
    let (mut folders, mut found) = (Vec::new(), Vec::new());
    for name in tree.names("sys/bus/pci/devices") {
        let folder = format!("sys/bus/pci/devices/{name}");
        if let Some(facts) = on_pci(tree, &folder, &name) {
            folders.extend(tree.resolved(&folder));
            found.push(facts);
        }
    }
    for class in ["sys/class/accel", "sys/class/drm"] {
        for name in tree.names(class).iter().filter(|name| name.starts_with("accel") || name.starts_with("renderD")) {
            let folder = format!("{class}/{name}/device");
            let place = tree.resolved(&folder);
            if let Some(facts) = driven(tree, &folder)
                && !place.as_ref().is_some_and(|place| folders.contains(place))
            {
                folders.extend(place);
                found.push(facts);
            }
        }
    }
    for (path, kind, vendor, name) in NODES {
        let is_told = |facts: &AcceleratorFacts| facts.kind == *kind && facts.vendor == *vendor;
        if tree.has(path) && !found.iter().any(is_told) {
            found.push(facts(kind, vendor, (*name).to_owned()));
        }
    }
    // No file tells it there, but no such computer is without.
    if tree.is_live() && cfg!(all(target_os = "macos", target_arch = "aarch64")) {
        found.push(facts("gpu", "Apple", "Apple GPU".to_owned()));
    }
    found
}

fn facts(kind: &str, vendor: &str, name: String) -> AcceleratorFacts {
    let is_usable = Backend::COMPILED.iter().any(|backend| match backend {
        Backend::Cpu => false,
        Backend::Cuda => vendor == "NVIDIA" && kind == "gpu",
        Backend::Metal => vendor == "Apple" && kind == "gpu",
    });
    let (kind, vendor) = (kind.to_owned(), vendor.to_owned());
    AcceleratorFacts { kind, vendor, name, driver: None, memory_bytes: None, is_usable }
}

/// A device of the PCI bus, if it is one that computes.
fn on_pci(tree: &Tree, folder: &str, address: &str) -> Option<AcceleratorFacts> {
    let word = |name: &str| tree.name(&format!("{folder}/{name}"));
    let (class, vendor, device) = (word("class")?, word("vendor")?, word("device").unwrap_or_default());
    let driver = tree.link_name(&format!("{folder}/driver"));
    let of = |makers: &[(&str, &'static str)]| makers.iter().find(|(id, _)| *id == vendor).map(|(_, maker)| *maker);
    let (kind, maker) = match class.get(..6)? {
        // Displays of all kinds, 3D controllers among them.
        "0x0300" | "0x0302" | "0x0380" => ("gpu", of(GRAPHICS)?),
        "0x1200" => ("npu", of(COMPUTERS).unwrap_or("unknown")),
        // Co-processors and what has no class are of many kinds; these makers' are known.
        "0x0b40" | "0x0880" | "0x1180" | "0xff00" => match (of(COMPUTERS)?, driver.as_deref()) {
            (maker @ ("Hailo" | "Google"), _) => ("npu", maker),
            (maker, Some(driver)) => (DRIVERS.iter().find(|known| known.0 == driver)?.1, maker),
            _ => return None,
        },
        _ => return None,
    };
    let id = || format!("{}:{}", vendor.trim_start_matches("0x"), device.trim_start_matches("0x"));
    let told = tree.text(&format!("proc/driver/nvidia/gpus/{address}/information"));
    let name = told.as_deref().and_then(model_in).or_else(|| word("product_name")).unwrap_or_else(id);
    let bytes = |name: &str| tree.number::<u64>(&format!("{folder}/{name}")).filter(|bytes| *bytes > 0);
    let memory_bytes = bytes("mem_info_vram_total").or_else(|| bytes("lmem_total_bytes"));
    Some(AcceleratorFacts { driver, memory_bytes, ..facts(kind, maker, name) })
}

/// The line of NVIDIA's driver that names the model.
fn model_in(information: &str) -> Option<String> {
    shown(information.lines().find_map(|line| line.strip_prefix("Model:"))?)
}

/// What a driver of a board has, by the driver's own name.
fn driven(tree: &Tree, folder: &str) -> Option<AcceleratorFacts> {
    let named_in = |text: String| text.lines().find_map(|line| line.strip_prefix("DRIVER=").and_then(shown));
    let by_link = || tree.link_name(&format!("{folder}/driver"));
    let driver = tree.text(&format!("{folder}/uevent")).and_then(named_in).or_else(by_link)?;
    let (_, kind, vendor, name) = DRIVERS.iter().find(|(known, ..)| *known == driver)?;
    Some(AcceleratorFacts { driver: Some(driver), ..facts(kind, vendor, (*name).to_owned()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{Fixture, battery_laptop, hybrid, jetson, nested_container, raspberry_pi_5, server};

    fn seen(fixture: &Fixture) -> Vec<String> {
        let told = |facts: AcceleratorFacts| {
            let memory = facts.memory_bytes.map(|bytes| format!(" {} GiB", bytes >> 30)).unwrap_or_default();
            format!(
                "{} {} {} ({}){memory}",
                facts.kind,
                facts.vendor,
                facts.name,
                facts.driver.as_deref().unwrap_or("-")
            )
        };
        read(&fixture.tree()).into_iter().map(told).collect()
    }

    #[test]
    fn each_machine_shows_what_could_compute_and_no_display_of_a_management_board() {
        assert_eq!(seen(&server()), ["gpu NVIDIA NVIDIA L4 (nvidia)", "gpu AMD 1002:744c (amdgpu) 24 GiB"]);
        assert_eq!(seen(&hybrid()), ["gpu Intel 8086:7d55 (xe)", "npu Intel 8086:7d1d (intel_vpu)"]);
        assert_eq!(seen(&battery_laptop()), ["gpu AMD 1002:15bf (amdgpu)", "npu AMD 1022:1502 (amdxdna)"]);
        assert_eq!(seen(&raspberry_pi_5()), ["npu Hailo 1e60:2864 (hailo)", "gpu Broadcom VideoCore (v3d)"]);
        assert_eq!(seen(&jetson()), ["gpu NVIDIA Tegra (-)", "npu NVIDIA Deep Learning Accelerator (-)"]);
        assert_eq!(seen(&nested_container()), ["gpu NVIDIA NVIDIA GPU (-)"], "only the device file was handed in");
        assert!(seen(&Fixture::default()).is_empty());
    }

    #[test]
    fn what_this_program_was_not_built_for_is_seen_and_not_usable() {
        for facts in read(&server().tree()) {
            let is_built = facts.vendor == "NVIDIA" && Backend::COMPILED.contains(&Backend::Cuda);
            assert_eq!(facts.is_usable, is_built, "{facts:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_bytes_in_any_of_the_files_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), class in "0x[0-9a-f]{0,7}") {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            model_in(&text);
            let device = "sys/bus/pci/devices/0000:01:00.0";
            let fixture = Fixture::default()
                .files(device, &[("class", &class), ("vendor", &text), ("device", &text), ("mem_info_vram_total", &text)])
                .files("sys/bus/pci/devices/0000:02:00.0", &[("class", &text), ("vendor", "0x10de")])
                .file("sys/class/drm/renderD128/device/uevent", &format!("DRIVER={text}"))
                .file("proc/driver/nvidia/gpus/0000:01:00.0/information", &text);
            read(&fixture.tree());
        }
    }
}
