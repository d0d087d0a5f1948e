//! One file: its part goes on where it broke off, is hashed while it comes, and gets its name when it is what the commit says.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use outpost_contract::Sha256;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};

use super::client::Client;
use super::listing::{Digest, RepositoryFile};
use super::{HubError, HubReference};
use crate::files::{self, failed};

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
                check_range(answer, self.of.path.as_str(), self.hashing.bytes, self.of.bytes)?;
            } else {
                // It knows no ranges: from the beginning.
                self.hashing = Hashing::new(self.of.bytes);
                self.kept.set_len(0).and_then(|()| self.kept.rewind()).map_err(failed("write", &self.path))?;
            }
        }
        let expected = self.of.bytes - self.hashing.bytes;
        match answer.content_length().filter(|length| *length != expected) {
            Some(length) => Err(self.other(format!("{length} bytes are announced, {expected} are missing"))),
            None => Ok(()),
        }
    }

    /// Keeps what arrives, up to the end.
    async fn receive(&mut self, mut answer: Response, tell: &mut impl FnMut(u64)) -> Result<(), HubError> {
        self.begin(&answer)?;
        loop {
            let piece = match answer.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => return Err(self.broke_off(error.without_url().to_string())?),
            };
            if self.hashing.bytes + piece.len() as u64 > self.of.bytes {
                let _ = fs::remove_file(&self.path);
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
        files::rename(&self.path, path)?;
        Ok(sha256)
    }

    /// What is there stays: the next attempt goes on from here.
    fn broke_off(&self, detail: String) -> Result<HubError, HubError> {
        self.kept.sync_all().map_err(failed("write", &self.path))?;
        let (path, done, bytes) = (self.of.path.as_str().to_owned(), self.hashing.bytes, self.of.bytes);
        Ok(HubError::BrokeOff { path, done, bytes, detail })
    }

    fn other(&self, detail: String) -> HubError {
        HubError::Other { path: self.of.path.as_str().to_owned(), detail }
    }
}

/// Fetches a file to `path`, unless it is there. Its SHA-256, and how many bytes of it were there before.
pub(super) async fn fetch(
    client: &Client,
    reference: &HubReference,
    commit: &str,
    file: &RepositoryFile,
    path: &Path,
    mut tell: impl FnMut(u64),
) -> Result<(Sha256, u64), HubError> {
    let name = file.path.as_str();
    let digest = file.digest.ok_or_else(|| HubError::NoDigest(name.to_owned()))?;
    if let Some(sha256) = already(file, digest, path, &mut tell)? {
        return Ok((sha256, file.bytes));
    }
    let mut part = Part::open(file, path, &mut tell)?;
    let resumed = part.hashing.bytes;
    if resumed < file.bytes {
        let answer = client.file(reference, commit, name, resumed).await?;
        part.receive(answer, &mut tell).await?;
    }
    Ok((part.finish(digest, path)?, resumed))
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
        Err(error) => return Err(failed("open", path)(error).into()),
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
fn check_range(answer: &Response, path: &str, from: u64, whole: u64) -> Result<(), HubError> {
    let said = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    let expected = format!("bytes {from}-{}/{whole}", whole.saturating_sub(1));
    if said == expected {
        return Ok(());
    }
    let said: String = said.chars().take(80).collect();
    Err(HubError::Other { path: path.to_owned(), detail: format!("`{expected}` was asked for, `{said}` comes") })
}
