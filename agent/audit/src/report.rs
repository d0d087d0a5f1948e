//! The log as one page for people: what happened in a range of time, whether it can be believed, and what it is evidence for.
//!
//! One file that asks for nothing else: no script, no request, styles and pictures inline; light, dark, and for print. The
//! log is verified and read in one state, record by record; what is kept of it is bounded, and what does not fit is added
//! up under a name that says so. A log that does not verify gets its report, too: it says so first.
//!
//! Everything that comes from a record is escaped: a model's name may be anybody's words.

mod access;
mod acts;
mod bounded;
mod chart;
mod controls;
mod denials;
pub mod fleet;
mod integrity;
mod models;
mod page;
mod policy;
mod reading;
mod retention;
mod seen;
mod series;
mod spread;
mod uptime;
mod usage;

use std::path::Path;

use outpost_disk::atomic;
use rusqlite::Connection;

use self::access::Access;
use self::acts::Acts;
use self::denials::Denials;
use self::integrity::{Integrity, Witnesses};
use self::models::Models;
use self::page::{Page, grouped, length, many, minute, times};
use self::policy::Policy;
use self::reading::Reading;
use self::retention::Retention;
use self::seen::Seen;
use self::uptime::Uptime;
use self::usage::Usage;
use crate::consistency::StoredTree;
use crate::cosignature::CosignerKey;
use crate::verify::{self, Report, verified_state};
use crate::{AuditError, Leaf, VerifierKey, vault};

const STYLE: &str = include_str!("report/style.css");

/// What to report on, and what is known from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only records made at or after this wall time, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Only records made before this wall time.
    pub before_ms: Option<i64>,
    /// What the verifier is given.
    pub verify: verify::Options,
    /// Keys of witnesses, to check cosignatures in the log with.
    pub witnesses: Vec<CosignerKey>,
    /// When the report is made, milliseconds since 1970.
    pub made_ms: i64,
    /// Name and version of the program that makes it.
    pub tool: String,
}

/// What a report says of the log, in short.
#[derive(Debug, Clone)]
pub struct Reported {
    /// What the verifier found.
    pub verified: Report,
    /// Whether nothing is wrong: the log verifies, and so do the checkpoints that its witnesses cosigned.
    pub is_good: bool,
    /// Records in the range of time.
    pub records: u64,
}

/// Writes the report of the log in `directory` to the file `target`, readable by its owner, whole or not at all; it
/// replaces what was there. Works while the agent runs, and on a copy.
///
/// # Errors
/// If there is no log, it cannot be read at all, or `target` cannot be written.
pub fn report(directory: &Path, target: &Path, options: &Options) -> Result<Reported, AuditError> {
    let (html, reported) = render(directory, options)?;
    atomic::write_private(target, html)?;
    Ok(reported)
}

/// The report as text.
fn render(directory: &Path, options: &Options) -> Result<(String, Reported), AuditError> {
    let (verified, snapshot) = verified_state(directory, &options.verify)?;
    let connection = &snapshot.connection;
    // Logs of older agents have no such table; the report says so instead of failing.
    let tombstones = vault::buried(connection).map_err(|error| error.to_string());
    let mut found = Findings::new(tombstones, &options.witnesses);
    let key = verified.verifier_key.parse().ok();
    found.read(connection, directory, options, key.as_ref());
    let head: Option<String> = connection.query_row("SELECT note FROM tree", (), |row| row.get(0)).ok();
    let integrity = Integrity {
        verified: &verified,
        witnesses: &found.witnesses,
        head: head.as_deref(),
        key_was_brought: options.verify.verifier_key.is_some(),
        unreadable: found.unreadable,
        cut_short: found.cut_short.as_deref(),
    };
    let html = found.write(&integrity, directory, options);
    let is_good = integrity.is_good();
    Ok((html, Reported { is_good, records: found.in_range, verified }))
}

/// Everything that one pass over the log finds.
#[derive(Debug)]
struct Findings {
    records: u64,
    in_range: u64,
    with_who: u64,
    unreadable: u64,
    cut_short: Option<String>,
    unknown_kinds: u64,
    device: String,
    agents: bounded::Bounded<String, denials::Times>,
    range: Option<(i64, i64)>,
    usage: Usage,
    denials: Denials,
    acts: Acts,
    policy: Policy,
    models: Models,
    uptime: Uptime,
    retention: Retention,
    access: Access,
    reading: Reading,
    witnesses: Witnesses,
}

impl Findings {
    fn new(tombstones: Result<Vec<(String, u64)>, String>, witnesses: &[CosignerKey]) -> Self {
        Self {
            records: 0,
            in_range: 0,
            with_who: 0,
            unreadable: 0,
            cut_short: None,
            unknown_kinds: 0,
            device: String::new(),
            agents: bounded::Bounded::new(64),
            range: None,
            usage: Usage::new(),
            denials: Denials::new(),
            acts: Acts::new(),
            policy: Policy::new(),
            models: Models::new(),
            uptime: Uptime::default(),
            retention: Retention::new(tombstones),
            access: Access::new(),
            reading: Reading::new(),
            witnesses: Witnesses::new(witnesses),
        }
    }

    /// Reads every record once, as far as it can be read.
    fn read(&mut self, connection: &Connection, directory: &Path, options: &Options, key: Option<&VerifierKey>) {
        let tree = StoredTree::open(connection, directory).ok();
        if let Err(error) = self.read_records(connection, |found, seen| found.take(seen, options, tree.as_ref(), key)) {
            self.cut_short = Some(format!("after {} records the database cannot be read: {error}", self.records));
        }
        self.uptime.finish(self.range.unwrap_or_default());
    }

    fn read_records(&mut self, connection: &Connection, take: impl Fn(&mut Self, &Seen<'_>)) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("SELECT idx, bytes FROM leaves ORDER BY idx")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            self.records += 1;
            let index: Option<u64> = row.get(0).ok();
            let bytes = row.get_ref(1)?.as_bytes().ok();
            match index.zip(bytes.and_then(|bytes| Leaf::parse(bytes).ok())) {
                Some((index, leaf)) => take(self, &Seen::new(index, &leaf)),
                None => self.unreadable += 1,
            }
        }
        Ok(())
    }

    fn take(&mut self, seen: &Seen<'_>, options: &Options, tree: Option<&StoredTree<'_>>, key: Option<&VerifierKey>) {
        let counts = options.since_ms.is_none_or(|since| seen.wall_ms >= since)
            && options.before_ms.is_none_or(|before| seen.wall_ms < before);
        // What of the past matters for the range is followed through the whole log.
        self.uptime.take(seen, counts);
        self.policy.follow(seen);
        self.retention.follow(seen);
        self.access.follow(seen);
        self.witnesses.take(seen, tree, key);
        if !counts {
            return;
        }
        self.in_range += 1;
        self.with_who += u64::from(seen.leaf.who().is_some());
        self.unknown_kinds += u64::from(seen.kind.is_none());
        self.device = seen.owned("dev");
        self.agents.of(seen.owned("agent")).add(1, seen.wall_ms);
        let (from, to) = self.range.unwrap_or((seen.wall_ms, seen.wall_ms));
        self.range = Some((from.min(seen.wall_ms), to.max(seen.wall_ms)));
        self.usage.take(seen);
        self.denials.take(seen);
        self.acts.take(seen);
        self.policy.take(seen);
        self.models.take(seen);
        self.retention.take(seen);
        self.access.take(seen);
        self.reading.take(seen);
    }

    fn write(&self, integrity: &Integrity<'_>, directory: &Path, options: &Options) -> String {
        let range = self.range.unwrap_or_default();
        let mut page = Page::default();
        let page = &mut page;
        self.begin(page, integrity, options);
        integrity.write_verdict(page);
        page.section(("summary", "Summary"), |page| self.summary(page, integrity, options));
        contents(page);
        page.section(SECTIONS[0], |page| integrity.write(page, &directory.display().to_string()));
        page.section(SECTIONS[1], |page| self.usage.write(page));
        page.section(SECTIONS[2], |page| self.usage.write_picture(page));
        page.section(SECTIONS[3], |page| self.denials.write(page));
        page.section(SECTIONS[4], |page| self.acts.write(page));
        page.section(SECTIONS[5], |page| self.policy.write(page, range));
        page.section(SECTIONS[6], |page| self.models.write(page));
        page.section(SECTIONS[7], |page| self.uptime.write(page, range));
        page.section(SECTIONS[8], |page| self.retention.write(page));
        page.section(SECTIONS[9], |page| self.access.write(page));
        page.section(SECTIONS[10], |page| self.reading.write(page));
        page.section(SECTIONS[11], |page| controls::write(page, self, integrity));
        page.markup("</main>\n</body>\n</html>\n");
        std::mem::take(page).into_html()
    }

    fn begin(&self, page: &mut Page, integrity: &Integrity<'_>, options: &Options) {
        page.markup("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        // Even if something slipped through: this page may load nothing and run nothing.
        page.markup(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
        );
        page.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n");
        let warning = if integrity.is_good() { "" } else { "DOES NOT VERIFY – " };
        page.element("title", &[], format_args!("{warning}Audit report of {}", integrity.verified.origin));
        page.markup("\n<style>\n");
        page.markup(STYLE);
        if !integrity.is_good() {
            // On every sheet: a page of a print may be read by itself.
            page.markup("@page { @top-left { content: \"This log does NOT verify\"; font: bold 8pt sans-serif; color: #a8120f; } }\n");
        }
        page.markup("</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#summary\">To the summary</a>\n<header>");
        page.element("p", &[("class", &"kind")], "Audit report");
        page.element("h1", &[], if self.device.is_empty() { &integrity.verified.origin } else { &self.device });
        let covered = match self.range {
            Some((from, to)) => format!("{} to {} UTC", minute(from), minute(to)),
            None => "no records".to_owned(),
        };
        page.element(
            "p",
            &[("class", &"covers")],
            format_args!(
                "{covered} · log {} · made {} UTC by {}",
                integrity.verified.origin,
                minute(options.made_ms),
                options.tool
            ),
        );
        page.markup("</header>\n<main>\n");
        chart::patterns(page);
    }

    fn summary(&self, page: &mut Page, integrity: &Integrity<'_>, options: &Options) {
        page.markup("<ul class=\"tiles\">");
        for (number, name) in [
            (self.in_range, "records in the range"),
            (self.usage.whole.answered, "requests answered"),
            (self.denials.refused, "requests refused"),
            (self.denials.knocks, "attempts without an identity"),
            (self.acts.done, "privileged actions"),
            (self.uptime.unclean_ends, "unclean ends"),
        ] {
            page.markup("<li>");
            page.element("strong", &[], grouped(number));
            page.text(" ");
            page.element("span", &[], name);
            page.markup("</li>");
        }
        page.markup("</ul>\n");
        if let Some((from, to)) = self.range {
            page.paragraph(format_args!(
                "{} from {} to {} (UTC), {}: {} of the {} in the log{}. {}",
                if options.since_ms.is_some() || options.before_ms.is_some() {
                    "The chosen range goes"
                } else {
                    "The report covers the whole log,"
                },
                minute(from),
                minute(to),
                length(to.saturating_sub(from)),
                grouped(self.in_range),
                many(self.records, "record", "records"),
                if self.unreadable > 0 {
                    format!(", of which {} could not be read", grouped(self.unreadable))
                } else {
                    String::new()
                },
                self.usage.sentence(),
            ));
        } else {
            page.paragraph(format_args!(
                "No record of this log is in the range: it holds {}.",
                many(self.records, "record", "records")
            ));
        }
        page.paragraph(format_args!(
            "Of identified callers, {} refused; {} without an identity. {}, {} refused and {} failed. {} {} activated. {} \
             opened.",
            many(self.denials.refused, "request was", "requests were"),
            many(self.denials.knocks, "attempt came", "attempts came"),
            many(self.acts.done, "privileged action was done", "privileged actions were done"),
            grouped(self.acts.refused),
            grouped(self.acts.failed),
            self.access.sentence(),
            many(self.policy.activations, "policy was", "policies were"),
            many(self.acts.overrides_opened, "emergency override was", "emergency overrides were"),
        ));
        let link = if self.uptime.has_link() {
            format!(
                "Without a link: {}, {} together, with {} answered meanwhile. ",
                times(self.uptime.offline_times),
                length(self.uptime.offline_ms),
                many(self.uptime.answered_offline, "request", "requests")
            )
        } else {
            String::new()
        };
        page.paragraph(format_args!(
            "The agent started {}; {} without a shutdown. {link}{} and {} of old content {} on record. The log was read or \
             taken away, on record: {}.",
            times(self.uptime.boots),
            many(self.uptime.unclean_ends, "run ended", "runs ended"),
            many(self.retention.erasures, "erasure", "erasures"),
            many(self.retention.prunings, "pruning", "prunings"),
            if self.retention.erasures + self.retention.prunings == 1 { "is" } else { "are" },
            times(self.reading.reads),
        ));
        if self.unknown_kinds > 0 {
            page.element("p", &[("class", &"verdict care")], format_args!(
                "! {} of a type that this version does not know; a newer agent wrote the log. They are verified, and not counted below.",
                many(self.unknown_kinds, "record is", "records are"),
            ));
        }
        let names: Vec<_> = self.agents.iter().map(|(name, _)| name.as_str()).take(8).collect();
        page.note(format_args!(
            "Times are UTC by the device's clock. People are pseudonyms; in lists they are cut to their first 12 digits. Versions of the agent in this range: {}. {}",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") },
            if integrity.is_good() { "" } else { "The log does not verify, so none of these numbers can be relied on." },
        ));
    }
}

/// The parts after the summary, in order.
const SECTIONS: [(&str, &str); 12] = [
    ("integrity", "1. Integrity"),
    ("usage", "2. Use by principal and by model"),
    ("time", "3. Use over time"),
    ("denials", "4. Denials"),
    ("acts", "5. Privileged actions"),
    ("policy", "6. Policy history"),
    ("models", "7. Model inventory"),
    ("uptime", "8. Running and offline"),
    ("retention", "9. Retention and erasure"),
    ("access", "10. Access review"),
    ("reading", "11. Audit of the audit"),
    ("controls", "12. Controls and evidence"),
];

fn contents(page: &mut Page) {
    page.markup("<nav aria-label=\"Contents\"><ol>");
    for (id, title) in SECTIONS {
        page.markup("<li>");
        page.element(
            "a",
            &[("href", &format_args!("#{id}"))],
            title.split_once(". ").map_or(title, |(_, title)| title),
        );
        page.markup("</li>");
    }
    page.markup("</ol></nav>\n");
}

#[cfg(test)]
mod tests;
