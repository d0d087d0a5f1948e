//! The link to the control plane over MQTT 5. This is the only file that names the MQTT client library.
//!
//! ```text
//!            attempt due            broker accepted            hello answered
//!  Offline ───────────► Connecting ────────────────► Syncing ────────────────► Online
//!     ▲                     │                           │                        │
//!     └─────────────────────┴──── any error: back off ──┴────────────────────────┘
//! ```
//!
//! Rules that keep the library out of its known traps, each with its reason:
//! * Every attempt gets a new event loop: after a lost session the old one can wait for an acknowledgement for ever.
//! * One task does nothing but poll it, and is never raced against anything: cancelling a poll can lose packets, and
//!   publishing from it can deadlock. The other side only ever *tries* to publish.
//! * The incoming limit is always set: the default is 10 KiB and a larger retained message would cut us off for ever.
//! * Outgoing size is checked against CONNACK before a message is handed over: one that is too large would poison the session.
//! * The span of unacknowledged messages stays below the broker's receive maximum, so packet ids cannot collide even if the
//!   broker acknowledges out of order. The upper limit also keeps the library's tables small.
//! * Subscribe once, and publish only after the answer: a subscription shares the packet ids of publishes.
//! * QoS 0 and 1 only, no topic aliases; refused acknowledgements are looked at; PUBACK never empties the outbox.

mod backoff;
mod connectivity;
#[cfg(test)]
pub(crate) mod fake;
mod mailbox;
mod session;
mod supervisor;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outpost_contract::limits::MQTT_PACKET_BYTES;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason,
    PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing, TlsConfiguration, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use backoff::{BackOff, Waits};
pub use connectivity::{Connectivity, Phase};
pub use supervisor::{Link, LinkConfig, LinkEvent, LinkHandle};
pub(crate) use wire::{Connector, Limits, Message, NotSent, Opening, Subscription, Wire, WireEvent};

/// Unacknowledged messages at once; also the size of the library's tables.
const IN_FLIGHT: u16 = 16;

/// Requests that may wait inside the library: the window, the subscription and the goodbye, with room to spare.
const REQUESTS: usize = 64;

/// Events that may wait for us before the library stops reading: 32 chunks are 8 MiB.
const EVENTS: usize = 32;

/// What a packet holds besides topic and payload: headers, ids and properties, generously.
const PACKET_OVERHEAD_BYTES: usize = 256;

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How a connection ended that the broker refused for who this device is.
pub(crate) const NOT_AUTHORIZED: &str = "the broker does not let this device in";

/// Connects to real brokers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mqtt;

#[async_trait]
impl Connector for Mqtt {
    async fn connect(&self, opening: &Opening) -> Result<Box<dyn Wire>, String> {
        let (client, event_loop) = AsyncClient::new(options(opening), REQUESTS);
        let (sender, events) = mpsc::channel(EVENTS);
        let polling = tokio::spawn(poll(event_loop, sender));
        let limits = Limits { packet_bytes: MQTT_PACKET_BYTES, in_flight: 1 };
        let mut connection = Connection {
            client,
            events,
            polling,
            limits,
            next_number: 0,
            submitted: VecDeque::new(),
            numbers: HashMap::new(),
        };
        match connection.events.recv().await {
            Some(Polled::Connected(limits)) if limits.in_flight > 0 => {
                connection.limits = limits;
                Ok(Box::new(connection))
            }
            Some(Polled::Connected(_)) => Err("the broker takes no messages (receive maximum 0)".to_owned()),
            Some(Polled::Lost(reason)) => Err(reason),
            _ => Err("the connection ended before the broker answered".to_owned()),
        }
    }
}

fn options(opening: &Opening) -> MqttOptions {
    let mut options = MqttOptions::new(&opening.client_id, &opening.host, opening.port);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(opening.tls.clone())));
    options.set_clean_start(opening.clean_start);
    // The library panics below 5 seconds.
    options.set_keep_alive(opening.keep_alive.max(Duration::from_secs(5)));
    options.set_connection_timeout(opening.connect_timeout.as_secs().max(1));
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(opening.session_expiry_s);
    properties.receive_maximum = Some(IN_FLIGHT);
    properties.max_packet_size = u32::try_from(MQTT_PACKET_BYTES).ok();
    options.set_connect_properties(properties);
    // Small packets (requests, acknowledgements) must not wait for each other.
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some(will) = &opening.will {
        let properties = LastWillProperties {
            delay_interval: Some(will.delay_s),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        let (topic, payload) = (will.message.topic.clone(), will.message.payload.to_vec());
        options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, will.message.retain, Some(properties)));
    }
    options
}

/// What the polling task hands over.
enum Polled {
    Connected(Limits),
    Subscribed(Vec<SubscribeReasonCode>),
    Message { topic: Bytes, payload: Bytes, correlation: Option<Bytes> },
    Sent(u16),
    Acknowledged(u16, PubAckReason),
    GoodbyeSent,
    Lost(String),
}

/// Polls until the first error; a new connection gets a new event loop.
async fn poll(mut event_loop: EventLoop, events: mpsc::Sender<Polled>) {
    loop {
        let polled = match event_loop.poll().await {
            Ok(event) => translate(event),
            Err(error) => Some(Polled::Lost(words(&error))),
        };
        let over = matches!(polled, Some(Polled::Lost(_)));
        if let Some(polled) = polled
            && events.send(polled).await.is_err()
        {
            return;
        }
        if over {
            return;
        }
    }
}

fn words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::Banned,
        ) => NOT_AUTHORIZED.to_owned(),
        other => other.to_string(),
    }
}

fn translate(event: Event) -> Option<Polled> {
    match event {
        Event::Incoming(Packet::ConnAck(connack)) => {
            let properties = connack.properties.as_ref();
            let packet_bytes = properties.and_then(|properties| properties.max_packet_size);
            let packet_bytes = packet_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
            let in_flight = properties.and_then(|properties| properties.receive_max).unwrap_or(u16::MAX);
            let packet_bytes = packet_bytes.min(MQTT_PACKET_BYTES);
            Some(Polled::Connected(Limits { packet_bytes, in_flight: in_flight.min(IN_FLIGHT) }))
        }
        Event::Incoming(Packet::SubAck(answer)) => Some(Polled::Subscribed(answer.return_codes)),
        Event::Incoming(Packet::Publish(publish)) => {
            let correlation = publish.properties.and_then(|properties| properties.correlation_data);
            Some(Polled::Message { topic: publish.topic, payload: publish.payload, correlation })
        }
        Event::Incoming(Packet::PubAck(answer)) => Some(Polled::Acknowledged(answer.pkid, answer.reason)),
        // 0 stands for QoS 0, which has no id.
        Event::Outgoing(Outgoing::Publish(id)) if id != 0 => Some(Polled::Sent(id)),
        Event::Outgoing(Outgoing::Disconnect) => Some(Polled::GoodbyeSent),
        _ => None,
    }
}

/// One connection to a real broker.
struct Connection {
    client: AsyncClient,
    events: mpsc::Receiver<Polled>,
    polling: JoinHandle<()>,
    limits: Limits,
    next_number: u64,
    /// Numbers handed to the library that have no packet id yet, in order: the library assigns ids in the same order.
    submitted: VecDeque<u64>,
    /// Numbers by packet id, until the broker answers.
    numbers: HashMap<u16, u64>,
}

impl Connection {
    /// Messages between the oldest unacknowledged one and the next: ids repeat with this period, so it bounds the window.
    fn span(&self) -> u64 {
        let oldest = self.numbers.values().chain(&self.submitted).min();
        oldest.map_or(0, |oldest| self.next_number - oldest)
    }

    fn event(&mut self, polled: Polled) -> Option<WireEvent> {
        match polled {
            Polled::Subscribed(codes) => {
                let refused = codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
                Some(refused.map_or(WireEvent::Subscribed, |code| WireEvent::NotSubscribed(format!("{code:?}"))))
            }
            Polled::Message { topic, payload, correlation } => {
                // A topic that is not text is none of ours.
                let topic = String::from_utf8(topic.to_vec()).ok()?;
                Some(WireEvent::Message { topic, payload, correlation })
            }
            Polled::Sent(id) => {
                let number = self.submitted.pop_front()?;
                self.numbers.insert(id, number);
                None
            }
            Polled::Acknowledged(id, reason) => {
                let number = self.numbers.remove(&id)?;
                Some(match reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => WireEvent::Taken(number),
                    refused => WireEvent::NotTaken(number, format!("{refused:?}")),
                })
            }
            Polled::Lost(reason) => Some(WireEvent::Lost(reason)),
            Polled::Connected(_) | Polled::GoodbyeSent => None,
        }
    }
}

#[async_trait]
impl Wire for Connection {
    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Result<(), NotSent> {
        let filters = subscriptions.iter().map(|subscription| {
            let qos = if subscription.acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            Filter::new(&subscription.filter, qos)
        });
        self.client.try_subscribe_many(filters).map_err(|_| NotSent::Closed)
    }

    fn publish(&mut self, message: Message) -> Result<u64, NotSent> {
        let bytes = message.topic.len() + message.payload.len() + PACKET_OVERHEAD_BYTES;
        if bytes > self.limits.packet_bytes {
            return Err(NotSent::TooLarge { bytes, most: self.limits.packet_bytes });
        }
        if self.span() >= u64::from(self.limits.in_flight) {
            return Err(NotSent::NoRoom);
        }
        let properties =
            PublishProperties { message_expiry_interval: message.expiry_s, ..PublishProperties::default() };
        self.client
            .try_publish_with_properties(message.topic, QoS::AtLeastOnce, message.retain, message.payload, properties)
            .map_err(|_| NotSent::Closed)?;
        let number = self.next_number;
        self.next_number += 1;
        self.submitted.push_back(number);
        Ok(number)
    }

    async fn next(&mut self) -> WireEvent {
        loop {
            // The channel ends without a reason only if the polling task panicked: a broken connection like any other.
            let Some(polled) = self.events.recv().await else {
                return WireEvent::Lost("the connection broke off".to_owned());
            };
            if let Some(event) = self.event(polled) {
                return event;
            }
        }
    }

    async fn close(&mut self) {
        if self.client.try_disconnect().is_err() {
            return;
        }
        let sent = async {
            while let Some(polled) = self.events.recv().await {
                if matches!(polled, Polled::GoodbyeSent | Polled::Lost(_)) {
                    break;
                }
            }
        };
        // Out of time: the connection is cut and the will speaks, which is true as well.
        let _ = tokio::time::timeout(GOODBYE, sent).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.polling.abort();
    }
}
