//! The pictures: columns over time, and lanes of stretches. Whole numbers only; colour never says anything alone.

use super::page::{Page, day, grouped, minute};
use super::series::{DAY_MS, HOUR_MS, Slot};

/// Units of the picture across; the browser scales them.
const WIDTH: i64 = 960;
const LEFT: i64 = 76;
const RIGHT: i64 = 8;

/// Fillings that stay apart without colour: a plain one, stripes and dots.
const PATTERNS: &str = "<defs><pattern id=\"stripes\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<rect class=\"pale\" width=\"6\" height=\"6\"></rect><rect class=\"stripe\" width=\"3\" height=\"6\"></rect></pattern>\
<pattern id=\"dots\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><rect class=\"pale\" width=\"6\" height=\"6\"></rect>\
<circle class=\"dot\" cx=\"3\" cy=\"3\" r=\"2\"></circle></pattern></defs>";

/// One part of a column.
pub(super) struct Part {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) of: fn(&Slot) -> u64,
}

/// Columns over time, one for each slot, each of some parts on top of each other.
pub(super) fn columns(page: &mut Page, title: &str, (width_ms, slots): (i64, &[(i64, Slot)]), parts: &[Part]) {
    const TOP: i64 = 14;
    const HEIGHT: i64 = 150;
    const BOTTOM: i64 = 26;
    let sum = |slot: &Slot| parts.iter().map(|part| (part.of)(slot)).sum::<u64>();
    let largest = ceiling(slots.iter().map(|(_, slot)| sum(slot)).max().unwrap_or(0));
    begin(page, title, TOP + HEIGHT + BOTTOM);
    for share in 0..=2_u64 {
        let y = TOP + HEIGHT - HEIGHT * i64::try_from(share).unwrap_or(0) / 2;
        page.shape("line", &[("class", &"grid"), ("x1", &LEFT), ("x2", &(WIDTH - RIGHT)), ("y1", &y), ("y2", &y)]);
        label(page, LEFT - 8, y + 4, "end", &grouped(largest * share / 2));
    }
    let count = i64::try_from(slots.len()).unwrap_or(i64::MAX).max(1);
    let room = WIDTH - LEFT - RIGHT;
    for (number, (at, slot)) in (0..).zip(slots) {
        let (x, next) = (LEFT + room * number / count, LEFT + room * (number + 1) / count);
        let width = (next - x - i64::from(next - x > 3)).max(1);
        page.markup("<g>");
        let said: Vec<_> = parts.iter().map(|part| format!("{} {}", grouped((part.of)(slot)), part.name)).collect();
        page.element("title", &[], format_args!("{}: {}", slot_name(*at, width_ms), said.join(", ")));
        let mut below = 0;
        for part in parts {
            let amount = (part.of)(slot);
            let (low, high) = (scaled(below, largest, HEIGHT), scaled(below + amount, largest, HEIGHT));
            // What happened at all can be seen.
            let height = (high - low).max(i64::from(amount > 0) * 2);
            if height > 0 {
                let y = TOP + HEIGHT - low - height;
                page.shape(
                    "rect",
                    &[("class", &part.class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)],
                );
            }
            below += amount;
        }
        page.markup("</g>");
        let every = (count / 8).max(1);
        if number % every == 0 && count - number > every / 2 {
            label(page, x, TOP + HEIGHT + 18, "start", &slot_label(*at, width_ms));
        }
    }
    page.markup("</svg>\n");
    legend(page, parts.iter().map(|part| (part.class, part.name)));
}

/// How a slot is called in a table or under the pointer.
pub(super) fn slot_name(at: i64, width_ms: i64) -> String {
    match width_ms {
        HOUR_MS => minute(at),
        DAY_MS => day(at),
        _ => format!("{} to {}", day(at), day(at.saturating_add(width_ms - DAY_MS))),
    }
}

fn slot_label(at: i64, width_ms: i64) -> String {
    if width_ms == HOUR_MS { minute(at).get(5..).unwrap_or_default().to_owned() } else { day(at) }
}

/// One lane of a picture over time.
pub(super) struct Lane<'a> {
    pub(super) name: &'static str,
    pub(super) spans: Vec<Span<'a>>,
    /// Moments, with what they are.
    pub(super) marks: Vec<(i64, &'static str)>,
}

/// One stretch in a lane.
pub(super) struct Span<'a> {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) class: &'static str,
    /// What it is.
    pub(super) name: std::borrow::Cow<'a, str>,
    /// Whether the name is written into it where there is room.
    pub(super) is_named: bool,
}

/// Lanes below each other over the same stretch of time.
pub(super) fn lanes(page: &mut Page, title: &str, (from, to): (i64, i64), lanes: &[Lane<'_>]) {
    const LEFT: i64 = 150;
    const LANE: i64 = 34;
    const TOP: i64 = 6;
    let room = WIDTH - LEFT - RIGHT;
    let length = i128::from((to - from).max(1));
    let x = |at: i64| {
        let across = i128::from(at.clamp(from, to) - from) * i128::from(room) / length;
        LEFT + i64::try_from(across).unwrap_or(0)
    };
    let bottom = TOP + LANE * i64::try_from(lanes.len()).unwrap_or(0);
    begin(page, title, bottom + 26);
    for part in 0..=4 {
        let at = from + i64::try_from(length * i128::from(part) / 4).unwrap_or(0);
        page.shape("line", &[("class", &"grid"), ("x1", &x(at)), ("x2", &x(at)), ("y1", &TOP), ("y2", &bottom)]);
        let anchor = if part == 0 {
            "start"
        } else if part == 4 {
            "end"
        } else {
            "middle"
        };
        label(page, x(at), bottom + 18, anchor, &if length < i128::from(4 * DAY_MS) { minute(at) } else { day(at) });
    }
    for (number, lane) in (0..).zip(lanes) {
        let y = TOP + LANE * number;
        label(page, 0, y + 21, "start", lane.name);
        for span in lane.spans.iter().filter(|span| span.to >= from && span.from <= to) {
            let (left, right) = (x(span.from), x(span.to));
            let width = (right - left).max(2);
            page.markup("<g>");
            page.element("title", &[], format_args!("{}: {} to {}", span.name, minute(span.from), minute(span.to)));
            page.shape(
                "rect",
                &[("class", &span.class), ("x", &left), ("y", &(y + 6)), ("width", &width), ("height", &22)],
            );
            // About eight units a letter.
            let needed = 8 * i64::try_from(span.name.chars().count()).unwrap_or(i64::MAX / 8) + 8;
            if span.is_named && width >= needed {
                page.element("text", &[("class", &"inside"), ("x", &(left + 5)), ("y", &(y + 21))], &span.name);
            }
            page.markup("</g>");
        }
        for (at, what) in lane.marks.iter().filter(|(at, _)| (from..=to).contains(at)) {
            let (middle, top) = (x(*at), y + 2);
            page.markup("<g>");
            page.element("title", &[], format_args!("{what}: {}", minute(*at)));
            let points = format!("{},{top} {},{} {},{}", middle, middle - 6, top + 11, middle + 6, top + 11);
            page.shape("polygon", &[("class", &"mark"), ("points", &points)]);
            page.shape(
                "line",
                &[("class", &"mark"), ("x1", &middle), ("x2", &middle), ("y1", &(top + 8)), ("y2", &(y + 30))],
            );
            page.markup("</g>");
        }
    }
    page.markup("</svg>\n");
}

/// Names the fillings, each beside a sample of it.
pub(super) fn legend(page: &mut Page, entries: impl Iterator<Item = (&'static str, &'static str)>) {
    page.markup("<ul class=\"legend\">");
    for (class, name) in entries {
        page.markup("<li><svg viewBox=\"0 0 18 14\" width=\"18\" height=\"14\" aria-hidden=\"true\">");
        if class == "mark" {
            page.shape("polygon", &[("class", &"mark"), ("points", &"9,1 3,12 15,12")]);
        } else {
            page.shape("rect", &[("class", &class), ("width", &18), ("height", &14)]);
        }
        page.markup("</svg> ");
        page.text(name);
        page.markup("</li>");
    }
    page.markup("</ul>\n");
}

/// The fillings, once a page.
pub(super) fn patterns(page: &mut Page) {
    page.markup("<svg width=\"0\" height=\"0\" class=\"patterns\" aria-hidden=\"true\">");
    page.markup(PATTERNS);
    page.markup("</svg>\n");
}

fn begin(page: &mut Page, title: &str, height: i64) {
    page.open(
        "svg",
        &[
            ("class", &"chart"),
            ("viewBox", &format_args!("0 0 {WIDTH} {height}")),
            ("role", &"img"),
            ("aria-label", &title),
        ],
    );
}

fn label(page: &mut Page, x: i64, y: i64, anchor: &'static str, text: &str) {
    page.element("text", &[("x", &x), ("y", &y), ("text-anchor", &anchor)], text);
}

fn scaled(amount: u64, largest: u64, height: i64) -> i64 {
    i64::try_from(i128::from(amount) * i128::from(height) / i128::from(largest.max(1))).unwrap_or(height)
}

/// The next number that people like to read on an axis, and an even one.
fn ceiling(largest: u64) -> u64 {
    const STEPS: [u64; 11] = [10, 12, 14, 16, 20, 24, 30, 40, 50, 60, 80];
    if largest <= 10 {
        return largest.next_multiple_of(2).max(2);
    }
    let mut unit = 1_u64;
    loop {
        match STEPS.iter().map(|step| unit.saturating_mul(*step)).find(|top| *top >= largest) {
            Some(top) => return top,
            None => unit = unit.saturating_mul(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_number_that_is_large_enough() {
        assert_eq!([0, 2, 3, 11, 41, 900, 101_000].map(ceiling), [2, 2, 4, 12, 50, 1_000, 120_000]);
        assert_eq!(ceiling(u64::MAX), u64::MAX);
    }
}
