//! Pictures of counts as inline SVG: attributes and classes only, and the numbers in words beside them.

use maud::{Markup, html};

/// One part of a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) label: String,
    pub(super) count: u64,
    /// Class that gives its colour.
    pub(super) tone: &'static str,
    /// Where one sees them.
    pub(super) link: Option<String>,
}

/// Hundredths of percent of `whole`.
fn share(count: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(count) * 10_000 / u128::from(whole.max(1))).unwrap_or(10_000)
}

/// A length in units of a picture that is 1,000 wide or high.
fn length(share: u64) -> String {
    format!("{}.{}", share / 10, share % 10)
}

/// One bar of all parts, and a legend.
pub(super) fn stacked(name: &str, parts: &[Part]) -> Markup {
    let whole: u64 = parts.iter().map(|part| part.count).sum();
    let shares = parts.iter().scan(0, |end, part| {
        let (from, wide) = (*end, share(part.count, whole));
        *end += wide;
        Some((part.tone, from, wide))
    });
    html! {
        svg.stacked viewBox="0 0 1000 28" preserveAspectRatio="none" role="img" aria-label=(name) {
            rect.empty x="0" y="0" width="1000" height="28" {}
            @for (tone, from, wide) in shares {
                rect class=(tone) x=(length(from)) y="0" width=(length(wide)) height="28" {}
            }
        }
        ul.legend {
            @for part in parts {
                li {
                    span.dot.(part.tone) aria-hidden="true" {}
                    (label(part)) " "
                    strong { (part.count) }
                }
            }
        }
    }
}

/// A bar for each part, the longest as wide as the picture.
pub(super) fn bars(parts: &[Part]) -> Markup {
    let most = parts.iter().map(|part| part.count).max().unwrap_or(0);
    html! {
        ul.bars {
            @for part in parts {
                li {
                    span.label { (label(part)) }
                    svg viewBox="0 0 1000 12" preserveAspectRatio="none" aria-hidden="true" {
                        rect.empty x="0" y="0" width="1000" height="12" {}
                        rect class=(part.tone) x="0" y="0" width=(length(share(part.count, most))) height="12" {}
                    }
                    strong { (part.count) }
                }
            }
        }
    }
}

/// Columns beside each other, as of a distribution: pictures of the lengths, and words of the text's own size under them.
pub(super) fn columns(name: &str, parts: &[Part]) -> Markup {
    let most = parts.iter().map(|part| part.count).max().unwrap_or(0);
    let said: Vec<String> = parts.iter().map(|part| format!("{}: {}", part.label, part.count)).collect();
    html! {
        div.columns role="img" aria-label={(name) ". " (said.join(", "))} {
            @for part in parts {
                @let high = share(part.count, most) / 100;
                div {
                    strong { @if part.count > 0 { (part.count) } }
                    svg viewBox="0 0 10 100" preserveAspectRatio="none" aria-hidden="true" {
                        rect class=(part.tone) x="0" y=(100_u64.saturating_sub(high)) width="10" height=(high) {}
                    }
                    span { (part.label) }
                }
            }
        }
    }
}

/// How far something is, of 100.
pub(super) fn progress(name: &str, percent: u8, tone: &str) -> Markup {
    html! {
        svg.progress viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label={(name) ": " (percent) " percent"} {
            rect.empty x="0" y="0" width="1000" height="20" {}
            rect class=(tone) x="0" y="0" width=(u32::from(percent.min(100)) * 10) height="20" {}
        }
    }
}

fn label(part: &Part) -> Markup {
    html! {
        @match &part.link {
            Some(link) => a href=(link) { (part.label) },
            None => (part.label),
        }
    }
}
