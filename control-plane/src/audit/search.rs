//! Search over the mirrored records: bounded, page by page, and honest about what was not looked at.

use std::time::{Duration, Instant};

use outpost_audit::{Leaf, reader};
use outpost_contract::DeviceId;
use outpost_selector::Selector;
use serde::{Deserialize, Serialize};

use super::completeness::LogState;
use crate::db::DeviceSummary;
use crate::fleet::{Fleet, FleetError};
use crate::inventory::Page;

/// Hits of a page at most.
const MOST_HITS: usize = 200;

/// Records that one page looks at, and the time that it takes: a search that finds nothing goes on with the next page.
const MOST_RECORDS: u64 = 50_000;
const MOST_TIME: Duration = Duration::from_secs(5);

/// Devices that are read from the database at once.
const DEVICES: usize = 50;

/// Sentences about what was not looked at; more are counted.
const MOST_REMARKS: usize = 20;

/// What is looked for. Every part that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchRequest {
    /// Only this device.
    pub device: Option<DeviceId>,
    /// By whom: a pseudonym as the device writes it, or its beginning of at least eight characters.
    pub who: Option<String>,
    /// What was done, as in `chat`; or the type of the record, as in `infer.denied`.
    pub act: Option<String>,
    /// `allow` or `deny`.
    pub effect: Option<String>,
    /// Made at or after, milliseconds since 1970 by the device's clock.
    pub since_ms: Option<i64>,
    /// Made before.
    pub before_ms: Option<i64>,
    /// Hits of a page, 200 at most.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub after: Option<String>,
}

/// One record that matches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// The device.
    pub device: DeviceId,
    /// Number of its log.
    pub log: u64,
    /// Index of the record in it.
    pub index: u64,
    /// The record in one line.
    pub line: String,
    /// The record; a text where it is none.
    pub record: serde_json::Value,
}

/// A page of what was found: devices by name, of each the newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// They.
    #[serde(rename = "entries")]
    pub hits: Vec<Hit>,
    /// Ask with `after` this for what comes next; none if all was looked at.
    pub next: Option<String>,
    /// Records that this page looked at.
    pub looked: u64,
    /// What was not looked at, in words.
    pub not_looked: Vec<String>,
}

/// A place in the order of the search: go on before this record of this log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    device: DeviceId,
    log: u64,
    index: u64,
}

impl Place {
    fn parse(text: &str) -> Result<Self, FleetError> {
        let mut parts = text.split('/');
        let place = (|| {
            let (device, log, index) =
                (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            parts.next().is_none().then_some(Self { device, log, index })
        })();
        place.ok_or_else(|| FleetError::Search("`after` is not what a page before gave as `next`".to_owned()))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}/{}", self.device, self.log, self.index)
    }
}

impl SearchRequest {
    fn check(&self) -> Result<(), FleetError> {
        let wrong = |why: &str| Err(FleetError::Search(why.to_owned()));
        if self.who.as_ref().is_some_and(|who| who.len() < 8 || who.len() > 200) {
            return wrong("a person is a pseudonym as it stands in records, or its beginning: 8 to 200 characters");
        }
        if self.act.as_ref().is_some_and(|act| act.is_empty() || act.len() > 100) {
            return wrong("an act is written as in records: `chat`, `infer.denied`");
        }
        if self.effect.as_ref().is_some_and(|effect| effect != "allow" && effect != "deny") {
            return wrong("an effect is `allow` or `deny`");
        }
        Ok(())
    }

    /// A record that cannot be read is let through whatever is asked: damage must not hide.
    fn lets_through(&self, leaf: &Leaf) -> bool {
        let who = self.who.as_ref().is_none_or(|who| leaf.who().is_some_and(|found| found.starts_with(who.as_str())));
        let is_act = |act: &String| leaf.text("act") == Some(act) || leaf.kind() == Some(act);
        let effect = self.effect.as_ref().is_none_or(|effect| {
            let denied = leaf.kind() == Some("infer.denied") || leaf.text("dec.effect") == Some("deny");
            if effect == "deny" { denied } else { !denied && leaf.text("dec.effect") == Some("allow") }
        });
        let wall_ms = leaf.wall_ms().unwrap_or_default();
        let time = self.since_ms.is_none_or(|since| wall_ms >= since) && self.before_ms.is_none_or(|end| wall_ms < end);
        who && self.act.as_ref().is_none_or(is_act) && effect && time
    }
}

/// A page in the making.
struct Search<'a> {
    fleet: &'a Fleet,
    request: &'a SearchRequest,
    limit: usize,
    began: Instant,
    most: u64,
    found: Found,
    remarks: usize,
}

impl Fleet {
    /// Looks for records in the mirrors of all devices.
    ///
    /// # Errors
    /// If the request cannot be read, or a mirror cannot.
    pub fn search_records(&self, request: &SearchRequest) -> Result<Found, FleetError> {
        self.search_within(request, MOST_RECORDS)
    }

    pub(super) fn search_within(&self, request: &SearchRequest, most: u64) -> Result<Found, FleetError> {
        request.check()?;
        let from = request.after.as_deref().map(Place::parse).transpose()?;
        let found = Found { hits: Vec::new(), next: None, looked: 0, not_looked: Vec::new() };
        let limit = request.limit.unwrap_or(50).clamp(1, MOST_HITS);
        let began = Instant::now();
        let mut search = Search { fleet: self, request, limit, began, most, found, remarks: 0 };
        if let Some(device) = &request.device {
            search.device(&self.device(device)?, from.as_ref())?;
            return Ok(search.end());
        }
        // The device that the page before ended in is looked at first, then those after it.
        let mut after = from.as_ref().map(|from| from.device.clone());
        if let Some(from) = &from
            && !search.device(&self.device(&from.device)?, Some(from))?
        {
            return Ok(search.end());
        }
        loop {
            let Page { devices, next } = self.summaries(&Selector::all(), after.as_ref(), DEVICES)?;
            for device in &devices {
                if !search.device(device, None)? {
                    return Ok(search.end());
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(search.end()),
            }
        }
    }
}

impl Search<'_> {
    /// Looks through the logs of a device, the newest first; false if the page is full.
    fn device(&mut self, device: &DeviceSummary, from: Option<&Place>) -> Result<bool, FleetError> {
        let logs = self.fleet.logs_of(device)?.logs;
        if from.is_none() {
            self.remark_on(&device.device, &logs);
        }
        let mirrors = self.fleet.inner.audit.mirrors(&device.device)?;
        for log in logs.iter().rev() {
            let until = match from {
                Some(from) if log.number > from.log => continue,
                Some(from) if log.number == from.log => from.index,
                _ => u64::MAX,
            };
            let Some((_, directory)) = mirrors.iter().find(|(number, _)| *number == log.number) else { continue };
            let mut full_at = None;
            let bounds = (0, until.min(log.mirrored));
            reader::each(directory, bounds, true, |index, bytes| {
                if self.is_full() {
                    full_at = Some(index + 1);
                    return false;
                }
                self.found.looked += 1;
                self.look(device, log.number, index, bytes);
                true
            })?;
            if let Some(index) = full_at {
                self.found.next = Some(Place { device: device.device.clone(), log: log.number, index }.to_string());
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_full(&self) -> bool {
        self.found.hits.len() >= self.limit || self.found.looked >= self.most || self.began.elapsed() >= MOST_TIME
    }

    fn look(&mut self, device: &DeviceSummary, log: u64, index: u64, bytes: &[u8]) {
        let (line, record) = match Leaf::parse(bytes) {
            Ok(leaf) if !self.request.lets_through(&leaf) => return,
            Ok(leaf) => (leaf.to_string(), serde_json::from_slice(bytes).unwrap_or_default()),
            Err(cause) => {
                let text = String::from_utf8_lossy(bytes).chars().take(2000).collect::<String>();
                (format!("{index:>8}  UNREADABLE: {cause}"), text.into())
            }
        };
        self.found.hits.push(Hit { device: device.device.clone(), log, index, line, record });
    }

    fn remark_on(&mut self, device: &DeviceId, logs: &[LogState]) {
        if logs.is_empty() {
            self.remark(|| format!("no record of `{device}` has arrived"));
        }
        for log in logs {
            if let Some(missing) = log.missing.filter(|missing| *missing > 0) {
                self.remark(|| format!("{missing} records of `{device}` are still on the device"));
            }
            if log.first > 0 {
                self.remark(|| {
                    format!("records 0 to {} of `{}` are gone past their retention", log.first - 1, log.origin)
                });
            }
        }
    }

    fn remark(&mut self, words: impl FnOnce() -> String) {
        self.remarks += 1;
        if self.remarks <= MOST_REMARKS {
            self.found.not_looked.push(words());
        }
    }

    fn end(mut self) -> Found {
        if let Some(more) = self.remarks.checked_sub(MOST_REMARKS).filter(|more| *more > 0) {
            self.found.not_looked.push(format!("and {more} more such gaps: `outpost-control audit ls` shows all"));
        }
        if let Some(next) = &self.found.next {
            let looked = self.found.looked;
            self.found
                .not_looked
                .push(format!("this page ended after {looked} records; what comes after `{next}` is on the next"));
        }
        self.found
    }
}
