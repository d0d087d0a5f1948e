//! What `outpost tune` says on standard output: for people and for machines.

use std::path::Path;

use anyhow::Result;
use outpost_planner::rounded_up;
use outpost_trust::VerifyingKey;
use serde_json::{Value, json};

use super::{say, work};
use crate::tune::evidence::Evidence;
use crate::tune::figures::{nats, percent, thousandths};
use crate::tune::work::Survey;

/// What was found, and how.
pub(super) struct Told<'a> {
    pub(super) evidence: &'a Evidence,
    /// The chosen variant's file.
    pub(super) file: Option<&'a Path>,
    /// The key that signed.
    pub(super) key: VerifyingKey,
    pub(super) measured_runs: usize,
    pub(super) known_runs: usize,
    pub(super) reused: bool,
}

impl Told<'_> {
    pub(super) fn json(&self) -> Value {
        json!({
            "reused": self.reused,
            "measured_runs": self.measured_runs,
            "known_runs": self.known_runs,
            "signed_by": self.key.to_hex(),
            "choice": self.evidence.chosen().map(|row| &row.setting),
            "file": self.file,
            "evidence": self.evidence,
        })
    }

    /// One line for each setting of the Pareto set and for the choice.
    pub(super) fn say(&self) -> Result<()> {
        if self.reused {
            say(format!("nothing was measured: the evidence signed by {} holds here", self.key.to_hex()))?;
        }
        let head = [
            "variant", "keys", "threads", "at once", "context", "tokens/s", "together", "first", "nats", "same",
            "needs",
        ];
        let mut rows = vec![("", head.map(str::to_owned).to_vec(), String::new())];
        for (number, (row, point)) in (0_u32..).zip(self.evidence.settings.iter().zip(self.evidence.points())) {
            let is_chosen = self.evidence.choice == Some(number);
            if !is_chosen && !row.pareto {
                continue;
            }
            let (setting, speed, quality) = (&row.setting, &point.speed, &point.quality);
            let cells = vec![
                setting.variant.clone(),
                setting.kv.to_string(),
                setting.threads.to_string(),
                setting.slots.to_string(),
                setting.context_tokens.to_string(),
                thousandths(speed.tokens_per_second_milli.p50),
                thousandths(speed.together_milli),
                format!("{} ms", thousandths(speed.first_token_us.p50)),
                nats(quality.divergence_micro),
                percent(quality.agreement_ppm),
                rounded_up(row.needs_bytes),
            ];
            rows.push((if is_chosen { "→" } else { "" }, cells, row.because.clone()));
        }
        let width = |column: usize| rows.iter().map(|row| row.1[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for (mark, cells, because) in &rows {
            let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            let line = format!("{mark:<1} {}  {because}", cells.collect::<Vec<_>>().join("  "));
            say(line.trim_end())?;
        }
        let dropped: u32 = self.evidence.runs.iter().map(|figures| figures.dropped).sum();
        let disturbed = self.evidence.runs.iter().filter(|figures| !figures.disturbed_by.is_empty()).count();
        if dropped > 0 || disturbed > 0 {
            say(format!(
                "  {dropped} disturbed repeats were dropped; {disturbed} runs were never calm and count as they are"
            ))?;
        }
        match (self.file, self.evidence.chosen()) {
            (Some(file), Some(_)) => say(format!("  serve it: outpost run --model {}", file.display())),
            _ => say("  nothing keeps every limit: ask for less"),
        }
    }
}

pub(super) fn survey_json(survey: &Survey) -> Value {
    json!({
        "settings": survey.settings,
        "runs": survey.runs(),
        "pruned": survey.pruned,
        "expected_s": survey.expected.as_secs(),
    })
}

pub(super) fn survey(survey: &Survey) -> Result<()> {
    for setting in &survey.settings {
        say(format!("would be measured  {setting}"))?;
    }
    for pruned in &survey.pruned {
        say(format!("left out           {}: {}", pruned.setting, pruned.because))?;
    }
    say(work::intention(survey))
}
