//! Real programs on several hosts, and a cable that is pulled out at any moment: of an enrolment, a renewal, a transfer, an
//! activation. Everything converges without a hand.
//!
//! `OUTPOST_CUTS=40` makes as many attempts for each; in short there are three.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use outpost_agent::state::StateDir;
use outpost_disk::Clock;
use outpost_sync::Identity;
use outpost_tests::hosts::{Host, Network, ended};
use outpost_tests::process::{binary, demo_model, output};
use serde_json::Value;

use crate::identity::{files, renew};

/// Tells the renewer, which is this program started once more on the device's host, whose certificate it renews.
const RENEWS: &str = "OUTPOST_RENEWS";

/// Days that a certificate is good for here, and how far the renewer's clock is ahead: less than a third is left.
const CERTIFICATE: (i64, i64) = (30, 25);

/// How long anything may take that must happen, with everything that has to be noticed and waited for in between.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// How long the cable is out.
const OUT: Duration = Duration::from_secs(2);

/// A line on which the model takes some seconds.
const KILOBITS: u32 = 40_000;

/// A control plane on its host, and what it takes to ask it.
pub(crate) struct Centre {
    pub(crate) folder: tempfile::TempDir,
    host: Host,
    program: PathBuf,
    serving: Child,
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.serving.kill().ok();
        self.serving.wait().ok();
    }
}

impl Centre {
    async fn start(host: Host) -> Result<Self> {
        Self::start_with(host, &demo_model(), "").await
    }

    /// One that has this model in its catalogue, and more lines in its configuration.
    pub(crate) async fn start_with(host: Host, model: &Path, more: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (program, state) = (binary("outpost-control")?, folder.path().join("control-plane"));
        std::fs::create_dir_all(&state)?;
        let address = host.address();
        std::fs::write(
            state.join("outpost-control.toml"),
            format!(
                "http_listen = \"{address}:8790\"\nmqtt_listen = \"{address}:8883\"\nbroker_address = \"{address}:8883\"\n{more}"
            ),
        )?;
        let serving = host.start("true", &[])?;
        let mut centre = Self { folder, host, program, serving };
        centre.ask(&["init"])?;
        let keys = centre.path("keys")?;
        centre.ask(&["keys", "create", "--keys", &keys])?;
        let facts = centre.folder.path().join("facts.json");
        let model = model.to_str().context("a path that is text")?;
        std::fs::write(&facts, output(&binary("outpost")?, &["--json", "model", "inspect", model])?)?;
        let facts = facts.to_str().context("a path that is text")?;
        centre.ask(&["catalogue", "release", "--keys", &keys, "--model", facts, "--default-policy"])?;
        let state = centre.path("control-plane")?;
        centre.serving = centre.host.start(&centre.program, &["--state", &state, "serve"])?;
        centre.answers().await?;
        Ok(centre)
    }

    async fn answers(&self) -> Result<()> {
        let address = self.host.address().to_string();
        let connect = format!("exec 3<>/dev/tcp/{address}/8883 && exec 4<>/dev/tcp/{address}/8790");
        let began = Instant::now();
        while !self.host.command("bash").args(["-c", &connect]).stderr(Stdio::null()).status()?.success() {
            ensure!(began.elapsed() < PATIENCE, "the control plane does not listen");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    pub(crate) fn path(&self, name: &str) -> Result<String> {
        self.folder.path().join(name).to_str().map(str::to_owned).context("a path that is text")
    }

    /// Asks the fleet's own command, as an admin beside the server does.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let state = self.path("control-plane")?;
        let said = output(&self.program, &[&["--json", "--state", &state], arguments].concat())?;
        serde_json::from_str(&said).with_context(|| format!("`{}` said no JSON: {said}", arguments.join(" ")))
    }

    pub(crate) fn reported(&self, device: &str) -> Result<Value> {
        Ok(self.ask(&["device", "show", device])?["reported"].take())
    }
}

/// A device on its host.
pub(crate) struct Device<'a> {
    centre: &'a Centre,
    pub(crate) host: &'a Host,
    pub(crate) name: String,
    pub(crate) state: String,
    program: PathBuf,
}

impl<'a> Device<'a> {
    pub(crate) fn new(centre: &'a Centre, host: &'a Host, name: &str) -> Result<Self> {
        let state = centre.path(name)?;
        std::fs::create_dir_all(Path::new(&state))?;
        std::fs::write(Path::new(&state).join("outpost.toml"), "[api]\nlisten = \"\"\n")?;
        Ok(Self { centre, host, name: name.to_owned(), state, program: binary("outpost")? })
    }

    pub(crate) fn code(&self) -> Result<String> {
        let made = self.centre.ask(&["device", "code", &self.name])?;
        made["code"].as_str().map(str::to_owned).context("no code")
    }

    /// One attempt to enrol, as a service would make it again and again.
    fn enrolling(&self, code: &str) -> Result<Child> {
        let server = format!("https://{}:8790", self.centre.host.address());
        let authority = self.centre.path("control-plane/tls/ca.pem")?;
        self.host.start(
            &self.program,
            &["--state", &self.state, "enroll", "--server", &server, "--code", code, "--ca", &authority],
        )
    }

    pub(crate) async fn enrol(&self, code: &str) -> Result<u32> {
        for attempt in 1..=20 {
            if ended(&mut self.enrolling(code)?, PATIENCE).await? == 0 {
                return Ok(attempt);
            }
        }
        bail!("`{}` is not enrolled after 20 attempts", self.name)
    }

    fn identity(&self) -> Result<PathBuf> {
        Ok(StateDir::locate(Some(Path::new(&self.state)))?.identity())
    }

    /// Renews its certificate in a process of its own on its host: programs go by the system's clock, and this one does not.
    fn renewing(&self) -> Result<Child> {
        let mut command = self.host.command(std::env::current_exe()?);
        command.args(["network::renewer", "--exact"]).env(RENEWS, &self.state);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("the renewer does not start")
    }

    pub(crate) fn run(&self) -> Result<Child> {
        self.host.start(&self.program, &["--state", &self.state, "run"])
    }

    /// Waits until the control plane knows that this version is in force.
    async fn applies(&self, version: u64) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let reported = self.centre.reported(&self.name)?;
            if reported["applied_version"].as_u64() >= Some(version) {
                return Ok(began.elapsed());
            }
            ensure!(began.elapsed() < PATIENCE, "`{}` did not get there: {reported}", self.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Ends its child with itself.
pub(crate) struct Ends(pub(crate) Child);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn cuts() -> Result<u32> {
    std::env::var("OUTPOST_CUTS").map_or(Ok(3), |text| text.parse().context("`OUTPOST_CUTS` is a number"))
}

async fn pull_out(host: &Host, after: Duration) -> Result<()> {
    tokio::time::sleep(after).await;
    host.unplug()?;
    tokio::time::sleep(OUT).await;
    host.plug_in()
}

#[expect(clippy::print_stderr, reason = "a campaign's figures")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cable_pulled_out_at_any_moment_of_an_enrolment_costs_another_attempt_at_most() -> Result<()> {
    let mut network = Network::new()?;
    let centre = Centre::start(network.host()?).await?;
    let shop = network.host()?;
    let whole = {
        let device = Device::new(&centre, &shop, "till-0")?;
        let code = device.code()?;
        let began = Instant::now();
        device.enrol(&code).await?;
        began.elapsed()
    };
    let (cuts, mut attempts) = (cuts()?, 0);
    for number in 1..=cuts {
        let device = Device::new(&centre, &shop, &format!("till-{number}"))?;
        let code = device.code()?;
        let mut first = Ends(device.enrolling(&code)?);
        pull_out(&shop, whole * number / (cuts + 1)).await?;
        if ended(&mut first.0, PATIENCE).await? != 0 {
            attempts += device.enrol(&code).await?;
        }
        // Nobody could enrol twice: the code is one device's.
        ensure!(
            centre.ask(&["device", "show", &device.name])?["enrolled_s"].is_i64(),
            "`{}` is not known",
            device.name
        );
    }
    say(&format!("{cuts} enrolments cut within {whole:.1?}: all enrolled, {attempts} further attempts"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cable_pulled_out_at_any_moment_of_a_renewal_leaves_one_certificate_and_it_counts() -> Result<()> {
    let mut network = Network::new()?;
    let more = format!("certificate_days = {}\n", CERTIFICATE.0);
    let centre = Centre::start_with(network.host()?, &demo_model(), &more).await?;
    let shop = network.host()?;
    let whole = {
        let device = Device::new(&centre, &shop, "till-0")?;
        device.enrol(&device.code()?).await?;
        let began = Instant::now();
        ensure!(ended(&mut device.renewing()?, PATIENCE).await? == 0, "the renewal fails without a cut");
        began.elapsed()
    };
    let (cuts, mut slowest) = (cuts()?, Duration::ZERO);
    for number in 1..=cuts {
        let device = Device::new(&centre, &shop, &format!("till-{number}"))?;
        device.enrol(&device.code()?).await?;
        let dir = device.identity()?;
        let before = Identity::load(&dir)?.fingerprint()?;
        let began = Instant::now();
        let mut renewing = Ends(device.renewing()?);
        pull_out(&shop, whole * number / (cuts + 1)).await?;
        ensure!(ended(&mut renewing.0, PATIENCE).await? == 0, "the renewal of `{}` does not converge", device.name);
        slowest = slowest.max(began.elapsed());
        ensure!(Identity::load(&dir)?.fingerprint()? != before, "`{}` has its old key", device.name);
        ensure!(files(&dir)?.len() == 2, "something is left: {:?}", files(&dir)?);
        // The program itself is let in with it.
        let _agent = Ends(device.run()?);
        let began = Instant::now();
        while centre.reported(&device.name)?.is_null() {
            ensure!(began.elapsed() < PATIENCE, "`{}` is not let in with its new certificate", device.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    say(&format!("{cuts} cuts of {OUT:?} within {whole:.1?} of a renewal: all renewed, the slowest in {slowest:.1?}"));
    Ok(())
}

/// The renewer's own work; run as a test of its own it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewer() -> Result<()> {
    let Some(state) = std::env::var_os(RENEWS).map(PathBuf::from) else { return Ok(()) };
    let dir = StateDir::locate(Some(&state))?.identity();
    let clock = Clock::fixed(Clock::system().now_s() + CERTIFICATE.1 * 24 * 60 * 60);
    let renewed = renew(&state, &dir, &Identity::load(&dir)?, &clock).await?;
    ensure!(renewed == 1, "said {renewed} times");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cable_pulled_out_at_any_moment_between_assignment_and_report_changes_nothing_in_the_end() -> Result<()> {
    let mut network = Network::new()?;
    let centre = Centre::start(network.host()?).await?;
    let shop = network.host()?;
    shop.narrow(KILOBITS)?;
    let assigned = |device: &str| -> Result<u64> {
        let assigned =
            centre.ask(&["device", "assign", device, "--model", "outpost-demo", "--minimum-context", "256"])?;
        assigned["desired_version"].as_u64().context("no version")
    };
    let whole = {
        let device = Device::new(&centre, &shop, "till-0")?;
        device.enrol(&device.code()?).await?;
        let _agent = Ends(device.run()?);
        device.applies(assigned("till-0")?).await?
    };
    let (cuts, mut slowest) = (cuts()?, Duration::ZERO);
    for number in 1..=cuts {
        let device = Device::new(&centre, &shop, &format!("till-{number}"))?;
        device.enrol(&device.code()?).await?;
        let _agent = Ends(device.run()?);
        let began = Instant::now();
        let version = assigned(&device.name)?;
        pull_out(&shop, whole * number / (cuts + 1)).await?;
        device.applies(version).await?;
        slowest = slowest.max(began.elapsed());
        let reported = centre.reported(&device.name)?;
        ensure!(reported["model"]["model"] == "outpost-demo", "{reported}");
        ensure!(reported["reasons"].as_array().is_some_and(Vec::is_empty), "{reported}");
    }
    say(&format!(
        "{cuts} cuts of {OUT:?} within {whole:.1?} of transfer and activation: all converged, the slowest in {slowest:.1?}"
    ));
    Ok(())
}
