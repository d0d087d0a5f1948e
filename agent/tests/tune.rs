//! `outpost tune` as two boxes of a class meet it: one measures, is killed and goes on; the other believes its evidence, or says
//! why it does not.

#![allow(clippy::disallowed_methods, reason = "spoilt copies need not survive a power cut")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The model that the repository has.
fn demo() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/outpost-demo-f16.gguf").to_str().unwrap().to_owned()
}

/// Few settings of few tokens: what is found is not to be relied on, that it is found is.
const SHORT: &[&str] = &["--kv", "f16", "--slots", "1", "--prompt", "16", "--answer", "4", "--repeat", "1"];

/// A box with its state directory.
struct Device(PathBuf);

impl Device {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_outpost"));
        program.arg("--state").arg(self.0.join("state")).args(arguments);
        program
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output and standard error, if it ends with this exit code.
    fn expect(&self, code: i32, arguments: &[&str]) -> [String; 2] {
        let output = self.run(arguments);
        let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told:?}");
        told
    }

    /// What `tune` answers in JSON for these variants.
    fn tune(&self, variants: &[&str], more: &[&str]) -> Value {
        let named = variants.iter().flat_map(|name| ["--variant", name]);
        let arguments: Vec<&str> = ["tune", "--json"].into_iter().chain(SHORT.iter().copied()).chain(named).collect();
        let demo = demo();
        let [said, _] = self.expect(0, &[&arguments[..], more, &[demo.as_str()]].concat());
        serde_json::from_str(&said).unwrap()
    }
}

fn count(answer: &Value, list: &str) -> usize {
    answer["evidence"][list].as_array().unwrap().len()
}

#[test]
fn variants_are_made_measured_and_judged_and_the_best_is_kept_with_its_reasons() {
    let device = Device::new("tune-whole");
    let tasks = device.path("tasks.jsonl");
    std::fs::write(&tasks, "{\"prompt\": \"How does a device enrol?\", \"expect\": \"outpost enroll\"}\n").unwrap();
    let (page, out) = (device.path("tune.html"), device.path("evidence.dsse"));
    let more = ["--threads", "1", "--tasks", &tasks, "--picture", &page, "--out", &out, "--objective", "memory"];
    let answer = device.tune(&["F16", "Q8_0", "Q4_0"], &more);
    assert_eq!((answer["measured_runs"].as_u64(), answer["known_runs"].as_u64()), (Some(3), Some(0)));
    assert_eq!((count(&answer, "runs"), count(&answer, "qualities"), count(&answer, "settings")), (3, 3, 3));
    let quality = |name: &str| {
        let all = answer["evidence"]["qualities"].as_array().unwrap();
        all.iter().find(|one| one["variant"] == name).unwrap().clone()
    };
    let divergence = |name: &str| quality(name)["divergence_micro"].as_u64().unwrap();
    assert!(divergence("F16") < divergence("Q8_0") && divergence("Q8_0") < divergence("Q4_0"));
    assert_eq!(quality("F16")["tasks"], serde_json::json!({"right": 1, "asked": 1}), "the demo model knows its own");
    assert_eq!(answer["choice"]["variant"], "Q4_0", "the smallest: {answer}");
    assert!(Path::new(answer["file"].as_str().unwrap()).is_file());
    assert!(std::fs::read_to_string(&page).unwrap().contains("<svg"));
    assert!(std::fs::metadata(&out).unwrap().len() > 1_000);
    let [records, _] = device.expect(0, &["audit", "show", "--last", "5"]);
    assert!(records.contains("tune"), "{records}");

    // Another objective needs no other measurement.
    let again = device.tune(&["F16", "Q8_0", "Q4_0"], &["--threads", "1", "--tasks", &tasks]);
    assert_eq!((again["measured_runs"].as_u64(), again["known_runs"].as_u64()), (Some(0), Some(3)));
    // A file that evidence speaks of is planned with it.
    let file = again["file"].as_str().unwrap();
    let [planned, _] = device.expect(0, &["plan", file, "--slots", "1"]);
    assert!(planned.contains("1 thread, as `outpost tune` measured"), "{planned}");
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_was() {
    let device = Device::new("tune-killed");
    let demo = demo();
    let arguments = ["tune", "--json", "--variant", "Q8_0", "--variant", "Q4_0", "--threads", "1", "--threads", "2"];
    let arguments = [&arguments[..], SHORT, &[demo.as_str()]].concat();
    let mut child = device.command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let measured = lines.map_while(Result::ok).find(|line| line.contains("tokens/s each"));
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(measured.is_some(), "it was measuring when it was killed");
    let answer = device.tune(&["Q8_0", "Q4_0"], &["--threads", "1", "--threads", "2"]);
    let (known, now) = (answer["known_runs"].as_u64().unwrap(), answer["measured_runs"].as_u64().unwrap());
    assert!(known >= 1 && now <= 3 && known + now == 4, "{known} known, {now} measured");
    assert!(answer["choice"]["variant"].is_string());
}

#[test]
fn a_dry_run_says_what_would_be_measured_and_why_the_rest_would_not() {
    let device = Device::new("tune-dry");
    let demo = demo();
    let [said, _] = device
        .expect(0, &["tune", "--dry-run", &demo, "--context", "512", "--context", "9000", "--minimum-quality", "5"]);
    assert!(said.contains("would be measured  Q8_0 with F16 keys, 4 at once"), "{said}");
    assert!(said.contains("the model was trained for 512 tokens, not 9000"), "{said}");
    assert!(said.contains("bits per weight, 5.0 are asked for"), "{said}");
    assert!(!device.0.join("state/tune").exists(), "nothing was made");
    device.expect(1, &["tune", &demo, "--variant", "Q3_K"]);
    device.expect(2, &["tune", &demo, "--evidence", "x"]);
    device.expect(1, &["tune", &demo, "--minimum-agreement", "101"]);
}

#[test]
fn another_box_reuses_evidence_without_measuring_or_says_what_differs() {
    let (one, other) = (Device::new("tune-one"), Device::new("tune-other"));
    let (evidence, key, demo) = (one.path("evidence.dsse"), one.path("one.key"), demo());
    one.tune(&["F16", "Q8_0"], &["--threads", "1", "--objective", "memory", "--out", &evidence]);
    let [own, _] = one.expect(0, &["tune", "--show-key"]);
    std::fs::write(&key, own).unwrap();

    let reuse = |file: &str, key: &str, model: &str| {
        let output = other.run(&["tune", model, "--json", "--evidence", file, "--trust", key]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), said)
    };
    let refused = |file: &str, key: &str, model: &str| {
        let (code, said) = reuse(file, key, model);
        assert_eq!((code, said["measured_runs"].as_u64()), (Some(4), Some(0)), "{said}");
        said["refused"][0].as_str().unwrap().to_owned()
    };
    // A key that nobody trusts.
    let stranger = other.path("stranger.key");
    std::fs::write(&stranger, &other.expect(0, &["tune", "--show-key"])[0]).unwrap();
    assert!(refused(&evidence, &stranger, &demo).contains("no valid signature"));
    // A byte of the payload.
    let spoilt = other.path("spoilt.dsse");
    let mut bytes = std::fs::read(&evidence).unwrap();
    let place = bytes.len() / 3;
    bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
    std::fs::write(&spoilt, bytes).unwrap();
    assert!(refused(&spoilt, &key, &demo).contains("no valid signature"));
    // Another file of the same model.
    let other_file = other.path("other.gguf");
    other.expect(0, &["model", "quantize", &demo, &other_file, "--to", "Q8_0"]);
    assert!(refused(&evidence, &key, &other_file).starts_with("file: measured was the one with SHA-256"));
    let [said, _] = other.expect(4, &["tune", &other_file, "--evidence", &evidence, "--trust", &key]);
    assert!(said.contains("tune here: outpost tune"), "{said}");

    let (code, taken) = reuse(&evidence, &key, &demo);
    assert_eq!(
        (code, taken["reused"].as_bool(), taken["measured_runs"].as_u64()),
        (Some(0), Some(true), Some(0)),
        "{taken}"
    );
    assert_eq!(taken["choice"]["variant"], "Q8_0");
    let file = taken["file"].as_str().unwrap();
    assert!(Path::new(file).is_file(), "the chosen variant was made");
    let rooms: Vec<_> =
        std::fs::read_dir(other.0.join("state/tune")).unwrap().map(|room| room.unwrap().path()).collect();
    let measured = rooms.iter().filter(|room| room.is_dir()).flat_map(|room| std::fs::read_dir(room).unwrap());
    assert_eq!(
        measured.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("measured")).count(),
        0
    );
    let [planned, _] = other.expect(0, &["plan", file, "--slots", "1"]);
    assert!(planned.contains("as `outpost tune` measured"), "{planned}");
}
