//! One file: its part goes on where it broke off, is hashed while it comes, and gets its name when it is what the commit says.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use outpost_contract::Sha256;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use super::client::Client;
use super::files::failed;
use super::listing::{Digest, RepositoryFile};
use super::outgoing::cause;
use super::patience::Patience;
use super::{HubError, HubReference};

/// Bytes that are read at once of what is there.
const PIECE: usize = 1024 * 1024;

/// Both digests of a file, as it comes.
struct Hashing {
    sha256: Context,
    git: Context,
    bytes: u64,
}

impl Hashing {
    fn new(length: u64) -> Self {
        let mut git = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        git.update(format!("blob {length}\0").as_bytes());
        Self { sha256: Context::new(&SHA256), git, bytes: 0 }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.git.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Its SHA-256, if it is what was said.
    fn finish(self, path: &str, expected: Digest) -> Result<Sha256, HubError> {
        let sha256 = self.sha256.finish();
        let git = self.git.finish();
        let (found, wanted) = match expected {
            Digest::Sha256(digest) => (sha256.as_ref(), digest.0.to_vec()),
            Digest::GitBlob(digest) => (git.as_ref(), digest.to_vec()),
        };
        if found != wanted {
            let (found, expected) = (hex::encode(found), hex::encode(wanted));
            return Err(HubError::Digest { path: path.to_owned(), found, expected });
        }
        let bytes: [u8; 32] = sha256.as_ref().try_into().map_err(|_| HubError::NoDigest(path.to_owned()))?;
        Ok(Sha256(bytes))
    }

    /// Takes in what is there, up to `most` bytes.
    fn read(&mut self, file: &mut File, path: &Path, most: u64, tell: &mut impl FnMut(u64)) -> Result<(), HubError> {
        let mut piece = vec![0; PIECE];
        while self.bytes < most {
            let length = usize::try_from(most - self.bytes).unwrap_or(PIECE).min(PIECE);
            match file.read(&mut piece[..length]).map_err(failed("read", path))? {
                0 => break,
                read => self.take(&piece[..read]),
            }
            tell(self.bytes);
        }
        Ok(())
    }
}

/// What there is of a file until it is whole.
struct Part<'a> {
    of: &'a RepositoryFile,
    path: PathBuf,
    kept: File,
    hashing: Hashing,
}

impl<'a> Part<'a> {
    /// Opens what an earlier attempt left, and hashes it.
    fn open(of: &'a RepositoryFile, path: &Path, tell: &mut impl FnMut(u64)) -> Result<Self, HubError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed("create", parent))?;
        }
        let part = part_of(path);
        let mut options = OpenOptions::new();
        let mut kept =
            options.read(true).write(true).create(true).truncate(false).open(&part).map_err(failed("open", &part))?;
        let mut hashing = Hashing::new(of.bytes);
        hashing.read(&mut kept, &part, of.bytes, tell)?;
        // What lies behind the whole of it was left by something else.
        kept.set_len(hashing.bytes).and_then(|()| kept.seek(SeekFrom::End(0))).map_err(failed("write", &part))?;
        Ok(Self { of, path: part, kept, hashing })
    }

    /// Looks at the beginning of an answer that should go on where this ends.
    fn begin(&mut self, answer: &Response) -> Result<(), HubError> {
        if self.hashing.bytes > 0 {
            if answer.status() == StatusCode::PARTIAL_CONTENT {
                check_range(answer, self.of.path.as_str(), (self.hashing.bytes, self.of.bytes), self.of.bytes)?;
            } else {
                // It knows no ranges: from the beginning.
                self.hashing = Hashing::new(self.of.bytes);
                self.kept.set_len(0).and_then(|()| self.kept.rewind()).map_err(failed("write", &self.path))?;
            }
        }
        self.check_length(answer, self.of.bytes)
    }

    /// The same for an answer that may end before the end.
    fn begin_some(&mut self, answer: &Response, wanted: u64) -> Result<(), HubError> {
        let from = self.hashing.bytes;
        if answer.status() == StatusCode::PARTIAL_CONTENT {
            check_range(answer, self.of.path.as_str(), (from, wanted), self.of.bytes)?;
            return self.check_length(answer, wanted);
        }
        self.begin(answer)
    }

    /// Whether as much comes as is missing up to `end`, if anybody says how much.
    fn check_length(&self, answer: &Response, end: u64) -> Result<(), HubError> {
        let expected = end - self.hashing.bytes;
        match answer.content_length().filter(|length| *length != expected) {
            Some(length) => Err(self.other(format!("{length} bytes are announced, {expected} are missing"))),
            None => Ok(()),
        }
    }

    /// Keeps what arrives, up to the end. What comes too slowly counts as cut.
    async fn receive(
        &mut self,
        mut answer: Response,
        patience: &Patience,
        tell: &mut impl FnMut(u64),
    ) -> Result<(), HubError> {
        self.begin(&answer)?;
        let mut window = (Instant::now() + patience.silence, self.hashing.bytes + patience.least_bytes);
        loop {
            let piece = match tokio::time::timeout_at(window.0, answer.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(self.broke_off(why(error))?),
                Err(_) if self.hashing.bytes >= window.1 => {
                    window = (Instant::now() + patience.silence, self.hashing.bytes + patience.least_bytes);
                    continue;
                }
                Err(_) => {
                    let (least, seconds) = (patience.least_bytes / 1024, patience.silence.as_secs());
                    return Err(self.broke_off(format!("less than {least} KiB came in {seconds} s"))?);
                }
            };
            if self.hashing.bytes + piece.len() as u64 > self.of.bytes {
                self.forget();
                return Err(self.other(format!("it is longer than the {} bytes that the commit names", self.of.bytes)));
            }
            self.kept.write_all(&piece).map_err(failed("write", &self.path))?;
            self.hashing.take(&piece);
            tell(self.hashing.bytes);
        }
        if self.hashing.bytes < self.of.bytes {
            return Err(self.broke_off("the answer ended".to_owned())?);
        }
        Ok(())
    }

    /// Gives it its name, if it is what was said.
    fn finish(self, digest: Digest, path: &Path) -> Result<Sha256, HubError> {
        let sha256 = match self.hashing.finish(self.of.path.as_str(), digest) {
            Ok(sha256) => sha256,
            Err(error) => {
                fs::remove_file(&self.path).map_err(failed("remove", &self.path))?;
                return Err(error);
            }
        };
        self.kept.sync_all().map_err(failed("write", &self.path))?;
        outpost_disk::atomic::rename(&self.path, path)?;
        Ok(sha256)
    }

    /// What is there stays: the next attempt goes on from here.
    fn broke_off(&self, detail: String) -> Result<HubError, HubError> {
        self.kept.sync_all().map_err(failed("write", &self.path))?;
        let (path, done, bytes) = (self.of.path.as_str().to_owned(), self.hashing.bytes, self.of.bytes);
        Ok(HubError::BrokeOff { path, done, bytes, detail })
    }

    /// Nothing of it is worth going on from.
    fn forget(&self) {
        // If it stays, its digest gives it away at the end of the next attempt.
        let _ = fs::remove_file(&self.path);
    }

    /// Whether there is room for what is missing.
    fn check_room(&self) -> Result<(), HubError> {
        let missing = self.of.bytes.saturating_sub(self.hashing.bytes);
        let free = outpost_disk::space::free_bytes(&self.path)?;
        if missing <= free {
            return Ok(());
        }
        Err(HubError::Full {
            path: self.path.clone(),
            detail: format!("{missing} bytes are missing of it, {free} are free"),
        })
    }

    fn other(&self, detail: String) -> HubError {
        HubError::Other { path: self.of.path.as_str().to_owned(), detail }
    }
}

/// A file at a commit of a repository, and where it is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) client: &'a Client,
    pub(crate) reference: &'a HubReference,
    pub(crate) commit: &'a str,
    pub(crate) file: &'a RepositoryFile,
}

impl Wanted<'_> {
    /// Fetches it to `path`, unless it is there. Its SHA-256, and how many bytes of it were there before.
    pub(crate) async fn fetch(self, path: &Path, mut tell: impl FnMut(u64)) -> Result<(Sha256, u64), HubError> {
        let (file, name) = (self.file, self.file.path.as_str());
        let digest = file.digest.ok_or_else(|| HubError::NoDigest(name.to_owned()))?;
        if let Some(sha256) = already(file, digest, path, &mut tell)? {
            return Ok((sha256, file.bytes));
        }
        let mut part = Part::open(file, path, &mut tell)?;
        part.check_room()?;
        let resumed = part.hashing.bytes;
        let (mut failed, mut enough) = (0, resumed + self.client.patience().least_bytes);
        while part.hashing.bytes < file.bytes {
            let Err(error) = self.go_on(&mut part, &mut tell).await else { break };
            if part.hashing.bytes >= enough {
                failed = 0;
            }
            enough = part.hashing.bytes + self.client.patience().least_bytes;
            failed += 1;
            // A refusal was waited for where it came.
            if !matches!(error, HubError::BrokeOff { .. }) {
                return Err(error);
            }
            self.client.wait(failed, error).await?;
        }
        Ok((part.finish(digest, path)?, resumed))
    }

    /// From where the part ends.
    async fn go_on(self, part: &mut Part<'_>, tell: &mut impl FnMut(u64)) -> Result<(), HubError> {
        let from = part.hashing.bytes;
        let answer = self.client.file(self.reference, self.commit, self.file.path.as_str(), (from, None)).await;
        if matches!(answer, Err(HubError::Refused { status: 416, .. })) {
            part.forget();
            return Err(part.other(format!("it has no byte {from}, says the hub; begin again")));
        }
        part.receive(answer?, self.client.patience(), tell).await
    }

    /// The first `bytes` of it, kept as the part that a fetch goes on from; none of them is checked yet.
    pub(crate) async fn beginning(self, path: &Path, bytes: u64) -> Result<Vec<u8>, HubError> {
        let (file, wanted) = (self.file, bytes.min(self.file.bytes));
        let whole = read_up_to(path, wanted)?;
        if whole.len() as u64 == wanted {
            return Ok(whole);
        }
        let mut part = Part::open(file, path, &mut |_| ())?;
        part.check_room()?;
        let mut failed = 0;
        while part.hashing.bytes < wanted {
            let Err(error) = self.go_on_to(&mut part, wanted).await else { break };
            failed += 1;
            if !matches!(error, HubError::BrokeOff { .. }) {
                return Err(error);
            }
            self.client.wait(failed, error).await?;
        }
        read_up_to(&part.path, wanted)
    }

    /// From where the part ends to a byte before the end.
    async fn go_on_to(self, part: &mut Part<'_>, wanted: u64) -> Result<(), HubError> {
        let range = (part.hashing.bytes, Some(wanted));
        let mut answer = self.client.file(self.reference, self.commit, self.file.path.as_str(), range).await?;
        part.begin_some(&answer, wanted)?;
        let until = Instant::now() + self.client.patience().silence;
        while part.hashing.bytes < wanted {
            let piece = match tokio::time::timeout_at(until, answer.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => return Err(part.broke_off("the answer ended".to_owned())?),
                Ok(Err(error)) => return Err(part.broke_off(why(error))?),
                Err(_) => return Err(part.broke_off("it comes too slowly".to_owned())?),
            };
            let missing = usize::try_from(wanted - part.hashing.bytes).unwrap_or(usize::MAX);
            let piece = &piece[..piece.len().min(missing)];
            part.kept.write_all(piece).map_err(failed("write", &part.path))?;
            part.hashing.take(piece);
        }
        Ok(())
    }
}

/// The first bytes of a file; none if there is none.
fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>, HubError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(most).read_to_end(&mut bytes).map_err(failed("read", path))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed("open", path)(error)),
    };
    Ok(bytes)
}

/// What broke a body off, down to the cause and without the address.
fn why(error: reqwest::Error) -> String {
    cause(&error.without_url())
}

/// The digest of what lies there, if it is the file.
fn already(
    file: &RepositoryFile,
    digest: Digest,
    path: &Path,
    tell: &mut impl FnMut(u64),
) -> Result<Option<Sha256>, HubError> {
    let mut there = match File::open(path) {
        Ok(there) => there,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    if there.metadata().map_err(failed("read", path))?.len() != file.bytes {
        return Ok(None);
    }
    let mut hashing = Hashing::new(file.bytes);
    hashing.read(&mut there, path, file.bytes, tell)?;
    Ok(hashing.finish(file.path.as_str(), digest).ok())
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// `bytes FROM-LAST/WHOLE`, exactly.
fn check_range(answer: &Response, path: &str, (from, end): (u64, u64), whole: u64) -> Result<(), HubError> {
    let said = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    let expected = format!("bytes {from}-{}/{whole}", end.saturating_sub(1));
    if said == expected {
        return Ok(());
    }
    let said: String = said.chars().take(80).collect();
    Err(HubError::Other { path: path.to_owned(), detail: format!("`{expected}` was asked for, `{said}` comes") })
}
