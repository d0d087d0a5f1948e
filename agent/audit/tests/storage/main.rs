//! The log on storage that fails: system calls that are refused or never come back, and power that goes.
//!
//! Every campaign runs a program under `strace`: one that records, one that exports, one that erases and prunes. The short
//! form runs with the other tests; the whole one is `OUTPOST_STORAGE=all cargo test -p outpost-audit --test storage`.

mod destroying;
mod exporting;
mod faults;
mod power;
mod recorder;
mod recording;
mod trace;

/// Whether the whole campaign is asked for.
fn is_whole_campaign() -> bool {
    std::env::var("OUTPOST_STORAGE").is_ok_and(|form| form == "all")
}

/// A number below another.
fn random(below: usize) -> usize {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    usize::try_from(u64::from_ne_bytes(bytes) % below.max(1) as u64).unwrap()
}

/// A figure of a campaign, for whoever asked for it.
#[expect(clippy::print_stderr, reason = "the figures that the campaigns are for")]
fn say(line: &str) {
    eprintln!("{line}");
}
