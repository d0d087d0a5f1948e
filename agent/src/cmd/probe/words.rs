//! What a probe found, in words for the one who runs the machine: what is absent is not there, and what is slow says why.

use outpost_contract::{
    AcceleratorFacts, CacheFacts, DiskFacts, HeatFacts, KernelSpeed, LimitFacts, MachineFacts, Measurements,
    MemoryFacts, PowerFacts, PressureFacts, ProcessorFacts, RunFacts,
};

type Row = (&'static str, String);

/// Everything, a name and what there is to say of it.
pub(super) fn rows(found: &Measurements, backends: &[String]) -> Vec<Row> {
    let machine = found.machine.as_deref().cloned().unwrap_or_default();
    let mut rows = Vec::new();
    rows.extend(machine.board.iter().filter(|board| **board != found.cpu).map(|board| ("machine", board.clone())));
    rows.push(("processor", found.cpu.clone()));
    rows.push(("cores", cores(found.cores, &machine.processor)));
    rows.extend(clock(&machine.processor).map(|clock| ("clock", clock)));
    rows.push(("kernels", kernels(found, &machine.processor, backends)));
    rows.extend(caches(&machine.processor).map(|caches| ("caches", caches)));
    rows.extend(nodes(&machine.processor).map(|nodes| ("memory nodes", nodes)));
    let (available, total) = (bytes(found.memory_available_bytes), bytes(found.memory_total_bytes));
    rows.push(("memory", format!("{available} of {total} available")));
    rows.push(("memory limit", limit(found.memory_cgroup_headroom_bytes, &machine.memory)));
    rows.extend(swap(&machine.memory).map(|swap| ("swap", swap)));
    rows.push(("disk", disk(found.disk_free_bytes, &machine.disk)));
    rows.extend(machine.accelerators.iter().map(|facts| ("accelerator", accelerator(facts))));
    rows.extend(heat(&machine.heat).map(|heat| ("temperature", heat)));
    rows.extend(throttled(&machine.heat).map(|throttled| ("held back", throttled)));
    rows.extend(power(&machine.power).map(|power| ("power", power)));
    rows.extend(pressure(&machine.pressure).map(|pressure| ("waiting", pressure)));
    rows.push(("memory speed", format!("{}/s read by all cores together", bytes(found.memory_read_bytes_per_second))));
    rows.extend(found.kernels.iter().map(|kernel| ("kernel speed", speed(kernel))));
    rows.extend(run(&machine).into_iter().map(|run| ("measured", run)));
    rows
}

fn cores(usable: u32, facts: &ProcessorFacts) -> String {
    let mut text = format!("{usable} used for models");
    if let (Some(cores), Some(threads)) = (facts.cores, facts.threads) {
        text += &format!(", of {cores} with {threads} hardware threads");
    }
    let mut reasons = Vec::new();
    if let (Some(allowed), Some(threads)) = (facts.allowed_threads, facts.threads)
        && allowed < threads
    {
        reasons.push(format!("this process may run on {allowed} of the threads"));
    }
    if let Some(milli) = facts.quota_milli {
        reasons.push(format!("the quota is the time of {}.{:02} cores", milli / 1_000, milli % 1_000 / 10));
    }
    let kinds = facts.kinds.iter().map(|kind| {
        let clock = kind.max_mhz.map(|mhz| format!(" up to {mhz} MHz")).unwrap_or_default();
        format!("{} {}{clock}", kind.cores, kind.name)
    });
    let kinds: Vec<_> = kinds.collect();
    if !kinds.is_empty() {
        reasons.push(kinds.join(" and "));
    }
    if reasons.is_empty() { text } else { format!("{text}: {}", reasons.join(", ")) }
}

fn clock(facts: &ProcessorFacts) -> Option<String> {
    let max = facts.max_mhz.map(|mhz| format!("up to {mhz} MHz"));
    let capped = facts.capped_mhz.map(|mhz| format!("capped at {mhz} MHz now"));
    let governor = facts.governor.as_ref().map(|governor| format!("governor `{governor}`"));
    joined([max, capped, governor])
}

fn kernels(found: &Measurements, facts: &ProcessorFacts, backends: &[String]) -> String {
    let mut text = backends.join(", ");
    if !found.features.is_empty() {
        text += &format!("; the processor has {}", found.features.join(" "));
    }
    for set in &facts.lacking {
        text += &format!("; `{}` would need {}", set.name, set.features.join(" "));
    }
    text
}

fn caches(facts: &ProcessorFacts) -> Option<String> {
    let one = |cache: &CacheFacts| {
        let kind = if cache.kind == "unified" { String::new() } else { format!(" {}", cache.kind) };
        format!("L{}{kind} {} × {}", cache.level, cache.count, bytes(cache.bytes))
    };
    let all: Vec<_> = facts.caches.iter().map(one).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Where all memory is equally far there is nothing to say.
fn nodes(facts: &ProcessorFacts) -> Option<String> {
    let one = |node: &outpost_contract::NodeFacts| {
        let memory = node.memory_bytes.map(|memory| format!(" and {}", bytes(memory))).unwrap_or_default();
        format!("{}: {} threads{memory}", node.number, node.threads)
    };
    let all: Vec<_> = facts.nodes.iter().map(one).collect();
    (all.len() > 1).then(|| all.join(", "))
}

fn limit(headroom: Option<u64>, facts: &MemoryFacts) -> String {
    let Some(headroom) = headroom else { return "none".to_owned() };
    let Some(LimitFacts { setting, bytes: limit, above, .. }) = &facts.limit else {
        return format!("{} left", bytes(headroom));
    };
    let group = match above {
        0 => "its own group".to_owned(),
        1 => "the group above its own".to_owned(),
        steps => format!("the group {steps} steps above its own"),
    };
    format!("{} left of {}, set by `{setting}` of {group}", bytes(headroom), bytes(*limit))
}

fn swap(facts: &MemoryFacts) -> Option<String> {
    match (facts.swap_total_bytes?, facts.swap_free_bytes.unwrap_or(0)) {
        (0, _) => Some("none".to_owned()),
        (total, free) => Some(format!("{} of {} free; models are never planned into it", bytes(free), bytes(total))),
    }
}

fn disk(free: u64, facts: &DiskFacts) -> String {
    let total = facts.total_bytes.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
    let kind = facts.kind.as_deref().map(|kind| match kind {
        "nvme" => "NVMe: models load fast".to_owned(),
        "ssd" => "SSD: models load fast".to_owned(),
        "emmc" => "eMMC: models load slowly".to_owned(),
        "sd-card" => "SD card: models load slowly, and writing wears it".to_owned(),
        "usb" => "on USB: models may load slowly".to_owned(),
        "rotating" => "rotating: models load slowly".to_owned(),
        "network" => "on the network: a model cannot be loaded when it is gone".to_owned(),
        "memory" => "in memory: models vanish at the next start".to_owned(),
        other => other.to_owned(),
    });
    let read_only = (facts.is_read_only == Some(true)).then(|| "nothing can be written there".to_owned());
    let rest = joined([facts.file_system.clone(), kind, read_only]).map(|rest| format!(", {rest}")).unwrap_or_default();
    format!("{} free{total} where models are kept{rest}", bytes(free))
}

fn accelerator(facts: &AcceleratorFacts) -> String {
    let kind = match facts.kind.as_str() {
        "gpu" => "graphics processor",
        "npu" => "neural processor",
        other => other,
    };
    let name = if facts.name.starts_with(&facts.vendor) {
        facts.name.clone()
    } else {
        format!("{} {}", facts.vendor, facts.name)
    };
    let memory = facts.memory_bytes.map(|memory| format!(" with {}", bytes(memory))).unwrap_or_default();
    let driver = facts.driver.as_ref().map(|driver| format!(", driver `{driver}`")).unwrap_or_default();
    let use_ = if facts.is_usable { "can be used" } else { "not used: this program has no kernels for it" };
    format!("{name} ({kind}{memory}{driver}): {use_}")
}

fn heat(facts: &HeatFacts) -> Option<String> {
    let celsius = |milli: i32| format!("{:.1} °C", f64::from(milli) / 1_000.0);
    let sensor = facts.sensor.as_ref().map(|sensor| format!(" by `{sensor}`")).unwrap_or_default();
    let limit = facts.limit_milli_celsius.map(|limit| format!(", limit {}", celsius(limit))).unwrap_or_default();
    Some(format!("{}{sensor}{limit}", celsius(facts.milli_celsius?)))
}

fn throttled(facts: &HeatFacts) -> Option<String> {
    let now = match facts.is_throttled? {
        true => "yes, at this moment",
        false => "no",
    };
    let all: Vec<_> = [now].into_iter().chain(facts.notes.iter().map(String::as_str)).collect();
    Some(all.join("; "))
}

fn power(facts: &PowerFacts) -> Option<String> {
    let source = facts.source.as_ref().map(|source| match source.as_str() {
        "battery" => "from the battery: speeds may be lower than on mains".to_owned(),
        other => other.to_owned(),
    });
    let left = facts.battery_percent.map(|percent| format!("{percent} % left in the battery"));
    let voltage = facts.is_under_voltage.map(|low| if low { "the voltage is too low" } else { "the voltage is right" });
    joined([source, left, voltage.map(str::to_owned)])
}

fn pressure(facts: &PressureFacts) -> Option<String> {
    let part = |name: &str, stall: Option<outpost_contract::StallFacts>| {
        stall.map(|stall| {
            format!("{}.{:02} % for {name}", stall.some_centi_percent / 100, stall.some_centi_percent % 100)
        })
    };
    let all = [part("a processor", facts.cpu), part("memory", facts.memory), part("a disk", facts.io)];
    joined(all).map(|all| format!("{all}, of the last ten seconds"))
}

fn speed(kernel: &KernelSpeed) -> String {
    format!(
        "{} on {} threads: decodes {}/s, reads prompts with {} million multiply-adds/s",
        kernel.format,
        kernel.threads,
        bytes(kernel.decode_bytes_per_second),
        kernel.prefill_macs_per_second / 1_000_000
    )
}

fn run(machine: &MachineFacts) -> Vec<String> {
    let Some(run) = &machine.run else { return Vec::new() };
    let RunFacts { took_ms, buffer_bytes, others_milli, disturbed_by, .. } = run;
    let mut text = format!("in {}.{} s over {}", took_ms / 1_000, took_ms % 1_000 / 100, bytes(*buffer_bytes));
    match machine.processor.last_cache_bytes() {
        Some(cache) if cache >= *buffer_bytes => {
            text += &format!(", which the last cache of {} holds: memory is slower than this", bytes(cache));
        }
        Some(cache) => text += &format!(", more than the last cache of {}", bytes(cache)),
        None => text += "; the caches are not known",
    }
    if let Some(milli) = others_milli {
        text += &format!("; others took {}.{} cores", milli / 1_000, milli % 1_000 / 100);
    }
    let disturbed = disturbed_by.iter().map(|cause| format!("slower than it could be: {cause}"));
    [text].into_iter().chain(disturbed).collect()
}

/// What there is of it, with commas.
fn joined<const N: usize>(parts: [Option<String>; N]) -> Option<String> {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// In the largest unit of which there is one; two digits behind the point of gibibytes.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..=0xf_ffff => format!("{} KiB", bytes >> 10),
        0x10_0000..=0x3fff_ffff => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{:02} GiB", bytes >> 30, ((bytes & ((1 << 30) - 1)) * 100) >> 30),
    }
}

#[cfg(test)]
mod tests;
