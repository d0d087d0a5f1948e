//! What the launcher tells the program that takes its place: a word in the environment that counts for this process alone.

use std::path::PathBuf;

use outpost_contract::Sha256;
use serde::{Deserialize, Serialize};

use crate::build::Slot;

/// Where it stands.
pub(crate) const PLACE: &str = "OUTPOST_LAUNCHED";

/// Longer words are none of ours.
const WORD_BYTES: usize = 64 * 1024;

/// What a slot's program knows of how it came to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// For which process: a child that inherits the environment is none of a slot's.
    pub(crate) process: u32,
    pub(crate) slot: Slot,
    pub(crate) version: String,
    pub(crate) target: String,
    pub(crate) sha256: Sha256,
    pub(crate) on_trial: bool,
    /// The launcher, which starts what comes next.
    pub(crate) program: PathBuf,
    /// The version of the launcher.
    pub(crate) packaged: String,
    /// What the launcher passed over, and why.
    pub(crate) notes: Vec<String>,
}

impl Mark {
    /// The mark of this process, if it runs from a slot.
    pub(crate) fn of_environment() -> Option<Self> {
        let word = std::env::var_os(PLACE)?;
        Self::read(word.to_str()?, std::process::id())
    }

    fn read(word: &str, process: u32) -> Option<Self> {
        if word.len() > WORD_BYTES {
            return None;
        }
        serde_json::from_str(word).ok().filter(|mark: &Self| mark.process == process)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark() -> Mark {
        Mark {
            process: 7,
            slot: Slot::B,
            version: "0.2.0".to_owned(),
            target: "x86_64-unknown-linux-gnu".to_owned(),
            sha256: Sha256([1; 32]),
            on_trial: true,
            program: PathBuf::from("/usr/bin/outpost"),
            packaged: "0.1.0".to_owned(),
            notes: vec!["a note".to_owned()],
        }
    }

    #[test]
    fn a_mark_counts_for_its_own_process() {
        let word = serde_json::to_string(&mark()).unwrap();
        assert_eq!(Mark::read(&word, 7), Some(mark()));
        assert_eq!(Mark::read(&word, 8), None, "a child inherits the environment");
    }

    proptest! {
        #[test]
        fn any_word_is_a_mark_or_none(word in "\\PC{0,80}") {
            prop_assert_eq!(Mark::read(&word, 7), None);
        }
    }
}
