//! What control groups leave of their limits; containers and services live in them.
//!
//! A limit of any group around this process binds, so every step from its own up to the root is asked. In a container the root
//! that is seen may be a group itself, and the path of the membership may not exist below it: then only steps that exist are.

use outpost_contract::LimitFacts;

use crate::mounts::{self, Mount};
use crate::tree::{Tree, parse_line};

/// Version 1 has no word for no limit and writes a number that no machine has.
const NO_LIMIT: u64 = 1 << 60;

/// The groups around this process that a controller limits, its own first.
struct Groups {
    is_version_1: bool,
    folders: Vec<String>,
}

/// How one version spells limits and use of memory.
struct Words {
    limits: &'static [&'static str],
    used: &'static str,
    /// The line of `memory.stat` that counts file pages which the kernel drops before it refuses memory.
    reclaimable: &'static str,
}

const VERSION_1: Words =
    Words { limits: &["memory.limit_in_bytes"], used: "memory.usage_in_bytes", reclaimable: "total_inactive_file" };
const VERSION_2: Words =
    Words { limits: &["memory.max", "memory.high"], used: "memory.current", reclaimable: "inactive_file" };

impl Groups {
    /// The hierarchy that has this controller: of version 1 where the membership names it, else that of version 2.
    fn of(tree: &Tree, controller: &str) -> Option<Self> {
        let membership = tree.text("proc/self/cgroup")?;
        let mounts = mounts::read(tree);
        let found = |mount: Option<&Mount>, usual: String| match mount {
            Some(mount) => (mount.place.clone(), mount.part.clone()),
            None => (usual, "/".to_owned()),
        };
        let has_controller = |mount: &&Mount| {
            mount.file_system == "cgroup" && mount.options.split(',').any(|option| option == controller)
        };
        let is_version_1 = own_in_version_1(&membership, controller).is_some();
        let (own, (place, part)) = match own_in_version_1(&membership, controller) {
            Some(own) => (own, found(mounts.iter().find(has_controller), format!("/sys/fs/cgroup/{controller}"))),
            None => {
                let unified = mounts.iter().find(|mount| mount.file_system == "cgroup2");
                (own_in_version_2(&membership)?, found(unified, "/sys/fs/cgroup".to_owned()))
            }
        };
        // What is mounted may be a group far below the root of the membership.
        let below =
            own.strip_prefix(part.trim_end_matches('/')).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let steps = below.unwrap_or(own).split('/').filter(|step| !matches!(*step, "" | "." | ".."));
        let mut folders = vec![place];
        for step in steps {
            let folder = format!("{}/{step}", folders.last().map_or("", String::as_str));
            folders.push(folder);
        }
        folders.reverse();
        Some(Self { is_version_1, folders })
    }
}

/// The path in the line of version 2, `0::/…`.
fn own_in_version_2(membership: &str) -> Option<&str> {
    membership.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The path in the line of a controller of version 1, `4:memory:/…`; controllers may share a line.
fn own_in_version_1<'a>(membership: &'a str, wanted: &str) -> Option<&'a str> {
    membership.lines().find_map(|line| {
        let (_number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|controller| controller == wanted).then_some(path)
    })
}

/// The limit of memory that leaves the least; `None` if nothing limits this process.
pub(crate) fn memory(tree: &Tree) -> Option<LimitFacts> {
    let groups = Groups::of(tree, "memory")?;
    let words = if groups.is_version_1 { &VERSION_1 } else { &VERSION_2 };
    let limits = groups.folders.iter().zip(0..).filter_map(|(folder, above)| limit_of(tree, words, folder, above));
    let tightest = limits.min_by_key(|limit| limit.headroom_bytes)?;
    Some(LimitFacts { swap_bytes: swap(tree, &groups), ..tightest })
}

fn limit_of(tree: &Tree, words: &Words, folder: &str, above: u32) -> Option<LimitFacts> {
    let stat = tree.text(&format!("{folder}/memory.stat")).unwrap_or_default();
    let set =
        words.limits.iter().filter_map(|name| Some((parse_limit(&tree.text(&format!("{folder}/{name}"))?)?, *name)));
    // Version 1 tells here what groups limit that cannot be seen from a container.
    let hidden = parse_line(&stat, "hierarchical_memory_limit").filter(|limit| *limit < NO_LIMIT);
    let hidden = hidden.map(|limit| (limit, "hierarchical_memory_limit"));
    let (bytes, setting) = set.chain(hidden).min_by_key(|(limit, _)| *limit)?;
    let used: u64 = tree.number(&format!("{folder}/{}", words.used))?;
    let reclaimable = parse_line(&stat, words.reclaimable).unwrap_or(0);
    let headroom_bytes = bytes.saturating_sub(used.saturating_sub(reclaimable));
    Some(LimitFacts { setting: setting.to_owned(), bytes, headroom_bytes, above, swap_bytes: None })
}

/// What the tightest limit leaves at this moment, and what its group counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) limit_bytes: u64,
    pub(crate) left_bytes: u64,
    /// How often the group ran into it.
    pub(crate) times_at_limit: Option<u64>,
    pub(crate) killed: Option<u64>,
    /// The text of the group's own stalls; version 1 counts none.
    pub(crate) stalls: Option<String>,
}

/// As [`memory`], for every second: unlike a plan it counts on every file page that nobody has mapped, since the kernel drops
/// those before it refuses memory, wherever they stand in its lists.
pub(crate) fn left(tree: &Tree) -> Option<Left> {
    let groups = Groups::of(tree, "memory")?;
    let (words, active, mapped) = match groups.is_version_1 {
        true => (&VERSION_1, "total_active_file", "total_mapped_file"),
        false => (&VERSION_2, "active_file", "file_mapped"),
    };
    let left = groups.folders.iter().filter_map(|folder| {
        let limit = limit_of(tree, words, folder, 0)?;
        let used: u64 = tree.number(&format!("{folder}/{}", words.used))?;
        let stat = tree.text(&format!("{folder}/memory.stat")).unwrap_or_default();
        let count = |name: &str| parse_line(&stat, name).unwrap_or(0);
        let droppable = count(words.reclaimable).saturating_add(count(active)).saturating_sub(count(mapped));
        let (times_at_limit, killed) = if groups.is_version_1 {
            let kills = tree.text(&format!("{folder}/memory.oom_control"));
            (tree.number(&format!("{folder}/memory.failcnt")), kills.and_then(|text| parse_line(&text, "oom_kill")))
        } else {
            let events = tree.text(&format!("{folder}/memory.events")).unwrap_or_default();
            let both = ["high", "max"].iter().filter_map(|name| parse_line(&events, name)).reduce(u64::saturating_add);
            (both, parse_line(&events, "oom_kill"))
        };
        Some(Left {
            limit_bytes: limit.bytes,
            left_bytes: limit.bytes.saturating_sub(used.saturating_sub(droppable)),
            times_at_limit,
            killed,
            stalls: tree.text(&format!("{folder}/memory.pressure")),
        })
    });
    left.min_by_key(|left| left.left_bytes)
}

/// What may be swapped out of the groups; version 1 counts it together with memory, which tells nothing by itself.
fn swap(tree: &Tree, groups: &Groups) -> Option<u64> {
    let limit = |folder: &String| parse_limit(&tree.text(&format!("{folder}/memory.swap.max"))?);
    groups.folders.iter().filter(|_| !groups.is_version_1).filter_map(limit).min()
}

/// `max` means no limit.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

/// The processor time that the tightest group grants, in thousandths of a core; `None` if nothing limits it.
pub(crate) fn quota_milli(tree: &Tree) -> Option<u64> {
    let groups = Groups::of(tree, "cpu")?;
    let quota = |folder: &String| {
        if groups.is_version_1 {
            let quota = tree.text(&format!("{folder}/cpu.cfs_quota_us"))?;
            parse_quota(&format!("{} {}", quota.trim(), tree.text(&format!("{folder}/cpu.cfs_period_us"))?))
        } else {
            parse_quota(&tree.text(&format!("{folder}/cpu.max"))?)
        }
    };
    groups.folders.iter().filter_map(quota).min()
}

/// Microseconds of processor time, then those of the period in which they may be used: `150000 100000`. `max` and −1 are no
/// limit.
fn parse_quota(text: &str) -> Option<u64> {
    let mut numbers = text.split_whitespace();
    let quota: u64 = numbers.next()?.parse().ok()?;
    let period: u64 = numbers.next()?.parse().ok()?;
    quota.checked_mul(1_000)?.checked_div(period)
}

/// How often the groups have held this process and those beside it back for want of quota.
pub(crate) fn times_throttled(tree: &Tree) -> Option<u64> {
    let groups = Groups::of(tree, "cpu")?;
    let times = |folder: &String| parse_line(&tree.text(&format!("{folder}/cpu.stat"))?, "nr_throttled");
    groups.folders.iter().filter_map(times).reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests;
