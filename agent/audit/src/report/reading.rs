//! The audit of the audit: who read or took the log away, and when it ran out of room.

use super::bounded::{Bounded, Newest};
use super::denials::Times;
use super::page::{Cell, Page, grouped, many, short, times};
use super::seen::Seen;
use crate::Kind;

const ROWS: usize = 256;
const SHOWN: usize = 30;
const LISTED: usize = 40;

#[derive(Debug)]
struct Entry {
    index: u64,
    wall_ms: i64,
    who: String,
    act: String,
    about: String,
    end: &'static str,
}

/// Readings of the log, and its room.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) reads: u64,
    pub(super) refused: u64,
    pub(super) capacity: u64,
    pub(super) successions: u64,
    by: Bounded<(String, String), Times>,
    list: Newest<Entry>,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self { reads: 0, refused: 0, capacity: 0, successions: 0, by: Bounded::new(ROWS), list: Newest::new(LISTED) }
    }

    pub(super) fn take(&mut self, seen: &Seen<'_>) {
        let act = match seen.kind {
            Some(Kind::AuditRead) => seen.owned("act"),
            Some(Kind::Capacity) => "room for the log".to_owned(),
            Some(Kind::AdminAct) if seen.text("act") == "audit.succeed" => "log succeeds another".to_owned(),
            _ => return,
        };
        let end = if seen.is_denied() { "refused" } else { "done" };
        match seen.kind {
            Some(Kind::Capacity) => self.capacity += 1,
            Some(Kind::AdminAct) => self.successions += 1,
            _ if seen.is_denied() => self.refused += 1,
            _ => self.reads += 1,
        }
        self.by.of((short(seen.text("who.pid")), act.clone())).add(1, seen.wall_ms);
        let mut about: Vec<String> = Vec::new();
        for key in ["format", "from", "to", "index", "since", "before", "state", "free_bytes", "previous"] {
            let path = format!("detail.{key}");
            let value = seen.count(&path).map(grouped).or_else(|| seen.leaf.text(&path).map(str::to_owned));
            about.extend(value.map(|value| format!("{} {value}", key.replace('_', " "))));
        }
        let (index, wall_ms, who) = (seen.index, seen.wall_ms, short(seen.text("who.pid")));
        self.list.push(Entry { index, wall_ms, who, act, about: about.join(", "), end });
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.paragraph(format_args!(
            "Read or taken away, on record: {}; {} refused. {} that room for the log ran low or came back. {}",
            times(self.reads),
            many(self.refused, "reading was", "readings were"),
            many(self.capacity, "record says", "records say"),
            if self.successions > 0 {
                format!(
                    "{} that this log follows another one, and why.",
                    many(self.successions, "record says", "records say")
                )
            } else {
                String::new()
            },
        ));
        page.note(
            "Reading through the agent, exports, proofs and reports of a device's own log are recorded before anything leaves \
             it. Whoever copies the files of the device with its operating system leaves no trace here.",
        );
        let name = |who: &str| {
            if who.is_empty() {
                Cell::Head("command line of the device".to_owned())
            } else {
                Cell::HeadCode(who.to_owned())
            }
        };
        let (rows, rest) = self.by.ranked(SHOWN, |times| times.count);
        let largest = rows.first().map_or(0, |(_, times)| times.count);
        let row = |first: Cell, act: &str, times: &Times| {
            vec![
                first,
                Cell::said(act),
                Cell::Bar(times.count, largest),
                Cell::On(times.period.first_ms),
                Cell::On(times.period.last_ms),
            ]
        };
        let cells = rows.iter().map(|((who, act), times)| row(name(who), act, times));
        let rest = rest.iter().map(|(name, times)| row(Cell::Head(name.clone()), "", times));
        page.table(
            "Readings by who and what",
            &["Who", "What", "Times", "First (UTC)", "Last (UTC)"],
            cells.chain(rest).collect(),
            "Nobody read the log in this range, as far as it is recorded.",
        );
        let rows = self.list.iter().rev().map(|entry| {
            let who = if entry.who.is_empty() { Cell::said("") } else { Cell::Code(entry.who.clone()) };
            vec![
                Cell::Head(format!("{}", entry.index)),
                Cell::At(Some(entry.wall_ms)),
                who,
                Cell::Text(entry.act.clone()),
                Cell::said(&entry.about),
                Cell::Text(entry.end.to_owned()),
            ]
        });
        page.table(
            format_args!("Readings, newest first{}", self.list.left_out()),
            &["Record", "When (UTC)", "Who", "What", "Of what", "Outcome"],
            rows.collect(),
            "",
        );
    }
}
