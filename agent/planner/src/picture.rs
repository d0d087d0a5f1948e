//! The plan as a picture: memory against context for every candidate, what can be used, and the chosen point with its reason.
//!
//! One page of HTML with one SVG in it, static: no script, no style sheet, no font and no image from anywhere.

use std::fmt::Write as _;

use crate::memory::{Setting, needs};
use crate::table::{rounded_down, rounded_up};
use crate::{Candidate, Constraints, Outcome, Plan};

/// Size of the drawing and of what lies around it, in units of its own.
const WIDTH: u64 = 900;
const HEIGHT: u64 = 420;
const LEFT: u64 = 90;
const RIGHT: u64 = 150;
const TOP: u64 = 20;
const BOTTOM: u64 = 40;

/// Room for a name of a line.
const NAME_HEIGHT: u64 = 15;

/// Lines of candidates, told apart by their ends' names too; the chosen one is thick.
const COLOURS: [&str; 6] = ["#1b5e9b", "#b3541e", "#2e7d32", "#7b1fa2", "#455a64", "#a01c3c"];

/// Contexts for which memory is drawn, tokens: each twice the one before.
const SMALLEST_CONTEXT: u32 = 256;

/// A page of ours with this title: what is in it stands below the heading, readable on a light and on a dark screen.
#[must_use]
pub fn frame(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title></head>\n\
         <body style=\"font-family:sans-serif;max-width:60rem;margin:1rem auto;padding:0 1rem\"><h1>{title}</h1>\n\
         {body}</body></html>\n"
    )
}

/// The page.
#[must_use]
pub fn page(plan: &Plan, candidates: &[Candidate], constraints: &Constraints, title: &str) -> String {
    let mut page = String::new();
    page.push_str(&drawing(plan, candidates, constraints));
    page.push_str(
        "<table style=\"border-spacing:1rem 0.2rem;text-align:left\"><tr><th>variant<th>needs<th>because</tr>\n",
    );
    for verdict in &plan.verdicts {
        let mark = if verdict.outcome == Outcome::Chosen { "→ " } else { "" };
        let (needs, because) = (rounded_up(verdict.needs.total()), escaped(&verdict.because));
        let _ = writeln!(page, "<tr><td>{mark}{}<td>{needs}<td>{because}</tr>", escaped(&verdict.quantisation));
    }
    let budget = plan.budget;
    let _ = write!(
        page,
        "</table>\n<p>{} of memory can be used: {} available, {} of it kept for everybody else.</p>\n",
        rounded_down(budget.usable_bytes),
        rounded_down(budget.available_bytes),
        rounded_up(budget.reserve_bytes),
    );
    frame(title, &page)
}

/// Memory as one candidate needs it, from the shortest context to its own longest.
struct Line<'a> {
    candidate: &'a Candidate,
    is_chosen: bool,
    points: Vec<(u32, u64)>,
}

fn lines<'a>(plan: &Plan, candidates: &'a [Candidate], constraints: &Constraints) -> Vec<Line<'a>> {
    let slots = plan.choice.as_ref().map_or_else(|| constraints.slots.max(1), |choice| choice.slots);
    let threads = plan.choice.as_ref().map_or(1, |choice| choice.threads);
    let of_candidate = |candidate: &'a Candidate| {
        let longest = candidate.facts.model.context_tokens.max(SMALLEST_CONTEXT);
        let mut contexts: Vec<u32> = std::iter::successors(Some(SMALLEST_CONTEXT), |context| context.checked_mul(2))
            .take_while(|context| *context < longest)
            .collect();
        contexts.push(longest);
        let points = contexts.into_iter().map(|context_tokens| {
            let setting = Setting { context_tokens, slots, threads, kv_type: constraints.kv_type };
            let alone = needs(&candidate.facts, &setting);
            let draft = constraints.draft.as_ref().map(|draft| needs(draft, &setting));
            (context_tokens, draft.map_or(alone, |draft| alone.beside(&draft)).total())
        });
        let is_chosen = plan.choice.as_ref().is_some_and(|choice| choice.target == candidate.target);
        Line { candidate, is_chosen, points: points.collect() }
    };
    candidates.iter().map(of_candidate).collect()
}

/// The drawing alone, for a page of somebody else: colours and sizes are attributes, and every mark has a class by which a style
/// sheet finds it (`line-0` to `line-5`, `usable`, `chosen`, `frame`), for the dark for example.
#[must_use]
pub fn drawing(plan: &Plan, candidates: &[Candidate], constraints: &Constraints) -> String {
    let lines = lines(plan, candidates, constraints);
    let points = || lines.iter().flat_map(|line| &line.points);
    let longest = points().map(|point| point.0).max().unwrap_or(SMALLEST_CONTEXT).max(2 * SMALLEST_CONTEXT);
    let usable = plan.budget.usable_bytes;
    let largest = points().map(|point| point.1).max().unwrap_or(0);
    // What is far beyond the machine would press everything else to the floor, and so would a machine that is far beyond.
    let most = if largest > 0 && largest < usable / 4 {
        largest.saturating_mul(4) / 3
    } else {
        largest.min(usable.saturating_mul(2)).max(usable).max(1)
    };
    let scale = Scale { longest, most };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Memory against context. {}\" font-size=\"13\" fill=\"currentColor\">\n\
         <desc>{}</desc>\n\
         <rect class=\"frame\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#999\"></rect>\n",
        said(plan),
        said(plan),
        WIDTH - LEFT - RIGHT,
        HEIGHT - TOP - BOTTOM,
    );
    let mut context = SMALLEST_CONTEXT;
    while context <= longest {
        let (x, y) = (scale.x(context), HEIGHT - BOTTOM + 18);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{context}</text>");
        context = context.saturating_mul(4);
    }
    for quarter in 0..=4 {
        let bytes = most / 4 * quarter;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8,
            scale.y(bytes) + 4,
            rounded_up(bytes)
        );
    }
    let y = scale.y(usable);
    if usable <= most {
        let right = WIDTH - RIGHT;
        let _ = writeln!(
            svg,
            "<line class=\"usable\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#c00\" stroke-dasharray=\"6 4\"></line>"
        );
    }
    let words = if usable <= most {
        "can be used".to_owned()
    } else {
        format!("{} can be used, far above this", rounded_down(usable))
    };
    let _ = writeln!(
        svg,
        "<text class=\"usable\" x=\"{}\" y=\"{}\" fill=\"#c00\">{words}</text>",
        LEFT + 6,
        y.saturating_sub(6)
    );
    let places = names_apart(&lines, &scale);
    for ((line, place), (number, colour)) in lines.iter().zip(places).zip(COLOURS.iter().enumerate().cycle()) {
        svg.push_str(&drawn(line, place, (number, colour), &scale));
    }
    if let Some(choice) = &plan.choice {
        let (x, y) = (scale.x(choice.context_tokens), scale.y(choice.needs.total()));
        // Names of lines stand right of the drawing.
        let anchor = if x > WIDTH / 2 { "end" } else { "middle" };
        let _ = writeln!(
            svg,
            "<circle class=\"chosen\" cx=\"{x}\" cy=\"{y}\" r=\"6\"></circle><text x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{} tokens × {}, {}</text>",
            y.saturating_sub(12),
            choice.context_tokens,
            choice.slots,
            rounded_up(choice.needs.total()),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// What the drawing shows, in words.
fn said(plan: &Plan) -> String {
    let usable = rounded_down(plan.budget.usable_bytes);
    match &plan.choice {
        Some(choice) => escaped(&format!(
            "{usable} can be used; {} is chosen with {} tokens of context for {} conversations, which needs {}.",
            choice.target,
            choice.context_tokens,
            choice.slots,
            rounded_up(choice.needs.total())
        )),
        None => format!("{usable} can be used; no variant fits."),
    }
}

/// The last point of a line that is still in the drawing.
fn end(line: &Line<'_>, scale: &Scale) -> Option<(u32, u64)> {
    line.points.iter().copied().rfind(|point| point.1 <= scale.most)
}

/// Heights of the lines' names: beside their ends, and none on another.
fn names_apart(lines: &[Line<'_>], scale: &Scale) -> Vec<u64> {
    let mut places: Vec<u64> =
        lines.iter().map(|line| end(line, scale).map_or(0, |point| scale.y(point.1) + 4)).collect();
    let mut from_below: Vec<usize> = (0..places.len()).collect();
    from_below.sort_by_key(|line| std::cmp::Reverse(places[*line]));
    let mut free = u64::MAX;
    for line in from_below {
        places[line] = places[line].min(free);
        free = places[line].saturating_sub(NAME_HEIGHT);
    }
    places
}

fn drawn(line: &Line<'_>, place: u64, (number, colour): (usize, &str), scale: &Scale) -> String {
    let inside: Vec<_> = line.points.iter().filter(|point| point.1 <= scale.most).collect();
    let Some(last) = end(line, scale) else { return String::new() };
    let path: Vec<_> =
        inside.iter().map(|(context, bytes)| format!("{},{}", scale.x(*context), scale.y(*bytes))).collect();
    let width = if line.is_chosen { 4 } else { 2 };
    let name = format!("{} {}", line.candidate.facts.model.model, line.candidate.facts.quantisation);
    format!(
        "<polyline class=\"line-{number}\" points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"></polyline>\
         <text class=\"line-{number}\" x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>\n",
        path.join(" "),
        scale.x(last.0) + 8,
        place,
        escaped(&name),
    )
}

/// Contexts by their logarithm, memory as it is.
struct Scale {
    longest: u32,
    most: u64,
}

impl Scale {
    fn x(&self, context: u32) -> u64 {
        // In 256ths of a doubling: whole numbers, so that the picture is the same on every machine.
        let steps = |context: u32| {
            let doublings = u64::from(context.max(1).ilog2());
            let rest = u64::from(context.max(1)) - (1 << doublings);
            doublings * 256 + (rest << 8 >> doublings)
        };
        let from = steps(SMALLEST_CONTEXT);
        let span = (steps(self.longest) - from).max(1);
        LEFT + (WIDTH - LEFT - RIGHT) * steps(context.clamp(SMALLEST_CONTEXT, self.longest)).saturating_sub(from) / span
    }

    fn y(&self, bytes: u64) -> u64 {
        let height = u128::from(HEIGHT - TOP - BOTTOM);
        let part = height * u128::from(bytes.min(self.most)) / u128::from(self.most);
        HEIGHT - BOTTOM - u64::try_from(part).unwrap_or(0)
    }
}

/// A text that means nothing to a browser.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
