//! The page of one device: what its machine can give, and the picture of its plan, whatever the device calls things.

use outpost_contract::{AcceleratorFacts, CacheFacts, HeatFacts, KernelSpeed, LimitFacts, MachineFacts};

use super::*;

/// A device that says everything of its machine, with hostile words where words may stand.
fn telling(name: &str) -> Reported {
    let mut report = reported(name);
    let mut machine = MachineFacts { board: Some(HOSTILE.into()), ..MachineFacts::default() };
    machine.processor.cores = Some(4);
    machine.processor.threads = Some(8);
    machine.processor.kernels = "avx2".into();
    machine.processor.caches = vec![CacheFacts { level: 2, kind: "unified".into(), bytes: 1 << 20, count: 4 }];
    machine.memory.limit = Some(LimitFacts {
        setting: "memory.max".into(),
        bytes: 2 << 30,
        headroom_bytes: 1 << 30,
        ..LimitFacts::default()
    });
    machine.heat = HeatFacts {
        milli_celsius: Some(61_500),
        is_throttled: Some(true),
        notes: vec![HOSTILE.into()],
        ..machine.heat
    };
    machine.power.source = Some("battery".into());
    machine.power.battery_percent = Some(40);
    machine.accelerators =
        vec![AcceleratorFacts { kind: "gpu".into(), name: HOSTILE.into(), ..AcceleratorFacts::default() }];
    if let Some(measured) = &mut report.measurements {
        measured.kernels = vec![KernelSpeed {
            format: "Q4_0".into(),
            threads: 4,
            decode_bytes_per_second: 9 << 30,
            prefill_macs_per_second: 80_000_000_000,
            cached_bytes_per_second: None,
        }];
        measured.machine = Some(Box::new(machine));
    }
    report
}

fn console() -> Console {
    let console = Console::new();
    console.enter("till-1");
    console.fleet.add_crowd_models().unwrap();
    let database = &console.fleet.inner.database;
    let assignment = Assignment { model: Some("qwen3-0.6b".parse().unwrap()), minimum_context_tokens: 2048 };
    database.assign(&"till-1".parse().unwrap(), &assignment).unwrap();
    assert!(database.keep_report(&Reported { sequence: 2, ..telling("till-1") }, NOW_S - 2).unwrap());
    console
}

#[tokio::test]
async fn a_devices_page_draws_its_plan_and_says_it_in_a_table_beside() {
    let page = console().get("/console/devices/till-1").await;
    check("/console/devices/till-1", &page);
    for shown in [
        "Plan for qwen3-0.6b",
        "role=\"img\"",
        "Memory against context. ",
        "<desc>",
        "class=\"line-0\"",
        "class=\"usable\"",
        "class=\"chosen\"",
        "qwen3-0.6b.Q4_0.manifest.json",
        "qwen3-0.6b.F16.manifest.json",
        ">chosen<",
        "kept for everybody else",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("style="), "the content policy lets no style attribute be");
}

#[tokio::test]
async fn a_devices_page_tells_what_its_machine_can_give() {
    let page = console().get("/console/devices/till-1").await;
    for shown in [
        "What the machine can give",
        "4 cores, 8 threads",
        "L2 4 × 1",
        "avx2",
        "by `memory.max`",
        "61 °C, throttled now",
        "battery, 40 % left",
        "not used by this agent",
        "Measured kernels",
        "Q4_0",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("<script>alert(1)"), "hostile words are words");
}

#[tokio::test]
async fn a_device_without_a_plan_or_measurements_has_a_page_without_a_picture() {
    let console = Console::new();
    console.enter("till-1");
    let page = console.get("/console/devices/till-1").await;
    check("/console/devices/till-1", &page);
    assert!(!page.contains("Plan for") && page.contains("tells no more of its machine"), "{page}");
}
