//! Why something did not come from a hub, and the way out. No text here holds a query, which may be a key, or a token.

use std::path::PathBuf;
use std::time::Duration;

/// A hub, or what it gave, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The reference is none.
    #[error("`{}` is no model of a hub: write `hf:OWNER/REPO`, or `hf:OWNER/REPO@REVISION`", .0.escape_debug())]
    Reference(String),
    /// `HF_HUB_OFFLINE` says that no hub may be asked.
    #[error("no hub is asked: `HF_HUB_OFFLINE` is set; bring the file with `outpost model import FILE`, or unset it")]
    Offline,
    /// `HF_ENDPOINT` or the token is none.
    #[error("{0}")]
    Access(String),
    /// It does not answer.
    #[error("the hub at `{host}` cannot be reached: {detail}")]
    Unreachable {
        /// Whom was asked.
        host: String,
        /// Why.
        detail: String,
    },
    /// It answers that it does not give it.
    #[error("the hub at `{host}` answers {status} for {what}{hint}{}", when(*asked))]
    Refused {
        /// Whom was asked.
        host: String,
        /// HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
        /// What may help.
        hint: &'static str,
        /// How long it asks to be left alone.
        asked: Option<Duration>,
    },
    /// It sends on to where nothing is fetched from.
    #[error("the hub sends on to {0}: not followed")]
    Redirect(String),
    /// What it says of the repository cannot be.
    #[error("the hub's listing cannot be used: {0}")]
    Listing(String),
    /// Nothing fits the patterns.
    #[error("no file of the repository is called {wanted}; there are: {there}")]
    NothingFits {
        /// The patterns.
        wanted: String,
        /// Some of the names.
        there: String,
    },
    /// A file is larger than wanted.
    #[error("`{path}` has {bytes} bytes, {most} is the limit; `--most-gib` raises it")]
    TooLarge {
        /// The file.
        path: String,
        /// Its length.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// A file has no digest to check it by.
    #[error("the hub names no digest of `{0}`; what cannot be checked is not fetched")]
    NoDigest(String),
    /// It broke off; what came is kept.
    #[error("`{path}` broke off at {done} of {bytes} bytes: {detail}; run the command again, it goes on from there")]
    BrokeOff {
        /// The file.
        path: String,
        /// Bytes that are here.
        done: u64,
        /// Bytes of the whole.
        bytes: u64,
        /// Why.
        detail: String,
    },
    /// More came than was said, or from another place of the file.
    #[error("the hub sends something else than `{path}`: {detail}")]
    Other {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The bytes are not those of the commit.
    #[error("`{path}` is not what the commit names: its digest is {found}, not {expected}; it was removed")]
    Digest {
        /// The file.
        path: String,
        /// What came.
        found: String,
        /// What should have.
        expected: String,
    },
    /// The provenance beside a file cannot be read or written.
    #[error("the provenance of `{path}` cannot be read: {source}; fetch the file again")]
    Provenance {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// There is no room for what comes.
    #[error("no room for `{}`: {detail}; free space on this disk, then run the command again: it goes on from there", path.display())]
    Full {
        /// The file that is written.
        path: PathBuf,
        /// What is missing.
        detail: String,
    },
    /// A local file.
    #[error("cannot {act} `{}`: {source}", path.display())]
    File {
        /// What was tried, as in `read`.
        act: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file cannot be made durable.
    #[error(transparent)]
    Disk(#[from] outpost_disk::DiskError),
}

impl HubError {
    /// Whether trying again may help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BrokeOff { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// How long the hub asks to be left alone.
    pub(crate) fn asked(&self) -> Option<Duration> {
        match self {
            Self::Refused { asked, .. } => *asked,
            _ => None,
        }
    }

    /// Whether a file is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

fn when(asked: Option<Duration>) -> String {
    asked.map(|asked| format!(" (it asks for {} s)", asked.as_secs())).unwrap_or_default()
}
