//! The tally of any log is what its leaves say, whatever was kept of it.

use proptest::prelude::*;

use super::*;

fn database(kinds: &[&str]) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    let leaves = "CREATE TABLE leaves (idx INTEGER PRIMARY KEY, hash BLOB NOT NULL, bytes BLOB NOT NULL) STRICT;";
    connection.execute_batch(&format!("{leaves}{TABLE}")).unwrap();
    for (index, kind) in (0_u64..).zip(kinds) {
        let leaf = format!("{{\"type\":\"{kind}\"}}");
        connection.execute("INSERT INTO leaves VALUES (?1, x'', ?2)", (index, leaf.into_bytes())).unwrap();
    }
    connection
}

const KINDS: [&str; 4] = ["boot", "infer.start", "infer.end", "summary"];

fn kinds() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(KINDS.as_slice()), 0..40)
}

/// Counted without the code under test.
fn expected(kinds: &[&str]) -> (u64, Counts) {
    let from = kinds.iter().rposition(|kind| *kind == "summary").unwrap_or(0);
    let mut counts = Counts::new();
    for kind in &kinds[from..] {
        *counts.entry((*kind).to_owned()).or_default() += 1;
    }
    (from as u64, counts)
}

#[test]
fn what_has_no_leaves_and_the_time_since_the_last_summary_survive_a_restart() {
    let connection = database(&["boot", "infer.start"]);
    let mut tally = Tally::load(&connection, 2).unwrap();
    tally.add_unrecorded(Kind::InferStart);
    tally.elapsed = Duration::from_secs(1800);
    tally.store(&connection, 2).unwrap();
    let tally = Tally::load(&connection, 2).unwrap();
    assert_eq!(tally.unrecorded, Counts::from([("infer.start".to_owned(), 1)]));
    let hour = Duration::from_secs(3600);
    assert!(tally.due(hour).unwrap() <= Instant::now() + hour / 2);
}

#[test]
fn a_summary_is_due_only_where_it_says_something() {
    let mut tally = Tally::load(&database(&["boot", "summary"]), 2).unwrap();
    assert_eq!(tally.due(Duration::ZERO), None);
    tally.add(2, "admin.act");
    assert!(tally.due(Duration::ZERO).is_some());
}

proptest! {
    #[test]
    fn the_tally_is_what_the_leaves_say_wherever_it_was_kept(kinds in kinds(), kept in any::<prop::sample::Index>()) {
        let connection = database(&kinds);
        let size = kinds.len() as u64;
        let kept = kept.index(kinds.len() + 1);
        let part = Tally::load(&database(&kinds[..kept]), kept as u64).unwrap();
        part.store(&connection, kept as u64).unwrap();
        let tally = Tally::load(&connection, size).unwrap();
        prop_assert_eq!((tally.from, tally.counts), expected(&kinds));
    }

    #[test]
    fn a_row_that_cannot_be_is_not_believed(
        kinds in kinds(), first in 0_i64..60, until in 0_i64..60, counts in "\\{\\}|\\{\"boot\":[0-9]{1,20}\\}|[a-z{]{0,5}",
    ) {
        let connection = database(&kinds);
        let row = (first, until, &counts);
        connection.execute("INSERT INTO tally VALUES (1, ?1, ?2, ?3, '{}', 0)", row).unwrap();
        let size = kinds.len() as u64;
        let tally = Tally::load(&connection, size).unwrap();
        // Whatever it begins with, it counts up to the last record and no record twice.
        prop_assert_eq!(tally.counts.values().sum::<u64>(), size - tally.from);
    }
}
