//! Brackets of a real log that was cosigned as it grew, and of random ones against the definition.

use outpost_disk::Clock;
use proptest::prelude::*;

use super::*;
use crate::cosignature::{Cosignature, WitnessKey};
use crate::witness::record;
use crate::{AuditLog, BootInfo, Checkpoint, CheckpointKey, Kind, LogIdentity, Record};

const ORIGIN: &str = "audit.example/dev-1/1";

struct World {
    directory: tempfile::TempDir,
    key: outpost_disk::Secret,
    log: AuditLog,
    witness: WitnessKey,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = CheckpointKey::generate().unwrap();
        let identity = LogIdentity { origin: ORIGIN.into(), key: CheckpointKey::from_pkcs8(key.expose()).unwrap() };
        let info = BootInfo { agent: "0.1.0".into(), device: "dev-1".into(), clock: Clock::fixed(1_795_380_305) };
        let (log, _) = AuditLog::open(directory.path(), identity, info).unwrap();
        let witness = WitnessKey::from_pkcs8("w", CheckpointKey::generate().unwrap().expose()).unwrap();
        Self { directory, key, log, witness }
    }

    fn log_key(&self) -> VerifierKey {
        CheckpointKey::from_pkcs8(self.key.expose()).unwrap().verifier_key(ORIGIN).unwrap()
    }

    fn grow(&self, records: usize) {
        for _ in 0..records {
            self.log.append(Record::new(Kind::AdminAct).act("drain")).wait().unwrap();
        }
    }

    fn cosign(&self, note: &str, time_s: u64) -> Cosigned {
        let line = self.witness.cosign(&note[..=note.find("\n\n").unwrap()], time_s);
        Cosigned::join(note, &line, &[self.log_key()], &[self.witness.cosigner_key().clone()]).unwrap()
    }

    fn keep(&self, cosigned: &Cosigned) -> u64 {
        self.log.append(record(cosigned).unwrap()).wait().unwrap()
    }

    fn timeline(&self) -> Timeline {
        Timeline::read(self.directory.path(), &self.log_key(), &[self.witness.cosigner_key().clone()]).unwrap()
    }
}

fn times(timeline: &Timeline, index: u64) -> (Option<u64>, Option<u64>) {
    let Bracket { not_before, not_after } = timeline.bracket(index);
    (not_before.map(|bound| bound.time_s), not_after.map(|bound| bound.time_s))
}

#[test]
fn records_between_two_cosignatures_are_between_their_times() {
    let world = World::new();
    world.grow(9);
    let first = world.keep(&world.cosign(&world.log.checkpoint(), 1_200));
    world.grow(5);
    let covered = world.log.checkpoint();
    world.grow(2);
    let second = world.keep(&world.cosign(&covered, 1_300));
    assert_eq!((first, second), (10, 18));
    let timeline = world.timeline();
    assert_eq!(timeline.rejected(), []);
    for (index, expected) in [
        (0, (None, Some(1_200))),
        (9, (None, Some(1_200))),
        (10, (Some(1_200), Some(1_300))),
        (15, (Some(1_200), Some(1_300))),
        (16, (Some(1_200), None)),
        (18, (Some(1_300), None)),
        (99, (Some(1_300), None)),
    ] {
        assert_eq!(times(&timeline, index), expected, "{index}");
    }
    let bound = timeline.bracket(12).not_after.unwrap();
    assert_eq!(bound, Bound { time_s: 1_300, witness: "w".into(), size: 16, record: Some(18) });
}

#[test]
fn a_cosigned_checkpoint_is_found_again_whole_and_verifies_as_any_other() {
    let world = World::new();
    let (log, witness) = (world.log_key(), world.witness.cosigner_key().clone());
    let newest = || crate::witness::newest(world.directory.path(), &log, &witness).unwrap();
    assert_eq!(newest(), None);
    let first = world.cosign(&world.log.checkpoint(), 1_200);
    world.keep(&first);
    assert_eq!(newest(), Some(first));
    world.grow(3);
    let second = world.cosign(&world.log.checkpoint(), 1_300);
    world.keep(&second);
    world.grow(3);
    assert_eq!(newest(), Some(second.clone()));
    // Another witness never cosigned; another log's key reads nothing.
    let other = WitnessKey::from_pkcs8("w", CheckpointKey::generate().unwrap().expose()).unwrap();
    let other = other.cosigner_key().clone();
    assert_eq!(crate::witness::newest(world.directory.path(), &log, &other).unwrap(), None);
    // What it names is what the log was.
    let options = crate::verify::Options { checkpoints: vec![second.note], ..Default::default() };
    assert_eq!(crate::verify::verify_with(world.directory.path(), &options).unwrap().problems, []);
}

#[test]
fn a_cosignature_of_another_tree_of_a_stranger_or_of_the_future_counts_for_nothing() {
    let world = World::new();
    world.grow(9);
    let sign = |size, root| {
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root };
        CheckpointKey::from_pkcs8(world.key.expose()).unwrap().sign(&checkpoint)
    };
    let forked = world.keep(&world.cosign(&sign(5, [7; 32]), 1_200));
    let early = world.keep(&world.cosign(&sign(500, [7; 32]), 1_200));
    let mut forged = world.cosign(&world.log.checkpoint(), 1_200);
    forged.note = forged.note.replace(&format!("{ORIGIN}\n12\n"), &format!("{ORIGIN}\n11\n"));
    let forged = world.keep(&forged);
    let timeline = world.timeline();
    assert_eq!(timeline.rejected().iter().map(|(index, _)| *index).collect::<Vec<_>>(), [forked, early, forged]);
    assert!(timeline.rejected()[0].1.contains("another tree"), "{:?}", timeline.rejected());
    assert!(timeline.rejected()[1].1.contains("itself among them"), "{:?}", timeline.rejected());
    assert!((0..20).all(|index| times(&timeline, index) == (None, None)));
}

#[test]
fn a_name_too_long_for_a_record_is_refused_rather_than_cut() {
    let witness = WitnessKey::from_pkcs8(&"w".repeat(1_000), CheckpointKey::generate().unwrap().expose()).unwrap();
    let world = World { witness, ..World::new() };
    let cosigned = world.cosign(&world.log.checkpoint(), 7);
    assert!(matches!(record(&cosigned), Err(crate::witness::TooLong { limit: 1024, .. })));
}

fn cosigned(size: u64, times_s: &[u64]) -> Cosigned {
    let said = |&time_s| Cosignature { witness: format!("w{time_s}"), time_s };
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: [0; 32] };
    Cosigned { checkpoint, cosignatures: times_s.iter().map(said).collect(), note: String::new() }
}

#[test]
fn witnesses_that_contradict_each_other_are_seen() {
    let timeline = Timeline::new([(Some(3), cosigned(3, &[900])), (None, cosigned(9, &[800]))]);
    assert!(timeline.bracket(5).is_contradictory());
    assert!(!timeline.bracket(2).is_contradictory());
    assert_eq!(timeline.bracket(5).not_after.unwrap().record, None);
}

proptest! {
    #[test]
    fn every_bracket_is_the_one_that_the_definition_gives(
        parts in proptest::collection::vec(
            (proptest::option::of(0..40_u64), 0..40_u64, proptest::collection::vec(0..100_u64, 0..3)), 0..12),
    ) {
        let timeline = Timeline::new(parts.iter().map(|(record, size, times_s)| (*record, cosigned(*size, times_s))));
        for index in 0..45 {
            let stored = parts.iter().filter(|(record, ..)| record.is_some_and(|record| record <= index));
            let covering = parts.iter().filter(|(_, size, _)| *size > index);
            let expected = (
                stored.flat_map(|(_, _, times_s)| times_s).max().copied(),
                covering.flat_map(|(_, _, times_s)| times_s).min().copied(),
            );
            prop_assert_eq!(times(&timeline, index), expected);
        }
    }
}
