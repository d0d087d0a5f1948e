//! The plan as people read it.

use crate::{Outcome, Plan};

/// One line per candidate: mark, variant, memory, speed, reason; then what the memory was counted from.
pub(crate) fn render(plan: &Plan) -> String {
    let mut rows = vec![["", "variant", "needs", "tokens/s", "because"].map(str::to_owned)];
    rows.extend(plan.verdicts.iter().map(|verdict| {
        let mark = if verdict.outcome == Outcome::Chosen { "→" } else { "" };
        [
            mark.to_owned(),
            verdict.quantisation.clone(),
            // What fits is never written as more than there is.
            if verdict.missing_bytes > 0 { rounded_up } else { rounded_down }(verdict.needs.total()),
            thousandths(verdict.speed.tokens_per_second_milli),
            verdict.because.clone(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (variant, needs, speed) = (width(1), width(2), width(3));
    let line = |row: &[String; 5]| {
        let [mark, name, bytes, tokens, because] = row;
        format!("{mark:<1} {name:<variant$}  {bytes:>needs$}  {tokens:>speed$}  {because}")
    };
    let mut lines: Vec<_> = rows.iter().map(line).collect();
    lines.push(format!(
        "  {} of memory can be used: {} available, {} of it kept for everybody else",
        rounded_down(plan.budget.usable_bytes),
        rounded_down(plan.budget.available_bytes),
        rounded_up(plan.budget.reserve_bytes)
    ));
    lines.join("\n")
}

/// `1.9 GiB`, `640 MiB`, `3 KiB`; never less than it is. For what is needed.
#[must_use]
pub fn rounded_up(count: u64) -> String {
    in_unit(count, u128::div_ceil)
}

/// The same, never more than it is. For what there is, so that two equal texts never stand for "needs more than there is".
#[must_use]
pub fn rounded_down(count: u64) -> String {
    in_unit(count, |amount, unit| amount / unit)
}

fn in_unit(count: u64, divide: impl Fn(u128, u128) -> u128) -> String {
    const KIBIBYTE: u64 = 1 << 10;
    const MEBIBYTE: u64 = 1 << 20;
    const GIBIBYTE: u64 = 1 << 30;
    let (wide, unit) = (u128::from(count), |unit: u64| u128::from(unit));
    match count {
        GIBIBYTE.. => {
            let tenths = divide(wide * 10, unit(GIBIBYTE));
            format!("{}.{} GiB", tenths / 10, tenths % 10)
        }
        MEBIBYTE.. => format!("{} MiB", divide(wide, unit(MEBIBYTE))),
        _ => format!("{} KiB", divide(wide, unit(KIBIBYTE))),
    }
}

/// `4.5` for 4,500; whole numbers from 100 on.
pub(crate) fn thousandths(milli: u64) -> String {
    if milli >= 100_000 { (milli / 1000).to_string() } else { format!("{}.{}", milli / 1000, milli % 1000 / 100) }
}
