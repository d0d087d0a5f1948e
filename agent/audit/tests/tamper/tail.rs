//! The tail cut off, at every size.

use crate::records::{bundle_name, to_bundle};
use crate::subject::large;
use crate::trial::{Demand, Trial};

const RECORDS: usize = 10_000;

#[test]
fn of_the_database() {
    let subject = large();
    let path = subject.path("store");
    Trial {
        name: "large log: tail cut",
        folder: &path,
        options: subject.options(),
        policy: None,
        places: RECORDS,
        short: 4,
        tamper: &|copy, size| {
            copy.sql(&format!(
                "DELETE FROM leaves WHERE idx >= {size}; DELETE FROM open_requests WHERE idx >= {size};
                 DELETE FROM nodes WHERE level = 1 AND idx >= {};",
                size / 256
            ));
            Demand::Named(vec![size as u64])
        },
    }
    .run();
}

/// Records, hashes and the names of the files as a log of that size has them; only the signed head is of more.
#[test]
fn of_the_tiles() {
    let subject = large();
    let path = subject.path("tiles");
    Trial {
        name: "large tiles: tail cut",
        folder: &path,
        options: subject.options(),
        policy: None,
        places: RECORDS,
        short: 4,
        tamper: &|copy, size| {
            let (full, rest) = (size / 256, size % 256);
            for number in full..RECORDS.div_ceil(256) {
                let width = (RECORDS - number * 256).min(256);
                let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
                let names = ["entries", "0"].map(|row| format!("tile/{row}/{number:03}{partial}"));
                let hashes = copy.read(&names[1]);
                names.iter().for_each(|name| copy.remove(name));
                if number == full && rest > 0 {
                    let left: Vec<&[u8]> =
                        subject.entries[full * 256..size].iter().map(|entry| entry.bytes.as_slice()).collect();
                    copy.write(&format!("tile/entries/{number:03}.p/{rest}"), &to_bundle(&left));
                    copy.write(&format!("tile/0/{number:03}.p/{rest}"), &hashes[..rest * 32]);
                }
            }
            let upper = copy.read("tile/1/000.p/39");
            copy.remove("tile/1/000.p/39");
            if full > 0 {
                copy.write(&format!("tile/1/000.p/{full}"), &upper[..full * 32]);
            }
            // Files are missing as a whole, so the first record of the first of them is named.
            Demand::Named(vec![(full * 256) as u64])
        },
    }
    .run();
}

/// Only the bundle is cut: the very record is named.
#[test]
fn of_one_bundle() {
    let subject = large();
    let path = subject.path("tiles");
    Trial {
        name: "large tiles: bundles cut",
        folder: &path,
        options: subject.options(),
        policy: None,
        places: 256,
        short: 4,
        tamper: &|copy, kept| {
            let mut named = Vec::new();
            for (number, bundle) in subject.entries.chunks(256).enumerate().filter(|(_, bundle)| kept < bundle.len()) {
                let left: Vec<&[u8]> = bundle[..kept].iter().map(|entry| entry.bytes.as_slice()).collect();
                copy.write(&bundle_name(number), &to_bundle(&left));
                named.push((number * 256 + kept) as u64);
            }
            Demand::Named(named)
        },
    }
    .run();
}
