//! The class of a box: what two boxes must have alike for the measurements of one to hold for the other.

use outpost_contract::{MachineFacts, Measurements};
use serde::{Deserialize, Serialize};

/// Speeds of memory are told apart by this factor: a measured one goes up and down by more than a few percent.
const SPEED_FACTOR: u64 = 4;

/// The slowest memory that is told apart from slower, bytes per second.
const SLOWEST: u64 = 100_000_000;

/// What decides how fast a box is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HardwareClass {
    /// The processor as it names itself.
    pub(crate) cpu: String,
    /// Physical cores that may be used.
    pub(crate) cores: u32,
    /// Kinds of cores with their number, as in `performance 4`; empty where all are alike.
    pub(crate) kinds: Vec<String>,
    /// The set of kernels that suits it.
    pub(crate) kernels: String,
    /// Bytes of the last cache, where the machine tells.
    pub(crate) last_cache_bytes: Option<u64>,
    /// Memory, or what a control group grants of it: the next power of two, MiB.
    pub(crate) memory_mib: u64,
    /// The class of the memory's speed; each is four times the one before. None where nothing was measured.
    pub(crate) memory_speed: Option<u32>,
}

impl HardwareClass {
    /// The class of a box that was measured.
    pub(crate) fn of(measurements: &Measurements) -> Self {
        let unknown = MachineFacts::default();
        let machine = measurements.machine.as_deref().unwrap_or(&unknown);
        let processor = &machine.processor;
        let limit = machine.memory.limit.as_ref().map_or(u64::MAX, |limit| limit.bytes);
        let memory = measurements.memory_total_bytes.min(limit);
        let read = measurements.memory_read_bytes_per_second;
        Self {
            cpu: measurements.cpu.clone(),
            cores: measurements.cores,
            kinds: processor.kinds.iter().map(|kind| format!("{} {}", kind.name, kind.cores)).collect(),
            kernels: processor.kernels.clone(),
            last_cache_bytes: processor.last_cache_bytes(),
            memory_mib: (memory >> 20).min(1 << 40).next_power_of_two(),
            memory_speed: (read > 0).then(|| (read / SLOWEST).max(1).ilog(SPEED_FACTOR)),
        }
    }

    /// What differs between the class of the box that measured and this one, in words; empty if nothing does.
    pub(crate) fn differences(&self, own: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut differs = |what: &str, theirs: String, ours: String| {
            if theirs != ours {
                found.push(format!("{what}: measured on `{theirs}`, this box has `{ours}`"));
            }
        };
        let told = |number: Option<u64>| number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
        differs("processor", self.cpu.clone(), own.cpu.clone());
        differs("usable cores", self.cores.to_string(), own.cores.to_string());
        differs("kinds of cores", self.kinds.join(", "), own.kinds.join(", "));
        differs("kernels", self.kernels.clone(), own.kernels.clone());
        differs("bytes of the last cache", told(self.last_cache_bytes), told(own.last_cache_bytes));
        differs("class of memory, MiB", self.memory_mib.to_string(), own.memory_mib.to_string());
        // A speed at the border of two classes falls into either.
        if let (Some(theirs), Some(ours)) = (self.memory_speed, own.memory_speed)
            && theirs.abs_diff(ours) > 1
        {
            found.push(format!("speed of memory: measured in class {theirs}, this box is in class {ours}"));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use outpost_contract::{CacheFacts, ProcessorFacts};

    use super::*;

    fn box_of(cpu: &str, cores: u32, memory: u64, read: u64) -> HardwareClass {
        let cache = CacheFacts { level: 3, kind: "unified".into(), bytes: 8 << 20, count: 1 };
        let processor = ProcessorFacts { kernels: "avx2".into(), caches: vec![cache], ..ProcessorFacts::default() };
        HardwareClass::of(&Measurements {
            cpu: cpu.to_owned(),
            cores,
            memory_total_bytes: memory,
            memory_read_bytes_per_second: read,
            machine: Some(Box::new(MachineFacts { processor, ..MachineFacts::default() })),
            ..Measurements::default()
        })
    }

    #[test]
    fn two_boxes_of_a_kind_are_of_one_class_although_they_are_never_quite_equal() {
        let one = box_of("Edge 4", 4, 3_900 << 20, 11_000_000_000);
        let other = box_of("Edge 4", 4, 3_780 << 20, 6_000_000_000);
        assert_eq!(one.differences(&other), Vec::<String>::new());
        assert_eq!((one.memory_mib, one.last_cache_bytes), (4_096, Some(8 << 20)));
    }

    #[test]
    fn what_differs_is_named_with_both_sides() {
        let one = box_of("Edge 4", 4, 4 << 30, 40_000_000_000);
        let differences = one.differences(&box_of("Edge 5", 2, 8 << 30, 900_000_000));
        assert_eq!(
            differences,
            [
                "processor: measured on `Edge 4`, this box has `Edge 5`",
                "usable cores: measured on `4`, this box has `2`",
                "class of memory, MiB: measured on `4096`, this box has `8192`",
                "speed of memory: measured in class 4, this box is in class 1",
            ]
        );
        let unmeasured = box_of("Edge 4", 4, 4 << 30, 0);
        assert_eq!((unmeasured.memory_speed, one.differences(&unmeasured).len()), (None, 0));
    }
}
