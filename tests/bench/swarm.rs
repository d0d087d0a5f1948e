//! Many simulated devices in one process against one control plane: how long until all of them have reported a new desired
//! state, and what that costs the control plane; or what it costs to have them connected.
//!
//! `cargo run --release -p outpost-tests --example swarm -- 1000`, or `-- 10000 --idle`. Build `outpost-control` first, with
//! the same profile.
//!
//! A device is the real link with its own certificate and a database of its own, and a reconciler that checks a desired state as
//! an agent does, up to the catalogue, and says that it is applied. Idle devices say nothing that must be kept, so they share
//! one database: ten thousand would need forty thousand open files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use outpost_contract::{Activity, LinkHealth, Reported};
use outpost_disk::{Clock, atomic};
use outpost_sync::{Enrolment, Identity, Link, LinkConfig, LinkEvent, LinkHandle, SyncDatabase, enrol};
use outpost_tests::process::{Process, binary, free_port, output};
use outpost_tests::usage::{Usage, may_open};
use outpost_trust::desired::{Acceptance, accept};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Devices that enrol at the same time.
const ENROLLING: usize = 32;

/// Devices that connect at the same time; each makes room for the next when the control plane has answered its hello.
const CONNECTING: usize = 256;

/// How long idle devices are watched.
const IDLE: Duration = Duration::from_secs(120);

/// How long each stage may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Files of a device: its connection, and its database in three parts.
const FILES_PER_DEVICE: u64 = 4;

/// Files that are open besides.
const OTHER_FILES: u64 = 500;

#[derive(Parser)]
struct Arguments {
    /// How many devices.
    devices: usize,
    /// Only connect them, and watch the control plane's memory.
    #[arg(long)]
    idle: bool,
    /// Where the devices keep their state: a file system in memory leaves the disk to the control plane.
    #[arg(long, value_name = "DIR")]
    devices_in: Option<PathBuf>,
}

/// How far the devices are.
#[derive(Debug, Default)]
struct Tally {
    connected: AtomicUsize,
    /// The control plane says that it has stored the report of the new state.
    reported: AtomicUsize,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let Arguments { devices: count, idle, devices_in } = Arguments::parse();
    ensure!(count > 0, "no device, nothing to measure");
    let files = if idle { 1 } else { FILES_PER_DEVICE };
    may_open(u64::try_from(count)? * files + OTHER_FILES)?;
    let centre = Centre::start()?;
    centre.answers().await?;
    let folder = match devices_in {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };

    let began = Instant::now();
    let identities = enrol_all(&centre, folder.path(), count).await?;
    say(&format!("{count} devices enrolled in {:.1?}", began.elapsed()))?;

    let before = centre.usage()?;
    let (began, tally) = (Instant::now(), Arc::new(Tally::default()));
    let mut links = Vec::with_capacity(count);
    let places = Arc::new(Semaphore::new(CONNECTING));
    let shared = SyncDatabase::open(folder.path())?;
    for (identity, home) in identities {
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&places).acquire_owned()).await;
        let place = place.context("no device gets through any more")??;
        let database = if idle { shared.clone() } else { SyncDatabase::open(&home)? };
        links.push(Device::start(identity, &database, Arc::clone(&tally), place)?);
    }
    reach(count, &tally.connected, "connected").await?;
    let connected = centre.usage()?;
    let (grown, mib) = (connected.resident_bytes.saturating_sub(before.resident_bytes), mib(connected.resident_bytes));
    say(&format!(
        "all connected in {:.1?}: {:.1} s of processor, {mib:.1} MiB, {:.1} KiB per device",
        began.elapsed(),
        connected.cpu_s - before.cpu_s,
        kib_each(grown, count)
    ))?;

    if idle {
        watch(&centre, &tally, before, count).await?
    } else {
        assign(&centre, &tally, connected, count).await?
    }
    stream::iter(links).for_each_concurrent(None, |link| async move { link.stop().await }).await;
    Ok(())
}

/// What idle devices cost.
async fn watch(centre: &Centre, tally: &Tally, before: Usage, count: usize) -> Result<()> {
    let first = centre.usage()?;
    tokio::time::sleep(IDLE).await;
    let last = centre.usage()?;
    let connected = tally.connected.load(Ordering::Relaxed);
    ensure!(connected == count, "{connected} of {count} devices are connected at the end");
    say(&format!(
        "after {} s connected and idle: {:.1} MiB, {:.1} KiB per device more than before; {:.2} s of processor in that time",
        IDLE.as_secs(),
        mib(last.resident_bytes),
        kib_each(last.resident_bytes.saturating_sub(before.resident_bytes), count),
        last.cpu_s - first.cpu_s
    ))
}

/// How long until all have reported what they are assigned, and what that costs.
async fn assign(centre: &Centre, tally: &Tally, before: Usage, count: usize) -> Result<()> {
    let began = Instant::now();
    centre.ask(&["device", "assign", "--all"])?;
    let signed = began.elapsed();
    reach(count, &tally.reported, "told that its report is stored").await?;
    let all = began.elapsed();
    let after = centre.usage()?;
    let devices = centre.ask(&["device", "ls"])?;
    let devices = devices.as_array().context("no list of devices")?;
    let has_reported = |device: &&Value| {
        let applied = device["reported"]["applied_version"].as_u64();
        applied.is_some_and(|applied| applied > 0) && applied == device["desired_version"].as_u64()
    };
    let reported = devices.iter().filter(has_reported).count();
    ensure!(reported == count, "the control plane knows {reported} reports of {count}");
    say(&format!(
        "all have reported the new state {all:.1?} after the command began (it ended after {signed:.1?}): {:.1} s of processor, \
         {:.1} MiB before, {:.1} MiB after",
        after.cpu_s - before.cpu_s,
        mib(before.resident_bytes),
        mib(after.resident_bytes)
    ))
}

/// Waits until all devices are there.
async fn reach(count: usize, tally: &AtomicUsize, what: &str) -> Result<()> {
    let began = Instant::now();
    while tally.load(Ordering::Relaxed) < count {
        if began.elapsed() > PATIENCE {
            bail!("{} of {count} devices are {what} after {} s", tally.load(Ordering::Relaxed), PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The control plane as a process of its own, on a fresh state.
struct Centre {
    folder: tempfile::TempDir,
    program: PathBuf,
    http: u16,
    mqtt: u16,
    serving: Process,
}

impl Centre {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (program, state) = (binary("outpost-control")?, folder.path().join("control-plane"));
        let (http, mqtt) = (free_port()?, free_port()?);
        std::fs::create_dir_all(&state)?;
        let settings = format!("http_listen = \"127.0.0.1:{http}\"\nmqtt_listen = \"127.0.0.1:{mqtt}\"\n");
        atomic::write_private(state.join("outpost-control.toml"), settings)?;
        let keys = text(&folder.path().join("keys"))?;
        for arguments in [
            &["init"][..],
            &["keys", "create", "--keys", &keys],
            &["catalogue", "release", "--keys", &keys, "--default-policy"],
        ] {
            ask(&program, &state, arguments)?;
        }
        let serving = Process::start(&program, &["--state", &text(&state)?, "serve"])?;
        Ok(Self { folder, program, http, mqtt, serving })
    }

    async fn answers(&self) -> Result<()> {
        let began = Instant::now();
        for port in [self.http, self.mqtt] {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                ensure!(began.elapsed() < PATIENCE, "the control plane does not listen");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("control-plane")
    }

    /// Asks the fleet's own command, as an admin beside the server does.
    fn ask(&self, arguments: &[&str]) -> Result<Value> {
        ask(&self.program, &self.state(), arguments)
    }

    fn usage(&self) -> Result<Usage> {
        Usage::of(self.serving.id())
    }
}

fn ask(program: &Path, state: &Path, arguments: &[&str]) -> Result<Value> {
    let said = output(program, &[&["--json", "--state", &text(state)?], arguments].concat())?;
    serde_json::from_str(&said).with_context(|| format!("`{}` said no JSON: {said}", arguments.join(" ")))
}

/// Gives each device a code and a certificate, some at a time; with the folder that each has for itself.
async fn enrol_all(centre: &Centre, folder: &Path, count: usize) -> Result<Vec<(Identity, PathBuf)>> {
    let names: Vec<String> = (1..=count).map(|number| format!("device-{number:05}")).collect();
    let list = folder.join("names.csv");
    atomic::write_private(&list, names.join("\n"))?;
    let codes = centre.ask(&["device", "codes", "--file", &text(&list)?, "--minutes", "600"])?;
    let codes = codes.as_array().context("no list of codes")?.clone();
    ensure!(codes.len() == count, "{} codes for {count} devices", codes.len());
    let authority = std::fs::read_to_string(centre.state().join("tls/ca.pem"))?;
    let server = format!("https://127.0.0.1:{}", centre.http);
    let (authority, server, clock) = (&authority, &server, &Clock::system());
    let enrolling = codes.into_iter().map(|made| async move {
        let (name, code) = (made["device"].as_str().context("no name")?, made["code"].as_str().context("no code")?);
        let home = folder.join(name);
        std::fs::create_dir_all(&home)?;
        let enrolment = Enrolment {
            server_url: server,
            code,
            wished_name: "",
            authority,
            dir: &home,
            agent: env!("CARGO_PKG_VERSION"),
            audit_key: &format!("{name}+00000000+AA"),
        };
        let identity = enrol(&enrolment, clock).await.with_context(|| format!("`{name}` is not enrolled"))?;
        anyhow::Ok((identity, home))
    });
    stream::iter(enrolling).buffer_unordered(ENROLLING).try_collect().await
}

/// One simulated device.
struct Device {
    identity: Identity,
    link: LinkHandle,
    tally: Arc<Tally>,
    /// Of the newest state that was accepted.
    version: u64,
    sequence: u64,
}

impl Device {
    fn start(
        identity: Identity,
        database: &SyncDatabase,
        tally: Arc<Tally>,
        place: OwnedSemaphorePermit,
    ) -> Result<LinkHandle> {
        let config = LinkConfig::new("swarm".parse()?, env!("CARGO_PKG_VERSION"));
        let (link, events) = Link::start(&identity, config, database, &Clock::system())?;
        let device = Self { identity, link: link.clone(), tally, version: 0, sequence: 0 };
        tokio::spawn(device.run(events, place));
        Ok(link)
    }

    async fn run(mut self, mut events: mpsc::Receiver<LinkEvent>, place: OwnedSemaphorePermit) {
        let mut place = Some(place);
        while let Some(event) = events.recv().await {
            match event {
                LinkEvent::Up { .. } => {
                    self.tally.connected.fetch_add(1, Ordering::Relaxed);
                    place = None;
                }
                LinkEvent::Down { reason } => {
                    self.tally.connected.fetch_sub(1, Ordering::Relaxed);
                    complain(&self.identity, &reason);
                }
                LinkEvent::Desired(envelope) => {
                    if let Err(error) = self.apply(&envelope) {
                        complain(&self.identity, &format!("{error:#}"));
                    }
                }
                LinkEvent::ReportStored { sequence: 1 } => {
                    self.tally.reported.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        drop(place);
    }

    /// Accepts a newer state and says that it is applied.
    fn apply(&mut self, envelope: &[u8]) -> Result<()> {
        let keys: Vec<_> = self.identity.director_keys().iter().filter_map(|key| key.parse().ok()).collect();
        let acceptance = Acceptance {
            tenant: self.identity.tenant(),
            device: self.identity.device(),
            floor_version: self.version,
            floor_payload: None,
            director_keys: &keys,
            now_s: Clock::system().now_s(),
        };
        let desired = match accept(envelope, &acceptance) {
            Ok(accepted) => accepted.desired,
            // It was told before, retained and live.
            Err(_) if self.version > 0 => return Ok(()),
            Err(refusal) => bail!("a desired state is refused: {refusal:?}"),
        };
        self.version = desired.version;
        self.sequence += 1;
        self.link.report(&Reported {
            v: 1,
            device: self.identity.device().clone(),
            boot: "swarm".parse()?,
            sequence: self.sequence,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            desired_version: self.version,
            applied_version: self.version,
            model: None,
            policy_version: desired.policy.map_or(0, |policy| policy.release),
            reasons: Vec::new(),
            measurements: None,
            plan: Vec::new(),
            activity: Activity::default(),
            transfer: None,
            link: LinkHealth::default(),
        })?;
        Ok(())
    }
}

fn complain(identity: &Identity, what: &str) {
    // If nobody hears it, the count tells.
    let _ = writeln!(std::io::stderr(), "{}: {what}", identity.device());
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a path that is text")
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn kib_each(bytes: u64, count: usize) -> f64 {
    bytes as f64 / 1024.0 / count as f64
}
