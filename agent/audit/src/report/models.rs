//! Model inventory: which files by digest came, answered and went, and what was turned away.

use super::bounded::{Bounded, Fold, Newest};
use super::page::{Cell, Page, many};
use super::seen::{Period, Seen};
use crate::Kind;

const FILES: usize = 256;
const SHOWN: usize = 40;
const LISTED: usize = 30;

#[derive(Debug, Clone, Default)]
struct File {
    pulls: u64,
    loads: u64,
    unloads: u64,
    rejects: u64,
    answers: u64,
    period: Period,
}

impl Fold for File {
    fn fold(&mut self, other: &Self) {
        self.pulls += other.pulls;
        self.loads += other.loads;
        self.unloads += other.unloads;
        self.rejects += other.rejects;
        self.answers += other.answers;
        self.period.fold(&other.period);
    }
}

#[derive(Debug)]
struct Change {
    index: u64,
    wall_ms: i64,
    what: &'static str,
    name: String,
    why: String,
}

/// Files of models.
#[derive(Debug)]
pub(super) struct Models {
    /// By name, variant and digest.
    files: Bounded<(String, String, String), File>,
    changes: Newest<Change>,
    pub(super) loads: u64,
    pub(super) rejects: u64,
    /// Answers that do not say which file made them.
    pub(super) without_digest: u64,
}

impl Models {
    pub(super) fn new() -> Self {
        Self { files: Bounded::new(FILES), changes: Newest::new(LISTED), loads: 0, rejects: 0, without_digest: 0 }
    }

    pub(super) fn take(&mut self, seen: &Seen<'_>) {
        let what = match seen.kind {
            Some(Kind::ModelPull) => "arrived",
            Some(Kind::ModelLoad) => "loaded",
            Some(Kind::ModelUnload) => "unloaded",
            Some(Kind::ModelReject) => "refused",
            Some(Kind::InferEnd) if seen.text("obj.file").is_empty() => {
                self.without_digest += 1;
                return;
            }
            Some(Kind::InferEnd) => "answered",
            _ => return,
        };
        let key = (seen.owned("obj.model"), seen.owned("obj.variant"), seen.owned("obj.file"));
        let file = self.files.of(key);
        file.period.add(seen.wall_ms);
        match what {
            "arrived" => file.pulls += 1,
            "loaded" => file.loads += 1,
            "unloaded" => file.unloads += 1,
            "refused" => file.rejects += 1,
            _ => file.answers += 1,
        }
        if what == "answered" {
            return;
        }
        self.loads += u64::from(what == "loaded");
        self.rejects += u64::from(what == "refused");
        let why = [seen.text("detail.because"), seen.text("detail.reason")].into_iter().find(|why| !why.is_empty());
        let name = format!("{} {}", seen.text("obj.model"), seen.text("obj.variant"));
        self.changes.push(Change {
            index: seen.index,
            wall_ms: seen.wall_ms,
            what,
            name,
            why: why.unwrap_or_default().to_owned(),
        });
    }

    pub(super) fn how_many(&self) -> String {
        self.files.how_many()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.note(
            "A model is loaded only after its bytes were hashed; the digest in a record is that of the file which answered. \
             Compare the digests with your own list of approved models: the log does not hold one.",
        );
        let (rows, rest) = self.files.ranked(SHOWN, |file| file.answers + file.loads);
        let cells = rows.into_iter().map(|((model, variant, digest), file)| {
            row(
                Cell::Head(model.clone()),
                Cell::said(variant),
                Cell::names((!digest.is_empty()).then_some(digest)),
                file,
            )
        });
        let rest = rest.iter().map(|(name, file)| row(Cell::Head(name.clone()), Cell::said(""), Cell::said(""), file));
        page.table(
            format_args!("Model files seen in this range: {}", self.files.how_many()),
            &[
                "Model",
                "Variant",
                "SHA-256 of the file",
                "Answers",
                "Arrived",
                "Loaded",
                "Unloaded",
                "Refused",
                "First (UTC)",
                "Last (UTC)",
            ],
            cells.chain(rest).collect(),
            "No record of this range names a model file.",
        );
        if self.without_digest > 0 {
            page.paragraph(format_args!(
                "{} without the digest of a file: which bytes answered cannot be told from the log.",
                many(self.without_digest, "request ended", "requests ended")
            ));
        }
        let rows = self.changes.iter().rev().map(|change| {
            vec![
                Cell::Head(format!("{}", change.index)),
                Cell::At(Some(change.wall_ms)),
                Cell::Text(change.what.to_owned()),
                Cell::said(change.name.trim()),
                Cell::said(&change.why),
            ]
        });
        page.table(
            format_args!("Models that came and went, newest first{}", self.changes.left_out()),
            &["Record", "When (UTC)", "What happened", "Model", "Why"],
            rows.collect(),
            "No model came or went in this range.",
        );
    }
}

fn row(name: Cell, variant: Cell, digest: Cell, file: &File) -> Vec<Cell> {
    vec![
        name,
        variant,
        digest,
        Cell::Number(file.answers),
        Cell::Number(file.pulls),
        Cell::Number(file.loads),
        Cell::Number(file.unloads),
        Cell::Number(file.rejects),
        Cell::On(file.period.first_ms),
        Cell::On(file.period.last_ms),
    ]
}
