//! How short memory is: what is left against marks of the box's own size, and what the kernel counts and tells.

use outpost_probe::Room;

use super::ladder::Strain;

/// Below a twelfth of all memory it is short: well under what the planner leaves to everybody else, so that a box which does
/// what was planned never steps back.
const LOW_PART: u64 = 12;

/// The least and the most that this may be. A large box does not become slow for what would be plenty on a small one.
const LOW_BYTES: std::ops::RangeInclusive<u64> = (40 << 20)..=(512 << 20);

/// Somebody waited for memory for a tenth of the last ten seconds and nobody did anything else meanwhile.
const FULL_CENTI_PERCENT: u32 = 1_000;

/// Somebody waited for a quarter of them.
const SOME_CENTI_PERCENT: u32 = 2_500;

/// The marks of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Below it memory is short.
    pub(crate) low_bytes: u64,
    /// Below it memory is nearly gone.
    pub(crate) critical_bytes: u64,
    /// Above it there is enough for a step up.
    pub(crate) calm_bytes: u64,
    /// Below it what the kernel counts and tells is about this device; above it others wait for memory of their own.
    pub(crate) near_bytes: u64,
}

impl Marks {
    /// Those of a box with so much memory.
    pub(crate) fn of(capacity_bytes: u64) -> Self {
        let low_bytes = (capacity_bytes / LOW_PART).clamp(*LOW_BYTES.start(), *LOW_BYTES.end());
        Self {
            low_bytes,
            critical_bytes: low_bytes / 2,
            calm_bytes: low_bytes + low_bytes / 4,
            near_bytes: low_bytes * 2,
        }
    }
}

/// How memory is now, and why, in a few words with the figures.
pub(crate) fn judge(now: &Room, before: &Room) -> (Strain, String) {
    if now.capacity_bytes == 0 {
        return (Strain::Calm, "the system does not say what memory is left".to_owned());
    }
    let marks = Marks::of(now.capacity_bytes);
    let mebibytes = |bytes: u64| bytes >> 20;
    let left = format!("{} MiB of {} MiB are left", mebibytes(now.available_bytes), mebibytes(now.capacity_bytes));
    let grew = |of: fn(&Room) -> Option<u64>| of(before).zip(of(now)).is_some_and(|(before, now)| now > before);
    if now.available_bytes < marks.critical_bytes {
        return (Strain::Critical, format!("{left}, fewer than {} MiB", mebibytes(marks.critical_bytes)));
    }
    if now.available_bytes < marks.low_bytes {
        return (Strain::Short, format!("{left}, fewer than {} MiB", mebibytes(marks.low_bytes)));
    }
    if grew(|room| room.killed) && now.is_limited == before.is_limited && now.available_bytes < marks.near_bytes {
        return (Strain::Short, format!("the kernel killed a process for want of memory, {left}"));
    }
    if now.available_bytes < marks.near_bytes {
        let percent = |centi: u32| format!("{}.{:02} %", centi / 100, centi % 100);
        if let Some(full) = now.full_stalled_centi_percent.filter(|full| *full >= FULL_CENTI_PERCENT) {
            return (Strain::Short, format!("everything waited for memory {} of the time, {left}", percent(full)));
        }
        if let Some(some) = now.some_stalled_centi_percent.filter(|some| *some >= SOME_CENTI_PERCENT) {
            return (Strain::Short, format!("somebody waited for memory {} of the time, {left}", percent(some)));
        }
        if grew(|room| room.times_at_limit) {
            return (Strain::Short, format!("the limit was reached, {left}"));
        }
    }
    let strain = if now.available_bytes >= marks.calm_bytes { Strain::Calm } else { Strain::Fair };
    (strain, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIBIBYTE: u64 = 1 << 30;

    fn room(available_mib: u64) -> Room {
        Room { capacity_bytes: GIBIBYTE, available_bytes: available_mib << 20, is_limited: true, ..Room::default() }
    }

    fn strain(now: &Room, before: &Room) -> Strain {
        judge(now, before).0
    }

    #[test]
    fn what_is_left_decides_and_the_reason_has_the_figures() {
        let of = |available_mib| strain(&room(available_mib), &room(500));
        assert_eq!([of(500), of(100), of(80), of(30)], [Strain::Calm, Strain::Fair, Strain::Short, Strain::Critical]);
        assert_eq!(judge(&room(30), &room(30)).1, "30 MiB of 1024 MiB are left, fewer than 42 MiB");
        assert_eq!(strain(&Room::default(), &Room::default()), Strain::Calm, "a system that tells nothing");
    }

    #[test]
    fn stalls_and_events_count_only_where_memory_is_near_its_end() {
        let stalled = |room: Room| Room { full_stalled_centi_percent: Some(1_200), ..room };
        let waiting = |room: Room| Room { some_stalled_centi_percent: Some(3_000), ..room };
        let limited = |room: Room| Room { times_at_limit: Some(5), killed: Some(0), ..room };
        let killed = |room: Room| Room { killed: Some(1), ..room };
        assert_eq!(strain(&stalled(room(160)), &room(160)), Strain::Short);
        assert_eq!(strain(&waiting(room(160)), &room(160)), Strain::Short);
        assert_eq!(strain(&stalled(room(500)), &room(500)), Strain::Calm, "others wait, in a group of theirs");
        let before = Room { times_at_limit: Some(4), killed: Some(0), ..room(160) };
        assert_eq!(strain(&limited(room(160)), &before), Strain::Short);
        assert_eq!(strain(&limited(room(500)), &before), Strain::Calm, "file pages were dropped, and that was enough");
        assert_eq!(strain(&killed(room(160)), &before), Strain::Short);
        assert_eq!(strain(&before, &before), Strain::Calm, "counters that stand still say nothing");
    }

    #[test]
    fn the_marks_lie_below_what_the_planner_leaves_to_others() {
        for mebibytes in [512, 1_024, 2_048, 4_096, 8_192, 65_536] {
            let total = mebibytes << 20;
            // A system of some size and the agent itself are in memory already.
            let available = total - total / 5;
            let measurements = outpost_contract::Measurements {
                memory_total_bytes: total,
                memory_available_bytes: available,
                ..outpost_contract::Measurements::default()
            };
            let reserve = outpost_planner::budget(&measurements).reserve_bytes;
            assert!(Marks::of(total).low_bytes < reserve, "{mebibytes} MiB: {reserve}");
        }
    }
}
