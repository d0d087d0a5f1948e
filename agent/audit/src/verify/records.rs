//! Checks an export of records: each line against its leaf, the leaves against the signed root, the manifest against both.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ct_merkle::digest::Digest;
use sha2::Sha256;

use super::claims::Claims;
use super::scan::leaf_hash;
use super::stack::Stack;
use super::summaries::Summaries;
use super::{Options, Problems, Report, Subject, files};
use crate::export::manifest::{self, HASHES, Manifest};
use crate::leaf::Leaf;
use crate::note::Note;
use crate::{AuditError, Checkpoint, VerifierKey, form, tile};

/// A line with the largest leaf that any tool accepts, escaped, beside what it says in columns.
const MAX_LINE_BYTES: u64 = 1024 * 1024;

/// Checks the export in `folder`.
pub(super) fn check(folder: &Path, options: &Options) -> Result<Report, AuditError> {
    let text = files::text(&folder.join(manifest::FILE), manifest::MAX_BYTES)?;
    let mut problems = Problems::default();
    let key = files::key(folder, options, &mut problems);
    if !options.checkpoints.is_empty() {
        problems.add(None, "an export cannot be held against other checkpoints; the log or its tiles can");
    }
    files::no_policy(options, "an export", &mut problems);
    let mut report = Report {
        subject: Subject::Export,
        origin: key.as_ref().map(|key| key.name().to_owned()).unwrap_or_default(),
        verifier_key: key.as_ref().map(ToString::to_string).unwrap_or_default(),
        records: 0,
        first: 0,
        root_hex: String::new(),
        checkpoint_size: None,
        checkpoints: 0,
        vouched: None,
        problems: Vec::new(),
        further_problems: 0,
    };
    if let Some(key) = &key {
        match Manifest::parse(&text) {
            Ok(manifest) => check_manifest(folder, &text, manifest, key, &mut report, &mut problems),
            Err(cause) => problems.add(None, format!("`{}`: {cause}", manifest::FILE)),
        }
    }
    report.problems = problems.listed;
    report.further_problems = problems.further;
    Ok(report)
}

fn check_manifest(
    folder: &Path,
    text: &str,
    mut manifest: Manifest,
    key: &VerifierKey,
    report: &mut Report,
    problems: &mut Problems,
) {
    if manifest.is_signed {
        match Note::parse(text).and_then(|note| Ok(note.verify(key)?.to_owned())) {
            // Without the signature, the rest of the text ends with the checkpoint.
            Ok(signed) => match Manifest::parse(&signed) {
                Ok(signed) => manifest = signed,
                Err(cause) => problems.add(None, format!("`{}`: {cause}", manifest::FILE)),
            },
            Err(cause) => return problems.add(None, format!("`{}`: {cause}", manifest::FILE)),
        }
    } else {
        problems.add(
            None,
            "the manifest is not signed: it was made from a copy of the log, or the signature was taken off",
        );
    }
    let head = match Checkpoint::verify(&manifest.checkpoint, key) {
        Ok(head) => head,
        Err(cause) => return problems.add(None, format!("the checkpoint in `{}`: {cause}", manifest::FILE)),
    };
    if manifest.origin != head.origin || manifest.root != head.root {
        problems.add(None, "the manifest names another log or another root than its checkpoint");
    }
    if manifest.from > manifest.to || manifest.to > head.size {
        return problems.add(None, "the manifest names records that its checkpoint does not cover");
    }
    report.checkpoint_size = Some(head.size);
    report.checkpoints = 1;
    report.first = manifest.from;
    let path = folder.join(manifest.form.file_name());
    let read = match File::open(&path) {
        Ok(file) => Lines::new(&manifest, hashes(folder, &manifest, problems)).read(BufReader::new(file), problems),
        Err(cause) => return problems.add(None, format!("`{}`: {cause}", path.display())),
    };
    report.records = read.records;
    if read.sha256 != manifest.sha256 || read.bytes != manifest.bytes {
        problems.add(None, format!("`{}` is not the file that the manifest was made for", manifest.form.file_name()));
    }
    if read.counts != manifest.counts {
        problems.add(None, "the records are not as many of each type as the manifest says");
    }
    let mut stack = read.stack;
    if stack.push_all(&tile::cover(manifest.to, head.size), &manifest.right) {
        report.root_hex = hex::encode(stack.root());
    }
    if stack.size() != head.size || stack.root() != head.root {
        problems.add(None, "the records, with the hashes around them, do not lead to the signed root");
    }
}

/// The hashes that lie beside the records, to name a record by; none if they are not as many.
fn hashes(folder: &Path, manifest: &Manifest, problems: &mut Problems) -> Option<File> {
    let wanted = (manifest.to - manifest.from).checked_mul(32);
    match File::open(folder.join(HASHES)).and_then(|file| Ok((file.metadata()?.len(), file))) {
        Ok((length, file)) if Some(length) == wanted => Some(file),
        Ok(_) => {
            problems.add(None, format!("`{HASHES}` does not have 32 bytes for each record"));
            None
        }
        Err(cause) => {
            problems.add(None, format!("`{HASHES}`: {cause}"));
            None
        }
    }
}

/// The lines on the way through them.
struct Lines<'a> {
    manifest: &'a Manifest,
    hashes: Option<File>,
    claims: Claims,
    summaries: Summaries,
    /// The index that the next record must have.
    next: u64,
    stack: Stack,
    counts: BTreeMap<String, u64>,
    digest: Sha256,
    bytes: u64,
    records: u64,
}

/// What all lines amount to.
struct Total {
    stack: Stack,
    counts: BTreeMap<String, u64>,
    sha256: [u8; 32],
    bytes: u64,
    records: u64,
}

impl<'a> Lines<'a> {
    fn new(manifest: &'a Manifest, hashes: Option<File>) -> Self {
        Self {
            manifest,
            hashes,
            claims: Claims::default(),
            summaries: Summaries::from(manifest.from),
            next: manifest.from,
            stack: Stack::default(),
            counts: BTreeMap::new(),
            digest: Sha256::new(),
            bytes: 0,
            records: 0,
        }
    }

    fn read(mut self, mut file: impl BufRead, problems: &mut Problems) -> Total {
        let manifest = self.manifest;
        if !self.stack.push_all(&tile::cover(0, manifest.from), &manifest.left) {
            problems.add(None, "the hashes before the first record are not as many as they must be");
        }
        let mut line = Vec::new();
        let heading = manifest.form.heading();
        let mut is_first = !heading.is_empty();
        loop {
            line.clear();
            match file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(count) => self.bytes += count as u64,
                Err(cause) => {
                    problems.add(self.next, format!("it and what follows cannot be read: {cause}"));
                    break;
                }
            }
            self.digest.update(&line);
            if std::mem::take(&mut is_first) {
                if line != heading {
                    problems.add(None, "the first line does not name the columns");
                }
            } else if line.ends_with(b"\n") {
                self.line(&line, problems);
            } else {
                problems.add(self.next, "its line does not end, or is too long");
                break;
            }
        }
        if self.next < manifest.to {
            let last = manifest.to - 1;
            problems.add(self.next, format!("it is missing, and so is what follows, up to {last}"));
        }
        let Self { stack, counts, digest, bytes, records, .. } = self;
        Total { stack, counts, sha256: digest.finalize().into(), bytes, records }
    }

    fn line(&mut self, line: &[u8], problems: &mut Problems) {
        self.records += 1;
        let form = self.manifest.form;
        let bytes = match form::leaf_of(form, &line[..line.len() - 1]) {
            Ok(bytes) => bytes,
            Err(cause) => {
                problems.add(self.next, cause);
                self.next += 1;
                return;
            }
        };
        let (leaf, hash) = (Leaf::parse(&bytes), leaf_hash(&bytes));
        let index = self.place(leaf.as_ref().ok().and_then(Leaf::index), &hash, problems);
        if self.hash_of(index).is_some_and(|stored| stored != hash) {
            problems.add(index, format!("its bytes do not have the hash in `{HASHES}`"));
        }
        match &leaf {
            Ok(leaf) => {
                self.claims.check(index, leaf, problems);
                *self.counts.entry(leaf.kind().unwrap_or_default().to_owned()).or_insert(0) += 1;
                if form::line(form, index, &bytes, leaf) != line {
                    problems.add(index, "the line does not say what the leaf in it says");
                }
            }
            Err(cause) => problems.add(index, format!("it does not parse: {cause}")),
        }
        self.summaries.check(index, leaf.as_ref().ok(), problems);
        self.stack.push(0, hash);
        self.next = self.next.max(index + 1);
    }

    /// Which record a line is: the one that it says, if the hashes agree; else the next one. Where some are missing or
    /// stand elsewhere, that is said once and not for all that follow.
    fn place(&self, claimed: Option<u64>, hash: &[u8; 32], problems: &mut Problems) -> u64 {
        match claimed.filter(|claimed| self.hash_of(*claimed).as_ref() == Some(hash)) {
            Some(claimed) if claimed > self.next => {
                let last = claimed - 1;
                problems.add(self.next, format!("it is missing, up to {last}"));
                claimed
            }
            Some(claimed) if claimed < self.next => {
                problems.add(claimed, "it stands in the export again or out of place");
                claimed
            }
            _ => self.next,
        }
    }

    /// The hash of a record, of those beside the records.
    fn hash_of(&self, index: u64) -> Option<[u8; 32]> {
        let place = index.checked_sub(self.manifest.from)?.checked_mul(32)?;
        let mut hash = [0; 32];
        self.hashes.as_ref()?.read_exact_at(&mut hash, place).ok()?;
        Some(hash)
    }
}
