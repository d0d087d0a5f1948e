//! One file from a control plane to a device on loopback, over HTTPS, over MQTT through the broker that is built in and through
//! Mosquitto, beside `curl` of the same bytes with the same certificate; in turn, round by round.
//!
//! `cargo run --release -p outpost-tests --example transfer [-- --mib 400 --rounds 5]`. Needs `curl` and `mosquitto`.
//!
//! Two moments count: when the last chunk is verified and on its way to the disk, which is all that `curl` does and more, and
//! when the whole file was read back against both digests, made durable and named.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use outpost_contract::Manifest;
use outpost_control::Config;
use outpost_disk::Clock;
use outpost_store::{Source, Store};
use outpost_sync::{HttpsChunks, HttpsOptions, MqttChunks, TransferOptions};
use outpost_tests::fleet::Fleet;
use outpost_tests::process::free_port;
use outpost_tests::transfer::{OverHttps, OverMqtt, enrol_at, release};

/// How long Mosquitto may take to be there.
const BROKER_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Arguments {
    /// Size of the file, MiB.
    #[arg(long, default_value_t = 400)]
    mib: usize,
    /// How often each is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Seconds until the last chunk had come, and until the file was whole.
#[derive(Debug, Clone, Copy)]
struct Taken {
    arrived_s: f64,
    whole_s: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let mut body = vec![0; arguments.mib * 1024 * 1024 - 4096];
    getrandom::fill(&mut body).context("no randomness")?;
    let fleet = Fleet::start(folder.path()).await?;
    let manifest = release(&fleet, folder.path(), 4096, &body).await?;
    let outside = Outside::start(folder.path(), &body, &manifest).await?;
    drop(body);
    let url = format!("https://{}", fleet.http_address());
    let identity = enrol_at(&fleet, &url, &folder.path().join("identity")).await?;

    let clock = Clock::system();
    let mqtt = MqttChunks::new(&identity, TransferOptions::default(), &clock)?;
    let https = HttpsChunks::new(&identity, HttpsOptions::control_plane(), &clock)?;
    let sources: [(&str, Box<dyn Source>); 3] = [
        ("HTTPS", Box::new(OverHttps(https))),
        ("MQTT, own broker", Box::new(OverMqtt(Arc::new(mqtt)))),
        ("MQTT, Mosquitto", Box::new(OverMqtt(Arc::clone(&outside.chunks)))),
    ];
    let curl = Curl::prepare(folder.path(), &url, &manifest)?;

    let megabytes = manifest.bytes as f64 / 1e6;
    let mut rounds: Vec<(f64, Vec<Taken>)> = Vec::new();
    for round in 0..=arguments.rounds {
        let plain_s = curl.download()?;
        let mut taken = Vec::new();
        for (_, source) in &sources {
            taken.push(pull(folder.path(), &manifest, source.as_ref()).await?);
        }
        // The first round warms caches up.
        if round > 0 {
            rounds.push((plain_s, taken));
        }
    }

    let mut table = format!("{megabytes:.0} MB on loopback, medians of {} rounds\n", rounds.len());
    let plain = median(rounds.iter().map(|(plain_s, _)| megabytes / plain_s));
    writeln!(table, "{:16} {plain:8.0} MB/s", "curl")?;
    for (index, (name, _)) in sources.iter().enumerate() {
        let of = |choose: fn(&Taken) -> f64| {
            let speed = median(rounds.iter().map(|(_, taken)| megabytes / choose(&taken[index])));
            let ratio = median(rounds.iter().map(|(plain_s, taken)| plain_s / choose(&taken[index])));
            (speed, ratio)
        };
        let ((arrived, arrived_ratio), (whole, whole_ratio)) = (of(|taken| taken.arrived_s), of(|taken| taken.whole_s));
        writeln!(
            table,
            "{name:16} {arrived:8.0} MB/s verified ({arrived_ratio:.2} of curl), {whole:.0} MB/s whole ({whole_ratio:.2})"
        )?;
    }
    std::io::stdout().write_all(table.as_bytes())?;
    Ok(())
}

/// Pulls into an empty store.
async fn pull(folder: &Path, manifest: &Manifest, source: &dyn Source) -> Result<Taken> {
    let room = folder.join("store");
    let store = Store::open(&room)?;
    let arrived = Arc::new(Mutex::new(None));
    let note = Arc::clone(&arrived);
    let began = Instant::now();
    let pulled = store.pull(manifest, source, move |progress| {
        if progress.present_bytes == progress.total_bytes {
            note.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| began.elapsed());
        }
    });
    pulled.await?;
    let whole_s = began.elapsed().as_secs_f64();
    let arrived_s = arrived.lock().unwrap_or_else(PoisonError::into_inner).context("it never was complete")?;
    drop(store);
    std::fs::remove_dir_all(room)?;
    Ok(Taken { arrived_s: arrived_s.as_secs_f64(), whole_s })
}

/// A second control plane with the same file, whose broker is Mosquitto with exactly the files that are written for it.
struct Outside {
    chunks: Arc<MqttChunks>,
    _fleet: Fleet,
    _broker: Mosquitto,
}

impl Outside {
    async fn start(folder: &Path, body: &[u8], manifest: &Manifest) -> Result<Self> {
        let (room, port) = (folder.join("outside"), free_port()?);
        std::fs::create_dir(&room)?;
        let external = |config: &mut Config| config.external_broker = Some(format!("127.0.0.1:{port}"));
        let fleet = Fleet::start_with(&room, external).await?;
        let same = release(&fleet, &room, 4096, body).await?;
        ensure!(same.blake3 == manifest.blake3, "both serve the same file");
        let directory = room.join("mosquitto");
        let written = directory.clone();
        fleet.control.run(move |fleet| fleet.write_mosquitto(&written)).await?;
        open_to_the_broker(&[folder, &room], &directory)?;
        let broker = Mosquitto::start(&directory)?;
        tokio::time::timeout(BROKER_PATIENCE, fleet.connected()).await.context("Mosquitto is not there")?;
        let url = format!("https://{}", fleet.http_address());
        let identity = enrol_at(&fleet, &url, &room.join("identity")).await?;
        let chunks = MqttChunks::new(&identity, TransferOptions::default(), &Clock::system())?;
        Ok(Self { chunks: Arc::new(chunks), _fleet: fleet, _broker: broker })
    }
}

/// What `chown root:mosquitto` is in production: a broker started by root reads its files as another user.
fn open_to_the_broker(path: &[&Path], directory: &Path) -> Result<()> {
    let files = std::fs::read_dir(directory)?.map(|file| Ok(file?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let folders = path.iter().copied().chain([directory]).map(|folder| (folder, 0o755));
    for (path, mode) in folders.chain(files.iter().map(|file| (file.as_path(), 0o644))) {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A running broker, killed when dropped.
struct Mosquitto(Child);

impl Mosquitto {
    fn start(directory: &Path) -> Result<Self> {
        let mut command = Command::new("mosquitto");
        // It lies where only root's path leads.
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        command.arg("-c").arg(directory.join("mosquitto.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("`mosquitto` cannot be started: `tests/run tools` installs it")?))
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A plain download with the device's certificate.
struct Curl {
    command: Vec<String>,
    bytes: u64,
}

impl Curl {
    fn prepare(folder: &Path, url: &str, manifest: &Manifest) -> Result<Self> {
        let identity: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("identity/identity.json"))?)?;
        let text = |name: &str| identity["enrolled"][name].as_str().context("the identity is incomplete");
        let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
        for (file, name) in [("curl.crt", "certificate"), ("curl.ca", "authority")] {
            std::fs::File::create(at(file))?.write_all(text(name)?.as_bytes())?;
        }
        let command = [
            "--silent".to_owned(),
            "--fail".to_owned(),
            "--http1.1".to_owned(),
            format!("--cacert={}", at("curl.ca")),
            format!("--cert={}", at("curl.crt")),
            format!("--key={}", at("identity/device.key")),
            format!("--output={}", at("curl.out")),
            "--write-out=%{size_download} %{time_total}".to_owned(),
            format!("{url}/v1/blobs/{}", manifest.blake3),
        ];
        // curl wants option and value apart.
        let apart = |argument: &String| match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
            _ => vec![argument.clone()],
        };
        Ok(Self { command: command.iter().flat_map(apart).collect(), bytes: manifest.bytes })
    }

    /// Seconds, by curl's own clock.
    fn download(&self) -> Result<f64> {
        let output = Command::new("curl").args(&self.command).stdin(Stdio::null()).output();
        let output = output.context("`curl` cannot be started")?;
        ensure!(output.status.success(), "curl failed: {}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8(output.stdout)?;
        let (bytes, seconds) = told.split_once(' ').context("curl tells no time")?;
        ensure!(bytes.parse::<u64>()? == self.bytes, "curl got {bytes} bytes");
        Ok(seconds.trim().parse()?)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
