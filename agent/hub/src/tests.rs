//! A hub in this process, honest and not: what it sends is kept only if it is what the commit names, and its token stays with it.

#[allow(unreachable_pub, reason = "stories of the real programs have it, too")]
mod fake;
mod faults;

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::reference::RepositoryPath;
use super::*;
use fake::{Asked, COMMIT, FakeHub, HubFile, Manners};

/// What git calls a file that holds `abc`.
const GIT_ABC: &str = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f";
const TOKEN: &str = "hf_keep_this_to_yourself";
const LARGE: usize = 1;

/// A repository of a small and a large file.
fn hub(manners: Manners) -> (FakeHub, tempfile::TempDir) {
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file());
    let small = HubFile { path: "README.md".to_owned(), bytes: b"abc".to_vec(), digest: GIT_ABC.to_owned() };
    let path = "q4/tiny-Q4_0.gguf".to_owned();
    let large = HubFile { path, bytes: file(), digest: hex::encode(sha256) };
    (FakeHub::serving(vec![small, large], "apache-2.0", manners), tempfile::tempdir().unwrap())
}

/// Nobody who tests waits as long as a box.
fn quick() -> Patience {
    use std::time::Duration;
    Patience {
        tries: 3,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_secs(2),
        connect: Duration::from_secs(5),
        silence: Duration::from_millis(400),
        least_bytes: 1024,
    }
}

async fn fetch_from(hub: &FakeHub, dir: &Path, patterns: &[&str]) -> Result<Fetched, HubError> {
    fetch_patiently(hub, dir, patterns, quick()).await
}

async fn fetch_patiently(
    hub: &FakeHub,
    dir: &Path,
    patterns: &[&str],
    patience: Patience,
) -> Result<Fetched, HubError> {
    let access = HubAccess::new(&hub.address, Some(format!(" {TOKEN}\n"))).unwrap().with_patience(patience);
    assert!(!format!("{access:?}").contains(TOKEN));
    let request = FetchRequest {
        reference: "hf:tiny/model@main".parse().unwrap(),
        patterns: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
        directory: dir.to_owned(),
        most_file_bytes: 1 << 20,
        by: "ada".to_owned(),
        now_s: 1_800_000_000,
    };
    let fetched = fetch(access, &request, |_, _, _| ()).await;
    if let Err(error) = &fetched {
        assert!(!error.to_string().contains(TOKEN) && !error.to_string().contains("signature"), "{error}");
    }
    fetched
}

fn file() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).take(700_001).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.join("q4")) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_comes_whole_with_its_provenance_and_the_token_goes_to_the_hub_alone() {
    let (hub, dir) = self::hub(Manners { store: true, ..Manners::default() });
    let fetched = fetch_from(&hub, dir.path(), &[]).await.unwrap();
    assert_eq!((fetched.commit.as_str(), fetched.card.licence.as_str()), (COMMIT, "apache-2.0"));
    let [one] = &fetched.files[..] else { panic!("{fetched:?}") };
    assert_eq!(std::fs::read(&one.path).unwrap(), file());
    assert_eq!(names(dir.path()), ["tiny-Q4_0.gguf", "tiny-Q4_0.gguf.origin.json"]);
    let beside = FileOrigin::beside(&one.path).unwrap().unwrap();
    assert_eq!(beside, one.origin);
    assert_eq!(beside.origin.source, format!("{}/tiny/model", hub.address));
    assert_eq!((beside.origin.path.as_str(), beside.origin.fetched_by.as_str()), ("q4/tiny-Q4_0.gguf", "ada"));
    assert_eq!(
        (&beside.origin.base_models[..], &beside.origin.tags[..]),
        (&["tiny/base".to_owned()][..], &["gguf".to_owned()][..])
    );
    let seen = hub.seen();
    let bearer = Some(format!("Bearer {TOKEN}"));
    for Asked { of_store, authorization, .. } in &seen.requests {
        assert_eq!(*authorization, if *of_store { None } else { bearer.clone() });
    }
    assert_eq!(seen.requests.iter().filter(|asked| asked.of_store).count(), 1);
}

#[tokio::test]
async fn what_broke_off_goes_on_from_there_and_what_is_there_is_not_fetched_again() {
    let (hub, dir) = self::hub(Manners { store: true, breaks: Some((200_000, 2)), ..Manners::default() });
    let fetched = fetch_from(&hub, dir.path(), &[]).await.unwrap();
    assert_eq!(std::fs::read(&fetched.files[0].path).unwrap(), file());
    assert!(!names(dir.path()).iter().any(|name| name.ends_with(".part")));
    let asked = hub.seen().requests.clone();
    let ranges: Vec<_> = asked.iter().filter(|asked| asked.of_store).map(|asked| asked.range.clone()).collect();
    assert_eq!(ranges, [None, Some("bytes=200000-".to_owned()), Some("bytes=400000-".to_owned())]);
    let again = fetch_from(&hub, dir.path(), &[]).await.unwrap();
    assert_eq!(again.files[0].resumed_bytes, 700_001);
    assert_eq!(hub.seen().requests.len(), asked.len() + 1);
}

#[tokio::test]
async fn a_fetch_that_is_given_up_leaves_a_part_that_the_next_goes_on_from() {
    let (hub, dir) = self::hub(Manners { breaks: Some((300, usize::MAX)), ..Manners::default() });
    match fetch_from(&hub, dir.path(), &[]).await {
        Err(HubError::BrokeOff { done, bytes, .. }) => assert_eq!((done, bytes), (900, 700_001)),
        other => panic!("{other:?}"),
    }
    assert_eq!(names(dir.path()), ["tiny-Q4_0.gguf.part"]);
    hub.seen().manners.breaks = None;
    let fetched = fetch_from(&hub, dir.path(), &[]).await.unwrap();
    assert_eq!((fetched.files[0].resumed_bytes, std::fs::read(&fetched.files[0].path).unwrap()), (900, file()));
}

#[tokio::test]
async fn a_hub_without_ranges_begins_again_and_one_that_says_another_range_is_refused() {
    let (hub, dir) = self::hub(Manners { no_ranges: true, ..Manners::default() });
    std::fs::create_dir(dir.path().join("q4")).unwrap();
    let part = dir.path().join("q4/tiny-Q4_0.gguf.part");
    std::fs::write(&part, &file()[..1000]).unwrap();
    assert_eq!(std::fs::read(&fetch_from(&hub, dir.path(), &[]).await.unwrap().files[0].path).unwrap(), file());
    let (hub, dir) = self::hub(Manners { wrong_range: true, ..Manners::default() });
    std::fs::create_dir(dir.path().join("q4")).unwrap();
    std::fs::write(dir.path().join("q4/tiny-Q4_0.gguf.part"), &file()[..1000]).unwrap();
    assert!(matches!(fetch_from(&hub, dir.path(), &[]).await, Err(HubError::Other { .. })));
}

#[tokio::test]
async fn other_bytes_than_the_commit_names_are_not_kept_whether_sent_now_or_left_in_the_part() {
    let (hub, dir) = self::hub(Manners { forged: true, ..Manners::default() });
    assert!(matches!(fetch_from(&hub, dir.path(), &[]).await, Err(HubError::Digest { .. })));
    assert!(names(dir.path()).is_empty());
    let (hub, dir) = self::hub(Manners::default());
    std::fs::create_dir(dir.path().join("q4")).unwrap();
    std::fs::write(dir.path().join("q4/tiny-Q4_0.gguf.part"), vec![9; 800_000]).unwrap();
    assert!(matches!(fetch_from(&hub, dir.path(), &[]).await, Err(HubError::Digest { .. })));
    assert!(fetch_from(&hub, dir.path(), &[]).await.is_ok());
}

#[tokio::test]
async fn more_than_was_said_and_more_than_is_wanted_are_refused() {
    let (hub, dir) = self::hub(Manners { endless: true, ..Manners::default() });
    assert!(matches!(fetch_from(&hub, dir.path(), &[]).await, Err(HubError::Other { .. })));
    assert!(names(dir.path()).is_empty());
    hub.seen().listing["siblings"][1]["lfs"]["size"] = json!(1_u64 << 40);
    assert!(matches!(fetch_from(&hub, dir.path(), &[]).await, Err(HubError::TooLarge { .. })));
    let (hub, dir) = self::hub(Manners::default());
    hub.seen().listing["padding"] = json!("x".repeat(17 << 20));
    assert!(matches!(fetch_from(&hub, dir.path(), &[]).await, Err(HubError::Listing(_))));
}

#[tokio::test]
async fn circles_closed_doors_and_names_that_lead_out_are_refused_with_words() {
    let (hub, dir) = self::hub(Manners { circle: true, ..Manners::default() });
    assert!(matches!(fetch_from(&hub, dir.path(), &[]).await, Err(HubError::Redirect(_))));
    let (hub, dir) = self::hub(Manners::default());
    let refusal = fetch_from(&hub, dir.path(), &["*.bin"]).await.unwrap_err().to_string();
    assert!(refusal.contains("`*.bin`") && refusal.contains("q4/tiny-Q4_0.gguf"), "{refusal}");
    for bad in
        ["../../etc/cron.d/x.gguf", "/etc/x.gguf", "a/../x.gguf", "a\\..\\x.gguf", "c:x.gguf", "a//x.gguf", "./x.gguf"]
    {
        hub.seen().listing["siblings"][LARGE]["rfilename"] = json!(bad);
        assert!(
            matches!(fetch_from(&hub, dir.path(), &["*"]).await.map(|fetched| fetched.files.len()), Ok(1)),
            "{bad}"
        );
        assert!(matches!(fetch_from(&hub, dir.path(), &["*.gguf"]).await, Err(HubError::NothingFits { .. })), "{bad}");
    }
    hub.seen().listing["siblings"][1] = json!({"rfilename": "x.gguf", "size": 4});
    assert!(matches!(fetch_from(&hub, dir.path(), &[]).await, Err(HubError::NoDigest(_))));
    hub.seen().listing["sha"] = json!("main");
    assert!(matches!(fetch_from(&hub, dir.path(), &[]).await, Err(HubError::Listing(_))));
    let (hub, dir) = self::hub(Manners { gated: Some(""), ..Manners::default() });
    let access = HubAccess::new(&hub.address, None).unwrap();
    let client = client::Client::new(access).unwrap();
    let refusal = client.listing(&"hf:tiny/model".parse().unwrap()).await.unwrap_err().to_string();
    assert!(refusal.contains("401") && refusal.contains("HF_TOKEN"), "{refusal}");
    assert!(fetch_from(&hub, dir.path(), &[]).await.is_ok());
}

#[tokio::test]
async fn a_small_file_is_checked_by_the_name_that_git_gives_it() {
    let (hub, dir) = self::hub(Manners::default());
    hub.seen().listing["siblings"][0]["blobId"] = json!("3767b04e1a4c3c4a1e14ba41e1e2ba4cca53aaa1");
    assert!(matches!(fetch_from(&hub, dir.path(), &["README.md"]).await, Err(HubError::Digest { .. })));
    hub.seen().listing["siblings"][0]["blobId"] = json!(GIT_ABC);
    let fetched = fetch_from(&hub, dir.path(), &["README.md"]).await.unwrap();
    assert_eq!(std::fs::read(&fetched.files[0].path).unwrap(), b"abc");
}

#[test]
fn references_and_endpoints_are_read_or_refused() {
    let read = |text: &str| text.parse::<HubReference>().map(|reference| reference.to_string());
    assert_eq!(read("hf:Qwen/Qwen3-0.6B-GGUF").unwrap(), "hf:Qwen/Qwen3-0.6B-GGUF@main");
    assert_eq!(read("hf:a/b@refs/pr/3").unwrap(), "hf:a/b@refs/pr/3");
    for bad in [
        "a/b",
        "hf:a",
        "hf:a/b/c",
        "hf:a/..",
        "hf:../b",
        "hf:a/b@",
        "hf:a/b@../x",
        "hf:a/b@x?y",
        "hf:a/b#c",
        "hf:/b",
        "hf:a/-b",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    for bad in
        ["http://hub.example.org", "ftp://x", "https://u:p@hub.example.org", "https://hub.example.org/?a=b", "hub"]
    {
        assert!(HubAccess::new(bad, None).is_err(), "{bad}");
    }
    assert!(HubAccess::new("https://mirror.example.org/hub/", Some("a b".into())).is_err());
    assert!(HubAccess::new("http://127.0.0.1:1", None).is_ok());
}

#[test]
fn patterns_mean_what_shells_mean() {
    let fits = |path: &str, pattern: &str| RepositoryPath::parse(path).unwrap().fits(pattern);
    assert!(fits("a/b-Q4_0.gguf", "*.gguf") && fits("a/b-Q4_0.gguf", "a/*") && fits("x.gguf", "?.gguf"));
    assert!(fits("b-Q4_0.gguf", "*Q4_0*") && !fits("a/b.gguf", "b/*") && !fits("xy.gguf", "?.gguf") && !fits("x", ""));
    assert!(fits("aaaaaaaaaaaaaaaaaaaaaaaab", "*a*a*a*a*b") && !fits("aaaaaaaaaaaaaaaaaaaaaaaa", "*a*a*a*a*b"));
}

proptest! {
    #[test]
    fn whatever_a_hub_says_a_path_stays_inside(text in "[a-z./\\\\: \u{202e}-]{0,40}|\\PC{0,60}") {
        if let Some(path) = RepositoryPath::parse(&text) {
            let joined = Path::new("/kept").join(path.to_path());
            prop_assert!(joined.starts_with("/kept") && joined != Path::new("/kept"));
            prop_assert!(joined.components().all(|part| !matches!(part, std::path::Component::ParentDir)));
        }
    }

    #[test]
    fn whatever_a_hub_answers_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in any::<u64>(), name in "\\PC{0,20}") {
        let _ = listing::Listing::parse(&bytes);
        let text = json!({"sha": COMMIT, "siblings": [{"rfilename": name, "size": size, "lfs": {"sha256": "0".repeat(64), "size": size}}],
            "cardData": {"license": [name], "base_model": {"x": 1}}, "tags": [name]}).to_string();
        let listing = listing::Listing::parse(text.as_bytes()).unwrap();
        prop_assert!(listing.card.tags.iter().all(|word| !word.chars().any(char::is_control)));
    }
}
