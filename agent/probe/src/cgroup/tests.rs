//! Both versions of control groups, nested, namespaced, mounted elsewhere, and what is no control group at all.

use proptest::prelude::*;

use super::*;
use crate::fixtures::Fixture;

fn headroom(fixture: &Fixture) -> Option<u64> {
    memory(&fixture.tree()).map(|limit| limit.headroom_bytes)
}

#[test]
fn the_own_group_is_found_in_both_versions() {
    let membership = "12:cpu,cpuacct:/x\n4:memory:/box/agent\n0::/system.slice/outpost.service\n";
    assert_eq!(own_in_version_2(membership), Some("/system.slice/outpost.service"));
    assert_eq!(own_in_version_1(membership, "memory"), Some("/box/agent"));
    assert_eq!(own_in_version_1(membership, "cpuacct"), Some("/x"));
    assert_eq!((own_in_version_2("12:cpu:/x\n"), own_in_version_1("12:cpu:/x\n", "memory")), (None, None));
}

#[test]
fn no_limit_is_not_a_limit_of_zero() {
    assert_eq!(parse_limit("max\n"), None);
    assert_eq!(parse_limit("9223372036854771712\n"), None);
    assert_eq!(parse_limit("1048576\n"), Some(1_048_576));
    assert_eq!([parse_quota("max 100000"), parse_quota("-1 100000"), parse_quota("5 0")], [None, None, None]);
    assert_eq!(parse_quota("150000 100000\n"), Some(1_500));
}

#[test]
fn the_tighter_of_two_limits_counts_less_what_is_used_and_cannot_be_dropped() {
    let fixture = Fixture::default()
        .file("proc/self/cgroup", "0::/\n")
        .file("sys/fs/cgroup/memory.max", "1000\n")
        .file("sys/fs/cgroup/memory.high", "800\n")
        .file("sys/fs/cgroup/memory.current", "300\n");
    assert_eq!(headroom(&fixture), Some(500));
    let stat = "anon 200\ninactive_file_of_another 9\ninactive_file 100\n";
    let fixture = fixture.file("sys/fs/cgroup/memory.stat", stat);
    let limit = memory(&fixture.tree()).unwrap();
    assert_eq!((limit.headroom_bytes, &*limit.setting, limit.bytes, limit.above), (600, "memory.high", 800, 0));
}

#[test]
fn a_limit_of_an_ancestor_binds_and_is_told_from_the_own_one() {
    let fixture = Fixture::default()
        .file("proc/self/cgroup", "0::/slice/agent\n")
        .file("sys/fs/cgroup/slice/memory.max", "1000")
        .file("sys/fs/cgroup/slice/memory.high", "max")
        .file("sys/fs/cgroup/slice/memory.current", "900")
        .file("sys/fs/cgroup/slice/cpu.max", "150000 100000")
        .file("sys/fs/cgroup/slice/cpu.stat", "nr_periods 9\nnr_throttled 4\n")
        .file("sys/fs/cgroup/slice/memory.swap.max", "0")
        .file("sys/fs/cgroup/slice/agent/memory.max", "max")
        .file("sys/fs/cgroup/slice/agent/memory.high", "5000")
        .file("sys/fs/cgroup/slice/agent/memory.current", "400")
        .file("sys/fs/cgroup/slice/agent/cpu.max", "max 100000")
        .file("sys/fs/cgroup/slice/agent/cpu.stat", "nr_periods 9\nnr_throttled 1\n");
    let limit = memory(&fixture.tree()).unwrap();
    assert_eq!((limit.headroom_bytes, &*limit.setting, limit.above, limit.swap_bytes), (100, "memory.max", 1, Some(0)));
    assert_eq!(quota_milli(&fixture.tree()), Some(1_500));
    assert_eq!(times_throttled(&fixture.tree()), Some(5));
}

#[test]
fn a_path_that_climbs_out_of_the_hierarchy_stays_inside() {
    let fixture = Fixture::default()
        .file("proc/self/cgroup", "0::/../../other\n")
        .file("sys/fs/memory.max", "1")
        .file("sys/fs/memory.current", "1")
        .file("sys/fs/cgroup/memory.max", "70")
        .file("sys/fs/cgroup/memory.current", "20");
    assert_eq!(headroom(&fixture), Some(50));
}

#[test]
fn a_group_of_version_2_that_is_called_memory_is_no_hierarchy_of_version_1() {
    let fixture = Fixture::default()
        .file("proc/self/cgroup", "0::/memory\n")
        .file("sys/fs/cgroup/memory/memory.max", "100")
        .file("sys/fs/cgroup/memory/memory.current", "40");
    assert_eq!(headroom(&fixture), Some(60));
}

#[test]
fn version_1_is_found_where_it_is_mounted_and_tells_limits_that_are_out_of_sight() {
    let fixture = Fixture::default()
        .file("proc/self/cgroup", "4:memory:/docker/abc/agent\n2:cpu,cpuacct:/docker/abc/agent\n0::/\n")
        .file(
            "proc/self/mountinfo",
            "35 31 0:32 /docker/abc /groups/m rw - cgroup cgroup rw,memory\n\
             36 31 0:33 /docker/abc /groups/c rw - cgroup cgroup rw,cpu,cpuacct\n",
        )
        .file("groups/m/memory.limit_in_bytes", "9223372036854771712")
        .file("groups/m/memory.usage_in_bytes", "500")
        .file("groups/m/memory.stat", "hierarchical_memory_limit 2000\ntotal_inactive_file 100\n")
        .file("groups/m/agent/memory.limit_in_bytes", "1900")
        .file("groups/m/agent/memory.usage_in_bytes", "100")
        .file("groups/c/agent/cpu.cfs_quota_us", "-1")
        .file("groups/c/agent/cpu.cfs_period_us", "100000")
        .file("groups/c/cpu.cfs_quota_us", "250000")
        .file("groups/c/cpu.cfs_period_us", "100000");
    let limit = memory(&fixture.tree()).unwrap();
    assert_eq!((limit.headroom_bytes, &*limit.setting, limit.above), (1_600, "hierarchical_memory_limit", 1));
    assert_eq!(quota_milli(&fixture.tree()), Some(2_500));
}

#[test]
fn a_machine_without_control_groups_has_no_limit() {
    assert_eq!(headroom(&Fixture::default()), None);
    assert_eq!(headroom(&Fixture::default().file("proc/self/cgroup", "0::/not/here\n")), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_in_any_of_the_files_make_it_panic(
        membership in "(0::|4:memory:|2:cpu:|[0-9:a-z]{0,8})[/a-z.]{0,12}",
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        number in any::<u64>(),
    ) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        parse_quota(&text);
        parse_quota(&format!("{number} {number}"));
        parse_limit(&text);
        own_in_version_1(&text, "memory");
        own_in_version_2(&text);
        let fixture = ["memory.max", "memory.stat", "cpu.max", "cpu.stat"].into_iter().fold(
            Fixture::default().file("proc/self/cgroup", &membership).file("sys/fs/cgroup/memory.current", &number.to_string()),
            |fixture, name| fixture.file(&format!("sys/fs/cgroup/{name}"), &text),
        );
        let tree = fixture.tree();
        memory(&tree);
        quota_milli(&tree);
        times_throttled(&tree);
    }
}
