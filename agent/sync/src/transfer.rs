//! Chunks over MQTT: asked for by id over a second connection, delivered at QoS 0, asked for again when they do not come; in
//! pieces once a connection has broken.
//!
//! A second connection, because chunks on the first one would starve everything else, and a clean one, because a broker must
//! never queue them. What arrives is handed on unjudged: the receiver checks length and digest, and asks again.

mod pieces;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::limits::{CHUNK_BYTES, DOCUMENT_BYTES};
use outpost_contract::topic::Topic;
use outpost_contract::{Blake3, Chunk, ChunkHeader, ChunkRefusal, ChunkRequest, Down, Up};
use outpost_disk::Clock;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::link::{BackOff, Connector, Message, Mqtt, NotSent, Opening, Subscription, Waits, Wire, WireEvent};
use crate::{Identity, TlsError};
use pieces::Assembly;
use window::{Arrival, Window};

/// Appended to the device's id: the client id of the second connection.
const CLIENT_SUFFIX: &str = ".bulk";

/// Losses in a row after which the connection itself is doubted.
const LOSSES_PER_CONNECTION: u32 = 3;

/// Longest pause that a control plane may ask for before the fetch gives up instead.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A request that waited longer than this at the broker is answered by nobody, seconds.
const REQUEST_EXPIRY_S: u32 = 60;

/// How a fetch behaves.
#[derive(Debug, Clone)]
pub struct TransferOptions {
    /// Waits between connections.
    pub back_off: BackOff,
    /// Connections in a row that brought nothing, after which the fetch gives up; what arrived is with the receiver.
    pub fruitless_connections: u32,
    /// How long the broker may be silent; 5 seconds at least.
    pub keep_alive: Duration,
    /// Name lookup, TCP, TLS and the broker's answer together.
    pub connect_timeout: Duration,
}

impl Default for TransferOptions {
    fn default() -> Self {
        Self {
            back_off: BackOff { base: Duration::from_millis(500), cap: Duration::from_secs(30) },
            fruitless_connections: 5,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
        }
    }
}

/// Why a fetch ended early. What arrived before is with the receiver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Several connections in a row brought nothing.
    #[error("{missing} chunks did not arrive: {reason}")]
    Unavailable {
        /// Distinct chunks missing.
        missing: usize,
        /// What happened last.
        reason: String,
    },
    /// The server has some of the chunks only.
    #[error("{missing} of the chunks are not there")]
    Missing {
        /// How many it lacks.
        missing: usize,
    },
    /// The server refused.
    #[error("it refused to send ({code}): {detail}")]
    Refused {
        /// `not_found`, `not_authorised`, `rate_limited` or `bad_answer`.
        code: String,
        /// What it said.
        detail: String,
        /// Seconds to wait before asking again.
        retry_after_s: u32,
    },
    /// The receiver is gone.
    #[error("nobody takes the chunks any more")]
    Closed,
}

/// The control plane as a source of chunks. One fetch runs at a time; a second one waits.
pub struct MqttChunks {
    connector: Arc<dyn Connector>,
    opening: Opening,
    request_topic: String,
    names: Names,
    options: TransferOptions,
    /// The broker allows one connection per client id.
    one_at_a_time: Mutex<()>,
}

/// Whose topics.
#[derive(Debug, Clone)]
struct Names {
    tenant: outpost_contract::TenantId,
    device: outpost_contract::DeviceId,
}

impl std::fmt::Debug for MqttChunks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MqttChunks").field("client_id", &self.opening.client_id).finish_non_exhaustive()
    }
}

/// How one connection ended without finishing.
enum Stop {
    /// Try another connection.
    Lost(String),
    /// No other connection would help.
    Final(TransferError),
}

impl MqttChunks {
    /// A source that connects when something is fetched.
    ///
    /// # Errors
    /// If key or certificates cannot be used.
    pub fn new(identity: &Identity, options: TransferOptions, clock: &Clock) -> Result<Self, TlsError> {
        let opening = Opening {
            client_id: format!("{}{CLIENT_SUFFIX}", identity.device()),
            host: identity.broker().host.clone(),
            port: identity.broker().port,
            tls: identity.tls(clock)?,
            clean_start: true,
            session_expiry_s: 0,
            keep_alive: options.keep_alive,
            connect_timeout: options.connect_timeout,
            will: None,
        };
        let names = Names { tenant: identity.tenant().clone(), device: identity.device().clone() };
        Ok(Self::with(Arc::new(Mqtt), opening, names, options))
    }

    fn with(connector: Arc<dyn Connector>, opening: Opening, names: Names, options: TransferOptions) -> Self {
        let request_topic = Topic::up(&names.tenant, &names.device, Up::BlobRequest).to_string();
        Self { connector, opening, request_topic, names, options, one_at_a_time: Mutex::new(()) }
    }

    /// Delivers the wanted chunks in any order, each at most once per call, and returns when all have come.
    ///
    /// Lost chunks are asked for again, lost connections are made again. Dropping the future closes the connection.
    ///
    /// # Errors
    /// [`TransferError::Unavailable`] after several fruitless connections, [`TransferError::Refused`], or
    /// [`TransferError::Closed`] when the receiver of `deliver` is gone.
    pub async fn fetch(&self, wanted: &[Chunk], deliver: mpsc::Sender<(Blake3, Bytes)>) -> Result<(), TransferError> {
        let _turn = self.one_at_a_time.lock().await;
        let mut window = Window::new(wanted, Instant::now());
        let mut waits = Waits::new(self.options.back_off);
        let mut fruitless = 0;
        // Whole chunks are faster, pieces lose less: nothing is assembled before a connection broke.
        let mut assembly = None;
        while !window.is_done() {
            let before = (window.missing(), assembly.as_ref().map(Assembly::standing).unwrap_or_default());
            let reason = match self.run(&mut window, &mut assembly, &deliver).await {
                Ok(()) => continue,
                Err(Stop::Final(error)) => return Err(error),
                Err(Stop::Lost(reason)) => reason,
            };
            let assembly = assembly.get_or_insert_default();
            if window.missing() < before.0 || assembly.has_grown_since(&before.1) {
                fruitless = 0;
                waits.reset();
            }
            fruitless += 1;
            tracing::info!(reason, missing = window.missing(), fruitless, "the transfer's connection ended");
            if fruitless >= self.options.fruitless_connections {
                return Err(TransferError::Unavailable { missing: window.missing(), reason });
            }
            tokio::select! {
                () = sleep(waits.next()) => {}
                () = deliver.closed() => return Err(TransferError::Closed),
            }
        }
        Ok(())
    }

    /// One connection: until all chunks came, or it ends.
    async fn run(
        &self,
        window: &mut Window,
        assembly: &mut Option<Assembly>,
        deliver: &mpsc::Sender<(Blake3, Bytes)>,
    ) -> Result<(), Stop> {
        window.ask_all_again(Instant::now());
        let limit = self.options.connect_timeout + Duration::from_secs(5);
        let dialled = timeout(limit, self.connector.connect(&self.opening)).await;
        let mut wire = dialled
            .map_err(|_| Stop::Lost(format!("no answer within {} seconds", limit.as_secs())))?
            .map_err(Stop::Lost)?;
        let mut number = [0; 4];
        getrandom::fill(&mut number).map_err(|error| Stop::Lost(format!("no random number: {error}")))?;
        let transfer = u32::from_le_bytes(number);
        self.subscribe(wire.as_mut(), transfer).await?;
        let outcome = self.turn(wire.as_mut(), transfer, (window, assembly), deliver).await;
        wire.close().await;
        outcome
    }

    async fn subscribe(&self, wire: &mut dyn Wire, transfer: u32) -> Result<(), Stop> {
        let names = &self.names;
        let filter = Topic::down(&names.tenant, &names.device, Down::Blob(transfer)).to_string();
        let closed = |_| Stop::Lost("the connection ended at once".to_owned());
        wire.subscribe(&[Subscription { filter, acknowledged: false }]).map_err(closed)?;
        let answered = async {
            loop {
                match wire.next().await {
                    WireEvent::Subscribed => return Ok(()),
                    WireEvent::NotSubscribed(why) => {
                        return Err(Stop::Lost(format!("the broker refused this device's own topic ({why})")));
                    }
                    WireEvent::Lost(reason) => return Err(Stop::Lost(reason)),
                    _ => {}
                }
            }
        };
        let silent = |_| Stop::Lost("the broker did not answer the subscription".to_owned());
        timeout(self.options.connect_timeout, answered).await.map_err(silent)?
    }

    async fn turn(
        &self,
        wire: &mut dyn Wire,
        transfer: u32,
        (window, assembly): (&mut Window, &mut Option<Assembly>),
        deliver: &mpsc::Sender<(Blake3, Bytes)>,
    ) -> Result<(), Stop> {
        let mut losses = 0;
        let mut resume_at = Instant::now();
        while !window.is_done() {
            if Instant::now() >= resume_at {
                self.ask(wire, transfer, window, assembly.as_ref())?;
            }
            // Nothing is on its way only during a pause that the control plane asked for.
            let wake_at = if window.is_waiting() { window.deadline() } else { resume_at };
            let event = tokio::select! {
                event = wire.next() => event,
                () = deliver.closed() => return Err(Stop::Final(TransferError::Closed)),
                () = sleep_until(wake_at) => {
                    if window.is_waiting() {
                        losses += 1;
                        window.lost(Instant::now());
                    }
                    if losses >= LOSSES_PER_CONNECTION {
                        return Err(Stop::Lost("the control plane does not send what it was asked for".to_owned()));
                    }
                    continue;
                }
            };
            match event {
                WireEvent::Message { payload, correlation, .. } => match correlation {
                    Some(correlation) => {
                        let Some((id, at)) = chunk_of(&correlation, transfer) else { continue };
                        let payload = match (at, assembly.as_mut(), window.bytes_of(id)) {
                            (None, ..) => payload,
                            (Some(at), Some(assembly), Some(whole)) => match assembly.put(id, at, &payload, whole) {
                                Some(chunk) => chunk,
                                None => continue,
                            },
                            _ => continue,
                        };
                        if payload.len() > CHUNK_BYTES || window.arrived(id, Instant::now()) == Arrival::Unwanted {
                            continue;
                        }
                        losses = 0;
                        deliver.send((id, payload)).await.map_err(|_| Stop::Final(TransferError::Closed))?;
                        window.handed_on(Instant::now());
                    }
                    None => {
                        if let Some(pause) = refusal(&payload, transfer)? {
                            resume_at = Instant::now() + pause;
                            window.ask_all_again(resume_at);
                        }
                    }
                },
                WireEvent::NotTaken(_, why) => return Err(Stop::Lost(format!("the broker refused a request ({why})"))),
                WireEvent::Lost(reason) => return Err(Stop::Lost(reason)),
                WireEvent::Subscribed | WireEvent::NotSubscribed(_) | WireEvent::Taken(_) => {}
            }
        }
        Ok(())
    }

    /// Sends as many requests as the window allows. A request that finds no room is lost, and noticed as such.
    fn ask(
        &self,
        wire: &mut dyn Wire,
        transfer: u32,
        window: &mut Window,
        assembly: Option<&Assembly>,
    ) -> Result<(), Stop> {
        while let Some(chunks) = window.next_request(Instant::now()) {
            let first = chunks.first().copied();
            let arrived = assembly.zip(first).map(|(assembly, first)| assembly.arrived(first));
            let pieces_from = arrived.and_then(|arrived| u32::try_from(arrived).ok());
            let request = serde_json::to_vec(&ChunkRequest { transfer, chunks, pieces_from });
            let payload = request.map_err(|error| Stop::Lost(error.to_string()))?.into();
            let topic = self.request_topic.clone();
            match wire.publish(Message { topic, payload, retain: false, expiry_s: Some(REQUEST_EXPIRY_S) }) {
                Ok(_) => {}
                Err(NotSent::NoRoom) => return Ok(()),
                Err(NotSent::TooLarge { bytes, most }) => {
                    return Err(Stop::Lost(format!("a request of {bytes} bytes does not fit the broker's {most}")));
                }
                Err(NotSent::Closed) => return Err(Stop::Lost("the connection ended".to_owned())),
            }
        }
        Ok(())
    }
}

/// The chunk that a message claims to be, or a piece of, if it belongs to this transfer.
fn chunk_of(correlation: &[u8], transfer: u32) -> Option<(Blake3, Option<usize>)> {
    let header = ChunkHeader::from_bytes(correlation).filter(|header| header.transfer == transfer)?;
    Some((header.chunk, header.at.map(usize::try_from).transpose().ok()?))
}

/// A message that is no chunk: a pause, an end, or nothing that can be read.
fn refusal(payload: &[u8], transfer: u32) -> Result<Option<Duration>, Stop> {
    if payload.len() > DOCUMENT_BYTES {
        return Ok(None);
    }
    let Ok(refusal) = serde_json::from_slice::<ChunkRefusal>(payload) else { return Ok(None) };
    if refusal.transfer != transfer {
        return Ok(None);
    }
    let pause = Duration::from_secs(u64::from(refusal.retry_after_s));
    if refusal.code == "rate_limited" && pause <= LONGEST_PAUSE {
        return Ok(Some(pause));
    }
    let detail = refusal.detail.chars().filter(|character| !character.is_control()).take(300).collect();
    let (code, retry_after_s) = (refusal.code.chars().take(40).collect(), refusal.retry_after_s);
    Err(Stop::Final(TransferError::Refused { code, detail, retry_after_s }))
}
