//! Measures the room that is left, keeps the reserve, and says when the level changes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outpost_disk::space::{self as disk, Room};
use outpost_disk::{DiskError, atomic};
use rusqlite::Connection;

use super::{CapacityMode, Space, SpaceLevel, SpaceOptions, WHOLE_BYTES};
use crate::{reader, schema};

/// How often room is measured, whichever comes first: asking costs two system calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpacePace {
    pub(crate) records: u64,
    pub(crate) interval: Duration,
}

impl Default for SpacePace {
    fn default() -> Self {
        Self { records: 1_000, interval: Duration::from_secs(10) }
    }
}

/// Where a level begins, in thousandths of the whole.
struct Threshold {
    level: SpaceLevel,
    /// Below this, it is entered; where nothing at all is free, the worst one is.
    enter: u64,
    /// From this on, it is left for a better one.
    leave: u64,
}

const THRESHOLDS: [Threshold; 4] = [
    Threshold { level: SpaceLevel::Exhausted, enter: 0, leave: 10 },
    Threshold { level: SpaceLevel::Critical, enter: 50, leave: 60 },
    Threshold { level: SpaceLevel::Scarce, enter: 100, leave: 120 },
    Threshold { level: SpaceLevel::Low, enter: 250, leave: 300 },
];

/// The level after `now`, with so much free of the whole.
pub(super) fn next_level(now: SpaceLevel, free_bytes: u64, whole_bytes: u64) -> SpaceLevel {
    let at = |limit: fn(&Threshold) -> u64| {
        let is_below = |limit: u64| u128::from(free_bytes) * 1000 < u128::from(limit) * u128::from(whole_bytes);
        let found = THRESHOLDS.iter().find(|threshold| free_bytes == 0 || is_below(limit(threshold)));
        found.map_or(SpaceLevel::Enough, |threshold| threshold.level)
    };
    now.clamp(at(|threshold| threshold.enter), at(|threshold| threshold.leave))
}

/// Of a small disk, the reserve takes no more than one part of so many.
const SMALL_DISK: u64 = 8;

/// A database may need this much to be opened at all: for the index of its journal, and its first transaction.
const OPENING_BYTES: u64 = 1024 * 1024;

/// Before a log is opened: where there is too little room even for that, the reserve is freed.
pub(crate) fn make_room_to_open(directory: &Path, room: Room) -> Result<(), DiskError> {
    if room.free_bytes < OPENING_BYTES {
        atomic::remove(schema::reserve_path(directory))?;
    }
    Ok(())
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
struct Measure {
    free_bytes: u64,
    whole_bytes: u64,
}

/// The writer's measure of its room.
#[derive(Debug)]
pub(crate) struct Gauge {
    directory: PathBuf,
    options: SpaceOptions,
    pace: SpacePace,
    measure: Measure,
    level: SpaceLevel,
    /// Bytes that are set aside.
    held: u64,
    /// Bytes that are to be.
    reserve: u64,
    due: Instant,
    records: u64,
}

impl Gauge {
    pub(crate) fn new(directory: &Path, options: SpaceOptions, pace: SpacePace) -> Self {
        let held = std::fs::metadata(schema::reserve_path(directory)).map_or(0, |metadata| metadata.len());
        Self {
            directory: directory.to_owned(),
            options,
            pace,
            measure: Measure { free_bytes: 0, whole_bytes: 0 },
            level: SpaceLevel::Enough,
            held,
            reserve: options.reserve_bytes,
            due: Instant::now(),
            records: 0,
        }
    }

    /// When to measure next, if nothing is recorded.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    pub(crate) fn level(&self) -> SpaceLevel {
        self.level
    }

    pub(crate) fn space(&self, mode: CapacityMode) -> Space {
        Space {
            level: self.level,
            free_bytes: self.measure.free_bytes,
            whole_bytes: self.measure.whole_bytes,
            quota_bytes: self.options.quota_bytes,
            has_reserve: self.reserve > 0 && self.held >= self.reserve,
            mode,
        }
    }

    /// Whether it is time to measure, now that so many records more are to be written.
    pub(crate) fn is_due(&mut self, records: usize) -> bool {
        self.records += records as u64;
        self.records >= self.pace.records || self.due <= Instant::now()
    }

    /// Measures, and makes or frees the reserve as the level asks for. `room` is the file system.
    pub(crate) fn measure(&mut self, connection: &Connection, room: Result<Room, DiskError>) {
        self.records = 0;
        self.due = Instant::now() + self.pace.interval;
        let measured = room.map_err(|error| error.to_string()).and_then(|room| {
            Ok((room, database_bytes(connection, &self.directory).map_err(|error| error.to_string())?))
        });
        let (room, database) = match measured {
            Ok(measured) => measured,
            // The last measure stands; whether a record can be written, its transaction says.
            Err(cause) => return tracing::warn!(cause, "the room for the audit log cannot be measured"),
        };
        self.judge(room, database);
        self.keep_reserve(room);
    }

    /// The database has no room, whatever the file system says; whether that changed the level.
    pub(crate) fn note_full(&mut self) -> bool {
        let is_new = self.level == SpaceLevel::Critical;
        if is_new {
            self.set_level(SpaceLevel::Exhausted);
            self.free_reserve();
        }
        is_new
    }

    fn judge(&mut self, room: Room, database: DatabaseBytes) {
        self.reserve = self.options.reserve_bytes.min(room.total_bytes / SMALL_DISK);
        // What is set aside, the file system has taken off already.
        let missing = self.reserve.saturating_sub(self.held);
        let on_disk = room.free_bytes.saturating_sub(missing).saturating_add(database.reusable);
        let of_quota = self.options.quota_bytes.map_or(u64::MAX, |quota| quota.saturating_sub(database.used));
        let whole_bytes = self.options.quota_bytes.unwrap_or_else(|| room.total_bytes.min(WHOLE_BYTES)).max(1);
        self.measure = Measure { free_bytes: on_disk.min(of_quota), whole_bytes };
        self.set_level(next_level(self.level, self.measure.free_bytes, whole_bytes));
    }

    fn set_level(&mut self, level: SpaceLevel) {
        if level != self.level {
            let free_bytes = self.measure.free_bytes;
            tracing::warn!(was = self.level.name(), now = level.name(), free_bytes, "room for the audit log");
        }
        self.level = level;
    }

    fn keep_reserve(&mut self, room: Room) {
        if self.level == SpaceLevel::Exhausted {
            self.free_reserve();
        } else if self.held < self.reserve && room.free_bytes > self.reserve {
            match disk::set_aside(schema::reserve_path(&self.directory), self.reserve) {
                Ok(()) => self.held = self.reserve,
                Err(error) => {
                    self.held = 0;
                    tracing::warn!(%error, "nothing is kept back for the last audit records");
                }
            }
        }
    }

    fn free_reserve(&mut self) {
        if self.held == 0 {
            return;
        }
        match atomic::remove(schema::reserve_path(&self.directory)) {
            Ok(()) => self.held = 0,
            Err(error) => tracing::warn!(%error, "the reserve of the audit log cannot be freed"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct DatabaseBytes {
    /// What holds something.
    used: u64,
    /// What held something, and takes new records before the file grows.
    reusable: u64,
}

fn database_bytes(connection: &Connection, directory: &Path) -> rusqlite::Result<DatabaseBytes> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let (pages, free, size) = (pragma("page_count")?, pragma("freelist_count")?, pragma("page_size")?);
    let journal =
        std::fs::metadata(reader::journal_path(&schema::database_path(directory))).map_or(0, |metadata| metadata.len());
    Ok(DatabaseBytes { used: pages.saturating_sub(free) * size + journal, reusable: free * size })
}
