//! The waves of a rollout as text.

use super::{RolloutView, WaveView};

/// Characters of a bar.
const WIDE: u128 = 24;

/// The rollout as lines: what it is, a bar for each wave (`#` done, `>` under way, `x` failed, `<` given back, `.` waiting), who
/// failed, what happened last.
#[must_use]
pub fn picture(view: &RolloutView) -> String {
    let mut lines = vec![format!("{}: {}", view.name, view.state.replace('_', " "))];
    lines.push(format!("  {} for `{}`, by {}", view.change, view.request.selector, view.author));
    lines.extend(view.reason.iter().map(|reason| format!("  because {reason}")));
    let name_wide = view.waves.iter().map(|wave| wave.name.chars().count()).max().unwrap_or(0);
    for wave in &view.waves {
        lines.push(format!("  {:>2} {:<name_wide$}  [{}]  {}", wave.number, wave.name, bar(wave), said(wave)));
    }
    if let Some(number) = view.awaits_approval_of {
        lines.push(format!("  another person: outpost-control rollout approve {} --wave {number}", view.name));
    }
    lines.extend(view.failures.iter().map(|failed| {
        format!("  {} (wave {}): {}", failed.device, failed.wave, failed.reason.as_deref().unwrap_or("failed"))
    }));
    lines.join("\n")
}

fn bar(wave: &WaveView) -> String {
    let parts = wave.parts();
    let counts =
        [(parts[0].1, '#'), (parts[1].1, '>'), (parts[2].1, 'x'), (wave.rolled_back(), '<'), (parts[3].1, '.')];
    let whole: u64 = counts.iter().map(|(count, _)| count).sum();
    let (mut bar, mut seen) = (String::new(), 0);
    for (count, sign) in counts {
        seen += count;
        let end = usize::try_from((u128::from(seen) * WIDE).div_ceil(u128::from(whole).max(1))).unwrap_or(0);
        bar.extend(std::iter::repeat_n(sign, end.saturating_sub(bar.len())));
    }
    format!("{bar:<24}")
}

fn said(wave: &WaveView) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            words.push(format!("{count} {what}"));
        }
    };
    for (what, count) in wave.parts() {
        note(count, what);
    }
    note(wave.rolled_back(), "given back what they had");
    let left = |name: &str| wave.counts.get(name).copied().unwrap_or(0);
    note(left("superseded") + left("revoked"), "left");
    let state = match (wave.state, wave.soaks_for_s) {
        ("soaking", Some(seconds)) => {
            format!("soaks for {}", crate::inventory::words::ago(i64::try_from(seconds).unwrap_or(i64::MAX)))
        }
        ("awaits_approval", _) => {
            format!(
                "waits for {} of {} approvals",
                usize::from(wave.approvals_needed).saturating_sub(wave.approved_by.len()),
                wave.approvals_needed
            )
        }
        (state, _) => state.to_owned(),
    };
    format!("{} of {} · {state}", words.join(", "), wave.devices)
}
