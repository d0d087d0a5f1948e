//! Two devices at the far end of one narrow line pull a model at once, with the real programs: they share the line, and a
//! policy overtakes both, over either wire, however deep the line's queue is and whoever was there first.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outpost_policies::Bundle;
use outpost_tests::hosts::{Host, Network};
use outpost_tests::process::demo_model;
use tokio::sync::Mutex;

use crate::network::{Centre, Device, Ends, PATIENCE, say};

/// The line: 2 MB per second for both.
const KILOBITS: u32 = 16_000;

/// A queue of eight seconds, as too many routers have it.
const DEEP_BYTES: u32 = 16_000_000;

/// A queue of a quarter of a second.
const SHALLOW_BYTES: u32 = 500_000;

/// What is added to the demo's model, so that both take twenty seconds.
const NOISE_BYTES: usize = 10_000_000;

/// Bytes on each device's cable before anything is measured.
const UNDER_WAY: u64 = 1_000_000;

/// One line, one story: the seconds that they print are to mean something.
static TURN: Mutex<()> = Mutex::const_new(());

/// What is tried.
struct Attempt {
    /// Where each device gets its model from.
    origins: [&'static str; 2],
    queue_bytes: u32,
    /// What the first one has before the second one begins.
    head_start: u64,
    /// Jain's index: 1 is half each.
    least: f64,
}

/// Of the same kind, to the end of whoever is first.
const FAIR: f64 = 0.9;

/// Where TCP itself decides: HTTPS has two connections and MQTT one, and a short queue drops whom it pleases.
const ROUGHLY_FAIR: f64 = 0.75;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_over_https_share_a_line_with_a_deep_queue_and_a_policy_overtakes_both() -> Result<()> {
    Attempt { origins: ["https", "https"], queue_bytes: DEEP_BYTES, head_start: 0, least: FAIR }.run().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_over_mqtt_share_a_line_with_a_deep_queue_and_a_policy_overtakes_both() -> Result<()> {
    Attempt { origins: ["mqtt", "mqtt"], queue_bytes: DEEP_BYTES, head_start: 0, least: FAIR }.run().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_over_https_and_one_over_mqtt_share_a_line_and_a_policy_overtakes_both() -> Result<()> {
    Attempt { origins: ["https", "mqtt"], queue_bytes: DEEP_BYTES, head_start: 0, least: ROUGHLY_FAIR }.run().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_the_line_for_itself_over_https_gives_half_of_it_to_who_comes_later() -> Result<()> {
    Attempt { origins: ["https", "https"], queue_bytes: DEEP_BYTES, head_start: 3_000_000, least: FAIR }.run().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_the_line_for_itself_over_mqtt_gives_half_of_it_to_who_comes_later() -> Result<()> {
    Attempt { origins: ["mqtt", "mqtt"], queue_bytes: DEEP_BYTES, head_start: 3_000_000, least: FAIR }.run().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_drops_what_does_not_fit_is_shared_as_well() -> Result<()> {
    Attempt { origins: ["https", "https"], queue_bytes: SHALLOW_BYTES, head_start: 0, least: ROUGHLY_FAIR }.run().await
}

impl Attempt {
    async fn run(self) -> Result<()> {
        let _turn = TURN.lock().await;
        let room = tempfile::tempdir()?;
        let (model, bytes) = wide_model(room.path())?;
        let mut network = Network::new()?;
        let centre = Centre::start_with(network.host()?, &model, "").await?;
        network.lay_line(KILOBITS, self.queue_bytes)?;
        let hosts = [network.host()?, network.host()?];
        let mut devices = Vec::new();
        for (number, host) in hosts.iter().enumerate() {
            devices.push(device(&centre, host, number, self.origins[number]).await?);
        }
        let _agents = devices.iter().map(|device| device.run().map(Ends)).collect::<Result<Vec<_>>>()?;
        for device in &devices {
            until(&format!("that `{}` is there", device.name), || Ok(!centre.reported(&device.name)?.is_null()))
                .await?;
        }

        let before = received(&hosts)?;
        let came = || -> Result<[u64; 2]> {
            let now = received(&hosts)?;
            Ok([now[0] - before[0], now[1] - before[1]])
        };
        assign(&centre, &devices[0])?;
        until("a head start", || Ok(came()?[0] >= self.head_start)).await?;
        assign(&centre, &devices[1])?;
        until("that both pull", || Ok(came()?.iter().all(|bytes| *bytes >= UNDER_WAY))).await?;

        // Both pull, and the queue is as full as they make it.
        let measured = came()?;
        until("that both have pulled for a while", || Ok(came()?[1] >= measured[1] + 2 * UNDER_WAY)).await?;
        release_policy(&centre, 2)?;
        let published = Instant::now();
        let in_force = |device: &Device<'_>| -> Result<bool> {
            Ok(centre.reported(&device.name)?["policy_version"].as_u64() >= Some(2))
        };
        let mut seconds = Vec::new();
        for device in &devices {
            until(&format!("that the policy holds on `{}`", device.name), || in_force(device)).await?;
            seconds.push(published.elapsed().as_secs_f64());
        }
        let overtaken = came()?;
        ensure!(
            overtaken.iter().all(|came| *came < bytes * 8 / 10),
            "the policy came behind the models: {overtaken:?} of {bytes} bytes had come"
        );
        for device in &devices {
            ensure!(centre.reported(&device.name)?["model"].is_null(), "`{}` has its model already", device.name);
        }

        until("that one has nearly all", || Ok(came()?.iter().any(|came| *came >= bytes * 9 / 10))).await?;
        let ended = came()?;
        let shares = [ended[0] - measured[0], ended[1] - measured[1]].map(|bytes| bytes as f64);
        let fairness = jain(shares);
        say(&format!(
            "{:?}, queue {} kB, head start {} kB: Jain {fairness:.3} ({:.1} and {:.1} MB); the policy held on both after \
             {:.2} s and {:.2} s, when {:.1} and {:.1} of {:.1} MB had come",
            self.origins,
            self.queue_bytes / 1000,
            self.head_start / 1000,
            shares[0] / 1e6,
            shares[1] / 1e6,
            seconds[0],
            seconds[1],
            overtaken[0] as f64 / 1e6,
            overtaken[1] as f64 / 1e6,
            bytes as f64 / 1e6,
        ));
        ensure!(fairness >= self.least, "{shares:?} bytes each is no sharing: {fairness:.3}");
        Ok(())
    }
}

/// The demo's model with noise behind its tensors, which nobody reads: as many bytes as the line needs time for.
fn wide_model(folder: &Path) -> Result<(PathBuf, u64)> {
    let path = folder.join("wide.gguf");
    let mut bytes = std::fs::read(demo_model())?;
    let tensors = bytes.len();
    bytes.resize(tensors + NOISE_BYTES, 0);
    getrandom::fill(&mut bytes[tensors..]).context("no randomness")?;
    std::fs::write(&path, &bytes)?;
    Ok((path, bytes.len() as u64))
}

async fn device<'a>(centre: &'a Centre, host: &'a Host, number: usize, origin: &str) -> Result<Device<'a>> {
    let device = Device::new(centre, host, &format!("till-{number}"))?;
    let config = Path::new(&device.state).join("outpost.toml");
    let mut config = std::fs::OpenOptions::new().append(true).open(config)?;
    writeln!(config, "[transfer]\norder = [\"{origin}\"]")?;
    device.enrol(&device.code()?).await?;
    Ok(device)
}

fn assign(centre: &Centre, device: &Device<'_>) -> Result<()> {
    centre.ask(&["device", "assign", &device.name, "--model", "outpost-demo", "--minimum-context", "256"])?;
    Ok(())
}

/// The built-in policy under another number: another document, as long as any.
fn release_policy(centre: &Centre, version: u64) -> Result<()> {
    let mut bundle = Bundle::default_bundle();
    bundle.version = version;
    let file = centre.path("policy.json")?;
    std::fs::write(&file, bundle.to_bytes())?;
    let keys = centre.path("keys")?;
    centre.ask(&["catalogue", "release", "--keys", &keys, "--policy", &file])?;
    Ok(())
}

fn received(hosts: &[Host; 2]) -> Result<[u64; 2]> {
    Ok([hosts[0].received()?, hosts[1].received()?])
}

/// 1 if both got the same, a half if one got all.
fn jain([one, other]: [f64; 2]) -> f64 {
    (one + other).powi(2) / (2.0 * (one * one + other * other))
}

async fn until(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
