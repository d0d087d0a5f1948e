//! What control groups leave of their memory limits; containers and services live in them.

use std::path::{Path, PathBuf};

/// Where version 2 is mounted alone.
const UNIFIED: &str = "/sys/fs/cgroup";

/// How one version of control groups spells its limits and its use.
struct Version {
    /// Where it is mounted.
    root: PathBuf,
    /// Limits; the lowest counts.
    limits: &'static [&'static str],
    /// Bytes in use.
    used: &'static str,
    /// The line of `memory.stat` that counts file pages which the kernel drops before it refuses memory.
    reclaimable: &'static str,
}

/// The smallest headroom from this process's group up to the root; `None` if nothing limits it.
pub(crate) fn headroom_bytes() -> Option<u64> {
    let membership = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let unified = Path::new(UNIFIED);
    // Where both versions are mounted, memory belongs to the older one.
    let legacy = unified.join("memory");
    if legacy.is_dir() {
        let own = own_path_of_version_1(&membership)?;
        let limits = &["memory.limit_in_bytes"];
        let (used, reclaimable) = ("memory.usage_in_bytes", "total_inactive_file");
        least_headroom(&Version { root: legacy, limits, used, reclaimable }, own)
    } else {
        let own = own_path_of_version_2(&membership)?;
        let limits = &["memory.max", "memory.high"];
        let (used, reclaimable) = ("memory.current", "inactive_file");
        least_headroom(&Version { root: unified.to_owned(), limits, used, reclaimable }, own)
    }
}

/// The path in the line of version 2, `0::/…`.
fn own_path_of_version_2(membership: &str) -> Option<&str> {
    membership.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The path in the line of version 1's memory controller, `4:memory:/…`; controllers may share a line.
fn own_path_of_version_1(membership: &str) -> Option<&str> {
    membership.lines().find_map(|line| {
        let (_number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|controller| controller == "memory").then_some(path)
    })
}

/// A limit of any ancestor binds, so every step up to the root is asked. In a container the root is the group itself, and the
/// path of the membership may not exist below it: then only the steps that do exist are asked.
fn least_headroom(version: &Version, own: &str) -> Option<u64> {
    let inside = own.split('/').filter(|part| !part.is_empty() && *part != "..");
    let lowest: PathBuf = inside.fold(version.root.clone(), |path, part| path.join(part));
    let steps = lowest.ancestors().take_while(|step| step.starts_with(&version.root));
    steps.filter_map(|step| headroom_of(version, step)).min()
}

fn headroom_of(version: &Version, group: &Path) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let limit = version.limits.iter().filter_map(|name| parse_limit(&read(name)?)).min()?;
    let used: u64 = read(version.used)?.trim().parse().ok()?;
    let reclaimable = read("memory.stat").and_then(|text| parse_stat(&text, version.reclaimable)).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(reclaimable)))
}

/// `max` means no limit, and so does a number that no machine has: version 1 has no word for it.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
}

/// The number behind a name in lines of `name number`.
fn parse_stat(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_2(root: &Path) -> Version {
        let limits = &["memory.max", "memory.high"];
        Version { root: root.to_owned(), limits, used: "memory.current", reclaimable: "inactive_file" }
    }

    fn group(path: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(path).unwrap();
        for (name, text) in files {
            std::fs::write(path.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_own_group_is_found_in_both_versions() {
        let membership = "12:cpu,cpuacct:/x\n4:memory:/box/agent\n0::/system.slice/outpost.service\n";
        assert_eq!(own_path_of_version_2(membership), Some("/system.slice/outpost.service"));
        assert_eq!(own_path_of_version_1(membership), Some("/box/agent"));
        assert_eq!((own_path_of_version_2("12:cpu:/x\n"), own_path_of_version_1("12:cpu:/x\n")), (None, None));
    }

    #[test]
    fn no_limit_is_not_a_limit_of_zero() {
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("9223372036854771712\n"), None);
        assert_eq!(parse_limit("1048576\n"), Some(1_048_576));
    }

    #[test]
    fn the_tighter_of_two_limits_counts_less_what_is_used_and_cannot_be_dropped() {
        let folder = tempfile::tempdir().unwrap();
        group(folder.path(), &[("memory.max", "1000\n"), ("memory.high", "800\n"), ("memory.current", "300\n")]);
        assert_eq!(headroom_of(&version_2(folder.path()), folder.path()), Some(500));
        group(folder.path(), &[("memory.stat", "anon 200\ninactive_file_of_another 9\ninactive_file 100\n")]);
        assert_eq!(headroom_of(&version_2(folder.path()), folder.path()), Some(600));
    }

    #[test]
    fn a_limit_of_an_ancestor_binds() {
        let folder = tempfile::tempdir().unwrap();
        let slice = folder.path().join("slice");
        group(&slice, &[("memory.max", "1000"), ("memory.high", "max"), ("memory.current", "900")]);
        group(&slice.join("agent"), &[("memory.max", "max"), ("memory.high", "5000"), ("memory.current", "400")]);
        assert_eq!(least_headroom(&version_2(folder.path()), "/slice/agent"), Some(100));
        assert_eq!(least_headroom(&version_2(folder.path()), "/not/here"), None);
    }

    #[test]
    fn a_path_that_climbs_out_of_the_hierarchy_stays_inside() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        group(folder.path(), &[("memory.max", "1"), ("memory.current", "1")]);
        group(&root, &[("memory.max", "70"), ("memory.current", "20")]);
        assert_eq!(least_headroom(&version_2(&root), "/../../other"), Some(50));
    }
}
