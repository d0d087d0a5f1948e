//! The format of a state directory: an older program must not touch what a newer one wrote.
//!
//! `STATE/format` is one line: the number, and the version of the agent that wrote it (`3 0.9.0`). Where there is none, it is 1.

use std::path::{Path, PathBuf};

use outpost_disk::{DiskError, atomic};

/// The newest format that this build reads, and the one that it writes.
pub const FORMAT: u32 = 1;

const NAME: &str = "format";

/// Longer lines are none of ours.
const LINE_BYTES: usize = 128;

/// The format of one state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFormat {
    /// Its number.
    pub number: u32,
    /// The version that wrote it, where it said so.
    pub written_by: Option<String>,
}

/// A state directory that this build must not touch.
#[derive(Debug, thiserror::Error)]
pub enum NewerState {
    /// A newer agent wrote it.
    #[error("the state in `{}` was written by outpost {written_by} (format {found}); this build reads up to format {reads}: \
        install {written_by} or newer, or start with another state directory", state.display())]
    Newer {
        /// The state directory.
        state: PathBuf,
        /// Its format.
        found: u32,
        /// Who wrote it.
        written_by: String,
        /// What this build reads.
        reads: u32,
    },
    /// Nobody can say which format it has.
    #[error("`{}` does not say which format this state has: put back the line of a backup, as in `1 0.1.0`", path.display())]
    Unclear {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl StateFormat {
    /// The format of a state directory; 1 for one that does not say, or is not there yet.
    ///
    /// # Errors
    /// If the file is there and says nothing of use.
    pub fn of(state: &Path) -> Result<Self, NewerState> {
        let path = state.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source)
                if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                return Ok(Self { number: 1, written_by: None });
            }
            Err(source) => return Err(NewerState::Read { path, source }),
        };
        parse(&bytes).ok_or(NewerState::Unclear { path })
    }

    /// Refuses a state directory that a newer agent wrote, before anything in it is touched.
    ///
    /// # Errors
    /// If this build cannot read it, or nobody can say.
    pub fn check(state: &Path) -> Result<(), NewerState> {
        let found = Self::of(state)?;
        if found.number <= FORMAT {
            return Ok(());
        }
        let written_by = found.written_by.unwrap_or_else(|| "of a newer release".to_owned());
        Err(NewerState::Newer { state: state.to_owned(), found: found.number, written_by, reads: FORMAT })
    }

    /// Writes down that this build's format is in the directory from now on. A build on trial does not: what it tries must be
    /// readable for the one before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn raise(state: &Path, to: u32, version: &str) -> Result<(), DiskError> {
        atomic::write_private(state.join(NAME), format!("{to} {version}\n"))
    }
}

fn parse(bytes: &[u8]) -> Option<StateFormat> {
    let line = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= LINE_BYTES)?;
    let mut words = line.split_ascii_whitespace();
    let number = words.next()?.parse().ok().filter(|number| *number > 0)?;
    let version = words.next().map(|version| semver::Version::parse(version).map(|version| version.to_string()));
    let written_by = version.transpose().ok()?;
    words.next().is_none().then_some(StateFormat { number, written_by })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_state_of_a_newer_agent_is_refused_with_the_way_out_and_left_as_it_is() {
        let state = tempfile::tempdir().unwrap();
        StateFormat::check(state.path()).unwrap();
        StateFormat::check(&state.path().join("not/yet")).unwrap();
        StateFormat::raise(state.path(), FORMAT, "0.1.0").unwrap();
        StateFormat::check(state.path()).unwrap();
        StateFormat::raise(state.path(), 3, "0.9.0").unwrap();
        let told = StateFormat::check(state.path()).unwrap_err().to_string();
        let expected =
            "was written by outpost 0.9.0 (format 3); this build reads up to format 1: install 0.9.0 or newer";
        assert!(told.contains(expected), "{told}");
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_says_nothing_of_use_is_not_taken_for_format_1() {
        let state = tempfile::tempdir().unwrap();
        for wrong in ["", "\n", "0", "-1", "one", "1 new", "1 0.1.0 more", "99999999999", "\u{1}"] {
            atomic::write(state.path().join(NAME), wrong).unwrap();
            assert!(matches!(StateFormat::check(state.path()), Err(NewerState::Unclear { .. })), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_format_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200), number in 1_u32.., minor: u16) {
            let _ = parse(&bytes);
            let version = format!("0.{minor}.0");
            let read = parse(format!("{number} {version}\n").as_bytes());
            prop_assert_eq!(read, Some(StateFormat { number, written_by: Some(version) }));
        }
    }
}
