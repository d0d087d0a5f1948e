//! Bytes by their digest: what arrives is what was asked for, and nothing else is there.

use std::time::Duration;

use outpost_contract::{Blake3, ChunkHeader, ChunkRefusal, ChunkRequest};
use tokio::time::timeout;

use crate::link::{Link, Message};
use crate::site::{Site, chunk_ids};

/// How long one answer is waited for before a device asks again.
const ROUND: Duration = Duration::from_secs(1);

/// A device that asks; every request has a number of its own.
struct Fetch {
    link: Link,
    transfer: u32,
    pieces_from: Option<u32>,
}

impl Fetch {
    /// Asks, and hears as many answers as there must be. A request may get lost while the server is still starting: then
    /// it is asked again, as a device does.
    async fn ask(&mut self, chunks: &[Blake3], answers: usize) -> Vec<Message> {
        for _ in 0..20 {
            self.transfer += 1;
            let (transfer, pieces_from) = (self.transfer, self.pieces_from);
            let request = ChunkRequest { transfer, chunks: chunks.to_vec(), pieces_from };
            let request = serde_json::to_vec(&request).unwrap();
            assert!(self.link.publish("op/1/acme/d/till-1/up/blob/req", request).await);
            let topic = format!("op/1/acme/d/till-1/down/blob/{}", self.transfer);
            let mut heard = Vec::new();
            while let Ok(message) = timeout(ROUND, self.link.hear()).await {
                let message = message.expect("the connection stays");
                // Others are late answers to an earlier number.
                if message.topic == topic {
                    heard.push(message);
                }
                if heard.len() == answers {
                    return heard;
                }
            }
        }
        panic!("the chunks do not come");
    }
}

fn refusal(message: &Message) -> ChunkRefusal {
    assert_eq!(message.correlation, None);
    serde_json::from_slice(&message.payload).unwrap()
}

#[tokio::test]
async fn chunks_arrive_as_they_were_asked_for_and_an_unknown_one_is_refused() {
    let content: Vec<u8> = (0..700_000_u32).map(|at| (at / 7 % 251) as u8).collect();
    let site = Site::start().await;
    site.release(Some(&content)).await;
    let till = site.enrol("till-1").await;
    let mut link = site.connect_as(&till, "till-1.bulk").await.unwrap();
    assert!(link.subscribe("op/1/acme/d/till-1/down/blob/+").await);

    let mut fetch = Fetch { link, transfer: 0, pieces_from: None };
    let wanted = chunk_ids(&content);
    let arrived = fetch.ask(&wanted, wanted.len()).await;
    for (id, message) in wanted.iter().zip(&arrived) {
        assert_eq!(blake3::hash(&message.payload).as_bytes(), &id.0);
        let header = ChunkHeader { transfer: fetch.transfer, chunk: *id, at: None };
        assert_eq!(message.correlation.as_deref(), Some(&header.to_bytes()[..]));
    }
    let joined: Vec<u8> = arrived.into_iter().flat_map(|message| message.payload).collect();
    assert!(joined == content);

    // On a line that breaks: the rest of a chunk, and the next one, in pieces.
    fetch.pieces_from = Some(200_000);
    let pieces = fetch.ask(&wanted[..2], 2 + 8).await;
    let mut at: Vec<_> = Vec::new();
    for message in &pieces {
        let header = ChunkHeader::from_bytes(message.correlation.as_deref().unwrap()).unwrap();
        at.push((usize::from(header.chunk == wanted[1]), header.at.unwrap()));
    }
    let second = (0..8).map(|piece| (1, piece * 32_768));
    assert_eq!(at, [(0, 200_000), (0, 232_768)].into_iter().chain(second).collect::<Vec<_>>());
    let joined: Vec<u8> = pieces.into_iter().flat_map(|message| message.payload).collect();
    assert!(joined == content[200_000..2 * 262_144]);
    fetch.pieces_from = None;

    let unknown = refusal(&fetch.ask(&[Blake3([7; 32])], 1).await[0]);
    assert_eq!((unknown.transfer, unknown.code.as_str()), (fetch.transfer, "not_found"));
    let too_many = refusal(&fetch.ask(&[wanted[0]; 17], 1).await[0]);
    assert_eq!((too_many.transfer, too_many.code.as_str()), (fetch.transfer, "rate_limited"));
    // A refusal costs nothing that was there before.
    assert_eq!(blake3::hash(&fetch.ask(&wanted[2..], 1).await[0].payload).as_bytes(), &wanted[2].0);
}
