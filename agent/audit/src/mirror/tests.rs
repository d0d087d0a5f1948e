//! A copy over bad wires is the log, or nothing.

use std::path::Path;

use outpost_disk::Clock;
use proptest::prelude::*;

use super::*;
use crate::verify::verify;
use crate::{AuditError, AuditLog, BootInfo, CheckpointKey, Kind, LogIdentity, Record, VerifierKey, reader};

const ORIGIN: &str = "audit.example/dev-1/1";

struct Device {
    root: tempfile::TempDir,
    log: AuditLog,
    key: VerifierKey,
}

impl Device {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let key = CheckpointKey::from_pkcs8(CheckpointKey::generate().unwrap().expose()).unwrap();
        let verifier_key = key.verifier_key(ORIGIN).unwrap();
        let info = BootInfo { agent: "0.1.0".into(), device: "dev-1".into(), clock: Clock::fixed(1_795_380_305) };
        let identity = LogIdentity { origin: ORIGIN.into(), key };
        let (log, _) = AuditLog::open(&root.path().join("audit"), identity, info).unwrap();
        Self { root, log, key: verifier_key }
    }

    fn record(&self, count: usize, detail: impl Fn(usize) -> String) {
        let waiting: Vec<_> = (0..count)
            .map(|number| {
                let request = format!("request-{number}");
                let kind = if number % 2 == 0 { Kind::InferStart } else { Kind::InferEnd };
                self.log.append(Record::new(kind).request(&request).detail("text", detail(number)))
            })
            .collect();
        for appended in waiting {
            appended.wait().unwrap();
        }
    }

    fn mirror(&self) -> Mirror {
        Mirror::open(&self.mirror_path(), &self.key).unwrap()
    }

    fn mirror_path(&self) -> std::path::PathBuf {
        self.root.path().join("mirror")
    }

    fn next(&self, mirror: &Mirror) -> Option<Package> {
        let cut = next_package(self.log.directory(), mirror.next().unwrap()).unwrap()?;
        assert!(cut.bytes.len() <= MAX_PACKAGE_BYTES);
        assert_eq!(Package::parse(&cut.bytes), Ok(cut.package.clone()));
        Some(cut.package)
    }

    fn assert_equal(&self) {
        let report = verify(&self.mirror_path()).unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
        assert_eq!((report.records, report.verifier_key), (self.log.size(), self.key.to_string()));
        let all = |directory: &Path| reader::list(directory, &reader::Filter::default()).unwrap();
        assert_eq!(all(&self.mirror_path()), all(self.log.directory()));
    }
}

/// Text that no compressor shortens.
fn noise(number: usize) -> String {
    let mut state = number as u64 + 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    })
    .take(60)
    .collect()
}

#[test]
fn a_mirror_is_a_log_that_verifies_package_by_package() {
    let device = Device::new();
    device.record(2_500, |number| format!("{number:0600}"));
    let mut mirror = device.mirror();
    let mut heads = 0;
    while let Some(package) = device.next(&mirror) {
        // Under load, records come to lie between fewer heads.
        match mirror.take(&package).unwrap() {
            Taken::Kept { .. } => heads += 1,
            Taken::Waiting { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(heads > 0);
    device.assert_equal();
    device.record(3, |_| String::new());
    let package = device.next(&mirror).unwrap();
    let Taken::Kept { head, note } = mirror.take(&package).unwrap() else { panic!("the head was there") };
    assert_eq!((head.size, note), (device.log.size(), device.log.checkpoint()));
    assert_eq!(device.next(&mirror), None);
    device.assert_equal();
}

#[test]
fn records_that_need_many_packages_wait_for_their_head_through_a_restart() {
    let device = Device::new();
    device.record(990, noise);
    let mut mirror = device.mirror();
    let mut waited = 0;
    while let Some(package) = device.next(&mirror) {
        if let Taken::Waiting { next } = mirror.take(&package).unwrap() {
            waited += 1;
            assert_eq!((mirror.size().unwrap(), mirror.next().unwrap()), (0, next));
        }
        drop(mirror);
        mirror = device.mirror();
    }
    assert!(waited > 0, "nothing had to wait");
    device.assert_equal();
}

#[test]
fn what_comes_twice_or_too_early_is_told_what_comes_next() {
    let device = Device::new();
    device.record(2_500, |number| format!("{number:0600}"));
    let mut mirror = device.mirror();
    let first = device.next(&mirror).unwrap();
    mirror.take(&first).unwrap();
    let second = device.next(&mirror).unwrap();
    let next = mirror.next().unwrap();
    assert_eq!(mirror.take(&first).unwrap(), Taken::Elsewhere { next });
    let early = Package { first: second.first + 1, ..second.clone() };
    assert_eq!(mirror.take(&early).unwrap(), Taken::Elsewhere { next });
    assert!(matches!(mirror.take(&second).unwrap(), Taken::Kept { .. } | Taken::Waiting { .. }));
}

#[test]
fn the_mirror_of_one_log_takes_no_other() {
    let (device, other) = (Device::new(), Device::new());
    let mut mirror = device.mirror();
    // Another key under the same name.
    let package = next_package(other.log.directory(), 0).unwrap().unwrap().package;
    assert!(matches!(mirror.take(&package).unwrap(), Taken::Refused(why) if why.contains("the head")));
    let renamed = Package { origin: "audit.example/dev-2/1".into(), ..package };
    assert!(matches!(mirror.take(&renamed).unwrap(), Taken::Refused(_)));
    mirror.take(&device.next(&mirror).unwrap()).unwrap();
    drop(mirror);
    assert!(matches!(Mirror::open(&device.mirror_path(), &other.key), Err(AuditError::OtherKey { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn nothing_that_differs_from_what_was_signed_is_kept(place: prop::sample::Index, byte: prop::sample::Index, act in 0..4) {
        let device = Device::new();
        device.record(20, |number| number.to_string());
        let mut mirror = device.mirror();
        let honest = device.next(&mirror).unwrap();
        let mut package = honest.clone();
        let place = place.index(package.records.len());
        match act {
            0 => {
                let byte = byte.index(package.records[place].len());
                package.records[place][byte] ^= 1;
            }
            1 => drop(package.records.remove(place)),
            2 => package.records.insert(place, package.records[place].clone()),
            _ => {
                let other = (place + 1) % package.records.len();
                package.records.swap(place, other);
            }
        }
        prop_assert!(matches!(mirror.take(&package).unwrap(), Taken::Refused(_)));
        prop_assert_eq!(mirror.next().unwrap(), 0);
        prop_assert!(matches!(mirror.take(&honest).unwrap(), Taken::Kept { .. }), "the honest one is taken afterwards");
        device.assert_equal();
    }
}
