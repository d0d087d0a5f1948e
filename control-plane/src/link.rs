//! The control plane's own connection to the broker. This is the only file here that names the MQTT client library.
//!
//! One task polls and does nothing else; every attempt gets a new event loop, and after every connection everything that
//! matters is published again from the database, so nothing has to be carried over.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::limits::MQTT_PACKET_BYTES;
use outpost_contract::topic::Topic;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Filter, Packet, PublishProperties, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Requests that may wait inside the library.
const REQUESTS: usize = 64;

/// Messages that may wait for us before the library stops reading.
const HEARD: usize = 1024;

/// Before the first new attempt; the broker is in the same process or on the same site. Doubled up to the longest.
const PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a message may wait for a place in the queue to the broker.
const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// Whom to be and what to hear.
#[derive(Debug, Clone)]
pub(crate) struct LinkOptions {
    /// Host and port.
    pub(crate) broker: (String, u16),
    pub(crate) client_id: String,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    /// Filters, all at QoS 1.
    pub(crate) filters: Vec<String>,
}

/// What the link tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Connected and subscribed.
    Up,
    /// The connection is gone; another attempt follows.
    Down,
    /// A message; the topic may be anything.
    Message { topic: String, payload: Bytes },
}

/// Sends messages over whatever connection there is. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    client: watch::Receiver<Option<(u64, AsyncClient)>>,
}

impl Sender {
    /// QoS 0: if it is lost, the other side asks again. Waits for room, so it must not be called from where messages are
    /// taken in.
    pub(crate) async fn send_once(&self, topic: &Topic, payload: Bytes, correlation: Option<Bytes>) {
        let Some(client) = self.client() else { return };
        let properties = PublishProperties { correlation_data: correlation, ..PublishProperties::default() };
        let sent = client.publish_with_properties(topic.to_string(), QoS::AtMostOnce, false, payload, properties);
        if !matches!(tokio::time::timeout(SEND_PATIENCE, sent).await, Ok(Ok(()))) {
            tracing::debug!(%topic, "a message did not leave");
        }
    }

    /// QoS 1, retained. True if it was handed over; a broken connection is followed by [`Heard::Up`], and then everything
    /// retained is sent again.
    pub(crate) async fn send_retained(&self, topic: &Topic, payload: Bytes) -> bool {
        let Some(client) = self.client() else { return false };
        let sent = client.publish(topic.to_string(), QoS::AtLeastOnce, true, payload);
        matches!(tokio::time::timeout(SEND_PATIENCE, sent).await, Ok(Ok(())))
    }

    /// QoS 1 if there is room at once. Never waits: safe where messages are taken in. Whoever has not got it after `expiry_s`
    /// seconds does not get it.
    pub(crate) fn try_send_until(&self, topic: &Topic, payload: Bytes, expiry_s: u32) -> bool {
        let properties = PublishProperties { message_expiry_interval: Some(expiry_s), ..PublishProperties::default() };
        self.client().is_some_and(|client| {
            client.try_publish_with_properties(topic.to_string(), QoS::AtLeastOnce, false, payload, properties).is_ok()
        })
    }

    /// QoS 1, and waits for room, so it must not be called from where messages are taken in. Whoever has not got it after
    /// `expiry_s` seconds, if there are any, does not get it. True if it was handed over.
    pub(crate) async fn send(&self, topic: &Topic, payload: Bytes, expiry_s: Option<u32>) -> bool {
        let Some(client) = self.client() else { return false };
        let properties = PublishProperties { message_expiry_interval: expiry_s, ..PublishProperties::default() };
        let sent = client.publish_with_properties(topic.to_string(), QoS::AtLeastOnce, false, payload, properties);
        matches!(tokio::time::timeout(SEND_PATIENCE, sent).await, Ok(Ok(())))
    }

    /// Which connection it is that sends now, counted from 1; 0 while there is none.
    pub(crate) fn connection(&self) -> u64 {
        self.client.borrow().as_ref().map_or(0, |(number, _)| *number)
    }

    fn client(&self) -> Option<AsyncClient> {
        self.client.borrow().as_ref().map(|(_, client)| client.clone())
    }
}

/// Keeps connected until `stop`. Returns at once.
pub(crate) fn start(options: LinkOptions, stop: CancellationToken) -> (Sender, mpsc::Receiver<Heard>) {
    let (heard, receiver) = mpsc::channel(HEARD);
    let (publish_client, client) = watch::channel(None);
    tokio::spawn(async move {
        // The poll is only ever cancelled together with its event loop.
        let _ = stop.run_until_cancelled(keep_connected(options, heard, publish_client)).await;
    });
    (Sender { client }, receiver)
}

async fn keep_connected(
    options: LinkOptions,
    heard: mpsc::Sender<Heard>,
    publish_client: watch::Sender<Option<(u64, AsyncClient)>>,
) {
    let (mut pause, mut number) = (PAUSE, 0);
    loop {
        let (client, event_loop) = AsyncClient::new(mqtt_options(&options), REQUESTS);
        number += 1;
        let reason = poll(&options, (number, client), event_loop, &heard, &publish_client).await;
        let was_up = publish_client.send_replace(None).is_some();
        let Some(reason) = reason else { return };
        tracing::warn!(client_id = options.client_id, reason, was_up, "the connection to the broker ended");
        if was_up && heard.send(Heard::Down).await.is_err() {
            return;
        }
        pause = if was_up { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

/// Polls until the first error, and says which; `None` if nobody listens any more.
async fn poll(
    options: &LinkOptions,
    (number, client): (u64, AsyncClient),
    mut event_loop: EventLoop,
    heard: &mpsc::Sender<Heard>,
    publish_client: &watch::Sender<Option<(u64, AsyncClient)>>,
) -> Option<String> {
    loop {
        let event = match event_loop.poll().await {
            Ok(event) => event,
            Err(error) => return Some(error.to_string()),
        };
        let told = match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                let filters = options.filters.iter().map(|filter| Filter::new(filter.as_str(), QoS::AtLeastOnce));
                if let Err(error) = client.try_subscribe_many(filters) {
                    return Some(error.to_string());
                }
                continue;
            }
            Event::Incoming(Packet::SubAck(answer)) => {
                let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                if !answer.return_codes.iter().all(granted) {
                    return Some("the broker refused a subscription".to_owned());
                }
                publish_client.send_replace(Some((number, client.clone())));
                Heard::Up
            }
            Event::Incoming(Packet::Publish(message)) => {
                let Ok(topic) = String::from_utf8(message.topic.to_vec()) else { continue };
                Heard::Message { topic, payload: message.payload }
            }
            _ => continue,
        };
        if heard.send(told).await.is_err() {
            return None;
        }
    }
}

/// Host and port of a broker of ours.
pub(crate) fn reached_at(listening: SocketAddr) -> (String, u16) {
    // A broker that listens everywhere is reached over the loopback; its certificate carries that address.
    let host = match listening.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    (host.to_string(), listening.port())
}

/// Connects under the client id of `options` and leaves again: whoever was connected under it is put out, and its session
/// is gone.
pub(crate) async fn take_over(options: &LinkOptions) -> Result<(), String> {
    // The session ends with the connection, and the connection with the event loop.
    let (_client, mut event_loop) = AsyncClient::new(mqtt_options(options), REQUESTS);
    let taken = async {
        loop {
            match event_loop.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    tokio::time::timeout(SEND_PATIENCE, taken).await.unwrap_or_else(|_| Err("the broker does not answer".to_owned()))
}

fn mqtt_options(options: &LinkOptions) -> MqttOptions {
    let (host, port) = &options.broker;
    let mut mqtt = MqttOptions::new(&options.client_id, host, *port);
    mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(options.tls.clone())));
    mqtt.set_clean_start(true);
    mqtt.set_keep_alive(Duration::from_secs(20));
    mqtt.set_connection_timeout(10);
    mqtt.set_outgoing_inflight_upper_limit(16);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(0);
    // The library's own limit is 10 KiB, and a larger message would end the connection each time.
    properties.max_packet_size = u32::try_from(MQTT_PACKET_BYTES).ok();
    mqtt.set_connect_properties(properties);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    mqtt
}
