//! Neighbours that meet over real sockets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::limits::WITNESS_BYTES;
use outpost_contract::{Blake3, Chunk, DeviceId};
use outpost_disk::Clock;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use super::{PeerLimits, PeerServer, PeerWitness, Revoked, Shelf, Vouch};
use crate::link::BackOff;
use crate::testing::Authority;
use crate::{HttpsChunks, HttpsOptions, Identity, TransferError};

struct Held(HashMap<Blake3, Bytes>);

impl Shelf for Held {
    fn chunk(&self, id: &Blake3) -> std::io::Result<Option<Bytes>> {
        Ok(self.0.get(id).cloned())
    }
}

fn chunk(number: u8) -> (Chunk, Bytes) {
    (Chunk { id: Blake3([number; 32]), bytes: 70_000 }, Bytes::from(vec![number; 70_000]))
}

/// Serves chunks 0 to 9.
struct Neighbour {
    address: SocketAddr,
    revoked: Revoked,
    _stop: DropGuard,
}

async fn neighbour(identity: &Identity) -> Neighbour {
    let held = (0..10).map(chunk).map(|(chunk, bytes)| (chunk.id, bytes)).collect();
    let (revoked, clock) = (Revoked::default(), Clock::system());
    let server = PeerServer::new(identity, Arc::new(Held(held)), revoked.clone(), PeerLimits::default(), &clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(server.unwrap().run(listener, stop.clone()));
    Neighbour { address, revoked, _stop: stop.drop_guard() }
}

async fn fetch(from: SocketAddr, identity: &Identity, count: u8) -> (Vec<(Blake3, Bytes)>, Result<(), TransferError>) {
    let options = HttpsOptions {
        back_off: BackOff { base: Duration::from_millis(1), cap: Duration::from_millis(5) },
        ..HttpsOptions::peer()
    };
    let chunks = HttpsChunks::peer(identity, from, options, &Clock::system()).unwrap();
    let (deliver, mut arrivals) = mpsc::channel(64);
    let wanted: Vec<_> = (0..count).map(|number| chunk(number).0).collect();
    let fetch = tokio::spawn(async move { chunks.fetch(&wanted, deliver).await });
    let mut came = Vec::new();
    while let Some(chunk) = arrivals.recv().await {
        came.push(chunk);
    }
    came.sort_by_key(|(id, _)| id.0);
    (came, fetch.await.unwrap())
}

#[tokio::test]
async fn a_device_of_the_same_fleet_gets_what_is_there_whatever_the_host_is_called() {
    let fleet = Authority::new();
    let neighbour = neighbour(&fleet.device("till-1", "https://control.example")).await;
    let asker = fleet.device("till-2", "https://control.example");
    let (came, ended) = fetch(neighbour.address, &asker, 10).await;
    assert_eq!(ended, Ok(()));
    let all: Vec<_> = (0..10).map(chunk).map(|(chunk, bytes)| (chunk.id, bytes)).collect();
    assert!(came == all);
    let (came, ended) = fetch(neighbour.address, &asker, 12).await;
    assert_eq!((came.len(), ended), (10, Err(TransferError::Missing { missing: 2 })));
}

#[tokio::test]
async fn neither_side_speaks_to_a_device_of_another_fleet() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let our_server = neighbour(&ours.device("till-1", "https://control.example")).await;
    let (came, ended) = fetch(our_server.address, &theirs.device("till-2", "https://control.example"), 1).await;
    assert!(came.is_empty() && matches!(ended, Err(TransferError::Unavailable { .. })), "{ended:?}");
    let their_server = neighbour(&theirs.device("till-1", "https://control.example")).await;
    let (came, ended) = fetch(their_server.address, &ours.device("till-2", "https://control.example"), 1).await;
    assert!(came.is_empty() && matches!(ended, Err(TransferError::Unavailable { .. })), "{ended:?}");
}

#[tokio::test]
async fn a_certificate_that_names_no_device_serves_nobody() {
    let fleet = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The control plane's own kind of certificate: of the authority, for a server.
    let acceptor = tokio_rustls::TlsAcceptor::from(fleet.server());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let (_, ended) = fetch(address, &fleet.device("till-2", "https://control.example"), 1).await;
    assert!(matches!(ended, Err(TransferError::Unavailable { .. })), "{ended:?}");
}

#[tokio::test]
async fn a_revoked_device_is_refused_from_the_moment_that_the_neighbour_knows() {
    let fleet = Authority::new();
    let neighbour = neighbour(&fleet.device("till-1", "https://control.example")).await;
    let asker = fleet.device("till-2", "https://control.example");
    assert_eq!(fetch(neighbour.address, &asker, 1).await.1, Ok(()));
    neighbour.revoked.replace(["till-2".parse().unwrap()]);
    let (came, ended) = fetch(neighbour.address, &asker, 1).await;
    assert!(came.is_empty());
    assert!(matches!(&ended, Err(TransferError::Refused { code, .. }) if code == "not_authorised"), "{ended:?}");
    assert_eq!(fetch(neighbour.address, &fleet.device("till-3", "https://control.example"), 1).await.1, Ok(()));
}

/// Vouches for whatever it is shown, by saying what that was.
struct Nods;

impl Vouch for Nods {
    fn key(&self) -> String {
        "neighbour+00000000+AAAA".to_owned()
    }

    fn vouch(&self, device: &DeviceId, log_key: &str, body: &[u8]) -> (u16, String) {
        (409, format!("{device} {log_key} {}\n", body.len()))
    }
}

async fn witness(identity: &Identity, vouches: bool) -> (SocketAddr, DropGuard) {
    let (revoked, clock) = (Revoked::default(), Clock::system());
    let server = PeerServer::new(identity, Arc::new(Held(HashMap::new())), revoked, PeerLimits::default(), &clock);
    let server = server.unwrap();
    let server = if vouches { server.vouching(Arc::new(Nods)) } else { server };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(server.run(listener, stop.clone()));
    (address, stop.drop_guard())
}

#[tokio::test]
async fn a_neighbour_vouches_for_the_device_that_its_certificate_names() {
    let fleet = Authority::new();
    let (address, _stop) = witness(&fleet.device("till-1", "https://control.example"), true).await;
    let asker = PeerWitness::at(&fleet.device("till-2", "https://control.example"), address, &Clock::system()).unwrap();
    assert_eq!(asker.key().await.as_deref(), Ok("neighbour+00000000+AAAA"));
    let (status, body) = asker.add_checkpoint("log+1+AA", "x".repeat(WITNESS_BYTES)).await.unwrap();
    assert_eq!((status, &body[..]), (409, format!("till-2 log+1+AA {WITNESS_BYTES}\n").as_bytes()));
    // A body above the limit is not read to its end, so the connection may break off first.
    match asker.add_checkpoint("log+1+AA", "x".repeat(WITNESS_BYTES + 1)).await {
        Ok((status, _)) => assert_eq!(status, 413),
        Err(error) => assert!(error.contains("error sending request"), "{error}"),
    }
    let stranger = Authority::new().device("till-2", "https://control.example");
    assert!(PeerWitness::at(&stranger, address, &Clock::system()).unwrap().key().await.is_err());
}

#[tokio::test]
async fn a_neighbour_that_does_not_vouch_says_so() {
    let fleet = Authority::new();
    let (address, _stop) = witness(&fleet.device("till-1", "https://control.example"), false).await;
    let asker = PeerWitness::at(&fleet.device("till-2", "https://control.example"), address, &Clock::system()).unwrap();
    assert_eq!(asker.key().await, Err("it does not vouch (HTTP 404)".to_owned()));
}
