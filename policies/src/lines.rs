//! Which lines of files come, go and stay.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

/// Lines around a change that are shown with it.
const AROUND: usize = 3;

/// Largest table of lines against lines; beyond it, what differs is told as taken out and put in as a whole.
const CELLS: usize = 4_000_000;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It stays.
    Same,
    /// It goes.
    Removed,
    /// It comes.
    Added,
}

/// A line, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What became of it.
    pub fate: Fate,
    /// Its text.
    pub text: String,
}

/// Lines that change together, with those around them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hunk {
    /// The first line of the older text, from 1.
    pub older_line: usize,
    /// The first line of the newer one.
    pub newer_line: usize,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A file that is written otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// Its name.
    pub file: String,
    /// Where.
    pub hunks: Vec<Hunk>,
}

/// The files that differ, by name.
pub(crate) fn files(older: &BTreeMap<String, String>, newer: &BTreeMap<String, String>) -> Vec<FileDiff> {
    let names: BTreeSet<&String> = older.keys().chain(newer.keys()).collect();
    let text = |files: &BTreeMap<String, String>, name: &str| files.get(name).cloned().unwrap_or_default();
    let differing = names.into_iter().filter(|name| older.get(*name) != newer.get(*name));
    differing
        .map(|name| FileDiff { file: name.clone(), hunks: hunks(lines(&text(older, name), &text(newer, name))) })
        .collect()
}

/// Every line of both texts, each once where they share it.
#[must_use]
pub fn lines(older: &str, newer: &str) -> Vec<Line> {
    let (older, newer): (Vec<&str>, Vec<&str>) = (older.lines().collect(), newer.lines().collect());
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let before = older.iter().zip(&newer).take_while(same).count();
    let (rest_older, rest_newer) = (&older[before..], &newer[before..]);
    let after = rest_older.iter().rev().zip(rest_newer.iter().rev()).take_while(same).count();
    let (middle_older, middle_newer) =
        (&rest_older[..rest_older.len() - after], &rest_newer[..rest_newer.len() - after]);
    let line = |fate: Fate, text: &&str| Line { fate, text: (*text).to_owned() };
    let mut lines: Vec<Line> = older[..before].iter().map(|text| line(Fate::Same, text)).collect();
    lines.extend(middle(middle_older, middle_newer).into_iter().map(|(fate, text)| line(fate, &text)));
    lines.extend(rest_older[rest_older.len() - after..].iter().map(|text| line(Fate::Same, text)));
    lines
}

/// The longest common subsequence decides what stays.
fn middle<'a>(older: &[&'a str], newer: &[&'a str]) -> Vec<(Fate, &'a str)> {
    let removed = older.iter().map(|text| (Fate::Removed, *text));
    let added = newer.iter().map(|text| (Fate::Added, *text));
    let width = newer.len() + 1;
    if (older.len() + 1).saturating_mul(width) > CELLS {
        return removed.chain(added).collect();
    }
    // longest[i * width + j]: of what follows line i of the older and line j of the newer text.
    let mut longest = vec![0_u32; (older.len() + 1) * width];
    for (i, old) in older.iter().enumerate().rev() {
        for (j, new) in newer.iter().enumerate().rev() {
            let (down, right) = (longest[(i + 1) * width + j], longest[i * width + j + 1]);
            let both = longest[(i + 1) * width + j + 1] + 1;
            longest[i * width + j] = if old == new { both } else { down.max(right) };
        }
    }
    let (mut i, mut j, mut told) = (0, 0, Vec::with_capacity(older.len() + newer.len()));
    while i < older.len() && j < newer.len() {
        if older[i] == newer[j] {
            told.push((Fate::Same, older[i]));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            told.push((Fate::Removed, older[i]));
            i += 1;
        } else {
            told.push((Fate::Added, newer[j]));
            j += 1;
        }
    }
    told.extend(removed.skip(i));
    told.extend(added.skip(j));
    told
}

/// What changes, with what is around it.
fn hunks(lines: Vec<Line>) -> Vec<Hunk> {
    let changed: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].fate != Fate::Same).collect();
    let mut shown = vec![false; lines.len()];
    for at in changed {
        let end = (at + AROUND + 1).min(lines.len());
        shown[at.saturating_sub(AROUND)..end].fill(true);
    }
    let (mut hunks, mut older_line, mut newer_line, mut goes_on) = (Vec::<Hunk>::new(), 1, 1, false);
    for (line, shown) in lines.into_iter().zip(shown) {
        let fate = line.fate;
        if shown {
            match hunks.last_mut().filter(|_| goes_on) {
                Some(hunk) => hunk.lines.push(line),
                None => hunks.push(Hunk { older_line, newer_line, lines: vec![line] }),
            }
        }
        goes_on = shown;
        older_line += usize::from(fate != Fate::Added);
        newer_line += usize::from(fate != Fate::Removed);
    }
    hunks
}

impl Fate {
    /// The sign before the line.
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Same => ' ',
            Self::Removed => '-',
            Self::Added => '+',
        }
    }
}

impl fmt::Display for FileDiff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "--- {}\n+++ {}", self.file, self.file)?;
        for hunk in &self.hunks {
            let count = |but: Fate| hunk.lines.iter().filter(|line| line.fate != but).count();
            let (older, newer) = (count(Fate::Added), count(Fate::Removed));
            writeln!(formatter, "@@ -{},{older} +{},{newer} @@", hunk.older_line, hunk.newer_line)?;
            for line in &hunk.lines {
                writeln!(formatter, "{}{}", line.fate.sign(), line.text)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(lines: &[Line], but: Fate) -> Vec<&str> {
        lines.iter().filter(|line| line.fate != but).map(|line| line.text.as_str()).collect()
    }

    proptest! {
        #[test]
        fn without_what_came_it_is_the_older_text_and_without_what_went_the_newer(
            older in proptest::collection::vec("[a-d]", 0..24), newer in proptest::collection::vec("[a-d]", 0..24),
        ) {
            let told = lines(&older.join("\n"), &newer.join("\n"));
            prop_assert_eq!(kept(&told, Fate::Added), older.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(kept(&told, Fate::Removed), newer.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_change_is_shown_with_three_lines_around_it_and_its_place() {
        let text: Vec<String> = (1..=20).map(|number| format!("line {number}")).collect();
        let changed: Vec<String> =
            text.iter().map(|line| if line == "line 9" { "line nine".to_owned() } else { line.clone() }).collect();
        let map = |lines: &[String]| BTreeMap::from([("a.cedar".to_owned(), lines.join("\n"))]);
        let told = files(&map(&text), &map(&changed));
        let expected = "--- a.cedar\n+++ a.cedar\n@@ -6,7 +6,7 @@\n line 6\n line 7\n line 8\n-line 9\n+line nine\n \
                        line 10\n line 11\n line 12\n";
        assert_eq!(told.iter().map(ToString::to_string).collect::<String>(), expected);
        assert_eq!(files(&map(&text), &map(&text)), []);
    }

    #[test]
    fn texts_that_are_too_long_to_compare_are_told_as_wholes() {
        let long = |word: &str| (0..2100).map(|number| format!("{word}{number}\n")).collect::<String>();
        let told = lines(&long("a"), &long("b"));
        assert_eq!(told.len(), 4200);
        assert!(told[..2100].iter().all(|line| line.fate == Fate::Removed));
    }
}
