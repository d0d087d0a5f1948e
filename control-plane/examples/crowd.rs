//! The console and the API with a crowd in the database: how long each page and each call takes over HTTPS while devices
//! report, and what memory that takes.
//!
//! `OUTPOST_DEVICES=10000 cargo run --release -p outpost-control --features crowd --example crowd`; with `-- --stay` it goes on
//! serving afterwards and says where, and with which token. The database is SQLite; with `OUTPOST_DATABASE=postgres` it is a
//! PostgreSQL of its own, from the system's package, whose memory is not counted.

#[expect(unreachable_pub, dead_code, reason = "it is a module of another crate, which uses all of it")]
#[path = "../../tests/src/postgres.rs"]
mod postgres;

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use outpost_control::{Clock, Config, ControlPlane, Fleet, Running};
use postgres::Postgres;
use reqwest::{Certificate, Client, Method, StatusCode};
use tokio::time::interval;

/// Requests of each kind.
const ROUNDS: usize = 40;

/// Each device of the crowd reports once in so many seconds while it is measured.
const REPORT_S: usize = 60;

/// What is asked. Routes that are not there are told as such.
const PAGES: &[&str] = &[
    "/console",
    "/console/devices",
    "/console/devices?filter=store-39",
    "/console/devices?filter=memory%3E%3D8GiB+and+not+online",
    "/console/devices?filter=drift&after=box-05000",
    "/console/devices/box-00003",
    "/console/groups?selector=label.role%3Dkiosk",
    "/console/models",
    "/console/rollouts",
    "/console/policies",
    "/console/enrol",
    "/console/audit",
    "/console/people",
    "/health",
    "/v1/overview",
    "/v1/inventory?limit=100",
    "/v1/inventory?limit=1000&after=box-05000",
    "/v1/inventory?limit=100&where=site%3Dstore-399",
    "/v1/inventory?limit=100&where=drift+and+label.role%3Dtill",
    "/v1/inventory/box-00003",
    "/v1/devices?limit=100",
    "/v1/devices/box-00003",
    "/v1/devices/box-00003/labels",
    "/v1/devices/box-00003/commands",
    "/v1/devices/box-00003/events",
    "/v1/selectors/preview?where=memory%3E%3D8GiB+and+not+online",
    "/v1/groups",
    "/v1/catalogue",
    "/v1/enrolment/codes",
    "/v1/enrolment/keys",
    "/v1/enrolment/requests",
    "/v1/rollouts",
    "/v1/policies",
    "/v1/events",
    "/metrics",
];

const WHAT_IF: &str = r#"{"model": "qwen3-0.6b", "context_tokens": 8192, "tokens_per_second": 8, "limit": 100}"#;

struct House {
    running: Running,
    client: Client,
    token: String,
}

impl House {
    async fn ask(&self, method: Method, path: &str, body: &'static str) -> Result<(StatusCode, usize)> {
        let request = self.client.request(method, format!("{}{path}", self.running.url())).bearer_auth(&self.token);
        let request = request.header("content-type", "application/json").body(body);
        let response = request.send().await.with_context(|| format!("cannot ask {path}"))?;
        Ok((response.status(), response.bytes().await?.len()))
    }

    /// Median, p95 and the longest, milliseconds, and the length of the answer; `None` if there is no such route.
    async fn measure(&self, method: &Method, path: &str, body: &'static str) -> Result<Option<([f64; 3], usize)>> {
        let (mut times, mut length) = (Vec::with_capacity(ROUNDS), 0);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let (status, bytes) = self.ask(method.clone(), path, body).await?;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
            match status {
                StatusCode::NOT_FOUND => return Ok(None),
                status if !status.is_success() => bail!("{path} answers {status}"),
                _ => length = bytes,
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(Some(([times[ROUNDS / 2], times[ROUNDS * 95 / 100], times[ROUNDS - 1]], length)))
    }
}

/// Memory of this process that is in use, MiB, as the system tells it.
fn resident_mib() -> Result<u64> {
    let output = Command::new("ps").args(["-o", "rss=", "-p", &std::process::id().to_string()]).output()?;
    let kibibytes: u64 = String::from_utf8(output.stdout)?.trim().parse().context("`ps` tells no memory")?;
    Ok(kibibytes / 1024)
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// So many devices report each second, one after the other.
async fn murmur(fleet: Fleet, devices: usize) {
    let (mut clock, mut next, mut sequence) = (interval(Duration::from_millis(250)), 0, 2);
    let some = devices.div_ceil(4 * REPORT_S).max(1);
    loop {
        clock.tick().await;
        let numbers = next..devices.min(next + some);
        next = if numbers.end == devices { 0 } else { numbers.end };
        let reported = fleet.run(move |fleet| fleet.crowd_reports(numbers, sequence)).await;
        sequence += u64::from(next == 0);
        if let Err(error) = reported {
            let _ = writeln!(std::io::stderr(), "reports are not taken in: {error}");
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let devices: usize = match std::env::var("OUTPOST_DEVICES") {
        Ok(text) => text.parse().context("`OUTPOST_DEVICES` is a number")?,
        Err(_) => 1000,
    };
    ensure!(devices >= 10, "a crowd is ten devices at least");
    // Whoever was first is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let directory = tempfile::tempdir()?;
    let mut config = Config::new(directory.path().join("state"));
    (config.http_listen, config.mqtt_listen) = ("127.0.0.1:0".parse()?, "127.0.0.1:0".parse()?);
    let postgres = match std::env::var("OUTPOST_DATABASE").as_deref() {
        Err(_) | Ok("sqlite") => None,
        Ok("postgres") => Some(tokio::task::spawn_blocking(Postgres::start).await?),
        Ok(other) => bail!("`OUTPOST_DATABASE` is `sqlite` or `postgres`, not `{other}`"),
    };
    if let Some(postgres) = &postgres {
        config = config.with_database(postgres.url("crowd"));
    }
    let made = tokio::task::spawn_blocking(move || Fleet::init(config, Clock::system())).await??;
    let empty_mib = resident_mib()?;
    let start = Instant::now();
    made.fleet
        .run(move |fleet| {
            fleet.add_crowd(devices)?;
            fleet.add_crowd_models()
        })
        .await?;
    let database = if postgres.is_some() { "PostgreSQL" } else { "SQLite" };
    say(&format!("{devices} devices on {database}, entered in {:.1} s", start.elapsed().as_secs_f64()))?;
    let (fleet, token) = (made.fleet.clone(), made.admin_token);
    let authority = Certificate::from_pem(fleet.authority_pem().as_bytes())?;
    let client = Client::builder().tls_certs_only([authority]).no_proxy().build()?;
    let house = House { running: ControlPlane::start_fleet(made.fleet).await?, client, token };
    house.running.connected().await;
    let murmuring = tokio::spawn(murmur(fleet, devices));
    let before_mib = resident_mib()?;
    say(&format!("{:<64} {:>8} {:>8} {:>8} {:>9}", "", "median", "p95", "longest", "bytes"))?;
    let gets = PAGES.iter().map(|path| (Method::GET, *path, ""));
    for (method, path, body) in gets.chain([(Method::POST, "/v1/what-if", WHAT_IF)]) {
        match house.measure(&method, path, body).await? {
            Some(([median, p95, longest], bytes)) => {
                say(&format!("{path:<64} {median:>5.1} ms {p95:>5.1} ms {longest:>5.1} ms {bytes:>9}"))?;
            }
            None => say(&format!("{path:<64} is not there"))?,
        }
    }
    say(&format!(
        "resident: {empty_mib} MiB with no device, {before_mib} MiB with {devices}, {} MiB after all that",
        resident_mib()?
    ))?;
    if std::env::args().any(|argument| argument == "--stay") {
        say(&format!("{}\n{}", house.running.url(), house.token))?;
        tokio::signal::ctrl_c().await?;
    }
    murmuring.abort();
    house.running.stop().await;
    Ok(())
}
