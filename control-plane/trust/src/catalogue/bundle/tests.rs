//! Bundles that are sound, and every way in which one is not.

use super::*;
use proptest::prelude::*;

fn smallest() -> BTreeMap<BundlePath, Vec<u8>> {
    BTreeMap::from([
        (BundlePath::Root(1), b"root".to_vec()),
        (BundlePath::Timestamp, b"timestamp".to_vec()),
        (BundlePath::Snapshot(3), b"snapshot".to_vec()),
        (BundlePath::Targets(2), b"targets".to_vec()),
    ])
}

#[test]
fn the_smallest_bundle_has_this_spelling() {
    let bundle = CatalogueBundle::from_files(smallest()).unwrap();
    let text = String::from_utf8(bundle.to_bytes()).unwrap();
    assert_eq!(
        text,
        r#"{"v":1,"files":{"metadata/1.root.json":"cm9vdA==","metadata/timestamp.json":"dGltZXN0YW1w","metadata/3.snapshot.json":"c25hcHNob3Q=","metadata/2.targets.json":"dGFyZ2V0cw=="}}"#
    );
    assert_eq!(CatalogueBundle::parse(text.as_bytes()), Ok(bundle));
}

#[test]
fn a_second_spelling_of_the_same_bundle_is_refused() {
    let text = String::from_utf8(CatalogueBundle::from_files(smallest()).unwrap().to_bytes()).unwrap();
    for other in [
        format!("{text} "),
        text.replace(r#""v":1,"#, r#""v": 1,"#),
        text.replace("metadata/1", "metadata\\/1"),
        text.replace(r#""files":{"#, r#""files":{"metadata/1.root.json":"YQ==","#),
    ] {
        assert_eq!(CatalogueBundle::parse(other.as_bytes()), Err(BundleError::NotCanonical), "{other}");
    }
    let unknown = text.replace(r#""v":1,"#, r#""v":1,"w":1,"#);
    assert!(matches!(CatalogueBundle::parse(unknown.as_bytes()), Err(BundleError::Malformed(_))));
    let newer = text.replace(r#""v":1,"#, r#""v":2,"#);
    assert_eq!(CatalogueBundle::parse(newer.as_bytes()), Err(BundleError::Form(2)));
}

#[test]
fn a_path_that_leaves_the_bundle_is_refused() {
    let sha256 = "ab".repeat(32);
    for bad in [
        "".to_owned(),
        "/etc/passwd".to_owned(),
        "../1.root.json".to_owned(),
        "metadata/../1.root.json".to_owned(),
        "metadata/1.root.json/".to_owned(),
        "metadata/01.root.json".to_owned(),
        "metadata/0.root.json".to_owned(),
        "metadata/+1.root.json".to_owned(),
        format!("metadata/{}.root.json", MOST_VERSION + 1),
        "metadata/root.json".to_owned(),
        "metadata/1.mirrors.json".to_owned(),
        "metadata/1.timestamp.json".to_owned(),
        format!("targets/{sha256}../../x"),
        format!("targets/{sha256}.a/b"),
        format!("targets/{sha256}..hidden"),
        format!("targets/{sha256}."),
        format!("targets/{}.x", "AB".repeat(32)),
        format!("targets/{sha256}.a%2Fb"),
        "targets/x".to_owned(),
    ] {
        assert!(matches!(bad.parse::<BundlePath>(), Err(BundleError::Path(_))), "{bad}");
    }
    let good = format!("targets/{sha256}.model-Q4_0.json");
    assert_eq!(good.parse::<BundlePath>().unwrap().to_string(), good);
}

#[test]
fn an_incomplete_or_oversized_bundle_is_refused() {
    for path in smallest().keys() {
        let mut files = smallest();
        files.remove(path);
        assert!(matches!(CatalogueBundle::from_files(files), Err(BundleError::Incomplete(_))), "{path}");
    }
    for another in [BundlePath::Snapshot(4), BundlePath::Targets(4), BundlePath::Root(3)] {
        let mut files = smallest();
        files.insert(another.clone(), Vec::new());
        assert!(matches!(CatalogueBundle::from_files(files), Err(BundleError::Incomplete(_))), "{another}");
    }
    let mut files = smallest();
    files.insert(BundlePath::Timestamp, vec![0; METADATA_BYTES + 1]);
    assert!(matches!(CatalogueBundle::from_files(files), Err(BundleError::File { .. })));
    let mut files = smallest();
    for index in 0..MOST_FILES {
        files.insert(BundlePath::Target(Sha256([0; 32]), format!("t{index}").parse().unwrap()), Vec::new());
    }
    assert!(matches!(CatalogueBundle::from_files(files), Err(BundleError::TooManyFiles(_))));
    let huge = vec![b'a'; usize::try_from(CATALOGUE_BYTES).unwrap() + 1];
    assert!(matches!(CatalogueBundle::parse(&huge), Err(BundleError::TooLarge(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_a_bundle_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = CatalogueBundle::parse(&bytes);
    }

    #[test]
    fn almost_a_bundle_is_read_or_refused_without_panic(
        files in proptest::collection::btree_map(
            "(metadata/[0-9]{0,3}\\.?(root|timestamp|snapshot|targets)\\.json|targets/[0-9a-f]{64}\\.[a-z./]{0,5}|.{0,20})",
            "[A-Za-z0-9+/]{0,12}={0,2}", 0..8)
    ) {
        let bytes = serde_json::json!({"v": 1, "files": files}).to_string();
        if let Ok(bundle) = CatalogueBundle::parse(bytes.as_bytes()) {
            prop_assert_eq!(bundle.to_bytes(), bytes.into_bytes());
        }
    }

    #[test]
    fn any_path_is_a_bundle_path_or_refused(path in "(metadata|targets)/[0-9a-f.rotsnap/%-]{0,90}") {
        if let Ok(read) = path.parse::<BundlePath>() {
            prop_assert_eq!(read.to_string(), path);
        }
    }

    #[test]
    fn any_cut_or_flipped_bundle_is_refused_or_another_bundle(index in 0usize..200, bit in 0u8..8, cut: bool) {
        let bytes = CatalogueBundle::from_files(smallest()).unwrap().to_bytes();
        let index = index % bytes.len();
        let mut changed = bytes.clone();
        if cut { changed.truncate(index) } else { changed[index] ^= 1 << bit }
        if let Ok(read) = CatalogueBundle::parse(&changed) {
            prop_assert_eq!(read.to_bytes(), changed);
        }
    }
}
