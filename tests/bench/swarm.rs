//! Many simulated devices in one process against one control plane: how long until all of them have reported a new desired
//! state, and what that costs the control plane; or what it costs to have them connected.
//!
//! `cargo run --release -p outpost-tests --example swarm -- 1000`, or `-- 10000 --idle`. Build `outpost-control` first, with
//! the same profile.
//!
//! A device is a simulated one with a database of its own. Idle devices say nothing that must be kept, so they share
//! one database: ten thousand would need forty thousand open files.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use futures_util::{StreamExt, stream};
use outpost_sync::{BackOff, Identity, LinkHandle, SyncDatabase};
use outpost_tests::centre::Centre;
use outpost_tests::simulated::{self, Heard};
use outpost_tests::usage::{Usage, may_open};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    let identities = centre.enrol_all(folder.path(), count).await?;
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
        links.push(start(identity, &database, Arc::clone(&tally), place)?);
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

/// Starts a device that is counted; it makes room for the next when the control plane has answered its hello.
fn start(
    identity: Identity,
    database: &SyncDatabase,
    tally: Arc<Tally>,
    place: OwnedSemaphorePermit,
) -> Result<LinkHandle> {
    let (mut place, name) = (Some(place), identity.device().clone());
    // If nobody hears it, the count tells.
    let complain = move |what: &str| drop(writeln!(std::io::stderr(), "{name}: {what}"));
    simulated::start(identity, database, BackOff::default(), move |heard| match heard {
        Heard::Up => {
            tally.connected.fetch_add(1, Ordering::Relaxed);
            drop(place.take());
        }
        Heard::Down(reason) => {
            tally.connected.fetch_sub(1, Ordering::Relaxed);
            complain(&reason);
        }
        Heard::Failed(reason) => complain(&reason),
        Heard::Stored(1) => drop(tally.reported.fetch_add(1, Ordering::Relaxed)),
        Heard::Stored(_) | Heard::Applied { .. } => {}
    })
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn kib_each(bytes: u64, count: usize) -> f64 {
    bytes as f64 / 1024.0 / count as f64
}
