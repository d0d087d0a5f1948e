//! Privileged actions: what was done to the device rather than asked of it, by whom, and how it ended.

use super::bounded::{Bounded, Fold, Newest};
use super::page::{Cell, Page, many, short};
use super::seen::{Period, Seen};
use crate::Kind;

const ROWS: usize = 256;
const SHOWN: usize = 20;
const LISTED: usize = 40;

/// How one kind of act ended.
#[derive(Debug, Clone, Default)]
struct Ends {
    done: u64,
    refused: u64,
    failed: u64,
    period: Period,
}

impl Fold for Ends {
    fn fold(&mut self, other: &Self) {
        self.done += other.done;
        self.refused += other.refused;
        self.failed += other.failed;
        self.period.fold(&other.period);
    }
}

/// One act in the list.
#[derive(Debug)]
struct Entry {
    index: u64,
    wall_ms: i64,
    who: String,
    what: String,
    about: String,
    end: &'static str,
}

/// Acts, overrides, enrolments, keys.
#[derive(Debug)]
pub(super) struct Acts {
    kinds: Bounded<String, Ends>,
    newest: Newest<Entry>,
    overrides: Newest<Entry>,
    pub(super) overrides_opened: u64,
    pub(super) done: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
}

impl Acts {
    pub(super) fn new() -> Self {
        Self {
            kinds: Bounded::new(ROWS),
            newest: Newest::new(LISTED),
            overrides: Newest::new(LISTED),
            overrides_opened: 0,
            done: 0,
            refused: 0,
            failed: 0,
        }
    }

    pub(super) fn take(&mut self, seen: &Seen<'_>) {
        let (what, about) = match seen.kind {
            // The outcome stands in the second of two records.
            Some(Kind::AdminAct) if seen.text("detail.phase") == "begin" => return,
            Some(Kind::AdminAct) => {
                let (model, previous) = (seen.text("obj.model"), seen.text("detail.previous"));
                (seen.owned("act"), if model.is_empty() { previous } else { model }.to_owned())
            }
            Some(Kind::BreakGlass) => {
                self.overrides_opened += u64::from(seen.text("act") == "open");
                let why =
                    [seen.text("detail.reason"), seen.text("detail.because")].into_iter().find(|why| !why.is_empty());
                let opened = short(seen.text("detail.opened_by"));
                let about = format!(
                    "{}, roles {}: {}",
                    seen.text("detail.glass"),
                    seen.text("detail.roles"),
                    why.unwrap_or("no reason given")
                );
                let entry = self.entry(seen, seen.owned("act"), about, "done");
                self.overrides.push(Entry { who: opened, ..entry });
                (format!("override: {}", seen.text("act")), seen.owned("detail.glass"))
            }
            Some(Kind::KeyCreate) => ("make an API key".to_owned(), seen.owned("detail.key")),
            Some(Kind::KeyRevoke) => ("revoke an API key".to_owned(), seen.owned("detail.key")),
            Some(Kind::DeviceEnrol) => ("enrol the device".to_owned(), seen.owned("detail.server")),
            Some(Kind::AuditErase) => ("erase content of a subject".to_owned(), seen.owned("detail.basis")),
            _ => return,
        };
        let end = if seen.text("dec.effect") == "deny" {
            "refused"
        } else if seen.has_failed() || !seen.text("detail.refused").is_empty() {
            "failed"
        } else {
            "done"
        };
        let ends = self.kinds.of(what.clone());
        ends.period.add(seen.wall_ms);
        let (whole, part) = match end {
            "refused" => (&mut self.refused, &mut ends.refused),
            "failed" => (&mut self.failed, &mut ends.failed),
            _ => (&mut self.done, &mut ends.done),
        };
        *whole += 1;
        *part += 1;
        self.newest.push(self.entry(seen, what, about, end));
    }

    fn entry(&self, seen: &Seen<'_>, what: String, about: String, end: &'static str) -> Entry {
        Entry { index: seen.index, wall_ms: seen.wall_ms, who: short(seen.text("who.pid")), what, about, end }
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.note(
            "Acts of administrators (admin.act), API keys, enrolment, erasures and sealed overrides. An act without a name \
             was done on the device itself by whoever may use its command line.",
        );
        let (rows, rest) = self.kinds.ranked(SHOWN, |ends| ends.done + ends.refused + ends.failed);
        let cells = rows.into_iter().map(|(what, ends)| summary(what.clone(), ends));
        let rest = rest.iter().map(|(name, ends)| summary(name.clone(), ends));
        page.table(
            "Privileged actions by kind",
            &["Action", "Done", "Refused by policy", "Failed", "First (UTC)", "Last (UTC)"],
            cells.chain(rest).collect(),
            "No privileged action is recorded in this range.",
        );
        page.table(
            format_args!("Privileged actions, newest first{}", self.newest.left_out()),
            &["Record", "When (UTC)", "Who", "Action", "About", "Outcome"],
            self.newest.iter().rev().map(listed).collect(),
            "",
        );
        page.heading("Overrides for an emergency (break-glass)");
        page.table(
            format_args!(
                "{}; each entry below{}",
                many(self.overrides_opened, "override was opened", "overrides were opened"),
                self.overrides.left_out()
            ),
            &["Record", "When (UTC)", "Opened by", "What happened", "Which, for whom and why", "Outcome"],
            self.overrides.iter().rev().map(listed).collect(),
            "No override was opened or closed in this range.",
        );
    }
}

fn summary(name: String, ends: &Ends) -> Vec<Cell> {
    vec![
        Cell::Head(name),
        Cell::Number(ends.done),
        Cell::Number(ends.refused),
        Cell::Number(ends.failed),
        Cell::On(ends.period.first_ms),
        Cell::On(ends.period.last_ms),
    ]
}

fn listed(entry: &Entry) -> Vec<Cell> {
    let Entry { index, wall_ms, who, what, about, end } = entry;
    let who = if who.is_empty() { Cell::said("") } else { Cell::Code(who.clone()) };
    vec![
        Cell::Head(format!("{index}")),
        Cell::At(Some(*wall_ms)),
        who,
        Cell::Text(what.clone()),
        Cell::said(about),
        Cell::Text((*end).to_owned()),
    ]
}
