//! Retention and erasure: how far the log reaches back, what content was sealed, and what was destroyed on record.

use std::collections::HashMap;

use super::bounded::Newest;
use super::page::{Cell, Page, grouped, length, many, minute, short};
use super::seen::Seen;
use super::series::DAY_MS;
use crate::Kind;

const LISTED: usize = 40;

#[derive(Debug)]
struct Destroyed {
    index: u64,
    wall_ms: i64,
    what: &'static str,
    why: String,
    who: String,
    keys: u64,
    ciphertexts: u64,
}

/// What is kept and what was destroyed.
#[derive(Debug)]
pub(super) struct Retention {
    /// Of the whole log.
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    first_index: u64,
    /// Records of the range with sealed content.
    pub(super) sealed: u64,
    pub(super) erasures: u64,
    pub(super) prunings: u64,
    list: Newest<Destroyed>,
    /// Keys that records of the whole log say were destroyed.
    keys_on_record: u64,
    /// What the database says was destroyed and no record up to here does.
    unexplained: HashMap<String, u64>,
    tombstones: Result<u64, String>,
    /// Keys on record without a tombstone.
    not_buried: u64,
}

impl Retention {
    pub(super) fn new(tombstones: Result<Vec<(String, u64)>, String>) -> Self {
        let (unexplained, tombstones) = match tombstones {
            Ok(list) => {
                let count = list.len() as u64;
                (list.into_iter().collect(), Ok(count))
            }
            Err(cause) => (HashMap::new(), Err(cause)),
        };
        Self {
            first_ms: None,
            last_ms: None,
            first_index: 0,
            sealed: 0,
            erasures: 0,
            prunings: 0,
            list: Newest::new(LISTED),
            keys_on_record: 0,
            unexplained,
            tombstones,
            not_buried: 0,
        }
    }

    /// What is needed of every record, in the range or not.
    pub(super) fn follow(&mut self, seen: &Seen<'_>) {
        if self.first_ms.is_none() {
            self.first_ms = Some(seen.wall_ms);
            self.first_index = seen.index;
        }
        self.last_ms = self.last_ms.max(Some(seen.wall_ms));
        if matches!(seen.kind, Some(Kind::AuditErase | Kind::AuditPrune)) {
            for key in seen.leaf.texts("keys") {
                self.keys_on_record += 1;
                if self.unexplained.get(key) == Some(&seen.index) {
                    self.unexplained.remove(key);
                } else {
                    self.not_buried += 1;
                }
            }
        }
    }

    pub(super) fn take(&mut self, seen: &Seen<'_>) {
        self.sealed += u64::from(["io.in.ct", "io.out.ct"].iter().any(|path| seen.leaf.text(path).is_some()));
        let (what, why) = match seen.kind {
            Some(Kind::AuditErase) => {
                ("content of one subject erased", format!("basis: {}", seen.text("detail.basis")))
            }
            Some(Kind::AuditPrune) if seen.count("detail.records_to").is_some() => {
                let number = |path| seen.count(path).map(grouped).unwrap_or_default();
                let (from, to) = (number("detail.records_from"), number("detail.records_to"));
                let (days, basis) = (number("detail.days"), seen.text("detail.basis"));
                ("records left the device", format!("{from} up to, not with, {to}; kept for {days} days; {basis}"))
            }
            Some(Kind::AuditPrune) => {
                let days = seen.count("detail.content_days").map(grouped).unwrap_or_default();
                ("old content pruned", format!("kept for {days} days; months {}", seen.text("detail.months")))
            }
            _ => return,
        };
        self.erasures += u64::from(seen.kind == Some(Kind::AuditErase));
        self.prunings += u64::from(what == "old content pruned");
        self.list.push(Destroyed {
            index: seen.index,
            wall_ms: seen.wall_ms,
            what,
            why,
            who: short(seen.text("who.pid")),
            keys: seen.leaf.texts("keys").len() as u64,
            ciphertexts: seen.count("detail.ciphertexts").unwrap_or(0),
        });
    }

    /// Whole days between the first and the last record of the log.
    pub(super) fn days(&self) -> i64 {
        self.first_ms.zip(self.last_ms).map_or(0, |(first, last)| last.saturating_sub(first) / DAY_MS)
    }

    /// Whether records and tombstones say the same, in words.
    pub(super) fn agreement(&self) -> String {
        match &self.tombstones {
            Err(cause) => {
                format!("The tombstones could not be read ({cause}), so they are not compared with the records.")
            }
            Ok(count) if self.unexplained.is_empty() && self.not_buried == 0 => format!(
                "The records of the whole log name {} that were destroyed, the database has {}, and they agree one by one.",
                many(self.keys_on_record, "key", "keys"),
                many(*count, "tombstone", "tombstones"),
            ),
            Ok(count) => format!(
                "Records and tombstones do NOT agree: records name {}, the database has {}; {} without a record, {} without \
                 a tombstone. (A copy of the database taken apart from its log looks like this, too.)",
                many(self.keys_on_record, "destroyed key", "destroyed keys"),
                many(*count, "tombstone", "tombstones"),
                grouped(self.unexplained.len() as u64),
                grouped(self.not_buried),
            ),
        }
    }

    pub(super) fn write(&self, page: &mut Page) {
        if let Some((first, last)) = self.first_ms.zip(self.last_ms) {
            page.paragraph(format_args!(
                "The log reaches from {} to {} (UTC, by the device's clock): {}. Its oldest record is number {}{}",
                minute(first),
                minute(last),
                length(last.saturating_sub(first)),
                self.first_index,
                if self.first_index == 0 {
                    ": a log begins with 0, and nothing can be taken out of it without the check above failing."
                } else {
                    ": those before it left the device past their retention. The check above holds only where a record \
                     says so; the hashes that stand for them still lead to the signed root, and a mirror may have them."
                },
            ));
        }
        page.paragraph(format_args!(
            "{} of this range had content sealed with them: prompts or answers, encrypted, beside the log. The log itself \
             holds digests of ciphertext only, and pseudonyms in the place of names. To erase is to destroy keys; the \
             records stay, and the log verifies as before.",
            many(self.sealed, "record", "records"),
        ));
        page.paragraph(self.agreement());
        let rows = self.list.iter().rev().map(|entry| {
            vec![
                Cell::Head(format!("{}", entry.index)),
                Cell::At(Some(entry.wall_ms)),
                Cell::Text(entry.what.to_owned()),
                Cell::Text(entry.why.clone()),
                if entry.who.is_empty() { Cell::said("") } else { Cell::Code(entry.who.clone()) },
                Cell::Number(entry.keys),
                Cell::Number(entry.ciphertexts),
            ]
        });
        page.table(
            format_args!("Erased and pruned, newest first{}", self.list.left_out()),
            &[
                "Record",
                "When (UTC)",
                "What happened",
                "Why",
                "Ordered by",
                "Keys destroyed",
                "Texts destroyed, in all",
            ],
            rows.collect(),
            "Nothing was erased or pruned in this range.",
        );
    }
}
