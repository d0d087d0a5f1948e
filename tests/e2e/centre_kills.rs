//! The control plane dies by `kill -9` again and again while admins and devices keep it busy: what it acknowledged is there
//! afterwards, and nothing was done twice.
//!
//! `OUTPOST_KILLS=200 cargo e2e centre_kills` runs the long form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_contract::Sha256;
use outpost_sync::{BackOff, SyncDatabase};
use outpost_tests::centre::{Api, Centre};
use outpost_tests::process::eventually;
use outpost_tests::simulated::{self, Heard};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(120);

/// No connection lives long enough to be called stable: with the usual waits, devices would stay away for minutes.
const SOON: BackOff = BackOff { base: Duration::from_millis(50), cap: Duration::from_secs(1) };

const DEVICES: usize = 6;

/// Admins at the same time; each has devices of its own.
const ADMINS: usize = 3;

/// What one admin knows of one device.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The newest version that was acknowledged, or seen after a kill.
    version: u64,
    /// The context that its assignment asks for, as acknowledged or seen.
    context: u64,
    /// The label that was acknowledged, or seen.
    label: u64,
    /// What was asked for without an answer.
    pending_context: Option<u64>,
    pending_label: Option<u64>,
}

/// What a device has seen.
#[derive(Debug, Default)]
struct Seen {
    /// The payload of every version: one version is never two documents.
    payloads: BTreeMap<u64, Sha256>,
    /// Reports that the control plane said it has stored.
    stored: u64,
    /// What went wrong.
    faults: Vec<String>,
}

#[derive(Debug, Default)]
struct Done {
    acknowledged: AtomicU64,
    unanswered: AtomicU64,
    codes: Mutex<BTreeSet<String>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_dies_under_load_loses_nothing_and_does_nothing_twice() -> Result<()> {
    let kills: u32 = std::env::var("OUTPOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let mut centre = Centre::start()?;
    centre.answers().await?;
    let folder = tempfile::tempdir()?;
    let mut devices = BTreeMap::new();
    let mut links = Vec::new();
    for (identity, home) in centre.enrol_all(folder.path(), DEVICES).await? {
        let (name, seen) = (identity.device().to_string(), Arc::new(Mutex::new(Seen::default())));
        let hearing = Arc::clone(&seen);
        let hear = move |heard| hearing.lock().unwrap_or_else(PoisonError::into_inner).hear(heard);
        links.push(simulated::start(identity, &SyncDatabase::open(&home)?, SOON, hear)?);
        devices.insert(name, (seen, Arc::new(Mutex::new(Known::default()))));
    }

    let (api, done, stop) = (centre.api()?, Arc::new(Done::default()), CancellationToken::new());
    // Whoever looks at what became of a kill looks while nobody acts.
    let quiet = Arc::new(RwLock::new(()));
    let names: Vec<_> = devices.iter().map(|(name, (_, known))| (name.clone(), Arc::clone(known))).collect();
    let mut admins = Vec::new();
    for admin in 0..ADMINS {
        let own: Vec<_> = names.iter().skip(admin).step_by(ADMINS).cloned().collect();
        let (api, done, quiet) = (api.clone(), Arc::clone(&done), Arc::clone(&quiet));
        let working = work(api, own, done, quiet);
        let stop = stop.clone();
        admins.push(tokio::spawn(async move { stop.run_until_cancelled(working).await.unwrap_or(Ok(())) }));
    }
    for kill in 0..kills {
        let mut moment = [0];
        getrandom::fill(&mut moment).context("no randomness")?;
        tokio::time::sleep(Duration::from_millis(50 + u64::from(moment[0]) * 3)).await;
        centre.kill_and_start()?;
        centre.answers().await?;
        let _quiet = quiet.write().await;
        for (name, (seen, known)) in &devices {
            let stored = seen.lock().unwrap_or_else(PoisonError::into_inner).stored;
            let found = api.ask(Method::GET, &format!("/v1/devices/{name}"), None).await?;
            let labels = api.ask(Method::GET, &format!("/v1/devices/{name}/labels"), None).await?;
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.settle(&found, &labels).with_context(|| format!("`{name}` after kill {kill}"))?;
            let kept = found["reported"]["sequence"].as_u64().unwrap_or(0);
            ensure!(kept >= stored, "`{name}` after kill {kill}: report {stored} was acknowledged, {kept} is kept");
        }
        let open = open_codes(&api).await?;
        let lost: Vec<_> = done.codes().difference(&open).cloned().collect();
        ensure!(lost.is_empty(), "codes that were acknowledged are gone after kill {kill}: {lost:?}");
    }
    stop.cancel();
    for admin in admins {
        admin.await??;
    }

    for (name, (seen, _)) in &devices {
        let converged = async || {
            let Ok(found) = api.ask(Method::GET, &format!("/v1/devices/{name}"), None).await else { return false };
            found["reported"]["applied_version"] == found["desired_version"]
        };
        eventually(&format!("`{name}` to report what it is told"), PATIENCE, converged).await?;
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(seen.faults.is_empty(), "`{name}`: {:?}", seen.faults);
    }
    for link in links {
        link.stop().await;
    }
    let verified = centre.ask(&["audit", "self", "verify"])?;
    ensure!(verified["problems"].as_array().is_none_or(Vec::is_empty), "its own log does not verify: {verified}");
    #[expect(clippy::print_stderr, reason = "a campaign's figures")]
    {
        let (acknowledged, open) = (&done.acknowledged, &done.unanswered);
        eprintln!(
            "{kills} kills: {acknowledged:?} acts acknowledged, {open:?} without an answer, none lost, none twice"
        );
    }
    Ok(())
}

/// One admin: assigns, labels and invites, one act after the other.
async fn work(api: Api, own: Vec<(String, Arc<Mutex<Known>>)>, done: Arc<Done>, quiet: Arc<RwLock<()>>) -> Result<()> {
    for number in 1.. {
        let _turn = quiet.read().await;
        let (name, known) = &own[number as usize % own.len()];
        let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = match number % 3 {
            0 => {
                let context = 256 + number;
                known().pending_context = Some(context);
                let wanted = json!({ "model": null, "minimum_context_tokens": context });
                let answer = api.ask(Method::PUT, &format!("/v1/devices/{name}/assignment"), Some(&wanted)).await;
                if let Ok(answer) = &answer {
                    let version = answer["desired_version"].as_u64().context("no version")?;
                    let mut known = known();
                    ensure!(version == known.version + 1, "`{name}`: {version} follows {}", known.version);
                    (known.version, known.context, known.pending_context) = (version, context, None);
                }
                answer.is_ok()
            }
            1 => {
                known().pending_label = Some(number);
                let wanted = json!({ "step": number.to_string() });
                let answer = api.ask(Method::PATCH, &format!("/v1/devices/{name}/labels"), Some(&wanted)).await;
                if answer.is_ok() {
                    let mut known = known();
                    (known.label, known.pending_label) = (number, None);
                }
                answer.is_ok()
            }
            _ => {
                let device = format!("new-{name}-{number}");
                let wanted = json!({ "device": device, "valid_s": 3600 });
                let answer = api.ask(Method::POST, "/v1/codes", Some(&wanted)).await;
                if answer.is_ok() {
                    done.codes().insert(device);
                }
                answer.is_ok()
            }
        };
        let count = if answered { &done.acknowledged } else { &done.unanswered };
        count.fetch_add(1, Ordering::Relaxed);
        drop(_turn);
        // What has no answer stays in doubt until somebody has looked.
        if !answered {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

async fn open_codes(api: &Api) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let all = "/v1/enrolment/codes?limit=1000";
    let mut path = all.to_owned();
    loop {
        let page = api.ask(Method::GET, &path, None).await?;
        let entries = page["entries"].as_array().context("no list of codes")?;
        found.extend(entries.iter().filter_map(|code| code["device"].as_str().map(str::to_owned)));
        match page["next"].as_str() {
            Some(next) => path = format!("{all}&after={next}"),
            None => return Ok(found),
        }
    }
}

impl Done {
    fn codes(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What the control plane says after a kill is what it acknowledged, or that and the one act that had no answer.
    fn settle(&mut self, found: &Value, labels: &Value) -> Result<()> {
        let version = found["desired_version"].as_u64().context("no version")?;
        let context = found["assignment"]["minimum_context_tokens"].as_u64().unwrap_or(0);
        let label = labels["step"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        let as_known = (version, context) == (self.version, self.context);
        let as_asked = version == self.version + 1 && Some(context) == self.pending_context;
        ensure!(as_known || as_asked, "version {version} with context {context}: {self:?}");
        ensure!(label == self.label || Some(label) == self.pending_label, "label {label}: {self:?}");
        *self = Self { version, context, label, pending_context: None, pending_label: None };
        Ok(())
    }
}

impl Seen {
    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Applied { version, payload } => {
                if self.payloads.insert(version, payload).is_some_and(|before| before != payload) {
                    self.faults.push(format!("version {version} came as two documents"));
                }
            }
            Heard::Failed(reason) => self.faults.push(reason),
            Heard::Stored(sequence) => self.stored = self.stored.max(sequence),
            Heard::Up | Heard::Down(_) => {}
        }
    }
}
