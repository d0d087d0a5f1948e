//! What a cgroup (version 2) leaves of its memory limit; containers and services live in one.

use std::path::{Path, PathBuf};

/// Where version 2 is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The smallest headroom from this process's cgroup up to the root; `None` if nothing limits it.
pub(crate) fn headroom_bytes() -> Option<u64> {
    let membership = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own_path(&membership)?;
    let mut directory: PathBuf = Path::new(ROOT).join(own.trim_start_matches('/'));
    let mut least = None;
    while directory.starts_with(ROOT) {
        if let Some(headroom) = headroom_of(&directory) {
            least = Some(least.map_or(headroom, |known: u64| known.min(headroom)));
        }
        if !directory.pop() {
            break;
        }
    }
    least
}

/// The path in the line of version 2, `0::/…`.
fn own_path(membership: &str) -> Option<&str> {
    membership.lines().find_map(|line| line.strip_prefix("0::"))
}

fn headroom_of(directory: &Path) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).ok();
    let limits = ["memory.max", "memory.high"].into_iter().filter_map(|name| parse_limit(&read(name)?));
    let limit = limits.min()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    Some(limit.saturating_sub(used))
}

/// `max` means no limit.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_version_2_is_found_among_others() {
        assert_eq!(own_path("12:cpu:/x\n0::/system.slice/outpost.service\n"), Some("/system.slice/outpost.service"));
        assert_eq!(own_path("12:cpu:/x\n"), None);
    }

    #[test]
    fn no_limit_is_not_a_limit_of_zero() {
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("1048576\n"), Some(1_048_576));
    }

    #[test]
    fn the_tighter_of_two_limits_counts_less_what_is_used() {
        let directory = std::env::temp_dir().join(format!("outpost-cgroup-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (name, text) in [("memory.max", "1000\n"), ("memory.high", "800\n"), ("memory.current", "300\n")] {
            std::fs::File::create(directory.join(name)).and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).unwrap();
        }
        assert_eq!(headroom_of(&directory), Some(500));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
