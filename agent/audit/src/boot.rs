//! What a start finds: how the last run ended, and which requests it left without an end.

use std::path::Path;

use outpost_disk::Clock;
use rusqlite::{Connection, OptionalExtension};

use crate::leaf::Leaf;
use crate::{AuditError, Kind, Record};

/// Facts about this run that every record carries.
#[derive(Debug, Clone)]
pub struct BootInfo {
    /// Version of the agent.
    pub agent: String,
    /// Id of the device.
    pub device: String,
    /// Where records take their time from.
    pub clock: Clock,
}

impl BootInfo {
    /// Of a program that takes the system's time as it is.
    #[must_use]
    pub fn at_system_time(agent: &str, device: &str) -> Self {
        Self { agent: agent.to_owned(), device: device.to_owned(), clock: Clock::system() }
    }
}

/// How the run before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previous {
    /// There was none: the log is new.
    None,
    /// In good order: its last record is `shutdown`.
    Clean,
    /// By a kill, a crash or a power cut.
    Unclean,
}

impl Previous {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Clean => "clean",
            Self::Unclean => "unclean",
        }
    }
}

/// What opening the log found and did.
#[derive(Debug, Clone)]
pub struct BootReport {
    /// How the run before ended.
    pub previous: Previous,
    /// Requests that it left open; each now has its `infer.aborted`.
    pub aborted: Vec<String>,
    /// Records in the log, those of this start included.
    pub records: u64,
    /// Name of the log. An existing log keeps the name it was born with.
    pub origin: String,
    /// Id of this run, as records carry it.
    pub boot: String,
    /// Public key that checkpoints verify with, C2SP form.
    pub verifier_key: String,
}

/// What the last run left behind.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) previous: Previous,
    last_index: Option<u64>,
    last: Option<Leaf>,
    open: Vec<OpenRequest>,
}

#[derive(Debug)]
struct OpenRequest {
    request: String,
    start: u64,
    leaf: Option<Leaf>,
}

impl Remains {
    pub(crate) fn read(connection: &Connection, directory: &Path) -> Result<Self, AuditError> {
        let read = |error: rusqlite::Error| AuditError::database("read", directory, &error);
        let last = connection
            .query_row("SELECT idx, bytes FROM leaves ORDER BY idx DESC LIMIT 1", (), |row| {
                Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?))
            })
            .optional()
            .map_err(read)?;
        let (last_index, last) = last.map(|(index, bytes)| (index, Leaf::parse(&bytes).ok())).unzip();
        let last = last.flatten();
        let previous = match (&last_index, &last) {
            (None, _) => Previous::None,
            (_, Some(leaf)) if leaf.kind() == Some(Kind::Shutdown.name()) => Previous::Clean,
            _ => Previous::Unclean,
        };
        let mut statement = connection
            .prepare(
                "SELECT request, o.idx, bytes FROM open_requests o LEFT JOIN leaves l ON l.idx = o.idx ORDER BY o.idx",
            )
            .map_err(read)?;
        let open = statement
            .query_map((), |row| {
                let bytes: Option<Vec<u8>> = row.get(2)?;
                Ok(OpenRequest {
                    request: row.get(0)?,
                    start: row.get(1)?,
                    leaf: bytes.and_then(|bytes| Leaf::parse(&bytes).ok()),
                })
            })
            .and_then(Iterator::collect)
            .map_err(read)?;
        Ok(Self { previous, last_index, last, open })
    }

    /// The records that this start begins with: `boot`, then an end for each request that has none.
    pub(crate) fn records(self, boot_us: i64) -> Vec<Record> {
        let last_boot_us = self.last.as_ref().and_then(|leaf| leaf.integer("t.boot_us"));
        // Time since the machine's start only runs backwards if the machine started anew.
        let machine_restarted = last_boot_us.is_some_and(|last| boot_us < last);
        let reason = if machine_restarted { "machine_restart" } else { "agent_restart" };
        let mut boot = Record::new(Kind::Boot).detail("previous", self.previous.name());
        boot = boot.detail("open_requests", self.open.len() as u64);
        if let Some(index) = self.last_index {
            boot = boot.detail("last_index", index).detail("reason", reason);
        }
        if let Some(previous_boot) = self.last.as_ref().and_then(|leaf| leaf.text("t.boot")) {
            boot = boot.detail("previous_boot", previous_boot);
        }
        let aborted = self.open.into_iter().map(|open| {
            let part = |key: &str| open.leaf.as_ref().and_then(|leaf| leaf.at(key)).cloned();
            Record::new(Kind::InferAborted)
                .copied("who", part("who").as_ref())
                .copied("obj", part("obj").as_ref())
                .copied("act", part("act").as_ref())
                .request(open.request)
                .detail("start", open.start)
                .detail("reason", reason)
        });
        std::iter::once(boot).chain(aborted).collect()
    }

    pub(crate) fn open_requests(&self) -> Vec<String> {
        self.open.iter().map(|open| open.request.clone()).collect()
    }
}
