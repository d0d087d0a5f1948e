//! One file per subcommand; here only the hand-over, the exit codes and what goes to standard output.

mod audit;
mod audit_desk;
mod backup;
mod bom;
mod broker;
mod build;
mod bundle;
mod catalogue;
mod command;
mod device;
mod enrolment;
mod hold;
mod inventory;
mod keys;
mod model;
mod on_record;
mod onefile;
#[cfg(test)]
mod page;
mod passphrase;
mod person;
mod policy;
mod rollout;
mod serve;
mod setup;
mod signals;
mod token;
mod user;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use outpost_control::{Clock, Config, ConfigError, Fleet};
use serde::Serialize;

use crate::args::{Catalogue, Cli, Command};

/// Runs one subcommand.
pub(crate) async fn run(cli: Cli) -> ExitCode {
    match dispatch(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn dispatch(cli: Cli) -> Result<()> {
    let json = cli.json;
    let state = cli.state;
    // Only where it is needed: the machine of a holder of offline keys has no fleet.
    let given = state.clone();
    let database = cli.database;
    let config = move || -> Result<Config> {
        let config = Config::load(state_directory(state)?)?;
        Ok(database.into_iter().fold(config, Config::with_database))
    };
    if let Some((act, subject)) = on_record::of(&cli.command) {
        on_record::record(config.clone()()?, act, &subject)?;
    }
    match cli.command {
        Command::Init => setup::init(config()?, json),
        Command::Serve => serve::serve(config()?).await,
        Command::Keys(command) => keys::run(config, command, json),
        Command::Catalogue(Catalogue::Fetch(asked)) => hold::fetch(config()?, asked, json).await,
        Command::Catalogue(command) => catalogue::run(config()?, command, json),
        Command::Build(command) => build::run(config()?, command, json),
        Command::Bom(command) => bom::run(config()?, &command),
        Command::Model(command) => model::run(config()?, command, json),
        Command::Device(command) => device::run(config()?, command, json),
        Command::Group(command) => inventory::group(config()?, command, json),
        Command::Plan(command) => inventory::plan(config()?, command, json),
        Command::Policy(command) => policy::run(config()?, command, json),
        Command::Apply(asked) => onefile::apply(config()?, asked, json),
        Command::Diff(asked) => onefile::diff(config()?, asked, json),
        Command::Export(asked) => onefile::export(config()?, asked, json),
        Command::Rollout(command) => rollout::run(config()?, command, json).await,
        Command::Audit(command) => audit::run(config()?, command, json),
        Command::Events(command) => signals::events(config()?, &command, json),
        Command::Webhook(command) => signals::webhook(config()?, command, json).await,
        Command::Bundle(command) => bundle::run(config()?, command, json),
        Command::Backup(command) => backup::run(config, given, command, json),
        Command::Broker(command) => broker::run(config()?, &command, json),
        Command::User(command) => user::run(config()?, command, json),
        Command::Person(command) => person::run(config()?, command, json),
        Command::Token(command) => token::run(config()?, command, json),
    }
}

fn state_directory(given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) =
        given.or_else(|| std::env::var_os("OUTPOST_CONTROL_STATE").filter(|path| !path.is_empty()).map(PathBuf::from))
    {
        return Ok(path);
    }
    let home =
        std::env::var_os("HOME").context("no state directory: give `--state DIR` or set `OUTPOST_CONTROL_STATE`")?;
    Ok(PathBuf::from(home).join(".local/state/outpost-control"))
}

/// The fleet in the state directory; also while a server runs on it: the server notices what is changed here.
fn open(config: Config) -> Result<Fleet> {
    Ok(Fleet::open(config, Clock::system())?)
}

/// Says on standard error what failed and why.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
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
    ExitCode::from(match error {
        error if error.is::<ConfigError>() || onefile::is_wrong_file(error) => 2,
        error if error.is::<onefile::Differs>() => 3,
        _ => 1,
    })
}

/// Standard output takes no more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct NobodyReads;

/// Writes one line of data to standard output.
fn say(line: impl AsRef<str>) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", line.as_ref()).context(NobodyReads)
}

/// Writes a value as JSON to standard output.
fn say_json(value: &impl Serialize) -> Result<()> {
    say(serde_json::to_string_pretty(value).context("cannot write JSON")?)
}
