//! The threads of one model: they wait for work awake for a moment, asleep after it, and share it out piece by piece.
//!
//! ```text
//! state   epoch of the job (upper bits) · closed (bit 15) · threads inside (lower bits)
//! ```
//! A thread that wakes too late finds the job closed and stays out, so nobody ever waits for one that never came.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread looks out for the next job before it sleeps: longer than what lies between two products of one pass.
const AWAKE: Duration = Duration::from_micros(300);
const CLOSED: u64 = 1 << 15;
const INSIDE: u64 = CLOSED - 1;
const EPOCH: u64 = 1 << 16;

/// What every thread of the team is to run; it takes pieces until none are left.
type Job<'a> = &'a (dyn Fn() + Sync);

/// Threads that compute together. One job at a time: who comes second waits.
#[derive(Debug)]
pub(crate) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    turn: Mutex<()>,
}

struct Shared {
    state: AtomicU64,
    /// Written by the one who holds the turn, while the state is closed and nobody is inside.
    job: UnsafeCell<Option<Job<'static>>>,
    asleep: Mutex<usize>,
    wake: Condvar,
    over: AtomicBool,
    panicked: AtomicBool,
}

#[expect(unsafe_code, reason = "the job is handed to other threads; see SAFETY")]
// SAFETY: `job` is written only as its doc says, and read only by threads that are inside an open job; the atomic state
// orders the two. A job is `Sync`, so all may run it at once.
unsafe impl Sync for Shared {}
#[expect(unsafe_code, reason = "the job is handed to other threads; see SAFETY")]
// SAFETY: as above: what a `Shared` refers to is `Sync`, and nothing in it belongs to one thread.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Team {
    /// A team of so many threads, the caller of its jobs being one of them; 0 means one per core.
    ///
    /// # Errors
    /// Fails when the system gives no more threads.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let shared = Arc::new(Shared {
            state: AtomicU64::new(CLOSED),
            job: UnsafeCell::new(None),
            asleep: Mutex::new(0),
            wake: Condvar::new(),
            over: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let mut team = Self { shared, helpers: Vec::new(), turn: Mutex::new(()) };
        for index in 1..threads.min(INSIDE as usize) {
            let shared = Arc::clone(&team.shared);
            let helper = std::thread::Builder::new().name(format!("engine-{index}"));
            team.helpers.push(helper.spawn(move || shared.help())?);
        }
        Ok(team)
    }

    /// Threads, the caller included.
    pub(crate) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs `piece` for every index below `pieces`, on all threads; returns when all are done.
    ///
    /// # Panics
    /// Panics when a piece has panicked.
    pub(crate) fn each(&self, pieces: usize, piece: impl Fn(usize) + Sync) {
        if pieces <= 1 || self.helpers.is_empty() {
            return (0..pieces).for_each(piece);
        }
        let next = AtomicUsize::new(0);
        let take_all = || {
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    index if index < pieces => piece(index),
                    _ => return,
                }
            }
        };
        self.run(&take_all);
    }

    fn run(&self, job: Job<'_>) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        #[expect(unsafe_code, reason = "a borrowed job is lent to threads that outlive it; see SAFETY")]
        // SAFETY: only the lifetime changes. `Close` below waits, even when the job panics here, until every thread that
        // went in has come out, and closes the job so that none goes in later; so no thread sees it after this function.
        let job_for_all = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(job) };
        #[expect(unsafe_code, reason = "the one who holds the turn writes the job; see SAFETY")]
        // SAFETY: the turn is ours, and the last job was closed and left by all: nobody reads the cell now.
        unsafe {
            *shared.job.get() = Some(job_for_all);
        }
        let close = Close(shared);
        // Opens the next epoch with nobody inside; the release hands the job over.
        let epoch = shared.state.load(Ordering::Relaxed) / EPOCH;
        shared.state.store((epoch + 1) * EPOCH, Ordering::SeqCst);
        if *shared.sleepers() > 0 {
            shared.wake.notify_all();
        }
        job();
        drop(close);
        drop(turn);
        assert!(!shared.panicked.swap(false, Ordering::AcqRel), "a computing thread panicked");
    }
}

/// Closes the job at its end and waits for those inside.
struct Close<'a>(&'a Shared);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_or(CLOSED, Ordering::AcqRel);
        let mut looks = 0u32;
        while self.0.state.load(Ordering::Acquire) & INSIDE != 0 {
            pause(&mut looks);
        }
    }
}

impl Shared {
    fn sleepers(&self) -> MutexGuard<'_, usize> {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of one helper.
    fn help(&self) {
        let mut done = 0;
        while let Some(epoch) = self.next_job(done) {
            done = epoch;
            let inside = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state / EPOCH == epoch && state & CLOSED == 0).then_some(state + 1)
            });
            if inside.is_err() {
                continue;
            }
            #[expect(unsafe_code, reason = "a thread inside an open job reads it; see SAFETY")]
            // SAFETY: we are counted as inside an open job, so nobody writes the cell until we have left.
            let job = unsafe { *self.job.get() };
            let run = std::panic::AssertUnwindSafe(|| job.iter().for_each(|job| job()));
            if std::panic::catch_unwind(run).is_err() {
                self.panicked.store(true, Ordering::Release);
            }
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits for a job that is newer than the last one; `None` at the end of the team.
    fn next_job(&self, done: u64) -> Option<u64> {
        let newer = || {
            let state = self.state.load(Ordering::SeqCst);
            (state / EPOCH != done && state & CLOSED == 0).then_some(state / EPOCH)
        };
        let began = Instant::now();
        let mut looks = 0u32;
        while began.elapsed() < AWAKE {
            for _ in 0..64 {
                if let Some(epoch) = newer() {
                    return Some(epoch);
                }
                pause(&mut looks);
            }
        }
        let mut asleep = self.sleepers();
        *asleep += 1;
        let epoch = loop {
            // Looked at after `asleep` counts us: an opener either is seen here or sees us there and wakes us.
            if self.over.load(Ordering::SeqCst) {
                break None;
            }
            if let Some(epoch) = newer() {
                break Some(epoch);
            }
            asleep = self.wake.wait(asleep).unwrap_or_else(PoisonError::into_inner);
        };
        *asleep -= 1;
        epoch
    }
}

/// Waits a moment; on a crowded machine it lets others run, who may be those it waits for.
fn pause(looks: &mut u32) {
    *looks += 1;
    if looks.is_multiple_of(512) { std::thread::yield_now() } else { std::hint::spin_loop() }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        drop(self.shared.sleepers());
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper catches the panics of its jobs, so there is nothing to hear from it.
            let _ = helper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once_by_however_many_threads() {
        for threads in [1, 2, 5] {
            let team = Team::new(threads).expect("threads start");
            for pieces in [0, 1, 2, 3, 100] {
                let done: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                team.each(pieces, |piece| {
                    done[piece].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    done.iter().all(|times| times.load(Ordering::Relaxed) == 1),
                    "{threads} threads, {pieces} pieces"
                );
            }
        }
    }

    #[test]
    fn jobs_follow_each_other_whether_the_threads_are_awake_or_asleep() {
        let team = Team::new(3).expect("threads start");
        let sum = AtomicUsize::new(0);
        for round in 0..2_000 {
            team.each(7, |piece| {
                sum.fetch_add(piece, Ordering::Relaxed);
            });
            if round % 500 == 0 {
                std::thread::sleep(2 * AWAKE);
            }
        }
        assert_eq!(sum.into_inner(), 2_000 * 21);
    }

    #[test]
    fn several_callers_take_turns() {
        let team = Team::new(2).expect("threads start");
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        team.each(5, |piece| {
                            sum.fetch_add(piece, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 200 * 10);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_works_on() {
        let team = Team::new(2).expect("threads start");
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            team.each(64, |piece| assert!(piece != 13, "on purpose"));
        }));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        team.each(64, |piece| {
            sum.fetch_add(piece, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 63 * 64 / 2);
    }
}
