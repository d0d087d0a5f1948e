//! The rows of the inventory in memory: every question goes through them, and only what was written since is read again.
//!
//! ```text
//! question ──► whom was written about? ── nobody ──────────────────────► the rows as they are
//!                                      ── some ──► those are read again ─┘
//!                                      ── many, or another process wrote ──► all are read again
//! ```
//!
//! About four kilobytes a device, and as many as there are devices. The rows are what the database holds at the moment of the
//! question: within an open transaction, whose end is not known, the database itself is asked.

use std::sync::Arc;

use outpost_contract::Measurements;
use outpost_selector::Facts;
use parking_lot::Mutex;

use super::{Desk, ROWS};
use crate::db::{AFTER_ALL, Database, Row, Touched};
use crate::fleet::{Fleet, FleetError};

/// From so many devices on, reading all at once is quicker than one by one.
const MANY: usize = 1000;

/// Kernels of a machine that are kept: an engine has a dozen.
const KERNELS: usize = 64;

/// What is known of a device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub(super) row: Row,
    /// The same, as selectors ask for it.
    pub(super) facts: Facts,
    /// What its machine can give, as far as plans need it.
    pub(super) measured: Option<Measurements>,
}

/// All devices by name, as they were at one moment.
pub(super) type Rows = Arc<Vec<Arc<Known>>>;

/// The rows in memory.
#[derive(Debug)]
pub(crate) struct Index {
    /// False for a database that does not tell what was written.
    is_told: bool,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The changes of others that are in the rows; `None` if the rows cannot be trusted.
    foreign: Option<i64>,
    /// The moment that lengths of time are counted from.
    now_s: i64,
    rows: Rows,
}

impl Index {
    /// Follows what is written to a database from now on.
    pub(crate) fn open(database: &Database) -> Self {
        let followed = database.follow_devices();
        if let Err(error) = &followed {
            tracing::info!(%error, "the database does not tell what was written; each question reads all of it");
        }
        Self { is_told: followed.is_ok(), kept: Mutex::default() }
    }
}

impl Known {
    fn new(desk: &Desk, row: Row, measured: Option<Measurements>) -> Self {
        let facts = desk.facts(&row);
        let measured = measured.map(|mut measured| {
            measured.kernels.truncate(KERNELS);
            measured.kernels.shrink_to_fit();
            measured.passes.truncate(KERNELS);
            measured.passes.shrink_to_fit();
            measured.corrections.truncate(KERNELS);
            measured.corrections.shrink_to_fit();
            Measurements { features: Vec::new(), cpu: String::new(), machine: None, ..measured }
        });
        Self { row, facts, measured }
    }
}

impl Fleet {
    /// All devices as they are now, by name.
    pub(super) fn known(&self, desk: &Desk) -> Result<Rows, FleetError> {
        let (database, index) = (&self.inner.database, &self.inner.index);
        // The database first and the rows after it, always: within a transaction the database is held already.
        let rows = database.read(|_| {
            let told = if index.is_told { database.touched()? } else { Touched::NotKnown };
            let Touched::Devices { foreign, devices } = told else { return Ok(Arc::new(read_all(database, desk)?)) };
            let mut kept = index.kept.lock();
            // Should reading fail, what was told is lost, and so are the rows.
            let was = kept.foreign.take();
            if was != Some(foreign) || devices.len() > MANY {
                kept.rows = Arc::new(Vec::new());
                kept.rows = Arc::new(read_all(database, desk)?);
            } else {
                read_again(database, desk, Arc::make_mut(&mut kept.rows), &devices)?;
                if kept.now_s != desk.now_s {
                    let rows = Arc::make_mut(&mut kept.rows);
                    rows.iter_mut().for_each(|known| count_from(Arc::make_mut(known), desk));
                }
            }
            (kept.now_s, kept.foreign) = (desk.now_s, Some(foreign));
            Ok(Arc::clone(&kept.rows))
        });
        Ok(rows?)
    }
}

/// Lengths of time are counted from another moment; nothing else follows from it.
fn count_from(known: &mut Known, desk: &Desk) {
    let Known { row, facts, .. } = known;
    facts.seen_ago_s = row.seen_s.map(|at_s| desk.since(at_s));
    facts.enrolled_ago_s = Some(desk.since(row.enrolled_s));
    facts.certificate_left_s = desk.left(row.certificate_not_after_s);
}

fn read_all(database: &Database, desk: &Desk) -> Result<Vec<Arc<Known>>, crate::db::DbError> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let rows = database.inventory(&after, AFTER_ALL, ROWS)?;
        let Some(last) = rows.last().map(|row| row.device.clone()) else { return Ok(all) };
        let is_last = rows.len() < ROWS;
        let mut measured = database.measurements(&after, &last)?.into_iter().peekable();
        for row in rows {
            while measured.next_if(|(device, _)| *device < row.device).is_some() {}
            let own = measured.next_if(|(device, _)| *device == row.device).map(|(_, measured)| measured);
            all.push(Arc::new(Known::new(desk, row, own)));
        }
        if is_last {
            return Ok(all);
        }
        after = last;
    }
}

fn read_again(
    database: &Database,
    desk: &Desk,
    rows: &mut Vec<Arc<Known>>,
    devices: &[String],
) -> Result<(), crate::db::DbError> {
    for name in devices {
        let Ok(device) = name.parse() else { continue };
        let fresh = database.inventory_of(&device)?;
        let place = rows.binary_search_by(|known| known.row.device.cmp(name));
        match (place, fresh) {
            (Ok(place), None) => drop(rows.remove(place)),
            (Err(_), None) => {}
            (place, Some(row)) => {
                let known = Arc::new(Known::new(desk, row, database.measurements_of(&device)?));
                match place {
                    Ok(place) => rows[place] = known,
                    Err(place) => rows.insert(place, known),
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
