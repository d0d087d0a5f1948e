//! What one machine can give, as the probe measured it and the planner and the fleet read it.

use serde::{Deserialize, Serialize};

use crate::MachineFacts;

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
}
