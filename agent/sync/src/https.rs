//! Chunks over HTTPS: runs of neighbours as ranges of their blob, single ones by their id; two requests at a time, each for as
//! much as comes soon.
//!
//! What came of a chunk before a cut is kept: the next request begins at the very byte. What arrives is handed on unjudged:
//! the receiver checks length and digest.

mod pace;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::{Blake3, Chunk, ChunkRun};
use outpost_disk::Clock;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE, RETRY_AFTER};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::link::{BackOff, Waits};
use crate::{Identity, TlsError, TransferError, peers};
use pace::Pace;
use segment::{Segment, Target, content_range};

/// Longest pause that a server may ask for before the fetch gives up instead.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A request that brought less than this was in vain: a server must not keep a fetch alive byte by byte.
const FRUITFUL_BYTES: u64 = 4096;

/// Chunks that a server lacks, before it had any, after which it counts as lacking all.
const ABSENT_IN_A_ROW: usize = 16;

/// How a fetch behaves.
#[derive(Debug, Clone)]
pub struct HttpsOptions {
    /// Waits after failures.
    pub back_off: BackOff,
    /// Requests in a row that brought nothing, after which the fetch gives up; what arrived is with the receiver.
    pub fruitless_requests: u32,
    /// The same before anything came: a server behind a closed door is left for the next source soon.
    pub fruitless_at_first: u32,
    /// Name lookup, TCP and TLS.
    pub connect_timeout: Duration,
    /// Longest wait for the head of an answer, and between two pieces of it.
    pub silence: Duration,
    /// Longest time that one chunk may take: a server that drips is as good as none.
    pub chunk_patience: Duration,
    /// Requests at once.
    pub lanes: usize,
    /// Most bytes of one request; on a slow line it asks for less.
    pub request_bytes: u64,
}

impl HttpsOptions {
    /// For the control plane, perhaps at the far end of a slow line.
    #[must_use]
    pub fn control_plane() -> Self {
        Self {
            back_off: BackOff { base: Duration::from_millis(500), cap: Duration::from_secs(10) },
            fruitless_requests: 8,
            fruitless_at_first: 3,
            connect_timeout: Duration::from_secs(5),
            silence: Duration::from_secs(30),
            chunk_patience: Duration::from_secs(300),
            lanes: 2,
            request_bytes: 16 * 1024 * 1024,
        }
    }

    /// For a neighbour: quick, or not worth waiting for, since there are others.
    #[must_use]
    pub fn peer() -> Self {
        Self {
            back_off: BackOff { base: Duration::from_millis(200), cap: Duration::from_secs(2) },
            fruitless_requests: 2,
            fruitless_at_first: 2,
            connect_timeout: Duration::from_secs(2),
            silence: Duration::from_secs(10),
            chunk_patience: Duration::from_secs(20),
            ..Self::control_plane()
        }
    }
}

/// A server of chunks: the control plane, or a neighbour.
#[derive(Debug, Clone)]
pub struct HttpsChunks {
    server: Arc<Server>,
}

#[derive(Debug)]
struct Server {
    client: reqwest::Client,
    base: reqwest::Url,
    /// It sends ranges of whole blobs, too.
    has_blobs: bool,
    options: HttpsOptions,
}

/// What the lanes of one fetch share.
#[derive(Debug)]
struct Work {
    waiting: Mutex<VecDeque<Segment>>,
    score: Mutex<Score>,
}

#[derive(Debug, Default)]
struct Score {
    /// Requests in vain since the last that brought something.
    fruitless: u32,
    /// Chunks that the server does not have.
    absent: usize,
    /// Something came.
    has_some: bool,
}

/// How one request ended without bringing all.
enum Stop {
    /// Another request may bring the rest.
    Again { reason: String, pause: Option<Duration> },
    /// The server does not have it.
    Absent,
    /// No other request would help.
    Final(TransferError),
}

impl HttpsChunks {
    /// The control plane that the device enrolled with.
    ///
    /// # Errors
    /// If its address, the key or the certificates cannot be used.
    pub fn new(identity: &Identity, options: HttpsOptions, clock: &Clock) -> Result<Self, TlsError> {
        let tls = (*identity.tls(clock)?).clone();
        Self::with(identity.server(), tls, true, options)
    }

    /// A neighbour of the same fleet, known by its address and its certificate, whatever its name.
    ///
    /// # Errors
    /// If the key or the certificates cannot be used.
    pub fn peer(
        identity: &Identity,
        address: SocketAddr,
        options: HttpsOptions,
        clock: &Clock,
    ) -> Result<Self, TlsError> {
        Self::with(&format!("https://{address}"), peers::client_tls(identity, clock)?, false, options)
    }

    fn with(base: &str, tls: rustls::ClientConfig, has_blobs: bool, options: HttpsOptions) -> Result<Self, TlsError> {
        let base = reqwest::Url::parse(base).map_err(|error| TlsError::Client { detail: error.to_string() })?;
        let client = client(tls, &options)?;
        Ok(Self { server: Arc::new(Server { client, base, has_blobs, options }) })
    }

    /// Where the server is.
    #[must_use]
    pub fn address(&self) -> &str {
        self.server.base.as_str().trim_end_matches('/')
    }

    /// Delivers the chunks of the runs in any order, each at most once per call, and returns when all have come.
    ///
    /// What a cut interrupted goes on at the byte where it was. Dropping the future closes the connections.
    ///
    /// # Errors
    /// [`TransferError::Unavailable`] after several fruitless requests, [`TransferError::Missing`] if the server lacks some
    /// of the chunks, [`TransferError::Refused`], or [`TransferError::Closed`] when the receiver of `deliver` is gone.
    pub async fn fetch_runs(
        &self,
        runs: &[ChunkRun],
        deliver: mpsc::Sender<(Blake3, Bytes)>,
    ) -> Result<(), TransferError> {
        let server = &self.server;
        let waiting = if server.has_blobs {
            Segment::of_runs(runs, server.options.request_bytes)
        } else {
            runs.iter().flat_map(|run| &run.chunks).map(|chunk| Segment::of_chunk(*chunk)).collect()
        };
        self.work(waiting, deliver).await
    }

    /// As [`fetch_runs`](Self::fetch_runs), for chunks of which only the id is known.
    ///
    /// # Errors
    /// As [`fetch_runs`](Self::fetch_runs).
    pub async fn fetch(&self, wanted: &[Chunk], deliver: mpsc::Sender<(Blake3, Bytes)>) -> Result<(), TransferError> {
        self.work(wanted.iter().map(|chunk| Segment::of_chunk(*chunk)).collect(), deliver).await
    }

    async fn work(
        &self,
        waiting: VecDeque<Segment>,
        deliver: mpsc::Sender<(Blake3, Bytes)>,
    ) -> Result<(), TransferError> {
        let work = Arc::new(Work { waiting: Mutex::new(waiting), score: Mutex::default() });
        // Tasks of their own, so that two cores can decrypt; they end with this set.
        let mut lanes = JoinSet::new();
        for _ in 0..self.server.options.lanes.max(1) {
            let (server, work, deliver) = (Arc::clone(&self.server), Arc::clone(&work), deliver.clone());
            lanes.spawn(async move { server.lane(&work, &deliver).await });
        }
        drop(deliver);
        while let Some(ended) = lanes.join_next().await {
            ended.map_err(|_| TransferError::Closed)??;
        }
        let absent = locked(&work.score).absent;
        if absent == 0 { Ok(()) } else { Err(TransferError::Missing { missing: absent }) }
    }
}

/// A client that speaks to one server of the fleet.
pub(crate) fn client(tls: rustls::ClientConfig, options: &HttpsOptions) -> Result<reqwest::Client, TlsError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.silence)
        .pool_max_idle_per_host(options.lanes)
        .build()
        .map_err(|error| TlsError::Client { detail: error.to_string() })
}

impl Work {
    /// One more chunk is not there. A server that has none of so many is not asked for each of the others.
    fn count_absent(&self) {
        let mut score = locked(&self.score);
        score.absent += 1;
        if score.absent >= ABSENT_IN_A_ROW && !score.has_some {
            let given_up = std::mem::take(&mut *locked(&self.waiting));
            score.absent += given_up.iter().map(Segment::missing_chunks).sum::<usize>();
        }
    }
}

impl Server {
    /// One request after the other until there is nothing left to ask for.
    async fn lane(&self, work: &Work, deliver: &mpsc::Sender<(Blake3, Bytes)>) -> Result<(), TransferError> {
        let mut waits = Waits::new(self.options.back_off);
        let mut pace = Pace::new(self.options.request_bytes);
        loop {
            let Some(mut segment) = locked(&work.waiting).pop_front() else { return Ok(()) };
            let before = segment.missing_bytes();
            let ended = self.segment(&mut segment, &mut pace, deliver).await;
            let came = before.saturating_sub(segment.missing_bytes());
            locked(&work.score).has_some |= came > 0;
            match ended {
                Ok(()) => {
                    locked(&work.score).fruitless = 0;
                    waits.reset();
                }
                Err(Stop::Final(error)) => return Err(error),
                Err(Stop::Absent) => match segment.one_by_one() {
                    Some(chunks) => locked(&work.waiting).extend(chunks),
                    None => work.count_absent(),
                },
                Err(Stop::Again { reason, pause }) => {
                    locked(&work.waiting).push_front(segment);
                    pace.broke_off();
                    if came >= FRUITFUL_BYTES {
                        locked(&work.score).fruitless = 0;
                        waits.reset();
                    }
                    let (fruitless, most) = {
                        let mut score = locked(&work.score);
                        score.fruitless += 1;
                        let HttpsOptions { fruitless_requests, fruitless_at_first, .. } = self.options;
                        (score.fruitless, if score.has_some { fruitless_requests } else { fruitless_at_first })
                    };
                    tracing::info!(server = %self.base, reason, came, fruitless, "a request for chunks broke off");
                    if fruitless >= most {
                        let missing = locked(&work.waiting).iter().map(Segment::missing_chunks).sum();
                        return Err(TransferError::Unavailable { missing, reason });
                    }
                    tokio::select! {
                        () = sleep(pause.unwrap_or_else(|| waits.next())) => {}
                        () = deliver.closed() => return Err(TransferError::Closed),
                    }
                }
            }
        }
    }

    /// One request after the other until the segment is here.
    async fn segment(
        &self,
        segment: &mut Segment,
        pace: &mut Pace,
        deliver: &mpsc::Sender<(Blake3, Bytes)>,
    ) -> Result<(), Stop> {
        while segment.missing_chunks() > 0 {
            self.request(segment, pace, deliver).await?;
        }
        Ok(())
    }

    /// Asks for what is next of a segment and hands on each chunk as it is complete.
    async fn request(
        &self,
        segment: &mut Segment,
        pace: &mut Pace,
        deliver: &mpsc::Sender<(Blake3, Bytes)>,
    ) -> Result<(), Stop> {
        let url = self.base.join(&segment.path()).map_err(|error| bad_answer(&error.to_string()))?;
        let (before, range) = (segment.missing_bytes(), segment.range(pace.bytes()));
        let asked = range.map_or(before, |(first, last)| (last - first).saturating_add(1));
        let asking = match range {
            Some((first, last)) => self.client.get(url).header(RANGE, format!("bytes={first}-{last}")),
            None => self.client.get(url),
        };
        let limit = self.options.connect_timeout + self.options.silence;
        let began = Instant::now();
        let answered = tokio::select! {
            answered = timeout(limit, asking.send()) => answered,
            () = deliver.closed() => return Err(Stop::Final(TransferError::Closed)),
        };
        let mut answer = answered.map_err(|_| again("no answer".to_owned()))?.map_err(|error| broken(&error))?;
        check(segment, range, answer.status(), answer.headers())?;
        let (first, mut left) = (began.elapsed(), asked);
        if answer.status() == StatusCode::OK {
            left = segment.missing_bytes();
        }
        let due = sleep(self.options.chunk_patience);
        tokio::pin!(due);
        loop {
            let piece = tokio::select! {
                piece = answer.chunk() => piece.map_err(|error| broken(&error))?,
                () = &mut due => return Err(again("a chunk takes too long".to_owned())),
            };
            // The end is waited for even after the last chunk: only then can the connection be used again.
            let Some(mut piece) = piece else { break };
            let is_more = piece.len() as u64 > left;
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= piece.len() as u64;
            while let Some(chunk) = segment.take(&mut piece) {
                deliver.send(chunk).await.map_err(|_| Stop::Final(TransferError::Closed))?;
                due.as_mut().reset(Instant::now() + self.options.chunk_patience);
            }
            if is_more {
                return Err(bad_answer("it sends more than it was asked for"));
            }
        }
        if left > 0 {
            return Err(again("the answer ended early".to_owned()));
        }
        pace.came(first, began.elapsed());
        Ok(())
    }
}

/// Judges the head of an answer to a request for `range`.
fn check(
    segment: &mut Segment,
    range: Option<(u64, u64)>,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<(), Stop> {
    match status {
        StatusCode::PARTIAL_CONTENT => {
            let sent = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).and_then(content_range);
            if sent.is_some() && sent == range { Ok(()) } else { Err(bad_answer("it sends another range")) }
        }
        // A server without ranges sends the chunk from its beginning.
        StatusCode::OK if matches!(segment.target(), Target::Chunk(_)) => {
            segment.restart();
            Ok(())
        }
        StatusCode::OK => Err(bad_answer("it does not send ranges")),
        StatusCode::NOT_FOUND => Err(Stop::Absent),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Stop::Final(TransferError::Refused {
            code: "not_authorised".to_owned(),
            detail: format!("HTTP {status}; was this device revoked?"),
            retry_after_s: 0,
        })),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let seconds = seconds.and_then(|value| value.parse::<u32>().ok());
            let pause = seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
            if let (Some(pause), Some(retry_after_s)) = (pause, seconds)
                && pause > LONGEST_PAUSE
            {
                let (code, detail) = ("rate_limited".to_owned(), format!("HTTP {status}"));
                return Err(Stop::Final(TransferError::Refused { code, detail, retry_after_s }));
            }
            Err(Stop::Again { reason: format!("HTTP {status}"), pause })
        }
        status if status.is_server_error() => Err(again(format!("HTTP {status}"))),
        status => Err(bad_answer(&format!("HTTP {status}"))),
    }
}

fn again(reason: String) -> Stop {
    Stop::Again { reason, pause: None }
}

/// An answer that no server of ours gives: asking again would bring the same.
fn bad_answer(detail: &str) -> Stop {
    let (code, detail) = ("bad_answer".to_owned(), detail.to_owned());
    Stop::Final(TransferError::Refused { code, detail, retry_after_s: 0 })
}

/// The innermost cause says most.
fn broken(error: &reqwest::Error) -> Stop {
    let mut detail = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
    let mut cause = error.source();
    while let Some(error) = cause {
        detail = error.to_string();
        cause = error.source();
    }
    again(detail)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
