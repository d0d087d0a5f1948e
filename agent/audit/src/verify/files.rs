//! Files from outside: read up to a limit, listed without following links.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Options, Problems};
use crate::export::VERIFIER_KEY;
use crate::{AuditError, VerifierKey};

/// A verifier key has a name and about 60 letters.
const MAX_KEY_BYTES: usize = 4 * 1024;

/// A folder below another, at most this deep, is looked into: a tile of 2^63 records lies ten deep.
const MAX_DEPTH: usize = 16;

/// The bytes of a file of at most `limit` bytes; `None` if it is not there.
pub(super) fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(cause.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|cause| cause.to_string())?;
    if bytes.len() > limit { Err(format!("it is larger than {limit} bytes")) } else { Ok(Some(bytes)) }
}

/// A small text that has to be there for a check to make sense at all.
pub(super) fn text(path: &Path, limit: usize) -> Result<String, AuditError> {
    let cannot = |cause: String| AuditError::Disk(format!("cannot read `{}`: {cause}", path.display()));
    let bytes = read(path, limit).map_err(cannot)?.ok_or_else(|| cannot("it is not there".to_owned()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The key to check with: the auditor's, else the one that lies in `folder`.
pub(super) fn key(folder: &Path, options: &Options, problems: &mut Problems) -> Option<VerifierKey> {
    let beside = match read(&folder.join(VERIFIER_KEY), MAX_KEY_BYTES) {
        Ok(beside) => beside.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        Err(cause) => {
            problems.add(None, format!("`{VERIFIER_KEY}`: {cause}"));
            None
        }
    };
    let Some(key) = &options.verifier_key else {
        let key = beside.ok_or_else(|| "no public key lies beside: bring the log's with `--key`".to_owned());
        return match key.and_then(|line| line.parse().map_err(|cause| format!("`{VERIFIER_KEY}`: {cause}"))) {
            Ok(key) => Some(key),
            Err(cause) => {
                problems.add(None, cause);
                None
            }
        };
    };
    if beside.is_some_and(|line| line.trim_end_matches('\n') != key.to_string()) {
        problems.add(None, format!("`{VERIFIER_KEY}` is not the key that signatures are checked with"));
    }
    Some(key.clone())
}

/// Cosignatures lie in records and proofs: nothing else can be held against a policy, and silence would look like success.
pub(super) fn no_policy(options: &Options, thing: &str, problems: &mut Problems) {
    if options.policy.is_some() {
        problems.add(
            None,
            format!("{thing} cannot be held against a policy of witnesses; the log, its mirror or a proof can"),
        );
    }
}

/// Every file below `folder`, by its path from `root` with `/`; names what is neither file nor folder.
pub(super) fn list(root: &Path, folder: &str, problems: &mut Problems) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![(PathBuf::from(folder), 0)];
    while let Some((relative, depth)) = waiting.pop() {
        let entries = match fs::read_dir(root.join(&relative)) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
            Err(cause) => {
                problems.add(None, format!("`{}` cannot be listed: {cause}", relative.display()));
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = relative.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => waiting.push((path, depth + 1)),
                Ok(kind) if kind.is_file() => drop(found.insert(path.to_string_lossy().into_owned())),
                _ => problems.add(None, format!("`{}` is not a part of a log", path.display())),
            }
        }
    }
    found
}
