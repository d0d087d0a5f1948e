//! The short form of `tests/fuzz`: the same readers, fed with thousands of mutated fixtures, the same ones each time.

#[path = "../fuzz/src/readers.rs"]
#[expect(unreachable_pub, reason = "the campaigns take it from here too")]
mod readers;

use std::fs;
use std::path::{Path, PathBuf};

use outpost_engine::gguf;
use outpost_engine::tokenizer::{Tokenizer, huggingface};

/// Mutants of every fixture.
const MUTANTS: u64 = 400;
/// What a mutation may touch, bytes from the start: headers are shorter than this.
const TOUCHED: usize = 24 << 10;

/// A small generator of numbers that are the same on every machine (Marsaglia's xorshift, 64 bits).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// One to four changes: a bit, a byte that means something, a large number, a part twice, a part gone, an early end.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let reach = bytes.len().min(TOUCHED);
        if reach == 0 {
            break;
        }
        let at = random.below(reach);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'{', b'%', b'<'][random.below(8)],
            2 => {
                let number = [u64::MAX, 1 << 63, 1 << 32, 0xffff_ffff, 1 << 40][random.below(5)].to_le_bytes();
                bytes.iter_mut().skip(at).zip(number).for_each(|(byte, number)| *byte = number);
            }
            3 => {
                let part = bytes[at..(at + random.below(64)).min(reach)].to_vec();
                bytes.splice(at..at, part);
            }
            4 => drop(bytes.drain(at..(at + random.below(64)).min(reach))),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).expect("the folder is in the tree");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    files.sort();
    assert!(!files.is_empty(), "no {extension} in {}", folder.display());
    files
}

fn feed(files: &[PathBuf], reader: fn(&[u8])) {
    for (seed, file) in files.iter().enumerate() {
        let bytes = fs::read(file).expect("the fixture can be read");
        let mut random = Random(0x9e37_79b9_7f4a_7c15 + seed as u64);
        reader(&bytes);
        (0..MUTANTS).for_each(|_| reader(&mutate(&bytes, &mut random)));
    }
}

#[test]
fn the_seeds_themselves_are_sound() {
    for file in files("fuzz/seeds", "gguf") {
        let header = gguf::parse(&fs::read(&file).expect("it can be read")).expect("a seed is a sound file");
        let has_words = header.get("tokenizer.ggml.tokens").is_some();
        assert!(!has_words || Tokenizer::from_metadata(&header.metadata).is_ok(), "{}", file.display());
    }
    for file in files("fuzz/seeds", "json") {
        let metadata = huggingface::metadata(&fs::read(&file).expect("it can be read"), None);
        let metadata = metadata.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Tokenizer::from_metadata(&metadata).expect("a seed is a vocabulary that loads");
    }
}

#[test]
fn mutated_model_files_are_read_or_refused_and_keep_their_promises() {
    feed(&files("../../tests/fixtures/golden", "gguf"), readers::gguf_validator);
}

#[test]
fn mutated_vocabularies_are_refused_or_write_what_they_read() {
    feed(&files("fuzz/seeds", "gguf"), readers::tokenizer_loader);
    feed(&files("fuzz/seeds", "json"), readers::tokenizer_loader);
}

#[test]
fn mutated_templates_render_or_say_why_not() {
    feed(&files("fuzz/seeds", "jinja"), readers::template_renderer);
}
