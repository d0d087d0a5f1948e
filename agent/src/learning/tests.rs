//! What answers teach is bounded, smoothed, kept, and given to whoever plans.

use std::path::Path;

use outpost_contract::{KernelSpeed, PassSpeed};
use outpost_engine::gguf::Gguf;

use super::*;

fn facts() -> VariantFacts {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/outpost-demo-f16.gguf");
    let info = Gguf::open(&file).unwrap().info();
    crate::facts::variant("demo".parse().unwrap(), 1, &info)
}

fn machine() -> Measurements {
    let kernel = KernelSpeed {
        format: "F16".to_owned(),
        threads: 2,
        decode_bytes_per_second: 10_000_000_000,
        prefill_macs_per_second: 50_000_000_000,
        cached_bytes_per_second: Some(20_000_000_000),
    };
    let pass = PassSpeed {
        threads: 2,
        cache_bytes: 32 << 20,
        layer_ns: 5_000,
        elements_per_second: 1_000_000_000,
        fetched_elements_per_second: 5_000_000_000,
        attended_elements_per_second: 10_000_000_000,
        attended_macs_per_second: 40_000_000_000,
        logits_per_second: 100_000_000,
    };
    Measurements {
        cores: 2,
        memory_read_bytes_per_second: 20_000_000_000,
        kernels: vec![kernel],
        passes: vec![pass],
        ..Measurements::default()
    }
}

/// An answer that took so many times what is predicted.
fn answer(times: f64) -> Finished {
    let (facts, machine) = (facts(), machine());
    let next = next_token_ns(&facts, &machine, &Run { threads: 2, depth_tokens: 100 + 10 }).unwrap();
    let first = first_token_ns(&facts, &machine, 2, 100).unwrap();
    let [first, next] = [first, next].map(|nanoseconds| Duration::from_nanos(nanoseconds).mul_f64(times));
    Finished {
        reason: FinishReason::Length,
        stop_text: None,
        prompt_tokens: 100,
        cached_tokens: 0,
        drafted_tokens: [0, 0],
        generated_tokens: 20,
        time_to_first_token: Some(first),
        total_time: first + next * 19,
        alone: true,
    }
}

fn open(folder: &Path) -> Learning {
    let (ledger, earlier) = Ledger::open(folder, LEDGER).unwrap();
    let learning = Learning::new(ledger, earlier);
    learning.correct(machine());
    learning
}

#[test]
fn answers_move_the_ratio_and_a_restart_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let learning = open(folder.path());
    for _ in 0..KEPT_EVERY {
        learning.hear(&facts(), 2, &answer(1.5));
    }
    let learned = learning.corrections();
    assert_eq!(learned.len(), 1);
    for one in [learned[0].decode, learned[0].first_token] {
        assert!((1_490..=1_510).contains(&one.ratio_milli) && one.answers == KEPT_EVERY, "{learned:?}");
    }
    drop(learning);
    assert_eq!(open(folder.path()).corrections(), learned);
    let plain = outpost_planner::speed(&facts(), &machine());
    let corrected = outpost_planner::speed(&facts(), &open(folder.path()).correct(machine()));
    assert!(corrected.tokens_per_second_milli < plain.tokens_per_second_milli);
    assert!(corrected.to_string().contains("corrected by 32 answers"), "{corrected}");
}

#[test]
fn what_says_nothing_of_speed_teaches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let learning = open(folder.path());
    let fair = answer(1.0);
    let others = [
        Finished { alone: false, ..fair.clone() },
        Finished { reason: FinishReason::Cancelled, ..fair.clone() },
        Finished { time_to_first_token: None, ..fair.clone() },
        Finished { cached_tokens: 32, drafted_tokens: [4, 2], ..fair.clone() },
        Finished { prompt_tokens: 2, generated_tokens: 2, ..fair.clone() },
        // Off by more than any correction: a machine that slept meanwhile.
        answer(100.0),
        answer(0.01),
    ];
    for other in others {
        learning.hear(&facts(), 2, &other);
        assert!(learning.corrections().is_empty(), "{other:?}");
    }
    learning.hear(&facts(), 2, &fair);
    assert_eq!(learning.corrections().len(), 1);
    learning.forget();
    assert_eq!((learning.corrections(), open(folder.path()).corrections()), (Vec::new(), Vec::new()));
}

#[test]
fn variants_are_forgotten_where_there_are_many() {
    let folder = tempfile::tempdir().unwrap();
    let learning = open(folder.path());
    for number in 0..MOST_VARIANTS + 5 {
        let mut facts = facts();
        facts.model.model = format!("model-{number}").parse().unwrap();
        learning.hear(&facts, 2, &answer(1.0));
    }
    assert_eq!(learning.corrections().len(), MOST_VARIANTS);
}
