//! Each system call by which a program reaches the disk, once refused and once never answered: every case of a program is
//! tried in a folder of its own, and somebody judges what is left there.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::recorder::run_for_lines;
use crate::{is_whole_campaign, random, say};

/// The system calls by which a log, an export or a root key reaches the disk.
const CALLS: [&str; 14] = [
    "openat",
    "pwrite64",
    "write",
    "pread64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "unlink",
    "unlinkat",
    "mkdir",
    "rmdir",
    "fallocate",
    "close",
];

/// What happens instead of the call.
const FAULTS: [&str; 4] = ["error=EIO", "error=ENOSPC", "error=EINTR", "signal=SIGKILL"];

/// A program whose storage fails, and what it starts from.
pub(crate) struct Campaign<'a> {
    pub(crate) name: &'a str,
    /// Lays ready what the program finds.
    pub(crate) prepare: &'a dyn Fn(&Path),
    /// The program in a folder, under `strace` with these options.
    pub(crate) program: &'a dyn Fn(&Path, &[&str]) -> Command,
    /// Looks at the folder afterwards, and at what the program had acknowledged.
    pub(crate) judge: &'a dyn Fn(&Path, &[String], &Fault),
    /// Runs in the short form.
    pub(crate) short: usize,
}

/// One fault: which call, the how-manieth of a thread, and what happens instead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    call: &'static str,
    when: usize,
    instead: &'static str,
}

impl Fault {
    /// Whether it ends the program at once.
    pub(crate) fn kills(&self) -> bool {
        self.instead.starts_with("signal")
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} number {}: {}", self.call, self.when, self.instead)
    }
}

impl Campaign<'_> {
    /// Tries every fault, or some of them in the short form; the lines that were acknowledged in all.
    pub(crate) fn run(&self) -> usize {
        let mut plan = self.plan();
        let all = plan.len();
        if !is_whole_campaign() {
            plan = (0..self.short).map(|_| plan[random(all)]).collect();
        }
        let mut acknowledged = 0;
        for fault in &plan {
            let folder = tempfile::tempdir().unwrap();
            (self.prepare)(folder.path());
            let inject = format!("--inject={}:{}:when={}", fault.call, fault.instead, fault.when);
            let command = (self.program)(folder.path(), &["--output=/dev/null", &inject]);
            let lines = run_for_lines(folder.path(), command);
            (self.judge)(folder.path(), &lines, fault);
            acknowledged += lines.len();
        }
        say(&format!("{}: {} of {all} faults; {acknowledged} acknowledged, none lost", self.name, plan.len()));
        // A dozen at random may happen to be early ones: how many get through is told by all of them.
        let is_tried = !is_whole_campaign() || acknowledged > plan.len() / 4;
        assert!(is_tried, "{acknowledged} in {} runs: nothing was tried", plan.len());
        acknowledged
    }

    /// Every call of a run without faults, as often as the thread makes it that makes it most often.
    fn plan(&self) -> Vec<Fault> {
        let folder = tempfile::tempdir().unwrap();
        (self.prepare)(folder.path());
        let out = folder.path().join("trace");
        let (out, traced) = (out.display().to_string(), format!("--trace={}", CALLS.join(",")));
        let lines = run_for_lines(folder.path(), (self.program)(folder.path(), &["--output", &out, &traced]));
        assert!(!lines.is_empty(), "{}: nothing is acknowledged even without faults", self.name);
        let most = most_by_one_thread(&std::fs::read_to_string(&out).unwrap());
        let syncs: usize = ["fsync", "fdatasync"].iter().filter_map(|call| most.get(call)).sum();
        assert!(syncs > 3, "{}: {most:?}", self.name);
        let each = |(call, count)| {
            FAULTS.into_iter().flat_map(move |instead| (1..=count).map(move |when| Fault { call, when, instead }))
        };
        most.into_iter().flat_map(each).collect()
    }
}

/// How often each call is made, on whichever thread makes it most often: `strace` counts by thread too.
fn most_by_one_thread(trace: &str) -> BTreeMap<&'static str, usize> {
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
