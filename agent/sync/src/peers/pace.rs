//! So many bytes per second, all connections together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Longest wait before an answer; whoever would wait longer is told to come back.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Hands out moments at which so many bytes may go.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: u64,
    /// When all that was promised so far has gone.
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), free_at: Mutex::new(None) }
    }

    /// Waits for the turn of `bytes`.
    ///
    /// # Errors
    /// Seconds after which to ask again, if too many wait.
    pub(super) async fn wait(&self, bytes: usize) -> Result<(), u32> {
        let turn = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = free_at.map_or(now, |free_at| free_at.max(now));
            if turn - now > LONGEST_WAIT {
                return Err(u32::try_from((turn - now).as_secs() + 1).unwrap_or(u32::MAX));
            }
            let micros = (bytes as u64).saturating_mul(1_000_000) / self.bytes_per_s;
            *free_at = Some(turn + Duration::from_micros(micros));
            turn
        };
        sleep_until(turn).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_go_at_their_pace_and_whoever_would_wait_too_long_comes_back() {
        let (pace, began) = (Pace::new(1000), Instant::now());
        pace.wait(1000).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "the first goes at once");
        pace.wait(3000).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 1);
        assert_eq!(pace.wait(1).await, Err(4), "three seconds are promised away");
        tokio::time::advance(Duration::from_secs(3)).await;
        pace.wait(1).await.unwrap();
    }
}
