//! `outpost-control backup …`: everything copied, verified, and made a fleet again.

use std::path::{Path, PathBuf};

use anyhow::Result;
use outpost_control::{BackupIndex, Config, Restored, restore, verify_backup};
use serde_json::json;

use super::{open, say, say_json, state_directory};
use crate::args::Backup;

/// Runs the command.
pub(super) fn run(
    config: impl FnOnce() -> Result<Config>,
    state: Option<PathBuf>,
    command: Backup,
    as_json: bool,
) -> Result<()> {
    match command {
        Backup::Create { directory } => tell(&open(config()?)?.back_up(&directory)?, &directory, as_json),
        Backup::Verify { directory } => tell(&verify_backup(&directory)?, &directory, as_json),
        Backup::Restore { directory } => {
            let state = state_directory(state)?;
            let restored = restore(&directory, &state)?;
            if as_json {
                return say_json(&restored);
            }
            let Restored { made_at_s, files, bytes, voided } = restored;
            say(format!("{files} files, {bytes} bytes, are in `{}` as of {}", state.display(), at(made_at_s)))?;
            say(format!("{voided} codes and allowed keys that were open let nobody in any more"))?;
            say("devices that were revoked since are members again: revoke them before `outpost-control serve`")
        }
    }
}

fn tell(index: &BackupIndex, directory: &Path, as_json: bool) -> Result<()> {
    let bytes: u64 = index.files.values().map(|file| file.bytes).sum();
    if as_json {
        return say_json(&json!({ "made_at_s": index.made_at_s, "files": index.files.len(), "bytes": bytes }));
    }
    let files = index.files.len();
    say(format!(
        "`{}` holds {files} files, {bytes} bytes, as of {}; each verifies",
        directory.display(),
        at(index.made_at_s)
    ))
}

/// A moment as people read it.
pub(super) fn at(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("second {seconds}"), |time| time.to_string())
}
