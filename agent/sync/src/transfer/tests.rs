//! Fetches against a broker that tests hold in their hands.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::limits::CHUNKS_PER_REQUEST;
use outpost_contract::{Blake3, Chunk, ChunkHeader, ChunkRefusal, ChunkRequest};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{MqttChunks, Names, TransferError, TransferOptions};
use crate::link::WireEvent;
use crate::link::fake::{Attempt, Said, broker, opening};

const BYTES: u32 = 100_000;

fn chunk(number: u8) -> Chunk {
    Chunk { id: Blake3([number; 32]), bytes: BYTES }
}

struct Bench {
    attempts: mpsc::UnboundedReceiver<Attempt>,
    arrivals: mpsc::Receiver<(Blake3, Bytes)>,
    fetch: JoinHandle<Result<(), TransferError>>,
}

fn fetch(count: u8) -> Bench {
    let (connector, attempts) = broker();
    let names = Names { tenant: "acme".parse().unwrap(), device: "till-7".parse().unwrap() };
    let source = MqttChunks::with(Arc::new(connector), opening("till-7.bulk"), names, TransferOptions::default());
    let (deliver, arrivals) = mpsc::channel(64);
    let wanted: Vec<Chunk> = (0..count).map(chunk).collect();
    let fetch = tokio::spawn(async move { source.fetch(&wanted, deliver).await });
    Bench { attempts, arrivals, fetch }
}

impl Bench {
    async fn connection(&mut self) -> (Attempt, u32) {
        let mut broker = self.attempts.recv().await.unwrap();
        let subscriptions = broker.accept_subscription().await;
        assert!(!subscriptions[0].acknowledged, "chunks are never queued by a broker");
        let transfer = subscriptions[0].filter.strip_prefix("op/1/acme/d/till-7/down/blob/").unwrap().parse().unwrap();
        (broker, transfer)
    }
}

impl Attempt {
    async fn request(&mut self) -> ChunkRequest {
        let (number, message) = self.published("up/blob/req").await;
        self.hear(WireEvent::Taken(number));
        let request: ChunkRequest = serde_json::from_slice(&message.payload).unwrap();
        assert!(request.is_within_limits());
        request
    }

    fn send(&self, transfer: u32, chunk: Blake3) {
        let correlation = ChunkHeader { transfer, chunk, at: None }.to_bytes();
        let topic = format!("op/1/acme/d/till-7/down/blob/{transfer}");
        self.hear_message(&topic, vec![0; BYTES as usize], Some(correlation.into()));
    }

    fn send_piece(&self, transfer: u32, chunk: Blake3, at: u32, bytes: u32) {
        let correlation = ChunkHeader { transfer, chunk, at: Some(at) }.to_bytes();
        let topic = format!("op/1/acme/d/till-7/down/blob/{transfer}");
        self.hear_message(&topic, vec![0; bytes as usize], Some(correlation.into()));
    }

    fn refuse(&self, transfer: u32, code: &str, retry_after_s: u32) {
        let refusal = ChunkRefusal { transfer, code: code.into(), detail: "not now\n".into(), retry_after_s };
        let payload = serde_json::to_vec(&refusal).unwrap();
        self.hear_message(&format!("op/1/acme/d/till-7/down/blob/{transfer}"), payload, None);
    }
}

#[tokio::test(start_paused = true)]
async fn all_chunks_arrive_in_requests_within_the_window() {
    let mut bench = fetch(40);
    let (mut broker, transfer) = bench.connection().await;
    let mut came = HashSet::new();
    while came.len() < 40 {
        let request = broker.request().await;
        assert!(request.chunks.len() <= CHUNKS_PER_REQUEST);
        for id in request.chunks {
            broker.send(transfer, id);
            assert!(came.insert(bench.arrivals.recv().await.unwrap().0));
        }
    }
    assert_eq!(bench.fetch.await.unwrap(), Ok(()));
    assert_eq!(broker.said().await, Said::Goodbye);
}

#[tokio::test(start_paused = true)]
async fn a_lost_chunk_is_asked_for_again_after_a_silence() {
    let mut bench = fetch(4);
    let (mut broker, transfer) = bench.connection().await;
    let first = broker.request().await;
    broker.send(transfer, first.chunks[0]);
    let lost: HashSet<_> = first.chunks[1..].iter().copied().collect();
    let again = broker.request().await;
    assert!(again.chunks.iter().all(|id| lost.contains(id)), "{again:?}");
    // What was thought lost comes late, and then twice: both are harmless.
    let mut missing: HashSet<_> = lost.clone();
    for id in lost.into_iter().chain(again.chunks) {
        broker.send(transfer, id);
        missing.remove(&id);
    }
    assert_eq!(bench.fetch.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn chunks_of_another_transfer_or_that_nobody_wants_are_not_handed_on() {
    let mut bench = fetch(1);
    let (mut broker, transfer) = bench.connection().await;
    broker.request().await;
    broker.send(transfer.wrapping_add(1), chunk(0).id);
    broker.send(transfer, chunk(200).id);
    broker.hear_message(
        "x",
        vec![0; 1_000_000],
        Some(ChunkHeader { transfer, chunk: chunk(0).id, at: None }.to_bytes().into()),
    );
    broker.hear_message("x", "short header", Some(Bytes::from_static(b"123")));
    broker.hear_message("x", "neither chunk nor refusal", None);
    broker.send(transfer, chunk(0).id);
    let (id, bytes) = bench.arrivals.recv().await.unwrap();
    assert_eq!((id, bytes.len()), (chunk(0).id, BYTES as usize));
    assert_eq!(bench.fetch.await.unwrap(), Ok(()));
    assert!(bench.arrivals.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_is_made_again_and_only_what_is_missing_is_asked_for() {
    let mut bench = fetch(3);
    let (mut broker, transfer) = bench.connection().await;
    let first = broker.request().await;
    broker.send(transfer, first.chunks[0]);
    bench.arrivals.recv().await.unwrap();
    broker.hear(WireEvent::Lost("cable pulled".into()));
    let (mut broker, transfer) = bench.connection().await;
    let mut came = HashSet::from([first.chunks[0]]);
    while came.len() < 3 {
        for id in broker.request().await.chunks {
            assert!(came.insert(id), "asked again for what had come");
            broker.send(transfer, id);
        }
    }
    assert_eq!(bench.fetch.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn once_a_connection_broke_chunks_come_in_pieces_and_each_goes_on_where_it_stopped() {
    let mut bench = fetch(2);
    let (mut broker, transfer) = bench.connection().await;
    let request = broker.request().await;
    assert_eq!(request.pieces_from, None, "whole as long as the line holds");
    broker.send_piece(transfer, chunk(0).id, 0, BYTES);
    broker.hear(WireEvent::Lost("cable pulled".into()));
    // Never a whole chunk on one connection, and more connections than fruitless ones are tried.
    let mut arrived = 0;
    for _ in 0..8 {
        let (mut broker, transfer) = bench.connection().await;
        let request = broker.request().await;
        assert_eq!((request.chunks[0], request.pieces_from), (chunk(0).id, Some(arrived)));
        broker.send_piece(transfer, chunk(0).id, arrived, 10_000);
        arrived += 10_000;
        broker.hear(WireEvent::Lost("cable pulled again".into()));
    }
    let (mut broker, transfer) = bench.connection().await;
    assert_eq!(broker.request().await.pieces_from, Some(80_000));
    broker.send_piece(transfer, chunk(0).id, 80_000, 20_000);
    for at in [0, 50_000] {
        broker.send_piece(transfer, chunk(1).id, at, 50_000);
    }
    for number in 0..2 {
        let (id, bytes) = bench.arrivals.recv().await.unwrap();
        assert_eq!((id, bytes.len()), (chunk(number).id, BYTES as usize));
    }
    assert_eq!(bench.fetch.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_never_sends_is_given_up_after_several_connections() {
    let bench = fetch(2);
    let mut attempts = bench.attempts;
    let answering = tokio::spawn(async move {
        let mut connections = 0;
        while let Some(mut broker) = attempts.recv().await {
            connections += 1;
            broker.accept_subscription().await;
            while broker.said().await != Said::Goodbye {}
        }
        connections
    });
    let error = bench.fetch.await.unwrap().unwrap_err();
    assert!(matches!(error, TransferError::Unavailable { missing: 2, .. }), "{error}");
    assert_eq!(answering.await.unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_busy_control_plane_is_asked_again_when_it_said_so() {
    let mut bench = fetch(1);
    let (mut broker, transfer) = bench.connection().await;
    broker.request().await;
    broker.refuse(transfer, "rate_limited", 20);
    let before = tokio::time::Instant::now();
    broker.request().await;
    let waited = before.elapsed();
    assert!(waited >= Duration::from_secs(20) && waited < Duration::from_secs(22), "{waited:?}");
    broker.send(transfer, chunk(0).id);
    assert_eq!(bench.fetch.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_fetch_with_the_control_planes_words() {
    for (code, pause) in [("not_found", 0), ("not_authorised", 0), ("rate_limited", 3600)] {
        let mut bench = fetch(1);
        let (mut broker, transfer) = bench.connection().await;
        broker.request().await;
        broker.refuse(transfer.wrapping_add(1), "not_found", 0);
        broker.refuse(transfer, code, pause);
        let error = bench.fetch.await.unwrap().unwrap_err();
        let expected = TransferError::Refused { code: code.into(), detail: "not now".into(), retry_after_s: pause };
        assert_eq!(error, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_ends_when_nobody_takes_the_chunks() {
    let mut bench = fetch(1);
    let (mut broker, _) = bench.connection().await;
    broker.request().await;
    drop(bench.arrivals);
    assert_eq!(bench.fetch.await.unwrap(), Err(TransferError::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_endless_stream_of_what_nobody_asked_for_ends_the_fetch_and_fills_nothing() {
    let mut bench = fetch(2);
    let mut attempts = bench.attempts;
    let flooding = tokio::spawn(async move {
        let mut sent = 0_u32;
        while let Some(mut broker) = attempts.recv().await {
            let filter = broker.accept_subscription().await[0].filter.clone();
            let transfer = filter.rsplit('/').next().unwrap().parse().unwrap();
            // As fast as the wire takes it, for as long as the device stays.
            loop {
                match broker.said_already() {
                    Some(Said::Goodbye) => break,
                    _ => broker.send(transfer, chunk(200).id),
                }
                sent += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        sent
    });
    let error = bench.fetch.await.unwrap().unwrap_err();
    assert!(matches!(error, TransferError::Unavailable { missing: 2, .. }), "{error}");
    assert!(flooding.await.unwrap() > 100);
    assert!(bench.arrivals.recv().await.is_none(), "none of it was handed on");
}
