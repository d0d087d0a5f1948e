//! What every record of one run says of itself: who wrote it, and when.

use outpost_disk::Clock;

use crate::record::{Stamp, Unplaced};
use crate::{AuditError, Moment, Record};

/// The two clocks are read one after the other: this far apart, microseconds, and they are read again.
const MAX_READING_US: i64 = 100_000;

/// How often they are.
const READINGS: usize = 3;

/// The run of the agent that writes.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    /// Id of the run.
    pub(crate) boot: String,
    pub(crate) agent: String,
    pub(crate) device: String,
    pub(crate) clock: Clock,
}

impl Author {
    /// Now, by both clocks.
    pub(crate) fn moment(&self) -> Moment {
        let clock = &self.clock;
        let mut boot_us = clock.boot_us();
        let mut wall_ms = clock.now_ms();
        // A thread that slept between the two would see a clock that was set.
        for _ in 1..READINGS {
            let after_us = clock.boot_us();
            if after_us.saturating_sub(boot_us) <= MAX_READING_US {
                break;
            }
            (boot_us, wall_ms) = (after_us, clock.now_ms());
        }
        Moment { wall_ms, clock_is_trusted: clock.is_trusted(), boot_us }
    }

    /// The leaf of a record made at this moment, but for its index.
    pub(crate) fn render(&self, record: Record, moment: Moment) -> Result<Unplaced, AuditError> {
        record.render(&Stamp {
            wall_ms: moment.wall_ms,
            clock_is_trusted: moment.clock_is_trusted,
            boot_us: moment.boot_us,
            boot: &self.boot,
            agent: &self.agent,
            device: &self.device,
        })
    }
}
