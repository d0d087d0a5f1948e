//! The logs of a whole fleet as one page for people: how complete each is and who vouches for it, incidents, refusals,
//! policies over time, what administrators did; and what is missing from all that.
//!
//! In the form of the report on one log: one file, no script, no request, everything from outside escaped.

mod findings;
#[cfg(test)]
mod tests;

use super::STYLE;
use super::denials::Times;
use super::page::{Cell, Page, grouped, many, minute};
pub use findings::Findings;

/// Rows of refusals and of policies that are shown.
const SHOWN: usize = 200;

/// Devices that are listed by policy, and incidents.
const LISTED: usize = 1000;

/// Problems of a log that are listed.
const PROBLEMS: usize = 5;

/// What is known about one log of a device.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Its name.
    pub origin: String,
    /// The oldest record that is kept.
    pub first: u64,
    /// Records that are mirrored under a head that the log signed.
    pub mirrored: u64,
    /// Records that the witness has cosigned.
    pub cosigned: u64,
    /// Records that the device says it has, if this is its newest log.
    pub reported: Option<u64>,
    /// When the oldest and the newest record here were made, by the device's clock, milliseconds since 1970.
    pub made_ms: Option<(i64, i64)>,
    /// What a whole verification found for this report; none if none was made.
    pub checked: Option<Vec<String>>,
}

/// One device.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Its logs, oldest first.
    pub logs: Vec<Log>,
}

/// Two heads of a log that do not go together.
#[derive(Debug, Clone)]
pub struct Incident {
    /// Its number.
    pub number: i64,
    /// The device; its log's name if none has it.
    pub device: String,
    /// Name of the log.
    pub origin: String,
    /// `fork` or `unproven`.
    pub kind: String,
    /// When it was found, milliseconds since 1970.
    pub found_ms: i64,
}

/// Something that an administrator did, or was refused.
#[derive(Debug, Clone, Default)]
pub struct Act {
    /// Index of its record.
    pub index: u64,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Who; empty if nobody was identified.
    pub by: String,
    /// How they proved it.
    pub means: String,
    /// What.
    pub act: String,
    /// To what.
    pub subject: String,
    /// `allow` or `deny`.
    pub effect: String,
    /// What went wrong.
    pub error: String,
}

/// The whole fleet.
#[derive(Debug)]
pub struct Fleet {
    /// The organisation.
    pub name: String,
    /// When the report is made, milliseconds since 1970.
    pub made_ms: i64,
    /// Name and version of the program that makes it.
    pub tool: String,
    /// Records from here on are told, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Records before here are told.
    pub before_ms: Option<i64>,
    /// The public keys that cosign: witness, mirror.
    pub keys: (String, String),
    /// Every device, by name.
    pub devices: Vec<Device>,
    /// Every incident, oldest first.
    pub incidents: Vec<Incident>,
    /// What the mirrored records say.
    pub findings: Findings,
    /// Acts of administrators in the range, oldest first, and how many more there were before these.
    pub acts: Vec<Act>,
    /// Older acts of the range that are not listed.
    pub acts_left_out: u64,
    /// Name, records and problems of the control plane's own log.
    pub own_log: (String, u64, Vec<String>),
    /// What this report does not know, in words.
    pub missing: Vec<String>,
}

const SECTIONS: [(&str, &str); 7] = [
    ("logs", "1. How complete the logs are"),
    ("incidents", "2. Incidents"),
    ("refusals", "3. Who was refused"),
    ("policies", "4. Policies over time"),
    ("acts", "5. What administrators did"),
    ("missing", "6. What is missing"),
    ("again", "7. Checking it again"),
];

/// The report as text.
#[must_use]
pub fn render(fleet: &Fleet) -> String {
    let mut page = Page::default();
    let page = &mut page;
    begin(page, fleet);
    page.section(("summary", "Summary"), |page| summary(page, fleet));
    page.markup("<nav aria-label=\"Contents\"><ol>");
    for (id, title) in SECTIONS {
        page.markup("<li>");
        let title = title.split_once(". ").map_or(title, |(_, title)| title);
        page.element("a", &[("href", &format_args!("#{id}"))], title);
        page.markup("</li>");
    }
    page.markup("</ol></nav>\n");
    page.section(SECTIONS[0], |page| logs(page, fleet));
    page.section(SECTIONS[1], |page| incidents(page, fleet));
    page.section(SECTIONS[2], |page| refusals(page, &fleet.findings));
    page.section(SECTIONS[3], |page| policies(page, fleet));
    page.section(SECTIONS[4], |page| acts(page, fleet));
    page.section(SECTIONS[5], |page| missing(page, fleet));
    page.section(SECTIONS[6], |page| again(page, fleet));
    page.markup("</main>\n</body>\n</html>\n");
    std::mem::take(page).into_html()
}

impl Fleet {
    fn all_logs(&self) -> impl Iterator<Item = &Log> {
        self.devices.iter().flat_map(|device| &device.logs)
    }

    /// Logs that were verified for this report, and did not.
    fn broken(&self) -> usize {
        self.all_logs().filter(|log| log.checked.as_ref().is_some_and(|problems| !problems.is_empty())).count()
    }

    fn is_good(&self) -> bool {
        self.incidents.is_empty() && self.broken() == 0 && self.own_log.2.is_empty()
    }
}

fn begin(page: &mut Page, fleet: &Fleet) {
    page.markup("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    // Even if something slipped through: this page may load nothing and run nothing.
    page.markup(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    page.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n");
    let warning = if fleet.is_good() { "" } else { "INCIDENTS – " };
    page.element("title", &[], format_args!("{warning}Audit report of the fleet {}", fleet.name));
    page.markup("\n<style>\n");
    page.markup(STYLE);
    page.markup("</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#summary\">To the summary</a>\n<header>");
    page.element("p", &[("class", &"kind")], "Audit report of a fleet");
    page.element("h1", &[], &fleet.name);
    let from = fleet.since_ms.map_or_else(|| "the beginning".to_owned(), |ms| format!("{} UTC", minute(ms)));
    let to = fleet.before_ms.map_or_else(|| "now".to_owned(), |ms| format!("{} UTC", minute(ms)));
    let (made, tool) = (minute(fleet.made_ms), &fleet.tool);
    page.element("p", &[("class", &"covers")], format_args!("from {from} to {to} · made {made} UTC by {tool}"));
    page.markup("</header>\n<main>\n");
}

fn summary(page: &mut Page, fleet: &Fleet) {
    let (class, words) = if fleet.is_good() {
        ("verdict good", "Nothing is held against any log.".to_owned())
    } else {
        let own = if fleet.own_log.2.is_empty() { "" } else { "; the control plane's own log does not verify" };
        let broken = many(fleet.broken() as u64, "log does not verify", "logs do not verify");
        let found = many(fleet.incidents.len() as u64, "incident is", "incidents are");
        ("verdict bad", format!("{found} on record, {broken}{own}. Read sections 1 and 2 first."))
    };
    page.element("p", &[("class", &class)], words);
    let behind = fleet.all_logs().filter(|log| log.reported.is_some_and(|reported| reported > log.mirrored)).count();
    let silent = fleet.devices.iter().filter(|device| device.logs.is_empty()).count();
    page.markup("<ul class=\"tiles\">");
    for (number, name) in [
        (fleet.devices.len() as u64, "devices"),
        (fleet.all_logs().count() as u64, "logs mirrored"),
        (behind as u64, "logs behind their device"),
        (silent as u64, "devices without a record here"),
        (fleet.findings.in_range, "records in the range"),
        (fleet.findings.refused, "requests refused"),
    ] {
        page.markup("<li>");
        page.element("strong", &[], grouped(number));
        page.text(" ");
        page.element("span", &[], name);
        page.markup("</li>");
    }
    page.markup("</ul>\n");
    page.note(
        "Times of records are by each device's clock, those of cosignatures by the control plane's. People are pseudonyms \
         that their device made; in lists they are cut to their first 12 digits.",
    );
}

fn logs(page: &mut Page, fleet: &Fleet) {
    page.paragraph(
        "A record is complete here when it is mirrored under a head that the device signed. Cosigned says how far the \
         control plane's witness has signed that the log only grew. On the device says how many more records it last \
         reported to have.",
    );
    let mut rows = Vec::new();
    for device in &fleet.devices {
        let name = if device.revoked { format!("{} (revoked)", device.name) } else { device.name.clone() };
        for log in &device.logs {
            let checked = match &log.checked {
                None => "not for this report".to_owned(),
                Some(problems) if problems.is_empty() => "verifies, every record".to_owned(),
                Some(problems) => format!("DOES NOT VERIFY: {}", problems[..problems.len().min(PROBLEMS)].join("; ")),
            };
            let behind = log.reported.map(|reported| grouped(reported.saturating_sub(log.mirrored)));
            rows.push(vec![
                Cell::Head(name.clone()),
                Cell::Code(log.origin.clone()),
                Cell::Number(log.first),
                Cell::Number(log.mirrored),
                Cell::At(log.made_ms.map(|(_, newest)| newest)),
                Cell::Number(log.cosigned),
                Cell::said(&behind.unwrap_or_default()),
                Cell::Text(checked),
            ]);
        }
        if device.logs.is_empty() {
            let nothing = ["nothing has arrived", "", "", "", "", "", ""].map(Cell::said);
            rows.push([Cell::Head(name)].into_iter().chain(nothing).collect());
        }
    }
    page.table(
        format_args!("Logs of {}", many(fleet.devices.len() as u64, "device", "devices")),
        &["Device", "Log", "From record", "Complete to", "Newest (UTC)", "Cosigned to", "On the device", "Checked"],
        rows,
        "There is no device.",
    );
}

fn incidents(page: &mut Page, fleet: &Fleet) {
    page.note(
        "A fork is two heads of one size that the log signed: the two notes alone convict it. Unproven is a head of which \
         nobody showed that it continues the one held. The notes are kept as evidence at the control plane.",
    );
    let left_out = fleet.incidents.len().saturating_sub(LISTED);
    let rows = fleet.incidents.iter().rev().take(LISTED).map(|incident| {
        vec![
            Cell::Head(incident.number.to_string()),
            Cell::At(Some(incident.found_ms)),
            Cell::Text(incident.device.clone()),
            Cell::Code(incident.origin.clone()),
            Cell::Text(incident.kind.clone()),
        ]
    });
    let more = if left_out == 0 { String::new() } else { format!("; {left_out} older ones are not listed") };
    page.table(
        format_args!("Incidents, newest first{more}"),
        &["Number", "Found (UTC)", "Device", "Log", "What it looks like"],
        rows.collect(),
        "No log was found to have two pasts.",
    );
}

fn refusals(page: &mut Page, findings: &Findings) {
    page.paragraph(format_args!(
        "{} of identified callers; {} without an identity that holds.",
        many(findings.refused, "request was refused", "requests were refused"),
        many(findings.knocks, "attempt came", "attempts came"),
    ));
    let (rows, rest) = findings.refusals.ranked(SHOWN, |times| times.count);
    let largest = rows.first().map_or(0, |(_, times)| times.count);
    let end = |mut cells: Vec<Cell>, times: &Times| {
        let (first, last) = (Cell::On(times.period.first_ms), Cell::On(times.period.last_ms));
        cells.extend([Cell::Bar(times.count, largest), first, last]);
        cells
    };
    let cells = rows.iter().map(|((device, who, act, why), times)| {
        let who = if who.is_empty() { Cell::said("") } else { Cell::Code(who.clone()) };
        end(vec![Cell::Head(device.clone()), who, Cell::said(act), Cell::said(why)], times)
    });
    let rest = rest.iter().map(|(name, times)| {
        end(vec![Cell::Head(name.clone()), Cell::said(""), Cell::said(""), Cell::said("")], times)
    });
    page.table(
        "Refusals by device, person, act and the rule or reason that refused",
        &["Device", "Who", "Act", "Rule or reason", "Refusals", "First (UTC)", "Last (UTC)"],
        cells.chain(rest).collect(),
        "Nothing was refused in this range.",
    );
}

fn policies(page: &mut Page, fleet: &Fleet) {
    let findings = &fleet.findings;
    let (rows, rest) = findings.versions.ranked(SHOWN, |times| times.count);
    let row = |name: Cell, times: &Times| {
        vec![name, Cell::Number(times.count), Cell::On(times.period.first_ms), Cell::On(times.period.last_ms)]
    };
    let cells = rows.iter().map(|(version, times)| row(Cell::Head(format!("version {version}")), times));
    let rest = rest.iter().map(|(name, times)| row(Cell::Head(name.clone()), times));
    page.table(
        "Policies that came into force in the range, over all devices",
        &["Policy", "Activations", "First (UTC)", "Last (UTC)"],
        cells.chain(rest).collect(),
        "No policy came into force in this range.",
    );
    let mut rows = Vec::new();
    for (device, policies) in findings.in_force.iter().take(LISTED) {
        let mut newest = policies.iter().rev();
        let Some((since_ms, version)) = newest.next() else { continue };
        let before: Vec<String> =
            newest.take(4).map(|(at, version)| format!("{version} from {}", minute(*at))).collect();
        rows.push(vec![
            Cell::Head(device.clone()),
            Cell::Text(format!("version {version}")),
            Cell::At(Some(*since_ms)),
            Cell::said(&before.join("; ")),
        ]);
    }
    let more = findings.in_force.len().saturating_sub(LISTED);
    let more = if more == 0 { String::new() } else { format!("; {more} devices are not listed") };
    page.table(
        format_args!("What is in force on each device by the newest record of it{more}"),
        &["Device", "Policy in force", "Since (UTC)", "Before that"],
        rows,
        "No log names a policy that came into force.",
    );
    if findings.without_policy > 0 {
        let logs = many(findings.without_policy, "log names", "logs name");
        page.note(format_args!(
            "{logs} no policy: its device follows the one that it came with, or one of an earlier log."
        ));
    }
}

fn acts(page: &mut Page, fleet: &Fleet) {
    let (origin, records, problems) = &fleet.own_log;
    match problems.first() {
        None => page.paragraph(format_args!(
            "From the control plane's own log `{origin}`, which was verified for this report: {}.",
            many(*records, "record", "records")
        )),
        Some(problem) => page.element(
            "p",
            &[("class", &"bad")],
            format_args!("The control plane's own log `{origin}` DOES NOT VERIFY: {problem}"),
        ),
    }
    let more = match fleet.acts_left_out {
        0 => String::new(),
        more => format!(" (the newest {}; {} older ones are counted, not listed)", fleet.acts.len(), grouped(more)),
    };
    let rows = fleet.acts.iter().rev().map(|act| {
        let outcome = match (act.effect.as_str(), act.error.is_empty()) {
            ("deny", _) => "refused".to_owned(),
            (_, false) => format!("failed: {}", act.error),
            _ => "allowed".to_owned(),
        };
        vec![
            Cell::Head(act.index.to_string()),
            Cell::At(Some(act.at_ms)),
            Cell::said(&act.by),
            Cell::said(&act.means),
            Cell::said(&act.act),
            Cell::said(&act.subject),
            Cell::Text(outcome),
        ]
    });
    page.table(
        format_args!("Acts of administrators, newest first{more}"),
        &["Record", "When (UTC)", "Who", "By", "Act", "To what", "Outcome"],
        rows.collect(),
        "No administrator did anything in this range.",
    );
}

fn missing(page: &mut Page, fleet: &Fleet) {
    if fleet.missing.is_empty() {
        return page.paragraph("Every record that a device reported to have is here and was looked at.");
    }
    page.markup("<ul>");
    for what in &fleet.missing {
        page.element("li", &[], what);
    }
    page.markup("</ul>\n");
}

fn again(page: &mut Page, fleet: &Fleet) {
    page.paragraph(
        "This page is made from the control plane's copies and vouches for nothing by itself. The copies verify without it, \
         offline, with any tool for C2SP logs or with these commands; keys from elsewhere make it independent.",
    );
    page.element(
        "pre",
        &[],
        "outpost-control audit verify DEVICE\noutpost-control audit keys --policy DEVICE > witnesses.policy\n\
         outpost audit verify MIRROR --policy witnesses.policy\noutpost-control audit self verify",
    );
    for (name, key) in [("Witness", &fleet.keys.0), ("Mirror", &fleet.keys.1)] {
        page.markup("<p>");
        page.text(format_args!("{name}: "));
        page.element("code", &[("class", &"long")], key);
        page.markup("</p>\n");
    }
}
