//! `outpost run`: the agent, until a signal asks it to stop.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use outpost_supervisor::Supervisor;
use outpost_update::Builds;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Brought, Here, Outcome};
use crate::app::{Agent, Overrides};
use crate::args::Run;
use crate::client::Client;
use crate::config::Config;
use crate::logging;
use crate::progress::Progress;
use crate::trial::{self, Trial};

/// Runs the command.
pub(super) async fn run(here: &Here, arguments: Run, brought: Brought) -> Result<Outcome> {
    let supervisor = Supervisor::of_environment();
    let builds = Builds::at(here.state.root());
    // Looked up now: the file may have been replaced by the time it is started again.
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let ended = serve(here, arguments, brought, supervisor).await;
    let error = match ended {
        Ok(End::Restart) if supervisor.is_present() => {
            tracing::info!("ending, to be started again as was asked");
            return Ok(Outcome::Done);
        }
        Ok(End::Restart) => {
            tracing::info!("starting again, as was asked");
            return Err(start_again(&builds, &program));
        }
        Ok(End::Stop | End::NewLog) => return Ok(Outcome::Done),
        Ok(End::Unfit(error)) | Err(error) => error,
    };
    // A build on trial leaves word why it ends; who started it starts what is chosen then, and without anybody it does so itself.
    if is_on_trial(&builds) {
        builds
            .failed(&format!("{error:#}"), trial::lacked_link(&error))
            .context("why this build ends cannot be written down")?;
        if !supervisor.is_present() {
            tracing::error!(error = format!("{error:#}"), "this build is not healthy: starting again");
            return Err(start_again(&builds, &program));
        }
        return Err(error.context("this build is not healthy"));
    }
    Err(error)
}

/// Runs agents until the process is to end.
async fn serve(here: &Here, arguments: Run, brought: Brought, supervisor: Supervisor) -> Result<End> {
    here.state.prepare()?;
    let mut config = Config::load_or_create(&here.state.config())?;
    if let Some(listen) = arguments.listen {
        config.api.listen = listen;
        config.api.address()?;
    }
    let _logs = logging::start(&config.logs, &here.state)?;
    for note in &brought.launched.notes {
        tracing::warn!(note, "found while it was chosen which build runs");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let socket = brought.socket.map(Arc::new);
    let overrides = Overrides { model: arguments.model, socket, ..Overrides::default() };
    loop {
        let agent = Agent::start(here.state.clone(), config.clone(), overrides.clone()).await?;
        let trial = match Trial::begin(&agent).await {
            Ok(trial) => trial,
            Err(error) => {
                agent.stop().await;
                return Err(error);
            }
        };
        supervisor.ready("the local API answers");
        let client = config.api.unix_socket.then(|| here.client());
        let ended = {
            let proving = prove(trial.as_ref(), &agent, client.as_ref());
            let following = follow(here, &agent, &mut terminate, &mut interrupt, supervisor);
            tokio::select! {
                unfit = proving => End::Unfit(unfit),
                ended = following => ended,
            }
        };
        tracing::info!("stopping: answers in progress get their time");
        if let End::Stop = ended {
            supervisor.stopping();
            if let Some(trial) = &trial {
                trial.is_stopped();
            }
        }
        agent.stop().await;
        if !matches!(ended, End::NewLog) {
            return Ok(ended);
        }
    }
}

/// Comes back only if this build is on trial and not healthy: says why.
async fn prove(trial: Option<&Trial>, agent: &Agent, client: Option<&Client>) -> anyhow::Error {
    if let Some(trial) = trial
        && let Err(error) = trial.prove(agent, client).await
    {
        return error;
    }
    std::future::pending().await
}

/// Why the agent is to stop.
#[derive(Debug)]
enum End {
    /// A signal asked for it.
    Stop,
    /// It is to begin a new audit log.
    NewLog,
    /// The program is to start again: an operator of the fleet asked for it, or another build is chosen.
    Restart,
    /// It is on trial and not healthy.
    Unfit(anyhow::Error),
}

/// Takes the place of this process by the program as it lies on the disk now: the same process id, so that it works under any
/// supervisor and under none. Comes back only if that fails.
fn start_again(builds: &Builds, program: &Path) -> anyhow::Error {
    let error = builds.start_again(program);
    anyhow::Error::new(error).context(format!("cannot start `{}` again", program.display()))
}

/// Whether this process is a build that has not been confirmed. What cannot be read is no trial to be told of.
fn is_on_trial(builds: &Builds) -> bool {
    builds.trial().is_ok_and(|trial| trial.is_some())
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
