//! Answers requests for chunks, one chunk for each waiting device in turn, so that a large fetch starves nobody.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use outpost_contract::topic::Topic;
use outpost_contract::{Blake3, ChunkHeader, ChunkRefusal, ChunkRequest, DeviceId, Down, TenantId};
use tokio::sync::mpsc;

use super::Blobs;
use crate::link::Sender;

/// Requests of one device that may wait; a well-behaved one has two at the most.
const REQUESTS_PER_DEVICE: usize = 4;

/// Devices that may wait at once.
const DEVICES: usize = 4096;

/// Seconds after which a refused device may ask again.
const PAUSE_S: u32 = 2;

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
    queue: Queue,
}

/// What is to be sent next.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    device: DeviceId,
    transfer: u32,
    chunk: Blake3,
}

/// Waiting requests by device, devices in the order of their turns.
#[derive(Debug, Default)]
struct Queue {
    waiting: HashMap<DeviceId, VecDeque<(u32, VecDeque<Blake3>)>>,
    turns: VecDeque<DeviceId>,
}

impl Queue {
    /// False if the device, or the fleet, has too much waiting already.
    fn put(&mut self, Question { device, request }: Question) -> bool {
        let known = self.waiting.contains_key(&device);
        if !known && self.waiting.len() >= DEVICES {
            return false;
        }
        let requests = self.waiting.entry(device.clone()).or_default();
        if requests.len() >= REQUESTS_PER_DEVICE {
            return false;
        }
        requests.push_back((request.transfer, request.chunks.into()));
        if !known {
            self.turns.push_back(device);
        }
        true
    }

    /// The next chunk; the device goes to the end of the line.
    fn next(&mut self) -> Option<Turn> {
        loop {
            let device = self.turns.pop_front()?;
            let Some(requests) = self.waiting.get_mut(&device) else { continue };
            let turn = requests.front_mut().and_then(|(transfer, chunks)| {
                chunks.pop_front().map(|chunk| Turn { device: device.clone(), transfer: *transfer, chunk })
            });
            if requests.front().is_some_and(|(_, chunks)| chunks.is_empty()) {
                requests.pop_front();
            }
            if requests.is_empty() {
                self.waiting.remove(&device);
            } else {
                self.turns.push_back(device);
            }
            if turn.is_some() {
                return turn;
            }
        }
    }

    /// Forgets the rest of a transfer that was refused.
    fn forget(&mut self, device: &DeviceId, transfer: u32) {
        if let Some(requests) = self.waiting.get_mut(device) {
            requests.retain(|(waiting, _)| *waiting != transfer);
            if requests.is_empty() {
                self.waiting.remove(device);
                self.turns.retain(|waiting| waiting != device);
            }
        }
    }
}

impl BlobServer {
    pub(crate) fn new(tenant: TenantId, blobs: Blobs, sender: Sender) -> Self {
        Self { tenant, blobs, sender, queue: Queue::default() }
    }

    /// Serves until the channel closes.
    pub(crate) async fn run(mut self, mut questions: mpsc::Receiver<Question>) {
        loop {
            // Sending is what takes time, so new questions are looked at between any two chunks.
            while let Ok(question) = questions.try_recv() {
                self.take(question).await;
            }
            match self.queue.next() {
                Some(turn) => self.answer(turn).await,
                None => match questions.recv().await {
                    Some(question) => self.take(question).await,
                    None => return,
                },
            }
        }
    }

    async fn take(&mut self, question: Question) {
        let (device, transfer) = (question.device.clone(), question.request.transfer);
        if !question.request.is_within_limits() {
            return self.refuse(&device, transfer, "rate_limited", "ask for 1 to 16 chunks at once").await;
        }
        if !self.queue.put(question) {
            self.refuse(&device, transfer, "rate_limited", "too many requests wait already").await;
        }
    }

    async fn answer(&mut self, Turn { device, transfer, chunk }: Turn) {
        let blobs = self.blobs.clone();
        let read = tokio::task::spawn_blocking(move || blobs.chunk(&chunk)).await;
        match read {
            Ok(Ok(Some(bytes))) => {
                let header = ChunkHeader { transfer, chunk };
                self.send(&device, transfer, bytes, Some(Bytes::copy_from_slice(&header.to_bytes()))).await;
            }
            Ok(Ok(None)) => {
                self.queue.forget(&device, transfer);
                let detail = format!("chunk {chunk} is in no catalogue here");
                self.refuse(&device, transfer, "not_found", &detail).await;
            }
            Ok(Err(error)) => {
                tracing::error!(%device, %chunk, %error, "a chunk cannot be read");
                self.queue.forget(&device, transfer);
                self.refuse(&device, transfer, "not_found", "the chunk cannot be read at the moment").await;
            }
            Err(error) => tracing::error!(%device, %chunk, %error, "reading a chunk broke off"),
        }
    }

    async fn refuse(&self, device: &DeviceId, transfer: u32, code: &str, detail: &str) {
        tracing::warn!(%device, transfer, code, detail, "a request for chunks was refused");
        let refusal =
            ChunkRefusal { transfer, code: code.to_owned(), detail: detail.to_owned(), retry_after_s: PAUSE_S };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn question(device: &str, transfer: u32, chunks: &[u8]) -> Question {
        let chunks = chunks.iter().map(|&byte| Blake3([byte; 32])).collect();
        Question { device: device.parse().unwrap(), request: ChunkRequest { transfer, chunks } }
    }

    #[test]
    fn devices_take_turns_chunk_by_chunk() {
        let mut queue = Queue::default();
        assert!(queue.put(question("a", 1, &[1, 2, 3])));
        assert!(queue.put(question("b", 2, &[4])));
        assert!(queue.put(question("c", 3, &[5, 6])));
        let order: Vec<u8> = std::iter::from_fn(|| queue.next()).map(|turn| turn.chunk.0[0]).collect();
        assert_eq!(order, [1, 4, 5, 2, 6, 3]);
        assert!(queue.waiting.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn a_device_that_asks_without_end_is_refused_and_harms_nobody() {
        let mut queue = Queue::default();
        for transfer in 0..REQUESTS_PER_DEVICE as u32 {
            assert!(queue.put(question("a", transfer, &[1])));
        }
        assert!(!queue.put(question("a", 99, &[1])));
        assert!(queue.put(question("b", 1, &[2])));
        queue.forget(&"a".parse().unwrap(), 0);
        assert!(queue.put(question("a", 99, &[1])));
    }

    #[test]
    fn an_empty_request_costs_a_turn_at_most() {
        let mut queue = Queue::default();
        queue.put(question("a", 1, &[]));
        queue.put(question("b", 1, &[7]));
        assert_eq!(queue.next().unwrap().chunk.0[0], 7);
        assert_eq!(queue.next(), None);
    }
}
