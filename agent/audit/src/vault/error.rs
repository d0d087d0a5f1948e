//! What can go wrong with sealed content, said so that an operator knows what to do.

use std::path::PathBuf;

/// A failed act on sealed content or its keys. Never holds content, a key, or whose they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The log was opened without a vault.
    #[error(
        "this audit log is open without its vault, so no content can be sealed, read or erased; open it with \
        `AuditLog::open_with_vault`"
    )]
    Closed,
    /// The root key that the database names is not there.
    #[error("the root key `{}` of the sealed content is missing: restore this file (an old image of the log names an \
        old root key, which is destroyed for good); without it sealed content stays unreadable, and the log itself can \
        still be opened without its vault", path.display())]
    RootMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file of the root key holds another key.
    #[error("`{}` is not the root key that the sealed content was written under; restore the right file", path.display())]
    OtherRoot {
        /// The file.
        path: PathBuf,
    },
    /// The file of a root key cannot be used.
    #[error("cannot {act} the root key `{}`: {cause}", path.display())]
    RootFile {
        /// The act, as a verb.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The keys are destroyed in the database, but the root key that old copies of them open with is still on disk.
    #[error("the keys are deleted and that is on record, but the old root key `{}` could not be destroyed ({cause}): \
        delete the file, or restart the agent, which tries again", path.display())]
    RootStays {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The row that names the root key cannot be read.
    #[error("the audit database names its root key in a way that cannot be read (`{found}`): restore the database")]
    BadName {
        /// What is there.
        found: String,
    },
    /// A key does not unwrap.
    #[error("the key `{key}` is damaged: what was sealed under it cannot be read; restore the database")]
    DamagedKey {
        /// Id of the key.
        key: String,
    },
    /// A key is gone, and no tombstone says why.
    #[error("the key `{key}` is gone and nothing on record says that it was destroyed; restore the database")]
    LostKey {
        /// Id of the key.
        key: String,
    },
    /// The key was destroyed, on record.
    #[error("the content of record {index} is destroyed: its key `{key}` was, by record {by}")]
    Destroyed {
        /// The record that was asked for.
        index: u64,
        /// Id of the key.
        key: String,
        /// The record that says so.
        by: u64,
    },
    /// The record names sealed content that is not there.
    #[error(
        "the sealed content of record {index} is gone and nothing on record says that it was destroyed; restore \
        the database"
    )]
    LostContent {
        /// The record.
        index: u64,
    },
    /// The stored content is not what the record names.
    #[error("the sealed content of record {index} is not what was recorded: {what}")]
    Altered {
        /// The record.
        index: u64,
        /// The difference.
        what: &'static str,
    },
    /// The record carries no content.
    #[error("record {index} carries no sealed content")]
    NothingSealed {
        /// The record.
        index: u64,
    },
    /// Content may only be kept under a pseudonym.
    #[error("content is sealed for a pseudonym (`p:` and hexadecimal digits, see `Pseudonyms`), never for a name")]
    NotAPseudonym,
    /// More content than one record may carry.
    #[error("{bytes} bytes of content are too much for one record; {limit} is the limit")]
    TooLarge {
        /// What was given.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Ciphertext of destroyed keys is still stored.
    #[error(
        "the keys are destroyed and that is on record, but their ciphertext is still being removed ({cause}); the \
        next start of the agent goes on"
    )]
    NotSwept {
        /// What stopped it.
        cause: String,
    },
    /// The cipher refused, which it does for no input that is possible here.
    #[error("the cipher failed; nothing was sealed")]
    Cipher,
    /// The operating system has no randomness.
    #[error("no randomness: {cause}")]
    NoRandomness {
        /// What it said.
        cause: String,
    },
}
