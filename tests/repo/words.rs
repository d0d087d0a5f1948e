//! What no file may contain: promises instead of code, and traces of the machine that it was written on.
//!
//! The words are put together here so that this file does not contain them either.

use crate::source::{Source, sources};

/// Macros of unfinished code.
const UNFINISHED: &[&str] = &[concat!("to", "do!("), concat!("unimplemen", "ted!("), concat!("d", "bg!(")];

/// Folders of one machine.
const MACHINE: &[&str] = &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// Hosts that package managers know by themselves.
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("registry.npm", "js.org"),
    concat!("deb.deb", "ian.org"),
    concat!("proxy.gol", "ang.org"),
];

const TEXTS: &[&str] =
    &[".rs", ".toml", ".md", ".cedar", ".cedarschema", ".sh", ".py", ".yml", ".yaml", ".txt", "/run"];

fn forbidden(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let words = UNFINISHED.iter().chain(REGISTRIES).filter(|word| line.contains(**word));
        let folders = MACHINE.iter().filter(|folder| names_folder(line, folder));
        found.extend(words.chain(folders).map(|word| format!("{}:{}: `{word}`", source.path, number + 1)));
    }
    found
}

/// True if the line has the folder at the beginning of a path: `keys/home/` has not.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && !"._-}>)*~/".contains(before))
    })
}

#[test]
fn no_file_contains_unfinished_code_or_traces_of_a_machine() {
    let found: Vec<_> = sources(TEXTS).iter().flat_map(forbidden).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_forbidden_word_is_found_where_it_is_one() {
    let found = |text: &str| forbidden(&Source::new("a.rs", text)).len();
    assert_eq!(found(&format!("fn a() {{ {}) }}\n", UNFINISHED[0])), 1);
    assert_eq!(found(&format!("let path = \"{}x\";", MACHINE[0])), 1);
    assert_eq!(found(&format!("fetch https://{}/x", REGISTRIES[1])), 1);
    assert_eq!(found(&format!("join(\"keys{}a.pem\") // {{state}}{}", MACHINE[0], MACHINE[1])), 0);
}
