//! A hub in this process, honest and not: what it sends is kept only if it is what the commit names, and its token stays with it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::reference::RepositoryPath;
use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// What git calls a file that holds `abc`.
const GIT_ABC: &str = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f";
const TOKEN: &str = "hf_keep_this_to_yourself";

/// How the hub behaves.
#[derive(Debug, Clone, Default)]
struct Manners {
    /// Sends large files from another address, as a hub with a store does.
    store: bool,
    /// Breaks off after so many bytes, this often.
    breaks: Option<(usize, usize)>,
    /// Answers a range from the beginning.
    no_ranges: bool,
    /// Says another range than it sends.
    wrong_range: bool,
    /// Sends other bytes of the same length.
    forged: bool,
    /// Sends more than it said, without saying how much.
    endless: bool,
    /// Redirects to itself for ever.
    circle: bool,
    /// Asks for a token.
    gated: bool,
}

struct FakeHub {
    address: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    manners: Manners,
    listing: Value,
    file: Vec<u8>,
    store: Option<String>,
    /// What each request carried: whether to the store, its authorization, its range.
    requests: Vec<(bool, Option<String>, Option<String>)>,
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

impl FakeHub {
    async fn new(file: Vec<u8>, manners: Manners) -> Self {
        let sha256 = hex::encode(sha2::Sha256::digest(&file));
        let listing = json!({
            "sha": COMMIT,
            "siblings": [
                {"rfilename": "README.md", "size": 3, "blobId": GIT_ABC},
                {"rfilename": "q4/tiny-Q4_0.gguf", "size": file.len(), "blobId": "00", "lfs": {"sha256": sha256, "size": file.len(), "pointerSize": 1}},
            ],
            "cardData": {"license": "apache-2.0", "base_model": "tiny/base"},
            "tags": ["gguf", "bad\nword"],
        });
        let seen = Arc::new(Mutex::new(Seen { manners, listing, file, ..Seen::default() }));
        let router = |is_store: bool| Router::new().fallback(answer).with_state((Arc::clone(&seen), is_store));
        let store = listen(router(true)).await;
        seen.lock().unwrap().store = Some(store);
        let address = listen(router(false)).await;
        Self { address, seen }
    }

    async fn fetch_to(&self, dir: &Path, patterns: &[&str]) -> Result<Fetched, HubError> {
        let access = HubAccess::new(&self.address, Some(format!(" {TOKEN}\n"))).unwrap();
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
}

async fn answer(State((seen, is_store)): State<(Arc<Mutex<Seen>>, bool)>, request: Request) -> Response {
    let mut seen = seen.lock().unwrap();
    let header = |headers: &HeaderMap, name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (token, range) = (header(request.headers(), header::AUTHORIZATION), header(request.headers(), header::RANGE));
    seen.requests.push((is_store, token.clone(), range.clone()));
    let (path, manners) = (request.uri().path().to_owned(), seen.manners.clone());
    if manners.circle {
        return (StatusCode::FOUND, [(header::LOCATION, path)]).into_response();
    }
    if manners.gated && token.is_none_or(|token| token.ends_with("denied")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if path == "/api/models/tiny/model/revision/main" {
        assert_eq!(request.uri().query(), Some("blobs=true"));
        return axum::Json(seen.listing.clone()).into_response();
    }
    if path == format!("/tiny/model/resolve/{COMMIT}/README.md") {
        return "abc".into_response();
    }
    if !is_store && path != format!("/tiny/model/resolve/{COMMIT}/q4/tiny-Q4_0.gguf") {
        return StatusCode::NOT_FOUND.into_response();
    }
    if manners.store && !is_store {
        let to = format!("{}/object?signature=of-a-secret", seen.store.clone().unwrap());
        return (StatusCode::FOUND, [(header::LOCATION, to)]).into_response();
    }
    let whole = seen.file.len();
    let from: usize = range.map_or(0, |range| range[6..range.len() - 1].parse().unwrap());
    let mut bytes = seen.file.clone();
    if manners.forged {
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
    }
    if manners.endless {
        bytes.extend_from_slice(&[7; 100]);
        return Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(bytes))]))
            .into_response();
    }
    let is_whole = from == 0 || manners.no_ranges;
    let part = Bytes::from(bytes.split_off(if is_whole { 0 } else { from }));
    let length = part.len();
    let body = match &mut seen.manners.breaks {
        Some((after, times)) if *times > 0 => {
            *times -= 1;
            let pieces = [Ok(part.slice(..(*after).min(length))), Err(std::io::Error::other("the line was cut"))];
            // What came before the cut is on its way by then.
            Body::from_stream(futures_util::stream::iter(pieces).then(|piece| async {
                if piece.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                piece
            }))
        }
        _ => Body::from(part),
    };
    let response = Response::builder().header(header::CONTENT_LENGTH, length);
    if is_whole {
        return response.body(body).unwrap();
    }
    let first = if manners.wrong_range { from + 1 } else { from };
    let said = format!("bytes {first}-{}/{whole}", whole - 1);
    response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, said).body(body).unwrap()
}

fn file() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).take(700_001).collect()
}

async fn hub(manners: Manners) -> (FakeHub, tempfile::TempDir) {
    (FakeHub::new(file(), manners).await, tempfile::tempdir().unwrap())
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.join("q4")) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_comes_whole_with_its_provenance_and_the_token_goes_to_the_hub_alone() {
    let (hub, dir) = hub(Manners { store: true, gated: false, ..Manners::default() }).await;
    let fetched = hub.fetch_to(dir.path(), &[]).await.unwrap();
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
    let seen = hub.seen.lock().unwrap();
    let bearer = Some(format!("Bearer {TOKEN}"));
    for (is_store, token, _) in &seen.requests {
        assert_eq!(*token, if *is_store { None } else { bearer.clone() });
    }
    assert_eq!(seen.requests.iter().filter(|(is_store, ..)| *is_store).count(), 1);
}

#[tokio::test]
async fn what_broke_off_goes_on_from_there_and_what_is_there_is_not_fetched_again() {
    let (hub, dir) = hub(Manners { store: true, breaks: Some((200_000, 2)), ..Manners::default() }).await;
    for done in [200_000, 400_000] {
        match hub.fetch_to(dir.path(), &[]).await {
            Err(HubError::BrokeOff { done: at, .. }) => assert!(at <= done, "{at}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(names(dir.path()), ["tiny-Q4_0.gguf.part"]);
    }
    let fetched = hub.fetch_to(dir.path(), &[]).await.unwrap();
    assert_eq!(std::fs::read(&fetched.files[0].path).unwrap(), file());
    assert!(!names(dir.path()).iter().any(|name| name.ends_with(".part")));
    let asked = hub.seen.lock().unwrap().requests.len();
    let again = hub.fetch_to(dir.path(), &[]).await.unwrap();
    assert_eq!(again.files[0].resumed_bytes, 700_001);
    assert_eq!(hub.seen.lock().unwrap().requests.len(), asked + 1);
}

#[tokio::test]
async fn a_hub_without_ranges_begins_again_and_one_that_says_another_range_is_refused() {
    let (hub, dir) = hub(Manners { no_ranges: true, ..Manners::default() }).await;
    std::fs::create_dir(dir.path().join("q4")).unwrap();
    let part = dir.path().join("q4/tiny-Q4_0.gguf.part");
    std::fs::write(&part, &file()[..1000]).unwrap();
    assert_eq!(std::fs::read(&hub.fetch_to(dir.path(), &[]).await.unwrap().files[0].path).unwrap(), file());
    let (hub, dir) = self::hub(Manners { wrong_range: true, ..Manners::default() }).await;
    std::fs::create_dir(dir.path().join("q4")).unwrap();
    std::fs::write(dir.path().join("q4/tiny-Q4_0.gguf.part"), &file()[..1000]).unwrap();
    assert!(matches!(hub.fetch_to(dir.path(), &[]).await, Err(HubError::Other { .. })));
}

#[tokio::test]
async fn other_bytes_than_the_commit_names_are_not_kept_whether_sent_now_or_left_in_the_part() {
    let (hub, dir) = hub(Manners { forged: true, ..Manners::default() }).await;
    assert!(matches!(hub.fetch_to(dir.path(), &[]).await, Err(HubError::Digest { .. })));
    assert!(names(dir.path()).is_empty());
    let (hub, dir) = self::hub(Manners::default()).await;
    std::fs::create_dir(dir.path().join("q4")).unwrap();
    std::fs::write(dir.path().join("q4/tiny-Q4_0.gguf.part"), vec![9; 800_000]).unwrap();
    assert!(matches!(hub.fetch_to(dir.path(), &[]).await, Err(HubError::Digest { .. })));
    assert!(hub.fetch_to(dir.path(), &[]).await.is_ok());
}

#[tokio::test]
async fn more_than_was_said_and_more_than_is_wanted_are_refused() {
    let (hub, dir) = hub(Manners { endless: true, ..Manners::default() }).await;
    assert!(matches!(hub.fetch_to(dir.path(), &[]).await, Err(HubError::Other { .. })));
    assert!(names(dir.path()).is_empty());
    hub.seen.lock().unwrap().listing["siblings"][1]["lfs"]["size"] = json!(1_u64 << 40);
    assert!(matches!(hub.fetch_to(dir.path(), &[]).await, Err(HubError::TooLarge { .. })));
    let (hub, dir) = self::hub(Manners::default()).await;
    hub.seen.lock().unwrap().listing["padding"] = json!("x".repeat(17 << 20));
    assert!(matches!(hub.fetch_to(dir.path(), &[]).await, Err(HubError::Listing(_))));
}

#[tokio::test]
async fn circles_closed_doors_and_names_that_lead_out_are_refused_with_words() {
    let (hub, dir) = hub(Manners { circle: true, ..Manners::default() }).await;
    assert!(matches!(hub.fetch_to(dir.path(), &[]).await, Err(HubError::Redirect(_))));
    let (hub, dir) = self::hub(Manners::default()).await;
    let refusal = hub.fetch_to(dir.path(), &["*.bin"]).await.unwrap_err().to_string();
    assert!(refusal.contains("`*.bin`") && refusal.contains("q4/tiny-Q4_0.gguf"), "{refusal}");
    for bad in
        ["../../etc/cron.d/x.gguf", "/etc/x.gguf", "a/../x.gguf", "a\\..\\x.gguf", "c:x.gguf", "a//x.gguf", "./x.gguf"]
    {
        hub.seen.lock().unwrap().listing["siblings"][1]["rfilename"] = json!(bad);
        assert!(matches!(hub.fetch_to(dir.path(), &["*"]).await.map(|fetched| fetched.files.len()), Ok(1)), "{bad}");
        assert!(matches!(hub.fetch_to(dir.path(), &["*.gguf"]).await, Err(HubError::NothingFits { .. })), "{bad}");
    }
    hub.seen.lock().unwrap().listing["siblings"][1] = json!({"rfilename": "x.gguf", "size": 4});
    assert!(matches!(hub.fetch_to(dir.path(), &[]).await, Err(HubError::NoDigest(_))));
    hub.seen.lock().unwrap().listing["sha"] = json!("main");
    assert!(matches!(hub.fetch_to(dir.path(), &[]).await, Err(HubError::Listing(_))));
    let (hub, dir) = self::hub(Manners { gated: true, ..Manners::default() }).await;
    let access = HubAccess::new(&hub.address, None).unwrap();
    let client = client::Client::new(access).unwrap();
    let refusal = client.listing(&"hf:tiny/model".parse().unwrap()).await.unwrap_err().to_string();
    assert!(refusal.contains("401") && refusal.contains("HF_TOKEN"), "{refusal}");
    assert!(hub.fetch_to(dir.path(), &[]).await.is_ok());
}

#[tokio::test]
async fn a_small_file_is_checked_by_the_name_that_git_gives_it() {
    let (hub, dir) = hub(Manners::default()).await;
    hub.seen.lock().unwrap().listing["siblings"][0]["blobId"] = json!("3767b04e1a4c3c4a1e14ba41e1e2ba4cca53aaa1");
    assert!(matches!(hub.fetch_to(dir.path(), &["README.md"]).await, Err(HubError::Digest { .. })));
    hub.seen.lock().unwrap().listing["siblings"][0]["blobId"] = json!(GIT_ABC);
    let fetched = hub.fetch_to(dir.path(), &["README.md"]).await.unwrap();
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
