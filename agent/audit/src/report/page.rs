//! The HTML that the report is made of: tags are written here as they stand, everything else is escaped.

use std::fmt::{self, Display, Write};

use crate::leaf::{self, Time};

/// What is shown of a pseudonym where there is little room.
const SHORT_LETTERS: usize = 14;

/// A table of so many rows is printed on one page.
const WHOLE_ROWS: usize = 16;

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Page {
    html: String,
}

/// What stands in one cell of a table.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    /// The name of its row.
    Head(String),
    /// The same, for names that machines gave.
    HeadCode(String),
    Text(String),
    Code(String),
    Number(u64),
    /// A number with a bar that shows how much of the largest it is.
    Bar(u64, u64),
    /// Milliseconds; none where nothing was measured.
    Took(Option<u64>),
    /// A moment; none where it never came.
    At(Option<i64>),
    /// The day of a moment: for first and last times.
    On(Option<i64>),
    /// A link within the report.
    Link(&'static str, &'static str),
}

/// Attributes of a tag: names are ours, values are escaped.
pub(super) type Attributes<'a> = [(&'static str, &'a dyn Display)];

impl Page {
    /// Markup of our own, as it stands.
    pub(super) fn markup(&mut self, markup: &'static str) {
        self.html.push_str(markup);
    }

    /// Text, escaped.
    pub(super) fn text(&mut self, text: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(Escaped(&mut self.html), "{text}");
    }

    pub(super) fn open(&mut self, tag: &'static str, attributes: &Attributes<'_>) {
        self.html.push('<');
        self.html.push_str(tag);
        for (name, value) in attributes {
            self.html.push(' ');
            self.html.push_str(name);
            self.html.push_str("=\"");
            self.text(value);
            self.html.push('"');
        }
        self.html.push('>');
    }

    pub(super) fn close(&mut self, tag: &'static str) {
        self.html.push_str("</");
        self.html.push_str(tag);
        self.html.push('>');
    }

    /// A tag around a text.
    pub(super) fn element(&mut self, tag: &'static str, attributes: &Attributes<'_>, text: impl Display) {
        self.open(tag, attributes);
        self.text(text);
        self.close(tag);
    }

    pub(super) fn paragraph(&mut self, text: impl Display) {
        self.element("p", &[], text);
        self.html.push('\n');
    }

    /// A remark beside the matter.
    pub(super) fn note(&mut self, text: impl Display) {
        self.element("p", &[("class", &"note")], text);
        self.html.push('\n');
    }

    /// A part of the report, with its number and an anchor.
    pub(super) fn section(&mut self, (id, title): (&'static str, &'static str), fill: impl FnOnce(&mut Self)) {
        let heading = format!("{id}-heading");
        self.open("section", &[("id", &id), ("aria-labelledby", &heading)]);
        self.element("h2", &[("id", &heading)], title);
        self.html.push('\n');
        fill(self);
        self.markup("</section>\n");
    }

    pub(super) fn heading(&mut self, text: impl Display) {
        self.element("h3", &[], text);
        self.html.push('\n');
    }

    /// A table with a caption; where it has no rows, a sentence instead, if there is one.
    pub(super) fn table(
        &mut self,
        caption: impl Display,
        columns: &[&'static str],
        rows: Vec<Vec<Cell>>,
        nothing: &'static str,
    ) {
        let Some(first) = rows.first() else {
            if !nothing.is_empty() {
                self.element("p", &[("class", &"nothing")], nothing);
            }
            return;
        };
        let caption = caption.to_string();
        // A short table is not worth a page break.
        let class = if rows.len() <= WHOLE_ROWS { "wide whole" } else { "wide" };
        self.open("div", &[("class", &class), ("role", &"region"), ("tabindex", &"0"), ("aria-label", &caption)]);
        self.markup("<table>");
        self.element("caption", &[], &caption);
        self.markup("<thead><tr>");
        for (column, cell) in columns.iter().zip(first) {
            let class = if cell.is_numeric() { "number" } else { "words" };
            self.element("th", &[("scope", &"col"), ("class", &class)], column);
        }
        self.markup("</tr></thead>\n<tbody>");
        for row in rows {
            self.markup("<tr>");
            row.into_iter().for_each(|cell| self.cell(cell));
            self.markup("</tr>\n");
        }
        self.markup("</tbody></table></div>\n");
    }

    fn cell(&mut self, cell: Cell) {
        match cell {
            Cell::Head(text) => self.element("th", &[("scope", &"row")], text),
            Cell::HeadCode(text) => {
                self.open("th", &[("scope", &"row")]);
                self.name(&text);
                self.close("th");
            }
            Cell::Text(text) => self.element("td", &[], text),
            Cell::Code(text) => {
                self.markup("<td>");
                // Several words are several names, each of which may end its line.
                for (number, name) in text.split(' ').enumerate() {
                    if number > 0 {
                        self.text(" ");
                    }
                    self.name(name);
                }
                self.close("td");
            }
            Cell::Number(number) => self.element("td", &[("class", &"number")], grouped(number)),
            Cell::Bar(number, largest) => {
                self.open("td", &[("class", &"number bar")]);
                self.element("span", &[], grouped(number));
                let width =
                    number.saturating_mul(100).checked_div(largest).map_or(0, |share| share.max(u64::from(number > 0)));
                self.markup("<svg viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
                self.shape("rect", &[("width", &width), ("height", &6)]);
                self.markup("</svg></td>");
            }
            Cell::Took(ms) => {
                self.element("td", &[("class", &"number")], ms.map_or_else(|| "–".to_owned(), took));
            }
            Cell::At(None) | Cell::On(None) => self.element("td", &[], "never"),
            Cell::On(Some(wall_ms)) => {
                self.markup("<td class=\"moment\">");
                self.element("time", &[("datetime", &Time(wall_ms))], day(wall_ms));
                self.close("td");
            }
            Cell::At(Some(wall_ms)) => {
                self.markup("<td class=\"moment\">");
                self.moment(wall_ms);
                self.close("td");
            }
            Cell::Link(id, words) => {
                self.markup("<td>");
                self.element("a", &[("href", &format_args!("#{id}"))], words);
                self.close("td");
            }
        }
    }

    /// A name that a machine gave; a short one stays on its line.
    fn name(&mut self, name: &str) {
        let class = if name.chars().count() <= SHORT_LETTERS + 1 { "short" } else { "long" };
        self.element("code", &[("class", &class)], name);
    }

    pub(super) fn moment(&mut self, wall_ms: i64) {
        self.element("time", &[("datetime", &Time(wall_ms))], minute(wall_ms));
    }

    /// A shape of a picture, without text in it.
    pub(super) fn shape(&mut self, tag: &'static str, attributes: &Attributes<'_>) {
        self.open(tag, attributes);
        self.close(tag);
    }

    pub(super) fn into_html(self) -> String {
        self.html
    }
}

impl Cell {
    fn is_numeric(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Bar(..) | Self::Took(_))
    }

    /// Names separated by spaces, or a dash.
    pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        let names: Vec<_> = names.into_iter().map(String::as_str).collect();
        if names.is_empty() { Self::Text("–".to_owned()) } else { Self::Code(names.join(" ")) }
    }

    /// A text, or a dash.
    pub(super) fn said(text: &str) -> Self {
        Self::Text(if text.is_empty() { "–".to_owned() } else { text.to_owned() })
    }
}

/// Escapes whatever is written through it. Text from a log may be from anybody: it must not become markup, and it must not
/// turn the direction of what stands around it.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' => self.0.push('\n'),
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                    self.0.push('·')
                }
                letter if letter.is_control() => self.0.push('·'),
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A moment to the minute, UTC.
pub(super) fn minute(wall_ms: i64) -> String {
    let text = Time(wall_ms).to_string();
    match text.split_once('T') {
        Some((day, clock)) => format!("{day} {}", clock.get(..5).unwrap_or(clock)),
        None => text,
    }
}

/// The day of a moment, UTC.
pub(super) fn day(wall_ms: i64) -> String {
    let text = Time(wall_ms).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// Milliseconds for people.
pub(super) fn took(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{} ms", grouped(ms)),
        _ => format!("{}.{} s", grouped(ms / 1000), ms % 1000 / 100),
    }
}

/// A length of time for people: its two largest parts.
pub(super) fn length(ms: i64) -> String {
    let minutes = ms.max(0) / 60_000;
    let (days, hours, rest) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
    match (days, hours) {
        (0, 0) if rest == 0 => "less than 1 min".to_owned(),
        (0, 0) => format!("{rest} min"),
        (0, _) if rest == 0 => format!("{hours} h"),
        (0, _) => format!("{hours} h {rest} min"),
        (_, 0) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `1 record`, `2 records`.
pub(super) fn many(number: u64, one: &str, several: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { several })
}

/// How often, in words.
pub(super) fn times(number: u64) -> String {
    match number {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        _ => format!("{} times", grouped(number)),
    }
}

/// The first letters of a pseudonym: enough to tell people apart, short enough for a table.
pub(super) fn short(pseudonym: &str) -> String {
    match pseudonym.char_indices().nth(SHORT_LETTERS) {
        None => leaf::printable(pseudonym),
        Some((end, _)) => format!("{}…", leaf::printable(&pseudonym[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_is_escaped_in_texts_and_attributes() {
        let mut page = Page::default();
        page.element("td", &[("title", &"\"><script>")], "<b>&'\u{202e}\u{7}");
        assert_eq!(page.into_html(), "<td title=\"&quot;&gt;&lt;script&gt;\">&lt;b&gt;&amp;&#39;··</td>");
    }

    #[test]
    fn numbers_lengths_and_moments_are_for_people() {
        assert_eq!(
            [grouped(0), grouped(999), grouped(1_000), grouped(12_345_678)],
            ["0", "999", "1,000", "12,345,678"]
        );
        assert_eq!(minute(1_795_412_410_123), "2026-11-23 05:40");
        assert_eq!(day(1_795_412_410_123), "2026-11-23");
        assert_eq!([took(999), took(9_999), took(12_345)], ["999 ms", "9,999 ms", "12.3 s"]);
        assert_eq!(
            [length(59_000), length(61 * 60_000), length(50 * 3_600_000)],
            ["less than 1 min", "1 h 1 min", "2 d 2 h"]
        );
        assert_eq!([many(1, "key", "keys"), many(2_000, "key", "keys")], ["1 key", "2,000 keys"]);
        assert_eq!(short("p:0123456789abcdef"), "p:0123456789ab…");
    }
}
