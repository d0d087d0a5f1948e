//! What disturbed a measured run: other programs, the quota of a group, heat, a weak supply, a host that gave time to others.

use crate::cgroup;
use crate::heat;
use crate::tree::Tree;

/// Others may take this much of the processor beside a run that leaves no core free.
const TOLERATED_MILLI: u64 = 250;

/// The host may take this part of the time.
const TOLERATED_STEAL: u64 = 20;

/// Counters of the machine at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    time: Option<Ticks>,
    own: Option<u64>,
    quota: Option<u64>,
    heat: Option<u64>,
}

/// Time of all processors since the start, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    all: u64,
    busy: u64,
    stolen: u64,
}

/// What happened between two moments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Disturbance {
    /// Processor time that others took, in thousandths of a core.
    pub(crate) others_milli: Option<u64>,
    /// What slowed the run, in words.
    pub(crate) causes: Vec<String>,
}

impl Moment {
    /// The counters now.
    pub(crate) fn now(tree: &Tree) -> Self {
        Self {
            time: tree.text("proc/stat").as_deref().and_then(parse_ticks),
            own: tree.text("proc/self/stat").as_deref().and_then(parse_own),
            quota: cgroup::times_throttled(tree),
            heat: heat::times_throttled(tree),
        }
    }

    /// What happened since, to a run on so many of the machine's cores. What is not counted here is not said.
    pub(crate) fn until(self, later: Self, tree: &Tree, threads: u32, cores: u32, logical: u32) -> Disturbance {
        let mut causes = Vec::new();
        let grew =
            |before: Option<u64>, after: Option<u64>| before.zip(after).is_some_and(|(before, after)| after > before);
        let mut others_milli = None;
        if let (Some(before), Some(after)) = (self.time, later.time) {
            let all = after.all.saturating_sub(before.all);
            let own = self.own.zip(later.own).map_or(0, |(before, after)| after.saturating_sub(before));
            let others = after.busy.saturating_sub(before.busy).saturating_sub(own);
            let milli = others.saturating_mul(u64::from(logical)).saturating_mul(1_000).checked_div(all);
            let free = u64::from(cores.saturating_sub(threads)) * 1_000;
            if let Some(milli) = milli.filter(|milli| *milli > free + TOLERATED_MILLI) {
                causes.push(format!("other programs took {}.{} cores meanwhile", milli / 1_000, milli % 1_000 / 100));
            }
            others_milli = milli;
            if after.stolen.saturating_sub(before.stolen) > all / TOLERATED_STEAL {
                causes.push("the host gave much of this machine's time to others".to_owned());
            }
        }
        if grew(self.quota, later.quota) {
            causes.push("the quota of processor time was used up".to_owned());
        }
        if grew(self.heat, later.heat) || heat::read(tree).is_throttled == Some(true) {
            causes.push("the processor was held back by heat or by its firmware".to_owned());
        }
        if heat::is_under_voltage(tree) == Some(true) {
            causes.push("the voltage of the power supply was too low".to_owned());
        }
        Disturbance { others_milli, causes }
    }
}

/// The line of all processors: user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen.
fn parse_ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let numbers: Vec<u64> = line.split_whitespace().take(8).map(|number| number.parse().ok()).collect::<Option<_>>()?;
    // Guests are counted with users already. Old kernels count no stolen time.
    let [user, nice, system, idle, waiting, interrupts @ ..] = numbers.as_slice() else { return None };
    let stolen = interrupts.get(2).copied().unwrap_or(0);
    let sum = |terms: &[u64]| terms.iter().copied().fold(0, u64::saturating_add);
    let busy = sum(&[*user, *nice, *system]).saturating_add(sum(interrupts.get(..2).unwrap_or(interrupts)));
    Some(Ticks { all: sum(&[busy, *idle, *waiting, stolen]), busy, stolen })
}

/// The processor time of this process, all threads, in the same ticks. Its name may hold spaces and parentheses.
fn parse_own(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::Fixture;

    /// A machine of eight cores whose processors, and this process, have worked for so long.
    fn machine(busy: u64, idle: u64, stolen: u64, own: u64) -> Fixture {
        Fixture::default()
            .file("proc/stat", &format!("cpu  {busy} 0 0 {idle} 0 0 0 {stolen} 0 0\ncpu0 1 2 3\n"))
            .file("proc/self/stat", &format!("7 (a) b) R 1 2 3 4 5 6 7 8 9 10 {own} 0 0 0\n"))
    }

    fn disturbance(later: &Fixture, threads: u32) -> Disturbance {
        let before = machine(1_000, 50_000, 0, 100);
        Moment::now(&before.tree()).until(Moment::now(&later.tree()), &later.tree(), threads, 8, 8)
    }

    #[test]
    fn a_machine_that_works_for_others_is_busy_unless_it_has_cores_for_both() {
        // Three seconds of eight cores; the run has taken four of them.
        let calm = machine(2_210, 51_190, 0, 1_300);
        assert_eq!(disturbance(&calm, 4), Disturbance { others_milli: Some(33), causes: Vec::new() });
        let busy = machine(3_400, 50_000, 0, 1_300);
        assert!(disturbance(&busy, 4).causes.is_empty(), "four cores are left to the other four");
        let found = disturbance(&busy, 8);
        assert_eq!((found.others_milli, found.causes.len()), (Some(4_000), 1));
        assert_eq!(found.causes[0], "other programs took 4.0 cores meanwhile");
    }

    #[test]
    fn stolen_time_a_used_up_quota_and_heat_are_noticed() {
        let stolen = machine(2_200, 50_600, 600, 1_300);
        assert_eq!(disturbance(&stolen, 4).causes, ["the host gave much of this machine's time to others"]);
        let heat = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count";
        let with = |fixture: Fixture, times: &str| {
            fixture
                .file("proc/self/cgroup", "0::/\n")
                .file("sys/fs/cgroup/cpu.stat", &format!("nr_throttled {times}\n"))
                .file(heat, times)
        };
        let (before, after) = (with(Fixture::default(), "1"), with(Fixture::default(), "2"));
        let found = Moment::now(&before.tree()).until(Moment::now(&after.tree()), &after.tree(), 1, 1, 1);
        assert_eq!((found.others_milli, found.causes.len()), (None, 2), "{found:?}");
    }

    #[test]
    fn a_machine_that_counts_nothing_is_not_called_busy() {
        let silent = Fixture::default();
        let found = Moment::now(&silent.tree()).until(Moment::now(&silent.tree()), &silent.tree(), 4, 4, 4);
        assert_eq!(found, Disturbance::default());
    }

    proptest! {
        #[test]
        fn no_bytes_are_counters_that_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), numbers in proptest::collection::vec(any::<u64>(), 0..12)) {
            let text = String::from_utf8_lossy(&bytes);
            parse_ticks(&text);
            parse_own(&text);
            let words: Vec<_> = numbers.iter().map(u64::to_string).collect();
            let (time, own) = (parse_ticks(&format!("cpu  {}", words.join(" "))), parse_own(&format!("1 (x) {}", words.join(" "))));
            let moment = Moment { time, own, ..Moment::default() };
            let nothing = Tree::at("/not/there".as_ref());
            moment.until(moment, &nothing, u32::MAX, 1, u32::MAX);
            Moment::default().until(moment, &nothing, 1, u32::MAX, 1);
        }
    }
}
