//! Every byte of every file of the small log, one at a time.

use std::path::Path;

use crate::subject::{Subject, large, small};
use crate::trial::{Demand, Trial, files};

/// Where each byte of a folder lies: the files one after the other.
struct Bytes {
    files: Vec<(String, u64)>,
}

impl Bytes {
    fn of(folder: &Path, wanted: impl Fn(&str) -> bool) -> Self {
        let length = |name: &String| std::fs::metadata(folder.join(name)).unwrap().len();
        let files = files(folder).into_iter().filter(|name| wanted(name));
        Self { files: files.map(|name| (name.clone(), length(&name))).collect() }
    }

    fn count(&self) -> usize {
        usize::try_from(self.files.iter().map(|(_, length)| length).sum::<u64>()).unwrap()
    }

    fn at(&self, place: usize) -> (&str, u64) {
        let mut offset = place as u64;
        for (name, length) in &self.files {
            if offset < *length {
                return (name, offset);
            }
            offset -= length;
        }
        unreachable!("there is no byte {place}")
    }
}

/// One flipped bit in each byte of the files of a folder; in each file, other bits are flipped in other bytes.
fn flip_each(name: &str, subject: &Subject, folder: &str, short: usize, wanted: &(dyn Fn(&str) -> bool + Sync)) {
    let path = subject.path(folder);
    let bytes = Bytes::of(&path, wanted);
    Trial {
        name,
        folder: &path,
        options: subject.options(),
        policy: (folder == "tiles").then_some(&subject.policy),
        places: bytes.count(),
        short,
        tamper: &|copy, place| {
            let (file, offset) = bytes.at(place);
            copy.flip(file, offset, 1 << (offset % 8));
            if file == "audit.db" { Demand::SeenOrWithoutEffect } else { Demand::Seen }
        },
    }
    .run();
}

/// Every bit of the files of a folder that are text.
fn flip_each_bit(name: &str, subject: &Subject, folder: &str, short: usize, wanted: &(dyn Fn(&str) -> bool + Sync)) {
    let path = subject.path(folder);
    let bytes = Bytes::of(&path, wanted);
    Trial {
        name,
        folder: &path,
        options: subject.options(),
        policy: (folder == "tiles").then_some(&subject.policy),
        places: bytes.count() * 8,
        short,
        tamper: &|copy, place| {
            let (file, offset) = bytes.at(place / 8);
            copy.flip(file, offset, 1 << (place % 8));
            Demand::Seen
        },
    }
    .run();
}

#[test]
fn every_byte_of_the_database() {
    flip_each("small log, audit.db: bytes", small(), "store", 200, &|name| name == "audit.db");
}

#[test]
fn every_byte_of_the_tiles() {
    flip_each("small log, tiles: bytes", small(), "tiles", 200, &|_| true);
}

#[test]
fn every_byte_of_the_lines_and_their_manifest() {
    flip_each("small log, lines: bytes", small(), "lines", 200, &|_| true);
}

#[test]
fn every_bit_of_the_notes_and_keys_beside() {
    // The reserve holds nothing but room.
    let is_text = |name: &str| !matches!(name, "audit.db" | "reserve");
    flip_each_bit("small log: bits of the files beside", small(), "store", 200, &is_text);
    flip_each_bit("small tiles: bits of checkpoint, cosignature and key", small(), "tiles", 200, &|name| {
        !name.contains('/')
    });
    flip_each_bit("small lines: bits of manifest and key", small(), "lines", 200, &|name| {
        name == "manifest" || name == "audit.vkey"
    });
}

#[test]
fn bytes_of_the_large_database_wherever_they_are() {
    // One at a time this is days: the leaves and hashes, which are most of it, are flipped by the hundred elsewhere.
    let subject = large();
    let path = subject.path("store");
    let length = std::fs::metadata(path.join("audit.db")).unwrap().len();
    Trial {
        name: "large log, audit.db: bytes anywhere",
        folder: &path,
        options: subject.options(),
        policy: None,
        places: 1_500,
        short: 10,
        tamper: &|copy, _| {
            let offset = crate::random(usize::try_from(length).unwrap()) as u64;
            copy.flip("audit.db", offset, 1 << crate::random(8));
            Demand::SeenOrWithoutEffect
        },
    }
    .run();
}
