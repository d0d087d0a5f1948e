//! How much memory is left at this moment, and whether anybody waits for it: a few small files, cheap enough for every second.
//!
//! Where a control group limits this process, its limit, its counters and its stalls count; else those of the machine.

use crate::cgroup;
use crate::pressure;
use crate::tree::{Tree, parse_line};

/// Memory at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    /// All that this process and those beside it could ever have: the machine's memory or the tightest limit.
    pub capacity_bytes: u64,
    /// What can be had of it without taking anything from anybody.
    pub available_bytes: u64,
    /// Whether a control group sets both, and not the machine.
    pub is_limited: bool,
    /// The share of the last ten seconds in which somebody waited for memory, hundredths of a percent.
    pub some_stalled_centi_percent: Option<u32>,
    /// The same, in which nobody did anything else.
    pub full_stalled_centi_percent: Option<u32>,
    /// How often the group ran into its limit since it was made; `None` without one.
    pub times_at_limit: Option<u64>,
    /// Processes of the group, or of the machine, that the kernel killed for want of memory.
    pub killed: Option<u64>,
}

/// Memory now; zeros where the system does not say.
#[must_use]
pub fn room() -> Room {
    let found = read(&crate::live());
    if found.capacity_bytes > 0 {
        return found;
    }
    let memory = crate::Memory::now();
    Room { capacity_bytes: memory.total_bytes, available_bytes: memory.available_bytes, ..found }
}

pub(crate) fn read(tree: &Tree) -> Room {
    let text = tree.text("proc/meminfo").unwrap_or_default();
    let kibibytes = |name: &str| parse_line(&text, name).unwrap_or(0).saturating_mul(1024);
    let (total, available) = (kibibytes("MemTotal"), kibibytes("MemAvailable"));
    let stalls = |group: Option<&cgroup::Left>| {
        let own = group.and_then(|group| pressure::parse(group.stalls.as_deref()?));
        own.or_else(|| pressure::read(tree).memory)
    };
    let group = cgroup::left(tree);
    let stalled = stalls(group.as_ref());
    let room = Room {
        capacity_bytes: total,
        available_bytes: available,
        is_limited: false,
        some_stalled_centi_percent: stalled.as_ref().map(|stalled| stalled.some_centi_percent),
        full_stalled_centi_percent: stalled.and_then(|stalled| stalled.full_centi_percent),
        times_at_limit: None,
        killed: tree.text("proc/vmstat").and_then(|text| parse_line(&text, "oom_kill")),
    };
    match group {
        // The machine may have less left than the group would still be allowed.
        Some(group) if total == 0 || group.left_bytes <= available => Room {
            capacity_bytes: if total == 0 { group.limit_bytes } else { group.limit_bytes.min(total) },
            available_bytes: group.left_bytes,
            is_limited: true,
            times_at_limit: group.times_at_limit,
            killed: group.killed,
            ..room
        },
        Some(group) => Room { times_at_limit: group.times_at_limit, ..room },
        None => room,
    }
}

/// Whether the processor is held back by heat, or by its firmware, now: `None` where nothing tells. Counters that only grow
/// are in the second part, for whoever compares them.
#[must_use]
pub fn heat() -> (Option<bool>, Option<u64>) {
    let tree = crate::live();
    (crate::heat::read(&tree).is_throttled, crate::heat::times_throttled(&tree))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Fixture;

    const MEMINFO: &str = "MemTotal:       8000 kB\nMemFree:         100 kB\nMemAvailable:   3000 kB\n";

    #[test]
    fn a_machine_without_groups_tells_its_own_memory_and_stalls() {
        let fixture =
            Fixture::default().file("proc/meminfo", MEMINFO).file("proc/vmstat", "nr_free_pages 5\noom_kill 2\n").file(
                "proc/pressure/memory",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.25 avg60=0.00\n",
            );
        let room = read(&fixture.tree());
        assert_eq!((room.capacity_bytes, room.available_bytes, room.is_limited), (8_000 << 10, 3_000 << 10, false));
        assert_eq!((room.some_stalled_centi_percent, room.full_stalled_centi_percent), (Some(150), Some(25)));
        assert_eq!((room.killed, room.times_at_limit), (Some(2), None));
        assert_eq!(read(&Fixture::default().tree()), Room::default());
    }

    #[test]
    fn the_group_counts_where_it_leaves_less_in_both_versions() {
        let second = Fixture::default()
            .file("proc/meminfo", MEMINFO)
            .file("proc/pressure/memory", "some avg10=9.00 avg60=0.00\n")
            .file("proc/self/cgroup", "0::/box\n")
            .files(
                "sys/fs/cgroup/box",
                &[
                    ("memory.max", "1048576\n"),
                    ("memory.current", "900000\n"),
                    ("memory.stat", "inactive_file 100000\nactive_file 200000\nfile_mapped 50000\n"),
                    ("memory.events", "low 0\nhigh 1\nmax 3\noom 0\noom_kill 1\n"),
                    ("memory.pressure", "some avg10=4.00 avg60=0.00\nfull avg10=3.00 avg60=0.00\n"),
                ],
            );
        let room = read(&second.tree());
        // What is mapped is in use, whichever list it stands in.
        assert_eq!((room.capacity_bytes, room.available_bytes), (1_048_576, 1_048_576 - 900_000 + 250_000));
        assert_eq!((room.times_at_limit, room.killed, room.full_stalled_centi_percent), (Some(4), Some(1), Some(300)));
        let first = Fixture::default()
            .file("proc/meminfo", MEMINFO)
            .file("proc/pressure/memory", "some avg10=9.00 avg60=0.00\n")
            .file("proc/self/cgroup", "4:memory:/box\n")
            .files(
                "sys/fs/cgroup/memory/box",
                &[
                    ("memory.limit_in_bytes", "1048576\n"),
                    ("memory.usage_in_bytes", "900000\n"),
                    ("memory.stat", "total_inactive_file 100000\ntotal_active_file 0\ntotal_mapped_file 50000\n"),
                    ("memory.failcnt", "7\n"),
                    ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
                ],
            );
        let room = read(&first.tree());
        assert_eq!((room.available_bytes, room.times_at_limit, room.killed), (198_576, Some(7), Some(2)));
        assert_eq!((room.is_limited, room.some_stalled_centi_percent), (true, Some(900)));
    }

    #[test]
    fn a_group_that_is_allowed_more_than_the_machine_has_left_is_no_comfort() {
        let fixture = Fixture::default()
            .file("proc/meminfo", MEMINFO)
            .file("proc/self/cgroup", "0::/\n")
            .file("sys/fs/cgroup/memory.max", "7000000\n")
            .file("sys/fs/cgroup/memory.current", "1000\n");
        let room = read(&fixture.tree());
        assert_eq!((room.available_bytes, room.is_limited), (3_000 << 10, false));
    }
}
