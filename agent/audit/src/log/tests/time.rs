//! What the log says of a clock that is set, and what moves its floor.

use std::time::Duration;

use super::*;
use crate::cosignature::{Cosignature, Cosigned};

#[test]
fn a_clock_that_is_set_is_recorded_before_the_record_that_shows_it() {
    let device = Device::new();
    let (log, _) = device.open();
    device.clock.advance(Duration::from_secs(3600));
    log.append(start("a")).wait().unwrap();
    // Two seconds are within what is called the same time.
    device.clock.step_ms(2_000);
    log.append(end("a")).wait().unwrap();
    device.clock.step_ms(86_400_000);
    device.clock.advance(Duration::from_secs(10));
    log.append(start("b")).wait().unwrap();
    device.clock.step_ms(-5_000);
    log.append(end("b")).wait().unwrap();
    log.append(start("c")).wait().unwrap();
    let kinds = device.kinds();
    let around =
        ["boot", "infer.start", "infer.end", "time.step", "infer.start", "time.step", "infer.end", "infer.start"];
    assert_eq!(kinds, around);
    let steps = device.leaves();
    assert_eq!(steps[3].integer("detail.step_ms"), Some(86_402_000));
    let (wall, expected) =
        (steps[3].integer("detail.wall_ms").unwrap(), steps[3].integer("detail.expected_ms").unwrap());
    assert_eq!((Some(wall), wall - expected), (steps[4].wall_ms(), 86_402_000));
    assert_eq!(steps[5].integer("detail.step_ms"), Some(-5_000));
    device.assert_verifies_so_far();
}

#[test]
fn many_small_steps_are_not_hidden_by_being_small() {
    let device = Device::new();
    let (log, _) = device.open();
    for _ in 0..4 {
        device.clock.step_ms(700);
        log.append(Record::new(Kind::AdminAct)).wait().unwrap();
    }
    assert_eq!(device.kinds(), ["boot", "admin.act", "admin.act", "time.step", "admin.act", "admin.act"]);
    assert_eq!(device.leaves()[3].integer("detail.step_ms"), Some(2_100));
}

fn cosigned(log: &AuditLog, times_s: &[u64]) -> Cosigned {
    let checkpoint = Checkpoint { origin: "audit.example/dev-1/1".into(), size: log.size(), root: log.root() };
    let cosignatures =
        (0..).zip(times_s).map(|(number, &time_s)| Cosignature { witness: format!("w{number}"), time_s });
    Cosigned { checkpoint, cosignatures: cosignatures.collect(), note: log.checkpoint() }
}

#[test]
fn the_earliest_of_a_checkpoints_cosignatures_is_a_floor_for_the_clock() {
    let device = Device::new();
    let (log, _) = device.open();
    let now_s = u64::try_from(NOW_S).unwrap();
    let index = log.append_cosigned(&cosigned(&log, &[now_s + 500, now_s + 100])).unwrap().wait().unwrap();
    assert_eq!(device.clock.floor_s(), NOW_S + 100);
    assert!(!device.clock.is_trusted(), "the device's own clock is behind");
    // The clock moved, which shows, and the record is not before its cosignature.
    let leaves = device.leaves();
    assert_eq!((leaves[1].kind(), leaves[1].integer("detail.step_ms")), (Some("time.step"), Some(100_000)));
    assert_eq!(leaves[usize::try_from(index).unwrap()].wall_ms(), Some((NOW_S + 100) * 1000));
    log.append_cosigned(&cosigned(&log, &[now_s - 1000])).unwrap().wait().unwrap();
    log.append_cosigned(&cosigned(&log, &[])).unwrap().wait().unwrap();
    assert_eq!(device.clock.floor_s(), NOW_S + 100);
}
