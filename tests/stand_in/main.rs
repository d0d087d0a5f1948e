//! A build of the agent for stories of updates: it says the version that is written behind it, and is the real agent, or broken in
//! one way.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use outpost_tests::builds::{Does, StandIn};
use rustix::process::{Signal, getpid, kill_process};

fn main() -> Result<ExitCode> {
    let own = std::env::current_exe().context("it does not know its own path")?;
    let told = StandIn::of(&own)?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "self-check") { check(&told) } else { run(&told, arguments) }
}

fn check(told: &StandIn) -> Result<ExitCode> {
    let fault = match told.does {
        Does::NeedsAnotherProcessor => return end_by(Signal::ILL),
        Does::Miscounts => Some("the Q4_0 kernel for avx2 gives other products than its twin"),
        _ => None,
    };
    // All but its name and what is wrong with it is the real agent's, which has to answer wherever it is asked.
    let real = Command::new(&told.real).args(["self-check", "--json"]).stderr(Stdio::inherit()).output()?;
    if !real.status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let mut said: serde_json::Value =
        serde_json::from_slice(&real.stdout).context("the real agent's answer is no JSON")?;
    (said["version"], said["target"]) = (told.version.clone().into(), told.target.clone().into());
    said["fault"] = fault.into();
    writeln!(std::io::stdout(), "{said}")?;
    Ok(ExitCode::from(if fault.is_some() { 4 } else { 0 }))
}

fn run(told: &StandIn, mut arguments: Vec<OsString>) -> Result<ExitCode> {
    match told.does {
        Does::Crashes => return end_by(Signal::SEGV),
        Does::Hangs => loop {
            std::thread::park();
        },
        Does::LosesTheModel => {
            if let Some(place) = arguments.iter().position(|word| word == "--model") {
                arguments[place + 1] = "/nowhere.gguf".into();
            }
        }
        Does::Serves | Does::Miscounts | Does::NeedsAnotherProcessor => {}
    }
    let error = Command::new(&told.real).args(arguments).exec();
    Err(error).context("the real agent cannot be started")
}

fn end_by(signal: Signal) -> Result<ExitCode> {
    kill_process(getpid(), signal)?;
    bail!("it did not end by {signal:?}")
}
