//! A new log in the place of one that must not go on: its name, and what it says about its predecessor.

use super::Divergence;
use crate::checkpoint::decimal;
use crate::cosignature::Cosigned;
use crate::{Kind, Record, VerifierKey};

/// A log whose number is further from the first one's is nobody's: a device starts a new log for a reason, and rarely.
const MOST_LOGS: u64 = 10_000;

/// What the names of all logs of a device begin with, and the number of this one among them: `audit.example/dev-1` and 2 of
/// `audit.example/dev-1/2`. `None` if it does not end in a number.
#[must_use]
pub fn split_origin(origin: &str) -> Option<(&str, u64)> {
    let (device, number) = origin.rsplit_once('/')?;
    Some((device, decimal(number)?))
}

/// The origin of the log after this one: `audit.example/dev-1/1` is followed by `audit.example/dev-1/2`. `None` if it
/// does not end in a number.
#[must_use]
pub fn next_origin(origin: &str) -> Option<String> {
    let (device, number) = split_origin(origin)?;
    Some(format!("{device}/{}", number.checked_add(1)?))
}

/// The key of the log of this name, if a device whose first known log is `first` can have such a log: that one, or one that
/// follows it. `None` for any other name.
#[must_use]
pub fn log_of(first: &VerifierKey, origin: &str) -> Option<VerifierKey> {
    let ((device, number), (named, offered)) = (split_origin(first.name())?, split_origin(origin)?);
    let follows = device == named && (number..number.saturating_add(MOST_LOGS)).contains(&offered);
    if follows { VerifierKey::new(origin, *first.public()).ok() } else { None }
}

/// What the new log records before anything but its own start: which log it follows, why, and the last head of that
/// log that a witness vouches for.
#[must_use]
pub fn succession(previous: &str, why: &Divergence, last: Option<&Cosigned>) -> Record {
    let record = Record::new(Kind::AdminAct)
        .act("audit.succeed")
        .detail("previous", previous)
        .detail("reason", why.name())
        .detail("what", why.to_string());
    match last {
        Some(last) => {
            record.detail("last_size", last.checkpoint.size).detail("last_checkpoint", last.checkpoint.to_text())
        }
        None => record,
    }
}

#[cfg(test)]
mod tests {
    use outpost_disk::Clock;

    use super::*;
    use crate::{AuditLog, BootInfo, Checkpoint, CheckpointKey, LogIdentity};

    #[test]
    fn the_new_log_names_the_old_one_and_the_last_head_that_was_vouched_for() {
        let directory = tempfile::tempdir().unwrap();
        let key = CheckpointKey::from_pkcs8(CheckpointKey::generate().unwrap().expose()).unwrap();
        let (previous, origin) = ("audit.example/dev-1/1", next_origin("audit.example/dev-1/1").unwrap());
        let info = BootInfo { agent: "0.1.0".into(), device: "dev-1".into(), clock: Clock::fixed(1_795_380_305) };
        let (log, _) = AuditLog::open(directory.path(), LogIdentity { origin, key }, info).unwrap();
        let checkpoint = Checkpoint { origin: previous.into(), size: 28, root: [7; 32] };
        let text = checkpoint.to_text();
        let last = Cosigned { checkpoint, cosignatures: Vec::new(), note: String::new() };
        let why = Divergence::DeviceRolledBack { witness: "w".into(), cosigned: 28, size: 8 };
        let index = log.append(succession(previous, &why, Some(&last))).wait().unwrap();
        let leaf = log.tail(1).unwrap()[0].leaf().unwrap();
        assert_eq!((index, leaf.text("act"), leaf.text("detail.previous")), (1, Some("audit.succeed"), Some(previous)));
        assert_eq!(leaf.text("detail.reason"), Some("device_rollback"));
        assert_eq!((leaf.integer("detail.last_size"), leaf.text("detail.last_checkpoint")), (Some(28), Some(&*text)));
        assert!(leaf.text("detail.what").is_some_and(|what| what.ends_with("until then")));
    }

    #[test]
    fn logs_of_a_device_are_numbered_on() {
        for (origin, next) in [
            ("audit.example/dev-1/1", Some("audit.example/dev-1/2")),
            ("audit.example/dev-1/99", Some("audit.example/dev-1/100")),
            ("audit.example/dev-1/18446744073709551615", None),
            ("audit.example/dev-1/01", None),
            ("audit.example/dev-1", None),
            ("1", None),
        ] {
            assert_eq!(next_origin(origin).as_deref(), next, "{origin}");
        }
        assert_eq!(split_origin("audit.example/dev-1/12"), Some(("audit.example/dev-1", 12)));
        for none in ["audit.example/dev-1/012", "audit.example/dev-1/", "audit.example/dev-1", "12", ""] {
            assert_eq!(split_origin(none), None, "{none}");
        }
    }
}
