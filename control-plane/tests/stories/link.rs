//! A bare MQTT client for tests: it does what it is told, also what a good device never would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outpost_contract::limits::MQTT_PACKET_BYTES;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, LastWill, Packet, PubAckReason, Publish, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) retained: bool,
    pub(crate) payload: Vec<u8>,
    pub(crate) correlation: Option<Vec<u8>>,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The broker read the certificate and the client id, and said no.
    NotAuthorized,
    /// The connection ended before MQTT was spoken: the certificate does not count.
    Certificate(String),
}

/// An open connection; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Link {
    /// The broker had kept a session.
    pub(crate) resumed: bool,
    client: AsyncClient,
    packets: mpsc::UnboundedReceiver<Packet>,
    /// Messages that came while something else was awaited.
    messages: Vec<Message>,
    polling: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

impl Link {
    /// Connects, with an empty session.
    pub(crate) async fn open(
        broker: SocketAddr,
        client_id: &str,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Self, Refused> {
        Self::open_with(broker, client_id, over(tls), None, false).await
    }

    /// Connects with an empty session and without encryption.
    pub(crate) async fn open_plainly(broker: SocketAddr, client_id: &str) -> Result<Self, Refused> {
        Self::open_with(broker, client_id, Transport::tcp(), None, false).await
    }

    /// Connects with a session that the broker keeps for an hour.
    pub(crate) async fn open_lasting(
        broker: SocketAddr,
        client_id: &str,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Self, Refused> {
        Self::open_with(broker, client_id, over(tls), None, true).await
    }

    /// Connects with something for the broker to say when the connection breaks off.
    pub(crate) async fn open_with_will(
        broker: SocketAddr,
        client_id: &str,
        tls: Arc<rustls::ClientConfig>,
        will: Option<&str>,
    ) -> Result<Self, Refused> {
        Self::open_with(broker, client_id, over(tls), will, false).await
    }

    async fn open_with(
        broker: SocketAddr,
        client_id: &str,
        transport: Transport,
        will: Option<&str>,
        lasting: bool,
    ) -> Result<Self, Refused> {
        let mut options = MqttOptions::new(client_id, broker.ip().to_string(), broker.port());
        options.set_transport(transport);
        options.set_clean_start(!lasting);
        options.set_keep_alive(Duration::from_secs(20));
        options.set_connection_timeout(10);
        let mut properties = ConnectProperties::new();
        properties.max_packet_size = u32::try_from(MQTT_PACKET_BYTES).ok();
        properties.session_expiry_interval = lasting.then_some(3600);
        options.set_connect_properties(properties);
        if let Some(topic) = will {
            options.set_last_will(LastWill::new(topic, "gone", QoS::AtLeastOnce, true, None));
        }
        let (client, mut event_loop) = AsyncClient::new(options, 16);
        let resumed = loop {
            match timeout(PATIENCE, event_loop.poll()).await.expect("the broker answers a connection") {
                Ok(Event::Incoming(Packet::ConnAck(answer))) => break answer.session_present,
                Ok(_) => {}
                Err(ConnectionError::ConnectionRefused(code)) => {
                    assert_eq!(code, ConnectReturnCode::NotAuthorized);
                    return Err(Refused::NotAuthorized);
                }
                Err(error @ (ConnectionError::Tls(_) | ConnectionError::Io(_) | ConnectionError::MqttState(_))) => {
                    return Err(Refused::Certificate(error.to_string()));
                }
                Err(error) => panic!("no answer that a refusal would be: {error}"),
            }
        };
        let (sender, packets) = mpsc::unbounded_channel();
        // One task polls and does nothing else; a new connection gets a new event loop.
        let polling = tokio::spawn(async move {
            while let Ok(event) = event_loop.poll().await {
                if let Event::Incoming(packet) = event
                    && sender.send(packet).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { resumed, client, packets, messages: Vec::new(), polling })
    }

    /// Subscribes; false if the broker refused.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> bool {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.expect("the client runs");
        loop {
            match self.packet().await.expect("the connection outlives a subscription") {
                Packet::SubAck(answer) => {
                    return matches!(answer.return_codes[..], [SubscribeReasonCode::Success(_)]);
                }
                Packet::Publish(publish) => self.messages.push(message(publish)),
                _ => {}
            }
        }
    }

    /// Publishes and waits for the answer; false if the broker refused or ended the connection.
    pub(crate) async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) -> bool {
        self.publish_with(topic, payload, false).await
    }

    /// Publishes something for the broker to keep.
    pub(crate) async fn publish_retained(&mut self, topic: &str, payload: impl Into<Vec<u8>>) -> bool {
        self.publish_with(topic, payload, true).await
    }

    async fn publish_with(&mut self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) -> bool {
        let payload: Vec<u8> = payload.into();
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.expect("the client runs");
        loop {
            match self.packet().await {
                Some(Packet::PubAck(answer)) => {
                    return matches!(answer.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
                }
                Some(Packet::Publish(publish)) => self.messages.push(message(publish)),
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// The next message; `None` if the connection ended.
    pub(crate) async fn hear(&mut self) -> Option<Message> {
        if !self.messages.is_empty() {
            return Some(self.messages.remove(0));
        }
        loop {
            if let Packet::Publish(publish) = self.packet().await? {
                return Some(message(publish));
            }
        }
    }

    /// Waits until the other side ends the connection.
    pub(crate) async fn ended(&mut self) {
        while self.packet().await.is_some() {}
    }

    async fn packet(&mut self) -> Option<Packet> {
        timeout(PATIENCE, self.packets.recv()).await.expect("the broker answers or ends the connection")
    }
}

fn over(tls: Arc<rustls::ClientConfig>) -> Transport {
    Transport::tls_with_config(TlsConfiguration::Rustls(tls))
}

fn message(publish: Publish) -> Message {
    Message {
        topic: String::from_utf8(publish.topic.to_vec()).expect("our topics are text"),
        retained: publish.retain,
        payload: publish.payload.to_vec(),
        correlation: publish.properties.and_then(|properties| properties.correlation_data).map(Vec::from),
    }
}
