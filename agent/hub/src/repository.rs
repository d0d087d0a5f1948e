//! A repository of a hub at one commit: looked at once, then its files one by one, whole or only how they begin.

use std::path::{Path, PathBuf};

use outpost_contract::{Origin, Sha256};

use crate::client::Client;
use crate::download::Wanted;
use crate::listing::{Card, Listing, RepositoryFile};
use crate::{HubAccess, HubError, HubReference};

/// A hub that can be asked.
pub struct Hub {
    client: Client,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    /// Sets up the clients; nothing is asked yet.
    ///
    /// # Errors
    /// If this system has no authorities that vouch for servers.
    pub fn new(access: HubAccess) -> Result<Self, HubError> {
        Ok(Self { client: Client::new(access)? })
    }

    /// Looks at a repository, and pins it to the commit that its revision means now.
    ///
    /// # Errors
    /// If the hub does not give it, or what it says cannot be.
    pub async fn repository(&self, reference: &HubReference) -> Result<Repository<'_>, HubError> {
        let listing = self.client.listing(reference).await?;
        Ok(Repository { client: &self.client, reference: reference.clone(), listing })
    }
}

/// A repository at one commit.
pub struct Repository<'a> {
    client: &'a Client,
    reference: HubReference,
    listing: Listing,
}

impl std::fmt::Debug for Repository<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Repository").field("listing", &self.listing).finish_non_exhaustive()
    }
}

impl Repository<'_> {
    /// The commit, 40 hexadecimal digits.
    #[must_use]
    pub fn commit(&self) -> &str {
        &self.listing.commit
    }

    /// What the card of the model says.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.listing.card
    }

    /// The repository's address, for people and provenance.
    #[must_use]
    pub fn source(&self) -> String {
        self.client.source(&self.reference)
    }

    /// The files that patterns mean, or `*.gguf`; each can be checked and is not too large.
    ///
    /// # Errors
    /// If there is none, or one of them is not to be had.
    pub fn chosen(&self, patterns: &[String], most_file_bytes: u64) -> Result<Vec<&RepositoryFile>, HubError> {
        self.listing.chosen(patterns, most_file_bytes)
    }

    /// Where a file is kept below a directory: apart from other commits of it.
    #[must_use]
    pub fn place(&self, directory: &Path, file: &RepositoryFile) -> PathBuf {
        directory.join(self.reference.directory_name()).join(self.commit()).join(file.path.to_path())
    }

    /// How a file begins, at most so many bytes, from disk where they are there already. They are kept as the part that a
    /// fetch goes on from, and nothing vouches for them before that has ended.
    ///
    /// # Errors
    /// As [`Repository::fetch`].
    pub async fn beginning(&self, file: &RepositoryFile, path: &Path, bytes: u64) -> Result<Vec<u8>, HubError> {
        self.wanted(file).beginning(path, bytes).await
    }

    /// Fetches a file to `path` unless it is there, telling how much of it is here. Its SHA-256, and how many bytes were
    /// there before.
    ///
    /// # Errors
    /// [`HubError`]: what is kept is never other than what the commit says, or a part that a later fetch goes on from.
    pub async fn fetch(
        &self,
        file: &RepositoryFile,
        path: &Path,
        tell: impl FnMut(u64),
    ) -> Result<(Sha256, u64), HubError> {
        self.wanted(file).fetch(path, tell).await
    }

    /// Where a fetched file came from.
    #[must_use]
    pub fn origin(&self, file: &RepositoryFile, sha256: Sha256, by: &str, now_s: i64) -> Origin {
        Origin {
            source: self.source(),
            revision: self.listing.commit.clone(),
            path: file.path.as_str().to_owned(),
            sha256,
            fetched_s: now_s,
            fetched_by: by.to_owned(),
            base_models: self.listing.card.base_models.clone(),
            tags: self.listing.card.tags.clone(),
        }
    }

    fn wanted<'w>(&'w self, file: &'w RepositoryFile) -> Wanted<'w> {
        Wanted { client: self.client, reference: &self.reference, commit: &self.listing.commit, file }
    }
}
