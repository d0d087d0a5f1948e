//! What this machine can give, measured.
//!
//! The only crate that reads `/proc` and `/sys`. Memory and disk are asked of the system at each call; kernel speeds come from a
//! short run of the engine's own kernels, so that a prediction rests on what will really run, and hold until the processor, its
//! governor, the cores that may be used or the kernels change. No file of the system is required: what it does not tell is absent.
//!
//! ```text
//! tree ──► cores, caches, cgroup, disk, accelerators, heat, power, pressure ──► facts ─┐
//! sysinfo ──► memory, swap ────────────────────────────────────────────────────────────┼──► Measurements
//! tree ──► room: what is left of memory this second, for whoever steps back in time
//! engine's kernels ──► run, watched for what disturbs it ──────────────────────────────┘
//! ```

mod accelerators;
mod caches;
mod cgroup;
mod cores;
mod disk;
mod heat;
mod kernels;
mod mounts;
mod power;
mod pressure;
mod room;
mod run;
mod tree;
mod watch;
mod watching;

#[cfg(test)]
mod fixtures;

use std::path::{Path, PathBuf};

use cores::Cores;
use outpost_contract::{MachineFacts, Measurements, MemoryFacts, ProcessorFacts};
use outpost_engine::KERNEL_BUILD;
pub use room::{Room, heat, room};
use sysinfo::{MemoryRefreshKind, System};
use tree::Tree;
pub use watching::Watching;

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
    let tree = live();
    let mut found = unmeasured(options.now_s);
    let memory = Memory::now();
    let processor = processor(&tree, &Cores::read(&tree));
    // A group may be allowed far less than the machine has: a buffer too large would be the end of the agent.
    let headroom = cgroup::memory(&tree).map_or(u64::MAX, |limit| limit.headroom_bytes);
    let available = memory.available_bytes.min(headroom);
    let measured = run::run(&tree, &processor, found.cores, available, options.quick);
    found.memory_read_bytes_per_second = measured.memory_bytes_per_second;
    found.kernels = measured.kernels;
    found.passes = measured.passes;
    found.machine = Some(Box::new(MachineFacts { run: Some(measured.facts), ..MachineFacts::default() }));
    refresh(&found, options)
}

/// Kernel speeds as they were; everything else as it is now. Takes milliseconds.
#[must_use]
pub fn refresh(earlier: &Measurements, options: &ProbeOptions) -> Measurements {
    let (tree, memory) = (live(), Memory::now());
    let run = earlier.machine.as_ref().and_then(|machine| machine.run.clone());
    let mut machine = MachineFacts { run, ..facts(&tree, &options.models_dir) };
    (machine.memory.swap_total_bytes, machine.memory.swap_free_bytes) = memory.swap.unzip();
    Measurements {
        measured_at_s: options.now_s,
        memory_total_bytes: memory.total_bytes,
        memory_available_bytes: memory.available_bytes,
        memory_cgroup_headroom_bytes: machine.memory.limit.as_ref().map(|limit| limit.headroom_bytes),
        disk_free_bytes: disk::free_bytes(&options.models_dir),
        machine: Some(Box::new(machine)),
        ..earlier.clone()
    }
}

/// What is known of a machine without measuring: its processor. Memory, disk and speeds are 0.
#[must_use]
pub fn unmeasured(now_s: i64) -> Measurements {
    let tree = live();
    Measurements {
        measured_at_s: now_s,
        cpu: kernels::processor(&tree),
        cores: Cores::read(&tree).usable(&tree),
        features: kernels::usable(),
        ..Measurements::default()
    }
}

/// What has changed since these kernels were measured, in words; `None` if they still hold.
#[must_use]
pub fn outdated(earlier: &Measurements) -> Option<String> {
    outdated_in(&live(), earlier)
}

fn outdated_in(tree: &Tree, earlier: &Measurements) -> Option<String> {
    let cores = Cores::read(tree);
    let (cpu, usable, governor) = (kernels::processor(tree), cores.usable(tree), cores.governor(tree));
    let Some(run) = earlier.machine.as_ref().and_then(|machine| machine.run.as_ref()) else {
        return Some("it is not known how they were measured".to_owned());
    };
    let told = |governor: &Option<String>| governor.clone().unwrap_or_else(|| "none".to_owned());
    if run.build != KERNEL_BUILD {
        Some("these kernels are another build".to_owned())
    } else if earlier.cpu != cpu || earlier.features != kernels::usable() {
        Some(format!("the processor is another: `{cpu}`, measured was `{}`", earlier.cpu))
    } else if earlier.cores != usable {
        Some(format!("{usable} cores can be used, measured were {}", earlier.cores))
    } else if run.governor != governor {
        Some(format!("the governor is `{}`, measured was `{}`", told(&governor), told(&run.governor)))
    } else {
        None
    }
}

/// What slowed the run that these kernels come from, in words; empty if nothing did.
#[must_use]
pub fn disturbed_by(measurements: &Measurements) -> &[String] {
    let run = measurements.machine.as_ref().and_then(|machine| machine.run.as_ref());
    run.map_or(&[], |run| &run.disturbed_by)
}

/// All that the tree tells; memory and swap are told by the system's library.
fn facts(tree: &Tree, models_dir: &Path) -> MachineFacts {
    MachineFacts {
        board: kernels::board(tree),
        processor: processor(tree, &Cores::read(tree)),
        memory: MemoryFacts { limit: cgroup::memory(tree), ..MemoryFacts::default() },
        disk: disk::facts(tree, models_dir),
        accelerators: accelerators::read(tree),
        heat: heat::read(tree),
        power: power::read(tree),
        pressure: pressure::read(tree),
        run: None,
    }
}

fn processor(tree: &Tree, cores: &Cores) -> ProcessorFacts {
    let (kernels, lacking) = kernels::sets();
    let (caches, nodes) = (caches::caches(tree, &cores.allowed), caches::nodes(tree));
    ProcessorFacts { caches, nodes, kernels, lacking, ..cores.facts(tree) }
}

fn live() -> Tree {
    Tree::at(Path::new("/"))
}

/// Memory as the system's library tells it.
#[derive(Debug, Default)]
struct Memory {
    total_bytes: u64,
    available_bytes: u64,
    /// All room for swapping, and what of it is free.
    swap: Option<(u64, u64)>,
}

impl Memory {
    /// All memory, and what can be had of it without swapping; zeros where the system does not say.
    fn now() -> Self {
        let Ok(mut system) = System::new() else { return Self::default() };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram().with_swap());
        let total_bytes = system.total_memory();
        Self {
            total_bytes,
            available_bytes: system.available_memory(),
            swap: (total_bytes > 0).then(|| (system.total_swap(), system.free_swap())),
        }
    }
}

#[cfg(test)]
mod tests;
