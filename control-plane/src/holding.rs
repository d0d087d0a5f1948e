//! The holding place: model files that were fetched or brought, described and with where they came from, until a release.

use std::path::{Path, PathBuf};

use outpost_contract::{ModelId, TargetName, VariantFacts};
use serde::{Deserialize, Serialize};

use crate::catalogue::Variant;
use crate::db::HeldRow;
use crate::fleet::{Fleet, FleetError};
use outpost_hub::{FileOrigin, HubReference};

/// Files that may be held at once.
const MOST_HELD: usize = 1000;

/// What somebody says about files that are held, where the files say too little or too much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HoldRequest {
    /// The model that they are of; without it, as each file says.
    pub model: Option<ModelId>,
    /// Its licence; without it, as file and card say.
    pub licence: Option<String>,
}

/// A file that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldModel {
    /// The name that it will have in the catalogue.
    pub target: TargetName,
    /// Where it lies.
    pub path: PathBuf,
    /// What it is.
    pub facts: VariantFacts,
    /// Offsets where it is cut.
    #[serde(default, skip_serializing)]
    pub cuts: Vec<u64>,
    /// Who had it held.
    pub added_by: String,
    /// When, seconds since 1970-01-01 UTC.
    pub added_s: i64,
}

impl HeldModel {
    /// As a release takes it in.
    #[must_use]
    pub fn into_variant(self) -> Variant {
        Variant { path: self.path, target: Some(self.target), facts: self.facts, cuts: self.cuts }
    }
}

impl Fleet {
    /// Where files of a hub are kept if nobody says another place.
    #[must_use]
    pub fn holding_directory(&self, reference: &HubReference) -> PathBuf {
        self.config().state_dir.join("holding").join(reference.directory_name())
    }

    /// Holds a described file for the next release, with what lies beside it of where it came from.
    ///
    /// # Errors
    /// If file and card disagree on the licence and nobody says it; if no name can be made; if too many are held.
    pub fn hold(&self, described: Variant, request: &HoldRequest, by: &str) -> Result<HeldModel, FleetError> {
        let path = std::path::absolute(&described.path).unwrap_or(described.path);
        let what = path.display().to_string();
        let refused = |why: String| FleetError::Release { what: what.clone(), why };
        let beside = FileOrigin::beside(&path).map_err(|error| refused(error.to_string()))?;
        let mut facts = described.facts;
        let of_card = beside.as_ref().map(|beside| beside.licence.as_str()).unwrap_or_default();
        facts.model.licence = match &request.licence {
            Some(licence) => licence.clone(),
            None => licence(&facts.model.licence, of_card).map_err(refused)?,
        };
        if let Some(model) = &request.model {
            facts.model.model = model.clone();
        }
        facts.origin = beside.map(|beside| Box::new(beside.origin));
        let named = format!("{}.{}", facts.model.model, facts.quantisation);
        let target = match described.target {
            Some(target) => target,
            None => named.parse().map_err(|error: outpost_contract::ids::InvalidName| FleetError::Release {
                what: what.clone(),
                why: error.to_string(),
            })?,
        };
        let held =
            HeldModel { target, path, facts, cuts: described.cuts, added_by: by.to_owned(), added_s: self.now_s() };
        let others = self.held()?;
        if let Some(other) = others.iter().find(|other| other.target == held.target && other.path != held.path) {
            let why = format!(
                "`{}` is held as `{}` already; give one of them another model name with `--model`",
                other.path.display(),
                other.target
            );
            return Err(FleetError::Release { what, why });
        }
        if others.len() >= MOST_HELD {
            return Err(FleetError::Release {
                what,
                why: format!("{MOST_HELD} files are held already; release or drop some"),
            });
        }
        let stored = Stored { path: held.path.clone(), facts: held.facts.clone(), cuts: held.cuts.clone() };
        let description =
            serde_json::to_string(&stored).map_err(|error| FleetError::Release { what, why: error.to_string() })?;
        self.inner.database.hold_model(&HeldRow {
            target: held.target.to_string(),
            path: held.path.display().to_string(),
            description,
            added_by: held.added_by.clone(),
            added_s: held.added_s,
        })?;
        Ok(held)
    }

    /// Every held file, by name.
    ///
    /// # Errors
    /// If the database fails, or holds what this version cannot read.
    pub fn held(&self) -> Result<Vec<HeldModel>, FleetError> {
        let rows = self.inner.database.held_models()?;
        let read = |row: HeldRow| {
            let refused = |why: String| FleetError::Release { what: row.target.clone(), why };
            let stored: Stored = serde_json::from_str(&row.description).map_err(|error| refused(error.to_string()))?;
            let target =
                row.target.parse().map_err(|error: outpost_contract::ids::InvalidName| refused(error.to_string()))?;
            let Stored { path, facts, cuts } = stored;
            Ok(HeldModel { target, path, facts, cuts, added_by: row.added_by, added_s: row.added_s })
        };
        rows.into_iter().map(read).collect()
    }

    /// Holds a file no longer; the file stays where it is. False if it was not held.
    ///
    /// # Errors
    /// If the database fails.
    pub fn let_go(&self, target: &str) -> Result<bool, FleetError> {
        Ok(self.inner.database.let_model_go(target)?)
    }

    /// Holds no longer what the newest catalogue lists just so. Returns how many those were.
    ///
    /// # Errors
    /// If the database fails.
    pub fn let_go_of_released(&self) -> Result<usize, FleetError> {
        let listed = self.targets()?;
        let mut count = 0;
        for held in self.held()? {
            let is_listed =
                listed.iter().filter(|target| target.name == held.target).any(|target| match &target.facts {
                    outpost_contract::TargetKind::Variant(facts) => {
                        VariantFacts { release: held.facts.release, ..facts.clone() } == held.facts
                    }
                    _ => false,
                });
            if is_listed && self.let_go(held.target.as_str())? {
                count += 1;
            }
        }
        Ok(count)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    path: PathBuf,
    facts: VariantFacts,
    cuts: Vec<u64>,
}

/// The licence on which file and card agree; whichever is there if only one names one.
fn licence(of_file: &str, of_card: &str) -> Result<String, String> {
    match (of_file.trim(), of_card.trim()) {
        ("", licence) | (licence, "") => Ok(licence.to_owned()),
        (one, other) if one.eq_ignore_ascii_case(other) => Ok(other.to_owned()),
        (one, other) => Err(format!(
            "its licence is `{one}` in the file and `{other}` on its card; read both, and say which with `--licence`"
        )),
    }
}

/// The model files of a directory and those below it, by path; a linked directory is not entered.
///
/// # Errors
/// If a directory cannot be read, or there are too many files.
pub fn model_files(directory: &Path) -> Result<Vec<PathBuf>, FleetError> {
    /// Deepest directory that is looked into.
    const DEPTH: usize = 8;
    let (mut files, mut open) = (Vec::new(), vec![(directory.to_owned(), 0)]);
    while let Some((directory, depth)) = open.pop() {
        for entry in std::fs::read_dir(&directory).map_err(crate::files::failed("read", &directory))? {
            let entry = entry.map_err(crate::files::failed("read", &directory))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(crate::files::failed("read", &entry.path()))?);
            if kind.is_dir() && depth < DEPTH {
                open.push((path, depth + 1));
            } else if kind.is_file() && path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
                files.push(path);
            }
        }
        if files.len() > MOST_HELD {
            let what = directory.display().to_string();
            return Err(FleetError::Release { what, why: format!("more than {MOST_HELD} model files lie there") });
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use outpost_contract::{GoldenPrompts, ModelFacts, Origin, Sha256, TargetKind};

    use super::*;
    use crate::catalogue::ReleaseRequest;
    use crate::clock::Clock;
    use crate::config::Config;

    const BYTES: &[u8] = b"not really a model";

    struct Place {
        fleet: Fleet,
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let config = Config::new(dir.path().join("state"));
            Self { fleet: Fleet::init(config, Clock::fixed(1_800_000_000)).unwrap().fleet, dir }
        }

        /// A file with a provenance that says so.
        fn file(&self, name: &str, card_licence: &str, sha256: [u8; 32]) -> PathBuf {
            let path = self.dir.path().join(name);
            std::fs::write(&path, BYTES).unwrap();
            let origin = Origin {
                source: "https://hub.example.org/tiny/model".into(),
                revision: "0".repeat(40),
                path: name.into(),
                sha256: Sha256(sha256),
                fetched_s: 7,
                fetched_by: "ada".into(),
                base_models: vec!["tiny/base".into()],
                tags: vec![],
            };
            let beside = FileOrigin { origin, licence: card_licence.into() };
            std::fs::write(format!("{}.origin.json", path.display()), serde_json::to_vec(&beside).unwrap()).unwrap();
            path
        }

        fn described(path: &Path, licence: &str) -> Variant {
            let model = ModelFacts {
                model: "tiny".parse().unwrap(),
                architecture: "llama".into(),
                licence: licence.into(),
                parameters: 1,
                context_tokens: 1,
                layers: 1,
                embedding_length: 1,
                vocabulary: 1,
                kv_elements_per_layer: 1,
                feed_forward_length: 1,
                query_elements: 1,
            };
            let facts = VariantFacts {
                release: 1,
                model,
                quantisation: "Q4_0".into(),
                file_bytes: BYTES.len() as u64,
                weight_bytes: 1,
                quality_milli: 4_500,
                golden: GoldenPrompts::default(),
                origin: None,
                footprint: None,
            };
            Variant { path: path.to_owned(), target: None, facts, cuts: Vec::new() }
        }
    }

    fn digest() -> [u8; 32] {
        <sha2::Sha256 as sha2::Digest>::digest(BYTES).into()
    }

    #[test]
    fn what_is_held_is_released_with_its_provenance_and_then_held_no_more() {
        let place = Place::new();
        let path = place.file("tiny.gguf", "apache-2.0", digest());
        let held = place.fleet.hold(Place::described(&path, ""), &HoldRequest::default(), "ada").unwrap();
        assert_eq!((held.target.as_str(), held.facts.model.licence.as_str()), ("tiny.Q4_0", "apache-2.0"));
        assert_eq!(place.fleet.held().unwrap().len(), 1);
        let keys = place.fleet.create_offline_keys(&place.dir.path().join("keys")).unwrap();
        let variants = place.fleet.held().unwrap().into_iter().map(HeldModel::into_variant).collect();
        place.fleet.release(&keys, ReleaseRequest { variants, ..ReleaseRequest::default() }).unwrap();
        let listed = place.fleet.targets().unwrap();
        let origins = listed.iter().filter_map(|target| match &target.facts {
            TargetKind::Variant(facts) => facts.origin.as_deref().cloned(),
            _ => None,
        });
        let origins: Vec<Origin> = origins.collect();
        assert_eq!((origins.len(), origins[0].fetched_by.as_str()), (1, "ada"));
        assert_eq!((place.fleet.let_go_of_released().unwrap(), place.fleet.held().unwrap().len()), (1, 0));
    }

    #[test]
    fn a_file_that_is_not_what_its_provenance_says_is_not_released() {
        let place = Place::new();
        let path = place.file("tiny.gguf", "", [9; 32]);
        place.fleet.hold(Place::described(&path, "mit"), &HoldRequest::default(), "ada").unwrap();
        let keys = place.fleet.create_offline_keys(&place.dir.path().join("keys")).unwrap();
        let variants = place.fleet.held().unwrap().into_iter().map(HeldModel::into_variant).collect();
        let refusal = place.fleet.release(&keys, ReleaseRequest { variants, ..ReleaseRequest::default() }).unwrap_err();
        assert!(refusal.to_string().contains("its provenance"), "{refusal}");
    }

    #[test]
    fn a_licence_that_file_and_card_spell_differently_is_for_somebody_to_say() {
        let place = Place::new();
        let path = place.file("tiny.gguf", "cc-by-nc-4.0", digest());
        let described = || Place::described(&path, "apache-2.0");
        let refusal = place.fleet.hold(described(), &HoldRequest::default(), "ada").unwrap_err().to_string();
        assert!(refusal.contains("`apache-2.0` in the file and `cc-by-nc-4.0`"), "{refusal}");
        let request = HoldRequest { licence: Some("cc-by-nc-4.0".into()), model: Some("small".parse().unwrap()) };
        let held = place.fleet.hold(described(), &request, "ada").unwrap();
        assert_eq!((held.target.as_str(), held.facts.model.licence.as_str()), ("small.Q4_0", "cc-by-nc-4.0"));
        // Two files of one name would be one target.
        let other = place.file("other.gguf", "", digest());
        let request = HoldRequest { model: Some("small".parse().unwrap()), ..HoldRequest::default() };
        let refusal = place.fleet.hold(Place::described(&other, "mit"), &request, "ada").unwrap_err().to_string();
        assert!(refusal.contains("is held as `small.Q4_0` already"), "{refusal}");
        assert!(place.fleet.let_go("small.Q4_0").unwrap() && !place.fleet.let_go("small.Q4_0").unwrap());
    }

    #[test]
    fn a_directory_is_searched_for_model_files_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("q4")).unwrap();
        for name in ["b.gguf", "q4/a.GGUF", "q4/a.gguf.part", "readme.md"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("b.gguf"), dir.path().join("c.gguf")).unwrap();
        let found = model_files(dir.path()).unwrap();
        assert_eq!(found, [dir.path().join("b.gguf"), dir.path().join("q4/a.GGUF")]);
    }
}
