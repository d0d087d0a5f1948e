//! The agent, put together: what starts in which order, what depends on what, and how it all ends.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use outpost_audit::{AuditLog, BootReport};
use outpost_disk::{Clock, Ledger, StateLock};
use outpost_serve::{Limits, ServeConfig, Server, TlsFiles};
use outpost_sync::{Identity, LinkHandle};
use serde_json::{Map, Value};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::KeySets;
use crate::active::Card;
use crate::backend::Readiness;
use crate::config::Config;
use crate::models::Residents;
use crate::parts::{ACTIVE_MODEL, Parts};
use crate::progress::Progress;
use crate::reconcile::Reconciler;
use crate::retention::Keeping;
use crate::state::StateDir;
use crate::stick::{HandedIn, NotTaken, Port, Stick, facts};
use crate::telemetry::{self, Collector};
use crate::updates::Updates;
use crate::{key_watch, standalone, succession};

/// What a command asks for beside the configuration file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Serve this file.
    pub model: Option<PathBuf>,
    /// Leave the fleet alone, even if enrolled.
    pub offline: bool,
    /// Load no model: who starts this agent wants something else of it.
    pub idle: bool,
    /// How soon a lost connection is tried again at first; `None` for the usual pace.
    pub reconnect: Option<outpost_sync::BackOff>,
    /// The program that templates run in, for an agent inside a program that does not begin with
    /// [`crate::template_worker::work_if_asked`]; `None` for the program that the agent runs in.
    pub program: Option<PathBuf>,
    /// A Unix socket that whoever started this program opened before, where the local API answers too.
    pub socket: Option<Arc<UnixListener>>,
    /// The clock, for who simulates weeks; `None` for the system's. No configuration leads here.
    pub clock: Option<Clock>,
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    parts: Parts,
    readiness: watch::Receiver<Readiness>,
    address: Option<std::net::SocketAddr>,
    boot_report: BootReport,
    link: Option<LinkHandle>,
    stop_serving: CancellationToken,
    stop_fleet: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _lock: StateLock,
}

impl Agent {
    /// Starts the agent on a state directory. The local API answers when this returns; a model may still be on its way.
    ///
    /// # Errors
    /// If the directory is in use or cannot be written, the audit log is damaged, an address cannot be bound, or the
    /// configuration asks for what is not allowed.
    pub async fn start(state: StateDir, config: Config, overrides: Overrides) -> Result<Self> {
        state.prepare()?;
        let lock = StateLock::acquire_soon(state.root())?;
        empty(&state.scratch())?;
        let identity = load_identity(&state)?;
        if identity.is_some() && overrides.model.is_some() {
            bail!("this device belongs to a fleet, which assigns its model; start it without `--model`");
        }
        let program = match overrides.program {
            Some(program) => program,
            None => std::env::current_exe().context("cannot find this program's own path")?,
        };
        let (parts, readiness, boot_report) =
            Parts::open(&state, &config, identity.as_ref(), program, overrides.clock)?;
        let link = match &identity {
            Some(identity) if !overrides.offline => Some(parts.link(identity, overrides.reconnect)?),
            _ => None,
        };
        let handle = link.as_ref().map(|(handle, _)| handle.clone());
        let home = identity.as_ref().map(|identity| parts.home(identity)).transpose()?;
        let (port, sticks) = home.map(Port::of).unzip();
        let backend = Arc::new(parts.backend(readiness.clone(), handle.clone(), port));
        // Before the first request: a box without a network knows the keys that it kept.
        let key_sets = KeySets::open(&config.api.oidc, &state.ledgers(), &parts.identities, &parts.clock)?;
        let (stop_serving, stop_fleet) = (CancellationToken::new(), CancellationToken::new());
        let (traces, telling) = match &config.telemetry.otlp_endpoint {
            Some(endpoint) => {
                let (device, clock) = (parts.device.clone(), parts.clock.clone());
                let collector = Collector::parse(endpoint)?;
                let (traces, telling) = telemetry::start(collector, device, clock, stop_serving.clone());
                (Some(traces), Some(telling))
            }
            None => (None, None),
        };
        let serve_config = ServeConfig { traces, handed: overrides.socket, ..serve_config(&state, &config)? };
        let server = match Server::bind(serve_config).await {
            Ok(server) => server,
            Err(error) => {
                // An address that is taken is no crash, and the record is not to look like one.
                if let Err(error) = close(parts).await {
                    tracing::error!(%error, "the end is not recorded");
                }
                return Err(anyhow::Error::new(error).context("the local API cannot start"));
            }
        };
        let address = server.tcp_address();
        let serving = parts.serving(Arc::clone(&backend), handle.clone());
        let mut tasks = vec![
            tokio::spawn(server.serve(serving, stop_serving.clone().cancelled_owned())),
            tokio::spawn(key_watch::watch(state.keys(), parts.audit.clone(), stop_serving.clone())),
            tokio::spawn(key_sets.watch(stop_serving.clone())),
            tokio::spawn(sweep(Arc::clone(&parts.residents), stop_serving.clone())),
            tokio::spawn(keep_time(parts.clock.clone(), stop_serving.clone())),
            tokio::spawn(parts.pressure().watch(stop_serving.clone())),
            tokio::spawn(Arc::clone(&parts.installer.housekeeper).watch(stop_serving.clone())),
            tokio::spawn(
                Keeping {
                    audit: parts.audit.clone(),
                    content: parts.retention,
                    record_days: config.audit.record_days,
                    policies: parts.policies.clone(),
                    vouched: parts.vouched.subscribe(),
                }
                .watch(stop_serving.clone()),
            ),
        ];
        tasks.extend(telling);
        if let (Some(identity), Some((link, _))) = (&identity, &link) {
            tasks.push(tokio::spawn(parts.keeping(identity, link, stop_fleet.clone())?.run()));
        }
        parts.announcer.say(Progress::Listening(address));
        if overrides.idle {
            let link = handle;
            return Ok(Self {
                parts,
                readiness,
                address,
                boot_report,
                link,
                stop_serving,
                stop_fleet,
                tasks,
                _lock: lock,
            });
        }
        tasks.push(match (identity.zip(sticks), link) {
            (Some((identity, sticks)), Some(link)) => {
                tokio::spawn(parts.fleet(identity, link, backend, stop_fleet.clone())?.run(sticks))
            }
            (Some((identity, sticks)), None) => {
                tokio::spawn(resume_alone(parts.reconciler(identity, None)?, sticks, stop_fleet.clone()))
            }
            (None, _) => {
                let file = overrides.model.or(config.model.path);
                tokio::spawn(standalone::serve(parts.clone(), file))
            }
        });
        let link = handle;
        Ok(Self { parts, readiness, address, boot_report, link, stop_serving, stop_fleet, tasks, _lock: lock })
    }

    /// True if a model served from this state directory before: then it can serve again without anybody's help.
    ///
    /// # Errors
    /// If the directory cannot be made or read.
    pub fn has_served(state: &StateDir) -> Result<bool> {
        state.prepare()?;
        let (_, card) = Ledger::<Card>::open(state.ledgers(), ACTIVE_MODEL)?;
        Ok(card.is_some())
    }

    /// Where the local API listens on TCP.
    #[must_use]
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.address
    }

    /// Hears what happens from now on.
    #[must_use]
    pub fn progress(&self) -> broadcast::Receiver<Progress> {
        self.parts.announcer.listen()
    }

    /// How the last run ended, and what it left open.
    #[must_use]
    pub fn boot_report(&self) -> &BootReport {
        &self.boot_report
    }

    /// The audit log, for whoever runs the agent in its own process.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.parts.audit
    }

    /// Waits until the audit log must not go on, because a witness remembers another past: says why. The agent is then to
    /// be stopped and started again, which begins a new log.
    pub async fn log_ended(&self) -> String {
        let mut ended = self.parts.ended.subscribe();
        match ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.as_ref().map(|ended| ended.why.clone()))
        {
            Some(why) => why.to_string(),
            // The sender lives in `self`.
            None => std::future::pending().await,
        }
    }

    /// Waits until an operator of the fleet asks that this process starts again: stop, then start anew.
    pub async fn restart_asked(&self) {
        let mut restart = self.parts.restart.subscribe();
        if restart.wait_for(|asked| *asked).await.is_err() {
            // The sender lives in `self`.
            std::future::pending::<()>().await;
        }
    }

    /// Takes newer builds of the agent itself.
    pub(crate) fn updates(&self) -> Updates {
        self.parts.updates(self.link.clone())
    }

    /// Where the agent stands on its way to an answer.
    pub(crate) fn readiness(&self) -> &watch::Receiver<Readiness> {
        &self.readiness
    }

    /// Waits until a model serves.
    ///
    /// # Errors
    /// If nothing will serve without somebody's help: says why.
    pub async fn serving(&self) -> Result<()> {
        let mut readiness = self.readiness.clone();
        let settled = readiness
            .wait_for(|now| !matches!(now, Readiness::Preparing | Readiness::Switching(_)))
            .await
            .context("the agent is stopping")?;
        match &*settled {
            Readiness::Nothing(because) => bail!("no model serves: {because}"),
            Readiness::Serving | Readiness::Preparing | Readiness::Switching(_) => Ok(()),
        }
    }

    /// Stops in good order: no new requests, answers in progress get their time, the log gets its `shutdown`. A log that
    /// must not go on gets nothing more; it is noted that the next start begins a new one.
    pub async fn stop(self) {
        self.stop_serving.cancel();
        self.stop_fleet.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the agent failed");
            }
        }
        if let Err(error) = close(self.parts).await {
            tracing::error!(error = format!("{error:#}"), "the end is not recorded");
        }
    }
}

/// Takes in a stick where no agent runs: the model on it is loaded once, to see that it serves. Gives what is in force now.
///
/// # Errors
/// If this device belongs to no fleet, an agent runs, or the stick is not for this device or does not hold.
pub async fn import_alone(state: &StateDir, config: &Config, directory: &Path) -> Result<Map<String, Value>> {
    state.prepare()?;
    let _lock = StateLock::acquire(state.root())?;
    empty(&state.scratch())?;
    let identity = load_identity(state)?.context("this device belongs to no fleet; run `outpost enroll` first")?;
    let stick = Stick::read(directory, identity.tenant(), identity.device())?;
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let (parts, _readiness, _) = Parts::open(state, config, Some(&identity), program, None)?;
    let imported = match parts.reconciler(identity, None) {
        Ok(reconciler) => {
            // The keys that may sign for this device stand in what it accepted last.
            reconciler.resume().await;
            stick.apply(&reconciler).await.map_err(|reason| NotTaken::Refused(reason).into())
        }
        Err(error) => Err(error),
    };
    close(parts).await.context("the end is not recorded")?;
    imported.map(|taken| facts(&taken))
}

/// Writes onto a stick what the control plane lacks, where no agent runs. Gives what was written, as plain facts.
///
/// # Errors
/// If this device belongs to no fleet, an agent runs, or it cannot be recorded or written.
pub async fn export_alone(state: &StateDir, config: &Config, directory: &Path, from: Option<u64>) -> Result<Value> {
    state.prepare()?;
    let _lock = StateLock::acquire(state.root())?;
    let identity = load_identity(state)?.context("this device belongs to no fleet; run `outpost enroll` first")?;
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let (parts, _readiness, _) = Parts::open(state, config, Some(&identity), program, None)?;
    let home = parts.home(&identity)?;
    let directory = directory.to_owned();
    let sent = tokio::task::spawn_blocking(move || home.send(&directory, from)).await?;
    close(parts).await.context("the end is not recorded")?;
    Ok(serde_json::to_value(sent?)?)
}

/// Closes what an agent works with, in good order.
async fn close(parts: Parts) -> Result<()> {
    let Parts { active, residents, audit, clock, state, ended, .. } = parts;
    let ended = ended.borrow().clone();
    let ending = tokio::task::spawn_blocking(move || {
        drop(active.replace(None));
        residents.clear();
        clock.persist().map_err(anyhow::Error::new)?;
        match ended {
            Some(ended) => succession::end(&state, &ended),
            None => audit.shutdown("stopped").map_err(anyhow::Error::new),
        }
    });
    ending.await?
}

fn load_identity(state: &StateDir) -> Result<Option<Identity>> {
    if !state.is_enrolled() {
        return Ok(None);
    }
    Identity::load(&state.identity()).map(Some).context("cannot use the device's identity")
}

fn serve_config(state: &StateDir, config: &Config) -> Result<ServeConfig> {
    let tls = match (&config.api.certificate, &config.api.private_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_authorities: config.api.client_certificates.authority.clone(),
        }),
        _ => None,
    };
    Ok(ServeConfig {
        tcp: config.api.address()?,
        unix: config.api.unix_socket.then(|| state.socket()),
        tls,
        hosts: config.api.hosts.clone(),
        origins: config.api.origins.clone(),
        handed: None,
        traces: None,
        limits: Limits { generations: config.model.slots as usize * 4, ..Limits::default() },
    })
}

/// How often it is looked for models that nobody asked for long enough.
const SWEEP: Duration = Duration::from_secs(1);

async fn sweep(residents: Arc<Residents>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => residents.sweep().await,
        }
    }
}

/// How often the time is kept: after a power cut, a clock that was lost or set back takes this device back by no more than this.
const KEEP_TIME: Duration = Duration::from_secs(5 * 60);

async fn keep_time(clock: Clock, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(KEEP_TIME)).await.is_some() {
        let clock = clock.clone();
        match tokio::task::spawn_blocking(move || clock.persist()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the time is not kept"),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// An enrolled device that leaves its fleet alone for now: what it accepted before is in force, and what sticks bring.
async fn resume_alone(reconciler: Reconciler, mut sticks: mpsc::Receiver<HandedIn>, stop: CancellationToken) {
    if reconciler.resume().await.is_none() {
        reconciler.installer.unload().await;
    }
    while let Some(Some(HandedIn { stick, answer })) = stop.run_until_cancelled(sticks.recv()).await {
        // Whoever asked may have left.
        let _ = answer.send(stick.apply(&reconciler).await);
    }
}

fn empty(directory: &Path) -> Result<()> {
    let emptied = std::fs::remove_dir_all(directory).and_then(|()| std::fs::create_dir(directory));
    emptied.with_context(|| format!("cannot empty `{}`", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_pages_are_the_ones_that_may_call() {
        let state = StateDir::locate(Some(Path::new("state"))).unwrap();
        let config = Config::parse("[api]\norigins = [\"https://console.example\"]\n").unwrap();
        assert_eq!(serve_config(&state, &config).unwrap().origins, ["https://console.example"]);
        assert!(serve_config(&state, &Config::default()).unwrap().origins.is_empty());
    }
}
