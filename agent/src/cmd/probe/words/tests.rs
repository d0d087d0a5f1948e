//! What an administrator reads of a board in trouble, of a server, and of a machine that tells nothing.

use outpost_contract::{CoreKind, LackingKernels, NodeFacts, StallFacts};

use super::*;

fn text(found: &Measurements) -> String {
    let rows = rows(found, &["cpu (avx2 kernels)".to_owned()]);
    rows.iter().map(|(name, value)| format!("{name:<15} {value}\n")).collect()
}

fn board() -> Measurements {
    let processor = ProcessorFacts {
        threads: Some(8),
        cores: Some(8),
        allowed_threads: Some(6),
        quota_milli: Some(2_500),
        kinds: vec![
            CoreKind { name: "performance".to_owned(), cores: 4, max_mhz: Some(2_400) },
            CoreKind { name: "efficient".to_owned(), cores: 2, max_mhz: Some(1_800) },
        ],
        max_mhz: Some(2_400),
        capped_mhz: Some(1_500),
        governor: Some("ondemand".to_owned()),
        caches: vec![
            CacheFacts { level: 1, kind: "data".to_owned(), bytes: 64 << 10, count: 6 },
            CacheFacts { level: 3, kind: "unified".to_owned(), bytes: 2 << 20, count: 1 },
        ],
        nodes: vec![NodeFacts { number: 0, threads: 8, memory_bytes: None }],
        kernels: "avx2".to_owned(),
        lacking: vec![LackingKernels { name: "avx-vnni".to_owned(), features: vec!["avxvnni".to_owned()] }],
    };
    let limit = LimitFacts {
        setting: "memory.high".to_owned(),
        bytes: 3 << 29,
        headroom_bytes: 1 << 29,
        above: 1,
        swap_bytes: None,
    };
    let machine = MachineFacts {
        board: Some("A board".to_owned()),
        processor,
        memory: MemoryFacts { swap_total_bytes: Some(1 << 30), swap_free_bytes: Some(3 << 28), limit: Some(limit) },
        disk: DiskFacts {
            kind: Some("sd-card".to_owned()),
            file_system: Some("ext4".to_owned()),
            total_bytes: Some(29 << 30),
            is_read_only: Some(false),
        },
        accelerators: vec![AcceleratorFacts {
            kind: "npu".to_owned(),
            vendor: "Hailo".to_owned(),
            name: "1e60:2864".to_owned(),
            driver: Some("hailo".to_owned()),
            ..AcceleratorFacts::default()
        }],
        heat: HeatFacts {
            sensor: Some("cpu-thermal".to_owned()),
            milli_celsius: Some(81_250),
            limit_milli_celsius: Some(85_000),
            is_throttled: Some(true),
            notes: vec!["the firmware throttles the processor now".to_owned()],
        },
        power: PowerFacts { is_under_voltage: Some(true), ..PowerFacts::default() },
        pressure: PressureFacts {
            cpu: Some(StallFacts { some_centi_percent: 5_160, full_centi_percent: None }),
            ..PressureFacts::default()
        },
        run: Some(RunFacts {
            took_ms: 2_410,
            buffer_bytes: 64 << 20,
            others_milli: Some(1_900),
            disturbed_by: vec!["other programs took 1.9 cores meanwhile".to_owned()],
            ..RunFacts::default()
        }),
    };
    Measurements {
        cpu: "A processor".to_owned(),
        cores: 2,
        features: vec!["avx2".to_owned(), "fma".to_owned()],
        memory_total_bytes: 4 << 30,
        memory_available_bytes: 2 << 30,
        memory_cgroup_headroom_bytes: Some(1 << 29),
        disk_free_bytes: 12 << 30,
        memory_read_bytes_per_second: 9 << 30,
        kernels: vec![KernelSpeed {
            format: "Q8_0".to_owned(),
            threads: 2,
            decode_bytes_per_second: 8 << 30,
            prefill_macs_per_second: 12_345_000_000,
            cached_bytes_per_second: None,
        }],
        machine: Some(Box::new(machine)),
        ..Measurements::default()
    }
}

#[test]
fn a_board_in_trouble_says_what_holds_it_back() {
    let expected = "\
machine         A board
processor       A processor
cores           2 used for models, of 8 with 8 hardware threads: this process may run on 6 of the threads, the quota is the time of 2.50 cores, 4 performance up to 2400 MHz and 2 efficient up to 1800 MHz
clock           up to 2400 MHz, capped at 1500 MHz now, governor `ondemand`
kernels         cpu (avx2 kernels); the processor has avx2 fma; `avx-vnni` would need avxvnni
caches          L1 data 6 × 64 KiB, L3 1 × 2 MiB
memory          2.00 GiB of 4.00 GiB available
memory limit    512 MiB left of 1.50 GiB, set by `memory.high` of the group above its own
swap            768 MiB of 1.00 GiB free; models are never planned into it
disk            12.00 GiB free of 29.00 GiB where models are kept, ext4, SD card: models load slowly, and writing wears it
accelerator     Hailo 1e60:2864 (neural processor, driver `hailo`): not used: this program has no kernels for it
temperature     81.2 °C by `cpu-thermal`, limit 85.0 °C
held back       yes, at this moment; the firmware throttles the processor now
power           the voltage is too low
waiting         51.60 % for a processor, of the last ten seconds
memory speed    9.00 GiB/s read by all cores together
kernel speed    Q8_0 on 2 threads: decodes 8.00 GiB/s, reads prompts with 12345 million multiply-adds/s
measured        in 2.4 s over 64 MiB, more than the last cache of 2 MiB; others took 1.9 cores
measured        slower than it could be: other programs took 1.9 cores meanwhile
";
    assert_eq!(text(&board()), expected);
}

#[test]
fn a_machine_that_tells_nothing_gets_the_few_rows_that_are_known() {
    let nothing = Measurements { cpu: "x86_64".to_owned(), cores: 1, ..Measurements::default() };
    let expected = "\
processor       x86_64
cores           1 used for models
kernels         cpu (avx2 kernels)
memory          0 KiB of 0 KiB available
memory limit    none
disk            0 KiB free where models are kept
memory speed    0 KiB/s read by all cores together
";
    assert_eq!(text(&nothing), expected);
}

#[test]
fn a_buffer_that_a_cache_holds_is_said_to_be_one_and_sizes_have_units() {
    let mut found = board();
    if let Some(machine) = &mut found.machine {
        machine.processor.caches[1].bytes = 96 << 20;
    }
    assert!(text(&found).contains("over 64 MiB, which the last cache of 96 MiB holds"));
    assert_eq!([0, 1 << 20, (1 << 30) - 1, 3 << 29].map(bytes), ["0 KiB", "1 MiB", "1023 MiB", "1.50 GiB"]);
}
