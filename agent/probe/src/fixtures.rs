//! Machines that exist only as trees of files, for tests.

mod machines;

pub(crate) use machines::{battery_laptop, hybrid, jetson, nested_container, raspberry_pi_5, server};

use crate::tree::Tree;

/// A tree of files under construction.
#[derive(Debug)]
pub(crate) struct Fixture(tempfile::TempDir);

impl Default for Fixture {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Fixture {
    pub(crate) fn tree(&self) -> Tree {
        Tree::at(self.0.path())
    }

    /// A file with some text, over what was there.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Several files in one folder.
    pub(crate) fn files(self, folder: &str, files: &[(&str, &str)]) -> Self {
        files.iter().fold(self, |fixture, (name, text)| fixture.file(&format!("{folder}/{name}"), text))
    }

    /// A link to a place in the same tree.
    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let up = "../".repeat(path.strip_prefix(self.0.path()).unwrap().components().count() - 1);
        std::os::unix::fs::symlink(format!("{up}{target}"), path).unwrap();
        self
    }
}
