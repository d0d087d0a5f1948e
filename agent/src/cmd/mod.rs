//! One file per subcommand; here only the hand-over and the exit codes.

mod audit;
mod bar;
mod bundle;
mod chat;
mod content;
mod enroll;
mod govern;
mod key;
mod link;
mod model;
mod plan;
mod policy;
mod probe;
mod run;
mod seal;
mod self_check;
mod status;
mod tune;
mod update;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use anyhow::{Context, Result};
use outpost_audit::{AuditLog, BootInfo, Record};
use outpost_disk::{Clock, StateLock};
use outpost_update::Launched;
use serde::Serialize;

use crate::args::{BreakGlass, Cli, Command, Lock};
use crate::client::{Client, NoAgent};
use crate::keys;
use crate::state::StateDir;

/// What a subcommand ended with, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All done: exit code 0.
    Done,
    /// A verification found a problem: exit code 4.
    ProblemFound,
}

/// What every subcommand gets.
#[derive(Debug)]
pub(crate) struct Here {
    /// Where the agent's state is.
    pub(crate) state: StateDir,
    /// Answer in JSON.
    pub(crate) json: bool,
}

impl Here {
    /// The way to the running agent.
    fn client(&self) -> Client {
        Client::new(&self.state.way_in())
    }

    /// Records an act of the command line. While an agent runs, the log is its own: it sees changed keys by itself, and a
    /// device is enrolled before its agent runs.
    fn record(&self, clock: &Clock, record: Record) -> Result<()> {
        match StateLock::acquire(self.state.root()) {
            Ok(lock) => self.record_alone(&lock, clock, record),
            Err(_) => Ok(()),
        }
    }

    /// Records an act in the log that nobody else can be writing.
    fn record_alone(&self, _lock: &StateLock, clock: &Clock, record: Record) -> Result<()> {
        let info =
            BootInfo { agent: env!("CARGO_PKG_VERSION").into(), device: "command-line".into(), clock: clock.clone() };
        let opened = AuditLog::open(&self.state.audit(), keys::log_identity(&self.state)?, info);
        let (log, _) = opened.context("the audit log cannot be opened")?;
        log.append(record).wait().context("the act could not be recorded")?;
        log.shutdown("command done").context("the audit log cannot be closed")
    }
}

/// What the process brought with it when it started.
#[derive(Debug, Default)]
pub struct Brought {
    /// What a supervisor opened for the agent.
    pub socket: Option<UnixListener>,
    /// How this build came to be the agent.
    pub launched: Launched,
}

/// Makes this process the build that the state directory has chosen, if it is to be the agent: then this may not return. To be
/// called before anything is opened.
///
/// # Errors
/// If the user has no state directory, or another agent runs on it.
pub fn launch(cli: &Cli) -> Result<Launched> {
    match &cli.command {
        Command::Run(_) => {
            let state = StateDir::locate(cli.state.as_deref())?;
            // Before anything of it is run: not what another account put there.
            state.is_own()?;
            Ok(outpost_update::launch(state.root())?)
        }
        _ => Ok(Launched::default()),
    }
}

/// Runs one subcommand.
pub async fn run(cli: Cli, brought: Brought) -> ExitCode {
    match dispatch(cli, brought).await {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::ProblemFound) => ExitCode::from(4),
        Err(error) => fail(&error),
    }
}

async fn dispatch(cli: Cli, brought: Brought) -> Result<Outcome> {
    // Asked by the agent that would be replaced, from nowhere and without an environment: it has no state directory to look for.
    if let Command::SelfCheck = cli.command {
        return self_check::run(cli.json);
    }
    let context = Here { state: StateDir::locate(cli.state.as_deref())?, json: cli.json };
    match cli.command {
        Command::Run(arguments) => run::run(&context, arguments, brought).await,
        Command::Enroll(arguments) => enroll::run(&context, arguments).await,
        Command::Probe(arguments) => probe::run(&context, &arguments),
        Command::Plan(arguments) => plan::run(&context, &arguments).await,
        Command::Tune(arguments) => tune::run(&context, *arguments).await,
        Command::Status => status::run(&context).await,
        Command::Chat(arguments) => chat::run(&context, arguments).await,
        Command::Key(command) => key::run(&context, command),
        Command::Model(command) => model::run(&context, command).await,
        Command::Update(command) => update::run(&context, command).await,
        Command::SelfCheck => self_check::run(context.json),
        Command::Audit(command) => audit::run(&context, command).await,
        Command::Policy(command) => policy::run(&context, command).await,
        Command::Lock(Lock::Apply { document }) => govern::apply_locks(&context, &document).await,
        Command::BreakGlass(BreakGlass::Open { document }) => govern::open_override(&context, &document).await,
        Command::BreakGlass(BreakGlass::Close) => govern::close_override(&context).await,
        Command::Seal(command) => seal::run(&context, command),
        Command::Link(command) => link::run(&context, command).await,
        Command::Bundle(command) => bundle::run(&context, command).await,
    }
}

/// Says on standard error what failed and why, and gives the exit code of its family.
#[must_use]
pub fn fail(error: &anyhow::Error) -> ExitCode {
    let is_broken_pipe = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    if error.is::<NobodyReads>() && error.root_cause().downcast_ref().is_some_and(is_broken_pipe) {
        // As whoever is ended by that signal.
        return ExitCode::from(141);
    }
    let mut standard_error = std::io::stderr().lock();
    let mut said = error.to_string();
    // Nothing is left to do if standard error itself is gone.
    writeln!(standard_error, "error: {said}").ok();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many messages name their cause themselves: nobody is told it twice.
        if !said.contains(&cause) {
            writeln!(standard_error, "  because: {cause}").ok();
        }
        said = cause;
    }
    let code = if error.is::<NoAgent>() {
        5
    } else if error.is::<crate::config::InvalidConfig>() {
        2
    } else {
        1
    };
    ExitCode::from(code)
}

/// Standard output takes no more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct NobodyReads;

/// Writes one line of data to standard output.
pub(crate) fn say(line: impl AsRef<str>) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", line.as_ref()).context(NobodyReads)
}

/// Writes text to standard output as it is, at once.
pub(crate) fn say_part(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).context(NobodyReads)
}

/// Writes a value as JSON to standard output.
pub(crate) fn say_json(value: &impl Serialize) -> Result<()> {
    say(serde_json::to_string_pretty(value).context("cannot write JSON")?)
}
