//! What the records of many logs say, added up in bounded room.

use std::collections::BTreeMap;
use std::path::Path;

use super::SHOWN;
use crate::report::bounded::{Bounded, Newest};
use crate::report::denials::Times;
use crate::report::page::short;
use crate::report::seen::Seen;
use crate::{AuditError, Kind, Leaf, reader};

/// Rows of refusals that are told apart.
const REFUSALS: usize = 4096;

/// Versions of policies that are told apart.
const VERSIONS: usize = 512;

/// What the records of many logs say, added up.
#[derive(Debug)]
pub struct Findings {
    /// Records that were looked at.
    pub looked: u64,
    /// Records in the range of time.
    pub in_range: u64,
    /// Records that could not be read.
    pub unreadable: u64,
    pub(super) refused: u64,
    pub(super) knocks: u64,
    pub(super) refusals: Bounded<(String, String, String, String), Times>,
    pub(super) versions: Bounded<String, Times>,
    pub(super) in_force: BTreeMap<String, Newest<(i64, String)>>,
    pub(super) without_policy: u64,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            looked: 0,
            in_range: 0,
            unreadable: 0,
            refused: 0,
            knocks: 0,
            refusals: Bounded::new(REFUSALS),
            versions: Bounded::new(VERSIONS),
            in_force: BTreeMap::new(),
            without_policy: 0,
        }
    }
}

impl Findings {
    /// Reads the log in `directory`, of a device, as far as `most` records go; how many are left.
    ///
    /// # Errors
    /// If there is no log, or it cannot be read.
    pub fn read(
        &mut self,
        device: &str,
        directory: &Path,
        (since_ms, before_ms): (Option<i64>, Option<i64>),
        most: u64,
    ) -> Result<u64, AuditError> {
        let mut left = most;
        if left == 0 {
            return Ok(0);
        }
        let mut policies = Newest::new(SHOWN);
        reader::each(directory, (0, u64::MAX), false, |index, bytes| {
            left -= 1;
            self.looked += 1;
            match Leaf::parse(bytes) {
                Ok(leaf) => {
                    let seen = Seen::new(index, &leaf);
                    if matches!(seen.kind, Some(Kind::PolicyActivate | Kind::PolicyRollback)) {
                        policies.push((seen.wall_ms, version(&seen)));
                    }
                    let is_in = since_ms.is_none_or(|since| seen.wall_ms >= since)
                        && before_ms.is_none_or(|before| seen.wall_ms < before);
                    if is_in {
                        self.take(device, &seen);
                    }
                }
                Err(_) => self.unreadable += 1,
            }
            left > 0
        })?;
        if policies.total() > 0 {
            self.in_force.insert(device.to_owned(), policies);
        } else {
            self.without_policy += 1;
        }
        Ok(left)
    }

    fn take(&mut self, device: &str, seen: &Seen<'_>) {
        self.in_range += 1;
        if seen.kind == Some(Kind::PolicyActivate) {
            self.versions.of(version(seen)).add(1, seen.wall_ms);
        }
        if seen.kind == Some(Kind::AuthFail) {
            let count = seen.count("detail.count").unwrap_or(1);
            self.knocks = self.knocks.saturating_add(count);
            let why = format!("no identity: {}", seen.text("res.err"));
            let key = (device.to_owned(), String::new(), seen.owned("act"), why);
            return self.refusals.of(key).add(count, seen.wall_ms);
        }
        if !seen.is_denied() {
            return;
        }
        self.refused += 1;
        let rules = seen.leaf.texts("dec.rules").join(" ");
        let why = if rules.is_empty() { seen.owned("res.err") } else { rules };
        let key = (device.to_owned(), short(seen.text("who.pid")), seen.owned("act"), why);
        self.refusals.of(key).add(1, seen.wall_ms);
    }
}

fn version(seen: &Seen<'_>) -> String {
    match seen.count("detail.version") {
        Some(number) => number.to_string(),
        None => seen.owned("detail.version"),
    }
}
