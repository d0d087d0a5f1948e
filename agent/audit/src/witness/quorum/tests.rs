//! Quorums over logs that two witnesses saw at different times, by the log itself, by `verify` and by proofs.

use outpost_disk::Clock;

use super::*;
use crate::cosignature::{Cosigned, WitnessKey};
use crate::export::prove;
use crate::verify::{Options, verify_any};
use crate::witness::record;
use crate::{AuditLog, BootInfo, CheckpointKey, Kind, LogIdentity, Record};

const ORIGIN: &str = "audit.example/dev-1/1";

/// A log, its control plane and a neighbour on its site.
struct World {
    directory: tempfile::TempDir,
    log_key: VerifierKey,
    log: AuditLog,
    centre: WitnessKey,
    neighbour: WitnessKey,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = CheckpointKey::from_pkcs8(CheckpointKey::generate().unwrap().expose()).unwrap();
        let log_key = key.verifier_key(ORIGIN).unwrap();
        let info = BootInfo { agent: "0.1.0".into(), device: "dev-1".into(), clock: Clock::fixed(1_795_380_305) };
        let (log, _) =
            AuditLog::open(&directory.path().join("audit"), LogIdentity { origin: ORIGIN.into(), key }, info).unwrap();
        let witness = |name| WitnessKey::from_pkcs8(name, CheckpointKey::generate().unwrap().expose()).unwrap();
        Self { directory, log_key, log, centre: witness("centre"), neighbour: witness("neighbour") }
    }

    /// Lets the log grow by nine records and has the newest head cosigned: a tenth.
    fn cosigned_by(&self, witness: &WitnessKey, time_s: u64) -> u64 {
        for _ in 0..9 {
            self.log.append(Record::new(Kind::AdminAct).act("drain")).wait().unwrap();
        }
        self.cosign(&self.log.checkpoint(), witness, time_s)
    }

    fn cosign(&self, note: &str, witness: &WitnessKey, time_s: u64) -> u64 {
        let line = witness.cosign(&note[..=note.find("\n\n").unwrap()], time_s);
        let keys = [self.log_key.clone()];
        let cosigned = Cosigned::join(note, &line, &keys, &[witness.cosigner_key().clone()]).unwrap();
        self.log.append(record(&cosigned).unwrap()).wait().unwrap();
        cosigned.checkpoint.size
    }

    fn policy(&self, rule: &str) -> Policy {
        let (centre, neighbour) = (self.centre.cosigner_key(), self.neighbour.cosigner_key());
        let text = format!(
            "log {}\nwitness centre {centre}\nwitness neighbour {neighbour}\ngroup both {rule} centre neighbour\nquorum both\n",
            self.log_key
        );
        Policy::parse(text.as_bytes()).unwrap()
    }

    fn verified(&self, path: &Path, rule: &str) -> (Option<Vouched>, Vec<String>) {
        let options =
            Options { verifier_key: Some(self.log_key.clone()), policy: Some(self.policy(rule)), ..Options::default() };
        let report = verify_any(path, &options).unwrap();
        (report.vouched, report.problems.iter().map(ToString::to_string).collect())
    }

    fn log_verified(&self, rule: &str) -> (Option<Vouched>, Vec<String>) {
        self.verified(&self.directory.path().join("audit"), rule)
    }
}

#[test]
fn a_quorum_reaches_as_far_as_enough_witnesses_have_come_though_no_two_saw_the_same_head() {
    let world = World::new();
    let (verdict, problems) = world.log_verified("any");
    assert_eq!(verdict, None);
    assert!(problems.len() == 1 && problems[0].contains("cosigned by nobody"), "{problems:?}");

    let first = world.cosigned_by(&world.centre, 1_000);
    assert_eq!(world.log_verified("any"), (Some(Vouched { size: first, time_s: 1_000 }), vec![]));
    let (verdict, problems) = world.log_verified("all");
    assert_eq!(verdict, None);
    assert!(problems[0].contains("the quorum `both` is not reached: cosigned by centre"), "{problems:?}");

    let second = world.cosigned_by(&world.neighbour, 1_100);
    let third = world.cosigned_by(&world.centre, 1_200);
    assert_eq!(world.log_verified("all"), (Some(Vouched { size: second, time_s: 1_200 }), vec![]));
    assert_eq!(world.log_verified("any"), (Some(Vouched { size: third, time_s: 1_200 }), vec![]));
}

#[test]
fn a_proof_leads_to_the_head_that_most_have_cosigned_and_carries_their_lines() {
    let world = World::new();
    let proof = world.directory.path().join("3.tlog-proof");
    prove(&world.directory.path().join("audit"), 3, &proof).unwrap_err();
    let head = {
        world.cosigned_by(&world.centre, 1_000);
        let note = world.log.checkpoint();
        world.cosign(&note, &world.centre, 1_100);
        world.cosign(&note, &world.neighbour, 1_200)
    };
    world.cosigned_by(&world.centre, 1_300);
    prove(&world.directory.path().join("audit"), 3, &proof).unwrap();
    let (vouched, problems) = world.verified(&proof, "all");
    assert_eq!((vouched, problems), (Some(Vouched { size: head, time_s: 1_200 }), vec![]));

    // A record that nobody has seen yet is proven by the log's own head, and the policy says that this is not enough.
    let last = world.log.size() - 1;
    let own = world.directory.path().join("own.tlog-proof");
    prove(&world.directory.path().join("audit"), last, &own).unwrap();
    let (vouched, problems) = world.verified(&own, "any");
    assert_eq!(vouched, None);
    assert!(problems.len() == 1 && problems[0].contains("cosigned by nobody"), "{problems:?}");
}
