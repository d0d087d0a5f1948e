//! A supervisor such as systemd starts the agent: it hears that it is ready, well and stopping, and callers wait in its socket.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outpost_agent::client::Client;
use outpost_tests::process::binary;

const PATIENCE: Duration = Duration::from_secs(60);

/// Answered by an agent without a model, too.
const QUESTION: &str = "/outpost/status";

/// Hands what is its standard input on as the third file, as a supervisor does, and says whom it is for.
const HAND_OVER: &str = r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#;

/// Kills the agent if the story ends early.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(folder: &Path, socket: &UnixListener) -> Result<Agent> {
    let child = Command::new("sh")
        .args(["-c", HAND_OVER])
        .arg(binary("outpost")?)
        .args(["run", "--listen", "127.0.0.1:0", "--state"])
        .arg(folder.join("state"))
        .env("NOTIFY_SOCKET", folder.join("notices"))
        .env("WATCHDOG_USEC", "2000000")
        .stdin(OwnedFd::from(socket.try_clone()?))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.map(Agent).context("the agent cannot be started")
}

/// Waits for a notice that has this line.
fn hear(notices: &UnixDatagram, line: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        notices.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut notice = [0; 4096];
        let Ok(length) = notices.recv(&mut notice) else { break };
        let text = String::from_utf8_lossy(&notice[..length]).into_owned();
        if text.lines().any(|told| told == line) {
            return Ok(());
        }
        heard.push(text);
    }
    anyhow::bail!("`{line}` was not told; told was {heard:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_hears_how_the_agent_is_and_callers_wait_in_its_socket() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let notices = UnixDatagram::bind(folder.path().join("notices"))?;
    let place = folder.path().join("outpost.sock");
    let socket = UnixListener::bind(&place)?;
    let client = Client::new(&place);

    let mut agent = start(folder.path(), &socket)?;
    hear(&notices, "READY=1")?;
    hear(&notices, "WATCHDOG=1")?;
    hear(&notices, "WATCHDOG=1")?;
    client.get(QUESTION).await.context("the socket that was handed over does not answer")?;

    let stopped = Command::new("kill").args(["-TERM", &agent.0.id().to_string()]).status()?;
    ensure!(stopped.success());
    hear(&notices, "STOPPING=1")?;
    ensure!(agent.0.wait()?.success(), "it does not end well");

    // Whoever asks while nothing runs gets an answer from the next one.
    let waiting = tokio::spawn(async move { client.get(QUESTION).await });
    let _agent = start(folder.path(), &socket)?;
    tokio::time::timeout(PATIENCE, waiting).await.context("who waited was forgotten")???;
    Ok(())
}
