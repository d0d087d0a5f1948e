//! Use: who asked which model how much, and when.

use super::bounded::{Bounded, Fold};
use super::chart::{self, Part};
use super::page::{Cell, Page, grouped, short};
use super::seen::Seen;
use super::series::Series;
use super::spread::Spread;
use crate::Kind;

const PRINCIPALS: usize = 1_024;
const MODELS: usize = 256;
const SHOWN: usize = 25;
const COLUMNS: i64 = 92;
const TABLE_ROWS: i64 = 16;

/// What somebody, or something, did and got.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) aborted: u64,
    pub(super) tokens_in: u64,
    pub(super) tokens_out: u64,
    pub(super) took: Spread,
    pub(super) first_token: Spread,
}

impl Tally {
    fn requests(&self) -> u64 {
        self.answered + self.refused + self.aborted
    }

    fn add(&mut self, seen: &Seen<'_>, course: Course) {
        match course {
            Course::Answered => self.answered += 1,
            Course::Refused => self.refused += 1,
            Course::Aborted => self.aborted += 1,
        }
        self.tokens_in += seen.count("io.in.tok").unwrap_or(0);
        self.tokens_out += seen.count("io.out.tok").unwrap_or(0);
        if course == Course::Answered {
            seen.count("res.ms").into_iter().for_each(|ms| self.took.add(ms));
            seen.count("res.ttft_ms").into_iter().for_each(|ms| self.first_token.add(ms));
        }
    }
}

impl Fold for Tally {
    fn fold(&mut self, other: &Self) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.aborted += other.aborted;
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
        self.took.fold(&other.took);
        self.first_token.fold(&other.first_token);
    }
}

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Answered,
    Refused,
    Aborted,
}

impl Course {
    fn of(seen: &Seen<'_>) -> Option<Self> {
        match seen.kind? {
            Kind::InferEnd if seen.has_failed() => Some(Self::Aborted),
            Kind::InferEnd => Some(Self::Answered),
            Kind::InferDenied => Some(Self::Refused),
            Kind::InferAborted => Some(Self::Aborted),
            _ => None,
        }
    }
}

/// Use of the models.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) whole: Tally,
    pub(super) started: u64,
    pub(super) principals: Bounded<String, Tally>,
    pub(super) models: Bounded<String, Tally>,
    /// Refusals about models that are not known to have answered: their names may be anything.
    refused_models: Bounded<String, Tally>,
    series: Series,
}

impl Usage {
    pub(super) fn new() -> Self {
        Self {
            whole: Tally::default(),
            started: 0,
            principals: Bounded::new(PRINCIPALS),
            models: Bounded::new(MODELS),
            refused_models: Bounded::new(MODELS),
            series: Series::default(),
        }
    }

    pub(super) fn take(&mut self, seen: &Seen<'_>) {
        self.started += u64::from(seen.kind == Some(Kind::InferStart));
        let Some(course) = Course::of(seen) else { return };
        self.whole.add(seen, course);
        self.principals.of(seen.owned("who.pid")).add(seen, course);
        let models = if course == Course::Refused { &mut self.refused_models } else { &mut self.models };
        models.of(model(seen)).add(seen, course);
        let slot = self.series.at(seen.wall_ms);
        match course {
            Course::Answered => slot.answered += 1,
            Course::Refused => slot.refused += 1,
            Course::Aborted => slot.aborted += 1,
        }
        slot.tokens_in += seen.count("io.in.tok").unwrap_or(0);
        slot.tokens_out += seen.count("io.out.tok").unwrap_or(0);
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.note(
            "Counted from the records infer.end (answered), infer.denied (refused) and infer.aborted (begun and not \
             finished; an infer.end with an error counts here too). Tokens are those of the records. Times are of answered \
             requests: half of them took at most the median, 95 and 99 of a hundred at most the next two, and half had \
             their first token within the last. They are read from counts by size: never below the true number, and at \
             most 3.2 % above. Pseudonyms stand in full in the access review.",
        );
        self.principals_table(page);
        self.models_table(page);
    }

    fn principals_table(&self, page: &mut Page) {
        let (rows, rest) = self.principals.ranked(SHOWN, Tally::requests);
        let largest = rows.first().map_or(0, |(_, tally)| tally.requests());
        let cells = rows.iter().map(|(name, tally)| {
            row(
                if name.is_empty() { Cell::Head("nobody named".to_owned()) } else { Cell::HeadCode(short(name)) },
                tally,
                largest,
            )
        });
        let rest = rest.iter().map(|(name, tally)| row(Cell::Head(name.clone()), tally, largest));
        let caption = format!("Use by principal: {}, by number of requests", self.principals.how_many());
        page.table(caption, COLUMN_NAMES, cells.chain(rest).collect(), "Nobody asked a model in this range.");
    }

    fn models_table(&self, page: &mut Page) {
        let (rows, rest) = self.models.ranked(SHOWN, Tally::requests);
        let mut tallies: Vec<(Cell, Tally)> = Vec::new();
        let refused = |name: &String| self.refused_models.get(name).cloned().unwrap_or_default();
        for (name, tally) in rows {
            let mut tally = tally.clone();
            tally.fold(&refused(name));
            tallies.push((Cell::Head(name.clone()), tally));
        }
        if let Some((name, mut tally)) = rest {
            // Whatever is in the rest has its refusals there as well.
            for (model, _) in
                self.models.iter().filter(|(model, _)| !tallies.iter().any(|(cell, _)| is_named(cell, model)))
            {
                tally.fold(&refused(model));
            }
            tallies.push((Cell::Head(name), tally));
        }
        let mut nowhere = Tally::default();
        let (unknown, later) = self.refused_models.ranked(MODELS, Tally::requests);
        unknown
            .into_iter()
            .filter(|(name, _)| self.models.get(name).is_none())
            .for_each(|(_, tally)| nowhere.fold(tally));
        later.into_iter().for_each(|(_, tally)| nowhere.fold(&tally));
        if nowhere.refused > 0 {
            tallies.push((Cell::Head("names that no answer is recorded of".to_owned()), nowhere));
        }
        let largest = tallies.iter().map(|(_, tally)| tally.requests()).max().unwrap_or(0);
        let rows = tallies.into_iter().map(|(name, tally)| row(name, &tally, largest)).collect();
        page.table("Use by model", MODEL_COLUMN_NAMES, rows, "No model was asked in this range.");
    }

    /// Use over time, as a picture and as the same numbers.
    pub(super) fn write_picture(&self, page: &mut Page) {
        let (width_ms, slots) = self.series.drawn(COLUMNS);
        if slots.is_empty() {
            return page.element("p", &[("class", &"nothing")], "No requests in this range.");
        }
        let per = length_of(width_ms);
        page.markup("<figure>");
        page.element("figcaption", &[], format_args!("Requests per {per} (UTC)"));
        let requests: &[Part] = &[
            Part { class: "answered", name: "answered", of: |slot| slot.answered },
            Part { class: "refused", name: "refused", of: |slot| slot.refused },
            Part { class: "aborted", name: "not finished", of: |slot| slot.aborted },
        ];
        chart::columns(
            page,
            &format!("Requests per {per}; the table below has their sums"),
            (width_ms, &slots),
            requests,
        );
        page.markup("</figure>\n<figure>");
        page.element("figcaption", &[], format_args!("Tokens per {per}"));
        let tokens: &[Part] = &[
            Part { class: "tokens-in", name: "tokens of prompts", of: |slot| slot.tokens_in },
            Part { class: "tokens-out", name: "tokens of answers", of: |slot| slot.tokens_out },
        ];
        chart::columns(page, &format!("Tokens per {per}; the table below has their sums"), (width_ms, &slots), tokens);
        page.markup("</figure>\n");
        let (width_ms, slots) = self.series.drawn(TABLE_ROWS);
        let rows = slots.iter().map(|(at, slot)| {
            vec![
                Cell::Head(chart::slot_name(*at, width_ms)),
                Cell::Number(slot.answered),
                Cell::Number(slot.refused),
                Cell::Number(slot.aborted),
                Cell::Number(slot.tokens_in),
                Cell::Number(slot.tokens_out),
            ]
        });
        let columns = &["When (UTC)", "Answered", "Refused", "Not finished", "Tokens in", "Tokens out"];
        page.table(format_args!("The same per {}", length_of(width_ms)), columns, rows.collect(), "No requests.");
    }

    /// What the summary says of it.
    pub(super) fn sentence(&self) -> String {
        let Tally { answered, refused, aborted, tokens_in, tokens_out, .. } = &self.whole;
        format!(
            "{} principals asked models {} times: {} were answered, {} refused and {} not finished. {} tokens went in and {} came out.",
            self.principals.how_many(),
            grouped(self.whole.requests()),
            grouped(*answered),
            grouped(*refused),
            grouped(*aborted),
            grouped(*tokens_in),
            grouped(*tokens_out),
        )
    }
}

const COLUMN_NAMES: &[&str] = &[
    "Principal",
    "Requests",
    "Answered",
    "Refused",
    "Not finished",
    "Tokens in",
    "Tokens out",
    "Median",
    "95 % within",
    "99 % within",
    "First token",
];

const MODEL_COLUMN_NAMES: &[&str] = &[
    "Model",
    "Requests",
    "Answered",
    "Refused",
    "Not finished",
    "Tokens in",
    "Tokens out",
    "Median",
    "95 % within",
    "99 % within",
    "First token",
];

fn row(name: Cell, tally: &Tally, largest: u64) -> Vec<Cell> {
    vec![
        name,
        Cell::Bar(tally.requests(), largest),
        Cell::Number(tally.answered),
        Cell::Number(tally.refused),
        Cell::Number(tally.aborted),
        Cell::Number(tally.tokens_in),
        Cell::Number(tally.tokens_out),
        Cell::Took(tally.took.percentile(50)),
        Cell::Took(tally.took.percentile(95)),
        Cell::Took(tally.took.percentile(99)),
        Cell::Took(tally.first_token.percentile(50)),
    ]
}

/// How long a slot is, in words.
fn length_of(width_ms: i64) -> String {
    match width_ms {
        super::series::HOUR_MS => "hour".to_owned(),
        super::series::DAY_MS => "day".to_owned(),
        _ if width_ms == 7 * super::series::DAY_MS => "week".to_owned(),
        _ => format!("{} days", width_ms / super::series::DAY_MS),
    }
}

fn is_named(cell: &Cell, name: &str) -> bool {
    matches!(cell, Cell::Head(head) if head == name)
}

/// Without its variant: who is refused is refused before one is chosen.
fn model(seen: &Seen<'_>) -> String {
    match seen.text("obj.model") {
        "" => "no model named".to_owned(),
        model => model.to_owned(),
    }
}
