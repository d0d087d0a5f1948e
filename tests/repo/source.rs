//! The files of this repository, and Rust code without its comments.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One text file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Path from the repository's root, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// A file that exists only in a test.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Rust code of the product: neither tests nor examples.
    pub(crate) fn is_product(&self) -> bool {
        let aside = |part: &str| matches!(part, "tests" | "tests.rs" | "examples" | "benches");
        self.path.ends_with(".rs") && !self.path.split('/').any(aside)
    }

    /// The text with comments blanked out; strings stay.
    pub(crate) fn code(&self) -> String {
        without_comments(&self.text)
    }
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("`tests` lies in the repository")
}

/// Every path that git tracks or would track; without git, every file outside build outputs and hidden folders.
pub(crate) fn paths() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success() && !output.stdout.is_empty());
    let mut paths: Vec<String> = match listed {
        Some(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        None => walk(root()),
    };
    // Deleted files stay listed until the deletion is committed.
    paths.retain(|path| root().join(path).is_file());
    paths.sort();
    paths
}

/// Every text file whose name ends in one of these.
pub(crate) fn sources(endings: &[&str]) -> Vec<Source> {
    let wanted = paths().into_iter().filter(|path| endings.iter().any(|ending| path.ends_with(ending)));
    wanted
        .map(|path| {
            let bytes = std::fs::read(root().join(&path)).unwrap_or_default();
            Source { text: String::from_utf8_lossy(&bytes).into_owned(), path }
        })
        .collect()
}

fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && name != "target" && name != ".git" {
                waiting.push(entry.path());
            } else if !is_folder && let Ok(path) = entry.path().strip_prefix(root()) {
                found.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found
}

/// Blanks `//` and `/* */` comments, and knows enough of strings and characters not to be fooled by them.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            rest = &rest[end..];
            continue;
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
            continue;
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            quoted(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            first.len_utf8()
        };
        code.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    code
}

/// Length of a raw string that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?.chars().take_while(|c| *c == '#').count();
    let body = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(text.len(), |at| 2 + hashes + at + end.len()))
}

/// Length of a string in quotes that begins here.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn comments_are_no_code_and_strings_are() {
    let text = "use a; // use b\n/* c */ let d = \"// e\"; let f = r#\"/* \"g\" */\"#; let h = '\"'; // i\n";
    assert_eq!(without_comments(text), "use a; \n let d = \"// e\"; let f = r#\"/* \"g\" */\"#; let h = '\"'; \n");
}
