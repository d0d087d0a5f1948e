//! The whole probe: on this machine, and on machines that exist only as trees of files.

use super::*;
use crate::fixtures::{Fixture, battery_laptop, hybrid, jetson, nested_container, raspberry_pi_5, server};

fn options() -> ProbeOptions {
    ProbeOptions { models_dir: std::env::temp_dir(), quick: true, now_s: 7 }
}

#[test]
fn a_quick_probe_finds_memory_disk_and_a_kernel() {
    let found = measure(&options());
    assert!(found.memory_available_bytes > 0 && found.memory_available_bytes <= found.memory_total_bytes);
    assert!(found.disk_free_bytes > 0, "the disk of the temporary directory is known");
    assert!(found.kernels[0].decode_bytes_per_second > 0 && found.memory_read_bytes_per_second > 0);
    let again = refresh(&found, &ProbeOptions { now_s: 8, ..options() });
    assert_eq!((again.measured_at_s, &again.kernels), (8, &found.kernels));
    assert_eq!(outdated(&again), None, "nothing has changed");
}

#[test]
fn a_full_probe_measures_every_format_on_all_cores_first() {
    let found = measure(&ProbeOptions { quick: false, ..options() });
    let of = |format: &str| found.kernels.iter().filter(|kernel| kernel.format == format).collect::<Vec<_>>();
    let q8 = of("Q8_0");
    assert_eq!(q8[0].threads, found.cores);
    assert_eq!(found.passes[0].threads, found.cores);
    for kernel in &found.kernels {
        assert!(kernel.decode_bytes_per_second > 0 && kernel.prefill_macs_per_second > 0, "{kernel:?}");
        assert_eq!(of(&kernel.format)[0].threads, found.cores, "{kernel:?}");
    }
    let run = found.machine.unwrap().run.unwrap();
    assert_eq!(run.build, KERNEL_BUILD);
    assert!(run.buffer_bytes > 0);
}

#[test]
fn measurements_survive_the_way_to_the_fleet() {
    let found = refresh(&unmeasured(7), &ProbeOptions { now_s: 9, ..options() });
    let text = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Measurements>(&text).unwrap(), found);
}

#[test]
fn each_machine_tells_what_it_is() {
    let told = |fixture: &Fixture| facts(&fixture.tree(), Path::new("/models/store"));
    let board = told(&raspberry_pi_5());
    assert_eq!((board.processor.cores, board.power.is_under_voltage), (Some(4), Some(false)));
    assert_eq!(told(&server()).processor.nodes.len(), 2);
    assert_eq!(told(&hybrid()).processor.kinds.len(), 2);
    assert_eq!(told(&battery_laptop()).power.source.as_deref(), Some("battery"));
    assert_eq!(told(&jetson()).accelerators.len(), 2);
    let container = told(&nested_container());
    let limit = container.memory.limit.unwrap();
    assert_eq!((&*limit.setting, limit.above, limit.headroom_bytes >> 20), ("memory.high", 1, 512));
    for fixture in [raspberry_pi_5(), server(), hybrid(), battery_laptop(), jetson(), nested_container()] {
        let text = serde_json::to_string(&told(&fixture)).unwrap();
        assert_eq!(serde_json::from_str::<MachineFacts>(&text).unwrap(), told(&fixture));
        assert!(text.len() < 4_096, "a report stays small: {}", text.len());
    }
}

#[test]
fn a_machine_that_tells_nothing_has_no_facts() {
    let mut nothing = facts(&Fixture::default().tree(), Path::new("/x"));
    nothing.processor.kernels.clear();
    nothing.processor.lacking.clear();
    assert_eq!(nothing, MachineFacts::default(), "absent, never guessed");
}

#[test]
fn what_was_measured_holds_until_its_circumstances_change() {
    let machine = server();
    let tree = machine.tree();
    let run = outpost_contract::RunFacts {
        build: KERNEL_BUILD.to_owned(),
        governor: Some("performance".to_owned()),
        ..outpost_contract::RunFacts::default()
    };
    let with = |run| Some(Box::new(MachineFacts { run: Some(run), ..MachineFacts::default() }));
    let measured = Measurements {
        cpu: "AMD EPYC 7313P".to_owned(),
        cores: 8,
        features: kernels::usable(),
        machine: with(run.clone()),
        ..Measurements::default()
    };
    assert_eq!(outdated_in(&tree, &measured), None);
    let said = |measured: &Measurements| outdated_in(&tree, measured).unwrap();
    assert!(said(&Measurements { machine: None, ..measured.clone() }).contains("not known how"));
    let other = outpost_contract::RunFacts { build: "another".to_owned(), ..run };
    assert!(said(&Measurements { machine: with(other), ..measured.clone() }).contains("another build"));
    assert!(said(&Measurements { cpu: "old".to_owned(), ..measured.clone() }).contains("measured was `old`"));
    assert!(said(&Measurements { cores: 4, ..measured.clone() }).contains("8 cores can be used"));
    let saving = (0..16).fold(machine, |machine, cpu| {
        machine.file(&format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"), "powersave\n")
    });
    let said = outdated_in(&saving.tree(), &measured).unwrap();
    assert_eq!(said, "the governor is `powersave`, measured was `performance`");
}
