//! The control plane as a process of its own, on a fresh state: asked by its commands and its API, killed and started again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use outpost_disk::{Clock, atomic};
use outpost_sync::{Enrolment, Identity, enrol};
use serde_json::Value;

use crate::process::{Process, binary, eventually, free_port, output};
use crate::usage::Usage;

/// Devices that enrol at the same time.
const ENROLLING: usize = 32;

/// How long it may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longest wait for an answer of the API.
const ANSWER: Duration = Duration::from_secs(5);

/// A control plane that runs.
#[derive(Debug)]
pub struct Centre {
    folder: tempfile::TempDir,
    program: PathBuf,
    http: u16,
    mqtt: u16,
    serving: Process,
    /// The operators' bearer token.
    pub admin_token: String,
}

impl Centre {
    /// Makes a fleet whose catalogue holds the default policy, and starts its server; see [`answers`](Self::answers).
    ///
    /// # Errors
    /// If anything of it cannot be made or started.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (program, state) = (binary("outpost-control")?, folder.path().join("control-plane"));
        let (http, mqtt) = (free_port()?, free_port()?);
        std::fs::create_dir_all(&state)?;
        let settings = format!("http_listen = \"127.0.0.1:{http}\"\nmqtt_listen = \"127.0.0.1:{mqtt}\"\n");
        atomic::write_private(state.join("outpost-control.toml"), settings)?;
        let keys = text(&folder.path().join("keys"))?;
        let made = ask(&program, &state, &["init"])?;
        let admin_token = made["admin_token"].as_str().context("`init` says no token")?.to_owned();
        ask(&program, &state, &["keys", "create", "--keys", &keys])?;
        ask(&program, &state, &["catalogue", "release", "--keys", &keys, "--default-policy"])?;
        let serving = serve(&program, &state)?;
        Ok(Self { folder, program, http, mqtt, serving, admin_token })
    }

    /// Waits until it takes connections.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn answers(&self) -> Result<()> {
        for port in [self.http, self.mqtt] {
            let reached = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
            eventually("the control plane to listen", PATIENCE, reached).await?;
        }
        Ok(())
    }

    /// `kill -9`, and started again at once.
    ///
    /// # Errors
    /// If it does not start.
    pub fn kill_and_start(&mut self) -> Result<()> {
        self.serving.kill();
        self.serving = serve(&self.program, &self.state())?;
        Ok(())
    }

    /// Its state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("control-plane")
    }

    /// Asks the fleet's own command, as an admin beside the server does.
    ///
    /// # Errors
    /// If the command fails or says no JSON.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        ask(&self.program, &self.state(), arguments)
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// As [`Usage::of`].
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.serving.id())
    }

    /// A client of its API that knows its authority, and where the API is.
    ///
    /// # Errors
    /// If the authority cannot be read.
    pub fn api(&self) -> Result<Api> {
        let authority = std::fs::read(self.state().join("tls/ca.pem"))?;
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let client = reqwest::Client::builder()
            .add_root_certificate(reqwest::Certificate::from_pem(&authority)?)
            .timeout(ANSWER)
            .build()?;
        Ok(Api { client, base: format!("https://127.0.0.1:{}", self.http), token: self.admin_token.clone() })
    }

    /// Gives each device a code and a certificate, some at a time; with the folder within `folder` that each has for itself.
    ///
    /// # Errors
    /// If one is not enrolled.
    pub async fn enrol_all(&self, folder: &Path, count: usize) -> Result<Vec<(Identity, PathBuf)>> {
        let names: Vec<String> = (1..=count).map(|number| format!("device-{number:05}")).collect();
        let list = folder.join("names.csv");
        atomic::write_private(&list, names.join("\n"))?;
        let codes = self.ask(&["device", "codes", "--file", &text(&list)?, "--minutes", "600"])?;
        let codes = codes.as_array().context("no list of codes")?.clone();
        ensure!(codes.len() == count, "{} codes for {count} devices", codes.len());
        let authority = std::fs::read_to_string(self.state().join("tls/ca.pem"))?;
        let server = format!("https://127.0.0.1:{}", self.http);
        let (authority, server, clock) = (&authority, &server, &Clock::system());
        let enrolling = codes.into_iter().map(|made| async move {
            let (name, code) = (made["device"].as_str().context("no name")?, made["code"].as_str().context("no code")?);
            let home = folder.join(name);
            std::fs::create_dir_all(&home)?;
            let enrolment = Enrolment {
                server_url: server,
                code,
                wished_name: "",
                authority,
                dir: &home,
                agent: env!("CARGO_PKG_VERSION"),
                audit_key: &format!("{name}+00000000+AA"),
            };
            let identity = enrol(&enrolment, clock).await.with_context(|| format!("`{name}` is not enrolled"))?;
            anyhow::Ok((identity, home))
        });
        stream::iter(enrolling).buffer_unordered(ENROLLING).try_collect().await
    }
}

/// The API of a control plane, with the operators' token.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    /// The answer to a request; `body` is JSON.
    ///
    /// # Errors
    /// If there is none, or it is no success: says which.
    pub async fn ask(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let said = answer.text().await?;
        ensure!(status.is_success(), "{path}: {status}: {said}");
        serde_json::from_str(&said).with_context(|| format!("`{path}` said no JSON: {said}"))
    }
}

fn serve(program: &Path, state: &Path) -> Result<Process> {
    Process::start(program, &["--state", &text(state)?, "serve"])
}

fn ask(program: &Path, state: &Path, arguments: &[&str]) -> Result<Value> {
    let said = output(program, &[&["--json", "--state", &text(state)?], arguments].concat())?;
    serde_json::from_str(&said).with_context(|| format!("`{}` said no JSON: {said}", arguments.join(" ")))
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a path that is text")
}
