//! Real programs as child processes: found, started, waited for, killed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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

/// A loopback port that was free a moment ago.
///
/// # Errors
/// If the machine has none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free loopback port")?;
    Ok(listener.local_addr()?.port())
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
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        Ok(Self { child })
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
