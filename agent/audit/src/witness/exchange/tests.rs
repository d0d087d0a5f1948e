//! A device and a witness through lost answers, restored images, restored backups and lies.

use std::path::{Path, PathBuf};

use outpost_disk::Clock;

use super::*;
use crate::cosignature::WitnessKey;
use crate::witness::{DatabaseState, Witness, WitnessState, newest, record};
use crate::{BootInfo, CheckpointKey, Kind, LogIdentity, Record};

const ORIGIN: &str = "audit.example/dev-1/1";

/// A device and a witness, each with a disk that can be copied and restored.
struct World {
    disks: tempfile::TempDir,
    device_key: outpost_disk::Secret,
    witness_key: outpost_disk::Secret,
}

impl World {
    fn new() -> Self {
        let disks = tempfile::tempdir().unwrap();
        std::fs::create_dir(disks.path().join("witness")).unwrap();
        let (device_key, witness_key) = (CheckpointKey::generate().unwrap(), CheckpointKey::generate().unwrap());
        Self { disks, device_key, witness_key }
    }

    fn disk(&self, name: &str) -> PathBuf {
        self.disks.path().join(name)
    }

    fn device(&self) -> AuditLog {
        let key = CheckpointKey::from_pkcs8(self.device_key.expose()).unwrap();
        let identity = LogIdentity { origin: ORIGIN.into(), key };
        let info = BootInfo { agent: "0.1.0".into(), device: "dev-1".into(), clock: Clock::fixed(1_795_380_305) };
        AuditLog::open(&self.disk("device"), identity, info).unwrap().0
    }

    fn device_public(&self) -> VerifierKey {
        CheckpointKey::from_pkcs8(self.device_key.expose()).unwrap().verifier_key(ORIGIN).unwrap()
    }

    fn witness(&self) -> Witness<DatabaseState> {
        let key = WitnessKey::from_pkcs8("w", self.witness_key.expose()).unwrap();
        Witness::new(key, DatabaseState::open(&self.disk("witness")).unwrap())
    }

    fn witness_public(&self) -> CosignerKey {
        WitnessKey::from_pkcs8("w", self.witness_key.expose()).unwrap().cosigner_key().clone()
    }

    /// The largest size that the device can show a cosignature for.
    fn cosigned(&self) -> u64 {
        let newest = newest(&self.disk("device"), &self.device_public(), &self.witness_public()).unwrap();
        newest.map_or(0, |cosigned| cosigned.checkpoint.size)
    }

    fn ask(&self, log: &AuditLog, old: u64) -> Next {
        let (log_key, witness_key) = (self.device_public(), self.witness_public());
        let exchange = Exchange::begin(log, &log_key, &witness_key, self.cosigned(), old).unwrap();
        let answer =
            self.witness().add_checkpoint(exchange.body().as_bytes(), 1_795_380_305, |_| vec![log_key]).unwrap();
        // Over the wire, as any transport would carry it.
        let answer = Outcome::parse(answer.status(), answer.body().as_bytes()).unwrap();
        exchange.understand(&answer, log.size())
    }

    /// Asks as a device does: from what it knows, then from what it is told.
    fn sync(&self, log: &AuditLog) -> Result<u64, Next> {
        let next = match self.ask(log, self.cosigned()) {
            Next::Retry { old } => self.ask(log, old),
            next => next,
        };
        match next {
            Next::Record(cosigned) => {
                log.append(record(&cosigned).unwrap()).wait().unwrap();
                Ok(cosigned.checkpoint.size)
            }
            next => Err(next),
        }
    }
}

fn grow(log: &AuditLog, records: usize) {
    for _ in 0..records {
        log.append(Record::new(Kind::AdminAct).act("drain")).wait().unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).ok();
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn a_log_that_grows_is_cosigned_again_and_again() {
    let world = World::new();
    let log = world.device();
    assert_eq!(world.sync(&log), Ok(1));
    grow(&log, 300);
    assert_eq!(world.sync(&log), Ok(302));
    assert_eq!(world.cosigned(), 302);
    // Through a restart of both.
    log.shutdown("asked").unwrap();
    let log = world.device();
    assert_eq!(world.sync(&log), Ok(305));
}

#[test]
fn a_lost_answer_is_made_up_for_by_asking_again() {
    let world = World::new();
    let log = world.device();
    grow(&log, 5);
    assert!(matches!(world.ask(&log, 0), Next::Record(_)));
    grow(&log, 5);
    // The device never stored the first one.
    assert_eq!(world.cosigned(), 0);
    assert_eq!(world.ask(&log, 0), Next::Retry { old: 6 });
    assert_eq!(world.sync(&log), Ok(11));
}

#[test]
fn a_restored_image_of_the_device_is_known_by_the_larger_size_of_the_witness() {
    let world = World::new();
    let log = world.device();
    grow(&log, 5);
    world.sync(&log).unwrap();
    drop(log);
    copy(&world.disk("device"), &world.disk("image"));
    let log = world.device();
    grow(&log, 20);
    assert_eq!(world.sync(&log), Ok(28));
    drop(log);
    copy(&world.disk("image"), &world.disk("device"));
    let log = world.device();
    let found = world.sync(&log).unwrap_err();
    let expected = Divergence::DeviceRolledBack { witness: "w".into(), cosigned: 28, size: 8 };
    assert_eq!(found, Next::Diverged(expected.clone()));
    assert!(expected.ends_the_log());
    assert!(expected.to_string().contains("start the agent with a new audit directory"), "{expected}");
    // Also after it went on by itself, beyond what the witness has seen; then the witness holds what convicts it.
    grow(&log, 100);
    assert_eq!(world.sync(&log), Err(Next::Diverged(Divergence::Forked { witness: "w".into(), cosigned: 28 })));
    assert_eq!(world.witness().state().evidence(ORIGIN).unwrap().len(), 1);
}

#[test]
fn a_restored_image_that_went_on_to_the_very_size_of_the_witness_is_a_fork_that_convicts() {
    let world = World::new();
    let log = world.device();
    drop(log);
    copy(&world.disk("device"), &world.disk("image"));
    let log = world.device();
    grow(&log, 3);
    assert_eq!(world.sync(&log), Ok(5));
    drop(log);
    copy(&world.disk("image"), &world.disk("device"));
    let log = world.device();
    grow(&log, 3);
    assert_eq!(log.size(), 5);
    assert_eq!(world.sync(&log), Err(Next::Diverged(Divergence::Forked { witness: "w".into(), cosigned: 5 })));
    let evidence = world.witness().state().evidence(ORIGIN).unwrap();
    assert_eq!(evidence[0].convicts(&world.device_public()), Ok(true));
}

#[test]
fn a_restored_backup_of_the_witness_is_known_by_what_it_signed_and_the_log_brings_it_up_to_date() {
    let world = World::new();
    let log = world.device();
    grow(&log, 5);
    assert_eq!(world.sync(&log), Ok(6));
    copy(&world.disk("witness"), &world.disk("backup"));
    grow(&log, 20);
    assert_eq!(world.sync(&log), Ok(27));
    copy(&world.disk("backup"), &world.disk("witness"));
    grow(&log, 1);
    let expected = Divergence::WitnessRolledBack { witness: "w".into(), cosigned: 27, remembers: 6 };
    assert_eq!(world.ask(&log, 27), Next::Diverged(expected.clone()));
    assert!(!expected.ends_the_log());
    assert!(expected.to_string().contains("prune nothing"), "{expected}");
    assert!(matches!(world.ask(&log, 6), Next::Record(_)));
    assert_eq!(world.witness().state().latest(ORIGIN).unwrap().unwrap().head.size, 29);
    // A witness that forgot everything is the same case.
    std::fs::remove_dir_all(world.disk("witness")).unwrap();
    std::fs::create_dir(world.disk("witness")).unwrap();
    let expected = Divergence::WitnessRolledBack { witness: "w".into(), cosigned: 27, remembers: 0 };
    assert_eq!(world.ask(&log, 27), Next::Diverged(expected));
}

#[test]
fn an_answer_without_the_witnesss_signature_is_not_stored() {
    let world = World::new();
    let log = world.device();
    let (log_key, witness_key) = (world.device_public(), world.witness_public());
    let exchange = Exchange::begin(&log, &log_key, &witness_key, 0, 0).unwrap();
    let text = log.checkpoint().split_once("\n\n").map(|(text, _)| format!("{text}\n")).unwrap();
    let stranger = WitnessKey::from_pkcs8("w", CheckpointKey::generate().unwrap().expose()).unwrap();
    let real = WitnessKey::from_pkcs8("w", world.witness_key.expose()).unwrap();
    for lines in [stranger.cosign(&text, 7), real.cosign("another\n", 7), "nothing\n".into(), "\n— w AAAAAAAA\n".into()]
    {
        let next = exchange.understand(&Outcome::Cosigned(lines.clone()), log.size());
        assert!(matches!(next, Next::Refused(_)), "{lines}: {next:?}");
    }
    // A stranger beside the witness does no harm, and does not get into the record.
    let both = stranger.cosign(&text, 7) + &real.cosign(&text, 9);
    let Next::Record(cosigned) = exchange.understand(&Outcome::Cosigned(both), log.size()) else { panic!() };
    assert_eq!((cosigned.time_s("w"), cosigned.cosignatures.len()), (Some(9), 1));
    for refusal in [Outcome::UnknownLog, Outcome::NotSigned("no".into()), Outcome::Malformed("no".into())] {
        assert!(matches!(exchange.understand(&refusal, log.size()), Next::Refused(_)));
    }
}

#[test]
fn nothing_is_asked_from_a_size_that_the_log_does_not_reach() {
    let world = World::new();
    let log = world.device();
    let error = Exchange::begin(&log, &world.device_public(), &world.witness_public(), 0, 2).unwrap_err();
    assert!(matches!(error, ProofError::OutOfRange { old: 2, new: 1, size: 1 }), "{error}");
}
