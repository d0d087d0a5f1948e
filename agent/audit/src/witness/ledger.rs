//! Cosigned checkpoints, kept in the log itself: a `cosig` record holds the checkpoint and every signature line.
//!
//! ```json
//! {…,"detail":{"checkpoint":"audit.example/dev-1/1\n3\nq83…=\n","line_01":"— audit.example/dev-1/1 …","line_02":"— w …",
//!  "size":3},…,"type":"cosig"}
//! ```
//!
//! So they are written by the log's one writer, as durably as any record, and stand under the next heads.

use std::path::Path;

use rusqlite::Connection;

use crate::cosignature::{Cosigned, CosignerKey};
use crate::leaf::Leaf;
use crate::reader::Snapshot;
use crate::record::MAX_TEXT_BYTES;
use crate::{AuditError, Kind, Record, VerifierKey};

/// How a leaf of this type spells it. Quotes inside texts are escaped, so nothing else in a leaf looks like this.
const TYPE_IN_LEAF: &[u8] = br#""type":"cosig""#;

/// A line that a record cannot hold whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a line of the cosigned checkpoint has {bytes} bytes, and a record holds {limit}; use shorter names for the \
    log and its witnesses"
)]
pub struct TooLong {
    /// Its length.
    pub bytes: usize,
    /// What a record can hold.
    pub limit: usize,
}

/// The record that keeps a cosigned checkpoint.
///
/// # Errors
/// If a name in it is so long that the record could not hold its line.
pub fn record(cosigned: &Cosigned) -> Result<Record, TooLong> {
    let (text, lines) = cosigned.note.rsplit_once("\n\n").unwrap_or_default();
    let lines = lines.trim_end_matches('\n').split('\n');
    let record = Record::new(Kind::Cosigned)
        .detail("size", cosigned.checkpoint.size)
        .detail("checkpoint", whole(&format!("{text}\n"))?);
    (1..).zip(lines).try_fold(record, |record, (number, line)| Ok(record.detail(&line_key(number), whole(line)?)))
}

fn whole(text: &str) -> Result<String, TooLong> {
    let (bytes, limit) = (text.len(), MAX_TEXT_BYTES);
    if bytes > limit { Err(TooLong { bytes, limit }) } else { Ok(text.to_owned()) }
}

fn line_key(number: u32) -> String {
    format!("line_{number:02}")
}

/// The signed note in a leaf, unverified; `None` if it is not a `cosig` record.
pub(crate) fn note_in(leaf: &Leaf) -> Option<String> {
    if leaf.kind() != Some(Kind::Cosigned.name()) {
        return None;
    }
    let mut note = format!("{}\n", leaf.text("detail.checkpoint")?);
    for number in 1.. {
        let Some(line) = leaf.text(&format!("detail.{}", line_key(number))) else { break };
        note.push_str(line);
        note.push('\n');
    }
    Some(note)
}

/// The newest checkpoint of the log in `directory` that this witness cosigned, by the log's own records. Looks at
/// every record if there is none: ask once, then keep it up to date.
///
/// # Errors
/// If there is no log, or it cannot be read.
pub fn newest(directory: &Path, log: &VerifierKey, witness: &CosignerKey) -> Result<Option<Cosigned>, AuditError> {
    let snapshot = Snapshot::open(directory)?;
    let mut newest = None;
    each_note(&snapshot.connection, directory, Order::NewestFirst, |_, note| {
        newest = Cosigned::verify(&note, std::slice::from_ref(log), std::slice::from_ref(witness))
            .ok()
            .filter(|cosigned| !cosigned.cosignatures.is_empty());
        newest.is_none()
    })?;
    Ok(newest)
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
}

/// Calls `visit` with the index and the note of each `cosig` record, as long as it says to go on.
pub(super) fn each_note(
    connection: &Connection,
    directory: &Path,
    order: Order,
    mut visit: impl FnMut(u64, String) -> bool,
) -> Result<(), AuditError> {
    let read = |error: rusqlite::Error| AuditError::database("read", directory, &error);
    let query = match order {
        Order::OldestFirst => "SELECT idx, bytes FROM leaves WHERE instr(bytes, ?1) > 0 ORDER BY idx",
        Order::NewestFirst => "SELECT idx, bytes FROM leaves WHERE instr(bytes, ?1) > 0 ORDER BY idx DESC",
    };
    let mut statement = connection.prepare_cached(query).map_err(read)?;
    let mut rows = statement.query([TYPE_IN_LEAF]).map_err(read)?;
    while let Some(row) = rows.next().map_err(read)? {
        // What does not parse is for the verifier to name.
        let bytes = row.get_ref(1).map_err(read)?.as_bytes().unwrap_or_default();
        if let Some(note) = Leaf::parse(bytes).ok().as_ref().and_then(note_in)
            && !visit(row.get(0).map_err(read)?, note)
        {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_texts_in_a_cosig_record_make_a_note_or_none(
            checkpoint in "(.|\n){0,60}", lines in proptest::collection::vec("(.|\n|— ){0,60}", 0..4), kind in "cosig|boot",
        ) {
            let mut detail: Vec<String> = vec![format!("\"checkpoint\":{}", serde_json::Value::from(checkpoint.as_str()))];
            for (number, line) in (1..).zip(&lines) {
                detail.push(format!("\"{}\":{}", line_key(number), serde_json::Value::from(line.as_str())));
            }
            let json = format!("{{\"detail\":{{{}}},\"type\":\"{kind}\"}}", detail.join(","));
            let note = note_in(&Leaf::parse(json.as_bytes()).unwrap());
            prop_assert_eq!(note.is_some(), kind == "cosig");
            if let Some(note) = note {
                prop_assert!(note.starts_with(&checkpoint));
                let _ = Cosigned::verify(&note, &[], &[]);
            }
        }
    }
}
