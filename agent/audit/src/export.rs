//! A log as files for somebody else: tiles that any C2SP tool reads, or records in the form that a system wants.
//!
//! Read from one state of the log, one record at a time; checked against the signed root on the way, so that what is
//! damaged is not passed on as good; written beside and renamed, so that an export is whole or absent.

pub(crate) mod manifest;
mod records;
mod staging;
mod tiles;

use std::fmt;
use std::path::Path;

use outpost_disk::atomic;

pub use crate::form::Form;
use crate::source::Source;
use crate::{AuditError, CheckpointKey};

/// The public key beside an export: for convenience, and no proof of itself.
pub(crate) const VERIFIER_KEY: &str = "audit.vkey";

/// What an export is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The tree of c2sp.org/tlog-tiles, of the whole log.
    Tiles,
    /// One file of records with its manifest.
    Records(Form),
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [
        Self::Tiles,
        Self::Records(Form::Jsonl),
        Self::Records(Form::Csv),
        Self::Records(Form::Ocsf),
        Self::Records(Form::Cef),
        Self::Records(Form::Syslog),
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiles => "tiles",
            Self::Records(form) => form.name(),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What to export, and as whom.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// First index; 0 by default.
    pub from: Option<u64>,
    /// First index that is not wanted any more; the size of the log by default.
    pub to: Option<u64>,
    /// The log's own key, to sign the manifest with. Without it, as on a copy, the manifest says that it is not signed.
    pub key: Option<&'a CheckpointKey>,
    /// Name and version of the program that exports.
    pub tool: String,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Name of the log.
    pub origin: String,
    /// First index.
    pub from: u64,
    /// The index after the last.
    pub to: u64,
    /// Records that the signed head covers.
    pub size: u64,
    /// Its root.
    pub root: [u8; 32],
}

/// Writes the log in `directory` to the new folder `target`. Works while the agent runs, and on a copy.
///
/// # Errors
/// If there is no log, it is damaged (then `outpost audit verify` names the record), it is of another key, the range is
/// not in it, or `target` exists or cannot be written; nothing is left there then.
pub fn export(directory: &Path, format: Format, target: &Path, options: &Options<'_>) -> Result<Exported, AuditError> {
    let source = Source::open(directory)?;
    let size = source.checkpoint.size;
    let first = source.first()?;
    let (from, to) = (options.from.unwrap_or(first), options.to.unwrap_or(size));
    if from > to || to > size {
        return Err(AuditError::OutOfRange { from, to, size });
    }
    if from < first || (format == Format::Tiles && first > 0) {
        return Err(AuditError::Pruned { first });
    }
    if let Some(key) = options.key {
        let expected = key.verifier_key(&source.checkpoint.origin)?;
        if expected != source.key {
            let (found, expected) = (source.key.to_string(), expected.to_string());
            return Err(AuditError::OtherKey { directory: directory.to_owned(), found, expected });
        }
    }
    let mut staging = staging::Staging::new(target)?;
    match format {
        Format::Tiles if options.from.is_some() || options.to.is_some() => return Err(AuditError::TilesAreWhole),
        Format::Tiles => tiles::write(&source, &mut staging)?,
        Format::Records(form) => records::write(&source, &mut staging, form, (from, to), options)?,
    }
    staging.write(VERIFIER_KEY, format!("{}\n", source.key).as_bytes())?;
    staging.publish()?;
    Ok(Exported { origin: source.checkpoint.origin, from, to, size, root: source.checkpoint.root })
}

/// Writes the proof that record `index` is in the log in `directory` to `target` (c2sp.org/tlog-proof), and the record
/// itself beside it, with the ending [`RECORD_ENDING`]. Both replace what was there.
///
/// # Errors
/// As [`export`].
pub fn prove(directory: &Path, index: u64, target: &Path) -> Result<Exported, AuditError> {
    let source = Source::open(directory)?;
    let size = source.checkpoint.size;
    let record = target.with_extension(RECORD_ENDING);
    if record == target {
        let path = target.display();
        return Err(AuditError::Disk(format!("`{path}` is where the record goes; name the proof otherwise")));
    }
    if index >= size {
        return Err(AuditError::OutOfRange { from: index, to: index.saturating_add(1), size });
    }
    let first = source.first()?;
    if index < first {
        return Err(AuditError::Pruned { first });
    }
    // By a head that others have cosigned, if one holds the record: then it is not the log's word alone.
    let (head, checkpoint) =
        source.cosigned(index)?.unwrap_or_else(|| (source.checkpoint.clone(), source.note.clone()));
    let (size, root) = (head.size, head.root);
    let proof = crate::proof::Proof { index, path: source.path(index, size)?, checkpoint };
    source.each(index, index + 1, |_, leaf| Ok(atomic::write(&record, leaf)?))?;
    atomic::write(target, proof.to_text())?;
    Ok(Exported { origin: source.checkpoint.origin, from: index, to: index + 1, size, root })
}

/// What the record beside a proof is called.
pub const RECORD_ENDING: &str = "json";

#[cfg(test)]
mod tests;
