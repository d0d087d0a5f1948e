//! A device with its local API, its providers and a clock that a test moves.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outpost_audit::AuditLog;
use outpost_disk::Clock;
use outpost_disk::clock::RELEASE_FLOOR_S;
use outpost_serve::{ServeConfig, Server};
use outpost_sync::BackOff;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::KeySets;
use super::provider::{ISSUER, PATIENCE, Provider, until};
use crate::config::{Config, KeySource};
use crate::parts::Parts;
use crate::state::StateDir;

/// A running device; what it keeps of its providers is in the directory that it was started with.
pub(super) struct Device {
    pub(super) clock: Clock,
    address: SocketAddr,
    audit: AuditLog,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _state: TempDir,
}

/// How a device asks its providers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) patience: Duration,
    pub(super) back_off: BackOff,
    pub(super) at_most_every: Duration,
    /// None for what the configuration says.
    pub(super) refresh: Option<Duration>,
}

/// As often as it can.
pub(super) const EAGER: Asking = Asking {
    patience: PATIENCE,
    back_off: BackOff { base: Duration::from_millis(5), cap: Duration::from_millis(5) },
    at_most_every: Duration::ZERO,
    refresh: None,
};

impl Device {
    /// Starts where time is the release of the program and stands.
    pub(super) async fn start(config: &str, ledgers: &Path, asking: Asking) -> Self {
        Self::start_at(config, ledgers, asking, RELEASE_FLOOR_S).await
    }

    pub(super) async fn start_at(config: &str, ledgers: &Path, asking: Asking, now_s: i64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::locate(Some(directory.path())).unwrap();
        state.prepare().unwrap();
        let config = Config::parse(config).unwrap();
        let (mut parts, readiness, _) = Parts::open(&state, &config, None, "unused".into(), None).unwrap();
        let clock = Clock::fixed(now_s);
        parts.clock = clock.clone();
        let stop = CancellationToken::new();
        let server = ServeConfig { tcp: Some(([127, 0, 0, 1], 0).into()), ..ServeConfig::default() };
        let server = Server::bind(server).await.unwrap();
        let address = server.tcp_address().unwrap();
        let key_sets = KeySets::open(&config.api.oidc, ledgers, &parts.identities, &clock).unwrap();
        let serving = parts.serving(Arc::new(parts.backend(readiness, None, None)), None);
        let tasks = vec![
            tokio::spawn(server.serve(serving, stop.clone().cancelled_owned())),
            tokio::spawn(key_sets.asking(asking).watch(stop.clone())),
        ];
        Self { clock, address, audit: parts.audit.clone(), stop, tasks, _state: directory }
    }

    /// What a caller with this token hears: the status, and the code of a refusal.
    pub(super) async fn call(&self, token: &str) -> (u16, String) {
        call(self.address, token).await
    }

    /// Waits until a token counts.
    pub(super) async fn accepts(&self, token: &str) {
        until(async || self.call(token).await.0 == 200).await;
    }

    /// Waits until keys are kept, which means that they count, without showing a token.
    pub(super) async fn knows_keys(&self, ledgers: &Path) {
        let is_kept = || {
            let mut files = std::fs::read_dir(ledgers).unwrap().map(|file| file.unwrap().path());
            files.any(|file| file.extension().is_some_and(|extension| extension == "ledger"))
        };
        until(async || is_kept()).await;
    }

    /// The reason of the last failure on record.
    pub(super) fn recorded_reason(&self) -> Option<String> {
        let all = self.audit.list(0..u64::MAX).unwrap();
        let mut records = all.iter().map(|entry| serde_json::from_slice::<Value>(&entry.bytes).unwrap());
        let failure = records.rfind(|record| record["type"] == "auth.fail")?;
        Some(failure["res"]["err"].as_str()?.to_owned())
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

impl KeySets {
    fn asking(mut self, asking: Asking) -> Self {
        self.within.patience = asking.patience;
        (self.back_off, self.at_most_every) = (asking.back_off, asking.at_most_every);
        for set in &mut self.sets {
            if let (KeySource::Address(address), Some(refresh)) = (&mut set.source, asking.refresh) {
                address.refresh = refresh;
            }
        }
        self
    }
}

/// One call with a token over TCP.
pub(super) async fn call(address: SocketAddr, token: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let code =
        serde_json::from_str::<Value>(body).ok().and_then(|body| body["error"]["code"].as_str().map(str::to_owned));
    (status, code.unwrap_or_default())
}

/// The configuration of a device that knows this provider, by the authority in `directory`.
pub(super) fn config(provider: &Provider, directory: &Path) -> String {
    let authority = directory.join("authority.pem");
    outpost_disk::atomic::write(&authority, provider.authority.as_bytes()).unwrap();
    format!(
        "[api]\nlisten = \"127.0.0.1:0\"\n[[api.oidc]]\nissuer = \"{ISSUER}\"\naudience = \"api://outpost\"\n\
         jwks_url = \"{}\"\nauthority = \"{}\"\nroles_claim = \"groups\"\nroles.group-7 = [\"operator\"]\n",
        provider.url(),
        authority.display()
    )
}
