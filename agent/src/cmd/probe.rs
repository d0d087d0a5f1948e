//! `outpost probe`: what this machine can give, measured.

use anyhow::{Context, Result};
use outpost_disk::Clock;
use outpost_probe::{ProbeOptions, measure};

use super::{Here, Outcome, say, say_json};
use crate::args::Probe;

/// Runs the command.
pub(super) fn run(here: &Here, arguments: &Probe) -> Result<Outcome> {
    here.state.prepare()?;
    let now_s = Clock::open(here.state.ledgers())?.now_s();
    let found = measure(&ProbeOptions { models_dir: here.state.store(), quick: arguments.quick, now_s });
    if here.json {
        let mut found = serde_json::to_value(&found).context("cannot write JSON")?;
        found["backends"] = outpost_engine::backends().into();
        say_json(&found)?;
        return Ok(Outcome::Done);
    }
    let gibibytes = |bytes: u64| format!("{}.{:02} GiB", bytes >> 30, ((bytes & ((1 << 30) - 1)) * 100) >> 30);
    let rows = [
        ("processor", found.cpu.clone()),
        ("cores", found.cores.to_string()),
        ("features", found.features.join(" ")),
        ("backends", outpost_engine::backends().join(", ")),
        (
            "memory",
            format!("{} of {} available", gibibytes(found.memory_available_bytes), gibibytes(found.memory_total_bytes)),
        ),
        ("cgroup headroom", found.memory_cgroup_headroom_bytes.map_or_else(|| "no limit".into(), gibibytes)),
        ("disk free", gibibytes(found.disk_free_bytes)),
        ("memory read", format!("{}/s", gibibytes(found.memory_read_bytes_per_second))),
    ];
    for (name, value) in rows {
        say(format!("{name:<16} {value}"))?;
    }
    for kernel in &found.kernels {
        say(format!(
            "kernel {:<9} {} threads: decode {}/s, prefill {} million multiply-adds/s",
            kernel.format,
            kernel.threads,
            gibibytes(kernel.decode_bytes_per_second),
            kernel.prefill_macs_per_second / 1_000_000
        ))?;
    }
    Ok(Outcome::Done)
}
