//! What was refused: by which rule, for which reason, and knocks without an identity by where they came from.

use super::bounded::{Bounded, Fold};
use super::page::{Cell, Page, many};
use super::seen::{Period, Seen};
use crate::Kind;

const ROWS: usize = 512;
const SHOWN: usize = 20;

/// How often, and when.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    pub(super) count: u64,
    pub(super) period: Period,
}

impl Times {
    pub(super) fn add(&mut self, count: u64, wall_ms: i64) {
        self.count += count;
        self.period.add(wall_ms);
    }
}

impl Fold for Times {
    fn fold(&mut self, other: &Self) {
        self.count += other.count;
        self.period.fold(&other.period);
    }
}

/// Everything that was refused.
#[derive(Debug)]
pub(super) struct Denials {
    /// Questions, acts and readings that were refused.
    pub(super) refused: u64,
    /// Attempts without an identity that holds: each record counts several.
    pub(super) knocks: u64,
    pub(super) knock_records: u64,
    rules: Bounded<String, Times>,
    reasons: Bounded<(String, String, String), Times>,
    sources: Bounded<(String, String), Times>,
}

impl Denials {
    pub(super) fn new() -> Self {
        Self {
            refused: 0,
            knocks: 0,
            knock_records: 0,
            rules: Bounded::new(ROWS),
            reasons: Bounded::new(ROWS),
            sources: Bounded::new(ROWS),
        }
    }

    pub(super) fn take(&mut self, seen: &Seen<'_>) {
        if seen.kind == Some(Kind::AuthFail) {
            let count = seen.count("detail.count").unwrap_or(1);
            self.knocks = self.knocks.saturating_add(count);
            self.knock_records += 1;
            let key = (seen.owned("detail.source"), seen.owned("res.err"));
            return self.sources.of(key).add(count, seen.wall_ms);
        }
        if !seen.is_denied() {
            return;
        }
        self.refused += 1;
        // A refusal need not be a rule's: there may have been no room, or no such model.
        let rules = if seen.text("dec.effect") == "deny" { seen.leaf.texts("dec.rules") } else { Vec::new() };
        for rule in rules {
            self.rules.of(rule.to_owned()).add(1, seen.wall_ms);
        }
        let status = seen.count("res.status").map(|status| status.to_string()).unwrap_or_default();
        let reason = (seen.owned("act"), seen.owned("res.err"), status);
        self.reasons.of(reason).add(1, seen.wall_ms);
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.paragraph(format_args!(
            "Of identified callers, {} refused: by rules, by limits, or for want of what was asked for. {} without an \
             identity that holds, in {}: attempts of one source within ten seconds are counted together, so that nobody can fill the log.",
            many(self.refused, "request was", "requests were"),
            many(self.knocks, "attempt came", "attempts came"),
            many(self.knock_records, "record", "records"),
        ));
        let (rows, rest) = self.rules.ranked(SHOWN, |times| times.count);
        let largest = rows.first().map_or(0, |(_, times)| times.count);
        let cells = rows.iter().map(|(rule, times)| row(vec![Cell::HeadCode((*rule).clone())], times, largest));
        let rest = rest.iter().map(|(name, times)| row(vec![Cell::Head(name.clone())], times, largest));
        page.table(
            "Refusals by rule; a request that several rules refused counts at each",
            &["Rule", "Refusals", "First (UTC)", "Last (UTC)"],
            cells.chain(rest).collect(),
            "No rule refused anything in this range.",
        );
        let (rows, rest) = self.reasons.ranked(SHOWN, |times| times.count);
        let largest = rows.first().map_or(0, |(_, times)| times.count);
        let cells = rows.iter().map(|((act, error, status), times)| {
            row(vec![Cell::Head(or_dash(error)), Cell::said(act), Cell::said(status)], times, largest)
        });
        let rest = rest
            .iter()
            .map(|(name, times)| row(vec![Cell::Head(name.clone()), Cell::said(""), Cell::said("")], times, largest));
        page.table(
            "Refusals by reason, as the caller was told",
            &["Reason", "What was asked", "Status", "Refusals", "First (UTC)", "Last (UTC)"],
            cells.chain(rest).collect(),
            "Nothing was refused in this range.",
        );
        let (rows, rest) = self.sources.ranked(SHOWN, |times| times.count);
        let largest = rows.first().map_or(0, |(_, times)| times.count);
        let cells = rows.iter().map(|((source, error), times)| {
            row(vec![Cell::HeadCode(or_dash(source)), Cell::said(error)], times, largest)
        });
        let rest = rest.iter().map(|(name, times)| row(vec![Cell::Head(name.clone()), Cell::said("")], times, largest));
        page.table(
            "Attempts without an identity, by where they came from",
            &["Source", "Why it did not hold", "Attempts", "First (UTC)", "Last (UTC)"],
            cells.chain(rest).collect(),
            "Nobody came without an identity in this range.",
        );
    }
}

fn row(mut cells: Vec<Cell>, times: &Times, largest: u64) -> Vec<Cell> {
    cells.extend([Cell::Bar(times.count, largest), Cell::On(times.period.first_ms), Cell::On(times.period.last_ms)]);
    cells
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "none given".to_owned() } else { text.to_owned() }
}
