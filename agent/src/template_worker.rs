//! A model's chat template at work in a process of its own, because it is code from a stranger.
//!
//! The engine bounds a template's steps, output and data; this bounds what is left: a source that nests too deeply to be
//! compiled, a flaw of the template machine. The process is this very program, started anew with one word
//! ([`work_if_asked`]); it limits its own memory and time, may open and write no files, and gets its jobs line by line. It
//! lives as long as its model serves; when it ends, the request that ended it gets an error that says why, and the next one
//! starts another. Where none can be started nothing is rendered.

mod process;
mod work;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use outpost_engine::template::{Job, TemplateError};
use serde::{Deserialize, Serialize};
pub use work::work_if_asked;

use process::{Process, Silence};

/// What one template may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the process: its whole address space, bytes.
    pub memory_bytes: u64,
    /// Processor time of one job, seconds.
    pub processor_s: u64,
    /// Time until one job's answer.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, processor_s: 5, patience: Duration::from_secs(10) }
    }
}

/// What the process is asked, one per line.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// First: how it limits itself, and what it compiles.
    Begin { limits: Limits, source: String },
    /// Then: what it renders.
    Run(Box<Job>),
}

/// What it answers, one per line: nothing to [`Ask::Begin`], the text to [`Ask::Run`].
type Answer = Result<String, TemplateError>;

/// Why nothing was rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template's own fault, or the conversation's.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// There is no process.
    #[error("the model's chat template cannot be run: `{program}` does not start; restart the agent if it was updated")]
    NotStarted {
        /// What was to be started.
        program: PathBuf,
        /// Why it does not start.
        source: std::io::Error,
    },
    /// More memory than it may have.
    #[error("the model's chat template needed more than {mib} MiB of memory; use a model whose template is sound")]
    Memory {
        /// What it may have.
        mib: u64,
    },
    /// A source too deep to be compiled.
    #[error("the model's chat template is nested too deeply to be used; use a model whose template is sound")]
    TooDeep,
    /// More time than it may have.
    #[error("the model's chat template took longer than {seconds} s; use a model whose template is sound")]
    Slow {
        /// What it may have.
        seconds: u64,
    },
    /// Anything else that ended the process, or an answer that cannot be read.
    #[error("the process that runs the model's chat template failed: {because}")]
    Broken {
        /// What is known.
        because: String,
    },
}

/// One model's template and the process that runs it.
#[derive(Debug)]
pub struct TemplateWorker {
    program: PathBuf,
    source: String,
    limits: Limits,
    process: Mutex<Option<Process>>,
}

impl TemplateWorker {
    /// Starts a process and lets it compile the template; `program` is one that begins with [`work_if_asked`].
    ///
    /// # Errors
    /// If it does not start or the template does not compile within its limits.
    pub fn start(program: PathBuf, source: &str, limits: Limits) -> Result<Self, RenderError> {
        let worker = Self { program, source: source.to_owned(), limits, process: Mutex::default() };
        let process = worker.begin()?;
        *worker.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(worker)
    }

    /// Renders one job. Blocks until the answer is there, at most for the worker's patience; jobs wait for each other.
    ///
    /// # Errors
    /// The template's own, or what ended the process; the next job starts another.
    pub fn run(&self, job: &Job) -> Result<String, RenderError> {
        let mut place = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        // One that ended between two jobs is nobody's fault here.
        let alive = place.take().and_then(Process::if_alive);
        let process = alive.map_or_else(|| self.begin(), Ok)?;
        let (process, answer) = self.ask(process, &Ask::Run(Box::new(job.clone())))?;
        *place = Some(process);
        Ok(answer?)
    }

    /// The process's number, for whoever watches it.
    pub fn id(&self) -> Option<u32> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Process::id)
    }

    fn begin(&self) -> Result<Process, RenderError> {
        let process = Process::start(&self.program)
            .map_err(|source| RenderError::NotStarted { program: self.program.clone(), source })?;
        let (process, answer) = self.ask(process, &Ask::Begin { limits: self.limits, source: self.source.clone() })?;
        answer?;
        Ok(process)
    }

    /// Gives the process back with its answer, unless it ended or had to be ended.
    fn ask(&self, process: Process, ask: &Ask) -> Result<(Process, Answer), RenderError> {
        let broken = |because: String| RenderError::Broken { because };
        let mut line = serde_json::to_vec(ask).map_err(|error| broken(error.to_string()))?;
        line.push(b'\n');
        match process.ask(line, self.limits.patience) {
            Ok(answer) => match serde_json::from_slice(&answer) {
                Ok(answer) => Ok((process, answer)),
                Err(error) => Err(broken(format!("its answer cannot be read: {error}"))),
            },
            Err(Silence::TooLong) => Err(RenderError::Slow { seconds: self.limits.patience.as_secs() }),
            Err(Silence::Ended) => Err(self.obituary(process)),
        }
    }

    /// Why the process ended, as far as it left word.
    fn obituary(&self, process: Process) -> RenderError {
        let end = process.end();
        if end.said.contains("memory allocation of") || end.said.contains("cannot allocate memory") {
            RenderError::Memory { mib: self.limits.memory_bytes >> 20 }
        } else if end.said.contains("overflowed its stack") {
            RenderError::TooDeep
        } else if end.ran_out_of_time {
            RenderError::Slow { seconds: self.limits.processor_s }
        } else {
            let last = end.said.lines().next().unwrap_or("it said nothing");
            RenderError::Broken { because: format!("it ended with {}: {last}", end.status) }
        }
    }
}
