//! Takes in what devices say, as much at once as waits: one transaction for all of it, and only then the answers.
//!
//! ```text
//! link ──► listen: up to 256 messages ──► Intake::take_all, one commit ──► answers ──► speak ──► broker
//! ```

mod intake;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use outpost_contract::topic::{Leaf, Topic};
use outpost_contract::{ChunkRequest, DeviceId, Down, LetterClass, LetterId, Stored, Up};
use tokio::sync::{mpsc, watch};

use crate::audit::Request;
use crate::blobs::Question;
use crate::fleet::{Fleet, FleetError};
use crate::link::{Heard, Sender};
use intake::{Intake, Saying};

/// Messages that are taken in at once. While that lasts, nobody else has the database: tens of milliseconds.
const BATCH: usize = 256;

/// Answers that may wait for room on the connection. Whoever misses one says hello again.
const ANSWERS: usize = 4096;

/// Takes in documents on the first connection.
pub(crate) struct Ingest {
    pub(crate) fleet: Fleet,
    pub(crate) sender: Sender,
    /// Counts connections, for the director.
    pub(crate) connections: watch::Sender<u64>,
    /// Where questions about audit logs are answered.
    pub(crate) audit: mpsc::Sender<Request>,
}

impl Ingest {
    /// Runs until the link ends. What takes messages in never waits for the broker, which would keep the link from reading.
    pub(crate) async fn run(self, heard: mpsc::Receiver<Heard>) {
        let Self { fleet, sender, connections, audit } = self;
        let (answers, to_say) = mpsc::channel(ANSWERS);
        let intake = Arc::new(Intake { fleet, audit });
        tokio::join!(listen(intake, connections, heard, answers), speak(sender, to_say));
    }
}

/// Takes in messages that came home on a stick; gives those answers to commands and events that are stored. Answers to devices
/// go out with the next stick.
pub(crate) fn take_letters(fleet: &Fleet, messages: Vec<(String, Bytes)>) -> Result<Vec<LetterId>, FleetError> {
    // Nothing on a stick leads to the desk: audit logs are mirrored before.
    let (audit, _) = mpsc::channel(1);
    let outcome = Intake { fleet: fleet.clone(), audit }.take_all(messages)?;
    let mut stored = Vec::new();
    for Saying { topic, payload, .. } in outcome.say {
        if topic.leaf != Leaf::Down(Down::Stored) {
            continue;
        }
        let Ok(Stored { responses, events, .. }) = serde_json::from_slice(&payload) else { continue };
        for (class, letters) in [(LetterClass::Response, responses), (LetterClass::Event, events)] {
            stored.extend(letters.into_iter().map(|(boot, sequence)| LetterId { class, boot, sequence }));
        }
    }
    Ok(stored)
}

async fn listen(
    intake: Arc<Intake>,
    connections: watch::Sender<u64>,
    mut heard: mpsc::Receiver<Heard>,
    answers: mpsc::Sender<Saying>,
) {
    let mut waiting = Vec::with_capacity(BATCH);
    while heard.recv_many(&mut waiting, BATCH).await > 0 {
        let mut messages = Vec::with_capacity(waiting.len());
        for heard in waiting.drain(..) {
            match heard {
                Heard::Up => {
                    intake.fleet.inner.linked.store(true, Ordering::Relaxed);
                    connections.send_modify(|count| *count += 1);
                }
                Heard::Down => intake.fleet.inner.linked.store(false, Ordering::Relaxed),
                Heard::Message { topic, payload } => messages.push((topic, payload)),
            }
        }
        if messages.is_empty() {
            continue;
        }
        let (count, taker) = (messages.len(), Arc::clone(&intake));
        match intake.fleet.run(move |_| taker.take_all(messages)).await {
            Ok(outcome) => {
                if outcome.is_news {
                    intake.fleet.tell_news();
                }
                for saying in outcome.say {
                    if answers.try_send(saying).is_err() {
                        tracing::debug!("too many answers wait; this one is dropped, and the device asks again");
                    }
                }
            }
            Err(error) => tracing::error!(count, %error, "messages are not kept; the devices send them again"),
        }
    }
}

async fn speak(sender: Sender, mut to_say: mpsc::Receiver<Saying>) {
    while let Some(Saying { topic, payload, expiry_s }) = to_say.recv().await {
        let sent = sender.send(&topic, payload, expiry_s).await;
        tracing::debug!(%topic, sent, "answered");
    }
}

/// Takes messages in as the link would bring them; nobody is answered.
#[cfg(any(test, feature = "crowd"))]
pub(crate) fn take_in(fleet: &Fleet, messages: Vec<(String, bytes::Bytes)>) -> Result<(), FleetError> {
    let (audit, _nobody) = mpsc::channel(1);
    let outcome = Intake { fleet: fleet.clone(), audit }.take_all(messages)?;
    if outcome.is_news {
        fleet.tell_news();
    }
    Ok(())
}

/// Takes requests for chunks from the second connection and hands them on without waiting.
pub(crate) async fn hand_on_questions(
    fleet: Fleet,
    mut heard: mpsc::Receiver<Heard>,
    questions: mpsc::Sender<Question>,
) {
    while let Some(heard) = heard.recv().await {
        let Heard::Message { topic, payload } = heard else { continue };
        let Some((device, Up::BlobRequest)) = sender_of(&topic, &fleet) else { continue };
        let Some(request) = read::<ChunkRequest>(&topic, &payload) else { continue };
        if !is_admitted(&fleet, &device).await.unwrap_or(false) {
            continue;
        }
        if questions.try_send(Question { device, request }).is_err() {
            tracing::warn!(topic, "too many requests for chunks; this one is dropped and comes again");
        }
    }
}

async fn is_admitted(fleet: &Fleet, device: &DeviceId) -> Result<bool, FleetError> {
    let device = device.clone();
    Ok(fleet.run(move |fleet| fleet.inner.database.is_admitted(&device)).await?)
}

/// The device behind a topic of ours, and what about. The broker let only that device write there.
fn sender_of(topic: &str, fleet: &Fleet) -> Option<(DeviceId, Up)> {
    let topic: Topic = topic.parse().ok().filter(|topic: &Topic| topic.tenant == fleet.inner.config.tenant)?;
    match topic.leaf {
        Leaf::Up(up) => Some((topic.device, up)),
        Leaf::Down(_) => None,
    }
}

fn read<T: serde::de::DeserializeOwned>(topic: &str, payload: &[u8]) -> Option<T> {
    match serde_json::from_slice(payload) {
        Ok(document) => Some(document),
        Err(error) => {
            tracing::warn!(topic, %error, "a message that cannot be read was ignored");
            None
        }
    }
}
