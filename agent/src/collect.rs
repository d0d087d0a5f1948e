//! What helps to find out what is wrong with a device, in one bounded bundle: no content, no secrets. Two files are read, the
//! settings and the newest operations log, and of them what `allowed` names; no other file is opened.

mod allowed;

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use outpost_audit::AuditLog;
use outpost_contract::command::{MOST_PARTS, PART_BYTES};
use outpost_contract::{Measurements, Part};
use outpost_store::Store;
use outpost_sync::Outbox;
use serde_json::{Value, json};

use crate::state::{StateDir, read_small};

/// Bytes of the end of the newest log file.
const LOG_BYTES: u64 = 512 * 1024;

/// Bytes of the settings file.
const CONFIG_BYTES: u64 = 64 * 1024;

/// How hard it is compressed.
const LEVEL: i32 = 10;

/// Where it is collected from.
#[derive(Debug, Clone)]
pub(crate) struct Collecting {
    pub(crate) state: StateDir,
    pub(crate) audit: AuditLog,
    pub(crate) outbox: Outbox,
}

impl Collecting {
    /// The bundle: JSON, compressed with zstd. What cannot be read is told in its place.
    pub(crate) fn collect(&self, store: &Store, status: &Value, measured: Option<&Measurements>) -> Result<Vec<u8>> {
        let files = store.list().map(|files| {
            let file = |file: &outpost_store::StoredFile| json!({"sha256": file.sha256.to_hex(), "bytes": file.bytes});
            files.iter().map(file).collect::<Vec<_>>()
        });
        let bundle = json!({
            "status": status,
            "measurements": measured,
            "config": told(self.settings()),
            "store": told(files),
            "audit": {"size": self.audit.size(), "root": hex::encode(self.audit.root())},
            "dead_letters": told(self.outbox.dead_letters()),
            "log": told(newest_log(&self.state.logs()).map(|text| allowed::log(&text))),
        });
        let text = serde_json::to_vec(&bundle).context("the bundle cannot be written as JSON")?;
        zstd::bulk::compress(&text, LEVEL).context("the bundle cannot be compressed")
    }

    fn settings(&self) -> Result<Value> {
        let text = read_small(&self.state.config(), CONFIG_BYTES)?.context("there is no settings file")?;
        allowed::settings(&text).map_err(anyhow::Error::msg)
    }
}

/// Cuts a bundle into the pieces that fit messages.
pub(crate) fn parts(bundle: &[u8]) -> Result<Vec<Part>> {
    let of = u32::try_from(bundle.len().div_ceil(PART_BYTES)).unwrap_or(u32::MAX);
    ensure!(of <= MOST_PARTS, "the bundle has {} bytes, more than can be sent", bundle.len());
    let pieces = (0..).zip(bundle.chunks(PART_BYTES));
    Ok(pieces.map(|(number, bytes)| Part { number, of, hex: hex::encode(bytes) }).collect())
}

fn told<T: serde::Serialize, E: std::fmt::Display>(read: Result<T, E>) -> Value {
    match read {
        Ok(value) => json!(value),
        Err(error) => json!({"unreadable": format!("{error:#}")}),
    }
}

fn newest_log(directory: &Path) -> Result<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    // Their names end with the date.
    files.sort();
    end_of(files.last().context("there is no log file")?, LOG_BYTES)
}

/// The end of a file, from the beginning of a line.
fn end_of(path: &Path, most: u64) -> Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if length <= most {
        return Ok(text);
    }
    Ok(text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use outpost_audit::BootInfo;
    use outpost_disk::Clock;
    use outpost_sync::SyncDatabase;

    use super::*;
    use crate::keys;

    #[test]
    fn a_secret_in_any_file_of_the_state_directory_is_not_in_the_bundle() {
        const SECRET: &str = "S3cr3t+Value/of=this.box";
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::locate(Some(dir.path())).unwrap();
        state.prepare().unwrap();
        let info = BootInfo { agent: "1".into(), device: "till-7".into(), clock: Clock::fixed(1_796_126_400) };
        let (audit, _) = AuditLog::open(&state.audit(), keys::log_identity(&state).unwrap(), info).unwrap();
        let outbox = SyncDatabase::open(&state.sync()).unwrap().outbox();
        let store = Store::open(&state.store()).unwrap();
        for room in [state.identity(), state.keys(), state.vault(), state.ledgers(), state.scratch(), state.logs()] {
            std::fs::create_dir_all(&room).unwrap();
            for name in ["identity.json", "device.key", "S3cr3t+Value", "agent.2026-11-27.jsonl"] {
                let line = format!("{{\"token\":\"{SECRET}\",\"level\":\"INFO\",\"error\":\"{SECRET}\"}}\n{SECRET}\n");
                std::fs::write(room.join(name), line).unwrap();
            }
        }
        std::fs::write(state.config(), format!("[api]\nlisten = \"{SECRET}\"\nhosts = [\"{SECRET}\"]\n")).unwrap();
        let collecting = Collecting { state, audit, outbox };
        let bundle = collecting.collect(&store, &json!({}), None).unwrap();
        let text = String::from_utf8(zstd::bulk::decompress(&bundle, 1 << 20).unwrap()).unwrap();
        assert!(text.contains("\"INFO\"") && text.contains("not shown"), "{text}");
        assert!(!text.contains(SECRET), "{text}");
    }

    #[test]
    fn a_bundle_travels_in_pieces_and_one_that_is_too_large_does_not() {
        let pieces = parts(&vec![7; PART_BYTES + 1]).unwrap();
        assert_eq!((pieces.len(), pieces[1].of, pieces[1].hex.as_str()), (2, 2, "07"));
        assert!(parts(&vec![7; PART_BYTES * MOST_PARTS as usize + 1]).is_err());
    }

    #[test]
    fn only_the_end_of_a_long_file_is_read_from_a_whole_line_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.jsonl");
        std::fs::write(&path, "first line\nsecond\nthird\n").unwrap();
        assert_eq!(end_of(&path, 15).unwrap(), "second\nthird\n");
        assert_eq!(newest_log(dir.path()).unwrap(), "first line\nsecond\nthird\n");
    }
}
