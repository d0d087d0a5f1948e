//! Control groups: a program with as much memory and processor as a small box has, by whichever version of groups is here.
//!
//! Needs root, or a part of the hierarchy that was handed to this account.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Groups so far in this process.
static GROUPS: AtomicU32 = AtomicU32::new(0);

/// A group with limits. Dropping it takes it away, once its programs have ended.
#[derive(Debug)]
pub struct Group {
    /// Of version 1 there is one folder for each controller; the first is that of memory.
    folders: Vec<PathBuf>,
    is_version_1: bool,
}

impl Group {
    /// A group of so much memory and so many processors.
    ///
    /// # Errors
    /// If no controller of memory is here that this account may use.
    pub fn new(memory_bytes: u64, processors: u32) -> Result<Self> {
        let root = Path::new("/").join("sys/fs/cgroup");
        let name = format!("outpost-{}-{}", std::process::id(), GROUPS.fetch_add(1, Ordering::Relaxed));
        let is_version_1 = root.join("memory/memory.limit_in_bytes").exists();
        let group = if is_version_1 {
            Self { folders: vec![root.join("memory").join(&name), root.join("cpu").join(&name)], is_version_1 }
        } else {
            // The root hands out what it is told to.
            std::fs::write(root.join("cgroup.subtree_control"), "+memory +cpu")
                .context("a group with limits needs root and a controller of memory")?;
            Self { folders: vec![root.join(&name)], is_version_1 }
        };
        for folder in &group.folders {
            std::fs::create_dir(folder).with_context(|| format!("no group `{}`: that needs root", folder.display()))?;
        }
        if is_version_1 {
            group.set(0, "memory.limit_in_bytes", memory_bytes)?;
            group.set(1, "cpu.cfs_period_us", 100_000)?;
            group.set(1, "cpu.cfs_quota_us", u64::from(processors) * 100_000)?;
        } else {
            group.set(0, "memory.max", memory_bytes)?;
            let quota = format!("{} 100000", u64::from(processors) * 100_000);
            std::fs::write(group.folders[0].join("cpu.max"), quota).context("no quota of processor time")?;
            // Where nothing is swapped, what is too much is too much.
            std::fs::write(group.folders[0].join("memory.swap.max"), "0").ok();
        }
        Ok(group)
    }

    /// A command whose program begins its life in the group.
    #[must_use]
    pub fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let enter = r#"while [ "$1" != -- ]; do echo $$ > "$1" || exit 97; shift; done; shift; exec "$@""#;
        command.arg("-c").arg(enter).arg("sh");
        command.args(self.folders.iter().map(|folder| folder.join("cgroup.procs"))).arg("--");
        command.arg(program).args(arguments);
        command
    }

    /// Memory that its programs take now, file pages included.
    ///
    /// # Errors
    /// If it does not say.
    pub fn used_bytes(&self) -> Result<u64> {
        self.number(if self.is_version_1 { "memory.usage_in_bytes" } else { "memory.current" })
    }

    /// The most that they ever took, file pages included.
    ///
    /// # Errors
    /// If it does not say.
    pub fn most_bytes(&self) -> Result<u64> {
        self.number(if self.is_version_1 { "memory.max_usage_in_bytes" } else { "memory.peak" })
    }

    /// Programs that the kernel killed for want of memory.
    ///
    /// # Errors
    /// If it does not say.
    pub fn killed(&self) -> Result<u64> {
        let file = if self.is_version_1 { "memory.oom_control" } else { "memory.events" };
        let text = self.text(file)?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        count.with_context(|| format!("`{file}` counts no kills: {text}"))
    }

    fn set(&self, folder: usize, name: &str, number: u64) -> Result<()> {
        let path = self.folders[folder].join(name);
        std::fs::write(&path, number.to_string()).with_context(|| format!("cannot write `{}`", path.display()))
    }

    fn number(&self, name: &str) -> Result<u64> {
        self.text(name)?.trim().parse().with_context(|| format!("`{name}` is no number"))
    }

    fn text(&self, name: &str) -> Result<String> {
        let path = self.folders[0].join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            // A program that was killed a moment ago may not be gone yet.
            for _ in 0..100 {
                if std::fs::remove_dir(folder).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// The memory of a process that is its own, now: pages of files are not counted.
///
/// # Errors
/// If there is no such process.
pub fn own_bytes(process: u32) -> Result<u64> {
    let path = Path::new("/").join("proc").join(process.to_string()).join("status");
    let text = std::fs::read_to_string(path).context("the process is gone")?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes: u64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).context("no RssAnon")?;
    ensure!(kibibytes > 0, "a process without memory");
    Ok(kibibytes * 1024)
}
