//! When the agent ran, when it had a link to its control plane, and when it did not believe its clock.

use super::bounded::Stretches;
use super::chart::{self, Lane, Span};
use super::page::{Cell, Page, length, many, times};
use super::seen::Seen;
use crate::Kind;

/// The longest of these are listed.
const LISTED: usize = 15;

/// Marks beyond these are counted, not drawn.
const MARKS: usize = 256;

/// A time without a link.
#[derive(Debug, Clone, Copy)]
struct Offline {
    from: i64,
    to: i64,
    answered: u64,
    refused: u64,
    /// What the device itself counted, seconds.
    told_s: Option<u64>,
    is_over: bool,
}

/// The life of the device as its log tells it. Follows the whole log; what is counted is of the range.
#[derive(Debug, Default)]
pub(super) struct Uptime {
    runs: Stretches,
    links: Stretches,
    doubts: Stretches,
    unclean: Vec<i64>,
    longest: Vec<Offline>,
    running_since: Option<i64>,
    linked_since: Option<i64>,
    away: Option<Offline>,
    doubting_since: Option<i64>,
    last_ms: i64,
    has_link: bool,
    pub(super) boots: u64,
    pub(super) unclean_ends: u64,
    pub(super) untrusted: u64,
    pub(super) steps_back: u64,
    pub(super) largest_step_ms: i64,
    pub(super) offline_times: u64,
    pub(super) offline_ms: i64,
    pub(super) answered_offline: u64,
}

impl Uptime {
    /// Takes the next record of the log; `counts` says whether it is in the range.
    pub(super) fn take(&mut self, seen: &Seen<'_>, counts: bool) {
        let now = seen.wall_ms;
        match seen.kind {
            Some(Kind::Boot) => self.boot(seen, counts),
            Some(Kind::SyncStart) => self.link_up(seen, counts),
            Some(Kind::SyncEnd) => self.link_down(now),
            Some(Kind::InferEnd) => self.asked_offline(counts, |away| &mut away.answered),
            Some(Kind::InferDenied) => self.asked_offline(counts, |away| &mut away.refused),
            _ => {}
        }
        if seen.clock_is_trusted() {
            if let Some(since) = self.doubting_since.take() {
                self.doubts.push(since, now);
            }
        } else {
            self.untrusted += u64::from(counts);
            self.doubting_since.get_or_insert(now);
        }
        if seen.index > 0 && now < self.last_ms && counts {
            self.steps_back += 1;
            self.largest_step_ms = self.largest_step_ms.max(self.last_ms.saturating_sub(now));
        }
        self.last_ms = now;
        self.running_since.get_or_insert(now);
        if seen.kind == Some(Kind::Shutdown) {
            self.stop(now);
        }
    }

    fn boot(&mut self, seen: &Seen<'_>, counts: bool) {
        self.boots += u64::from(counts);
        if seen.text("detail.previous") == "unclean" {
            self.unclean_ends += u64::from(counts);
            if self.unclean.len() < MARKS {
                self.unclean.push(self.last_ms);
            }
        }
        self.stop(self.last_ms);
        // Whether there is a link shows in the next sync.start: until then there is none.
        self.away.get_or_insert_with(|| Offline::from(seen.wall_ms));
        self.running_since = Some(seen.wall_ms);
    }

    /// The run is over.
    fn stop(&mut self, at: i64) {
        if let Some(since) = self.running_since.take() {
            self.runs.push(since, at);
        }
        self.link_down_if_up(at);
    }

    fn link_up(&mut self, seen: &Seen<'_>, counts: bool) {
        self.has_link = true;
        self.linked_since.get_or_insert(seen.wall_ms);
        if let Some(away) = self.away.take() {
            let told_s = seen.count("detail.offline_s");
            self.came_back(Offline { to: seen.wall_ms, told_s, is_over: true, ..away }, counts);
        }
    }

    fn link_down(&mut self, at: i64) {
        self.has_link = true;
        self.link_down_if_up(at);
        self.away.get_or_insert_with(|| Offline::from(at));
    }

    fn link_down_if_up(&mut self, at: i64) {
        if let Some(since) = self.linked_since.take() {
            self.links.push(since, at);
            self.away.get_or_insert_with(|| Offline::from(at));
        }
    }

    fn asked_offline(&mut self, counts: bool, which: impl FnOnce(&mut Offline) -> &mut u64) {
        if let Some(away) = self.away.as_mut().filter(|_| counts) {
            *which(away) += 1;
        }
    }

    fn came_back(&mut self, away: Offline, counts: bool) {
        // A time that ended in the range is of the range, whole: cutting it would hide how long it was.
        if !counts || away.length_ms() == 0 {
            return;
        }
        self.offline_times += 1;
        self.offline_ms = self.offline_ms.saturating_add(away.length_ms());
        self.answered_offline += away.answered;
        let at = self.longest.partition_point(|other| other.length_ms() >= away.length_ms());
        if at < LISTED {
            self.longest.insert(at, away);
            self.longest.truncate(LISTED);
        }
    }

    /// Ends what goes on at the last record.
    pub(super) fn finish(&mut self, range: (i64, i64)) {
        self.doubting_since.take().into_iter().for_each(|since| self.doubts.push(since, self.last_ms));
        self.linked_since.take().into_iter().for_each(|since| self.links.push(since, self.last_ms));
        self.running_since.take().into_iter().for_each(|since| self.runs.push(since, self.last_ms));
        if let Some(away) = self.away.take() {
            let counts = self.has_link && away.from < range.1 && self.last_ms > range.0;
            self.came_back(Offline { to: self.last_ms, ..away }, counts);
        }
    }

    pub(super) fn has_link(&self) -> bool {
        self.has_link
    }

    pub(super) fn write(&self, page: &mut Page, range: (i64, i64)) {
        let span = |class, name: &'static str| {
            move |stretch: super::bounded::Stretch| Span {
                from: stretch.from,
                to: stretch.to,
                class,
                name: name.into(),
                is_named: false,
            }
        };
        let marks = self.unclean.iter().map(|at| (*at, "ended without a shutdown")).collect();
        let mut lanes = vec![Lane {
            name: "Agent running",
            spans: self.runs.iter().map(span("running", "running")).collect(),
            marks,
        }];
        if self.has_link {
            let spans = self.links.iter().map(span("linked", "linked to the control plane")).collect();
            lanes.push(Lane { name: "Link to fleet", spans, marks: Vec::new() });
        }
        let spans = self.doubts.iter().map(span("doubted", "clock not believed")).collect();
        lanes.push(Lane { name: "Clock doubted", spans, marks: Vec::new() });
        page.markup("<figure>");
        page.element("figcaption", &[], "Runs of the agent, its link, and its clock. Empty stretches of a lane: not running, no link, clock believed.");
        chart::lanes(
            page,
            "When the agent ran, was linked and doubted its clock; the words below say the same",
            range,
            &lanes,
        );
        let entries = [
            ("running", "agent running"),
            ("linked", "link to the control plane"),
            ("doubted", "clock not believed"),
            ("mark", "ended without a shutdown"),
        ];
        chart::legend(page, entries.into_iter().filter(|(class, _)| self.has_link || *class != "linked"));
        page.markup("</figure>\n");
        page.paragraph(format_args!(
            "The agent started {}; {} without a shutdown (power cut, crash or kill), and what was open then was closed as \
             infer.aborted at the next start. {} made while the clock was not believed: such times count on from the last \
             moment that was known to have passed. From one record to the next the clock {} went back{}. The order of records is by index and does \
             not depend on any clock.",
            times(self.boots),
            many(self.unclean_ends, "run ended", "runs ended"),
            many(self.untrusted, "record was", "records were"),
            times(self.steps_back),
            if self.steps_back > 0 { format!(", at most by {}", length(self.largest_step_ms)) } else { String::new() },
        ));
        if !self.has_link {
            return page.paragraph("The log has no record of a link to a control plane: this is a box on its own.");
        }
        page.paragraph(format_args!(
            "Without a link: {}, {} together, counting those that ended in this range or last until its end. {} answered \
             meanwhile, by the policy and the list of locks that the device held.",
            times(self.offline_times),
            length(self.offline_ms),
            many(self.answered_offline, "request was", "requests were"),
        ));
        let rows = self.longest.iter().map(|away| {
            vec![
                Cell::Head(length(away.length_ms())),
                Cell::At(Some(away.from)),
                if away.is_over { Cell::At(Some(away.to)) } else { Cell::said("not over at the last record") },
                Cell::Text(away.told_s.map_or_else(
                    || "–".to_owned(),
                    |told_s| length(i64::try_from(told_s).unwrap_or(i64::MAX / 1000).saturating_mul(1000)),
                )),
                Cell::Number(away.answered),
                Cell::Number(away.refused),
            ]
        });
        page.table(
            format_args!(
                "The longest times without a link{}",
                if self.offline_times > LISTED as u64 {
                    format!(" ({LISTED} of {})", self.offline_times)
                } else {
                    String::new()
                }
            ),
            &["Length", "From (UTC)", "To (UTC)", "Counted by the device", "Answered meanwhile", "Refused meanwhile"],
            rows.collect(),
            "The link was never lost in this range.",
        );
    }
}

impl Offline {
    fn from(from: i64) -> Self {
        Self { from, to: from, answered: 0, refused: 0, told_s: None, is_over: false }
    }

    fn length_ms(&self) -> i64 {
        self.to.saturating_sub(self.from).max(0)
    }
}
