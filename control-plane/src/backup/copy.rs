//! The files of a state directory, copied in an order that leaves a whole: what databases sign off on comes before them, what they
//! point to after.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use outpost_contract::Sha256;
use rusqlite::{Connection, OpenFlags};
use sha2::Digest as _;

use super::{BackedUp, BackupError};
use crate::files::{self, FileError, failed};

/// How long a database's writer is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// The turn of what databases point to.
const POINTED_TO: u8 = 2;

/// Room that is left beside the copy.
const ROOM_BYTES: u64 = 16 * 1024 * 1024;

/// A copy that is being made.
pub(super) struct Taking<'a> {
    state: &'a Path,
    target: PathBuf,
    names: Vec<String>,
}

impl<'a> Taking<'a> {
    /// Looks at what there is, and whether it fits.
    pub(super) fn begin(state: &'a Path, directory: &Path, target: &Path) -> Result<Self, BackupError> {
        files::private_directory(directory)?;
        let real = |path: &Path| path.canonicalize().map_err(failed("find", path));
        if real(directory)?.starts_with(real(state)?) {
            let _ = fs::remove_dir(directory);
            return Err(BackupError::Within(directory.to_owned()));
        }
        if fs::read_dir(directory).map_err(failed("read", directory))?.next().is_some() {
            return Err(BackupError::NotEmpty(directory.to_owned()));
        }
        let names = lasting(state)?;
        let size = |name: &String| fs::metadata(state.join(name)).map_or(0, |found| found.len());
        let needed = names.iter().map(size).sum::<u64>() + ROOM_BYTES;
        let free = files::free_bytes(directory)?;
        if free < needed {
            return Err(BackupError::Space { directory: directory.to_owned(), needed, free });
        }
        Ok(Self { state, target: target.to_owned(), names })
    }

    /// Copies everything.
    pub(super) fn take(self) -> Result<BTreeMap<String, BackedUp>, BackupError> {
        files::private_directory(&self.target)?;
        let mut taken = BTreeMap::new();
        for name in self.names.iter().filter(|name| turn(name) < POINTED_TO) {
            taken.insert(name.clone(), self.copied(name)?);
        }
        // Looked for anew: the databases may name what was not there yet when this began.
        for name in lasting(self.state)?.into_iter().filter(|name| turn(name) == POINTED_TO) {
            let copied = self.copied(&name)?;
            taken.insert(name, copied);
        }
        files::settle(&self.target)?;
        Ok(taken)
    }

    fn copied(&self, name: &str) -> Result<BackedUp, BackupError> {
        let (from, to) = (self.state.join(name), self.target.join(name));
        if let Some(parent) = to.parent() {
            files::private_directory(parent)?;
        }
        let mode = fs::metadata(&from).map_or(0o600, |found| found.permissions().mode());
        if is_database(name) {
            let failed = |source| BackupError::Database { path: name.to_owned(), source };
            snapshot(&from, &to).map_err(failed)?;
        } else {
            copy(&from, &to, 0o600)?;
        }
        let (bytes, sha256) = digest(&to)?;
        Ok(BackedUp { bytes, sha256, public: mode & 0o004 != 0 })
    }
}

/// What is copied of a state directory, in the order of turns.
fn lasting(state: &Path) -> Result<Vec<String>, FileError> {
    let mut names = files_below(state)?;
    names.retain(|name| !is_passing(name));
    names.sort_by_key(|name| turn(name));
    Ok(names)
}

/// One moment of a database, while others write to it.
fn snapshot(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY)?;
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    Ok(())
}

/// Copies one file to its place in a state directory.
pub(super) fn put_back(from: &Path, to: &Path, public: bool) -> Result<(), FileError> {
    if let Some(parent) = to.parent() {
        files::private_directory(parent)?;
    }
    copy(from, to, if public { 0o644 } else { 0o600 })
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), FileError> {
    let mut source = File::open(from).map_err(failed("open", from))?;
    let made = File::options().write(true).create_new(true).mode(mode).open(to);
    let mut target = made.map_err(failed("create", to))?;
    std::io::copy(&mut source, &mut target).and_then(|_| target.flush()).map_err(failed("write", to))?;
    target.sync_all().map_err(failed("make durable", to))
}

/// Length and SHA-256 of a file.
pub(super) fn digest(path: &Path) -> Result<(u64, Sha256), FileError> {
    let found = fs::symlink_metadata(path).map_err(failed("read", path))?;
    if !found.is_file() {
        return Err(failed("read", path)(std::io::Error::other("it is not a plain file")));
    }
    let mut file = File::open(path).map_err(failed("open", path))?;
    let (mut hash, mut bytes, mut buffer) = (sha2::Sha256::new(), 0, vec![0; 256 * 1024]);
    loop {
        let read = file.read(&mut buffer).map_err(failed("read", path))?;
        if read == 0 {
            return Ok((bytes, Sha256(hash.finalize().into())));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// A name of the table of contents that leads below the directory.
pub(super) fn checked(name: &str) -> Result<&Path, BackupError> {
    let path = Path::new(name);
    let is_below = !name.is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)));
    if is_below { Ok(path) } else { Err(BackupError::Name(name.chars().take(200).collect())) }
}

/// Every plain file below a directory; links and the like are none of ours.
pub(super) fn files_below(directory: &Path) -> Result<Vec<String>, FileError> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let path = directory.join(&below);
        for entry in fs::read_dir(&path).map_err(failed("read", &path))? {
            let entry = entry.map_err(failed("read", &path))?;
            let name = below.join(entry.file_name());
            match entry.file_type().map_err(failed("read", &path))? {
                kind if kind.is_dir() => open.push(name),
                kind if kind.is_file() => found.extend(name.to_str().map(str::to_owned)),
                _ => {}
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_database(name: &str) -> bool {
    name.ends_with(".db")
}

/// What only a running program needs: locks, journals, half-written files, logs; and by which name one server knows itself.
fn is_passing(name: &str) -> bool {
    let endings = [".db-wal", ".db-shm", ".db-journal", ".lock", ".new", ".part", ".log"];
    endings.iter().any(|ending| name.ends_with(ending)) || name.starts_with("logs/") || name == "replica"
}

/// Notes of audit logs before the databases that they are about, so that they are never ahead of them; blobs after the database that
/// names them, so that none is missing.
fn turn(name: &str) -> u8 {
    match (name.starts_with("audit/"), is_database(name)) {
        (true, false) => 0,
        (_, true) => 1,
        (false, false) => POINTED_TO,
    }
}
