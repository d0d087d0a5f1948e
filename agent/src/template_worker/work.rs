//! The other end: what the process does that a template runs in.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use outpost_engine::template::{Compiled, TemplateError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::{Answer, Ask, Limits};

/// The word that starts this program as a template's process. Not a command for people, so it is in no help.
pub(super) const WORD: &str = "template-worker";

/// Longest ask, bytes: above any request body that is accepted.
const ASK_BYTES: u64 = 64 << 20;

/// Does a template's work, if this process was started for it: to be called first of all, before anything is opened.
#[must_use]
pub fn work_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != WORD || arguments.next().is_some() {
        return None;
    }
    Some(match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The agent reads it; without an agent nobody does.
            writeln!(io::stderr(), "{error}").ok();
            ExitCode::FAILURE
        }
    })
}

fn work() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let Some(Ask::Begin { limits, source }) = read(&mut input)? else {
        return Err(io::Error::other("it is started by the agent, to run a model's chat template"));
    };
    restrict(limits)?;
    let compiled = Compiled::new(&source);
    answer(&mut output, &compiled.as_ref().map(|_| String::new()).map_err(Clone::clone))?;
    let Ok(compiled) = compiled else { return Ok(()) };
    while let Some(ask) = read(&mut input)? {
        let Ask::Run(job) = ask else { return Err(io::Error::other("it was begun twice")) };
        allow_processor_time(limits)?;
        answer(&mut output, &compiled.run(&job))?;
    }
    Ok(())
}

/// The next ask; none when the agent is done or gone.
fn read(input: &mut impl BufRead) -> io::Result<Option<Ask>> {
    let mut line = Vec::new();
    input.take(ASK_BYTES).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| io::Error::other(format!("an ask cannot be read: {error}")))
}

fn answer(output: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec::<Result<String, TemplateError>>(answer)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

/// Takes from this process what it does not need. All that it says goes through streams that are already open.
fn restrict(limits: Limits) -> io::Result<()> {
    let only = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    setrlimit(Resource::As, only(limits.memory_bytes))?;
    setrlimit(Resource::Core, only(0))?;
    setrlimit(Resource::Fsize, only(0))?;
    setrlimit(Resource::Nofile, only(3))?;
    allow_processor_time(limits)
}

/// Processor time is counted from the process's start, so each job moves the limit on.
fn allow_processor_time(limits: Limits) -> io::Result<()> {
    let used_s = u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or(0);
    let limit = Rlimit { current: Some(used_s + 1 + limits.processor_s), ..getrlimit(Resource::Cpu) };
    Ok(setrlimit(Resource::Cpu, limit)?)
}
