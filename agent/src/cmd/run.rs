//! `outpost run`: the agent, until a signal asks it to stop.

use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use outpost_supervisor::Supervisor;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Here, Outcome};
use crate::app::{Agent, Overrides};
use crate::args::Run;
use crate::config::Config;
use crate::logging;
use crate::progress::Progress;

/// Runs the command.
pub(super) async fn run(here: &Here, arguments: Run, socket: Option<UnixListener>) -> Result<Outcome> {
    let supervisor = Supervisor::of_environment();
    here.state.prepare()?;
    let mut config = Config::load_or_create(&here.state.config())?;
    if let Some(listen) = arguments.listen {
        config.api.listen = listen;
        config.api.address()?;
    }
    let logs = logging::start(&config.logs, &here.state)?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let overrides = Overrides { model: arguments.model, socket: socket.map(Arc::new), ..Overrides::default() };
    // Looked up now: the file may have been replaced by the time it is started again.
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    loop {
        let agent = Agent::start(here.state.clone(), config.clone(), overrides.clone()).await?;
        supervisor.ready("the local API answers");
        let ended = follow(here, &agent, &mut terminate, &mut interrupt, supervisor).await;
        tracing::info!("stopping: answers in progress get their time");
        if ended == End::Stop {
            supervisor.stopping();
        }
        agent.stop().await;
        match ended {
            End::Stop => return Ok(Outcome::Done),
            End::NewLog => {}
            End::Restart if supervisor.is_present() => {
                tracing::info!("ending, to be started again as an operator of the fleet asked");
                return Ok(Outcome::Done);
            }
            End::Restart => {
                tracing::info!("starting again, as an operator of the fleet asked");
                drop(logs);
                return Err(start_again(&program));
            }
        }
    }
}

/// Why the agent is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A signal asked for it.
    Stop,
    /// It is to begin a new audit log.
    NewLog,
    /// An operator of the fleet asked that the program starts again.
    Restart,
}

/// Takes the place of this process by the program as it lies on the disk now: the same process id, so that it works under any
/// supervisor and under none. Comes back only if that fails.
fn start_again(program: &Path) -> anyhow::Error {
    let error = Command::new(program).args(std::env::args_os().skip(1)).exec();
    anyhow::Error::new(error).context(format!("cannot start `{}` again", program.display()))
}

/// Tells what happens until the agent is to stop.
async fn follow(
    here: &Here,
    agent: &Agent,
    terminate: &mut Signal,
    interrupt: &mut Signal,
    supervisor: Supervisor,
) -> End {
    let found = agent.boot_report();
    tracing::info!(previous = ?found.previous, aborted = found.aborted.len(), records = found.records, "the audit log is open");
    match agent.address() {
        Some(address) => tracing::info!(%address, "the local API answers"),
        None => tracing::info!(socket = %here.state.socket().display(), "the local API answers"),
    }
    let mut progress = agent.progress();
    let mut heartbeat = tokio::time::interval(supervisor.heartbeat());
    loop {
        tokio::select! {
            _ = terminate.recv() => return End::Stop,
            _ = interrupt.recv() => return End::Stop,
            () = agent.restart_asked() => return End::Restart,
            why = agent.log_ended() => {
                tracing::error!(why, "the audit log must not go on: the agent starts again with a new one");
                return End::NewLog;
            }
            _ = heartbeat.tick() => supervisor.well(),
            happened = progress.recv() => {
                if let Ok(happened) = happened {
                    tell(&happened);
                }
            }
        }
    }
}

/// The operations log's words for what happened.
fn tell(happened: &Progress) {
    match happened {
        Progress::Planned { table, chosen } => tracing::info!(chosen, "planned\n{table}"),
        Progress::Pulling { done, total } => tracing::debug!(done, total, "pulling"),
        Progress::Brought { source, bytes } => tracing::info!(source, bytes, "a source brought chunks"),
        Progress::Refused(reason) => tracing::warn!(reason, "refused"),
        Progress::Serving { model, variant, tokens_per_second_milli } => {
            tracing::info!(model, variant, tokens_per_second = tokens_per_second_milli / 1000, "serving");
        }
        Progress::Disconnected(reason) => tracing::info!(reason, "the control plane is out of reach"),
        Progress::Connected => tracing::info!("the control plane is within reach"),
        Progress::Accepted(version) => tracing::info!(version, "a desired state was accepted"),
        Progress::Policy(version) => tracing::info!(version, "a policy bundle is in force"),
        Progress::Reported(sequence) => tracing::debug!(sequence, "reported"),
        Progress::Listening(_) => {}
    }
}
