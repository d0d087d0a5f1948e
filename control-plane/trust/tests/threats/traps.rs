//! The twelve traps of `tough`: for each, the test that fails when the guard against it is taken away.
//!
//! | trap | guard | test |
//! |---|---|---|
//! | 1 a clock that went back is a hard error | a datastore that lives for one call | [`a_scratch_directory_that_remembers_a_later_time_stops_nothing`] |
//! | 2 the root that is given is trusted, however old | `newest_root`, floors | `publishing::the_newer_of_the_shipped_and_the_stored_root_is_trusted`, `rollback::a_withheld_root_is_noticed_by_a_device_that_has_seen_it` |
//! | 3 a failed fetch of the next root counts as "there is none" | all roots in one bundle, walked first | `rollback::a_root_left_out_between_is_refused_not_taken_for_the_newest`, `tampering::a_missing_file_is_refused` |
//! | 4 its datastore does not survive a power cut | floors of our own, committed with what they guard | [`what_a_power_cut_leaves_behind_spoils_nothing_and_lowers_no_floor`], `outpost-sync: no_floor_ever_goes_down_or_is_forgotten` |
//! | 5 expiry is all or nothing | dates judged here, stale only for what is in force | `expiry::each_role_that_expires_narrows_what_arrives_and_not_what_runs` |
//! | 6 a refresh asks for the targets key | roles are signed one by one | `publishing::the_server_refreshes_a_catalogue_without_the_offline_keys`, `outpost-control: a_server_that_was_down_for_weeks_refreshes_the_catalogue_at_its_start` |
//! | 7 canonical JSON has no fractions | no fact of a target is one | [`no_fact_of_a_target_has_a_fraction`] |
//! | 8 what is verified is its own re-reading | one spelling, and a catalogue kept from an earlier version | [`a_timestamp_with_anything_beside_what_is_signed_is_refused`], [`a_catalogue_of_an_earlier_version_still_verifies`] |
//! | 9 a target has no range and is checked at its end | targets are small, models are chunks | [`nothing_as_large_as_a_model_can_be_a_target`] |
//! | 10 every delegation is fetched on every load | none is accepted | `tampering::a_catalogue_that_delegates_is_refused` |
//! | 11 its advisories are in no database that tools read | a lowest version | [`the_verifier_is_one_without_known_advisories`] |
//! | 12 its interface changes with every version | one crate names it | [`only_this_crate_names_the_verifier`] |

use std::path::{Path, PathBuf};

use outpost_contract::limits::{CATALOGUE_BYTES, DOCUMENT_BYTES};
use outpost_contract::{Authority, PolicyFacts, TargetKind};
use outpost_trust::catalogue::{BundlePath, PublishError, Release, verify};
use outpost_trust::{CatalogueBundle, CatalogueError, Floors};
use serde_json::Value;

use crate::fleet::{DAY_S, Fleet, NOW_S, name, refs, targets, unpack};

#[tokio::test]
async fn a_scratch_directory_that_remembers_a_later_time_stops_nothing() {
    let fleet = Fleet::new();
    let scratch = tempfile::tempdir().unwrap();
    let later = r#""2199-01-01T00:00:00Z""#;
    plant(scratch.path(), "latest_known_time.json", later.as_bytes());
    let floors = Floors::default();
    verify(&fleet.bundle.to_bytes(), &fleet.roots[0], &floors, NOW_S, scratch.path()).await.unwrap();
    assert_eq!(std::fs::read_to_string(scratch.path().join("latest_known_time.json")).unwrap(), later);
}

#[tokio::test]
async fn what_a_power_cut_leaves_behind_spoils_nothing_and_lowers_no_floor() {
    let mut fleet = Fleet::new();
    let old = fleet.bundle.clone();
    fleet.release(2);
    let mut device = fleet.device();
    device.take(&fleet.bundle).await.unwrap();
    let scratch = tempfile::tempdir().unwrap();
    for file in ["timestamp.json", "snapshot.json", "targets.json", "root.json"] {
        plant(scratch.path(), file, b"{\"signed\":{\"_ty");
    }
    let bytes = fleet.bundle.to_bytes();
    let taken = verify(&bytes, &device.root, &device.floors, NOW_S, scratch.path()).await.unwrap();
    assert_eq!(taken.floors, device.floors);
    let refused = verify(&old.to_bytes(), &device.root, &device.floors, NOW_S, scratch.path()).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Rollback { .. }), "{refused}");
}

#[test]
fn no_fact_of_a_target_has_a_fraction() {
    fn fractions(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.is_f64(),
            Value::Array(items) => items.iter().any(fractions),
            Value::Object(fields) => fields.values().any(fractions),
            _ => false,
        }
    }
    assert!(fractions(&serde_json::json!({"bits": [4.5]})), "the test sees one where there is one");
    let kinds = targets(1, "00").into_iter().map(|(_, _, kind)| kind);
    for kind in kinds {
        assert!(!fractions(&serde_json::to_value(&kind).unwrap()), "{kind:?}");
    }
    // Nor does one come in from outside.
    let custom = serde_json::json!({"kind": "authority", "release": 1.5});
    assert!(serde_json::from_value::<TargetKind>(custom).is_err());
}

#[tokio::test]
async fn a_timestamp_with_anything_beside_what_is_signed_is_refused() {
    let fleet = Fleet::new();
    let written: Value = serde_json::from_slice(&unpack(&fleet.bundle)[&BundlePath::Timestamp]).unwrap();
    let changes: [fn(&mut Value); 4] = [
        |timestamp| timestamp["more"] = 1.into(),
        |timestamp| timestamp["signed"]["_type"] = "Timestamp".into(),
        |timestamp| timestamp["signatures"][0]["more"] = 1.into(),
        |timestamp| {
            let expires = timestamp["signed"]["expires"].as_str().unwrap().replace('Z', ".000Z");
            timestamp["signed"]["expires"] = expires.into();
        },
    ];
    for change in changes {
        let mut changed = written.clone();
        change(&mut changed);
        assert_ne!(changed, written);
        let mut files = unpack(&fleet.bundle);
        files.insert(BundlePath::Timestamp, serde_json::to_vec(&changed).unwrap());
        let bundle = CatalogueBundle::from_files(files).unwrap();
        let refused = fleet.device().take(&bundle).await.unwrap_err();
        assert!(matches!(refused, CatalogueError::Metadata { .. }), "{changed}: {refused}");
    }
}

/// Where a catalogue is kept that an earlier version signed.
fn kept(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/threats/kept").join(file)
}

#[tokio::test]
async fn a_catalogue_of_an_earlier_version_still_verifies() {
    let read =
        |file: &str| std::fs::read(kept(file)).unwrap_or_else(|error| panic!("{}: {error}", kept(file).display()));
    let scratch = tempfile::tempdir().unwrap();
    let (bundle, root) = (read("catalogue.json"), read("1.root.json"));
    let catalogue = verify(&bundle, &root, &Floors::default(), NOW_S, scratch.path()).await.unwrap();
    assert_eq!((catalogue.targets.len(), catalogue.floors.targets), (4, 1));
    assert_eq!(CatalogueBundle::parse(&bundle).unwrap().to_bytes(), bundle);
}

#[test]
#[ignore = "writes the catalogue that the test above reads; to be run once for a new form"]
fn keep_a_catalogue_of_this_version() {
    let fleet = Fleet::new();
    plant(&kept(""), "catalogue.json", &fleet.bundle.to_bytes());
    plant(&kept(""), "1.root.json", &fleet.roots[0]);
}

#[test]
fn nothing_as_large_as_a_model_can_be_a_target() {
    let fleet = Fleet::new();
    let sign = |bytes: usize, kind: TargetKind| {
        let targets = vec![(name("large.json"), vec![b' '; bytes], kind)];
        Release { targets }.sign(&fleet.roots[0], None, NOW_S + DAY_S, &refs(&fleet.targets_keys))
    };
    assert!(sign(DOCUMENT_BYTES + 1, TargetKind::Authority { release: 1 }).is_err());
    assert!(sign(2 << 20, TargetKind::Policy(PolicyFacts { release: 1, version: 1 })).is_err());
    let variant = targets(1, "00").swap_remove(0).2;
    let signed = sign(usize::try_from(CATALOGUE_BYTES).unwrap(), variant).unwrap();
    let roots = crate::fleet::slices(&fleet.roots);
    let refused = signed.publish(roots, None, &Default::default(), NOW_S, &[&fleet.online]).unwrap_err();
    assert!(matches!(refused, PublishError::Bundle(_)), "{refused}");
    // What the authority may say is bounded too, by what a device reads.
    assert!(serde_json::from_str::<Authority>(r#"{"v":1,"director_keys":[],"token_issuers":[],"more":1}"#).is_err());
}

#[test]
fn the_verifier_is_one_without_known_advisories() {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    let versions: Vec<_> = lock.split("[[package]]").filter(|package| package.contains("name = \"tough\"\n")).collect();
    assert_eq!(versions.len(), 1, "exactly one is built in");
    let version = versions[0].split("version = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let numbers: Vec<u64> = version.split('.').map(|part| part.parse().unwrap()).collect();
    // 0.20.0 fixed five advisories that are on GitHub only (GHSA-5vmp, v4wr, j8x2, 76g3, q6r9); 0.24 fixed the dates.
    assert!(numbers.as_slice() >= [0, 24, 0].as_slice(), "tough {version}");
}

#[test]
fn only_this_crate_names_the_verifier() {
    let names = |manifest: &Path| {
        let text = std::fs::read_to_string(manifest).unwrap();
        text.lines().any(|line| line.starts_with("tough")).then(|| manifest.to_owned())
    };
    let mut found: Vec<_> = manifests(&workspace()).iter().filter_map(|manifest| names(manifest)).collect();
    found.sort();
    let expected = [workspace().join("Cargo.toml"), workspace().join("control-plane/trust/Cargo.toml")];
    assert_eq!(found, expected, "others speak to `outpost_trust`");
}

#[test]
fn every_test_that_a_table_names_is_there() {
    let mut sources = String::new();
    for folder in ["agent", "control-plane"] {
        read_sources(&workspace().join(folder), &mut sources);
    }
    let readme = include_str!("../../README.md");
    let named: Vec<_> = [readme, include_str!("traps.rs")].iter().flat_map(|text| test_names(text)).collect();
    assert!(named.len() > 40, "{} names", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

/// What stands in a table's cell between backticks and reads like a test: `file::name`, `crate: name` or `name`.
fn test_names(text: &str) -> Vec<String> {
    let cells = text.lines().filter(|line| line.trim_start_matches("//! ").starts_with("| "));
    let quoted = cells.flat_map(|line| line.split('`').skip(1).step_by(2));
    let names = quoted.filter_map(|quoted| quoted.rsplit([':', ' ']).next());
    names.filter(|name| name.matches('_').count() > 2 && !name.contains('.')).map(str::to_owned).collect()
}

fn read_sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            read_sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn manifests(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let hidden = name.to_string_lossy().starts_with('.') || name == "target";
        if entry.file_type().unwrap().is_dir() && !hidden {
            found.extend(manifests(&path));
        } else if name == "Cargo.toml" {
            found.push(path);
        }
    }
    found
}

#[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
fn plant(folder: &Path, file: &str, bytes: &[u8]) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(file), bytes).unwrap();
}
