//! A small value in numbered generations: the newest readable one wins.
//!
//! ```text
//! <dir>/<name>.<generation>.ledger
//!
//! outpost-ledger 1 <generation> <sha256 of what follows, hex>\n
//! <the value as JSON>
//! ```
//!
//! A commit writes generation n+1 beside generation n and keeps both, so that one bad sector costs one generation.

use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::{DiskError, atomic};

/// How many generations stay on disk: the current one, and the one before for the day the current one is unreadable.
const GENERATIONS_KEPT: usize = 2;

const MAGIC: &str = "outpost-ledger 1";

/// One named value on disk that survives power cuts and single bad sectors.
///
/// One ledger has one owner: two open at once for the same name would number their generations apart.
#[derive(Debug)]
pub struct Ledger<T> {
    directory: PathBuf,
    name: String,
    generation: u64,
    skipped: usize,
    value: PhantomData<fn(&T)>,
}

impl<T: Serialize + DeserializeOwned> Ledger<T> {
    /// Opens the ledger `name` in `directory` (made if missing) with its newest readable value; `None` if it never
    /// held one.
    ///
    /// # Errors
    /// [`DiskError::Unreadable`] if generations exist and none can be read: forgetting a value silently could lower a
    /// version floor. Otherwise if the directory cannot be read.
    pub fn open(directory: impl AsRef<Path>, name: &str) -> Result<(Self, Option<T>), DiskError> {
        let directory = directory.as_ref();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return Err(DiskError::BadName { name: name.to_owned() });
        }
        fs::create_dir_all(directory).map_err(|source| DiskError::io("make the directory", directory, source))?;
        let mut ledger = Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
            generation: 0,
            skipped: 0,
            value: PhantomData,
        };
        let generations = ledger.generations()?;
        ledger.generation = generations.first().copied().unwrap_or(0);
        let mut first_cause = None;
        for &generation in &generations {
            match ledger.read(generation) {
                Ok(value) => return Ok((ledger, Some(value))),
                Err(cause) => {
                    ledger.skipped += 1;
                    first_cause.get_or_insert(cause);
                }
            }
        }
        match first_cause {
            None => Ok((ledger, None)),
            Some(cause) => Err(DiskError::Unreadable {
                name: ledger.name,
                directory: ledger.directory,
                generations: generations.len(),
                cause,
            }),
        }
    }

    /// Makes `value` the newest generation. When this returns, the value survives a power cut; when it fails, the
    /// value before is still the newest readable one.
    ///
    /// # Errors
    /// If the value cannot be encoded or written.
    pub fn commit(&mut self, value: &T) -> Result<(), DiskError> {
        let body = serde_json::to_vec(value).map_err(|source| DiskError::Encode { name: self.name.clone(), source })?;
        let generation = self.generation + 1;
        let mut bytes = format!("{MAGIC} {generation} {}\n", hex::encode(Sha256::digest(&body))).into_bytes();
        bytes.extend_from_slice(&body);
        atomic::write_private(self.path(generation), bytes)?;
        self.generation = generation;
        for old in self.generations()?.into_iter().skip(GENERATIONS_KEPT) {
            atomic::remove(self.path(old))?;
        }
        Ok(())
    }

    /// Number of the newest generation; 0 before the first commit.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many newer generations were unreadable when the ledger was opened: above 0 the disk deserves a look.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The generations on disk, newest first.
    fn generations(&self) -> Result<Vec<u64>, DiskError> {
        let list = |source| DiskError::io("list", &self.directory, source);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(list)? {
            let file_name = entry.map_err(list)?.file_name();
            let generation: Option<u64> = file_name
                .to_str()
                .and_then(|file_name| file_name.strip_prefix(&self.name)?.strip_prefix('.')?.strip_suffix(".ledger"))
                .and_then(|digits| digits.parse().ok());
            found.extend(generation);
        }
        found.sort_unstable_by(|left, right| right.cmp(left));
        Ok(found)
    }

    fn read(&self, generation: u64) -> Result<T, String> {
        let bytes = fs::read(self.path(generation)).map_err(|cause| cause.to_string())?;
        let end = bytes.iter().position(|&byte| byte == b'\n').ok_or("the header is missing")?;
        let (header, body) = (&bytes[..end], &bytes[end + 1..]);
        let expected = format!("{MAGIC} {generation} {}", hex::encode(Sha256::digest(body)));
        if header != expected.as_bytes() {
            return Err("the checksum does not match the content".to_owned());
        }
        serde_json::from_slice(body).map_err(|cause| cause.to_string())
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.directory.join(format!("{}.{generation}.ledger", self.name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Numbers = Vec<u32>;

    fn reopen(directory: &Path) -> Result<(Ledger<Numbers>, Option<Numbers>), DiskError> {
        Ledger::open(directory, "numbers")
    }

    #[test]
    fn a_new_ledger_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, value) = reopen(directory.path()).unwrap();
        assert_eq!((ledger.generation(), value), (0, None));
    }

    #[test]
    fn the_last_commit_is_what_comes_back_and_two_generations_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, _) = reopen(directory.path()).unwrap();
        for last in 1..=5 {
            ledger.commit(&vec![last]).unwrap();
        }
        let (ledger, value) = reopen(directory.path()).unwrap();
        assert_eq!((ledger.generation(), ledger.skipped(), value), (5, 0, Some(vec![5])));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), GENERATIONS_KEPT);
    }

    #[test]
    fn a_damaged_newest_generation_gives_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, _) = reopen(directory.path()).unwrap();
        ledger.commit(&vec![1]).unwrap();
        ledger.commit(&vec![2]).unwrap();
        fs::File::options().write(true).open(directory.path().join("numbers.2.ledger")).unwrap().set_len(20).unwrap();
        let (mut ledger, value) = reopen(directory.path()).unwrap();
        assert_eq!((ledger.skipped(), value), (1, Some(vec![1])));
        // The number of the damaged one is not used again.
        ledger.commit(&vec![3]).unwrap();
        let (ledger, value) = reopen(directory.path()).unwrap();
        assert_eq!((ledger.generation(), value), (3, Some(vec![3])));
    }

    #[test]
    fn a_ledger_without_a_readable_generation_says_so_instead_of_forgetting() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, _) = reopen(directory.path()).unwrap();
        ledger.commit(&vec![1]).unwrap();
        atomic::write(directory.path().join("numbers.1.ledger"), "").unwrap();
        let error = reopen(directory.path()).unwrap_err();
        assert!(matches!(error, DiskError::Unreadable { generations: 1, .. }), "{error}");
    }

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["", "../up", "a/b", "a.b"] {
            assert!(
                matches!(Ledger::<Numbers>::open(directory.path(), name), Err(DiskError::BadName { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn ledgers_whose_names_begin_alike_do_not_mix() {
        let directory = tempfile::tempdir().unwrap();
        let (mut short, _) = Ledger::<Numbers>::open(directory.path(), "a").unwrap();
        let (mut long, _) = Ledger::<Numbers>::open(directory.path(), "a-b").unwrap();
        short.commit(&vec![1]).unwrap();
        long.commit(&vec![2]).unwrap();
        assert_eq!(Ledger::<Numbers>::open(directory.path(), "a").unwrap().1, Some(vec![1]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_flipped_bit_passes_for_a_value(position in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let directory = tempfile::tempdir().unwrap();
            let (mut ledger, _) = reopen(directory.path()).unwrap();
            ledger.commit(&vec![7, 8, 9]).unwrap();
            let path = directory.path().join("numbers.1.ledger");
            let mut bytes = fs::read(&path).unwrap();
            let position = position.index(bytes.len());
            bytes[position] ^= 1 << bit;
            atomic::write(&path, bytes).unwrap();
            prop_assert!(reopen(directory.path()).is_err());
        }
    }
}
