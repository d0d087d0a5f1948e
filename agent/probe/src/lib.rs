//! What this machine can give, measured.
//!
//! The only crate that reads `/proc` and `/sys`. Memory and disk are asked of the system at each call; kernel speeds come from a
//! short run of the engine's own kernels, so that a prediction rests on what will really run.

mod cgroup;
mod features;

use std::path::{Path, PathBuf};

use outpost_contract::{KernelSpeed, Measurements};
use outpost_engine::bench;
use sysinfo::{Disks, MemoryRefreshKind, System};

/// How to measure.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// Where models are kept: the disk that matters.
    pub models_dir: PathBuf,
    /// One format instead of all: half a second instead of about three.
    pub quick: bool,
    /// The time, seconds since 1970-01-01 UTC.
    pub now_s: i64,
}

/// Measures everything.
#[must_use]
pub fn measure(options: &ProbeOptions) -> Measurements {
    let mut found = unmeasured(options.now_s);
    let threads = found.cores as usize;
    found.memory_read_bytes_per_second = bench::read_bandwidth(threads).unwrap_or(0);
    let formats = if options.quick { &bench::FORMATS[1..2] } else { bench::FORMATS };
    found.kernels = formats.iter().filter_map(|format| bench::kernel(*format, threads).ok()).map(kernel_speed).collect();
    refresh(&found, options)
}

/// Kernel speeds as they were; memory and disk as they are now.
#[must_use]
pub fn refresh(earlier: &Measurements, options: &ProbeOptions) -> Measurements {
    let memory = System::new().map(|mut system| {
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        (system.total_memory(), system.available_memory())
    });
    // A machine that does not tell its memory has none to plan with.
    let (memory_total_bytes, memory_available_bytes) = memory.unwrap_or((0, 0));
    Measurements {
        measured_at_s: options.now_s,
        memory_total_bytes,
        memory_available_bytes,
        memory_cgroup_headroom_bytes: cgroup::headroom_bytes(),
        disk_free_bytes: disk_free_bytes(&options.models_dir),
        ..earlier.clone()
    }
}

/// What is known of a machine without measuring: its processor. Memory, disk and speeds are 0.
#[must_use]
pub fn unmeasured(now_s: i64) -> Measurements {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    Measurements {
        measured_at_s: now_s,
        cpu: features::processor(),
        cores,
        features: features::usable(),
        memory_total_bytes: 0,
        memory_available_bytes: 0,
        memory_cgroup_headroom_bytes: None,
        disk_free_bytes: 0,
        memory_read_bytes_per_second: 0,
        kernels: Vec::new(),
    }
}

fn kernel_speed(figures: bench::KernelFigures) -> KernelSpeed {
    KernelSpeed {
        format: figures.format.name().to_owned(),
        threads: u32::try_from(figures.threads).unwrap_or(u32::MAX),
        decode_bytes_per_second: figures.decode_bytes_per_second,
        prefill_macs_per_second: figures.prefill_macs_per_second,
    }
}

/// Free bytes of the disk that holds the path: the mounted one with the longest matching name.
fn disk_free_bytes(path: &Path) -> u64 {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let Ok(disks) = Disks::new_with_refreshed_list() else { return 0 };
    let holding = disks.iter().filter(|disk| path.starts_with(disk.mount_point()));
    holding.max_by_key(|disk| disk.mount_point().as_os_str().len()).map_or(0, sysinfo::Disk::available_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_probe_finds_memory_disk_and_a_kernel() {
        let options = ProbeOptions { models_dir: std::env::temp_dir(), quick: true, now_s: 7 };
        let found = measure(&options);
        assert!(found.memory_available_bytes > 0 && found.memory_available_bytes <= found.memory_total_bytes);
        assert!(found.disk_free_bytes > 0, "the disk of the temporary directory is known");
        assert!(found.kernels[0].decode_bytes_per_second > 0 && found.memory_read_bytes_per_second > 0);
        let again = refresh(&found, &ProbeOptions { now_s: 8, ..options });
        assert_eq!((again.measured_at_s, again.kernels), (8, found.kernels));
    }
}
