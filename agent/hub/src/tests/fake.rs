//! A hub on this machine that speaks the hub's protocol, honest and not: a thread for each connection, nothing but the standard
//! library, so that a story of the real programs can have it, too.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// The commit that every revision means.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the hub behaves.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// Sends large files from another address, as a hub with a store does.
    pub store: bool,
    /// Breaks off bodies of files after so many bytes, this often.
    pub breaks: Option<(usize, usize)>,
    /// Hangs up without an answer, this often.
    pub hangs_up: usize,
    /// Answers a range from the beginning.
    pub no_ranges: bool,
    /// Says another range than it sends.
    pub wrong_range: bool,
    /// Sends other bytes of the same length.
    pub forged: bool,
    /// Sends more than it said, without saying how much.
    pub endless: bool,
    /// Redirects to itself for ever.
    pub circle: bool,
    /// Asks for a token, with this word of the hub's for why.
    pub gated: Option<&'static str>,
    /// Refuses the next requests so, each with its headers.
    pub refusals: Vec<(u16, &'static str)>,
    /// Sends so many bytes at once, with so much time between.
    pub trickle: Option<(usize, Duration)>,
}

/// A file that the hub has.
#[derive(Debug, Clone)]
pub struct HubFile {
    /// Its path in the repository.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// SHA-256 of a large file, or git's name of a small one; in hexadecimal.
    pub digest: String,
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Whether it was the store's.
    pub of_store: bool,
    /// The path with its query.
    pub path: String,
    /// What it says of who asks.
    pub authorization: Option<String>,
    /// What part it wants.
    pub range: Option<String>,
}

/// What happened, and how it goes on.
#[derive(Debug, Default)]
pub struct Seen {
    /// How the hub behaves.
    pub manners: Manners,
    /// What it says of the repository.
    pub listing: Value,
    /// What it has.
    pub files: Vec<HubFile>,
    /// Every request.
    pub requests: Vec<Asked>,
    store: String,
}

/// A hub with one repository, `tiny/model`.
#[derive(Debug, Clone)]
pub struct FakeHub {
    /// What stands in `HF_ENDPOINT`.
    pub address: String,
    seen: Arc<Mutex<Seen>>,
}

impl FakeHub {
    /// Listens on two ports of loopback: the hub's and its store's.
    pub fn serving(files: Vec<HubFile>, licence: &str, manners: Manners) -> Self {
        let sibling = |file: &HubFile| match file.digest.len() {
            40 => json!({"rfilename": file.path, "size": file.bytes.len(), "blobId": file.digest}),
            _ => json!({"rfilename": file.path, "size": file.bytes.len(), "blobId": "00",
                "lfs": {"sha256": file.digest, "size": file.bytes.len(), "pointerSize": 1}}),
        };
        let listing = json!({
            "sha": COMMIT,
            "siblings": files.iter().map(sibling).collect::<Vec<_>>(),
            "cardData": {"license": licence, "base_model": "tiny/base"},
            "tags": ["gguf", "bad\nword"],
        });
        let seen = Arc::new(Mutex::new(Seen { manners, listing, files, ..Seen::default() }));
        let store = listen(&seen, true);
        locked(&seen).store = store;
        Self { address: listen(&seen, false), seen }
    }

    /// What happened, to look at and to change.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        locked(&self.seen)
    }
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(seen: &Arc<Mutex<Seen>>, of_store: bool) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            // Whoever leaves in the middle is part of the story.
            std::thread::spawn(move || answer(&stream, &seen, of_store).ok());
        }
    });
    format!("http://{address}")
}

fn answer(stream: &TcpStream, seen: &Mutex<Seen>, of_store: bool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut asked = Asked { of_store, path, authorization: None, range: None };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "authorization" => asked.authorization = Some(value.trim().to_owned()),
            "range" => asked.range = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut seen = locked(seen);
    seen.requests.push(asked.clone());
    let reply = seen.reply(&asked);
    drop(seen);
    reply.map_or(Ok(()), |reply| reply.send(stream))
}

/// What goes back.
struct Reply {
    head: String,
    body: Vec<u8>,
    /// How much of the body is sent before it is cut.
    cut: Option<usize>,
    trickle: Option<(usize, Duration)>,
}

impl Reply {
    fn new(status: u16, headers: &str, body: Vec<u8>) -> Self {
        let length = format!("Content-Length: {}\r\n", body.len());
        let head = format!("HTTP/1.1 {status} As It Is\r\n{length}{headers}Connection: close\r\n\r\n");
        Self { head, body, cut: None, trickle: None }
    }

    fn send(self, mut stream: &TcpStream) -> std::io::Result<()> {
        stream.write_all(self.head.as_bytes())?;
        let body = &self.body[..self.cut.unwrap_or(usize::MAX).min(self.body.len())];
        let (piece, pause) = self.trickle.unwrap_or_else(|| (body.len().max(1), Duration::ZERO));
        for piece in body.chunks(piece) {
            stream.write_all(piece)?;
            std::thread::sleep(pause);
        }
        stream.flush()
    }
}

impl Seen {
    fn reply(&mut self, asked: &Asked) -> Option<Reply> {
        if self.manners.hangs_up > 0 {
            self.manners.hangs_up -= 1;
            return None;
        }
        if !self.manners.refusals.is_empty() {
            let (status, headers) = self.manners.refusals.remove(0);
            return Some(Reply::new(status, headers, Vec::new()));
        }
        if self.manners.circle {
            return Some(Reply::new(302, &format!("Location: {}\r\n", asked.path), Vec::new()));
        }
        let is_denied = asked.authorization.as_ref().is_none_or(|token| token.ends_with("denied"));
        if let Some(code) = self.manners.gated.filter(|_| is_denied && !asked.of_store) {
            let code = if code.is_empty() { String::new() } else { format!("X-Error-Code: {code}\r\n") };
            return Some(Reply::new(if asked.authorization.is_some() { 403 } else { 401 }, &code, Vec::new()));
        }
        let path = asked.path.split('?').next().unwrap_or_default().to_owned();
        if path == "/api/models/tiny/model/revision/main" {
            assert!(asked.path.ends_with("?blobs=true"), "{asked:?}");
            return Some(Reply::new(200, "Content-Type: application/json\r\n", self.listing.to_string().into_bytes()));
        }
        let below = format!("/tiny/model/resolve/{COMMIT}/");
        let name = path.strip_prefix(if asked.of_store { "/object/" } else { &below });
        let file = self.files.iter().find(|file| Some(file.path.as_str()) == name).cloned();
        let Some(file) = file else { return Some(Reply::new(404, "X-Error-Code: EntryNotFound\r\n", Vec::new())) };
        if self.manners.store && !asked.of_store && file.digest.len() == 64 {
            let to = format!("Location: {}/object/{}?signature=of-a-secret\r\n", self.store, file.path);
            return Some(Reply::new(302, &to, Vec::new()));
        }
        Some(self.file(&file, asked))
    }

    fn file(&mut self, file: &HubFile, asked: &Asked) -> Reply {
        let mut bytes = file.bytes.clone();
        if self.manners.forged {
            bytes.iter_mut().for_each(|byte| *byte ^= 1);
        }
        if self.manners.endless {
            bytes.extend_from_slice(&[7; 100_000]);
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned();
            return Reply { head, body: bytes, cut: None, trickle: None };
        }
        let whole = bytes.len();
        let range = asked.range.as_deref().filter(|_| !self.manners.no_ranges);
        let mut reply = match range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
            None => Reply::new(200, "", bytes),
            Some((from, to)) => {
                let from: usize = from.parse().unwrap_or(usize::MAX);
                if from >= whole {
                    return Reply::new(416, &format!("Content-Range: bytes */{whole}\r\n"), Vec::new());
                }
                let to = to.parse::<usize>().map_or(whole, |last| (last + 1).min(whole));
                let said = if self.manners.wrong_range { from + 1 } else { from };
                let said = format!("Content-Range: bytes {said}-{}/{whole}\r\n", to - 1);
                Reply::new(206, &said, bytes[from..to].to_vec())
            }
        };
        reply.trickle = self.manners.trickle;
        if let Some((after, times)) = &mut self.manners.breaks
            && *times > 0
        {
            *times -= 1;
            reply.cut = Some(*after);
        }
        reply
    }
}
