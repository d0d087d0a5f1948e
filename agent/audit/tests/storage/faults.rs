//! Each system call that touches the disk, once refused and once never answered: afterwards the log verifies, goes on, and
//! has what it acknowledged.

use std::collections::BTreeMap;
use std::path::Path;

use crate::recorder::{assert_nothing_is_lost, run, under_strace};
use crate::{is_whole_campaign, random, say};

/// The system calls by which the log and its files reach the disk.
const CALLS: [&str; 12] = [
    "openat",
    "pwrite64",
    "write",
    "pread64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "unlink",
    "mkdir",
    "fallocate",
    "close",
];

/// What happens instead of the call.
const FAULTS: [&str; 4] = ["error=EIO", "error=ENOSPC", "error=EINTR", "signal=SIGKILL"];

/// Records of one run: enough for several transactions, and a checkpoint at its end.
const RECORDS: u64 = 6;

/// Runs in the short form.
const SHORT: usize = 40;

/// How often the recorder calls each of them in a run without faults, on whichever thread calls it most.
fn count(folder: &Path) -> BTreeMap<&'static str, usize> {
    let out = folder.join("trace");
    let (out, traced) = (out.display().to_string(), format!("trace={}", CALLS.join(",")));
    run(folder, under_strace(folder, &["--output", &out, &format!("--trace={}", &traced[6..])], 1, RECORDS));
    let trace = std::fs::read_to_string(&out).unwrap();
    let mut counts: BTreeMap<(&str, &'static str), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        if let Some(call) = CALLS.into_iter().find(|call| rest.trim_start().starts_with(&format!("{call}("))) {
            *counts.entry((thread, call)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in counts {
        let held: &mut usize = most.entry(call).or_default();
        *held = count.max(*held);
    }
    most
}

#[test]
fn every_system_call_may_fail_or_be_the_last_and_nothing_acknowledged_is_lost() {
    let counting = tempfile::tempdir().unwrap();
    let counts = count(counting.path());
    let syncs: usize = ["fsync", "fdatasync"].iter().filter_map(|call| counts.get(call)).sum();
    assert!(syncs > 3, "{counts:?}");
    let mut plan: Vec<(&str, &str, usize)> = Vec::new();
    for (call, count) in counts {
        for fault in FAULTS {
            plan.extend((1..=count).map(|when| (call, fault, when)));
        }
    }
    let all = plan.len();
    if !is_whole_campaign() {
        plan = (0..SHORT).map(|_| plan[random(all)]).collect();
    }
    let mut acknowledged_in_all = 0;
    for (call, fault, when) in &plan {
        let folder = tempfile::tempdir().unwrap();
        let inject = format!("--inject={call}:{fault}:when={when}");
        let acknowledged =
            run(folder.path(), under_strace(folder.path(), &["--output=/dev/null", &inject], 1, RECORDS));
        assert_nothing_is_lost(folder.path(), &acknowledged, &format!("{call} number {when}: {fault}"));
        acknowledged_in_all += acknowledged.len();
    }
    assert!(acknowledged_in_all > plan.len() / 2, "{acknowledged_in_all} in {} runs: nothing was tried", plan.len());
    say(&format!("{} of {all} faults: {acknowledged_in_all} records acknowledged, none lost", plan.len()));
}
