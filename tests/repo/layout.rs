//! The fixed top level, the place of every crate, and the shape of every source file.

use std::collections::BTreeSet;

use crate::graph::Graph;
use crate::source::{paths, sources};

/// Everything that may stand at the top, so that a newcomer sees seven names.
const TOP: &[&str] =
    &["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "agent", "control-plane", "cross", "policies", "tests"];

/// What tools look for by name.
const HIDDEN: &[&str] =
    &[".cargo", ".ci", ".clippy.toml", ".deny.toml", ".gitattributes", ".gitignore", ".rustfmt.toml"];

/// Where every crate lives.
const CRATES: &[(&str, &str)] = &[
    ("outpost-agent", "agent"),
    ("outpost-audit", "agent/audit"),
    ("outpost-client", "control-plane/client"),
    ("outpost-contract", "control-plane/contract"),
    ("outpost-control", "control-plane"),
    ("outpost-disk", "agent/disk"),
    ("outpost-engine", "agent/engine"),
    ("outpost-hub", "agent/hub"),
    ("outpost-metrics", "agent/metrics"),
    ("outpost-planner", "agent/planner"),
    ("outpost-policies", "policies"),
    ("outpost-probe", "agent/probe"),
    ("outpost-rollout", "control-plane/rollout"),
    ("outpost-selector", "control-plane/selector"),
    ("outpost-serve", "agent/serve"),
    ("outpost-store", "agent/store"),
    ("outpost-supervisor", "agent/supervisor"),
    ("outpost-sync", "agent/sync"),
    ("outpost-tests", "tests"),
    ("outpost-trust", "control-plane/trust"),
    ("outpost-update", "agent/update"),
];

/// Longer files are split, or are tables that belong in data.
const LONGEST_FILE_LINES: usize = 600;

#[test]
fn the_top_level_is_the_one_that_the_readme_maps() {
    let top: BTreeSet<_> = paths().iter().map(|path| path.split('/').next().unwrap_or(path).to_owned()).collect();
    let stray: Vec<_> =
        top.iter().filter(|name| !TOP.contains(&name.as_str()) && !HIDDEN.contains(&name.as_str())).collect();
    assert!(stray.is_empty(), "{stray:?} stand at the top level; the list is in tests/repo/layout.rs");
    let missing: Vec<_> = TOP.iter().filter(|name| !top.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing at the top level");
}

#[test]
fn every_crate_lives_where_the_map_says() {
    let found = Graph::of_this_workspace().members;
    let expected = CRATES.iter().map(|(name, folder)| ((*name).to_owned(), (*folder).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_source_file_opens_with_a_sentence_about_itself() {
    let silent: Vec<_> = sources(&[".rs"])
        .into_iter()
        .filter(|source| {
            let first = source.text.lines().next().unwrap_or_default();
            first.strip_prefix("//! ").is_none_or(|sentence| sentence.split_whitespace().count() < 3)
        })
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "these files do not open with `//! ` and a sentence:\n{}", silent.join("\n"));
}

#[test]
fn no_source_file_is_longer_than_a_few_screens() {
    let long: Vec<_> = sources(&[".rs", ".sh", ".py"])
        .into_iter()
        .filter(|source| source.text.lines().count() > LONGEST_FILE_LINES)
        .map(|source| format!("{} ({} lines)", source.path, source.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "longer than {LONGEST_FILE_LINES} lines: {}", long.join(", "));
}
