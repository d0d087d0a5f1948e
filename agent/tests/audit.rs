//! `outpost audit …` as an auditor meets it: what is shown, exported, proven and refused, and with which exit code.

#![allow(clippy::disallowed_methods, reason = "spoilt copies need not survive a power cut")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A state directory with a few records, and the program.
struct Device(PathBuf);

impl Device {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let device = Self(folder);
        device.expect(0, &["key", "create", "--name", "till", "--role", "operator"]);
        device
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_outpost"));
        program.arg("--state").arg(self.0.join("state")).args(arguments).output().unwrap()
    }

    /// What it says on both outputs, if it ends with this exit code.
    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        told
    }
}

#[test]
fn records_are_shown_by_type_by_index_and_page_by_page() {
    let device = Device::new("show");
    let shown = device.expect(0, &["audit", "show", "--kind", "key.create"]);
    assert!(shown.starts_with("       1  20") && shown.contains("Z  key.create"), "{shown}");
    assert_eq!(shown.lines().count(), 1);
    let newest = device.expect(0, &["audit", "show", "--last", "1"]);
    assert!(newest.contains("shutdown") && newest.contains("there are more: add `--to 2 --last 1`"), "{newest}");
    let before = device.expect(0, &["audit", "show", "--to", "2", "--last", "1"]);
    assert!(before.contains("key.create") && before.contains("add `--to 1 --last 1`"), "{before}");
    let oldest = device.expect(0, &["audit", "show", "--first", "2", "--from", "1"]);
    assert!(oldest.contains("key.create") && !oldest.contains("more"), "{oldest}");
    assert_eq!(device.expect(0, &["audit", "show", "--who", "p:nobody"]), "");
    assert_eq!(device.expect(0, &["audit", "show", "--model", "nothing"]), "");
    assert_eq!(device.expect(0, &["audit", "show", "--before", "2026-01-01"]), "");
    assert_eq!(device.expect(0, &["audit", "show", "--since", "2026-01-01T00:00:00Z"]).lines().count(), 3);
    device.expect(2, &["audit", "show", "--since", "yesterday"]);
    assert!(device.expect(2, &["audit", "show", "--kind", "nonsense"]).contains("known are boot, shutdown"));
    device.expect(2, &["audit", "show", "--first", "1", "--last", "1"]);
}

#[test]
fn every_export_is_on_record_and_verifies_and_a_flipped_byte_does_not() {
    let device = Device::new("export");
    let key = device.path("state/audit/audit.vkey");
    for format in ["tiles", "jsonl", "csv", "ocsf", "cef", "syslog"] {
        let out = device.path(format);
        device.expect(0, &["audit", "export", "--format", format, "--out", &out]);
        let shown = device.expect(0, &["audit", "show", "--kind", "audit.read", "--last", "1"]);
        assert!(shown.contains(&format!("export_audit  format={format}")), "{shown}");
        let verdict = device.expect(0, &["audit", "verify", &out, "--key", &key]);
        assert!(verdict.contains("verifies: ") || verdict.contains("the tiles verify: "), "{verdict}");
        device.expect(1, &["audit", "export", "--format", format, "--out", &out]);
    }
    let path = device.path("jsonl/records.jsonl");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let verdict = device.expect(4, &["audit", "verify", &device.path("jsonl")]);
    assert!(verdict.contains("PROBLEM  record 0: ") && verdict.contains("does NOT verify"), "{verdict}");
    device.expect(0, &["audit", "verify"]);
    device.expect(2, &["audit", "export", "--format", "pdf", "--out", &device.path("pdf")]);
    device.expect(1, &["audit", "export", "--format", "jsonl", "--from", "9999", "--out", &device.path("none")]);
}

#[test]
fn a_record_is_proven_without_the_log() {
    let device = Device::new("prove");
    let (key, proof) = (device.path("state/audit/audit.vkey"), device.path("1.tlog-proof"));
    device.expect(0, &["audit", "prove", "1", "--out", &proof]);
    assert!(device.expect(0, &["audit", "show", "--kind", "audit.read"]).contains("prove_record  index=1"));
    device.expect(0, &["audit", "verify", &proof, "--key", &key]);
    assert!(device.expect(4, &["audit", "verify", &proof]).contains("--key"));
    device.expect(0, &["audit", "prove", "0", "--out", &device.path("0.tlog-proof")]);
    let verdict = device.expect(4, &["audit", "verify", &proof, "--key", &key, "--record", &device.path("0.json")]);
    assert!(verdict.contains("record 1: "), "{verdict}");
    device.expect(1, &["audit", "prove", "9999", "--out", &proof]);
}

#[test]
fn a_report_is_on_record_and_one_of_a_spoilt_copy_says_so_first() {
    let device = Device::new("report");
    let (key, out) = (device.path("state/audit/audit.vkey"), device.path("report.html"));
    device.expect(0, &["audit", "report", "--out", &out, "--key", &key, "--since", "2026-01-01"]);
    let shown = device.expect(0, &["audit", "show", "--kind", "audit.read"]);
    assert!(shown.contains("report_audit  since=2026-01-01T00:00:00.000Z"), "{shown}");
    let page = std::fs::read_to_string(&out).unwrap();
    assert!(page.contains("The log verifies.") && page.contains("report_audit") && !page.contains("NOT verify"));
    let copy = device.0.join("copy");
    std::fs::create_dir(&copy).unwrap();
    let mut bytes = std::fs::read(device.0.join("state/audit/audit.db")).unwrap();
    let at = bytes.windows(10).position(|bytes| bytes == b"key.create").unwrap();
    bytes[at] = b'K';
    std::fs::write(copy.join("audit.db"), bytes).unwrap();
    let told = device.expect(4, &["audit", "report", &device.path("copy"), "--out", &out]);
    assert!(told.contains("does NOT verify"), "{told}");
    assert!(std::fs::read_to_string(&out).unwrap().contains("This log does NOT verify"));
    device.expect(1, &["audit", "report", "--out", &out, "--key", "no key"]);
    device.expect(1, &["audit", "report", "--out", &out, "--witness", "no key"]);
}

#[test]
fn an_export_from_a_copy_is_not_signed_and_records_nothing() {
    let device = Device::new("copy");
    let copy = device.0.join("copy");
    std::fs::create_dir(&copy).unwrap();
    for name in ["audit.db", "audit.vkey", "audit.checkpoint"] {
        std::fs::copy(device.0.join("state/audit").join(name), copy.join(name)).unwrap();
    }
    let copy = device.path("copy");
    let told = device.expect(0, &["audit", "export", &copy, "--format", "csv", "--out", &device.path("csv")]);
    assert!(told.contains("is not signed"), "{told}");
    assert!(device.expect(4, &["audit", "verify", &device.path("csv")]).contains("not signed"));
    device.expect(0, &["audit", "export", &copy, "--format", "tiles", "--out", &device.path("tiles")]);
    device.expect(0, &["audit", "verify", &device.path("tiles")]);
    assert_eq!(device.expect(0, &["audit", "show", "--kind", "audit.read"]), "");
}

#[test]
fn a_log_is_not_made_by_asking_for_one() {
    let device = Device::new("nothing");
    std::fs::remove_dir_all(device.0.join("state")).unwrap();
    let told = device.expect(1, &["audit", "export", "--format", "tiles", "--out", &device.path("tiles")]);
    assert!(told.contains("holds no audit log"), "{told}");
    assert!(!device.0.join("state/audit/audit.db").exists());
    device.expect(1, &["audit", "verify"]);
}

#[test]
fn sealed_content_is_erased_and_pruned_while_no_agent_runs_and_the_log_names_nobody() {
    let device = Device::new("content");
    let told = device.expect(1, &["audit", "content", "1"]);
    assert!(told.contains("record 1 cannot be read"), "{told}");
    let erase = ["audit", "erase", "--subject", "https://login.example|ada", "--basis", "case 7"];
    let told = device.expect(0, &erase);
    assert!(told.contains("nothing was kept of this subject"), "{told}");
    let told = device.expect(0, &["audit", "show", "--kind", "audit.erase", "--json"]);
    assert!(told.contains("case 7") && !told.contains("|ada") && !told.contains("login.example"), "{told}");
    device.expect(1, &["audit", "erase", "--subject", "p:short", "--basis", "case 7"]);
    let told = device.expect(1, &["audit", "erase", "--subject", "key:1", "--basis", "asked by key:1"]);
    assert!(told.contains("must not say who"), "{told}");
    device.expect(1, &["audit", "erase", "--subject", "", "--basis", "case 7"]);
    device.expect(2, &["audit", "erase", "--subject", "key:1"]);
    assert!(device.expect(0, &["audit", "prune", "--dry-run"]).contains("nothing is past its time"));
    assert!(device.expect(0, &["audit", "prune"]).contains("nothing is past its time"));
    assert_eq!(device.expect(0, &["audit", "show", "--kind", "audit.prune"]), "");
    device.expect(0, &["audit", "verify"]);
}
