//! Who a device is: enrolled by key and by an operator's yes, renewed over wires that are cut, back after a long absence,
//! and revoked for good; with the real programs where people use them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_contract::DeviceId;
use outpost_control::{
    Assignment, Clock, Config, ControlPlane, Fleet as ControlFleet, OfflineKeys, ReleaseRequest, Running,
};
use outpost_disk::Clock as DeviceClock;
use outpost_policies::{Bundle, WhenRevoked};
use outpost_sync::{BackOff, Connectivity, Enrolment, Identity, IdentityEvent, Phase, Renewal, SyncDatabase, enrol};
use outpost_tests::bad_wire::BadWire;
use outpost_tests::fleet::Fleet;
use outpost_tests::process::{Process, binary, demo_model, eventually, free_port, output};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

const DAY_S: i64 = 24 * 60 * 60;

/// Soon enough for a story, late enough not to be a busy loop.
const SOON: BackOff = BackOff { base: Duration::from_millis(20), cap: Duration::from_millis(100) };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_enrols_by_its_key_and_another_by_the_yes_of_an_operator_who_compared_fingerprints() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (outpost, control) = (binary("outpost")?, binary("outpost-control")?);
    let admin = |arguments: &[&str]| output(&control, &[&["--state", &path("control")], arguments].concat());
    let (http, mqtt) = (free_port()?, free_port()?);
    std::fs::create_dir_all(path("control"))?;
    std::fs::write(
        folder.path().join("control/outpost-control.toml"),
        format!("http_listen = \"127.0.0.1:{http}\"\nmqtt_listen = \"127.0.0.1:{mqtt}\"\naccept_requests = true\n"),
    )?;
    admin(&["init"])?;
    admin(&["keys", "create", "--keys", &path("stick")])?;
    admin(&["catalogue", "release", "--keys", &path("stick"), "--default-policy"])?;
    let _server = Process::start(&control, &["--state", &path("control"), "serve"])?;
    let reached = async || tokio::net::TcpStream::connect(("127.0.0.1", http)).await.is_ok();
    eventually("the control plane", PATIENCE, reached).await?;
    let server = format!("https://127.0.0.1:{http}");
    let ca = path("control/tls/ca.pem");

    // Allowed before: the operator was told the fingerprint.
    let shown = output(&outpost, &["--state", &path("till-1"), "enroll", "--show-key"])?;
    admin(&["device", "allow", "till-1", "--key-sha256", shown.trim()])?;
    let enrolled = ["--state", &path("till-1"), "--json", "enroll", "--server", &server, "--ca", &ca];
    let enrolled: Value = serde_json::from_str(&output(&outpost, &enrolled)?)?;
    ensure!(enrolled["device"] == "till-1", "{enrolled}");

    // Accepted: it asks, waits, and gets the name that the operator gives.
    let till_2 = path("till-2");
    let asking = ["--state", &till_2, "enroll", "--server", &server, "--ca", &ca, "--name", "the-door", "--wait", "5"];
    let mut waiting = Process::start(&outpost, &asking)?;
    let requests = || -> Result<Vec<Value>> { Ok(serde_json::from_str(&admin(&["--json", "device", "requests"])?)?) };
    let listed = async || requests().is_ok_and(|requests| requests.len() == 1);
    eventually("that the device asks", PATIENCE, listed).await?;
    let request = requests()?.remove(0);
    let fingerprint = request["fingerprint"].as_str().context("a request has a fingerprint")?;
    let shown = output(&outpost, &["--state", &till_2, "enroll", "--show-key"])?;
    ensure!(shown.trim() == fingerprint, "both sides show the same: {shown} and {fingerprint}");
    ensure!(request["wished_name"] == "the-door" && waiting.ended().is_none(), "{request}");
    admin(&["device", "accept", fingerprint, "--name", "till-2"])?;
    let identity = folder.path().join("till-2/identity");
    eventually("the certificate", PATIENCE, async || Identity::load(&identity).is_ok()).await?;
    ensure!(Identity::load(&identity)?.device().as_str() == "till-2", "the operator's name counts");

    // A list: every device of it, or none.
    let names = path("names.txt");
    std::fs::write(&names, "till-3\ntill-4\n")?;
    let codes = admin(&["device", "codes", "--file", &names])?;
    ensure!(codes.lines().count() == 2 && codes.starts_with("till-3 "), "{codes}");
    std::fs::write(&names, "till-5\n../till-6\n")?;
    let refused = admin(&["device", "codes", "--file", &names]).err().context("a list with a wrong line")?;
    ensure!(format!("{refused:#}").contains("line 2"), "{refused:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_cut_at_every_step_of_enrolment_and_renewal_needs_no_hand() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (wired_http, wired_mqtt) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let now_s = Clock::system().now_s();
    let site = Site::start(folder.path(), Clock::fixed(now_s), |config| {
        config.certificate_days = 30;
        config.broker_address = wired_mqtt.local_addr().ok().map(|address| address.to_string());
    })
    .await?;
    // Each budget is a cut, a little later than the one before it.
    let http = BadWire::lay(wired_http, site.running.http_address(), (1..24).map(|step| step * 250))?;
    let mqtt = BadWire::lay(wired_mqtt, site.running.mqtt_address(), (1..24).map(|step| step * 250))?;

    let code = site.code("till-7").await?;
    let dir = folder.path().join("identity");
    let mut attempts = 0;
    let identity = loop {
        match site.enrol(&dir, &code, http.address()).await {
            Ok(identity) => break identity,
            Err(error) => ensure!(attempts < 30, "after {attempts} attempts: {error}"),
        }
        attempts += 1;
    };
    ensure!(attempts > 0 && http.cuts() > 0, "the wire was cut during enrolment");

    // 25 of 30 days later, by the device's clock.
    let clock = DeviceClock::fixed(now_s + 25 * DAY_S);
    let before = identity.fingerprint()?;
    let renewed = renew(folder.path(), &dir, &identity, &clock).await?;
    ensure!(renewed == 1, "said once, not {renewed} times");
    ensure!(mqtt.cuts() > 0, "the wire was cut during the proof");
    ensure!(identity.fingerprint()? != before, "a new key is in force");
    ensure!(files(&dir)? == ["device-2.key", "identity.json"], "nothing else is left: {:?}", files(&dir)?);
    ensure!(Identity::load(&dir)?.fingerprint()? == identity.fingerprint()?, "on the disk as well");
    site.running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_certificate_expired_weeks_ago_comes_back_by_itself() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // TLS goes by the system's clock: the fleet begins in the past, and then it is today.
    let control_clock = Clock::fixed(Clock::system().now_s() - 40 * DAY_S);
    let site = Site::start(folder.path(), control_clock.clone(), |config| config.certificate_days = 1).await?;
    let dir = folder.path().join("identity");
    let code = site.code("till-7").await?;
    let identity = site.enrol(&dir, &code, site.running.http_address()).await?;
    control_clock.advance(40 * DAY_S);

    let clock = DeviceClock::system();
    ensure!(identity.certificate_not_after_s() < clock.now_s() - 38 * DAY_S, "it has expired");
    renew(folder.path(), &dir, &identity, &clock).await?;
    ensure!(identity.certificate_not_after_s() > clock.now_s(), "it is good again");

    // A device that was revoked in the meantime does not.
    control_clock.advance(2 * DAY_S);
    site.fleet.run(|fleet| fleet.revoke(&id("till-7")?).map_err(anyhow::Error::from)).await?;
    let event = one_event(folder.path(), &dir, &identity, &DeviceClock::fixed(clock.now_s() + 2 * DAY_S)).await?;
    ensure!(event == IdentityEvent::Revoked, "{event:?}");
    site.running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_device_says_so_and_stops_serving_if_its_policy_wants_that_also_after_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path()).await?;
    let (model, _) = fleet.release_demo_model(&demo_model()).await?;
    let mut bundle = Bundle::default_bundle();
    bundle.version = 2;
    bundle.fleet.when_revoked = WhenRevoked::Stop;
    let offline = folder.path().join("offline-keys");
    let request = ReleaseRequest { policy: Some(bundle.to_bytes()), ..ReleaseRequest::default() };
    let release = move |fleet: &ControlFleet| -> Result<()> {
        fleet.release(&OfflineKeys::load(&offline)?, request)?;
        Ok(())
    };
    fleet.control.run(release).await?;
    let device = id("till-7")?;
    let (state, _) = fleet.enrol(&device).await?;
    let assignment = Assignment { model: Some(model), minimum_context_tokens: 64 };
    let name = device.clone();
    fleet.control.run(move |fleet| fleet.assign(&name, &assignment)).await?;

    let program = binary("outpost")?;
    std::fs::write(state.config(), "[api]\nlisten = \"\"\n")?;
    let state_text = state.root().display().to_string();
    let status = || -> Result<Value> {
        Ok(serde_json::from_str(&output(&program, &["--state", &state_text, "--json", "status"])?)?)
    };
    let mut agent = Process::start(&program, &["--state", &state_text, "run"])?;
    let serves = async || {
        status().is_ok_and(|now| {
            now["agent"]["model"].is_object()
                && now["policy_version"] == 2
                && now["agent"]["fleet"]["state"] == "online"
        })
    };
    let served = eventually("that it serves under the new policy", PATIENCE, serves).await;
    served.with_context(|| format!("{:?}", status()))?;

    let name = device.clone();
    fleet.control.run(move |fleet| fleet.revoke(&name)).await?;
    let stopped = async || {
        status().is_ok_and(|now| now["agent"]["model"].is_null() && now["agent"]["fleet"]["state"] == "revoked")
    };
    eventually("that it knows and stops", PATIENCE, stopped).await?;

    // Unplugged and started again, it does not serve as if nothing had happened.
    fleet.stop().await;
    agent.kill();
    let _agent = Process::start(&program, &["--state", &state_text, "run"])?;
    eventually("that it still knows", PATIENCE, stopped).await?;
    let records = output(&program, &["--state", &state_text, "--json", "audit", "show", "--kind", "device.enrol"])?;
    ensure!(records.contains("\"act\"") && records.contains("revoked"), "it is on record: {records}");
    Ok(())
}

/// A control plane with settings of its own.
struct Site {
    fleet: ControlFleet,
    running: Running,
}

impl Site {
    async fn start(folder: &Path, clock: Clock, settings: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut config = Config::new(folder.join("control"));
        config.http_listen = "127.0.0.1:0".parse()?;
        config.mqtt_listen = "127.0.0.1:0".parse()?;
        settings(&mut config);
        let fleet = ControlFleet::init(config, clock)?.fleet;
        let offline: PathBuf = folder.join("stick");
        fleet.run(move |fleet| fleet.create_offline_keys(&offline)).await?;
        let running = ControlPlane::start_fleet(fleet.clone()).await?;
        running.connected().await;
        Ok(Self { fleet, running })
    }

    async fn code(&self, device: &str) -> Result<String> {
        let device = id(device)?;
        Ok(self.fleet.run(move |fleet| fleet.create_code(&device, 3600)).await?)
    }

    async fn enrol(&self, dir: &Path, code: &str, server: SocketAddr) -> Result<Identity> {
        let enrolment = Enrolment {
            server_url: &format!("https://{server}"),
            code,
            wished_name: "",
            authority: self.fleet.authority_pem(),
            dir,
            agent: "0",
            audit_key: "till-7+00000000+AA",
        };
        Ok(enrol(&enrolment, &DeviceClock::system()).await?)
    }
}

/// Runs the renewal until all of it is done; how often it was said that a new certificate is in force.
pub(crate) async fn renew(folder: &Path, dir: &Path, identity: &Identity, clock: &DeviceClock) -> Result<u32> {
    let (running, mut events, stop) = start_renewal(folder, dir, identity, clock)?;
    let mut renewed = 0;
    let done = async {
        while let Some(event) = events.recv().await {
            renewed += u32::from(matches!(event, IdentityEvent::Renewed { .. }));
            if renewed > 0 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, done).await.context("the renewal does not converge")?;
    eventually("that the old key is gone", PATIENCE, async || files(dir).is_ok_and(|files| files.len() == 2)).await?;
    stop.cancel();
    running.await?;
    while let Ok(event) = events.try_recv() {
        renewed += u32::from(matches!(event, IdentityEvent::Renewed { .. }));
    }
    Ok(renewed)
}

/// Runs the renewal until it says something.
async fn one_event(folder: &Path, dir: &Path, identity: &Identity, clock: &DeviceClock) -> Result<IdentityEvent> {
    let (running, mut events, stop) = start_renewal(folder, dir, identity, clock)?;
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.context("nothing was said")?;
    stop.cancel();
    running.await?;
    event.context("it ended")
}

type Started = (tokio::task::JoinHandle<()>, mpsc::Receiver<IdentityEvent>, CancellationToken);

fn start_renewal(folder: &Path, dir: &Path, identity: &Identity, clock: &DeviceClock) -> Result<Started> {
    let database = SyncDatabase::open(folder)?;
    let renewal = Renewal::new(dir, identity, &database, clock)?.trying_again(SOON);
    let link = Connectivity { phase: Phase::Offline, last_contact_s: 0, reason: None, refusals: 0 };
    let (say, connectivity) = watch::channel(link);
    let (sender, events) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move {
        renewal.run(connectivity, sender, stopped).await;
        drop(say);
    });
    Ok((running, events, stop))
}

/// The files of an identity, by name.
pub(crate) fn files(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    let mut names: Vec<_> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn id(text: &str) -> Result<DeviceId> {
    Ok(text.parse()?)
}
