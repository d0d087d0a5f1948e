//! The cores that this process may use: physical and logical, fast and slow, and how their clocks are governed.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::{CoreKind, ProcessorFacts};
use sysinfo::System;

use crate::cgroup;
use crate::tree::{Tree, shown};

const CPUS: &str = "sys/devices/system/cpu";

/// The cores of a machine.
#[derive(Debug, Default)]
pub(crate) struct Cores {
    /// Hardware threads that are switched on.
    online: BTreeSet<u32>,
    /// Those of them that this process may run on.
    pub(crate) allowed: BTreeSet<u32>,
    /// Hardware threads that share a core with each.
    siblings: BTreeMap<u32, BTreeSet<u32>>,
    quota_milli: Option<u64>,
}

impl Cores {
    /// Reads what the tree tells.
    pub(crate) fn read(tree: &Tree) -> Self {
        let online = tree.set(&format!("{CPUS}/online")).unwrap_or_else(|| tree.numbers(CPUS, "cpu"));
        // Affinity, and the set of processors that control groups allow.
        let mask = tree.text("proc/self/status").as_deref().and_then(allowed_in);
        let allowed = match mask {
            Some(mask) => online.intersection(&mask).copied().collect(),
            None => online.clone(),
        };
        let siblings_of = |cpu: &u32| {
            let topology = format!("{CPUS}/cpu{cpu}/topology");
            let names = ["thread_siblings_list", "core_cpus_list"];
            let siblings = names.iter().find_map(|name| tree.set(&format!("{topology}/{name}")))?;
            siblings.contains(cpu).then_some((*cpu, siblings))
        };
        let siblings = online.iter().filter_map(siblings_of).collect();
        Self { online, allowed, siblings, quota_milli: cgroup::quota_milli(tree) }
    }

    /// Physical cores behind some hardware threads; `None` if the machine does not tell which share one.
    fn physical(&self, threads: &BTreeSet<u32>) -> Option<u32> {
        let first_of = |thread: &u32| self.siblings.get(thread).and_then(|siblings| siblings.first());
        let cores: Option<BTreeSet<_>> = threads.iter().map(first_of).collect();
        cores.map(|cores| count(cores.len())).filter(|cores| *cores > 0)
    }

    /// Physical cores that this process may use, with the processor time that it may have: a second thread on a core adds
    /// nothing to a kernel that waits for memory, and a thread beyond the quota is held back by the kernel.
    pub(crate) fn usable(&self, tree: &Tree) -> u32 {
        let known = self.physical(&self.allowed).or_else(|| Some(count(self.allowed.len())).filter(|cores| *cores > 0));
        let cores = if tree.is_live() {
            let allowed = std::thread::available_parallelism().map_or(1, |threads| count(threads.get()));
            let told = self.physical(&self.allowed).or_else(|| System::physical_core_count().ok().map(count));
            told.unwrap_or(allowed).min(allowed)
        } else {
            known.unwrap_or(1)
        };
        let granted =
            self.quota_milli.map_or(u32::MAX, |milli| count(usize::try_from(milli / 1_000).unwrap_or(usize::MAX)));
        cores.min(granted).max(1)
    }

    /// Cores of the fastest kind among those that this process may use, where there are several kinds.
    pub(crate) fn fast(facts: &ProcessorFacts) -> Option<u32> {
        facts.kinds.first().filter(|_| facts.kinds.len() > 1).map(|kind| kind.cores)
    }

    /// What is told of them; caches and kernels are told elsewhere.
    pub(crate) fn facts(&self, tree: &Tree) -> ProcessorFacts {
        let of_any = |name: &str| {
            let clocks =
                self.allowed.iter().filter_map(|cpu| tree.number::<u64>(&format!("{CPUS}/cpu{cpu}/cpufreq/{name}")));
            clocks.max().map(megahertz)
        };
        let (max_mhz, now) = (of_any("cpuinfo_max_freq"), of_any("scaling_max_freq"));
        ProcessorFacts {
            threads: Some(count(self.online.len())).filter(|threads| *threads > 0),
            cores: self.physical(&self.online),
            allowed_threads: Some(count(self.allowed.len())).filter(|threads| *threads > 0),
            quota_milli: self.quota_milli,
            kinds: self.kinds(tree),
            max_mhz,
            capped_mhz: now.filter(|now| max_mhz.is_some_and(|max| *now < max)),
            governor: self.governor(tree),
            ..ProcessorFacts::default()
        }
    }

    /// The governors of the allowed cores: one word in most machines.
    pub(crate) fn governor(&self, tree: &Tree) -> Option<String> {
        let read = |cpu: &u32| tree.name(&format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor"));
        let governors: BTreeSet<_> = self.allowed.iter().filter_map(read).collect();
        let all: Vec<_> = governors.into_iter().collect();
        shown(&all.join(" "))
    }

    /// Kinds of cores, the fastest first; none where all are alike. A processor with two kinds tells them by name, a board by
    /// the capacity of each core. Different clocks alone are no kinds: the best of equal cores are allowed to run faster.
    fn kinds(&self, tree: &Tree) -> Vec<CoreKind> {
        let named = |name: &str, path: &str| {
            let cpus: BTreeSet<_> = tree.set(path)?.intersection(&self.allowed).copied().collect();
            (!cpus.is_empty()).then(|| self.kind(tree, name, &cpus))
        };
        let by_name = [
            named("performance", "sys/devices/cpu_core/cpus"),
            named("efficient", "sys/devices/cpu_atom/cpus"),
            named("low-power", "sys/devices/cpu_lowpower/cpus"),
        ];
        let by_name: Vec<_> = by_name.into_iter().flatten().collect();
        if by_name.len() > 1 {
            return by_name;
        }
        let mut by_capacity: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
        for cpu in &self.allowed {
            let Some(capacity) = tree.number(&format!("{CPUS}/cpu{cpu}/cpu_capacity")) else { return Vec::new() };
            by_capacity.entry(capacity).or_default().insert(*cpu);
        }
        let kinds = by_capacity.len();
        let name = |index: usize| match (index, kinds) {
            (0, _) => "performance".to_owned(),
            (index, kinds) if index + 1 == kinds => "efficient".to_owned(),
            (index, _) => index.to_string(),
        };
        let all = by_capacity.values().rev().enumerate();
        let all: Vec<_> = all.map(|(index, cpus)| self.kind(tree, &name(index), cpus)).collect();
        if kinds > 1 { all } else { Vec::new() }
    }

    fn kind(&self, tree: &Tree, name: &str, cpus: &BTreeSet<u32>) -> CoreKind {
        let clock = |cpu: &u32| tree.number::<u64>(&format!("{CPUS}/cpu{cpu}/cpufreq/cpuinfo_max_freq"));
        CoreKind {
            name: name.to_owned(),
            cores: self.physical(cpus).unwrap_or_else(|| count(cpus.len())),
            max_mhz: cpus.iter().filter_map(clock).max().map(megahertz),
        }
    }
}

/// The processors in the lines of a process's own status.
fn allowed_in(status: &str) -> Option<BTreeSet<u32>> {
    crate::tree::parse_set(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

fn megahertz(kilohertz: u64) -> u32 {
    u32::try_from(kilohertz / 1_000).unwrap_or(u32::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{Fixture, battery_laptop, hybrid, jetson, nested_container, raspberry_pi_5, server};

    fn seen(fixture: &Fixture) -> (ProcessorFacts, u32) {
        let cores = Cores::read(&fixture.tree());
        (cores.facts(&fixture.tree()), cores.usable(&fixture.tree()))
    }

    #[test]
    fn two_threads_of_a_core_are_one_core() {
        let (facts, usable) = seen(&server());
        assert_eq!((facts.threads, facts.cores, facts.allowed_threads, usable), (Some(16), Some(8), Some(16), 8));
        assert_eq!((facts.governor.as_deref(), facts.kinds), (Some("performance"), Vec::new()));
        let (facts, usable) = seen(&battery_laptop());
        assert_eq!((facts.cores, usable, facts.max_mhz, facts.capped_mhz), (Some(4), 4, Some(4_200), Some(1_800)));
    }

    #[test]
    fn affinity_to_both_threads_of_one_core_leaves_one_core() {
        let (facts, usable) = seen(&server().file("proc/self/status", "Name:\tx\nCpus_allowed_list:\t3,11\n"));
        assert_eq!((facts.cores, facts.allowed_threads, usable), (Some(8), Some(2), 1));
    }

    #[test]
    fn a_quota_and_a_set_of_processors_leave_a_container_what_they_grant() {
        let (facts, usable) = seen(&nested_container());
        assert_eq!((facts.cores, facts.allowed_threads, facts.quota_milli, usable), (Some(8), Some(6), Some(2_500), 2));
    }

    #[test]
    fn fast_and_slow_cores_are_told_apart_by_name_or_by_capacity() {
        let (facts, usable) = seen(&hybrid());
        let kinds: Vec<_> = facts.kinds.iter().map(|kind| (&*kind.name, kind.cores, kind.max_mhz)).collect();
        assert_eq!(kinds, [("performance", 4, Some(5_000)), ("efficient", 4, Some(3_800))]);
        assert_eq!((usable, Cores::fast(&facts)), (8, Some(4)));
        let (facts, usable) = seen(&jetson());
        assert_eq!((facts.kinds.len(), usable, Cores::fast(&facts)), (0, 6, None), "all its cores are alike");
        let boards = (0..4).fold(raspberry_pi_5(), |board, cpu| {
            let capacity = if cpu < 3 { "400" } else { "1024" };
            board.file(&format!("{CPUS}/cpu{cpu}/cpu_capacity"), capacity)
        });
        assert_eq!(Cores::fast(&seen(&boards).0), Some(1));
    }

    #[test]
    fn nothing_told_is_nothing_said_and_one_core_is_used() {
        let (facts, usable) = seen(&Fixture::default());
        assert_eq!((facts, usable), (ProcessorFacts::default(), 1));
    }

    #[test]
    fn this_process_has_at_least_one_core_and_no_more_than_it_may_use() {
        let live = Tree::at("/".as_ref());
        let cores = Cores::read(&live).usable(&live);
        assert!((1..=std::thread::available_parallelism().unwrap().get()).contains(&(cores as usize)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_bytes_in_any_of_the_files_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), list in "[0-9,-]{0,9}", clock in any::<u64>()) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            allowed_in(&text);
            let fixture = Fixture::default()
                .file(&format!("{CPUS}/online"), &list)
                .file("proc/self/status", &format!("Cpus_allowed_list: {text}"))
                .files(&format!("{CPUS}/cpu1"), &[("topology/thread_siblings_list", &list), ("cpu_capacity", &text)])
                .files(&format!("{CPUS}/cpu1/cpufreq"), &[("cpuinfo_max_freq", &clock.to_string()), ("scaling_governor", &text)])
                .file("sys/devices/cpu_core/cpus", &text)
                .file("sys/devices/cpu_atom/cpus", &list);
            prop_assert!(seen(&fixture).1 >= 1);
        }
    }
}
