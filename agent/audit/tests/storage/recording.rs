//! Opening a log, appending and keeping checkpoints, with each system call failing once: afterwards the log verifies, goes
//! on, and has what it acknowledged.

use crate::faults::Campaign;
use crate::recorder::{assert_nothing_is_lost, parse, under_strace};

/// Records of one run: enough for several transactions, and a checkpoint at its end.
const RECORDS: u64 = 6;

#[test]
fn every_system_call_may_fail_or_be_the_last_and_nothing_acknowledged_is_lost() {
    Campaign {
        name: "open, append, checkpoint",
        prepare: &|_| (),
        program: &|folder, options| under_strace(folder, options, 1, RECORDS),
        judge: &|folder, lines, fault| {
            let acknowledged = lines.iter().map(|line| parse(line)).collect();
            assert_nothing_is_lost(folder, &acknowledged, &fault.to_string());
        },
        short: 40,
    }
    .run();
}
