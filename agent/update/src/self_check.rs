//! A build proves itself as a child that is given nothing: no environment, no input, no state directory.
//!
//! `FILE self-check --json` says what it is and whether its kernels give on this processor what they must.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::Refused;
use crate::build::{OWN_TARGET, OWN_VERSION};
use crate::format::FORMAT;

/// The command by which a program checks itself.
pub const SELF_CHECK: &str = "self-check";

/// Most bytes of an answer that are read.
const ANSWER_BYTES: u64 = 64 * 1024;
/// As much of its words as is passed on, characters.
const WORDS: usize = 300;
const PAUSE: Duration = Duration::from_millis(10);
/// A file that was just written may still be open for writing in a child that another thread is starting.
const BUSY_TRIES: u32 = 100;

/// What a build says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfCheck {
    /// Its version.
    pub version: String,
    /// Its target.
    pub target: String,
    /// The newest format of a state directory that it reads.
    pub state_format: u32,
    /// The sets of kernels that it can run on this processor, the best first.
    #[serde(default)]
    pub kernels: Vec<String>,
    /// What does not work here; nothing if all does.
    #[serde(default)]
    pub fault: Option<String>,
}

impl SelfCheck {
    /// What the running build says, once it has checked its kernels.
    #[must_use]
    pub fn of_this_build(kernels: Vec<String>, fault: Option<String>) -> Self {
        Self { version: OWN_VERSION.to_owned(), target: OWN_TARGET.to_owned(), state_format: FORMAT, kernels, fault }
    }
}

/// Has a file check itself.
pub(crate) fn ask(file: &Path, patience: Duration) -> Result<SelfCheck, Refused> {
    let failed = |because: String| Refused::SelfCheck { because };
    let child = start(file).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Refused::MayNotRun { because: error.to_string() },
        io::ErrorKind::NotFound => failed("its loader is not on this box: it was built for another system".to_owned()),
        _ => failed(format!("it cannot be started: {error}")),
    })?;
    let (status, answer, words) = follow(child, patience).map_err(|error| failed(error.to_string()))?;
    let Some(status) = status else {
        return Err(failed(format!("it said nothing for {} s", patience.as_secs())));
    };
    if status.signal() == Some(Signal::ILL.as_raw()) {
        return Err(Refused::LacksKernel);
    }
    let said: Option<SelfCheck> = serde_json::from_slice(&answer).ok();
    match said {
        Some(SelfCheck { fault: Some(fault), .. }) => Err(failed(shortened(&fault))),
        Some(said) if status.success() => Ok(said),
        _ if words.is_empty() => Err(failed(format!("it ended with {status}"))),
        _ => Err(failed(format!("it ended with {status}: {}", shortened(&words)))),
    }
}

fn start(file: &Path) -> io::Result<Child> {
    let mut tries = 0;
    loop {
        let started = Command::new(file)
            .args([SELF_CHECK, "--json"])
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match started {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            started => return started,
        }
    }
}

/// Its end, its answer and its words; no end if it had to be ended.
fn follow(mut child: Child, patience: Duration) -> io::Result<(Option<ExitStatus>, Vec<u8>, String)> {
    let streams = child.stdout.take().zip(child.stderr.take());
    let (output, words) = streams.ok_or_else(|| io::Error::other("its streams are missing"))?;
    let (output, words) = (std::thread::spawn(move || read(output)), std::thread::spawn(move || read(words)));
    let began = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if began.elapsed() < patience => std::thread::sleep(PAUSE),
            None => break None,
        }
    };
    // What it started itself ends with it; there may be nothing left to end.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kill_process_group(group, Signal::KILL).ok();
    }
    if status.is_none() {
        child.wait()?;
    }
    let broken = |_| io::Error::other("its streams cannot be read");
    let (answer, words) = (output.join().map_err(broken)?, words.join().map_err(broken)?);
    Ok((status, answer, String::from_utf8_lossy(&words).trim().to_owned()))
}

/// As much as is of use; the rest is read and forgotten, so that nobody waits for a full pipe.
fn read(mut stream: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    // What cannot be read was not said.
    stream.by_ref().take(ANSWER_BYTES).read_to_end(&mut kept).ok();
    io::copy(&mut stream, &mut io::sink()).ok();
    kept
}

/// One line without what could move a terminal's cursor.
fn shortened(words: &str) -> String {
    let line: String = words.chars().map(|one| if one.is_control() { ' ' } else { one }).take(WORDS).collect();
    line.trim().to_owned()
}
