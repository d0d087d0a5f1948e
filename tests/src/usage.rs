//! What a process has used so far, and how many files this one may open; as Linux tells it.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Ticks of the kernel's counters in a second: the same for all of Linux.
const TICKS_PER_S: f64 = 100.0;

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Seconds of processors, of all its threads since its start.
    pub cpu_s: f64,
    /// Memory that it holds now.
    pub resident_bytes: u64,
}

impl Usage {
    /// Of a process that runs.
    ///
    /// # Errors
    /// If there is none, or not on Linux.
    pub fn of(process: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{process}/{name}");
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))
        };
        Self::read(&read("stat")?, &read("status")?).context("the kernel tells it in another form")
    }

    fn read(stat: &str, status: &str) -> Option<Self> {
        // The second field is the program's name, which may hold anything; fields 14 and 15 are user and system time.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut ticks = fields.split_whitespace().skip(11).map_while(|field| field.parse::<f64>().ok());
        let cpu_s = (ticks.next()? + ticks.next()?) / TICKS_PER_S;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Self { cpu_s, resident_bytes: kib * 1024 })
    }
}

/// Lets this process and those it starts open so many files.
///
/// # Errors
/// If the system's hard limit is below that: says how far it goes.
pub fn may_open(files: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    ensure!(
        maximum.is_none_or(|maximum| maximum >= files),
        "{files} open files are needed and the hard limit is {}: raise it (`ulimit -Hn`), or take fewer devices",
        maximum.unwrap_or_default()
    );
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("the limit of open files stays")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_any_name_is_read() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 4 0 100 1 1 1";
        let usage = Usage::read(stat, "Name:\tx\nVmRSS:\t    2048 kB\n").unwrap();
        assert_eq!(usage, Usage { cpu_s: 2.0, resident_bytes: 2 * 1024 * 1024 });
        assert_eq!(Usage::read("7 (x) S", "VmRSS: 1 kB"), None);
    }
}
