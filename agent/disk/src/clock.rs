//! Time that never runs below what is known to have passed, and never leaps to where nobody can have been.
//!
//! A box with a dead battery wakes up in 1970, and a wrong setting may send it ten years ahead. Three things are known:
//!
//! ```text
//! floor    lies in the past for certain: the release of this program, what a verified signature said (`clock.floor`)
//! seen     what this clock showed when an earlier run kept it (`clock.seen`): nobody wakes up before it
//! counted  the last moment that was believed, and what the monotonic clock has counted since, time asleep included
//! ```
//!
//! The system clock is believed from the floor, and from what was seen, up to five years ahead of what is counted. Where it
//! is not believed, time goes on as counted: a jump of the clock costs nothing here, and once the clock is right again it is
//! believed again. What was seen was only the system's word, so the first signature that vouches for the present ends it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{DiskError, atomic};

/// No build of this program ran before this moment: 2026-11-01T00:00:00Z, in seconds since 1970.
pub const RELEASE_FLOOR_S: i64 = 1_793_491_200;

/// Further ahead than this of what is known, the system clock is wrong and not the box away: after so long in a drawer its
/// catalogue and certificate are of no use either.
pub const AHEAD_S: i64 = 5 * 365 * 24 * 3600;

const FLOOR_FILE: &str = "clock.floor";

const SEEN_FILE: &str = "clock.seen";

/// A shared clock; clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// A std mutex: held for a few instructions, and across the rare write of the floor, which must be ordered.
    state: Mutex<State>,
    /// Where the floor and what was seen are kept; none for a clock in memory.
    directory: Option<PathBuf>,
}

#[derive(Debug)]
struct State {
    floor_ms: i64,
    /// What an earlier run showed last; the floor if that is not known.
    seen_ms: i64,
    /// The last moment that was believed.
    anchor_ms: i64,
    /// Where the monotonic clock stood then.
    anchor_boot_ns: i64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    System,
    Fixed { now_ms: i64, boot_ns: i64 },
}

impl Clock {
    /// The system clock over what was persisted in `directory`. A file that cannot be understood counts as none: it only ever
    /// narrows, and refusing to start would brick the box.
    ///
    /// # Errors
    /// If a file exists and cannot be read.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, DiskError> {
        Self::open_over(directory.as_ref(), Source::System)
    }

    /// As [`open`](Self::open) over a clock that stands at `now_s` until [`advance`](Self::advance)d: for tests of what
    /// outlives a restart.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_fixed(directory: impl AsRef<Path>, now_s: i64) -> Result<Self, DiskError> {
        let source = Source::Fixed { now_ms: now_s.saturating_mul(1000), boot_ns: boot_ns() };
        Self::open_over(directory.as_ref(), source)
    }

    fn open_over(directory: &Path, source: Source) -> Result<Self, DiskError> {
        let floor_s = read_seconds(&directory.join(FLOOR_FILE))?.max(RELEASE_FLOOR_S);
        let seen_s = read_seconds(&directory.join(SEEN_FILE))?;
        // What lies further ahead was written by nobody who kept to the rule above.
        let seen_s = if seen_s > floor_s.saturating_add(AHEAD_S) { floor_s } else { seen_s.max(floor_s) };
        Ok(Self::new(floor_s, seen_s, source, Some(directory.to_owned())))
    }

    /// The system clock over the release floor, remembering nothing: for commands that run once.
    #[must_use]
    pub fn system() -> Self {
        Self::new(RELEASE_FLOOR_S, RELEASE_FLOOR_S, Source::System, None)
    }

    /// A clock that stands at `now_s` until [`advance`](Self::advance)d: for tests. Its floor starts at `now_s`.
    #[must_use]
    pub fn fixed(now_s: i64) -> Self {
        Self::new(now_s, now_s, Source::Fixed { now_ms: now_s.saturating_mul(1000), boot_ns: boot_ns() }, None)
    }

    fn new(floor_s: i64, seen_s: i64, source: Source, directory: Option<PathBuf>) -> Self {
        let (floor_ms, seen_ms) = (floor_s.saturating_mul(1000), seen_s.saturating_mul(1000));
        let anchor_boot_ns = source.boot_ns();
        let state = State { floor_ms, seen_ms, anchor_ms: seen_ms, anchor_boot_ns, source };
        Self(Arc::new(Inner { state: Mutex::new(state), directory }))
    }

    /// Seconds since 1970, never below the floor.
    #[must_use]
    pub fn now_s(&self) -> i64 {
        self.now_ms().div_euclid(1000)
    }

    /// Milliseconds since 1970, never below the floor.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.state().now_ms()
    }

    /// Seconds since 1970 by the system's word wherever that is not below the floor, however far ahead: for whoever can lose
    /// no more than a connection by it, and may win it back after years in a drawer.
    #[must_use]
    pub fn claimed_s(&self) -> i64 {
        let mut state = self.state();
        let source_ms = state.source.now_ms();
        let claimed_ms = if source_ms >= state.floor_ms { source_ms } else { state.now_ms() };
        claimed_ms.div_euclid(1000)
    }

    /// Whether the system clock is believed.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        let state = self.state();
        state.believes(state.source.now_ms())
    }

    /// The floor, in seconds since 1970.
    #[must_use]
    pub fn floor_s(&self) -> i64 {
        self.state().floor_ms.div_euclid(1000)
    }

    /// Learns that `at_least_s` has passed, and persists it. A value below the floor changes nothing.
    ///
    /// Only for moments that a verified signature vouches for: a floor from an unchecked source would let anybody
    /// expire every certificate on this box.
    ///
    /// # Errors
    /// If the floor cannot be persisted; it is raised in memory even then.
    pub fn raise_floor(&self, at_least_s: i64) -> Result<(), DiskError> {
        let mut state = self.state();
        let at_least_ms = at_least_s.saturating_mul(1000);
        if at_least_ms <= state.floor_ms {
            return Ok(());
        }
        let source_ms = state.source.now_ms();
        // A clock that is behind makes no time run backwards here, unless it is only what a wrong clock said before.
        let counted_ms = if source_ms >= at_least_ms { at_least_ms } else { state.counted_ms() };
        state.floor_ms = at_least_ms;
        state.seen_ms = at_least_ms;
        state.anchor_ms = counted_ms.max(at_least_ms);
        state.anchor_boot_ns = state.source.boot_ns();
        let Some(directory) = &self.0.directory else { return Ok(()) };
        let seconds = format!("{}\n", state.floor_ms.div_euclid(1000));
        atomic::write(directory.join(FLOOR_FILE), &seconds)?;
        atomic::write(directory.join(SEEN_FILE), seconds)
    }

    /// Persists the present, so that the next start cannot wake up before it. Call it now and then, and at shutdown.
    ///
    /// # Errors
    /// If it cannot be persisted.
    pub fn persist(&self) -> Result<(), DiskError> {
        let mut state = self.state();
        let now_ms = state.now_ms();
        match &self.0.directory {
            Some(directory) => atomic::write(directory.join(SEEN_FILE), format!("{}\n", now_ms.div_euclid(1000))),
            None => Ok(()),
        }
    }

    /// Microseconds since this machine started, time asleep included: what nobody can set.
    #[must_use]
    pub fn boot_us(&self) -> i64 {
        self.state().source.boot_ns() / 1000
    }

    /// Moves a [`fixed`](Self::fixed) clock on, as time does. The system clock does not obey.
    pub fn advance(&self, by: Duration) {
        if let Source::Fixed { now_ms, boot_ns } = &mut self.state().source {
            *now_ms = now_ms.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
            *boot_ns = boot_ns.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX));
        }
    }

    /// Sets a [`fixed`](Self::fixed) clock forward or back by so much, as somebody may who sets the time: no time passes.
    /// The system clock does not obey.
    pub fn step_ms(&self, by_ms: i64) {
        if let Source::Fixed { now_ms, .. } = &mut self.state().source {
            *now_ms = now_ms.saturating_add(by_ms);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every update leaves the state whole, so a panic elsewhere does not spoil it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn now_ms(&mut self) -> i64 {
        let source_ms = self.source.now_ms();
        if self.believes(source_ms) {
            (self.anchor_ms, self.anchor_boot_ns) = (source_ms, self.source.boot_ns());
            return source_ms;
        }
        self.counted_ms()
    }

    fn believes(&self, source_ms: i64) -> bool {
        let ahead_ms = source_ms.saturating_sub(self.counted_ms());
        source_ms >= self.floor_ms.max(self.seen_ms) && ahead_ms <= AHEAD_S.saturating_mul(1000)
    }

    fn counted_ms(&self) -> i64 {
        let counted_ns = self.source.boot_ns().saturating_sub(self.anchor_boot_ns).max(0);
        self.anchor_ms.saturating_add(counted_ns / 1_000_000).max(self.floor_ms)
    }
}

impl Source {
    fn now_ms(&self) -> i64 {
        match self {
            Self::System => system_ms(),
            Self::Fixed { now_ms, .. } => *now_ms,
        }
    }

    fn boot_ns(&self) -> i64 {
        match self {
            Self::System => boot_ns(),
            Self::Fixed { boot_ns, .. } => *boot_ns,
        }
    }
}

/// The seconds in a file; 0 if it is not there or cannot be understood.
fn read_seconds(file: &Path) -> Result<i64, DiskError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim().parse::<i64>().unwrap_or(0)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(DiskError::io("read", file, source)),
    }
}

/// Nanoseconds since this machine started, time asleep included; for ordering records within one boot.
#[must_use]
pub fn boot_ns() -> i64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(SINCE_BOOT);
    (time.tv_sec as i64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as i64)
}

/// The system's idea of now; 0 where it lies before 1970.
#[allow(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]
fn system_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2100-01-01, which no test machine has reached.
    const FAR_S: i64 = 4_102_444_800;

    #[test]
    fn the_clock_is_never_below_the_release_of_the_program() {
        assert!(Clock::system().now_s() >= RELEASE_FLOOR_S);
    }

    #[test]
    fn a_raised_floor_survives_a_restart_and_time_goes_on_from_it() {
        let directory = tempfile::tempdir().unwrap();
        Clock::open(directory.path()).unwrap().raise_floor(FAR_S).unwrap();
        let clock = Clock::open(directory.path()).unwrap();
        assert_eq!(clock.floor_s(), FAR_S);
        assert!(!clock.is_trusted());
        let before = clock.now_ms();
        while clock.now_ms() == before {
            std::hint::spin_loop();
        }
        assert!(clock.now_ms() > before);
    }

    #[test]
    fn the_floor_never_sinks() {
        let clock = Clock::fixed(1000);
        clock.raise_floor(2000).unwrap();
        clock.raise_floor(1500).unwrap();
        assert_eq!((clock.floor_s(), clock.now_s()), (2000, 2000));
    }

    #[test]
    fn a_clock_above_its_floor_is_believed() {
        let clock = Clock::fixed(1000);
        clock.raise_floor(2000).unwrap();
        clock.advance(Duration::from_secs(5000));
        assert_eq!((clock.now_s(), clock.is_trusted()), (6000, true));
    }

    #[test]
    fn a_clock_that_is_set_leaves_the_time_since_the_start_alone() {
        let clock = Clock::fixed(1000);
        let (wall_ms, boot_us) = (clock.now_ms(), clock.boot_us());
        clock.advance(Duration::from_secs(5));
        assert_eq!((clock.now_ms() - wall_ms, clock.boot_us() - boot_us), (5_000, 5_000_000));
        clock.step_ms(60_000);
        assert_eq!((clock.now_ms() - wall_ms, clock.boot_us() - boot_us), (65_000, 5_000_000));
        assert!(Clock::system().boot_us() > 0);
    }

    #[test]
    fn clones_show_the_same_time() {
        let clock = Clock::fixed(1000);
        let other = clock.clone();
        clock.advance(Duration::from_secs(1));
        assert_eq!(other.now_s(), 1001);
    }

    #[test]
    fn a_clock_before_1970_does_not_panic() {
        let clock = Clock::fixed(i64::MIN);
        clock.advance(Duration::from_secs(1));
        assert!(clock.now_s() < 0);
        clock.raise_floor(0).unwrap();
        assert_eq!(clock.now_s(), 0);
    }

    #[test]
    fn a_spoilt_floor_file_does_not_brick_the_box() {
        let directory = tempfile::tempdir().unwrap();
        atomic::write(directory.path().join(FLOOR_FILE), "not a number").unwrap();
        assert_eq!(Clock::open(directory.path()).unwrap().floor_s(), RELEASE_FLOOR_S);
    }

    const YEAR_S: i64 = 365 * 24 * 3600;

    /// A month after the release.
    const NOW_S: i64 = RELEASE_FLOOR_S + 30 * 24 * 3600;

    #[test]
    fn a_leap_of_ten_years_either_way_is_not_believed_and_time_goes_on_as_it_passes() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::open_fixed(directory.path(), NOW_S).unwrap();
        assert_eq!((clock.now_s(), clock.is_trusted()), (NOW_S, true));
        for years in [10, -20] {
            clock.step_ms(years * YEAR_S * 1000);
            clock.advance(Duration::from_secs(60));
            assert!(!clock.is_trusted());
        }
        assert_eq!(clock.now_s(), NOW_S + 120);
        clock.step_ms(10 * YEAR_S * 1000);
        assert_eq!((clock.now_s(), clock.is_trusted()), (NOW_S + 120, true), "a clock that is right again is believed");
    }

    #[test]
    fn what_a_wrong_clock_said_outlives_no_restart() {
        let directory = tempfile::tempdir().unwrap();
        let open = |now_s| Clock::open_fixed(directory.path(), now_s).unwrap();
        open(NOW_S).persist().unwrap();
        let ahead = open(NOW_S + 10 * YEAR_S);
        assert_eq!((ahead.now_s(), ahead.claimed_s()), (NOW_S, NOW_S + 10 * YEAR_S));
        ahead.persist().unwrap();
        assert_eq!(open(NOW_S + 3600).now_s(), NOW_S + 3600, "it is right again");
        assert_eq!(open(0).now_s(), NOW_S, "nobody wakes up before what was seen");
        atomic::write(directory.path().join(SEEN_FILE), format!("{}", NOW_S + 10 * YEAR_S)).unwrap();
        assert_eq!(open(NOW_S).now_s(), NOW_S);
    }

    #[test]
    fn a_box_that_was_a_year_ahead_is_put_right_by_the_first_signature() {
        let directory = tempfile::tempdir().unwrap();
        let open = |now_s| Clock::open_fixed(directory.path(), now_s).unwrap();
        open(NOW_S + YEAR_S).persist().unwrap();
        let clock = open(NOW_S);
        assert_eq!((clock.now_s(), clock.claimed_s()), (NOW_S + YEAR_S, NOW_S));
        clock.raise_floor(NOW_S - 5).unwrap();
        assert_eq!((clock.now_s(), clock.is_trusted()), (NOW_S, true));
        assert_eq!(open(NOW_S + 9).now_s(), NOW_S + 9);
    }

    #[test]
    fn time_asleep_and_the_time_after_a_vouched_moment_are_counted() {
        let clock = Clock::fixed(1000);
        clock.raise_floor(5000).unwrap();
        clock.advance(Duration::from_secs(10));
        assert_eq!((clock.now_s(), clock.is_trusted()), (5010, false));
    }
}
