//! One file from a control plane to a device on loopback, over MQTT and over HTTPS, beside `curl` of the same bytes with the
//! same certificate; in turn, round by round.
//!
//! `cargo run --release -p outpost-tests --example transfer [-- --mib 400 --rounds 5]`. Needs `curl`.
//!
//! Two moments count: when the last chunk is verified and on its way to the disk, which is all that `curl` does and more, and
//! when the whole file was read back against both digests, made durable and named.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use outpost_contract::Manifest;
use outpost_disk::Clock;
use outpost_store::{Source, Store};
use outpost_sync::{HttpsChunks, HttpsOptions, MqttChunks, TransferOptions};
use outpost_tests::fleet::Fleet;
use outpost_tests::transfer::{OverHttps, OverMqtt, enrol_at, release};

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
    drop(body);
    let url = format!("https://{}", fleet.http_address());
    let identity = enrol_at(&fleet, &url, &folder.path().join("identity")).await?;

    let clock = Clock::system();
    let mqtt = MqttChunks::new(&identity, TransferOptions::default(), &clock)?;
    let https = HttpsChunks::new(&identity, HttpsOptions::control_plane(), &clock)?;
    // A further broker is a further line here.
    let sources: [Box<dyn Source>; 2] = [Box::new(OverHttps(https)), Box::new(OverMqtt(Arc::new(mqtt)))];
    let curl = Curl::prepare(folder.path(), &url, &manifest)?;

    let megabytes = manifest.bytes as f64 / 1e6;
    let mut rounds: Vec<(f64, Vec<Taken>)> = Vec::new();
    for round in 0..=arguments.rounds {
        let plain_s = curl.download()?;
        let mut taken = Vec::new();
        for source in &sources {
            taken.push(pull(folder.path(), &manifest, source.as_ref()).await?);
        }
        // The first round warms caches up.
        if round > 0 {
            rounds.push((plain_s, taken));
        }
    }

    let mut table = format!("{megabytes:.0} MB on loopback, medians of {} rounds\n", rounds.len());
    let plain = median(rounds.iter().map(|(plain_s, _)| megabytes / plain_s));
    writeln!(table, "{:8} {plain:8.0} MB/s", "curl")?;
    for (index, source) in sources.iter().enumerate() {
        let of = |choose: fn(&Taken) -> f64| {
            let speed = median(rounds.iter().map(|(_, taken)| megabytes / choose(&taken[index])));
            let ratio = median(rounds.iter().map(|(plain_s, taken)| plain_s / choose(&taken[index])));
            (speed, ratio)
        };
        let ((arrived, arrived_ratio), (whole, whole_ratio)) = (of(|taken| taken.arrived_s), of(|taken| taken.whole_s));
        writeln!(
            table,
            "{:8} {arrived:8.0} MB/s verified ({arrived_ratio:.2} of curl), {whole:.0} MB/s whole ({whole_ratio:.2})",
            source.name()
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
