//! What one machine can give, as the probe measured it and the planner and the fleet read it.

use serde::{Deserialize, Serialize};

use crate::{MachineFacts, ModelId};

/// What one machine can give. Sizes in bytes, speeds per second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurements {
    /// When it was measured, seconds since 1970-01-01 UTC.
    pub measured_at_s: i64,
    /// CPU model as the machine names it.
    pub cpu: String,
    /// Physical cores that this process may use.
    pub cores: u32,
    /// CPU features that the engine's kernels can use here.
    pub features: Vec<String>,
    /// Memory of the machine.
    pub memory_total_bytes: u64,
    /// Memory that can be had without swapping.
    pub memory_available_bytes: u64,
    /// What a cgroup limit leaves, if one is set.
    pub memory_cgroup_headroom_bytes: Option<u64>,
    /// Free space where models are kept.
    pub disk_free_bytes: u64,
    /// Sequential read bandwidth of memory.
    pub memory_read_bytes_per_second: u64,
    /// Measured kernels of the engine, each format on several numbers of threads.
    pub kernels: Vec<KernelSpeed>,
    /// What passes take beside the kernels, on several numbers of threads; devices of before did not measure it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<PassSpeed>,
    /// What answers taught of predictions made from these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrections: Vec<Correction>,
    /// What else is known of the machine; devices of before do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Box<MachineFacts>>,
}

/// One measured kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelSpeed {
    /// Block format, as in `Q4_0`.
    pub format: String,
    /// Threads it ran on.
    pub threads: u32,
    /// Weight bytes per second when one token is decoded (matrix × vector).
    pub decode_bytes_per_second: u64,
    /// Multiply-adds per second when a prompt is read (matrix × matrix).
    pub prefill_macs_per_second: u64,
    /// The same of weights that the last cache holds; devices of before did not measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_bytes_per_second: Option<u64>,
}

/// What a pass takes beside the products of its weights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassSpeed {
    /// Threads it ran on.
    pub threads: u32,
    /// Bytes of the last cache; 0 where the machine does not say.
    pub cache_bytes: u64,
    /// What a layer takes of one token whatever its size: threads that wait for one another, mostly.
    pub layer_ns: u64,
    /// Elements of activations that are normed, turned, activated and added in a second.
    pub elements_per_second: u64,
    /// Elements of keys and values that are fetched from memory in a second for one query each, when all threads have work.
    pub fetched_elements_per_second: u64,
    /// The same from the cache.
    pub attended_elements_per_second: u64,
    /// Multiply-adds with keys and values in a second where many queries are answered together, as prompts have them.
    pub attended_macs_per_second: u64,
    /// Logits in a second that a token is chosen among.
    pub logits_per_second: u64,
}

/// What answers of one variant taught: by how much measured times differ from predicted ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// The model.
    pub model: ModelId,
    /// Its quantisation, as in `Q4_0`.
    pub quantisation: String,
    /// Times between tokens.
    pub decode: Learned,
    /// Times to the first token.
    pub first_token: Learned,
}

/// A smoothed ratio of measured to predicted times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// A thousand times measured over predicted; 0 while nothing was learned.
    pub ratio_milli: u32,
    /// Answers it was learned from.
    pub answers: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_of_before_measured_is_read_and_says_no_more() {
        let before = r#"{"measured_at_s":1,"cpu":"c","cores":2,"features":[],"memory_total_bytes":1,"memory_available_bytes":1,
            "memory_cgroup_headroom_bytes":null,"disk_free_bytes":1,"memory_read_bytes_per_second":1,
            "kernels":[{"format":"Q4_0","threads":2,"decode_bytes_per_second":3,"prefill_macs_per_second":4}]}"#;
        let read: Measurements = serde_json::from_str(before).unwrap();
        assert_eq!((read.kernels[0].cached_bytes_per_second, read.passes.len(), read.corrections.len()), (None, 0, 0));
        let told = serde_json::to_string(&read).unwrap();
        assert!(!told.contains("passes") && !told.contains("corrections") && !told.contains("cached"), "{told}");
    }

    #[test]
    fn what_answers_taught_survives_the_wire() {
        let correction = Correction {
            model: "m".parse().unwrap(),
            quantisation: "Q4_K_M".to_owned(),
            decode: Learned { ratio_milli: 1_100, answers: 7 },
            first_token: Learned::default(),
        };
        let passes = vec![PassSpeed { threads: 2, layer_ns: 6_000, ..PassSpeed::default() }];
        let told = Measurements { corrections: vec![correction], passes, ..Measurements::default() };
        assert_eq!(serde_json::from_str::<Measurements>(&serde_json::to_string(&told).unwrap()).unwrap(), told);
    }
}
