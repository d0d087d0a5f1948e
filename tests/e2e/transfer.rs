//! One file through everything that can happen to its transfer: the link is cut, the control plane restarts with its broker, the
//! receiver is killed, at random moments. It arrives, and hardly a byte travels twice.
//!
//! `OUTPOST_CUTS=200 OUTPOST_MIB=400 cargo e2e transfer` runs the long form.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outpost_contract::Manifest;
use outpost_contract::limits::CHUNK_BYTES;
use outpost_disk::Clock;
use outpost_store::{Source, Store};
use outpost_sync::{BackOff, HttpsChunks, HttpsOptions, Identity, MqttChunks, TransferOptions};
use outpost_tests::bad_wire::BadWire;
use outpost_tests::fleet::Fleet;
use outpost_tests::transfer::{OverHttps, OverMqtt, enrol_at, release};
use tokio::net::TcpListener;

/// Tells the receiver, which is this program started once more, where to work.
const ROOM: &str = "OUTPOST_TRANSFER_ROOM";

/// Tells it to fetch over MQTT.
const OVER_MQTT: &str = "OUTPOST_TRANSFER_OVER_MQTT";

/// Of each connection: slow enough that moments can be chosen.
const BYTES_PER_S: u64 = 12 * 1024 * 1024;

/// The longest that the whole may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Bytes before the first tensor, so to speak: what a release of new metadata changes.
const HEADER: [usize; 2] = [6_000, 6_400];

/// What the file travels over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Https,
    Mqtt,
}

/// What happens to the transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    LinkCut,
    ControlPlaneRestart,
    Kill,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_arrives_through_random_interruptions_and_hardly_a_byte_travels_twice() -> Result<()> {
    let cuts = setting("OUTPOST_CUTS").unwrap_or(6);
    let size = setting("OUTPOST_MIB").unwrap_or(64) * 1024 * 1024;
    let folder = tempfile::tempdir()?;
    let mut room = Room::prepare(folder.path(), usize::try_from(size)?, Way::Https).await?;
    let sent = interrupted(&mut room, cuts, size, folder.path()).await?;
    let ratio = sent as f64 / size as f64;
    writeln!(std::io::stderr(), "{cuts} interruptions, {sent} bytes on the wire for {size}: {ratio:.4}")?;
    ensure!(ratio <= 1.05, "{sent} bytes were sent for {size}");

    // A release that changes the header alone.
    let before = room.wire.bytes();
    Room::choose(folder.path(), &room.manifests[1])?;
    Receiver::start(folder.path(), Way::Https)?.wait().await?;
    let sent = room.wire.bytes() - before;
    let stored = Store::open(&folder.path().join("store"))?.verify_file(room.manifests[1].blake3)?;
    writeln!(std::io::stderr(), "{sent} bytes on the wire for a new header of {}", stored.bytes)?;
    ensure!(sent * 100 < stored.bytes, "{sent} bytes were sent for a new header of a file of {}", stored.bytes);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_arrives_over_mqtt_through_random_interruptions_and_hardly_a_byte_travels_twice() -> Result<()> {
    let cuts = setting("OUTPOST_CUTS").unwrap_or(6);
    let size = setting("OUTPOST_MIB").unwrap_or(32) * 1024 * 1024;
    let folder = tempfile::tempdir()?;
    let mut room = Room::prepare(folder.path(), usize::try_from(size)?, Way::Mqtt).await?;
    let sent = interrupted(&mut room, cuts, size, folder.path()).await?;
    let ratio = sent as f64 / size as f64;
    writeln!(std::io::stderr(), "{cuts} interruptions, {sent} bytes over MQTT for {size}: {ratio:.4}")?;
    // The first break costs a chunk, before the device asks for pieces.
    ensure!(sent <= size / 20 * 21 + CHUNK_BYTES as u64, "{sent} bytes were sent for {size}");
    Ok(())
}

/// Interrupts the transfer at random moments until the file is whole; gives the bytes that passed the wire meanwhile.
async fn interrupted(room: &mut Room, cuts: u64, size: u64, folder: &Path) -> Result<u64> {
    let mut troubles: Vec<(u64, Trouble)> = Vec::new();
    for number in 0..cuts {
        let trouble = match number % 13 {
            4 => Trouble::ControlPlaneRestart,
            // A kill costs the chunks on their way, a quarter of a MiB each; the others cost a record of TLS over HTTPS.
            5 => Trouble::Kill,
            _ => Trouble::LinkCut,
        };
        troubles.push((random()? % (size / 100 * 97), trouble));
    }
    troubles.sort_by_key(|(moment, _)| *moment);

    let before = room.wire.bytes();
    room.wire.slow_down(BYTES_PER_S);
    let mut receiver = Receiver::start(folder, room.way)?;
    for (moment, trouble) in troubles {
        while room.wire.bytes() - before < moment {
            ensure!(receiver.ended()?.is_none(), "the receiver ended before {trouble:?} at {moment} bytes");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match trouble {
            Trouble::LinkCut => room.wire.cut_now(),
            Trouble::ControlPlaneRestart => {
                room.fleet.stop().await;
                room.fleet.start_again().await?;
            }
            Trouble::Kill => {
                drop(receiver);
                receiver = Receiver::start(folder, room.way)?;
            }
        }
    }
    receiver.wait().await?;

    let sent = room.wire.bytes() - before;
    let stored = Store::open(&folder.join("store"))?.verify_file(room.manifests[0].blake3)?;
    ensure!(stored.bytes == size, "the file has {} bytes", stored.bytes);
    Ok(sent)
}

/// The receiver's own work; run as a test of its own it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receiver() -> Result<()> {
    let Some(room) = std::env::var_os(ROOM).map(PathBuf::from) else { return Ok(()) };
    let identity = Identity::load(&room.join("identity"))?;
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(room.join("wanted.json"))?)?;
    let (back_off, clock) =
        (BackOff { base: Duration::from_millis(50), cap: Duration::from_millis(500) }, Clock::system());
    let source: Box<dyn Source> = if std::env::var_os(OVER_MQTT).is_some() {
        let options = TransferOptions { back_off, fruitless_connections: 1000, ..TransferOptions::default() };
        Box::new(OverMqtt(Arc::new(MqttChunks::new(&identity, options, &clock)?)))
    } else {
        let options = HttpsOptions {
            back_off,
            fruitless_requests: 1000,
            fruitless_at_first: 1000,
            ..HttpsOptions::control_plane()
        };
        Box::new(OverHttps(HttpsChunks::new(&identity, options, &clock)?))
    };
    Store::open(&room.join("store"))?.pull(&manifest, source.as_ref(), |_| {}).await?;
    Ok(())
}

/// A control plane, one of whose addresses lies behind a wire, with a file in two versions, and an enrolled device.
struct Room {
    fleet: Fleet,
    wire: BadWire,
    way: Way,
    manifests: [Manifest; 2],
}

impl Room {
    async fn prepare(folder: &Path, size: usize, way: Way) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let behind = listener.local_addr()?;
        let fleet = Fleet::start_reached_at(folder, (way == Way::Mqtt).then_some(behind)).await?;
        let mut body = vec![0; size - HEADER[0]];
        getrandom::fill(&mut body).context("no randomness")?;
        let manifests =
            [release(&fleet, folder, HEADER[0], &body).await?, release(&fleet, folder, HEADER[1], &body).await?];
        let (target, entrance) = match way {
            Way::Https => (fleet.http_address(), behind),
            Way::Mqtt => (fleet.mqtt_address(), fleet.http_address()),
        };
        let wire = BadWire::lay(listener, target, [])?;
        enrol_at(&fleet, &format!("https://{entrance}"), &folder.join("identity")).await?;
        Self::choose(folder, &manifests[0])?;
        Ok(Self { fleet, wire, way, manifests })
    }

    /// What the receiver is to fetch.
    fn choose(folder: &Path, manifest: &Manifest) -> Result<()> {
        let mut file = std::fs::File::create(folder.join("wanted.json"))?;
        Ok(file.write_all(&serde_json::to_vec(manifest)?)?)
    }
}

/// This program, started once more as the receiver; killed when dropped.
struct Receiver(Child);

impl Receiver {
    fn start(room: &Path, way: Way) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["transfer::receiver", "--exact"]).env(ROOM, room).stdin(Stdio::null()).stdout(Stdio::null());
        if way == Way::Mqtt {
            command.env(OVER_MQTT, "");
        }
        Ok(Self(command.spawn().context("the receiver does not start")?))
    }

    /// True or false once it has ended, well or not.
    fn ended(&mut self) -> Result<Option<bool>> {
        Ok(self.0.try_wait()?.map(|status| status.success()))
    }

    async fn wait(&mut self) -> Result<()> {
        let ended = async {
            loop {
                match self.ended()? {
                    Some(true) => return Ok(()),
                    Some(false) => bail!("the receiver failed"),
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.context("the file does not arrive")?
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).context("no randomness")?;
    Ok(u64::from_le_bytes(bytes))
}
