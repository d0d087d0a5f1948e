//! Real programs as child processes: found, started, waited for, killed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The binary of this build, beside the running test or program.
///
/// # Errors
/// If it was not built: says how to build it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own path")?;
    let found = own.ancestors().skip(1).take(3).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("`{name}` is not built beside `{}`; run `cargo build --bins` first", own.display()))
}

/// The committed demo model.
#[must_use]
pub fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/outpost-demo-f16.gguf")
}

/// Ports below the range from which systems take the local ports of connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A loopback port that was free a moment ago, that no other call of this process gets, and that no connection takes by
/// chance: a program that was killed finds it free when it is started again.
///
/// # Errors
/// If the machine has none.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Several processes begin at different places.
    let first = std::process::id().wrapping_mul(7919);
    for _ in 0..count {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + u16::try_from(number)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no loopback port of {PORTS:?} is free")
}

/// Runs a program to its end and gives its standard output.
///
/// # Errors
/// If it cannot be started or fails; with what it said on standard error.
pub fn output(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start `{}`", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{} {}` ended with {}: {said}", program.display(), arguments.join(" "), output.status);
    }
    String::from_utf8(output.stdout).context("its output is not UTF-8")
}

/// A child process that is killed, without a chance to tidy up, when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program in the background, its log lines thrown away.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self::spawn(&mut command)
    }

    /// Starts a program as the command says.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Where it reads from, if its command says that this is written here.
    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, then waits until the kernel has let go of it.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// The exit code, if it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten().map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of every log file in a folder, for the message of a test that failed.
#[must_use]
pub fn last_lines(folder: &Path, count: usize) -> String {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let ends = texts.map(|text| {
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    });
    ends.collect::<Vec<_>>().join("\n")
}

/// Asks `ready` until it says yes.
///
/// # Errors
/// If it does not within `patience`; names what was waited for.
pub async fn eventually<F: Future<Output = bool>>(what: &str, patience: Duration, ready: impl Fn() -> F) -> Result<()> {
    let started = Instant::now();
    while !ready().await {
        if started.elapsed() > patience {
            bail!("waited {} s for {what}", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
