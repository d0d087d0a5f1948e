//! Every record of 10,000 deleted, moved and doubled.

use crate::subject::large;
use crate::trial::{Copied, Demand, Trial};

/// Changes that one verification judges, each of another record that must be named.
const TOGETHER: usize = 200;
const RECORDS: usize = 10_000;
const STRIDE: usize = RECORDS / TOGETHER;

/// In the database, every record: `tamper` is told which ones are this pass's, and makes the statements.
fn in_the_database(name: &str, tamper: &(dyn Fn(u64) -> (String, Vec<u64>) + Sync), records: usize) {
    let subject = large();
    let path = subject.path("store");
    Trial {
        name,
        folder: &path,
        options: subject.options(),
        policy: None,
        places: STRIDE,
        short: 3,
        tamper: &|copy, place| {
            let done = (place..records).step_by(STRIDE).map(|index| tamper(index as u64));
            let (statements, named): (Vec<String>, Vec<Vec<u64>>) = done.unzip();
            copy.sql(&statements.concat());
            Demand::Named(named.concat())
        },
    }
    .run();
}

#[test]
fn deleted() {
    in_the_database(
        "large log: deleted records",
        &|index| (format!("DELETE FROM leaves WHERE idx = {index};"), vec![index]),
        RECORDS,
    );
}

#[test]
fn moved() {
    in_the_database(
        "large log: records that changed places",
        &|index| {
            let next = index + 1;
            let swap = format!(
                "UPDATE leaves SET idx = -1 WHERE idx = {index}; UPDATE leaves SET idx = {index} WHERE idx = {next};
                 UPDATE leaves SET idx = {next} WHERE idx = -1;"
            );
            (swap, vec![index, next])
        },
        RECORDS - 1,
    );
}

#[test]
fn doubled_in_place_of_the_next() {
    in_the_database(
        "large log: records in place of the next",
        &|index| {
            let next = index + 1;
            let copied = format!("SELECT hash, bytes FROM leaves WHERE idx = {index}");
            (format!("UPDATE leaves SET (hash, bytes) = ({copied}) WHERE idx = {next};"), vec![next])
        },
        RECORDS - 1,
    );
}

#[test]
fn doubled_at_the_end() {
    in_the_database(
        "large log: records added again",
        &|index| {
            let end = (RECORDS + usize::try_from(index).unwrap() / STRIDE) as u64;
            (format!("INSERT INTO leaves SELECT {end}, hash, bytes FROM leaves WHERE idx = {index};"), vec![end])
        },
        RECORDS,
    );
}

/// In the database with all that follows moved up or down, so that no index is missing: one at a time, so every tenth.
#[test]
fn deleted_and_doubled_with_the_rest_moved() {
    let subject = large();
    let path = subject.path("store");
    Trial {
        name: "large log: deleted or doubled, the rest moved",
        folder: &path,
        options: subject.options(),
        policy: None,
        places: RECORDS / 5,
        short: 4,
        tamper: &|copy, place| {
            let index = (place / 2 * 10) as u64;
            // In two steps, so that no two records have one index on the way.
            let shift = |by: i64| {
                format!(
                    "UPDATE leaves SET idx = -idx - 1 WHERE idx > {index}; UPDATE leaves SET idx = -idx - 1 + {by} WHERE idx < 0;"
                )
            };
            if place % 2 == 0 {
                copy.sql(&format!("DELETE FROM leaves WHERE idx = {index}; {}", shift(-1)));
                Demand::Named(vec![index])
            } else {
                let next = index + 1;
                let insert = format!("INSERT INTO leaves SELECT {next}, hash, bytes FROM leaves WHERE idx = {index};");
                copy.sql(&format!("{} {insert}", shift(1)));
                Demand::Named(vec![next])
            }
        },
    }
    .run();
}

/// Changes the records of a bundle at a place, and says which ones must be named; none if nothing can be done there.
type InBundle<'a> = &'a (dyn Fn(&mut Vec<&[u8]>, usize) -> Option<Vec<usize>> + Sync);

/// In the tiles, one record of each bundle at a time.
fn in_the_tiles(name: &str, places: usize, tamper: InBundle<'_>) {
    let subject = large();
    let path = subject.path("tiles");
    Trial {
        name,
        folder: &path,
        options: subject.options(),
        policy: None,
        places,
        short: 4,
        tamper: &|copy: &mut Copied, place| {
            let mut named = Vec::new();
            for (number, bundle) in subject.entries.chunks(256).enumerate().filter(|(_, bundle)| place < bundle.len()) {
                let mut records: Vec<&[u8]> = bundle.iter().map(|entry| entry.bytes.as_slice()).collect();
                if let Some(wrong) = tamper(&mut records, place) {
                    copy.write(&bundle_name(number), &to_bundle(&records));
                    named.extend(wrong.into_iter().map(|wrong| (number * 256 + wrong) as u64));
                }
            }
            Demand::Named(named)
        },
    }
    .run();
}

/// The file of a bundle of 10,000 records.
pub(crate) fn bundle_name(number: usize) -> String {
    let width = (RECORDS - number * 256).min(256);
    let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
    format!("tile/entries/{number:03}{partial}")
}

/// Each behind two bytes of its length.
pub(crate) fn to_bundle(records: &[&[u8]]) -> Vec<u8> {
    let framed = |record: &&[u8]| [&u16::try_from(record.len()).unwrap().to_be_bytes()[..], record].concat();
    records.iter().flat_map(framed).collect()
}

#[test]
fn deleted_from_the_tiles() {
    in_the_tiles("large tiles: deleted records", 256, &|records, place| {
        records.remove(place);
        Some(vec![place])
    });
}

#[test]
fn moved_in_the_tiles() {
    in_the_tiles("large tiles: records that changed places", 255, &|records, place| {
        (place + 1 < records.len()).then(|| records.swap(place, place + 1)).map(|()| vec![place, place + 1])
    });
}

/// The last of a bundle with the first of the next.
#[test]
fn moved_between_bundles() {
    let subject = large();
    let path = subject.path("tiles");
    Trial {
        name: "large tiles: records that changed bundles",
        folder: &path,
        options: subject.options(),
        policy: None,
        places: RECORDS / 256,
        short: 4,
        tamper: &|copy, place| {
            let mut records: Vec<&[u8]> = subject.entries.iter().map(|entry| entry.bytes.as_slice()).collect();
            let next = (place + 1) * 256;
            records.swap(next - 1, next);
            for (number, bundle) in records.chunks(256).enumerate().skip(place).take(2) {
                copy.write(&bundle_name(number), &to_bundle(bundle));
            }
            Demand::Named(vec![next as u64 - 1, next as u64])
        },
    }
    .run();
}

#[test]
fn doubled_in_the_tiles() {
    in_the_tiles("large tiles: doubled records", 256, &|records, place| {
        records.insert(place + 1, records[place]);
        // Behind the last of a bundle stands no other that could be named: there it is the bundle that is too long.
        let has_next = place + 2 < records.len();
        Some(if has_next { vec![place + 1] } else { Vec::new() })
    });
}
