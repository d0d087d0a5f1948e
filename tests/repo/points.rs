//! The tables of what is known to go wrong with hubs and with the MQTT library, of how the control plane is attacked, and of what is promised of
//! packages: all their points, and every test, file and command that they name exists.

use crate::source::{self, Source, sources};

/// Where the tables stand, and how many points each answers.
const TABLES: [(&str, usize); 4] = [
    ("agent/hub/README.md", 20),
    ("agent/sync/README.md", 24),
    ("control-plane/README.md", 13),
    ("cross/README.md", 21),
];

/// The last cell of each numbered row, with its number.
fn rows(text: &str) -> Vec<(usize, &str)> {
    let row = |line: &str| -> Option<usize> { line.strip_prefix("| ")?.split(' ').next()?.parse().ok() };
    text.lines()
        .filter_map(|line| Some((row(line)?, line.trim_end().trim_end_matches('|').rsplit('|').next()?.trim())))
        .collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Names of the tests in a file.
fn tests(source: &Source) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            names.extend(rest.split(['(', '<']).next().map(str::to_owned));
            is_test = false;
        }
    }
    names
}

/// What is wrong with a cell.
fn wrong(cell: &str, known: &[String], paths: &[impl AsRef<str>]) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in quoted(cell) {
        let exists = if let Some(beginning) = name.strip_suffix('…') {
            known.iter().any(|test| test.starts_with(beginning))
        } else if name.ends_with(".rs") {
            paths.iter().any(|path| path.as_ref() == name || path.as_ref().ends_with(&format!("/{name}")))
        } else if let Some(command) = name.split(' ').next().filter(|command| command.contains('/')) {
            paths.iter().any(|path| path.as_ref() == command)
        } else if name.contains("::") {
            // A module or a function: what it shows is read there.
            true
        } else {
            known.iter().any(|test| test == name)
        };
        if !exists {
            wrong.push(format!("`{name}`"));
        }
    }
    wrong
}

#[test]
fn every_test_that_a_table_names_exists() {
    let code = sources(&[".rs"]);
    let known: Vec<String> = code.iter().flat_map(tests).collect();
    let paths = source::paths();
    for (name, points) in TABLES {
        let table = sources(&[name]).remove(0);
        let rows = rows(&table.text);
        let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=points).collect::<Vec<_>>(), "{name} has a row for each point");
        for (number, cell) in rows {
            assert!(!cell.is_empty(), "{name}: point {number} has a test or a reason");
            let wrong = wrong(cell, &known, &paths);
            assert!(wrong.is_empty(), "{name}: point {number} names what does not exist: {}", wrong.join(", "));
        }
    }
}

#[test]
fn a_test_that_was_renamed_is_missed() {
    let source =
        Source::new("a/src/b.rs", "#[tokio::test(start_paused = true)]\nasync fn it_holds() {}\nfn no_test() {}\n");
    let (known, paths) = (tests(&source), ["a/src/b.rs", "cross/try"]);
    assert_eq!(known, ["it_holds"]);
    for right in [
        "`it_holds`",
        "`b.rs`: all",
        "`it_h…`",
        "by construction",
        "`link::tests` build it",
        "`cross/try OLD NEW`",
        "`a/src/b.rs`",
    ] {
        assert!(wrong(right, &known, &paths).is_empty(), "{right}");
    }
    for bad in ["`it_held`", "`no_test`", "`c.rs`", "`is…`", "`it_holds`, `it_is_gone`", "`cross/tried OLD`"] {
        assert_eq!(wrong(bad, &known, &paths).len(), 1, "{bad}");
    }
    assert_eq!(rows("| # | a | b |\n|---|---|---|\n| 7 | x | `y` |\n"), [(7, "`y`")]);
}
