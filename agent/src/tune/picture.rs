//! The evidence as a picture: quality against speed for every setting, the line of the best, the choice and why.
//!
//! One static page in the planner's frame: no script, no style sheet, no font and no image from anywhere.

use std::fmt::Write as _;

use outpost_planner::picture::{escaped, frame};
use outpost_planner::rounded_up;

use super::evidence::Evidence;
use super::figures::{Point, nats, percent, thousandths};

/// Size of the drawing and of what lies around it, in units of its own.
const WIDTH: u64 = 900;
const HEIGHT: u64 = 460;
const LEFT: u64 = 80;
const RIGHT: u64 = 130;
const TOP: u64 = 24;
const BOTTOM: u64 = 52;

/// Radius of the point that needs the most memory, and of the smallest.
const LARGEST: u64 = 14;
const SMALLEST: u64 = 4;

/// Points of variants, told apart by their names, too: readable on white and on black.
const COLOURS: [&str; 8] = ["#3b82c4", "#d06a2c", "#4b9b51", "#a05bb8", "#7a8b93", "#c4466a", "#9a8a1f", "#2f9d9d"];

/// Room between two names, one below the other.
const LINE: u64 = 15;

/// The page.
pub(crate) fn page(evidence: &Evidence) -> String {
    let points = evidence.points();
    let mut body = String::new();
    let class = &evidence.class;
    // Writing to a text cannot fail.
    let _ = writeln!(
        body,
        "<p>Measured on {}, {} cores, {} kernels: each point is a setting, its size the memory it needs. Up is closer to {}, \
         right is faster; nothing lies above and to the right of the line.</p>",
        escaped(&class.cpu),
        class.cores,
        escaped(&class.kernels),
        escaped(&evidence.reference),
    );
    body.push_str(&drawing(evidence, &points));
    match evidence.chosen() {
        Some(row) => {
            let _ = writeln!(body, "<p><b>{}</b>: {}.</p>", escaped(&row.setting.to_string()), escaped(&row.because));
        }
        None => body.push_str("<p><b>Nothing keeps every limit.</b></p>\n"),
    }
    body.push_str(&table(evidence, &points));
    frame(&format!("{}, tuned for {}", evidence.model, evidence.limits.objective.word()), &body)
}

/// Speeds from nothing, divergences by their square root from the top, so that good variants are told apart.
struct Scale {
    fastest: u64,
    furthest: u64,
    largest: u64,
}

impl Scale {
    fn of(points: &[Point]) -> Self {
        let most = |of: fn(&Point) -> u64| points.iter().map(of).max().unwrap_or(0).max(1);
        Self {
            fastest: most(|point| point.speed.together_milli),
            furthest: most(|point| point.quality.divergence_micro).max(100),
            largest: most(|point| point.needs_bytes),
        }
    }

    fn x(&self, speed: u64) -> u64 {
        LEFT + scaled(speed, self.fastest, WIDTH - LEFT - RIGHT)
    }

    fn y(&self, divergence: u64) -> u64 {
        let root = |number: u64| number.saturating_mul(1 << 20).isqrt();
        TOP + LARGEST + scaled(root(divergence), root(self.furthest), HEIGHT - TOP - BOTTOM - 2 * LARGEST)
    }

    fn radius(&self, bytes: u64) -> u64 {
        SMALLEST + scaled(bytes.isqrt(), self.largest.isqrt(), LARGEST - SMALLEST)
    }
}

/// `amount / most * span`, whole numbers, so that the picture is the same on every machine.
fn scaled(amount: u64, most: u64, span: u64) -> u64 {
    let part = u128::from(amount.min(most)) * u128::from(span) / u128::from(most.max(1));
    u64::try_from(part).unwrap_or(span)
}

fn drawing(evidence: &Evidence, points: &[Point]) -> String {
    let scale = Scale::of(points);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Quality against speed\" font-size=\"13\" \
         fill=\"currentColor\">\n<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#888\"/>\n",
        right - LEFT,
        bottom - TOP,
    );
    axes(&mut svg, &scale);
    let line = line(points);
    let path: Vec<_> = line
        .iter()
        .map(|point| format!("{},{}", scale.x(point.speed.together_milli), scale.y(point.quality.divergence_micro)))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"currentColor\" stroke-opacity=\"0.5\" stroke-dasharray=\"6 4\"/>",
        path.join(" ")
    );
    let variants: Vec<&str> = evidence.variants.iter().map(|file| file.variant.as_str()).collect();
    for point in points {
        let place = variants.iter().position(|name| *name == point.setting.variant).unwrap_or(0);
        let _ = writeln!(
            svg,
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\" fill-opacity=\"{}\"><title>{}</title></circle>",
            scale.x(point.speed.together_milli),
            scale.y(point.quality.divergence_micro),
            scale.radius(point.needs_bytes),
            COLOURS[place % COLOURS.len()],
            if line.iter().any(|other| std::ptr::eq(*other, point)) { "0.9" } else { "0.3" },
            escaped(&told(point)),
        );
    }
    names(&mut svg, &variants, points, &scale);
    if let Some(chosen) = evidence.chosen().and_then(|row| points.iter().find(|point| point.setting == row.setting)) {
        let (x, y) = (scale.x(chosen.speed.together_milli), scale.y(chosen.quality.divergence_micro));
        let radius = scale.radius(chosen.needs_bytes) + 4;
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\"/>"
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String, scale: &Scale) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for quarter in 0..=4 {
        let speed = scale.fastest / 4 * quarter;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            scale.x(speed),
            bottom + 18,
            thousandths(speed)
        );
        // By the square of a quarter: evenly spaced under the root.
        let divergence = scale.furthest / 16 * quarter * quarter;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8,
            scale.y(divergence) + 4,
            nats(divergence)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">tokens per second, all conversations together</text>\
         <text x=\"18\" y=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {})\">nats from the reference</text>",
        LEFT.midpoint(right),
        HEIGHT - 10,
        TOP.midpoint(bottom),
        TOP.midpoint(bottom),
    );
}

/// The points than which none is both closer and faster, from the slowest on; one of each place.
fn line(points: &[Point]) -> Vec<&Point> {
    let place = |point: &Point| (point.speed.together_milli, point.quality.divergence_micro);
    let is_beaten = |point: &&Point| {
        let (speed, divergence) = place(point);
        points.iter().any(|other| {
            let (others_speed, others_divergence) = place(other);
            others_speed >= speed && others_divergence <= divergence && place(other) != place(point)
        })
    };
    let mut line: Vec<&Point> = points.iter().filter(|point| !is_beaten(point)).collect();
    line.sort_by_key(|point| place(point));
    line.dedup_by_key(|point| place(point));
    line
}

/// The name of each variant beside its fastest point, none upon another.
fn names(svg: &mut String, variants: &[&str], points: &[Point], scale: &Scale) {
    let mut named = Vec::new();
    for (place, name) in variants.iter().enumerate() {
        let own = points.iter().filter(|point| point.setting.variant == **name);
        let Some(fastest) = own.max_by_key(|point| point.speed.together_milli) else { continue };
        let x = scale.x(fastest.speed.together_milli) + scale.radius(fastest.needs_bytes) + 8;
        let y = scale.y(fastest.quality.divergence_micro) + 4;
        named.push((y, x, place, fastest));
    }
    named.sort_by_key(|(y, x, ..)| (*y, *x));
    let mut free = 0;
    for (y, x, place, point) in named {
        let y = y.max(free);
        free = y + LINE;
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" fill=\"{}\" stroke=\"Canvas\" stroke-width=\"4\" paint-order=\"stroke\">{}, {}</text>",
            COLOURS[place % COLOURS.len()],
            escaped(&point.setting.variant),
            rounded_up(point.needs_bytes),
        );
    }
}

/// A point in one line.
fn told(point: &Point) -> String {
    format!(
        "{}: {} tokens/s together, {} nats from the reference, {}",
        point.setting,
        thousandths(point.speed.together_milli),
        nats(point.quality.divergence_micro),
        rounded_up(point.needs_bytes)
    )
}

fn table(evidence: &Evidence, points: &[Point]) -> String {
    let mut table = String::from(
        "<table style=\"border-spacing:0.8rem 0.2rem;text-align:left;font-size:0.85rem\"><tr><th><th>variant<th>keys<th>threads\
         <th>at once<th>context<th>tokens/s each<th>together<th>first token<th>nats<th>same choice<th>needs<th>because</tr>\n",
    );
    for ((row, point), number) in evidence.settings.iter().zip(points).zip(0_u32..) {
        let mark = match (evidence.choice == Some(number), row.pareto) {
            (true, _) => "→",
            (false, true) => "•",
            (false, false) => "",
        };
        let (setting, speed, quality) = (&row.setting, &point.speed, &point.quality);
        let disturbed = if speed.disturbed_by.is_empty() { "" } else { "*" };
        let _ = writeln!(
            table,
            "<tr><td>{mark}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}{disturbed}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escaped(&setting.variant),
            setting.kv,
            setting.threads,
            setting.slots,
            setting.context_tokens,
            thousandths(speed.tokens_per_second_milli.p50),
            thousandths(speed.together_milli),
            together(&format!("{} ms", thousandths(speed.first_token_us.p50))),
            nats(quality.divergence_micro),
            together(&percent(quality.agreement_ppm)),
            together(&rounded_up(row.needs_bytes)),
            escaped(&row.because),
        );
    }
    table.push_str("</table>\n<p>→ the choice; • nothing else is as good in everything and better in something");
    if evidence.runs.iter().any(|figures| !figures.disturbed_by.is_empty()) {
        table.push_str("; * something disturbed every repeat");
    }
    table.push_str(".</p>\n");
    if !evidence.pruned.is_empty() {
        let _ = writeln!(table, "<p>{} settings were not measured:</p><ul>", evidence.pruned.len());
        for pruned in evidence.pruned.iter().take(40) {
            let _ = writeln!(table, "<li>{}: {}</li>", escaped(&pruned.setting.to_string()), escaped(&pruned.because));
        }
        table.push_str("</ul>\n");
    }
    table
}

/// A number and its unit that no line comes between.
fn together(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::evidence::tests::evidence;
    use super::super::figures::tests::{point, points};
    use super::*;

    #[test]
    fn the_page_shows_every_variant_the_line_and_the_choice_and_asks_nobody() {
        let all = [
            point("F16", 0, 100_000, 40 << 20),
            point("Q<8", 900, 180_000, 22 << 20),
            point("Q4_0", 40_000, 300_000, 12 << 20),
            point("slow", 50_000, 90_000, 50 << 20),
        ];
        let page = page(&evidence(&all));
        assert!(page.contains(">F16, 40 MiB</text>") && page.contains("Q&lt;8, 22 MiB") && !page.contains("Q<8"));
        assert_eq!(line(&all).len(), 3);
        assert!(
            page.contains("<b>Q&lt;8 with F16 keys, 1 at once, 1 thread, 512 tokens</b>: chosen: closest"),
            "{page}"
        );
        for word in ["<script", "http:", "https:", "url(", "src=", "href="] {
            assert!(!page.contains(word), "{word}");
        }
    }

    proptest! {
        #[test]
        fn a_picture_can_be_made_of_any_evidence_and_every_point_lies_within(points in points()) {
            let page = page(&evidence(&points));
            prop_assert!(page.ends_with("</html>\n"));
            let scale = Scale::of(&points);
            for point in &points {
                let (x, y) = (scale.x(point.speed.together_milli), scale.y(point.quality.divergence_micro));
                prop_assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y));
            }
        }
    }
}
