//! Looks for bytes in every file below a directory: as they are, in hexadecimal, and in base64.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Fails with the file in which one of these is found.
pub(crate) fn assert_nowhere(directory: &Path, needles: &[Vec<u8>]) {
    let files = files(directory);
    assert!(files.len() >= 3, "{files:?}");
    for file in &files {
        for (number, needle) in needles.iter().enumerate() {
            assert!(!holds(file, needle), "needle {number} is in {}", file.display());
        }
    }
}

/// Whether one file holds these bytes.
pub(crate) fn is_somewhere(directory: &Path, needle: &[u8]) -> bool {
    files(directory).iter().any(|file| holds(file, needle))
}

/// How many of these are found, as they are, in any file. All of one length.
pub(crate) fn count_found(directory: &Path, needles: &[Vec<u8>]) -> usize {
    let length = needles[0].len();
    let wanted: HashSet<&[u8]> = needles.iter().map(Vec::as_slice).collect();
    let mut begins = vec![false; 1 << 16];
    wanted.iter().for_each(|needle| begins[usize::from(u16::from_ne_bytes([needle[0], needle[1]]))] = true);
    let mut found = HashSet::new();
    for file in files(directory) {
        let bytes = read(&file);
        for window in bytes.windows(length) {
            if begins[usize::from(u16::from_ne_bytes([window[0], window[1]]))]
                && let Some(needle) = wanted.get(window)
            {
                found.insert(*needle);
            }
        }
    }
    found.len()
}

/// The bytes of a file. One that was half written when the files were listed may have got its name since.
fn read(file: &Path) -> Vec<u8> {
    match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.extension() == Some("tmp".as_ref()) => {
            let name = file.file_stem().and_then(|stem| Path::new(stem).file_stem()).unwrap().to_str().unwrap();
            std::fs::read(file.with_file_name(&name[1..])).unwrap()
        }
        bytes => bytes.unwrap(),
    }
}

fn holds(file: &Path, needle: &[u8]) -> bool {
    let bytes = read(file);
    // Four letters or fewer are found in any signature. In base64 the first and last letter depend on what stands beside, so for each of three positions the middle.
    let base64 = (0..3).map(|skip| {
        let whole = needle.len().saturating_sub(skip) / 3 * 3;
        STANDARD_NO_PAD.encode(&needle[skip..skip + whole]).into_bytes()
    });
    let written = [needle.to_vec(), hex::encode(needle).into_bytes()].into_iter().chain(base64);
    written.filter(|form| form.len() > 4).any(|form| contains(&bytes, &form))
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == needle[0]) {
        if bytes[from + at..].starts_with(needle) {
            return true;
        }
        from += at + 1;
    }
    false
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_form_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let needle = b"a key of which nothing may stay.".to_vec();
    let path = directory.path().join("file");
    for before in 0..3 {
        let text = [vec![b'x'; before], needle.clone(), b"yz".to_vec()].concat();
        for written in [text.clone(), hex::encode(&text).into_bytes(), STANDARD_NO_PAD.encode(&text).into_bytes()] {
            outpost_disk::atomic::write(&path, written).unwrap();
            assert!(is_somewhere(directory.path(), &needle), "{before}");
        }
    }
    outpost_disk::atomic::write(&path, b"a key of which nothing may stay!").unwrap();
    assert!(!is_somewhere(directory.path(), &needle));
}
