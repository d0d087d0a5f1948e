//! The gate under clocks that jump, restarts, and a source in memory.

use std::path::Path;

use outpost_contract::Blake3;
use outpost_policies::{Bundle, Policies};
use outpost_store::MemorySource;

use super::*;

const MIB: usize = 1024 * 1024;

/// 2026-12-01T12:00:00Z.
const NOON_S: i64 = 1_796_126_400;

fn policies(rules: &str) -> InForce {
    let mut bundle = Bundle::default_bundle();
    bundle.transfer =
        Bundle::from_files(1, [("bundle.toml", format!("[transfer]\n{rules}").as_str())]).unwrap().transfer;
    InForce::new(Policies::activate(bundle).unwrap())
}

fn gate(rules: &str, clock: &Clock, dir: &Path) -> Gate {
    Gate::new(policies(rules), clock.clone(), |_| 3600, Ledger::open(dir, "transfer").unwrap())
}

/// So many chunks of a quarter of a MiB, all different, and a source that has them.
fn chunks(count: usize) -> (Vec<Chunk>, MemorySource) {
    let bytes: Vec<u8> = (0..count).flat_map(|index| vec![u8::try_from(index).unwrap(); MIB / 4]).collect();
    let chunk = |index: usize| Chunk { id: Blake3([u8::try_from(index).unwrap(); 32]), bytes: (MIB / 4) as u32 };
    let chunks: Vec<Chunk> = (0..count).map(chunk).collect();
    let source = MemorySource::of(&bytes, &chunks);
    (chunks, source)
}

/// Fetches through the gate: how many chunks came, and how it ended.
async fn fetch(gate: &Gate, wanted: &[Chunk], source: &MemorySource) -> (usize, Result<(), SourceError>) {
    let (deliver, mut arrivals) = mpsc::channel(1024);
    let outcome = Gated { gate, source }.fetch(wanted, deliver).await;
    let mut count = 0;
    while arrivals.recv().await.is_some() {
        count += 1;
    }
    (count, outcome)
}

#[tokio::test]
async fn outside_the_hours_nothing_is_fetched_and_it_is_said_when_it_opens() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::fixed(NOON_S);
    let gate = gate("hours = \"22:00-06:00\"", &clock, dir.path());
    let closed = gate.closed().unwrap();
    assert_eq!(closed.code, ReasonCode::WindowClosed);
    assert!(closed.detail.contains("opens at 22:00, in 9 h 0 min"), "{}", closed.detail);
    let (wanted, source) = chunks(2);
    let (count, outcome) = fetch(&gate, &wanted, &source).await;
    assert!(count == 0 && outcome.is_err());
    clock.advance(Duration::from_secs(9 * 3600));
    assert_eq!(gate.closed(), None);
    assert_eq!(fetch(&gate, &wanted, &source).await, (2, Ok(())));
}

#[tokio::test]
async fn a_budget_is_never_exceeded_and_a_restart_gives_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::fixed(NOON_S);
    let (wanted, source) = chunks(9);
    let first = gate("mib_per_day = 1", &clock, dir.path());
    let (count, outcome) = fetch(&first, &wanted, &source).await;
    assert!(count == 4 && outcome.is_err(), "{count}");
    assert_eq!(first.closed().unwrap().code, ReasonCode::BudgetSpent);
    drop(first);
    let second = gate("mib_per_day = 1", &clock, dir.path());
    assert!(second.closed().unwrap().detail.contains("begins in 24 h 0 min"));
    clock.advance(Duration::from_secs(DAY_S as u64));
    assert_eq!(second.closed(), None);
    assert_eq!(fetch(&second, &wanted[4..], &source).await.0, 4);
}

#[tokio::test]
async fn a_clock_that_jumps_opens_no_second_day() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::fixed(NOON_S);
    let gate = gate("mib_per_day = 1", &clock, dir.path());
    let (wanted, source) = chunks(8);
    assert_eq!(fetch(&gate, &wanted, &source).await.0, 4);
    for jump_s in [DAY_S, 10 * 365 * DAY_S, -11 * 365 * DAY_S] {
        clock.step_ms(jump_s * 1000);
        assert_eq!(gate.closed().unwrap().code, ReasonCode::BudgetSpent);
    }
}

#[test]
fn a_power_cut_in_the_middle_leaves_the_bytes_counted() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::fixed(NOON_S);
    let cut = gate("mib_per_day = 1", &clock, dir.path());
    cut.reserve(MIB as u64).unwrap();
    drop(cut);
    assert_eq!(gate("mib_per_day = 1", &clock, dir.path()).left(), Some(0));
    assert_eq!(gate("", &clock, dir.path()).left(), None);
}

/// A clock that a restart opens anew, as over a state directory.
#[tokio::test]
async fn a_clock_that_jumps_across_a_restart_opens_no_second_day_and_what_is_signed_does() {
    let dir = tempfile::tempdir().unwrap();
    let start = |now_s| {
        let clock = Clock::open_fixed(dir.path(), now_s).unwrap();
        (gate("mib_per_day = 1", &clock, dir.path()), clock)
    };
    let (wanted, source) = chunks(12);
    let (first, _clock) = start(NOON_S);
    assert_eq!(fetch(&first, &wanted, &source).await.0, 4);
    drop(first);
    for jump_s in [2 * DAY_S, 3 * 365 * DAY_S, 0] {
        let (again, _clock) = start(NOON_S + jump_s);
        assert_eq!(again.closed().unwrap().code, ReasonCode::BudgetSpent, "{jump_s}");
    }
    let (last, clock) = start(NOON_S + 3600);
    clock.raise_floor(NOON_S + DAY_S - 1).unwrap();
    assert_eq!(last.closed().unwrap().code, ReasonCode::BudgetSpent);
    clock.raise_floor(NOON_S + DAY_S).unwrap();
    assert_eq!(fetch(&last, &wanted[4..], &source).await.0, 4);
    assert_eq!(last.closed().unwrap().code, ReasonCode::BudgetSpent, "one day, one budget");
}
