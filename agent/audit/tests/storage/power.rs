//! Power cuts: what was written and not synced is lost, kept or torn at will, and the log must open, verify and have what
//! it acknowledged.
//!
//! `kill -9` keeps what the kernel holds; a power cut does not. So a recorder runs once under `strace`, and its trace is
//! played back up to random moments on a disk that is as forgetful as POSIX lets it be: of the writes since a file's
//! last sync any subset arrives, each whole or up to a sector, and of the names since the directory's last sync any
//! beginning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::recorder::{Acknowledged, assert_nothing_is_lost, parse, run, under_strace};
use crate::trace::{Event, read};
use crate::{is_whole_campaign, random, say};

const SECTOR: usize = 512;

/// Cuts in the whole campaign and in the short form.
const CUTS: (usize, usize) = (1_000, 40);

/// One file, as the disk has it and as the program sees it.
#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Write {
    /// The write, or only the sectors that a cut lets through.
    fn apply(&self, content: &mut Vec<u8>, sectors: usize) {
        match self {
            Self::Length(length) => content.resize(*length, 0),
            Self::Bytes { offset, bytes } => {
                let bytes = &bytes[..bytes.len().min(sectors.saturating_mul(SECTOR))];
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

/// A change of names that is not on the disk yet.
#[derive(Debug, Clone)]
enum Naming {
    Created(String, usize),
    Renamed(String, String),
    Removed(String),
}

/// A disk that forgets what was not synced.
#[derive(Debug, Default)]
struct Disk {
    files: Vec<File>,
    /// As the program sees them.
    names: BTreeMap<String, usize>,
    /// As the disk has them.
    durable_names: BTreeMap<String, usize>,
    pending: Vec<Naming>,
}

impl Disk {
    fn play(&mut self, event: &Event) {
        match event {
            Event::Created(path) => {
                if !self.names.contains_key(path) {
                    self.files.push(File::default());
                    self.name(Naming::Created(path.clone(), self.files.len() - 1));
                }
            }
            Event::Wrote { path, offset, bytes } => {
                let write = Write::Bytes { offset: usize::try_from(*offset).unwrap(), bytes: bytes.clone() };
                self.write(path, write);
            }
            Event::Truncated { path, length } => self.write(path, Write::Length(usize::try_from(*length).unwrap())),
            Event::Synced(path) => match self.names.get(path) {
                Some(&file) => {
                    let file = &mut self.files[file];
                    for write in std::mem::take(&mut file.pending) {
                        write.apply(&mut file.durable, usize::MAX);
                    }
                }
                // A directory.
                None => {
                    for naming in std::mem::take(&mut self.pending) {
                        naming.apply(&mut self.durable_names);
                    }
                }
            },
            Event::Renamed { from, to } => self.name(Naming::Renamed(from.clone(), to.clone())),
            Event::Removed(path) => self.name(Naming::Removed(path.clone())),
            Event::Acknowledged(_) => {}
        }
    }

    fn write(&mut self, path: &str, write: Write) {
        if let Some(&file) = self.names.get(path) {
            self.files[file].pending.push(write);
        }
    }

    fn name(&mut self, naming: Naming) {
        naming.clone().apply(&mut self.names);
        self.pending.push(naming);
    }

    /// What a start after the cut finds, put into a directory.
    fn cut(&self, from: &Path, into: &Path) {
        let mut names = self.durable_names.clone();
        for naming in &self.pending[..random(self.pending.len() + 1)] {
            naming.clone().apply(&mut names);
        }
        for (path, &file) in &names {
            let Ok(inside) = Path::new(path).strip_prefix(from) else { continue };
            let file = &self.files[file];
            let mut content = file.durable.clone();
            for write in &file.pending {
                match random(3) {
                    0 => {}
                    1 => write.apply(&mut content, usize::MAX),
                    _ => write.apply(&mut content, random(9)),
                }
            }
            let to = into.join(inside);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::write(to, content).unwrap();
        }
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Created(path, file) => {
                names.insert(path, file);
            }
            Self::Renamed(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
            Self::Removed(path) => {
                names.remove(&path);
            }
        }
    }
}

/// What happened in one recorder's life, to the files of its log.
fn record(folder: &Path) -> Vec<Event> {
    // The key was there before; its own durability is not the log's.
    drop(crate::recorder::open(folder).unwrap());
    std::fs::remove_dir_all(folder.join("audit")).unwrap();
    let out = folder.join("trace").display().to_string();
    let calls = "--trace=openat,close,write,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,sendto";
    let options = ["--output", &out, "--strings-in-hex=all", "--string-limit=100000", calls];
    let acknowledged = run(folder, under_strace(folder, &options, 4, 40));
    assert_eq!(acknowledged.len(), 160, "all were recorded");
    let log = folder.join("audit").display().to_string();
    let is_of_the_log = |path: &str| path.starts_with(&log) && !path.ends_with("-shm") && !path.ends_with("/lock");
    let events = read(&std::fs::read_to_string(&out).unwrap()).into_iter();
    let of_the_log = events.filter(|event| match event {
        Event::Created(path) | Event::Synced(path) | Event::Removed(path) => is_of_the_log(path),
        Event::Wrote { path, .. } | Event::Truncated { path, .. } => is_of_the_log(path),
        Event::Renamed { to, .. } => is_of_the_log(to),
        Event::Acknowledged(_) => true,
    });
    of_the_log.collect()
}

#[test]
fn whatever_a_power_cut_takes_of_what_was_not_synced_nothing_acknowledged_is_lost() {
    let recorded = tempfile::tempdir().unwrap();
    let events = record(recorded.path());
    let cuts = if is_whole_campaign() { CUTS.0 } else { CUTS.1 };
    let (mut in_all, mut dropped) = (0, 0);
    for _ in 0..cuts {
        let at = 1 + random(events.len());
        let (mut disk, mut acknowledged) = (Disk::default(), Acknowledged::new());
        for event in &events[..at] {
            disk.play(event);
            if let Event::Acknowledged(line) = event {
                acknowledged.extend([parse(line)]);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let key: PathBuf = recorded.path().join("key");
        std::fs::copy(key, folder.path().join("key")).unwrap();
        disk.cut(recorded.path(), folder.path());
        dropped += disk.files.iter().map(|file| file.pending.len()).sum::<usize>();
        in_all += acknowledged.len();
        assert_nothing_is_lost(folder.path(), &acknowledged, &format!("a cut after event {at} of {}", events.len()));
    }
    assert!(dropped > cuts && in_all > cuts, "{dropped} writes at stake, {in_all} records: nothing was tried");
    say(&format!("{cuts} cuts: {dropped} writes not synced, {in_all} records acknowledged, none lost"));
}
