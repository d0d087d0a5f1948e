//! What tuning keeps in the state directory: what was measured, after each measurement; evidence; the key that signs it.
//!
//! ```text
//! tune/lock                          one at a time
//! tune/<file>/Q8_0.gguf …            variants that were made
//! tune/<file>/measured-<how>.json    what was measured of it, by class, build and effort
//! tune/<file>/evidence.dsse          signed by this box
//! keys/evidence.key                  signs; its public half is for other boxes' operators
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use outpost_contract::Sha256;
use outpost_disk::{Secret, StateLock, atomic};
use outpost_trust::{Envelope, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::class::HardwareClass;
use super::evidence::{EVIDENCE_BYTES, Effort, Evidence};
use super::figures::{QualityFigures, RunFigures};
use super::setting::{Kv, Run};
use crate::state::StateDir;

/// Most models whose evidence is looked through.
const MOST_MODELS: usize = 256;

const EVIDENCE_FILE: &str = "evidence.dsse";

/// The room of one model file, held by this process alone.
#[derive(Debug)]
pub(crate) struct Room {
    folder: PathBuf,
    _lock: StateLock,
}

impl Room {
    /// Opens the room of the file with this hash. What an interrupted run left half written is swept out.
    pub(crate) fn open(state: &StateDir, origin: Sha256) -> Result<Self> {
        let lock = StateLock::acquire(state.tune()).context("another `outpost tune` is at work here")?;
        let folder = state.tune().join(&origin.to_hex()[..16]);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        atomic::sweep(&folder)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where variants are made.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps evidence; the newest is the one that counts.
    pub(crate) fn keep(&self, evidence: &Envelope) -> Result<PathBuf> {
        let path = self.folder.join(EVIDENCE_FILE);
        atomic::write(&path, evidence.to_bytes())?;
        Ok(path)
    }

    /// What was measured of this file before, in the same way.
    pub(crate) fn journal(&self, how: &How) -> Result<Journal> {
        let name = serde_json::to_vec(how).context("cannot write JSON")?;
        let name = hex::encode(sha2::Sha256::digest(&name));
        let path = self.folder.join(format!("measured-{}.json", &name[..16]));
        let kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("`{}` cannot be read; remove it to measure anew", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Measured::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        };
        Ok(Journal { path, kept })
    }
}

/// How something was measured: figures are kept apart by all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct How {
    /// The class, but for the speed of memory, which is measured and falls into either of two classes.
    class: HardwareClass,
    build: String,
    reference: Sha256,
    effort: Effort,
}

impl How {
    pub(crate) fn new(class: &HardwareClass, build: &str, reference: Sha256, effort: &Effort) -> Self {
        let class = HardwareClass { memory_speed: None, ..class.clone() };
        Self { class, build: build.to_owned(), reference, effort: effort.clone() }
    }
}

/// What was measured, on disk after each measurement.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    kept: Measured,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    runs: Vec<RunFigures>,
    qualities: Vec<QualityFigures>,
}

impl Journal {
    /// The speed of a run, if it was measured.
    pub(crate) fn run(&self, run: &Run) -> Option<&RunFigures> {
        self.kept.runs.iter().find(|figures| figures.run == *run)
    }

    /// The quality of a variant, if it was judged.
    pub(crate) fn quality(&self, variant: &str, kv: Kv) -> Option<&QualityFigures> {
        self.kept.qualities.iter().find(|figures| figures.variant == variant && figures.kv == kv)
    }

    /// Keeps a speed; when this returns, it survives a power cut.
    pub(crate) fn keep_run(&mut self, figures: RunFigures) -> Result<()> {
        self.kept.runs.push(figures);
        self.commit()
    }

    /// Keeps a quality, likewise.
    pub(crate) fn keep_quality(&mut self, figures: QualityFigures) -> Result<()> {
        self.kept.qualities.push(figures);
        self.commit()
    }

    /// Forgets everything: it is to be measured anew.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.kept = Measured::default();
        self.commit()
    }

    fn commit(&self) -> Result<()> {
        let bytes = serde_json::to_vec(&self.kept).context("cannot write JSON")?;
        Ok(atomic::write(&self.path, bytes)?)
    }
}

/// The key that signs this box's evidence, made on first use.
pub(crate) fn signing_key(state: &StateDir) -> Result<SigningKey> {
    match Secret::read(key_file(state)) {
        Err(error) if error.is_not_found() => {
            let key = SigningKey::generate()?;
            Secret::new(key.to_pem()?).write(key_file(state))?;
            Ok(key)
        }
        secret => of_secret(&secret.context("the key that signs evidence cannot be used")?),
    }
}

/// The public half of that key, if there is one yet.
pub(crate) fn own_key(state: &StateDir) -> Option<VerifyingKey> {
    let secret = Secret::read(key_file(state)).ok()?;
    of_secret(&secret).ok().map(|key| key.verifying_key())
}

fn of_secret(secret: &Secret) -> Result<SigningKey> {
    let text = std::str::from_utf8(secret.expose()).context("the key that signs evidence is no text")?;
    SigningKey::from_pem(text).context("the key that signs evidence cannot be used")
}

fn key_file(state: &StateDir) -> PathBuf {
    state.keys().join("evidence.key")
}

/// All evidence that this box signed. One that cannot be read is no evidence.
pub(crate) fn all_evidence(state: &StateDir) -> Vec<Evidence> {
    let Some(key) = own_key(state) else { return Vec::new() };
    let Ok(rooms) = fs::read_dir(state.tune()) else { return Vec::new() };
    let files = rooms.take(MOST_MODELS).filter_map(|room| Some(room.ok()?.path().join(EVIDENCE_FILE)));
    let read = files.filter(|file| fs::metadata(file).is_ok_and(|found| found.len() <= EVIDENCE_BYTES as u64));
    read.filter_map(|file| Some(Evidence::open(&fs::read(file).ok()?, &[key]).ok()?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::evidence::tests::{class, evidence};
    use super::super::figures::tests::point;
    use super::*;

    fn state(folder: &Path) -> StateDir {
        let state = StateDir::locate(Some(folder)).unwrap();
        state.prepare().unwrap();
        state
    }

    #[test]
    fn what_was_measured_is_found_again_by_whoever_measures_in_the_same_way() {
        let folder = tempfile::tempdir().unwrap();
        let (state, made) = (state(folder.path()), evidence(&[point("Q8_0", 1, 2, 3)]));
        let room = Room::open(&state, made.origin.sha256).unwrap();
        let how = How::new(&class(), "b1", made.origin.sha256, &made.effort);
        let mut journal = room.journal(&how).unwrap();
        journal.keep_run(made.runs[0].clone()).unwrap();
        journal.keep_quality(made.qualities[0].clone()).unwrap();
        assert!(Room::open(&state, made.origin.sha256).is_err(), "one at a time");
        drop(room);
        let room = Room::open(&state, made.origin.sha256).unwrap();
        let faster = HardwareClass { memory_speed: Some(9), ..class() };
        let again = room.journal(&How::new(&faster, "b1", made.origin.sha256, &made.effort)).unwrap();
        assert_eq!(again.run(&made.runs[0].run), Some(&made.runs[0]));
        assert_eq!(again.quality("Q8_0", Kv::F16), Some(&made.qualities[0]));
        let other = room.journal(&How::new(&class(), "b2", made.origin.sha256, &made.effort)).unwrap();
        assert_eq!(other.run(&made.runs[0].run), None);
    }

    #[test]
    fn evidence_counts_if_this_box_signed_it() {
        let folder = tempfile::tempdir().unwrap();
        let (state, made) = (state(folder.path()), evidence(&[point("Q8_0", 1, 2, 3)]));
        assert_eq!((own_key(&state), all_evidence(&state)), (None, Vec::new()));
        let room = Room::open(&state, made.origin.sha256).unwrap();
        let stranger = SigningKey::generate().unwrap();
        room.keep(&made.sign(&stranger).unwrap()).unwrap();
        let key = signing_key(&state).unwrap();
        assert_eq!(own_key(&state), Some(key.verifying_key()));
        assert_eq!(all_evidence(&state), Vec::new());
        let vouched = made.sign(&stranger).unwrap().signed_also_by(&signing_key(&state).unwrap()).unwrap();
        room.keep(&vouched).unwrap();
        assert_eq!(all_evidence(&state), [made]);
    }
}
