//! One file: its part goes on where it broke off, is hashed while it comes, and gets its name when it is what the commit says.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use outpost_contract::Sha256;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;

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
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
    }
    let part = part_of(path);
    let mut options = OpenOptions::new();
    let mut kept =
        options.read(true).write(true).create(true).truncate(false).open(&part).map_err(failed("open", &part))?;
    let mut hashing = Hashing::new(file.bytes);
    hashing.read(&mut kept, &part, file.bytes, &mut tell)?;
    let resumed = hashing.bytes;
    // What lies behind the whole of it was left by something else.
    kept.set_len(resumed).and_then(|()| kept.seek(SeekFrom::End(0))).map_err(failed("write", &part))?;
    if resumed < file.bytes {
        let broke_off =
            |done: u64, detail: String| HubError::BrokeOff { path: name.to_owned(), done, bytes: file.bytes, detail };
        let mut answer = client.file(reference, commit, name, resumed).await?;
        if resumed > 0 {
            if answer.status() == StatusCode::PARTIAL_CONTENT {
                check_range(&answer, name, resumed, file.bytes)?;
            } else {
                // It knows no ranges: from the beginning.
                hashing = Hashing::new(file.bytes);
                kept.set_len(0).and_then(|()| kept.rewind()).map_err(failed("write", &part))?;
            }
        }
        let expected = file.bytes - hashing.bytes;
        if let Some(length) = answer.content_length().filter(|length| *length != expected) {
            let detail = format!("{length} bytes are announced, {expected} are missing");
            return Err(HubError::Other { path: name.to_owned(), detail });
        }
        loop {
            let piece = match answer.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    kept.sync_all().map_err(failed("write", &part))?;
                    return Err(broke_off(hashing.bytes, error.without_url().to_string()));
                }
            };
            if hashing.bytes + piece.len() as u64 > file.bytes {
                let _ = fs::remove_file(&part);
                let detail = format!("it is longer than the {} bytes that the commit names", file.bytes);
                return Err(HubError::Other { path: name.to_owned(), detail });
            }
            kept.write_all(&piece).map_err(failed("write", &part))?;
            hashing.take(&piece);
            tell(hashing.bytes);
        }
        if hashing.bytes < file.bytes {
            kept.sync_all().map_err(failed("write", &part))?;
            return Err(broke_off(hashing.bytes, "the answer ended".to_owned()));
        }
    }
    let sha256 = match hashing.finish(name, digest) {
        Ok(sha256) => sha256,
        Err(error) => {
            fs::remove_file(&part).map_err(failed("remove", &part))?;
            return Err(error);
        }
    };
    kept.sync_all().map_err(failed("write", &part))?;
    files::rename(&part, path)?;
    Ok((sha256, resumed))
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
fn check_range(answer: &reqwest::Response, path: &str, from: u64, whole: u64) -> Result<(), HubError> {
    let said = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    let expected = format!("bytes {from}-{}/{whole}", whole.saturating_sub(1));
    if said == expected {
        return Ok(());
    }
    let said: String = said.chars().take(80).collect();
    Err(HubError::Other { path: path.to_owned(), detail: format!("`{expected}` was asked for, `{said}` comes") })
}
