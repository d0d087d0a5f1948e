//! What a device's machine can give, in two tables, and its plan as a picture: drawn by the planner's own code, with its words beside.

use maud::{Markup, PreEscaped, html};
use outpost_contract::{HeatFacts, MachineFacts, Measurements, PowerFacts, ProcessorFacts, StallFacts};
use outpost_planner::{Outcome, picture};

use super::format;
use super::layout::badge;
use crate::inventory::DevicePlan;

/// Longest text of a device in a cell, characters, and rows of a list of it.
const MOST_TEXT: usize = 160;
const MOST_ROWS: usize = 24;

/// The plan for the assigned model: memory against context of each variant, the chosen point, and why the others lost.
pub(super) fn plan(planned: &DevicePlan) -> Markup {
    let drawing = picture::drawing(&planned.plan, &planned.candidates, &planned.constraints);
    let budget = planned.plan.budget;
    html! {
        section.card.wide {
            h2 { "Plan for " (planned.model) }
            p.small {
                (format::bytes(budget.usable_bytes)) " of memory can be used: " (format::bytes(budget.available_bytes))
                " available, " (format::bytes(budget.reserve_bytes)) " of it kept for everybody else. Computed here by the \
                 device's own planner from what it measured last."
            }
            div.scroll.memory-picture tabindex="0" role="group" aria-label="Memory against context" {
                // Names in it are made harmless where it is drawn.
                (PreEscaped(drawing))
            }
            div.scroll tabindex="0" role="group" aria-label="Variants" {
                table.compact {
                    thead { tr { @for name in ["Variant", "Verdict", "Needs", "Because"] { th scope="col" { (name) } } } }
                    tbody {
                        @for verdict in planned.plan.verdicts.iter().take(MOST_ROWS) {
                            tr {
                                th scope="row" { (verdict.target) }
                                td { @if verdict.outcome == Outcome::Chosen { (badge("good", "chosen")) } @else { "lost" } }
                                td.number { (format::bytes(verdict.needs.total())) }
                                td { (format::shown(&verdict.because, MOST_TEXT * 2)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The last measurements, all of them.
pub(super) fn facts(measured: &Measurements) -> Markup {
    let rows: Vec<(&str, String)> = measured.machine.as_deref().map(rows).unwrap_or_default();
    html! {
        section.card.wide {
            h2 { "What the machine can give" }
            @if rows.is_empty() { p.small { "This agent tells no more of its machine." } } @else {
                dl.fields {
                    @for (name, value) in rows { dt { (name) } dd { (format::shown(&value, MOST_TEXT * 2)) } }
                }
            }
            @if !measured.kernels.is_empty() {
                div.scroll tabindex="0" role="group" aria-label="Measured kernels" {
                    table.compact {
                        thead {
                            tr { @for name in ["Format", "Threads", "Decodes", "Reads prompts"] { th scope="col" { (name) } } }
                        }
                        tbody {
                            @for kernel in measured.kernels.iter().take(MOST_ROWS) {
                                tr {
                                    th scope="row" { (format::shown(&kernel.format, 20)) }
                                    td.number { (kernel.threads) }
                                    td.number { (format::bytes(kernel.decode_bytes_per_second)) "/s" }
                                    td.number { (format::weights(kernel.prefill_macs_per_second)) " products/s" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn rows(machine: &MachineFacts) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let mut row = |name: &'static str, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    row("Board", machine.board.clone());
    row("Cores", cores(&machine.processor));
    row("Caches", caches(&machine.processor));
    row("Kernels", kernels(&machine.processor));
    row(
        "Limit of memory",
        machine.memory.limit.as_ref().map(|limit| {
            let (all, left) = (format::bytes(limit.bytes), format::bytes(limit.headroom_bytes));
            format!("{all} by `{}`, {left} left", limit.setting)
        }),
    );
    row(
        "Swap",
        machine.memory.swap_total_bytes.map(|total| match (total, machine.memory.swap_free_bytes) {
            (0, _) => "none".to_owned(),
            (total, Some(free)) => format!("{} free of {}", format::bytes(free), format::bytes(total)),
            (total, None) => format::bytes(total),
        }),
    );
    row("Disk", disk(machine));
    row("Accelerators", accelerators(machine));
    row("Heat", heat(&machine.heat));
    row("Power", power(&machine.power));
    row("Work that waited", stalls(machine));
    row(
        "Measured run",
        machine.run.as_ref().map(|run| {
            let disturbed =
                if run.disturbed_by.is_empty() { String::new() } else { format!("; {}", run.disturbed_by.join(", ")) };
            format!("{} ms over {}{disturbed}", run.took_ms, format::bytes(run.buffer_bytes))
        }),
    );
    rows
}

fn cores(processor: &ProcessorFacts) -> Option<String> {
    let mut words = Vec::new();
    words.extend(processor.cores.map(|cores| format!("{cores} cores")));
    words.extend(processor.threads.map(|threads| format!("{threads} threads")));
    let allowed = processor.allowed_threads.filter(|allowed| Some(*allowed) != processor.threads);
    words.extend(allowed.map(|allowed| format!("{allowed} of them allowed")));
    words.extend(processor.quota_milli.map(|milli| format!("quota of {} cores", format::milli(milli))));
    words.extend(processor.kinds.iter().map(|kind| format!("{} {}", kind.cores, kind.name)));
    words.extend(processor.max_mhz.map(|mhz| format!("up to {mhz} MHz")));
    words.extend(processor.capped_mhz.map(|mhz| format!("held at {mhz} MHz")));
    words.extend(processor.governor.as_ref().map(|governor| format!("governor {governor}")));
    joined(words)
}

fn caches(processor: &ProcessorFacts) -> Option<String> {
    let one = |cache: &outpost_contract::CacheFacts| {
        let kind = if cache.kind == "unified" { String::new() } else { format!(" {}", cache.kind) };
        format!("L{}{kind} {} × {}", cache.level, cache.count, format::bytes(cache.bytes))
    };
    joined(processor.caches.iter().map(one).collect())
}

fn kernels(processor: &ProcessorFacts) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    words.extend(Some(processor.kernels.clone()).filter(|kernels| !kernels.is_empty()));
    words.extend(processor.lacking.iter().map(|set| format!("{} lacks {}", set.name, set.features.join(" "))));
    joined(words)
}

fn disk(machine: &MachineFacts) -> Option<String> {
    let disk = &machine.disk;
    let mut words: Vec<String> = [disk.kind.clone(), disk.file_system.clone()].into_iter().flatten().collect();
    words.extend(disk.total_bytes.map(format::bytes));
    words.extend(disk.is_read_only.filter(|read_only| *read_only).map(|_| "read-only".to_owned()));
    joined(words)
}

fn accelerators(machine: &MachineFacts) -> Option<String> {
    let one = |one: &outpost_contract::AcceleratorFacts| {
        let memory = one.memory_bytes.map(|bytes| format!(", {}", format::bytes(bytes))).unwrap_or_default();
        let used = if one.is_usable { "" } else { ", not used by this agent" };
        format!("{} {} {}{memory}{used}", one.kind, one.vendor, one.name)
    };
    joined(machine.accelerators.iter().map(one).collect())
}

fn heat(heat: &HeatFacts) -> Option<String> {
    let degrees = |milli: i32| format!("{} °C", milli / 1000);
    let mut words: Vec<String> = Vec::new();
    words.extend(heat.milli_celsius.map(degrees));
    words.extend(heat.limit_milli_celsius.map(|milli| format!("slows at {}", degrees(milli))));
    words.extend(heat.is_throttled.filter(|throttled| *throttled).map(|_| "throttled now".to_owned()));
    words.extend(heat.notes.iter().cloned());
    joined(words)
}

fn power(power: &PowerFacts) -> Option<String> {
    let mut words: Vec<String> = power.source.clone().into_iter().collect();
    words.extend(power.battery_percent.map(|percent| format!("{percent} % left")));
    words.extend(power.is_under_voltage.filter(|under| *under).map(|_| "voltage too low".to_owned()));
    joined(words)
}

fn stalls(machine: &MachineFacts) -> Option<String> {
    let one = |name: &str, stall: Option<StallFacts>| {
        stall.map(|stall| format!("{name} {}.{:02} %", stall.some_centi_percent / 100, stall.some_centi_percent % 100))
    };
    let pressure = &machine.pressure;
    joined(
        [one("processor", pressure.cpu), one("memory", pressure.memory), one("disk", pressure.io)]
            .into_iter()
            .flatten()
            .collect(),
    )
}

fn joined(words: Vec<String>) -> Option<String> {
    Some(words.join(", ")).filter(|words| !words.is_empty())
}
