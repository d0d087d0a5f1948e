//! A log that must not go on is set aside as evidence, and the next one begins: its first words say which it follows, and why.
//!
//! ```text
//! <state>/audit-ended.json      written when witness and log did not agree; gone when the new log says so
//! <state>/audit-ended/<number>  the old log, as it was
//! <state>/vault-ended/<number>  the root key of the content sealed beside it
//! <state>/audit                 the new one; its name ends in the next number, its key is the same
//! ```
//!
//! Every step can be repeated: a kill between two of them is finished at the next start.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use outpost_audit::cosignature::Cosigned;
use outpost_audit::witness::{next_origin, split_origin, succession};
use outpost_audit::{AuditLog, VerifierKey};
use outpost_disk::atomic;

use crate::keys;
use crate::state::{StateDir, read_small};
use crate::witnessing::Ended;

/// Larger than any such file.
const MOST_BYTES: u64 = 64 * 1024;

/// A log that takes the place of another.
#[derive(Debug)]
pub(crate) struct Succession {
    ended: Ended,
    notice: PathBuf,
}

/// Notes that the log ended: the next start begins a new one.
pub(crate) fn end(state: &StateDir, ended: &Ended) -> Result<()> {
    let text = serde_json::to_vec_pretty(ended).context("why the log ended cannot be written")?;
    Ok(atomic::write_private(state.audit_notice(), text)?)
}

/// Sets aside a log that ended and names the next one; `None` if the log may go on. Before the log is opened.
///
/// # Errors
/// If something cannot be read, moved or written; the next start tries again.
pub(crate) fn begin(state: &StateDir) -> Result<Option<Succession>> {
    let notice = state.audit_notice();
    let Some(text) = read_small(&notice, MOST_BYTES)? else { return Ok(None) };
    let ended: Ended = serde_json::from_str(&text).with_context(|| format!("`{}` cannot be read", notice.display()))?;
    let no_number = || format!("`{}` has no number to follow", ended.origin);
    let origin = next_origin(&ended.origin).with_context(no_number)?;
    let (_, number) = split_origin(&ended.origin).with_context(no_number)?;
    if is_of(&state.audit(), &ended.origin)? {
        // The vault first: the log says whether this was done.
        set_aside(&state.vault(), &state.ended_vault(), number)?;
        set_aside(&state.audit(), &state.ended_audit(), number)?;
        atomic::sync_directory(state.root())?;
    }
    keys::set_log_origin(state, &origin)?;
    tracing::warn!(previous = ended.origin, origin, reason = ended.why.name(), "a new audit log begins");
    Ok(Some(Succession { ended, notice }))
}

impl Succession {
    /// Says in the new log which one it follows, and why.
    pub(crate) fn record(&self, log: &AuditLog, key: &VerifierKey) -> Result<()> {
        let old = VerifierKey::new(&self.ended.origin, *key.public()).context("the name of the ended log")?;
        let last = self.ended.last.as_deref().and_then(|note| Cosigned::verify(note, &[old], &[]).ok());
        log.append(succession(&self.ended.origin, &self.ended.why, last.as_ref()))
            .wait()
            .context("the new audit log cannot say which one it follows")?;
        std::fs::remove_file(&self.notice).with_context(|| format!("cannot remove `{}`", self.notice.display()))
    }
}

/// Moves a directory below another one, unless that was done before.
fn set_aside(directory: &Path, below: &Path, number: u64) -> Result<()> {
    let aside = below.join(number.to_string());
    if aside.exists() || !directory.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(below).with_context(|| format!("cannot make `{}`", below.display()))?;
    std::fs::rename(directory, &aside).with_context(|| {
        format!("cannot set `{}` of the ended audit log aside as `{}`", directory.display(), aside.display())
    })
}

/// Whether the log in this directory has this name.
fn is_of(directory: &Path, origin: &str) -> Result<bool> {
    let key = read_small(&directory.join("audit.vkey"), MOST_BYTES)?;
    Ok(key.is_some_and(|key| key.trim().parse::<VerifierKey>().is_ok_and(|key| key.name() == origin)))
}
