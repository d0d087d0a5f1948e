//! A broker made of channels: tests see what a connection says and say what it hears.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustls::{ClientConfig, RootCertStore};
use std::time::Duration;
use tokio::sync::mpsc;

use super::wire::{Connector, Message, NotSent, Opening, Subscription, Wire, WireEvent};

/// What a connection said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Subscribe(Vec<Subscription>),
    Publish(u64, Message),
    Goodbye,
}

/// Hands every attempt to the test.
pub(crate) struct FakeConnector {
    attempts: mpsc::UnboundedSender<Attempt>,
    /// Largest packet that the broker takes.
    pub(crate) packet_bytes: usize,
}

/// One connection, the broker's side.
pub(crate) struct Attempt {
    pub(crate) opening: Opening,
    said: mpsc::UnboundedReceiver<Said>,
    events: mpsc::UnboundedSender<WireEvent>,
}

pub(crate) fn broker() -> (FakeConnector, mpsc::UnboundedReceiver<Attempt>) {
    let (attempts, seen) = mpsc::unbounded_channel();
    (FakeConnector { attempts, packet_bytes: 1 << 20 }, seen)
}

/// An opening that nothing dials.
pub(crate) fn opening(client_id: &str) -> Opening {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Opening {
        client_id: client_id.to_owned(),
        host: "broker.example".to_owned(),
        port: 8883,
        tls: Arc::new(tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth()),
        clean_start: true,
        session_expiry_s: 0,
        keep_alive: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(30),
        will: None,
    }
}

#[async_trait]
impl Connector for FakeConnector {
    async fn connect(&self, opening: &Opening) -> Result<Box<dyn Wire>, String> {
        let (says, said) = mpsc::unbounded_channel();
        let (events, hears) = mpsc::unbounded_channel();
        let attempt = Attempt { opening: opening.clone(), said, events };
        self.attempts.send(attempt).map_err(|_| "nobody listens at this address".to_owned())?;
        Ok(Box::new(FakeWire { says, hears, next_number: 0, packet_bytes: self.packet_bytes }))
    }
}

struct FakeWire {
    says: mpsc::UnboundedSender<Said>,
    hears: mpsc::UnboundedReceiver<WireEvent>,
    next_number: u64,
    packet_bytes: usize,
}

#[async_trait]
impl Wire for FakeWire {
    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Result<(), NotSent> {
        self.says.send(Said::Subscribe(subscriptions.to_vec())).map_err(|_| NotSent::Closed)
    }

    fn publish(&mut self, message: Message) -> Result<u64, NotSent> {
        if message.payload.len() > self.packet_bytes {
            return Err(NotSent::TooLarge { bytes: message.payload.len(), most: self.packet_bytes });
        }
        let number = self.next_number;
        self.next_number += 1;
        self.says.send(Said::Publish(number, message)).map_err(|_| NotSent::Closed)?;
        Ok(number)
    }

    async fn next(&mut self) -> WireEvent {
        self.hears.recv().await.unwrap_or(WireEvent::Lost("the broker went away".to_owned()))
    }

    async fn close(&mut self) {
        let _ = self.says.send(Said::Goodbye);
    }
}

impl Attempt {
    /// The next thing that the connection says.
    pub(crate) async fn said(&mut self) -> Said {
        self.said.recv().await.expect("the connection is still there")
    }

    /// What it says next without waiting for it, if it does.
    pub(crate) fn said_already(&mut self) -> Option<Said> {
        self.said.try_recv().ok()
    }

    /// The next thing must be a message whose topic ends so.
    pub(crate) async fn published(&mut self, topic_end: &str) -> (u64, Message) {
        match self.said().await {
            Said::Publish(number, message) if message.topic.ends_with(topic_end) => (number, message),
            other => panic!("expected a message on `…{topic_end}`, got {other:?}"),
        }
    }

    pub(crate) async fn accept_subscription(&mut self) -> Vec<Subscription> {
        let Said::Subscribe(subscriptions) = self.said().await else { panic!("expected a subscription") };
        self.hear(WireEvent::Subscribed);
        subscriptions
    }

    pub(crate) fn hear(&self, event: WireEvent) {
        // A connection that is gone hears nothing, as in life.
        let _ = self.events.send(event);
    }

    pub(crate) fn hear_message(&self, topic: &str, payload: impl Into<Bytes>, correlation: Option<Bytes>) {
        self.hear(WireEvent::Message { topic: topic.to_owned(), payload: payload.into(), correlation });
    }
}
