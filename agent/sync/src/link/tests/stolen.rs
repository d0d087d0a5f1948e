//! A stolen broker: it can delay, and nothing else. What it hands on is judged by signatures that it cannot make.

use outpost_contract::{Blake3, BlobRef, Chunk, Desired};
use outpost_trust::desired::{Acceptance, accept, sign};
use outpost_trust::{Floors, SigningKey};

use super::*;
use crate::Accepted;

/// A device's judgement of what the link hands up, with the floor in its database.
struct Judge {
    director: SigningKey,
    database: SyncDatabase,
}

fn desired(device: &str, version: u64) -> Desired {
    let blob = Blake3([1; 32]);
    Desired {
        v: 1,
        tenant: "acme".parse().unwrap(),
        device: device.parse().unwrap(),
        version,
        issued_at_s: NOW_S,
        not_after_s: NOW_S + 1000,
        catalogue: BlobRef { bytes: 1, blake3: blob, chunks: vec![Chunk { id: blob, bytes: 1 }] },
        model: None,
        policy: None,
        rollout: None,
        withdrawn: Vec::new(),
        agent: Vec::new(),
    }
}

impl Judge {
    fn new(database: &SyncDatabase) -> Self {
        Self { director: SigningKey::generate().unwrap(), database: database.clone() }
    }

    fn signed(&self, device: &str, version: u64) -> Bytes {
        sign(&desired(device, version), &[&self.director]).unwrap().to_bytes().into()
    }

    /// Takes a document as the agent does; the version in force then.
    fn take(&self, document: &Bytes) -> u64 {
        let slot = self.database.accepted();
        let acceptance = Acceptance {
            tenant: &"acme".parse().unwrap(),
            device: &"till-7".parse().unwrap(),
            floor_version: slot.version().unwrap(),
            floor_payload: None,
            director_keys: &[self.director.verifying_key()],
            now_s: NOW_S,
        };
        if let Ok(taken) = accept(document, &acceptance) {
            let (version, envelope) = (taken.desired.version, document.to_vec());
            let floors = Floors::default();
            let accepted = Accepted { version, envelope, catalogue: Vec::new(), floors, trusted_root: Vec::new() };
            slot.commit(&accepted).unwrap();
        }
        slot.version().unwrap()
    }
}

impl Bench {
    async fn document(&mut self) -> Bytes {
        loop {
            if let LinkEvent::Desired(document) = self.event().await {
                return document;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stolen_broker_that_replays_reorders_and_forges_documents_never_takes_a_device_back() {
    let mut bench = start();
    let judge = Judge::new(&bench.database);
    let broker = bench.greeted().await;
    let mut flipped = judge.signed("till-7", 9).to_vec();
    flipped[100] ^= 1;
    let thief = Judge::new(&bench.database);
    let told = [
        (judge.signed("till-7", 2), 2),
        (judge.signed("till-7", 1), 2),
        (judge.signed("till-8", 9), 2),
        (thief.signed("till-7", 9), 2),
        (flipped.into(), 2),
        ("{}".into(), 2),
        (judge.signed("till-7", 4), 4),
        (judge.signed("till-7", 3), 4),
        (judge.signed("till-7", 4), 4),
    ];
    for (document, in_force) in told {
        broker.desire(document);
        let heard = bench.document().await;
        assert_eq!(judge.take(&heard), in_force);
    }
    // What was left out comes with any broker that is honest again, whatever was said before.
    broker.hear(WireEvent::Lost("taken back".into()));
    let broker = bench.greeted().await;
    broker.desire(judge.signed("till-7", 5));
    let heard = bench.document().await;
    assert_eq!(judge.take(&heard), 5);
}

#[tokio::test(start_paused = true)]
async fn a_stolen_broker_that_withholds_and_drops_delays_what_waits_and_loses_none_of_it() {
    let mut bench = start();
    bench.handle.report(&reported(1)).unwrap();
    // It takes everything and hands on nothing.
    let mut broker = bench.greeted().await;
    for _ in 0..5 {
        let (number, _) = broker.published("up/hello").await;
        broker.hear(WireEvent::Taken(number));
    }
    assert_eq!(bench.handle.connectivity().borrow().phase, Phase::Syncing, "it does not count as being in touch");
    assert_eq!(bench.backlog().letters, 1);
    assert!(bench.events.try_recv().is_err(), "nothing was heard, so nothing changed");
    broker.hear(WireEvent::Lost("taken back".into()));
    let mut broker = bench.greeted().await;
    broker.acknowledge(2, 0);
    let (_, message) = broker.published("up/reported").await;
    assert_eq!(serde_json::from_slice::<Reported>(&message.payload).unwrap().sequence, 1);
}

#[tokio::test(start_paused = true)]
async fn a_forged_hello_ack_hides_the_reports_before_it_and_none_after_it() {
    let mut bench = start();
    bench.handle.report(&reported(1)).unwrap();
    let mut broker = bench.greeted().await;
    // `server_time_s` is forged too: nothing here goes by it.
    let forged = HelloAck { desired_version: u64::MAX, server_time_s: i64::MAX, ..answer(1, u64::MAX) };
    let payload = serde_json::to_vec(&forged).unwrap();
    broker.hear_message("op/1/acme/d/till-7/down/hello-ack", payload, None);
    bench.phase(Phase::Online).await;
    assert_eq!(bench.backlog().letters, 0);
    assert_eq!(bench.clock.now_s(), NOW_S);
    assert_eq!(bench.database.accepted().version().unwrap(), 0, "no floor is raised by what nobody signed");
    bench.handle.report(&reported(2)).unwrap();
    let (_, message) = broker.published("up/reported").await;
    assert_eq!(serde_json::from_slice::<Reported>(&message.payload).unwrap().sequence, 2);
}

#[tokio::test(start_paused = true)]
async fn an_endless_stream_of_documents_costs_one_place_and_the_newest_is_still_heard() {
    let mut bench = start();
    let broker = bench.greeted().await;
    let large = Bytes::from(vec![b'x'; DOCUMENT_BYTES + 1]);
    for _ in 0..5_000 {
        broker.desire("junk");
        broker.desire(large.clone());
    }
    broker.desire("signed");
    // The clock moves when everything has been read.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut heard = 0;
    while bench.document().await != Bytes::from_static(b"signed") {
        heard += 1;
    }
    assert!(heard < 200, "{heard} of 5,000 were kept");
}
