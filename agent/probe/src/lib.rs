//! What this machine can give, measured.
//!
//! The only crate that reads `/proc` and `/sys`. Memory and disk are asked of the system at each call; kernel speeds come from a
//! short run of the engine's own kernels, so that a prediction rests on what will really run.

mod cgroup;
mod features;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outpost_contract::{KernelSpeed, Measurements};
use outpost_engine::bench;
use outpost_engine::gguf::Format;
use sysinfo::{MemoryRefreshKind, System};

/// The formats of a full run, the most common first. Half precision is not among them: an edge box seldom serves it.
const FORMATS: &[Format] = &[Format::Q8_0, Format::Q4_0, Format::Q4_K, Format::Q5_1];

/// A machine that has taken this long begins no further kernel: the whole run stays within about three seconds.
const PATIENCE: Duration = Duration::from_millis(2_200);

/// The part of the available memory that a measured matrix may take, at most.
const MEMORY_PART: u64 = 8;

/// How to measure.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// Where models are kept: the disk that matters. It need not exist yet.
    pub models_dir: PathBuf,
    /// Memory and one kernel instead of all: less than a second instead of about three.
    pub quick: bool,
    /// The time, seconds since 1970-01-01 UTC.
    pub now_s: i64,
}

/// Measures everything. What cannot be measured here is 0 or absent.
#[must_use]
pub fn measure(options: &ProbeOptions) -> Measurements {
    let began = Instant::now();
    let mut found = unmeasured(options.now_s);
    let threads = found.cores as usize;
    found.memory_read_bytes_per_second = bench::read_bandwidth(threads).unwrap_or(0);
    let formats = if options.quick { &FORMATS[..1] } else { FORMATS };
    let (_, memory_available_bytes) = memory_bytes();
    let in_time = formats.iter().take_while(|_| began.elapsed() < PATIENCE);
    found.kernels = in_time
        .filter_map(|format| bench::kernel(*format, threads, memory_available_bytes / MEMORY_PART).ok())
        .map(kernel_speed)
        .collect();
    refresh(&found, options)
}

/// Kernel speeds as they were; memory and disk as they are now. Takes milliseconds.
#[must_use]
pub fn refresh(earlier: &Measurements, options: &ProbeOptions) -> Measurements {
    let (memory_total_bytes, memory_available_bytes) = memory_bytes();
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
    Measurements {
        measured_at_s: now_s,
        cpu: features::processor(),
        cores: features::cores(),
        features: features::usable(),
        memory_total_bytes: 0,
        memory_available_bytes: 0,
        memory_cgroup_headroom_bytes: None,
        disk_free_bytes: 0,
        memory_read_bytes_per_second: 0,
        kernels: Vec::new(),
        machine: None,
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

/// All memory, and what can be had of it without swapping; zeros where the system does not say.
fn memory_bytes() -> (u64, u64) {
    let Ok(mut system) = System::new() else { return (0, 0) };
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    (system.total_memory(), system.available_memory())
}

/// Free bytes, for this user, of the file system that holds the path or would hold it once it exists.
fn disk_free_bytes(path: &Path) -> u64 {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = absolute.ancestors().find_map(|step| rustix::fs::statvfs(step).ok());
    found.map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize))
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

    #[test]
    fn the_disk_of_a_folder_that_does_not_exist_yet_is_that_of_its_nearest_parent() {
        let folder = tempfile::tempdir().unwrap();
        assert!(disk_free_bytes(&folder.path().join("not/yet/here")) > 0);
        assert!(disk_free_bytes(Path::new("not-yet-here")) > 0, "a relative path has parents too");
    }

    #[test]
    fn measurements_survive_the_way_to_the_fleet() {
        let found = refresh(&unmeasured(7), &ProbeOptions { models_dir: ".".into(), quick: true, now_s: 9 });
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Measurements>(&text).unwrap(), found);
    }
}
