//! Time that never runs below what is known to have passed.
//!
//! A box with a dead battery wakes up in 1970. The floor is the latest moment that is known to lie in the past: the
//! release of this program, what was persisted before, what a verified signature said. Below the floor the system
//! clock is not believed, and time goes on from the floor by the monotonic clock.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::{DiskError, atomic};

/// No build of this program ran before this moment: 2026-11-01T00:00:00Z, in seconds since 1970.
pub const RELEASE_FLOOR_S: i64 = 1_793_491_200;

const FLOOR_FILE: &str = "clock.floor";

/// A shared clock; clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// A std mutex: held for a few instructions, and across the rare write of the floor, which must be ordered.
    state: Mutex<State>,
    /// Where the floor is kept; none for a clock in memory.
    file: Option<PathBuf>,
}

#[derive(Debug)]
struct State {
    floor_ms: i64,
    /// When the floor was learnt: time below it is counted from here.
    floor_since: Instant,
    source: Source,
}

#[derive(Debug)]
enum Source {
    System,
    Fixed { now_ms: i64, boot_ns: i64 },
}

impl Clock {
    /// The system clock over the floor persisted in `directory`. A floor file that cannot be understood counts as
    /// none: it only ever narrows, and refusing to start would brick the box.
    ///
    /// # Errors
    /// If the floor file exists and cannot be read.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, DiskError> {
        let file = directory.as_ref().join(FLOOR_FILE);
        let persisted_s = match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().parse::<i64>().unwrap_or(0),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => 0,
            Err(source) => return Err(DiskError::io("read", &file, source)),
        };
        Ok(Self::new(persisted_s.max(RELEASE_FLOOR_S), Source::System, Some(file)))
    }

    /// The system clock over the release floor, remembering nothing: for commands that run once.
    #[must_use]
    pub fn system() -> Self {
        Self::new(RELEASE_FLOOR_S, Source::System, None)
    }

    /// A clock that stands at `now_s` until [`advance`](Self::advance)d: for tests. Its floor starts at `now_s`.
    #[must_use]
    pub fn fixed(now_s: i64) -> Self {
        Self::new(now_s, Source::Fixed { now_ms: now_s.saturating_mul(1000), boot_ns: boot_ns() }, None)
    }

    fn new(floor_s: i64, source: Source, file: Option<PathBuf>) -> Self {
        let floor_ms = floor_s.saturating_mul(1000);
        Self(Arc::new(Inner { state: Mutex::new(State { floor_ms, floor_since: Instant::now(), source }), file }))
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

    /// Whether the system clock is above the floor, that is: believed.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        let state = self.state();
        state.source_ms() >= state.floor_ms
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
        // While time is counted from the old floor, a smaller new one would let it run backwards.
        let counting = state.source_ms() < state.floor_ms;
        state.floor_ms = if counting { at_least_ms.max(state.now_ms()) } else { at_least_ms };
        state.floor_since = Instant::now();
        match &self.0.file {
            Some(file) => atomic::write(file, format!("{}\n", state.floor_ms.div_euclid(1000))),
            None => Ok(()),
        }
    }

    /// Persists the present as the floor, so that the next start cannot wake up before it. Call it now and then, and
    /// at shutdown.
    ///
    /// # Errors
    /// If the floor cannot be persisted.
    pub fn persist(&self) -> Result<(), DiskError> {
        self.raise_floor(self.now_s())
    }

    /// Microseconds since this machine started, time asleep included: what nobody can set.
    #[must_use]
    pub fn boot_us(&self) -> i64 {
        match self.state().source {
            Source::System => boot_ns() / 1000,
            Source::Fixed { boot_ns, .. } => boot_ns / 1000,
        }
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
    fn source_ms(&self) -> i64 {
        match self.source {
            Source::System => system_ms(),
            Source::Fixed { now_ms, .. } => now_ms,
        }
    }

    fn now_ms(&self) -> i64 {
        let source_ms = self.source_ms();
        if source_ms >= self.floor_ms {
            return source_ms;
        }
        let counted_ms = match self.source {
            Source::System => i64::try_from(self.floor_since.elapsed().as_millis()).unwrap_or(i64::MAX),
            Source::Fixed { .. } => 0,
        };
        self.floor_ms.saturating_add(counted_ms)
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
}
