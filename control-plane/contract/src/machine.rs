//! What a machine is and how it fares, beyond what plans are made from: seen by the probe, read by people.
//!
//! Every fact is absent where the system does not tell it. Kinds are words and no closed lists, so that a newer device may say
//! what an older reader has no name for.

use serde::{Deserialize, Serialize};

/// What is known of a machine. A device that is older than a field does not send it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineFacts {
    /// The board or the computer, as it names itself.
    pub board: Option<String>,
    /// Cores, caches and the kernels that suit them.
    pub processor: ProcessorFacts,
    /// Limits of memory and room for swapping.
    pub memory: MemoryFacts,
    /// The disk where models are kept.
    pub disk: DiskFacts,
    /// Graphics and neural processors, whether they can be used or not.
    pub accelerators: Vec<AcceleratorFacts>,
    /// Temperature, and whether it slows the processor.
    pub heat: HeatFacts,
    /// Where the power comes from.
    pub power: PowerFacts,
    /// How much work waits for want of processor, memory and disk.
    pub pressure: PressureFacts,
    /// How the kernels were measured.
    pub run: Option<RunFacts>,
}

/// The processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessorFacts {
    /// Hardware threads of the machine.
    pub threads: Option<u32>,
    /// Physical cores of the machine.
    pub cores: Option<u32>,
    /// Hardware threads that this process may run on.
    pub allowed_threads: Option<u32>,
    /// Processor time that control groups grant, in thousandths of a core.
    pub quota_milli: Option<u64>,
    /// Kinds of cores, the fastest first; empty where all are alike.
    pub kinds: Vec<CoreKind>,
    /// The fastest clock of any core.
    pub max_mhz: Option<u32>,
    /// The fastest clock that is allowed now, where it is less.
    pub capped_mhz: Option<u32>,
    /// How clocks are governed; several words where cores differ.
    pub governor: Option<String>,
    /// Caches, the nearest to the core first.
    pub caches: Vec<CacheFacts>,
    /// Nodes of memory; one where all memory is equally far.
    pub nodes: Vec<NodeFacts>,
    /// The set of kernels that is used here.
    pub kernels: String,
    /// Better sets of kernels in this program that the processor lacks something for, the best first.
    pub lacking: Vec<LackingKernels>,
}

/// Cores of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CoreKind {
    /// `performance`, `efficient`, or a number where there are more kinds than two.
    pub name: String,
    /// Physical cores of it that this process may use.
    pub cores: u32,
    /// Their fastest clock.
    pub max_mhz: Option<u32>,
}

/// Caches of one level and kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheFacts {
    /// 1 is the nearest to the core.
    pub level: u8,
    /// `data`, `instruction` or `unified`.
    pub kind: String,
    /// The size of one.
    pub bytes: u64,
    /// How many of them the cores have that this process may use.
    pub count: u32,
}

/// A node of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeFacts {
    /// Its number.
    pub number: u32,
    /// Hardware threads beside it.
    pub threads: u32,
    /// Its memory.
    pub memory_bytes: Option<u64>,
}

/// A set of kernels that a processor cannot run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LackingKernels {
    /// Its name.
    pub name: String,
    /// Features that the processor would need.
    pub features: Vec<String>,
}

/// Memory beside what is available.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryFacts {
    /// Room for swapping, all of it.
    pub swap_total_bytes: Option<u64>,
    /// Room for swapping that is free.
    pub swap_free_bytes: Option<u64>,
    /// The tightest limit of the control groups around this process.
    pub limit: Option<LimitFacts>,
}

/// A limit of a control group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitFacts {
    /// The setting that limits, as in `memory.max`.
    pub setting: String,
    /// What it is set to.
    pub bytes: u64,
    /// What is left of it, counting what the kernel would drop first.
    pub headroom_bytes: u64,
    /// Steps from the group of this process up to the one that limits; 0 is its own.
    pub above: u32,
    /// What the groups let this process swap out; absent where nothing limits it.
    pub swap_bytes: Option<u64>,
}

/// The disk where models are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskFacts {
    /// `nvme`, `ssd`, `emmc`, `sd-card`, `usb`, `rotating`, `network`, `virtual` or `memory`: fast and slow differ by this.
    pub kind: Option<String>,
    /// Its file system.
    pub file_system: Option<String>,
    /// All of it.
    pub total_bytes: Option<u64>,
    /// Whether nothing can be written there.
    pub is_read_only: Option<bool>,
}

/// A graphics or neural processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AcceleratorFacts {
    /// `gpu` or `npu`.
    pub kind: String,
    /// Who made it.
    pub vendor: String,
    /// Its name, or what the bus calls it.
    pub name: String,
    /// The driver that has it; none where no driver is loaded.
    pub driver: Option<String>,
    /// Its own memory.
    pub memory_bytes: Option<u64>,
    /// Whether this program can compute on its kind: it was built for it.
    pub is_usable: bool,
}

/// Temperature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeatFacts {
    /// The sensor that was read: the hottest of the processor's, or of all where none is the processor's.
    pub sensor: Option<String>,
    /// What it says, in thousandths of a degree Celsius.
    pub milli_celsius: Option<i32>,
    /// Where that sensor's zone begins to slow the processor or to switch it off.
    pub limit_milli_celsius: Option<i32>,
    /// Whether the processor is held back at this moment.
    pub is_throttled: Option<bool>,
    /// Why, in words, and what happened since the machine was started.
    pub notes: Vec<String>,
}

/// Power.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PowerFacts {
    /// `mains` or `battery`.
    pub source: Option<String>,
    /// What is left in the batteries, the emptiest of them.
    pub battery_percent: Option<u8>,
    /// Whether the voltage is too low at this moment.
    pub is_under_voltage: Option<bool>,
}

/// How much work waited within the last ten seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PressureFacts {
    /// For a processor.
    pub cpu: Option<StallFacts>,
    /// For memory.
    pub memory: Option<StallFacts>,
    /// For a disk.
    pub io: Option<StallFacts>,
}

/// The part of the time that work stood still, in hundredths of a percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StallFacts {
    /// Some of the work.
    pub some_centi_percent: u32,
    /// All of it at once.
    pub full_centi_percent: Option<u32>,
}

/// How kernels were measured, and under which circumstances: if they change, it is measured again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFacts {
    /// How long it took.
    pub took_ms: u64,
    /// Bytes that were read again and again: more than the last cache holds, or the cache was measured.
    pub buffer_bytes: u64,
    /// The build of the kernels.
    pub build: String,
    /// The governor of the clocks then.
    pub governor: Option<String>,
    /// Processor time that others took meanwhile, in thousandths of a core.
    pub others_milli: Option<u64>,
    /// What slowed it, in words; empty after a run that nothing disturbed.
    pub disturbed_by: Vec<String>,
}

impl ProcessorFacts {
    /// All bytes of the last level of caches.
    #[must_use]
    pub fn last_cache_bytes(&self) -> Option<u64> {
        let holds_data = || self.caches.iter().filter(|cache| cache.kind != "instruction");
        let last = holds_data().map(|cache| cache.level).max()?;
        let bytes = |cache: &CacheFacts| cache.bytes.saturating_mul(cache.count.into());
        Some(holds_data().filter(|cache| cache.level == last).map(bytes).fold(0, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measurements;

    #[test]
    fn a_report_of_an_older_device_is_read_and_a_newer_one_may_say_more() {
        let older = r#"{"measured_at_s": 7, "cpu": "x", "cores": 4, "features": [], "memory_total_bytes": 4,
            "memory_available_bytes": 3, "memory_cgroup_headroom_bytes": null, "disk_free_bytes": 2,
            "memory_read_bytes_per_second": 1, "kernels": []}"#;
        let read: Measurements = serde_json::from_str(older).unwrap();
        assert_eq!((read.cores, read.machine.as_ref()), (4, None));
        assert!(!serde_json::to_string(&read).unwrap().contains("machine"), "an older reader finds what it knows");
        let newer = older.replacen('{', r#"{"machine": {"of_later": 1, "disk": {"kind": "punched-card"}},"#, 1);
        let read: Measurements = serde_json::from_str(&newer).unwrap();
        assert_eq!(read.machine.unwrap().disk.kind.as_deref(), Some("punched-card"));
    }

    #[test]
    fn the_last_cache_is_that_of_data_and_counts_as_often_as_it_is_there() {
        let cache = |level, kind: &str, bytes, count| CacheFacts { level, kind: kind.to_owned(), bytes, count };
        let caches = vec![cache(1, "data", 32, 8), cache(2, "unified", 512, 8), cache(3, "unified", 32_768, 2)];
        let processor = ProcessorFacts { caches, ..ProcessorFacts::default() };
        assert_eq!(processor.last_cache_bytes(), Some(65_536));
        assert_eq!(ProcessorFacts::default().last_cache_bytes(), None);
    }
}
