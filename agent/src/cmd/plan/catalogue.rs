//! The well-known models beside each other: which would fit this machine, in which variant, and why the others would not.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use anyhow::Result;
use outpost_contract::Measurements;
use outpost_planner::{Broken, Choice, Constraints, Plan, Verdict, plan, rounded_down, rounded_up};
use serde_json::json;

use super::super::{Here, Outcome, say, say_json};
use super::verdict_json;
use crate::curated::Curated;

/// Slowest decoding that is of use unless another one is asked for, tokens per second: about as fast as people read.
pub(super) const TOKENS_PER_SECOND: f64 = 5.0;

/// One model and its plan.
struct Row<'a> {
    model: &'a Curated,
    plan: Plan,
}

impl Row<'_> {
    fn choice(&self) -> Option<&Choice> {
        self.plan.choice.as_ref()
    }

    /// The chosen variant's verdict, or that of the one that comes nearest.
    fn verdict(&self) -> Option<&Verdict> {
        match self.choice() {
            Some(choice) => self.plan.verdicts.iter().find(|verdict| verdict.target == choice.target),
            None => self.plan.verdicts.iter().min_by_key(|verdict| {
                (verdict.missing_bytes, Reverse(verdict.speed.tokens_per_second_milli), verdict.needs.total())
            }),
        }
    }

    /// Why it does not fit, or what the next larger variant lacks.
    fn because(&self) -> String {
        let Some(verdict) = self.verdict() else { return String::new() };
        if self.choice().is_none() {
            return format!("{} {}", verdict.quantisation, verdict.because);
        }
        // Variants come largest first: the one before the chosen one is what more of this machine would bring.
        let place = self.plan.verdicts.iter().position(|other| other.target == verdict.target).unwrap_or(0);
        match place
            .checked_sub(1)
            .and_then(|before| self.plan.verdicts.get(before))
            .filter(|other| other.broken.is_some())
        {
            Some(larger) => format!("fits; {} {}", larger.quantisation, larger.because),
            None => "fits".to_owned(),
        }
    }
}

pub(super) fn run(
    here: &Here,
    models: &[Curated],
    machine: &Measurements,
    constraints: &Constraints,
) -> Result<Outcome> {
    let mut rows = Vec::new();
    for model in models {
        let candidates = model.candidates()?;
        let to_fetch = candidates.iter().map(|candidate| candidate.target.clone()).collect();
        let mut constraints = Constraints { to_fetch, ..constraints.clone() };
        if model.is_embedder() {
            // Vectors come one text at a time, and no token is decoded.
            constraints.slots = 1;
            constraints.minimum_tokens_per_second_milli = 0;
        }
        rows.push(Row { model, plan: plan(&candidates, machine, &constraints) });
    }
    if here.json {
        let rows: Vec<_> = rows.iter().map(json).collect();
        say_json(&json!({"models": rows, "usable_bytes": outpost_planner::budget(machine).usable_bytes}))?;
    } else {
        say(table(&rows, constraints))?;
    }
    Ok(Outcome::Done)
}

/// The largest model that fits, among those that answer.
fn recommended<'a, 'b>(rows: &'b [Row<'a>]) -> Option<&'b Row<'a>> {
    let fitting = rows.iter().filter(|row| row.choice().is_some() && !row.model.is_embedder());
    fitting.max_by_key(|row| row.model.parameters)
}

fn table(rows: &[Row<'_>], constraints: &Constraints) -> String {
    let best = recommended(rows);
    let mut lines =
        vec![["", "model", "best fit", "needs", "context", "tokens/s", "for", "licence", "because"].map(str::to_owned)];
    for row in rows {
        let (choice, verdict) = (row.choice(), row.verdict());
        let none = || "–".to_owned();
        let speed = verdict.filter(|_| !row.model.is_embedder()).map(|verdict| verdict.speed.tokens_per_second_milli);
        lines.push([
            if best.is_some_and(|best| std::ptr::eq(best, row)) { "→".to_owned() } else { String::new() },
            row.model.name.clone(),
            choice.and(verdict).map_or_else(none, |verdict| verdict.quantisation.clone()),
            verdict.map_or_else(none, |verdict| {
                let rounded = if choice.is_some() { rounded_down } else { rounded_up };
                rounded(verdict.needs.total())
            }),
            choice.map_or_else(none, |choice| format!("{} × {}", choice.context_tokens, choice.slots)),
            speed.map_or_else(none, |milli| format!("{}.{}", milli / 1_000, milli % 1_000 / 100)),
            row.model.recommended.name().to_owned(),
            row.model.licence.clone(),
            row.because(),
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut text: Vec<String> = lines
        .iter()
        .map(|line| {
            let columns = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
                3..=5 => format!("{cell:>width$}"),
                8 => cell.clone(),
                _ => format!("{cell:<width$}"),
            });
            columns.collect::<Vec<_>>().join("  ").replacen("  ", " ", 1).trim_end().to_owned()
        })
        .collect();
    text.extend(notes(rows, best, constraints));
    text.join("\n")
}

fn notes(rows: &[Row<'_>], best: Option<&Row<'_>>, constraints: &Constraints) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(row) = rows.first() {
        let budget = row.plan.budget;
        let [usable, available] = [budget.usable_bytes, budget.available_bytes].map(rounded_down);
        let reserve = rounded_up(budget.reserve_bytes);
        notes.push(format!(
            "  {usable} of memory can be used: {available} available, {reserve} of it kept for everybody else"
        ));
    }
    let milli = constraints.minimum_tokens_per_second_milli;
    if milli > 0 {
        let speed = format!("{}.{}", milli / 1_000, milli % 1_000 / 100);
        notes.push(format!(
            "  what decodes fewer than {speed} tokens/s counts as too slow; `--minimum-speed 0` lets it in"
        ));
    }
    match best {
        Some(best) => notes.push(format!(
            "  → is the largest that fits; `outpost plan {}` says it of each variant; nothing was fetched",
            best.model.id
        )),
        None => {
            let lacks: BTreeSet<&str> = rows.iter().flat_map(|row| &row.plan.verdicts).filter_map(lack).collect();
            let lacks: Vec<_> = lacks.into_iter().collect();
            notes.push(format!("  none of the models that answer fits: {}", lacks.join(", ")));
        }
    }
    notes
}

fn lack(verdict: &Verdict) -> Option<&'static str> {
    Some(match verdict.broken? {
        Broken::Memory { .. } => "memory is missing",
        Broken::Disk { .. } => "room on the disk is missing",
        Broken::Speed { .. } => "this machine is too slow",
        Broken::Context => "contexts are too short",
        Broken::Approval | Broken::Licence | Broken::Class => "rules forbid it",
        Broken::Quality { .. } => "quality is too low",
    })
}

fn json(row: &Row<'_>) -> serde_json::Value {
    let model = row.model;
    let choice = row.choice().map(|choice| {
        json!({
            "target": choice.target, "context_tokens": choice.context_tokens, "slots": choice.slots,
            "memory_bytes": choice.needs.total(), "tokens_per_second_milli": choice.speed.tokens_per_second_milli,
        })
    });
    json!({
        "model": model.id, "name": model.name, "source": model.source, "licence": model.licence, "template": model.template,
        "class": model.class().to_string(), "recommended": model.recommended.name(), "parameters": model.parameters,
        "files": model.known, "choice": choice, "because": row.because(),
        "verdicts": row.plan.verdicts.iter().map(verdict_json).collect::<Vec<_>>(),
    })
}
