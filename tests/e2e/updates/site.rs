//! One box whose agent is started again whenever it ends, as a supervisor does.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::client::Client;
use outpost_tests::process::{binary, demo_model, eventually, free_port, last_lines, output};
use outpost_tests::question::{ask, client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A debug build starts, a trial is survived, another runs in its place.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Hands what is its standard input on as the third file, as a supervisor does, and says whom it is for.
const HAND_OVER: &str = r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#;

/// Its state directory, its way in, and the key of whoever asks.
pub(super) struct Site {
    folder: tempfile::TempDir,
    pub(super) outpost: PathBuf,
    port: u16,
    key: String,
}

impl Site {
    /// A box with nothing on it but a key; builds are tried for a second.
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let outpost = binary("outpost")?;
        let mut site = Self { folder, outpost, port: free_port()?, key: String::new() };
        let created = site.say(&["--json", "key", "create", "--name", "till", "--role", "operator"])?;
        let created: Value = serde_json::from_str(&created)?;
        site.key = created["key"].as_str().context("the new key is shown")?.to_owned();
        std::fs::write(site.state().join("outpost.toml"), "[update]\ntrial_seconds = 1\n")?;
        Ok(site)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A command of this box that must succeed: what it says.
    pub(super) fn say(&self, arguments: &[&str]) -> Result<String> {
        let state = self.state();
        let state = state.to_str().context("the path is UTF-8")?;
        output(&self.outpost, &[&["--state", state], arguments].concat())
    }

    /// Any command of this box.
    pub(super) fn try_to(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.outpost);
        command.arg("--state").arg(self.state()).args(arguments).stdin(Stdio::null());
        command.output().context("it cannot be started")
    }

    /// What starts the agent.
    pub(super) fn run(&self) -> Vec<String> {
        let (state, model) = (self.state(), demo_model());
        let words = ["--state".into(), state.display().to_string(), "run".into(), "--model".into()];
        let more = [model.display().to_string(), "--listen".into(), format!("127.0.0.1:{}", self.port)];
        words.into_iter().chain(more).collect()
    }

    /// Waits until a question is answered.
    pub(super) async fn answers(&self, when: &str) -> Result<()> {
        let (http, base) = (client(), format!("http://127.0.0.1:{}", self.port));
        let answered = || async {
            let reply = ask(&http, &base, Some(&self.key), "How does a device enrol?").await;
            reply.is_ok_and(|reply| reply.complete && !reply.text.is_empty())
        };
        let waited = eventually(&format!("an answer {when}"), PATIENCE, answered).await;
        waited.with_context(|| last_lines(&self.state().join("logs"), 30))
    }

    /// What the agent says of its builds, if one runs.
    pub(super) async fn standing(&self) -> Option<Value> {
        let client = Client::new(&self.state().join("outpost.sock"));
        let status = client.get("/outpost/status").await.ok()?;
        Some(status["agent"]["build"].clone())
    }

    /// Waits until it says so; gives all that it says.
    pub(super) async fn stands(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = || async { self.standing().await.is_some_and(|standing| is_so(&standing)) };
        let waited = eventually(what, PATIENCE, found).await;
        waited.with_context(|| last_lines(&self.state().join("logs"), 30))?;
        self.standing().await.context("it is gone again")
    }

    /// The audit log verifies, whoever writes in it.
    pub(super) fn verifies(&self) -> Result<()> {
        let report: Value = serde_json::from_str(&self.say(&["--json", "audit", "verify"])?)?;
        ensure!(report["problems"].as_array().is_some_and(Vec::is_empty), "the log does not verify: {report}");
        Ok(())
    }

    /// Records of one kind.
    pub(super) fn records(&self, kind: &str) -> Result<Vec<Value>> {
        let audit = self.state().join("audit");
        let audit = audit.to_str().context("the path is UTF-8")?;
        let shown = self.say(&["--json", "audit", "show", audit, "--kind", kind, "--last", "1000"])?;
        Ok(serde_json::from_str(&shown)?)
    }
}

/// An agent under a supervisor that hears its notices, hands it a socket, and starts it again.
pub(super) struct Kept {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Where callers wait, whether or not an agent runs.
    pub(super) socket: PathBuf,
}

impl Kept {
    pub(super) fn start(site: &Site) -> Result<Self> {
        let (socket, notices) = (site.folder().join("outpost.sock"), site.folder().join("notices"));
        let listener = UnixListener::bind(&socket)?;
        let heard = UnixDatagram::bind(&notices)?;
        heard.set_read_timeout(Some(Duration::from_millis(100)))?;
        let over = Arc::new(AtomicBool::new(false));
        let (ends, outpost, arguments) = (Arc::clone(&over), site.outpost.clone(), site.run());
        let keeper = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let mut command = Command::new("sh");
                command.args(["-c", HAND_OVER]).arg(&outpost).args(&arguments).env("NOTIFY_SOCKET", &notices);
                let Ok(input) = listener.try_clone() else { return };
                command.stdin(OwnedFd::from(input)).stdout(Stdio::null()).stderr(Stdio::null());
                let Ok(mut agent) = command.spawn() else { return };
                while matches!(agent.try_wait(), Ok(None)) {
                    if ends.load(Ordering::Relaxed) {
                        let number = i32::try_from(agent.id()).ok().and_then(Pid::from_raw);
                        number.map(|number| kill_process(number, Signal::TERM));
                        agent.wait().ok();
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        let ends = Arc::clone(&over);
        let hearer = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                heard.recv(&mut [0; 4096]).ok();
            }
        });
        Ok(Self { over, threads: vec![keeper, hearer], socket })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}
