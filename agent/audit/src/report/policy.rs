//! Policy history: which rules were in force when, who approved them, what was refused, and what decisions named.

use super::bounded::{Bounded, Newest};
use super::chart::{self, Lane, Span};
use super::denials::Times;
use super::page::{Cell, Page, many, short};
use super::seen::Seen;
use crate::Kind;

const LISTED: usize = 60;
const VERSIONS: usize = 256;
const DRAWN: usize = 512;

#[derive(Debug)]
struct Entry {
    index: u64,
    wall_ms: i64,
    what: &'static str,
    version: String,
    people: Vec<String>,
    why: String,
}

/// The rules over time.
#[derive(Debug)]
pub(super) struct Policy {
    history: Newest<Entry>,
    /// When which version came into force, over the whole log: what was in force when the range began counts too.
    in_force: Newest<(i64, String)>,
    decided: Bounded<String, Times>,
    pub(super) activations: u64,
    pub(super) approved: u64,
    pub(super) refusals: u64,
    pub(super) rule_errors: u64,
}

impl Policy {
    pub(super) fn new() -> Self {
        Self {
            history: Newest::new(LISTED),
            in_force: Newest::new(DRAWN),
            decided: Bounded::new(VERSIONS),
            activations: 0,
            approved: 0,
            refusals: 0,
            rule_errors: 0,
        }
    }

    /// What is needed of every record, in the range or not.
    pub(super) fn follow(&mut self, seen: &Seen<'_>) {
        if matches!(seen.kind, Some(Kind::PolicyActivate | Kind::PolicyRollback)) {
            self.in_force.push((seen.wall_ms, format!("version {}", version(seen, "detail.version"))));
        }
    }

    pub(super) fn take(&mut self, seen: &Seen<'_>) {
        if !seen.text("dec.policy").is_empty() {
            self.decided.of(seen.owned("dec.policy")).add(1, seen.wall_ms);
        }
        self.rule_errors += seen.leaf.texts("dec.errors").len() as u64;
        let (what, key, people, why) = match seen.kind {
            Some(Kind::PolicyActivate) => ("policy in force", "detail.version", "detail.approved_by", String::new()),
            Some(Kind::PolicyRollback) => {
                let why = format!("back from version {}", version(seen, "detail.from_version"));
                ("policy rolled back", "detail.version", "", why)
            }
            Some(Kind::PolicyReject) => ("policy refused", "detail.version", "", seen.owned("detail.reason")),
            Some(Kind::LocksActivate) => {
                let why = many(seen.count("detail.locks").unwrap_or(0), "lock", "locks");
                ("locks in force", "detail.seq", "detail.signed_by", why)
            }
            Some(Kind::DesiredAccept) => ("desired state accepted", "detail.version", "", String::new()),
            Some(Kind::DesiredReject) => ("desired state refused", "detail.version", "", seen.owned("detail.reason")),
            _ => return,
        };
        let people: Vec<String> = seen.text(people).split_whitespace().map(short).collect();
        self.activations += u64::from(seen.kind == Some(Kind::PolicyActivate));
        self.approved += u64::from(seen.kind == Some(Kind::PolicyActivate) && !people.is_empty());
        self.refusals += u64::from(seen.kind == Some(Kind::PolicyReject));
        let version = version(seen, key);
        self.history.push(Entry { index: seen.index, wall_ms: seen.wall_ms, what, version, people, why });
    }

    pub(super) fn write(&self, page: &mut Page, range: (i64, i64)) {
        let entries: Vec<_> = self.in_force.iter().collect();
        if !entries.is_empty() {
            let ends = entries.iter().skip(1).map(|(at, _)| *at).chain([range.1]);
            let classes = ["version-a", "version-b"].iter().cycle();
            let spans: Vec<Span<'_>> = entries
                .iter()
                .zip(ends)
                .zip(classes)
                .map(|(((from, name), to), class)| Span { from: *from, to, class, name: name.into(), is_named: true })
                .collect();
            page.markup("<figure>");
            page.element("figcaption", &[], "Policy in force, by the records of activations and rollbacks");
            let lanes = [Lane { name: "Policy in force", spans, marks: Vec::new() }];
            chart::lanes(page, "Which policy was in force when; the same is in the table below", range, &lanes);
            page.markup("</figure>\n");
            page.note("Before the first activation in the log the device followed the policy that it came with.");
        }
        let rows = self.history.iter().rev().map(|entry| {
            vec![
                Cell::Head(format!("{}", entry.index)),
                Cell::At(Some(entry.wall_ms)),
                Cell::Text(entry.what.to_owned()),
                Cell::said(&entry.version),
                Cell::names(&entry.people),
                Cell::said(&entry.why),
            ]
        });
        page.table(
            format_args!("Policies, locks and desired states, newest first{}", self.history.left_out()),
            &["Record", "When (UTC)", "What happened", "Version", "Approved or signed by", "Why"],
            rows.collect(),
            "No policy, list of locks or desired state was brought in this range.",
        );
        let (rows, rest) = self.decided.ranked(LISTED, |times| times.count);
        let largest = rows.first().map_or(0, |(_, times)| times.count);
        let row = |name: Cell, times: &Times| {
            vec![name, Cell::Bar(times.count, largest), Cell::On(times.period.first_ms), Cell::On(times.period.last_ms)]
        };
        let cells = rows.iter().map(|(name, times)| row(Cell::HeadCode((*name).clone()), times));
        let rest = rest.iter().map(|(name, times)| row(Cell::Head(name.clone()), times));
        page.table(
            format_args!(
                "Decisions by the policy that made them ({} met on the way; an error refuses)",
                many(self.rule_errors, "error in a rule was", "errors in rules were")
            ),
            &["Policy", "Records with a decision", "First (UTC)", "Last (UTC)"],
            cells.chain(rest).collect(),
            "No record of this range names a policy.",
        );
    }
}

fn version(seen: &Seen<'_>, path: &str) -> String {
    match seen.count(path) {
        Some(number) => number.to_string(),
        None => seen.owned(path),
    }
}
