//! Answers requests for chunks, each in the turn that the shares give it, so that a large fetch starves nobody.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outpost_contract::limits::{CHUNKS_PER_REQUEST, PIECE_BYTES};
use outpost_contract::topic::Topic;
use outpost_contract::{Blake3, ChunkHeader, ChunkRefusal, ChunkRequest, DeviceId, Down, TenantId};
use tokio::sync::mpsc;

use super::{Blobs, Weight};
use crate::link::Sender;
use crate::shares::{Priority, Shares};

/// Chunks of one device that may wait: four requests; a well-behaved one has two at the most.
const CHUNKS_PER_DEVICE: usize = 4 * CHUNKS_PER_REQUEST;

/// Devices that may wait at once.
const DEVICES: usize = 4096;

/// Seconds after which a refused device may ask again.
const PAUSE_S: u32 = 2;

/// Longer waits are told: a device takes two seconds of silence for a loss, and asks again for less.
const SILENT_WAIT: Duration = Duration::from_millis(1500);

/// The longest pause that a device obeys; it asks again then.
const LONGEST_PAUSE_S: u32 = 60;

/// A device asks for chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) device: DeviceId,
    pub(crate) request: ChunkRequest,
}

/// Owns the queue. It is fed through a channel and never holds up the connection that feeds it.
pub(crate) struct BlobServer {
    tenant: TenantId,
    blobs: Blobs,
    sender: Sender,
    shares: Shares,
    queue: Queue,
    /// Turns that were asked for, small blobs apart from models: where no rate holds them up, the order is decided here.
    small: FuturesUnordered<Pin<Box<dyn Future<Output = Granted> + Send + Sync>>>,
    model: FuturesUnordered<Pin<Box<dyn Future<Output = Granted> + Send + Sync>>>,
}

/// A device may send so many bytes.
struct Granted {
    device: DeviceId,
    priority: Priority,
    bytes: u32,
}

/// What is to be sent next.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    device: DeviceId,
    transfer: u32,
    chunk: Blake3,
    pieces_from: Option<u32>,
}

/// A chunk that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    chunk: Blake3,
    weight: Weight,
    /// In pieces, from this byte on.
    pieces_from: Option<u32>,
}

/// What waits of the one transfer that a device has.
#[derive(Debug, Default)]
struct Waiting {
    transfer: u32,
    small: VecDeque<Wanted>,
    model: VecDeque<Wanted>,
}

impl Waiting {
    fn of(&mut self, priority: Priority) -> &mut VecDeque<Wanted> {
        match priority {
            Priority::Small => &mut self.small,
            Priority::Model => &mut self.model,
        }
    }

    fn len(&self) -> usize {
        self.small.len() + self.model.len()
    }

    fn holds(&self, chunk: Blake3) -> bool {
        self.small.iter().chain(&self.model).any(|wanted| wanted.chunk == chunk)
    }
}

/// Waiting chunks by device, and who has asked for a turn.
#[derive(Debug, Default)]
struct Queue {
    waiting: HashMap<DeviceId, Waiting>,
    asked: HashSet<(DeviceId, Priority)>,
}

impl Queue {
    /// False if the device, or the fleet, has too much waiting already. A chunk that waits already is not sent twice, and
    /// the transfer before this one has nobody who listens.
    fn put(&mut self, device: &DeviceId, transfer: u32, wanted: &[Wanted]) -> bool {
        if !self.waiting.contains_key(device) && self.waiting.len() >= DEVICES {
            return false;
        }
        let waiting = self.waiting.entry(device.clone()).or_default();
        if waiting.transfer != transfer {
            *waiting = Waiting { transfer, ..Waiting::default() };
        }
        for wanted in wanted {
            if waiting.holds(wanted.chunk) {
                continue;
            }
            if waiting.len() >= CHUNKS_PER_DEVICE {
                return false;
            }
            waiting.of(wanted.weight.priority).push_back(*wanted);
        }
        self.drop_if_empty(device);
        true
    }

    /// The turns that a device has chunks for and has not asked for; they count as asked for from now on.
    fn turns_to_ask(&mut self, device: &DeviceId) -> Vec<(Priority, u32)> {
        let Some(waiting) = self.waiting.get_mut(device) else { return Vec::new() };
        let mut turns = Vec::new();
        for priority in [Priority::Small, Priority::Model] {
            let Some(bytes) = waiting.of(priority).front().map(|wanted| wanted.weight.bytes) else { continue };
            if self.asked.insert((device.clone(), priority)) {
                turns.push((priority, bytes));
            }
        }
        turns
    }

    /// The chunk that a granted turn is for; none if what waited is not wanted any more.
    fn next(&mut self, device: &DeviceId, priority: Priority) -> Option<(Turn, u32)> {
        self.asked.remove(&(device.clone(), priority));
        let waiting = self.waiting.get_mut(device)?;
        let transfer = waiting.transfer;
        let wanted = waiting.of(priority).pop_front()?;
        self.drop_if_empty(device);
        let Wanted { chunk, weight, pieces_from } = wanted;
        Some((Turn { device: device.clone(), transfer, chunk, pieces_from }, weight.bytes))
    }

    /// Forgets the rest of a transfer that was refused.
    fn forget(&mut self, device: &DeviceId, transfer: u32) {
        if self.waiting.get(device).is_some_and(|waiting| waiting.transfer == transfer) {
            self.waiting.remove(device);
        }
    }

    fn drop_if_empty(&mut self, device: &DeviceId) {
        if self.waiting.get(device).is_some_and(|waiting| waiting.len() == 0) {
            self.waiting.remove(device);
        }
    }
}

impl BlobServer {
    pub(crate) fn new(tenant: TenantId, blobs: Blobs, sender: Sender, shares: Shares) -> Self {
        let (small, model) = (FuturesUnordered::new(), FuturesUnordered::new());
        Self { tenant, blobs, sender, shares, queue: Queue::default(), small, model }
    }

    /// Serves until the channel closes.
    pub(crate) async fn run(mut self, mut questions: mpsc::Receiver<Question>) {
        loop {
            // Sending is what takes time, so new questions are looked at between any two chunks.
            while let Ok(question) = questions.try_recv() {
                self.take(question).await;
            }
            tokio::select! {
                biased;
                Some(granted) = self.small.next() => self.serve(granted).await,
                Some(granted) = self.model.next() => self.serve(granted).await,
                question = questions.recv() => match question {
                    Some(question) => self.take(question).await,
                    None => return,
                },
            }
        }
    }

    async fn take(&mut self, Question { device, request }: Question) {
        let transfer = request.transfer;
        if !request.is_within_limits() {
            return self.refuse(&device, transfer, "rate_limited", "ask for 1 to 16 chunks at once", PAUSE_S).await;
        }
        let wanted = match self.weigh(request).await {
            Ok(wanted) => wanted,
            Err(detail) => {
                self.queue.forget(&device, transfer);
                return self.refuse(&device, transfer, "not_found", &detail, PAUSE_S).await;
            }
        };
        if !self.queue.put(&device, transfer, &wanted) {
            self.refuse(&device, transfer, "rate_limited", "too many requests wait already", PAUSE_S).await;
        }
        self.ask_for_turns(&device);
        if let Some(pause_s) = self.pause_s(&device, &wanted) {
            let detail = "others share the line; what was asked for comes in its turn";
            self.tell(&device, transfer, "rate_limited", detail, pause_s).await;
        }
    }

    /// Size and priority of each, or what is wrong.
    async fn weigh(&self, ChunkRequest { chunks, pieces_from, .. }: ChunkRequest) -> Result<Vec<Wanted>, String> {
        let blobs = self.blobs.clone();
        let weighing = tokio::task::spawn_blocking(move || {
            let weigh = |(place, chunk)| match blobs.weight(&chunk) {
                Ok(Some(Weight { bytes, priority })) => {
                    // Where nothing would be left to send, all of it is.
                    let arrived = pieces_from.filter(|from| place == 0 && *from < bytes).unwrap_or(0);
                    let weight = Weight { bytes: bytes - arrived, priority };
                    Ok(Wanted { chunk, weight, pieces_from: pieces_from.map(|_| arrived) })
                }
                Ok(None) => Err(format!("chunk {chunk} is in no catalogue here")),
                Err(error) => {
                    tracing::error!(%chunk, %error, "a chunk cannot be looked up");
                    Err("the chunk cannot be read at the moment".to_owned())
                }
            };
            chunks.into_iter().enumerate().map(weigh).collect()
        });
        weighing.await.unwrap_or_else(|_| Err("the chunk cannot be read at the moment".to_owned()))
    }

    fn ask_for_turns(&mut self, device: &DeviceId) {
        for (priority, bytes) in self.queue.turns_to_ask(device) {
            let (shares, device) = (self.shares.clone(), device.clone());
            let turn = Box::pin(async move {
                shares.take(&device, bytes, priority).await;
                Granted { device, priority, bytes }
            });
            match priority {
                Priority::Small => self.small.push(turn),
                Priority::Model => self.model.push(turn),
            }
        }
    }

    /// Seconds that a device should be told to wait for what it asked for; none if it comes soon enough.
    fn pause_s(&self, device: &DeviceId, wanted: &[Wanted]) -> Option<u32> {
        let priority = wanted.iter().map(|wanted| wanted.weight.priority).min()?;
        let wait = self.shares.wait(device, priority);
        let whole_s = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        (wait > SILENT_WAIT).then_some(whole_s.min(LONGEST_PAUSE_S))
    }

    async fn serve(&mut self, Granted { device, priority, bytes }: Granted) {
        match self.queue.next(&device, priority) {
            Some((turn, needed)) => {
                // Another transfer may have taken the place of the one that the turn was asked for.
                self.shares.give_back(&device, bytes.saturating_sub(needed));
                self.answer(turn).await;
            }
            None => self.shares.give_back(&device, bytes),
        }
        self.ask_for_turns(&device);
    }

    async fn answer(&mut self, Turn { device, transfer, chunk, pieces_from }: Turn) {
        let blobs = self.blobs.clone();
        let read = tokio::task::spawn_blocking(move || blobs.chunk(&chunk)).await;
        match read {
            Ok(Ok(Some(bytes))) => {
                let header = |at| Some(ChunkHeader { transfer, chunk, at }.to_bytes().into());
                let Some(from) = pieces_from else {
                    return self.send(&device, transfer, bytes, header(None)).await;
                };
                for (at, piece) in pieces(&bytes, from) {
                    self.send(&device, transfer, piece, header(Some(at))).await;
                }
            }
            Ok(Ok(None)) => {
                self.queue.forget(&device, transfer);
                let detail = format!("chunk {chunk} is in no catalogue here");
                self.refuse(&device, transfer, "not_found", &detail, PAUSE_S).await;
            }
            Ok(Err(error)) => {
                tracing::error!(%device, %chunk, %error, "a chunk cannot be read");
                self.queue.forget(&device, transfer);
                self.refuse(&device, transfer, "not_found", "the chunk cannot be read at the moment", PAUSE_S).await;
            }
            Err(error) => tracing::error!(%device, %chunk, %error, "reading a chunk broke off"),
        }
    }

    async fn refuse(&self, device: &DeviceId, transfer: u32, code: &str, detail: &str, retry_after_s: u32) {
        tracing::warn!(%device, transfer, code, detail, retry_after_s, "a request for chunks was refused");
        self.tell(device, transfer, code, detail, retry_after_s).await;
    }

    /// A refusal, or a pause for what stays in the queue.
    async fn tell(&self, device: &DeviceId, transfer: u32, code: &str, detail: &str, retry_after_s: u32) {
        let refusal = ChunkRefusal { transfer, code: code.to_owned(), detail: detail.to_owned(), retry_after_s };
        if let Ok(payload) = serde_json::to_vec(&refusal) {
            self.send(device, transfer, payload.into(), None).await;
        }
    }

    async fn send(&self, device: &DeviceId, transfer: u32, payload: Bytes, correlation: Option<Bytes>) {
        let topic = Topic::down(&self.tenant, device, Down::Blob(transfer));
        // Lost chunks are asked for again: a connection that is gone is no error here.
        self.sender.send_once(&topic, payload, correlation).await;
    }
}

/// A chunk from one of its bytes on, in pieces, each with the byte that it begins with.
fn pieces(chunk: &Bytes, from: u32) -> impl Iterator<Item = (u32, Bytes)> {
    let begins = usize::try_from(from).unwrap_or(usize::MAX)..chunk.len();
    begins.step_by(PIECE_BYTES).filter_map(|begin| {
        let piece = chunk.slice(begin..chunk.len().min(begin + PIECE_BYTES));
        Some((u32::try_from(begin).ok()?, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(bytes: &[u8], priority: Priority) -> Vec<Wanted> {
        let weight = Weight { bytes: 1000, priority };
        bytes.iter().map(|&byte| Wanted { chunk: Blake3([byte; 32]), weight, pieces_from: None }).collect()
    }

    fn device(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    #[test]
    fn a_chunk_that_is_asked_for_again_while_it_waits_is_sent_once() {
        let mut queue = Queue::default();
        let till = device("a");
        assert!(queue.put(&till, 1, &wanted(&[1, 2], Priority::Model)));
        assert!(queue.put(&till, 1, &wanted(&[2, 3], Priority::Model)));
        assert_eq!(queue.turns_to_ask(&till), [(Priority::Model, 1000)]);
        assert!(queue.turns_to_ask(&till).is_empty(), "one turn at a time");
        let order: Vec<u8> =
            std::iter::from_fn(|| queue.next(&till, Priority::Model)).map(|(turn, _)| turn.chunk.0[0]).collect();
        assert_eq!(order, [1, 2, 3]);
        assert!(queue.waiting.is_empty() && queue.asked.is_empty());
    }

    #[test]
    fn small_blobs_and_models_of_one_device_wait_apart() {
        let mut queue = Queue::default();
        let till = device("a");
        queue.put(&till, 1, &wanted(&[1], Priority::Model));
        queue.put(&till, 1, &wanted(&[2], Priority::Small));
        assert_eq!(queue.turns_to_ask(&till), [(Priority::Small, 1000), (Priority::Model, 1000)]);
        assert_eq!(queue.next(&till, Priority::Small).unwrap().0.chunk.0[0], 2);
        assert_eq!(queue.next(&till, Priority::Model).unwrap().0.chunk.0[0], 1);
    }

    #[test]
    fn a_new_transfer_takes_the_place_of_one_that_nobody_listens_to() {
        let mut queue = Queue::default();
        let till = device("a");
        queue.put(&till, 1, &wanted(&[1, 2], Priority::Model));
        queue.put(&till, 2, &wanted(&[3], Priority::Model));
        let (turn, _) = queue.next(&till, Priority::Model).unwrap();
        assert_eq!((turn.transfer, turn.chunk.0[0]), (2, 3));
        assert_eq!(queue.next(&till, Priority::Model), None);
    }

    #[test]
    fn a_device_that_asks_without_end_is_refused_and_harms_nobody() {
        let mut queue = Queue::default();
        let most = CHUNKS_PER_DEVICE as u8;
        assert!(queue.put(&device("a"), 1, &wanted(&(0..most).collect::<Vec<_>>(), Priority::Model)));
        assert!(!queue.put(&device("a"), 1, &wanted(&[most], Priority::Model)));
        assert!(queue.put(&device("b"), 1, &wanted(&[1], Priority::Model)));
        queue.forget(&device("a"), 9);
        assert!(!queue.put(&device("a"), 1, &wanted(&[most], Priority::Model)), "another transfer was meant");
        queue.forget(&device("a"), 1);
        assert!(queue.put(&device("a"), 1, &wanted(&[most], Priority::Model)));
    }

    #[test]
    fn pieces_are_the_chunk_again_from_any_byte_on() {
        let chunk = Bytes::from_iter((0..100_000_u32).map(|byte| byte as u8));
        for from in [0, 1, 32_768, 99_999, 100_000, u32::MAX] {
            let mut joined = Vec::new();
            for (at, piece) in pieces(&chunk, from) {
                assert_eq!(at as usize, from as usize + joined.len());
                assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES);
                joined.extend_from_slice(&piece);
            }
            assert!(joined == chunk[chunk.len().min(from as usize)..], "{from}");
        }
    }

    #[test]
    fn an_empty_request_waits_for_nothing() {
        let mut queue = Queue::default();
        assert!(queue.put(&device("a"), 1, &[]));
        assert!(queue.waiting.is_empty() && queue.turns_to_ask(&device("a")).is_empty());
    }
}
