//! The machines: a PostgreSQL, a Mosquitto, and the state directories of two servers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::postgres::Postgres;

/// How long anything may take, on a machine that does other things, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct House {
    directory: tempfile::TempDir,
    postgres: Postgres,
    ports: [u16; 2],
    servers: [Option<Child>; 2],
    /// How often each was started.
    starts: [usize; 2],
    mosquitto: Option<Child>,
    /// What was done by command lines that is on record.
    acts: RefCell<usize>,
}

impl House {
    /// Makes a fleet, a broker for it, and a second state directory with what the servers have in common.
    pub(crate) fn build() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Mosquitto reads its files as another user.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let postgres = Postgres::start();
        let url = postgres.url("fleet");
        let ports = [free_port(), free_port()];
        let broker = free_port();
        let house = Self {
            directory,
            postgres,
            ports,
            servers: [None, None],
            starts: [0, 0],
            mosquitto: None,
            acts: RefCell::default(),
        };
        let files = house.path("mosquitto");
        fs::create_dir(&files).unwrap();
        for (server, port) in ports.into_iter().enumerate() {
            fs::create_dir(house.state(server)).unwrap();
            let settings = format!(
                "http_listen = \"127.0.0.1:{}\"\nexternal_broker = \"localhost:{broker}\"\nrevocation_list = \"{}/crl.pem\"\n\
                 [database]\nurl = \"{url}\"\n",
                port,
                files.display()
            );
            fs::write(house.state(server).join("outpost-control.toml"), settings).unwrap();
        }
        let keys = text(&house.path("keys"));
        house.run(0, &["init"]);
        house.ask(0, &["keys", "create", "--keys", &keys]);
        let model = text(&house.model());
        house.ask(0, &["catalogue", "release", "--keys", &keys, "--default-policy", "--model", &model]);
        house.run(0, &["broker", "config", "--mosquitto", &text(&files)]);
        for shared in ["tls", "keys", "blobs"] {
            let (from, to) = (house.state(0).join(shared), house.state(1).join(shared));
            assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
        }
        house.start_mosquitto(&files)
    }

    /// The description of a file for the model `demo`. Nobody fetches it here.
    fn model(&self) -> PathBuf {
        let (file, description) = (self.path("demo.gguf"), self.path("demo.json"));
        fs::write(&file, "weights".repeat(64)).unwrap();
        let bytes = fs::metadata(&file).unwrap().len();
        let model = json!({
            "model": "demo", "architecture": "llama", "licence": "Apache-2.0", "parameters": bytes, "context_tokens": 4096,
            "layers": 2, "embedding_length": 64, "vocabulary": 256, "kv_elements_per_layer": 64,
            "feed_forward_length": 128, "query_elements": 64,
        });
        let facts = json!({"release": 0, "model": model, "quantisation": "Q8_0", "file_bytes": bytes, "weight_bytes": bytes,
            "quality_milli": 8500});
        fs::write(&description, json!({"path": file, "facts": facts, "cuts": []}).to_string()).unwrap();
        description
    }

    fn start_mosquitto(mut self, files: &Path) -> Self {
        fs::set_permissions(files, fs::Permissions::from_mode(0o755)).unwrap();
        for file in fs::read_dir(files).unwrap() {
            fs::set_permissions(file.unwrap().path(), fs::Permissions::from_mode(0o644)).unwrap();
        }
        let mut command = Command::new("mosquitto");
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        command.arg("-c").arg(files.join("mosquitto.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        self.mosquitto = Some(command.spawn().expect("`mosquitto` is installed: `tests/run tools` does that"));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn state(&self, server: usize) -> PathBuf {
        self.path(&format!("server-{server}"))
    }

    pub(crate) fn url(&self, server: usize) -> String {
        format!("https://localhost:{}", self.ports[server])
    }

    pub(crate) fn authority(&self) -> String {
        fs::read_to_string(self.state(0).join("tls/ca.pem")).unwrap()
    }

    /// Starts a server, which the database knows by the name of this start.
    pub(crate) fn serve(&mut self, server: usize) {
        self.starts[server] += 1;
        let name = self.name(server);
        self.sql(&format!("CREATE ROLE {name} SUPERUSER LOGIN"));
        let url = self.postgres.url("fleet").replace("//postgres@", &format!("//{name}@"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_outpost-control"));
        command.arg("--state").arg(self.state(server)).args(["--database", &url, "serve"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.servers[server] = Some(command.spawn().unwrap());
    }

    /// By which name the database knows the newest start of a server.
    pub(crate) fn name(&self, server: usize) -> String {
        format!("server_{server}_{}", self.starts[server])
    }

    /// The servers that run, by those names.
    pub(crate) fn running(&self) -> BTreeMap<String, usize> {
        (0..2).filter(|server| self.servers[*server].is_some()).map(|server| (self.name(server), server)).collect()
    }

    /// Without a chance to tidy up.
    pub(crate) fn kill(&mut self, server: usize) {
        let mut child = self.servers[server].take().expect("it runs");
        assert!(child.try_wait().unwrap().is_none(), "server {server} had ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// As a service manager would.
    pub(crate) async fn stop(&mut self) {
        for mut child in self.servers.iter_mut().filter_map(Option::take) {
            assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
            let ended = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
            assert!(ended.success(), "{ended}");
        }
    }

    /// A command that is not on record.
    fn run(&self, server: usize, arguments: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outpost-control"));
        let output = command.arg("--json").arg("--state").arg(self.state(server)).args(arguments).output().unwrap();
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {failed}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// A command that is on record.
    pub(crate) fn ask(&self, server: usize, arguments: &[&str]) -> Value {
        *self.acts.borrow_mut() += 1;
        self.run(server, arguments)
    }

    /// Begins a command that is on record.
    pub(crate) fn begin(&self, server: usize, arguments: &[&str]) -> Child {
        *self.acts.borrow_mut() += 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_outpost-control"));
        command.arg("--state").arg(self.state(server)).args(arguments).stdout(Stdio::null()).spawn().unwrap()
    }

    /// Waits until it has done what it was to do.
    pub(crate) async fn end(&self, mut command: Child) {
        let ended = tokio::task::spawn_blocking(move || command.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
    }

    /// The numbers that the acts have.
    pub(crate) fn acts(&self) -> BTreeSet<u64> {
        (1..=u64::try_from(*self.acts.borrow()).unwrap()).collect()
    }

    /// How many acts are in the logs of both, and their numbers.
    pub(crate) fn records(&self) -> (usize, BTreeSet<u64>) {
        let all = (0..2).flat_map(|server| {
            let name = fs::read_to_string(self.state(server).join("replica")).unwrap();
            let log = self.state(server).join(format!("audit/self-{name}"));
            if !log.exists() {
                return Vec::new();
            }
            let report = outpost_audit::verify::verify(&log).unwrap();
            assert!(report.problems.is_empty(), "{report:?}");
            let filter = outpost_audit::Filter::default();
            outpost_audit::reader::list(&log, &filter).unwrap()
        });
        let entries: Vec<u64> = all
            .filter_map(|entry| {
                let leaf: Value = serde_json::from_slice(&entry.bytes).unwrap();
                leaf.to_string().split("\"entry\":\"").nth(1)?.split('"').next()?.parse().ok()
            })
            .collect();
        (entries.len(), entries.into_iter().collect())
    }

    /// What the database says.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.postgres.ask(&format!("SET search_path = fleet; {sql}"))
    }

    pub(crate) async fn wait_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().flatten().chain(&mut self.mosquitto) {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
