//! The library itself against a broker of which a test writes every byte: what a fake wire cannot show.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::limits::MQTT_PACKET_BYTES;
use outpost_disk::Clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::link::{Connector, Message, Mqtt, NotSent, Opening, Wire, WireEvent};
use crate::testing::Authority;

const CONNECT: u8 = 0x10;
const PUBLISH_ACKNOWLEDGED: u8 = 0x32;

/// A broker that is a listener, and what a device opens to it.
struct Bench {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    opening: Opening,
}

/// One connection at the broker's side.
struct Broker(TlsStream<TcpStream>);

impl Bench {
    async fn start() -> Self {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let identity = authority.device("till-7", "https://127.0.0.1:1");
        let opening = Opening {
            client_id: "till-7".into(),
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            tls: identity.tls(&Clock::system()).unwrap(),
            clean_start: false,
            session_expiry_s: 3600,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            will: None,
        };
        Self { listener, acceptor: TlsAcceptor::from(authority.server()), opening }
    }

    /// A connection that takes so many unacknowledged messages, and says that it kept the session.
    async fn connect(&self, receive_maximum: u8) -> (Box<dyn Wire>, Broker) {
        let accepted = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            let mut broker = Broker(self.acceptor.accept(stream).await.unwrap());
            assert_eq!(broker.packet().await.unwrap().0, CONNECT);
            broker.write(&[0x20, 6, 1, 0, 3, 0x21, 0, receive_maximum]).await;
            broker
        };
        let (wire, broker) = tokio::join!(Mqtt.connect(&self.opening), accepted);
        (wire.unwrap(), broker)
    }
}

impl Broker {
    async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// First byte and body of the next packet; none if the connection ended.
    async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        read_packet(&mut self.0).await.ok()
    }

    /// The packet id of the next acknowledged message.
    async fn published(&mut self) -> u16 {
        let (first, body) = self.packet().await.expect("the device is connected");
        assert_eq!(first, PUBLISH_ACKNOWLEDGED);
        let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
        u16::from_be_bytes([body[2 + topic], body[3 + topic]])
    }

    async fn acknowledge(&mut self, id: u16) {
        let [high, low] = id.to_be_bytes();
        self.write(&[0x40, 2, high, low]).await;
    }

    /// Tells something of so many bytes, the packet's header not counted.
    async fn tell(&mut self, bytes: usize) {
        let topic = b"op/1/acme/d/till-7/down/desired";
        let mut packet = vec![0x30];
        let mut left = bytes;
        while left > 0 {
            packet.push((left % 128) as u8 | if left >= 128 { 128 } else { 0 });
            left /= 128;
        }
        packet.extend([0, topic.len() as u8]);
        packet.extend(topic);
        packet.push(0);
        packet.resize(packet.len() + bytes - topic.len() - 3, 7);
        // The device may leave in the middle of it.
        let _ = self.0.write_all(&packet).await;
        let _ = self.0.flush().await;
    }
}

async fn read_packet(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(u8, Vec<u8>)> {
    let first = stream.read_u8().await?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((first, body))
}

fn message() -> Message {
    let topic = "op/1/acme/d/till-7/up/reported".to_owned();
    Message { topic, payload: Bytes::from_static(b"{}"), retain: false, expiry_s: None }
}

/// Publishes until there is no room; how many were taken.
fn fill(wire: &mut dyn Wire) -> usize {
    let mut taken = 0;
    loop {
        match wire.publish(message()) {
            Ok(_) => taken += 1,
            Err(why) => return (why == NotSent::NoRoom).then_some(taken).expect("nothing but room is missing"),
        }
    }
}

#[tokio::test]
async fn a_broker_that_takes_fewer_messages_than_before_the_cut_gets_no_more_than_it_takes() {
    let bench = Bench::start().await;
    let (mut wire, mut broker) = bench.connect(16).await;
    assert_eq!(fill(wire.as_mut()), 16);
    for _ in 0..16 {
        broker.published().await;
    }
    // Nothing of it was acknowledged.
    drop(broker);
    assert!(matches!(wire.next().await, WireEvent::Lost(_)));

    // It says that it knows the session, and takes two.
    let (mut wire, mut broker) = bench.connect(2).await;
    assert_eq!(fill(wire.as_mut()), 2, "what hung on the old connection takes no room, and no more is handed over");
    let mut ids = VecDeque::from([broker.published().await, broker.published().await]);
    for _ in 0..40 {
        assert_ne!(ids[0], ids[1], "two messages that hang have two ids");
        broker.acknowledge(ids.pop_front().unwrap()).await;
        assert!(matches!(wire.next().await, WireEvent::Taken(_)));
        assert_eq!(fill(wire.as_mut()), 1, "one place is free");
        ids.push_back(broker.published().await);
    }
}

#[tokio::test]
async fn a_message_as_large_as_a_packet_may_be_arrives_and_a_larger_one_ends_the_connection() {
    let bench = Bench::start().await;
    let (mut wire, mut broker) = bench.connect(16).await;
    // The library's own limit would be 10 KiB.
    for bytes in [10 * 1024, 11 * 1024, MQTT_PACKET_BYTES - 8] {
        let (event, ()) = tokio::join!(wire.next(), broker.tell(bytes));
        let WireEvent::Message { payload, .. } = event else { panic!("{bytes} bytes arrive: {event:?}") };
        assert!(payload.len() > bytes - 64 && payload.iter().all(|byte| *byte == 7), "{}", payload.len());
    }
    let (event, ()) = tokio::join!(wire.next(), broker.tell(MQTT_PACKET_BYTES + 1));
    assert!(matches!(event, WireEvent::Lost(_)), "{event:?}");
    let (mut wire, mut broker) = bench.connect(16).await;
    let (event, ()) = tokio::join!(wire.next(), broker.tell(100));
    assert!(matches!(event, WireEvent::Message { .. }), "the next connection is as good as any: {event:?}");
}
