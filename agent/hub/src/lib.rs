//! A Hugging Face hub, or a mirror of one, as a source of model files: what was asked for, at one commit, whole and checked.
//!
//! ```text
//! hf:OWNER/REPO@REVISION ─► listing (commit, files, digests, card) ─► each file: part, resumed, hashed while it comes ─► kept
//! ```
//!
//! Nothing that a hub says reaches a path, a size or a release before it was checked; its token goes to the hub and nowhere else.

mod access;
mod client;
mod download;
mod error;
mod files;
mod listing;
pub mod outgoing;
mod patience;
mod reference;
mod repository;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use outpost_contract::Origin;
use serde::{Deserialize, Serialize};

pub use access::HubAccess;
pub use error::HubError;
pub use listing::{Card, RepositoryFile};
pub use patience::Patience;
pub use reference::HubReference;
pub use repository::{Hub, Repository};

/// Largest file that is fetched unless somebody says otherwise: 64 GiB.
pub const MOST_FILE_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// What is fetched, and where to.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The repository, and which commit of it.
    pub reference: HubReference,
    /// Which files, as patterns with `*` and `?` over their paths; none means `*.gguf`.
    pub patterns: Vec<String>,
    /// The directory that they are kept in.
    pub directory: PathBuf,
    /// Larger files are not fetched, bytes.
    pub most_file_bytes: u64,
    /// Who fetches, for their provenance.
    pub by: String,
    /// When, seconds since 1970-01-01 UTC.
    pub now_s: i64,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The commit that the files are of.
    pub commit: String,
    /// What the card of the model says.
    pub card: Card,
    /// The files, each with where it came from.
    pub files: Vec<FetchedFile>,
}

/// A file that was fetched and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length, bytes.
    pub bytes: u64,
    /// Bytes of it that were there already.
    pub resumed_bytes: u64,
    /// Where it came from; beside the file it lies as `FILE.origin.json`.
    pub origin: FileOrigin,
}

/// What lies beside a fetched file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOrigin {
    /// What a release carries on.
    pub origin: Origin,
    /// The licence that the card names; empty if it names none.
    pub licence: String,
}

/// Largest provenance of a file.
const ORIGIN_BYTES: u64 = 64 * 1024;

impl FileOrigin {
    /// What lies beside a file; `None` if nothing does.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn beside(file: &Path) -> Result<Option<Self>, HubError> {
        let path = Self::path(file);
        let bytes = match files::read(&path, ORIGIN_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = serde_json::from_slice(&bytes);
        read.map(Some).map_err(|source| HubError::Provenance { path: path.display().to_string(), source })
    }

    fn path(file: &Path) -> PathBuf {
        let mut name = file.as_os_str().to_owned();
        name.push(".origin.json");
        name.into()
    }
}

/// Fetches files of a repository; what is there already and whole is not fetched again, what was cut goes on.
///
/// # Errors
/// [`HubError`]: nothing that is kept is ever other than what the hub's commit says.
pub async fn fetch(
    access: HubAccess,
    request: &FetchRequest,
    mut tell: impl FnMut(&str, u64, u64),
) -> Result<Fetched, HubError> {
    let hub = Hub::new(access)?;
    let repository = hub.repository(&request.reference).await?;
    let mut files = Vec::new();
    for file in repository.chosen(&request.patterns, request.most_file_bytes)? {
        let path = request.directory.join(file.path.to_path());
        let (sha256, resumed_bytes) =
            repository.fetch(file, &path, |done| tell(file.path.as_str(), done, file.bytes)).await?;
        let origin = repository.origin(file, sha256, &request.by, request.now_s);
        let origin = FileOrigin { origin, licence: repository.card().licence.clone() };
        let text = serde_json::to_vec_pretty(&origin)
            .map_err(|source| HubError::Provenance { path: path.display().to_string(), source })?;
        outpost_disk::atomic::write(FileOrigin::path(&path), &text)?;
        files.push(FetchedFile { path, bytes: file.bytes, resumed_bytes, origin });
    }
    Ok(Fetched { commit: repository.commit().to_owned(), card: repository.card().clone(), files })
}
