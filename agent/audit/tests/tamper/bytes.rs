//! Every byte of 10,000 leaves, of the hashes over them and of every signed note, in the database and in the tiles.

use std::collections::HashMap;

use crate::say;
use crate::subject::{Subject, large};
use crate::trial::{Copied, Demand, Trial};

/// Flips that one verification judges: each brings two problems at most, and a report lists a thousand.
const TOGETHER: usize = 480;

/// Every byte of a field of each record: the first of all, the second of all, and so on, many at a time.
fn each_byte_of_each_record(
    (name, folder, short): (&str, &str, usize),
    lengths: &[usize],
    flip: &(dyn Fn(&mut Copied, usize, usize) + Sync),
) {
    let subject = large();
    let path = subject.path(folder);
    let longest = *lengths.iter().max().unwrap();
    let flips: Vec<(usize, usize)> = (0..longest)
        .flat_map(|byte| (0..lengths.len()).filter(move |&index| byte < lengths[index]).map(move |index| (index, byte)))
        .collect();
    Trial {
        name,
        folder: &path,
        options: subject.options(),
        policy: None,
        places: flips.len().div_ceil(TOGETHER),
        short,
        tamper: &|copy, place| {
            let flips = flips[place * TOGETHER..].iter().take(TOGETHER);
            Demand::Named(flips.map(|&(index, byte)| (flip(copy, index, byte), index as u64).1).collect())
        },
    }
    .run();
    say(&format!("{name}: {} flips in all", flips.len()));
}

fn lengths(subject: &Subject) -> Vec<usize> {
    subject.entries.iter().map(|entry| entry.bytes.len()).collect()
}

/// Where the hash of each record lies in `audit.db`; its leaf follows at once.
fn places_in_database(subject: &Subject) -> Vec<u64> {
    let file = std::fs::read(subject.path("store/audit.db")).unwrap();
    let hashes: Vec<Vec<u8>> = subject.entries.iter().map(|entry| hex::decode(&entry.hash_hex).unwrap()).collect();
    let by_hash: HashMap<&[u8], usize> = hashes.iter().zip(0..).map(|(hash, index)| (hash.as_slice(), index)).collect();
    let mut places = vec![None; hashes.len()];
    for (offset, window) in file.windows(32).enumerate() {
        if let Some(&index) = by_hash.get(window)
            && file[offset + 32..].starts_with(&subject.entries[index].bytes)
        {
            assert_eq!(places[index].replace(offset as u64), None, "record {index} lies there twice");
        }
    }
    places.into_iter().map(|place| place.expect("each record lies in one page")).collect()
}

/// The bundle or the tile of a record, and its number there.
fn in_tile(row: &str, index: usize, records: usize) -> (String, usize) {
    let (number, width) = (index / 256, (records - index / 256 * 256).min(256));
    let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
    (format!("tile/{row}/{number:03}{partial}"), index % 256)
}

/// Where each record lies in its bundle, behind the two bytes of its length.
fn places_in_bundles(lengths: &[usize]) -> Vec<(String, u64)> {
    let mut offset = 0;
    let place = |(index, length): (usize, &usize)| {
        let (bundle, number) = in_tile("entries", index, lengths.len());
        offset = if number == 0 { 2 } else { offset + 2 };
        let place = (bundle, offset as u64);
        offset += length;
        place
    };
    lengths.iter().enumerate().map(place).collect()
}

fn mask(byte: usize) -> u8 {
    1 << (byte % 8)
}

#[test]
fn of_each_leaf_in_the_database() {
    let (lengths, places) = (lengths(large()), places_in_database(large()));
    each_byte_of_each_record(("large log, leaves: bytes", "store", 6), &lengths, &|copy, index, byte| {
        copy.flip("audit.db", places[index] + 32 + byte as u64, mask(byte));
    });
}

#[test]
fn of_each_leaf_hash_in_the_database() {
    let places = places_in_database(large());
    each_byte_of_each_record(("large log, leaf hashes: bytes", "store", 4), &[32; 10_000], &|copy, index, byte| {
        copy.flip("audit.db", places[index] + byte as u64, mask(byte));
    });
}

/// The same bytes as text instead of a blob, which no reader takes: in front of them stand the types of both cells.
#[test]
fn of_the_types_of_each_leaf_and_hash() {
    let places = places_in_database(large());
    each_byte_of_each_record(("large log, types of cells", "store", 4), &[2; 10_000], &|copy, index, cell| {
        copy.flip("audit.db", places[index] - [1, 3][cell], 1);
    });
}

#[test]
fn of_each_leaf_in_the_tiles() {
    let lengths = lengths(large());
    let places = places_in_bundles(&lengths);
    each_byte_of_each_record(("large tiles, leaves: bytes", "tiles", 6), &lengths, &|copy, index, byte| {
        let (bundle, offset) = &places[index];
        copy.flip(bundle, offset + byte as u64, mask(byte));
    });
}

#[test]
fn of_each_leaf_hash_in_the_tiles() {
    each_byte_of_each_record(("large tiles, leaf hashes: bytes", "tiles", 4), &[32; 10_000], &|copy, index, byte| {
        let (tile, number) = in_tile("0", index, 10_000);
        copy.flip(&tile, (number * 32 + byte) as u64, mask(byte));
    });
}

/// A wrong length moves all that follows in the bundle: one in each bundle at a time.
#[test]
fn of_each_length_in_the_tiles() {
    let subject = large();
    let (path, places) = (subject.path("tiles"), places_in_bundles(&lengths(subject)));
    Trial {
        name: "large tiles, lengths: bits",
        folder: &path,
        options: subject.options(),
        policy: None,
        places: 256 * 16,
        short: 6,
        tamper: &|copy, place| {
            let (number, bit) = (place / 16, place % 16);
            let records: Vec<usize> = (number..10_000).step_by(256).collect();
            for &index in &records {
                let (bundle, offset) = &places[index];
                copy.flip(bundle, offset - 2 + (bit / 8) as u64, mask(bit));
            }
            Demand::Named(records.into_iter().map(|index| index as u64).collect())
        },
    }
    .run();
}

/// Each of them is over 256 records, of which the first is named.
#[test]
fn of_each_hash_of_the_second_level() {
    let subject = large();
    let path = subject.path("tiles");
    Trial {
        name: "large tiles, second level: bits",
        folder: &path,
        options: subject.options(),
        policy: None,
        places: 32 * 8,
        short: 4,
        tamper: &|copy, place| {
            let named = 0..10_000 / 256;
            for hash in named.clone() {
                copy.flip("tile/1/000.p/39", hash * 32 + (place / 8) as u64, mask(place));
            }
            Demand::Named(named.map(|hash| hash * 256).collect())
        },
    }
    .run();
}

/// The signed head, every checkpoint that was kept, the root, the edge of the tree and the nodes, wherever the database has
/// them: one at a time.
#[test]
fn of_each_note_and_node_in_the_database() {
    let subject = large();
    let path = subject.path("store");
    let file = std::fs::read(path.join("audit.db")).unwrap();
    let cells: Vec<Vec<u8>> = {
        let database = rusqlite::Connection::open(path.join("audit.db")).unwrap();
        let query =
            "SELECT CAST(note AS BLOB) FROM checkpoints UNION SELECT root FROM tree UNION SELECT frontier FROM tree
            UNION SELECT CAST(note AS BLOB) FROM tree UNION SELECT hash FROM nodes";
        let mut statement = database.prepare(query).unwrap();
        statement.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut offsets = std::collections::BTreeSet::new();
    for cell in &cells {
        let places = file.windows(cell.len()).enumerate().filter(|(_, window)| window == cell);
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        assert!(!places.is_empty(), "each lies in one page");
        places.into_iter().for_each(|place| offsets.extend(place as u64..(place + cell.len()) as u64));
    }
    let offsets: Vec<u64> = offsets.into_iter().collect();
    Trial {
        name: "large log, notes and nodes: bytes",
        folder: &path,
        options: subject.options(),
        policy: None,
        places: offsets.len(),
        short: 10,
        tamper: &|copy, place| {
            copy.flip("audit.db", offsets[place], mask(place));
            Demand::Seen
        },
    }
    .run();
}

/// The head of the tiles, the log's line and the witness's: an auditor whose policy wants the witness sees every bit.
#[test]
fn of_the_checkpoint_and_its_cosignature() {
    let subject = large();
    let (path, length) = (subject.path("tiles"), subject.cosigned.len());
    Trial {
        name: "large tiles, checkpoint and cosignature: bits",
        folder: &path,
        options: subject.options(),
        policy: Some(&subject.policy),
        places: length * 8,
        short: 10,
        tamper: &|copy, place| {
            copy.flip("checkpoint", (place / 8) as u64, mask(place));
            Demand::Seen
        },
    }
    .run();
}
