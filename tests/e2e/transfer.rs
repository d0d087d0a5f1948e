//! One file through everything that can happen to its transfer: the link is cut, the control plane restarts, the receiver is
//! killed, at random moments. It arrives, and hardly a byte travels twice.
//!
//! `OUTPOST_CUTS=200 OUTPOST_MIB=400 cargo e2e transfer` runs the long form.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use outpost_contract::{Chunk, ChunkRun, Manifest, ModelFacts, VariantFacts};
use outpost_control::{OfflineKeys, ReleaseRequest, Variant};
use outpost_disk::Clock;
use outpost_store::{Deliver, Source, SourceError, Store, manifest};
use outpost_sync::{BackOff, Enrolment, HttpsChunks, HttpsOptions, Identity, enrol};
use outpost_tests::bad_wire::BadWire;
use outpost_tests::fleet::Fleet;
use tokio::net::TcpListener;

/// Tells the receiver, which is this program started once more, where to work.
const ROOM: &str = "OUTPOST_TRANSFER_ROOM";

/// Of each connection: slow enough that moments can be chosen.
const BYTES_PER_S: u64 = 12 * 1024 * 1024;

/// The longest that the whole may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Bytes before the first tensor, so to speak: what a release of new metadata changes.
const HEADER: [usize; 2] = [6_000, 6_400];

/// What happens to the transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    LinkCut,
    ControlPlaneRestart,
    Kill,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_arrives_through_random_interruptions_and_hardly_a_byte_travels_twice() -> Result<()> {
    let cuts: u64 = setting("OUTPOST_CUTS").unwrap_or(6);
    let size = setting("OUTPOST_MIB").unwrap_or(64) * 1024 * 1024;
    let folder = tempfile::tempdir()?;
    let mut room = Room::prepare(folder.path(), usize::try_from(size)?).await?;

    let mut troubles: Vec<(u64, Trouble)> = Vec::new();
    for number in 0..cuts {
        let trouble = match number % 13 {
            4 => Trouble::ControlPlaneRestart,
            // A kill costs the chunks on their way, a quarter of a MiB each; the others cost a record of TLS.
            5 => Trouble::Kill,
            _ => Trouble::LinkCut,
        };
        troubles.push((random()? % (size / 100 * 97), trouble));
    }
    troubles.sort_by_key(|(moment, _)| *moment);

    let before = room.wire.bytes();
    room.wire.slow_down(BYTES_PER_S);
    let mut receiver = Receiver::start(folder.path())?;
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
                receiver = Receiver::start(folder.path())?;
            }
        }
    }
    receiver.wait().await?;

    let sent = room.wire.bytes() - before;
    let store = Store::open(&folder.path().join("store"))?;
    let stored = store.verify_file(room.manifests[0].blake3)?;
    ensure!(stored.bytes == size, "the file has {} bytes", stored.bytes);
    let ratio = sent as f64 / size as f64;
    writeln!(std::io::stderr(), "{cuts} interruptions, {sent} bytes on the wire for {size}: {ratio:.4}")?;
    ensure!(ratio <= 1.05, "{sent} bytes were sent for {size}");

    // A release that changes the header alone.
    drop(store);
    let before = room.wire.bytes();
    Room::choose(folder.path(), &room.manifests[1])?;
    Receiver::start(folder.path())?.wait().await?;
    let sent = room.wire.bytes() - before;
    let stored = Store::open(&folder.path().join("store"))?.verify_file(room.manifests[1].blake3)?;
    writeln!(std::io::stderr(), "{sent} bytes on the wire for a new header of {}", stored.bytes)?;
    ensure!(sent * 100 < stored.bytes, "{sent} bytes were sent for a new header of a file of {}", stored.bytes);
    Ok(())
}

/// The receiver's own work; run as a test of its own it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receiver() -> Result<()> {
    let Some(room) = std::env::var_os(ROOM).map(PathBuf::from) else { return Ok(()) };
    let identity = Identity::load(&room.join("identity"))?;
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(room.join("wanted.json"))?)?;
    let options = HttpsOptions {
        back_off: BackOff { base: Duration::from_millis(50), cap: Duration::from_millis(500) },
        fruitless_requests: 1000,
        ..HttpsOptions::control_plane()
    };
    let source = OverHttps(HttpsChunks::new(&identity, options, &Clock::system())?);
    Store::open(&room.join("store"))?.pull(&manifest, &source, |_| {}).await?;
    Ok(())
}

struct OverHttps(HttpsChunks);

impl OverHttps {
    fn told(&self, detail: &dyn std::fmt::Display) -> SourceError {
        SourceError::Unavailable { origin: self.name(), detail: detail.to_string() }
    }
}

#[async_trait]
impl Source for OverHttps {
    fn name(&self) -> String {
        self.0.address().to_owned()
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        self.0.fetch(wanted, deliver).await.map_err(|error| self.told(&error))
    }

    async fn fetch_runs(&self, runs: &[ChunkRun], deliver: Deliver) -> Result<(), SourceError> {
        self.0.fetch_runs(runs, deliver).await.map_err(|error| self.told(&error))
    }
}

/// A control plane behind a wire, with a file in two versions, and an enrolled device.
struct Room {
    fleet: Fleet,
    wire: Arc<BadWire>,
    manifests: [Manifest; 2],
}

impl Room {
    async fn prepare(folder: &Path, size: usize) -> Result<Self> {
        let fleet = Fleet::start(folder).await?;
        let mut body = vec![0; size - HEADER[0]];
        getrandom::fill(&mut body).context("no randomness")?;
        let mut manifests = Vec::new();
        let keys = folder.join("offline-keys");
        fleet
            .control
            .run({
                let keys = keys.clone();
                move |fleet| fleet.create_offline_keys(&keys)
            })
            .await?;
        for header in HEADER {
            let path = folder.join(format!("model-{header}.gguf"));
            let mut file = std::fs::File::create(&path)?;
            file.write_all(&vec![header as u8; header])?;
            file.write_all(&body)?;
            let cuts = vec![header as u64];
            manifests.push(manifest::of_file(&path, &cuts)?);
            let bytes = (header + body.len()) as u64;
            let request = ReleaseRequest { variants: vec![variant(path, bytes, cuts)], ..ReleaseRequest::default() };
            let keys = keys.clone();
            fleet
                .control
                .run(move |fleet| -> Result<()> {
                    fleet.release(&OfflineKeys::load(&keys)?, request)?;
                    Ok(())
                })
                .await?;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}", listener.local_addr()?);
        let wire = Arc::new(BadWire::lay(listener, fleet.http_address(), [])?);
        let code =
            fleet.control.run(|fleet| fleet.create_code(&"till-1".parse()?, 600).map_err(anyhow::Error::new)).await?;
        let enrolment = Enrolment {
            server_url: &url,
            code: &code,
            authority: fleet.control.authority_pem(),
            dir: &folder.join("identity"),
            agent: env!("CARGO_PKG_VERSION"),
            audit_key: "till-1+00000000+AA",
        };
        enrol(&enrolment, &Clock::system()).await?;
        let manifests: [Manifest; 2] = manifests.try_into().ok().context("two versions")?;
        Self::choose(folder, &manifests[0])?;
        Ok(Self { fleet, wire, manifests })
    }

    /// What the receiver is to fetch.
    fn choose(folder: &Path, manifest: &Manifest) -> Result<()> {
        let mut file = std::fs::File::create(folder.join("wanted.json"))?;
        Ok(file.write_all(&serde_json::to_vec(manifest)?)?)
    }
}

fn variant(path: PathBuf, bytes: u64, cuts: Vec<u64>) -> Variant {
    let model = ModelFacts {
        model: "noise".parse().expect("a model's name"),
        architecture: "llama".to_owned(),
        licence: "Apache-2.0".to_owned(),
        parameters: bytes,
        context_tokens: 512,
        layers: 2,
        embedding_length: 64,
        vocabulary: 256,
        kv_elements_per_layer: 64,
        feed_forward_length: 128,
        query_elements: 64,
    };
    let facts = VariantFacts {
        release: 0,
        model,
        quantisation: "Q8_0".to_owned(),
        file_bytes: bytes,
        weight_bytes: bytes,
        quality_milli: 8_500,
    };
    Variant { path, target: None, facts, cuts }
}

/// This program, started once more as the receiver; killed when dropped.
struct Receiver(Child);

impl Receiver {
    fn start(room: &Path) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["transfer::receiver", "--exact"])
            .env(ROOM, room)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("the receiver does not start")?;
        Ok(Self(child))
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
