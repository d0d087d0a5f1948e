//! A PostgreSQL of its own for tests: Debian's package, on a temporary directory, reached by a Unix socket.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Runs the server until standard input ends, which it does however the test ends; then nothing is left of it.
const WATCH: &str = r#"
"$1/initdb" --pgdata="$2/data" --username=postgres --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --no-sync >"$2/log" 2>&1 || { cat "$2/log"; exit 1; }
serve() {
    "$1/postgres" -D "$2/data" -k "$2" -c fsync=off -c max_connections=400 $3 >>"$2/log" 2>&1 &
    server=$!
    until "$1/pg_isready" --quiet --host="$2"; do
        kill -0 "$server" 2>/dev/null || { cat "$2/log"; exit 1; }
        sleep 0.05
    done
    echo ready
}
serve "$1" "$2" "$3"
while read -r word; do
    case "$word" in
        stop) kill -INT "$server"; wait "$server"; echo stopped ;;
        start) serve "$1" "$2" "$3" ;;
    esac
done
kill -INT "$server" 2>/dev/null
wait "$server"
rm -rf "$2"
"#;

/// Debian's unprivileged account.
const NOBODY: u32 = 65534;

/// A server. When it is dropped, or this process ends, it goes.
#[derive(Debug)]
pub struct Postgres {
    directory: PathBuf,
    words: Option<ChildStdin>,
    answers: BufReader<std::process::ChildStdout>,
    watch: Child,
}

impl Postgres {
    /// Makes and starts one.
    ///
    /// # Panics
    /// If the package is not installed.
    #[must_use]
    pub fn start() -> Self {
        Self::start_in(&new_directory(), "-c listen_addresses=")
    }

    /// Makes and starts one that also listens on a loopback port, by TLS alone and with a password, `word`.
    ///
    /// # Panics
    /// If the package is not installed.
    #[must_use]
    pub fn start_over_tls(certificate: &str, key: &str, port: u16) -> Self {
        let directory = new_directory();
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = directory.join(name);
            fs::write(&path, text).expect("a new file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
            give_away(&path);
        }
        let at = directory.display();
        let server = Self::start_in(
            &directory,
            &format!(
                "-c listen_addresses=127.0.0.1 -c ssl=on -c ssl_cert_file={at}/server.crt -c ssl_key_file={at}/server.key \
                 -c port={port} -c unix_socket_directories={at}"
            ),
        );
        let _ = server.ask_at(port, "ALTER ROLE postgres PASSWORD 'word'");
        server
    }

    fn start_in(directory: &Path, options: &str) -> Self {
        let programs =
            programs().expect("PostgreSQL is not installed; `tests/run tools` installs the package `postgresql`");
        let mut watch = Command::new("sh");
        watch.arg("-c").arg(WATCH).arg("sh").arg(&programs).arg(directory).arg(options).current_dir("/");
        // Its clients, too, look for the port here.
        let port = options.split("port=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("5432");
        watch.env("PGPORT", port);
        // It refuses to run as root.
        if is_root() {
            watch.uid(NOBODY).gid(NOBODY);
        }
        // A group of its own: an interrupt at the terminal must not end it before the test has ended.
        watch.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut watch = watch.spawn().expect("a shell");
        let words = watch.stdin.take();
        let answers = BufReader::new(watch.stdout.take().expect("it is piped"));
        let mut server = Self { directory: directory.to_owned(), words, answers, watch };
        server.await_word("ready");
        server
    }

    /// The address of its first database, in a schema of its own.
    ///
    /// # Panics
    /// If the server does not answer.
    #[must_use]
    pub fn url(&self, schema: &str) -> String {
        let _ = self.ask(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        let host = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}/postgres?options=-c%20search_path%3D{schema}")
    }

    /// What a statement gives, one row a line.
    ///
    /// # Panics
    /// If the server refuses it.
    #[must_use = "a statement may give something"]
    pub fn ask(&self, sql: &str) -> String {
        self.ask_at(5432, sql)
    }

    fn ask_at(&self, port: u16, sql: &str) -> String {
        let psql = programs().expect("it runs").join("psql");
        let output = Command::new(psql)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username=postgres", "--host"])
            .arg(&self.directory)
            .args(["--port", &port.to_string(), "--command", sql, "postgres"])
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Stops it, as an administrator would: connections end at once.
    pub fn stop(&mut self) {
        self.say("stop");
        self.await_word("stopped");
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.say("start");
        self.await_word("ready");
    }

    fn say(&mut self, word: &str) {
        use std::io::Write as _;
        let words = self.words.as_mut().expect("it is there until the end");
        writeln!(words, "{word}").expect("it listens");
    }

    fn await_word(&mut self, word: &str) {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        assert_eq!(answer.trim(), word, "PostgreSQL did not start or stop as told");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.words = None;
        let _ = self.watch.wait();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// To the account that it runs as.
fn give_away(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
    }
}

fn new_directory() -> PathBuf {
    let directory = tempfile::Builder::new().prefix("outpost-pg-").tempdir().expect("a temporary directory").keep();
    give_away(&directory);
    directory
}

/// Where the newest one is installed.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path().join("bin"));
    let number = |path: &Path| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    versions.filter(|path| path.join("initdb").exists()).max_by_key(|path| number(path))
}
