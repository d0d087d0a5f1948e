//! Why something did not come from a hub, and the way out. No text here holds a query, which may be a key, or a token.

use crate::files::FileError;

/// A hub, or what it gave, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The reference is none.
    #[error("`{}` is no model of a hub: write `hf:OWNER/REPO`, or `hf:OWNER/REPO@REVISION`", .0.escape_debug())]
    Reference(String),
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
    #[error("the hub at `{host}` answers {status} for {what}{hint}")]
    Refused {
        /// Whom was asked.
        host: String,
        /// HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
        /// What may help.
        hint: &'static str,
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
    /// A local file.
    #[error(transparent)]
    File(#[from] FileError),
}
