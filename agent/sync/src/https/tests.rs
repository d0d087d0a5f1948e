//! Fetches from a server whose every answer the test writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::{Blake3, Chunk, ChunkRun};
use outpost_disk::Clock;
use proptest::prelude::*;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::segment::Segment;
use super::{HttpsChunks, HttpsOptions, Stop, check};
use crate::link::BackOff;
use crate::testing::Authority;
use crate::{Identity, TransferError};

const BLOB: Blake3 = Blake3([255; 32]);
const CHUNK: u32 = 50_000;

/// What a request was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    path: String,
    range: Option<(usize, usize)>,
}

/// Bytes on the wire, then the end of the connection, or the next request.
struct Reply {
    bytes: Vec<u8>,
    keep: bool,
}

/// Answers each request with what `answer` says, and remembers it.
struct Server {
    chunks: HttpsChunks,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    async fn start(answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let acceptor = TlsAcceptor::from(authority.server());
        let (asked, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen, answer) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    while let Some(asked) = read_request(&mut stream).await {
                        let number = {
                            let mut seen = seen.lock().unwrap();
                            seen.push(asked.clone());
                            seen.len()
                        };
                        let reply = answer(&asked, number);
                        if stream.write_all(&reply.bytes).await.is_err() || !reply.keep {
                            // What was written arrives; then the wire is cut.
                            let _ = stream.shutdown().await;
                            return;
                        }
                    }
                });
            }
        });
        let identity: Identity = authority.device("till-7", &url);
        let options = HttpsOptions {
            back_off: BackOff { base: Duration::from_millis(1), cap: Duration::from_millis(5) },
            fruitless_requests: 4,
            fruitless_at_first: 4,
            lanes: 1,
            ..HttpsOptions::control_plane()
        };
        Self { chunks: HttpsChunks::new(&identity, options, &Clock::system()).unwrap(), asked }
    }

    /// Fetches, and gives what came with how it ended.
    async fn fetch(&self, run: ChunkRun) -> (Vec<(Blake3, Bytes)>, Result<(), TransferError>) {
        let (deliver, mut arrivals) = mpsc::channel(64);
        let chunks = self.chunks.clone();
        let fetch = tokio::spawn(async move { chunks.fetch_runs(&[run], deliver).await });
        let mut came = Vec::new();
        while let Some(chunk) = arrivals.recv().await {
            came.push(chunk);
        }
        (came, fetch.await.unwrap())
    }

    fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let range = head.lines().find_map(|line| {
        let (first, last) = line.strip_prefix("range: bytes=")?.split_once('-')?;
        Some((first.parse().unwrap(), last.parse().unwrap()))
    });
    Some(Asked { path, range })
}

fn file(chunks: usize) -> (Vec<u8>, ChunkRun) {
    let bytes: Vec<u8> = (0..chunks * CHUNK as usize).map(|at| (at % 251) as u8).collect();
    let chunks = (0..chunks).map(|number| Chunk { id: Blake3([number as u8; 32]), bytes: CHUNK }).collect();
    (bytes, ChunkRun { blob: BLOB, start: 0, chunks })
}

/// The honest answer to a range.
fn part(bytes: &[u8], asked: &Asked) -> (String, Vec<u8>) {
    let (first, last) = asked.range.unwrap();
    let body = bytes[first..=last].to_vec();
    let head = format!(
        "HTTP/1.1 206 x\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{last}/{}\r\n\r\n",
        body.len(),
        bytes.len()
    );
    (head, body)
}

fn reply(head: &str, body: &[u8], keep: bool) -> Reply {
    Reply { bytes: [head.as_bytes(), body].concat(), keep }
}

fn joined(mut came: Vec<(Blake3, Bytes)>) -> Vec<u8> {
    came.sort_by_key(|(id, _)| id.0);
    came.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect()
}

#[tokio::test]
async fn a_run_of_neighbours_is_asked_for_in_ranges_that_grow_not_chunk_by_chunk() {
    let (bytes, run) = file(8);
    let served = bytes.clone();
    let server = Server::start(move |asked, _| {
        let (head, body) = part(&served, asked);
        reply(&head, &body, true)
    })
    .await;
    let (came, ended) = server.fetch(run).await;
    assert_eq!(ended, Ok(()));
    assert!(joined(came) == bytes);
    let requests = server.requests();
    assert!(requests.iter().all(|asked| asked.path == format!("/v1/blobs/{BLOB}")), "{requests:?}");
    let ranges: Vec<_> = requests.iter().map(|asked| asked.range.unwrap()).collect();
    assert!(ranges.len() < 8 && ranges[0].0 == 0 && ranges.last().unwrap().1 == bytes.len() - 1, "{ranges:?}");
    assert!(ranges.windows(2).all(|pair| pair[1].0 == pair[0].1 + 1), "{ranges:?}");
}

#[test]
fn wherever_the_wire_is_cut_the_next_request_begins_at_that_byte_and_nothing_comes_twice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    proptest!(ProptestConfig::with_cases(12), |(cuts in prop::collection::vec(1usize..120_000, 1..6))| {
        runtime.block_on(async {
            let (bytes, run) = file(8);
            let served = bytes.clone();
            let sent = Arc::new(Mutex::new(0));
            let count = Arc::clone(&sent);
            let cuts_made = cuts.clone();
            let server = Server::start(move |asked, number| {
                let (head, body) = part(&served, asked);
                let cut = cuts_made.get(number - 1).map_or(body.len(), |cut| (*cut).max(super::FRUITFUL_BYTES as usize));
                let cut = cut.min(body.len());
                *count.lock().unwrap() += cut;
                reply(&head, &body[..cut], cut == body.len())
            }).await;
            let (came, ended) = server.fetch(run).await;
            assert_eq!(ended, Ok(()));
            assert_eq!(came.len(), 8, "each chunk once");
            assert!(joined(came) == bytes);
            assert_eq!(*sent.lock().unwrap(), bytes.len(), "no byte was sent twice");
        });
    });
}

#[tokio::test]
async fn an_answer_of_another_range_or_without_ranges_is_refused() {
    for head in [
        "HTTP/1.1 206 x\r\ncontent-length: 5\r\ncontent-range: bytes 0-4/100000\r\n\r\n",
        "HTTP/1.1 206 x\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 200 x\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 302 x\r\nlocation: /elsewhere\r\ncontent-length: 5\r\n\r\n",
    ] {
        let server = Server::start(move |_, _| reply(head, b"bytes", true)).await;
        let (came, ended) = server.fetch(file(2).1).await;
        assert!(came.is_empty(), "{head}");
        assert!(
            matches!(&ended, Err(TransferError::Refused { code, .. }) if code == "bad_answer"),
            "{head}: {ended:?}"
        );
        assert_eq!(server.requests().len(), 1, "{head}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_left_when_everything_asked_for_has_come() {
    let (bytes, run) = file(2);
    let served = bytes.clone();
    let server = Server::start(move |asked, _| {
        let (first, last) = asked.range.unwrap();
        let head =
            format!("HTTP/1.1 206 x\r\ntransfer-encoding: chunked\r\ncontent-range: bytes {first}-{last}/*\r\n\r\n");
        let mut body = Vec::new();
        for piece in served[first..=last].chunks(10_000).chain(std::iter::repeat_n(&[7_u8; 10_000][..], 100)) {
            body.extend(format!("{:x}\r\n", piece.len()).bytes().chain(piece.iter().copied()).chain(*b"\r\n"));
        }
        reply(&head, &body, true)
    })
    .await;
    let (came, ended) = server.fetch(run).await;
    assert!(joined(came) == bytes[..CHUNK as usize], "what was whole of what was asked for came");
    assert!(matches!(&ended, Err(TransferError::Refused { detail, .. }) if detail.contains("more than")), "{ended:?}");
}

#[tokio::test]
async fn chunks_of_a_blob_that_is_not_there_are_asked_for_by_their_ids() {
    let (bytes, run) = file(3);
    let by_path: HashMap<_, _> = run.chunks[..2]
        .iter()
        .zip(bytes.chunks(CHUNK as usize))
        .map(|(chunk, bytes)| (format!("/v1/chunks/{}", chunk.id), bytes.to_vec()))
        .collect();
    let server = Server::start(move |asked, _| match by_path.get(&asked.path) {
        Some(body) => reply(&format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n", body.len()), body, true),
        None => reply("HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n", b"", true),
    })
    .await;
    let (came, ended) = server.fetch(run).await;
    assert_eq!(ended, Err(TransferError::Missing { missing: 1 }));
    assert!(joined(came) == bytes[..2 * CHUNK as usize]);
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_server_that_fails_every_time_is_given_up_after_a_few_requests() {
    let server = Server::start(|_, _| reply("HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n", b"", true)).await;
    let (_, ended) = server.fetch(file(5).1).await;
    assert_eq!(ended, Err(TransferError::Unavailable { missing: 5, reason: "HTTP 500 Internal Server Error".into() }));
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_pause_that_is_asked_for_is_kept_and_one_that_is_too_long_ends_the_fetch() {
    let judged = |status: StatusCode, retry_after: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        check(&mut Segment::of_chunk(file(1).1.chunks[0]), None, status, &headers)
    };
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let paused = judged(status, Some("7"));
        assert!(matches!(paused, Err(Stop::Again { pause: Some(pause), .. }) if pause.as_secs() == 7));
        assert!(matches!(judged(status, None), Err(Stop::Again { pause: None, .. })));
        assert!(matches!(judged(status, Some("next week")), Err(Stop::Again { pause: None, .. })));
        let ended = judged(status, Some("3600"));
        assert!(matches!(ended, Err(Stop::Final(TransferError::Refused { retry_after_s: 3600, .. }))));
    }
    let unknown = judged(StatusCode::UNAUTHORIZED, None);
    assert!(matches!(unknown, Err(Stop::Final(TransferError::Refused { code, .. })) if code == "not_authorised"));
}
