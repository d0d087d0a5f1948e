//! One connection to the broker as the rest of this crate sees it; `link.rs` makes real ones, tests make others.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rustls::ClientConfig;

/// What a connection is opened with.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) client_id: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Arc<ClientConfig>,
    /// False resumes a session of the broker, which only bridges short cuts: the outbox is the truth.
    pub(crate) clean_start: bool,
    pub(crate) session_expiry_s: u32,
    pub(crate) keep_alive: Duration,
    /// Name lookup, TCP, TLS and CONNACK together.
    pub(crate) connect_timeout: Duration,
    pub(crate) will: Option<Will>,
}

/// What the broker says for us when we vanish.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) message: Message,
    pub(crate) delay_s: u32,
}

/// A message to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) retain: bool,
    /// Seconds after which the broker drops it undelivered.
    pub(crate) expiry_s: Option<u32>,
}

/// What the broker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Largest packet, bytes.
    pub(crate) packet_bytes: usize,
    /// Messages that may be unacknowledged at once.
    pub(crate) in_flight: u16,
}

/// A subscription; acknowledged ones at QoS 1, lossy ones at QoS 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    pub(crate) acknowledged: bool,
}

/// What a connection says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WireEvent {
    /// The broker took the subscriptions; before this nothing is published.
    Subscribed,
    /// The broker refused a subscription.
    NotSubscribed(String),
    /// A message for us.
    Message { topic: String, payload: Bytes, correlation: Option<Bytes> },
    /// The broker has the message with this number. That is all it means.
    Taken(u64),
    /// The broker refused the message with this number.
    NotTaken(u64, String),
    /// The connection is over; nothing follows.
    Lost(String),
}

/// Why a message was not handed to the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// Too many messages are unacknowledged; try again after [`WireEvent::Taken`].
    NoRoom,
    /// It is larger than the broker takes, so it never can be sent on this connection.
    TooLarge { bytes: usize, most: usize },
    /// The connection is over.
    Closed,
}

/// A connection. Dropping it closes it without a word, so that the will speaks.
#[async_trait]
pub(crate) trait Wire: Send {
    /// Subscribes; the answer comes as [`WireEvent::Subscribed`].
    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Result<(), NotSent>;

    /// Hands over a message at QoS 1 and returns its number. Never blocks.
    fn publish(&mut self, message: Message) -> Result<u64, NotSent>;

    /// The next event. Cancel-safe.
    async fn next(&mut self) -> WireEvent;

    /// Says goodbye, so that the will stays silent, and waits for it to be sent, for two seconds at most.
    async fn close(&mut self);
}

/// Makes connections.
#[async_trait]
pub(crate) trait Connector: Send + Sync {
    /// A connection that the broker accepted, or why not.
    async fn connect(&self, opening: &Opening) -> Result<Box<dyn Wire>, String>;
}
