//! The agent's end of a template's process: started with nothing but its three streams, asked with patience, ended for sure.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::work;

/// Longest answer, bytes: the longest prompt, each of its bytes escaped.
const ANSWER_BYTES: u64 = 32 << 20;
/// As much of its last words as is looked at, bytes.
const WORDS_BYTES: u64 = 4 << 10;
/// Time that it has for them once it is silent.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    asks: Sender<Vec<u8>>,
    answers: Receiver<Vec<u8>>,
}

/// No answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// None within the time.
    TooLong,
    /// The process ended.
    Ended,
}

/// How a process ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) status: String,
    pub(super) ran_out_of_time: bool,
    /// The beginning of what it wrote on standard error.
    pub(super) said: String,
}

impl Process {
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg(work::WORD)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let streams = child.stdin.take().zip(child.stdout.take());
        let (input, output) = streams.ok_or_else(|| io::Error::other("its streams are missing"))?;
        let (asks, asked) = channel();
        let (answered, answers) = channel();
        let mut process = Self { child, asks, answers };
        let talking =
            std::thread::Builder::new().name("template".into()).spawn(move || talk(input, output, &asked, &answered));
        if let Err(error) = talking {
            process.kill();
            return Err(error);
        }
        Ok(process)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Itself, if it still waits for jobs.
    pub(super) fn if_alive(mut self) -> Option<Self> {
        matches!(self.child.try_wait(), Ok(None)).then_some(self)
    }

    /// Hands a line over and waits for a line.
    pub(super) fn ask(&self, line: Vec<u8>, patience: Duration) -> Result<Vec<u8>, Silence> {
        self.asks.send(line).map_err(|_| Silence::Ended)?;
        self.answers.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => Silence::TooLong,
            RecvTimeoutError::Disconnected => Silence::Ended,
        })
    }

    /// Makes sure that it has ended, and says how it did.
    pub(super) fn end(mut self) -> End {
        // Its output is closed, so it is about to end; one that only closed its output lives no longer either.
        let began = Instant::now();
        let mut status = None;
        while status.is_none() && began.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(2));
            status = self.child.try_wait().ok().flatten();
        }
        self.kill();
        let mut said = Vec::new();
        if let Some(words) = self.child.stderr.take() {
            // What cannot be read was not said.
            words.take(WORDS_BYTES).read_to_end(&mut said).ok();
        }
        End {
            status: status.map_or_else(|| "no status of its own".into(), |status| status.to_string()),
            ran_out_of_time: status.and_then(|status| status.signal()) == Some(Signal::XCPU.as_raw()),
            said: String::from_utf8_lossy(&said).into_owned(),
        }
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The life of the thread that talks with the process; ends, and with it the answers, when the process does.
fn talk(mut input: ChildStdin, output: ChildStdout, asked: &Receiver<Vec<u8>>, answered: &Sender<Vec<u8>>) {
    let mut output = BufReader::new(output);
    while let Ok(line) = asked.recv() {
        if input.write_all(&line).and_then(|()| input.flush()).is_err() {
            return;
        }
        let mut answer = Vec::new();
        let whole = (&mut output).take(ANSWER_BYTES).read_until(b'\n', &mut answer).is_ok() && answer.ends_with(b"\n");
        if !whole || answered.send(answer).is_err() {
            return;
        }
    }
}
