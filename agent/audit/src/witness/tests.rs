//! A witness against honest logs, forked logs, strangers, races and failing storage.

use std::sync::{Barrier, Mutex};

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::cosignature::{Cosigned, CosignerKey};
use crate::{CheckpointKey, VerifierKey};

const ORIGIN: &str = "audit.example/dev-1/1";
const NOW_S: u64 = 1_795_380_305;

/// Where the branches of a forked log part.
const FORK: u64 = 5;

/// A log that keeps several versions of itself: branch 0 and others, which differ from record 5 on.
struct Log(CheckpointKey);

impl Log {
    fn new() -> Self {
        Self(CheckpointKey::from_pkcs8(CheckpointKey::generate().unwrap().expose()).unwrap())
    }

    fn key(&self) -> VerifierKey {
        self.0.verifier_key(ORIGIN).unwrap()
    }

    fn keys(&self, origin: &str) -> Vec<VerifierKey> {
        if origin == ORIGIN { vec![self.key()] } else { Vec::new() }
    }

    fn note(&self, branch: u8, size: u64) -> String {
        self.0.sign(&Checkpoint { origin: ORIGIN.into(), size, root: root(branch, size) })
    }

    fn body(&self, branch: u8, old: u64, size: u64) -> String {
        let proof = proof(branch, old, size);
        AddCheckpoint { old, proof, checkpoint: self.note(branch, size) }.to_body()
    }
}

fn tree(branch: u8, size: u64) -> MemoryBackedTree<Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    for index in 0..size {
        let branch = if index < FORK { 0 } else { branch };
        tree.push(format!("{branch} {index}").into_bytes());
    }
    tree
}

fn root(branch: u8, size: u64) -> [u8; 32] {
    (*tree(branch, size).root().as_bytes()).into()
}

fn proof(branch: u8, old: u64, size: u64) -> Vec<[u8; 32]> {
    if old == 0 || old >= size {
        return Vec::new();
    }
    let proof = tree(branch, size).prove_consistency(usize::try_from(size - old).unwrap());
    proof.as_bytes().as_chunks::<32>().0.to_vec()
}

fn witness_key() -> WitnessKey {
    WitnessKey::from_pkcs8("witness.example/w1", CheckpointKey::generate().unwrap().expose()).unwrap()
}

fn witness() -> (Witness<MemoryState>, CosignerKey) {
    let key = witness_key();
    let public = key.cosigner_key().clone();
    (Witness::new(key, MemoryState::default()), public)
}

fn ask<S: WitnessState>(witness: &Witness<S>, log: &Log, body: &str) -> Outcome {
    witness.add_checkpoint(body.as_bytes(), NOW_S, |origin| log.keys(origin)).unwrap()
}

fn is_cosigned(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Cosigned(_))
}

#[test]
fn a_growing_log_is_cosigned_at_every_step_and_what_it_gets_verifies() {
    let (log, (witness, key)) = (Log::new(), witness());
    let mut old = 0;
    for size in [0, 1, 3, 3, 4, 8, 21] {
        let Outcome::Cosigned(lines) = ask(&witness, &log, &log.body(0, old, size)) else { panic!("{old} {size}") };
        let cosigned = Cosigned::join(&log.note(0, size), &lines, &[log.key()], std::slice::from_ref(&key)).unwrap();
        assert_eq!(cosigned.time_s("witness.example/w1"), Some(NOW_S));
        let held = witness.state().latest(ORIGIN).unwrap().unwrap();
        assert_eq!((held.head.size, held.note), (size, cosigned.note));
        old = size;
    }
    assert_eq!(witness.state().evidence(ORIGIN).unwrap(), []);
}

#[test]
fn every_refusal_has_the_status_that_the_specification_gives_it_and_changes_nothing() {
    let (log, stranger, (witness, _)) = (Log::new(), Log::new(), witness());
    assert!(is_cosigned(&ask(&witness, &log, &log.body(0, 0, 7))));
    let held = witness.state().latest(ORIGIN).unwrap();
    let spoilt_signature = {
        let note = log.note(0, 9);
        let (text, _) = note.split_once("\n\n").unwrap();
        let (_, lines) =
            log.note(0, 8).split_once("\n\n").map(|(text, lines)| (text.to_owned(), lines.to_owned())).unwrap();
        AddCheckpoint { old: 7, proof: proof(0, 7, 9), checkpoint: format!("{text}\n\n{lines}") }.to_body()
    };
    let other_origin = log.0.sign(&Checkpoint { origin: "audit.example/dev-2/1".into(), size: 9, root: [0; 32] });
    let too_large = log.0.sign(&Checkpoint { origin: ORIGIN.into(), size: u64::MAX, root: [0; 32] });
    let request = |old, proof, checkpoint| AddCheckpoint { old, proof, checkpoint }.to_body();
    for (body, status) in [
        ("old 7\n\nno note".to_owned(), 400),
        ("old 07\n\n".to_owned() + &log.note(0, 9), 400),
        (request(10, Vec::new(), log.note(0, 9)), 400),
        (request(7, Vec::new(), too_large), 400),
        (stranger.body(0, 7, 9), 403),
        (spoilt_signature, 403),
        (request(0, Vec::new(), other_origin), 404),
        (log.body(0, 6, 9), 409),
        (log.body(0, 0, 9), 409),
        (log.body(0, 9, 9), 409),
        (log.body(0, 3, 5), 409),
        (log.body(1, 7, 7), 409),
        (request(7, proof(0, 6, 9), log.note(0, 9)), 422),
        (request(7, Vec::new(), log.note(0, 9)), 422),
        (log.body(1, 7, 9), 422),
        (request(7, vec![[0; 32]], log.note(0, 7)), 422),
    ] {
        let outcome = ask(&witness, &log, &body);
        assert_eq!(outcome.status(), status, "{body}");
        assert!(status != 409 || outcome == Outcome::Conflict { size: 7 }, "{outcome:?}");
        assert_eq!(witness.state().latest(ORIGIN).unwrap(), held);
    }
}

#[test]
fn a_first_checkpoint_comes_without_a_proof() {
    let (log, (witness, _)) = (Log::new(), witness());
    let with_proof = AddCheckpoint { old: 0, proof: vec![[0; 32]], checkpoint: log.note(0, 7) }.to_body();
    assert_eq!(ask(&witness, &log, &with_proof).status(), 422);
    let wrong_root = log.0.sign(&Checkpoint { origin: ORIGIN.into(), size: 0, root: [0; 32] });
    let empty = AddCheckpoint { old: 0, proof: Vec::new(), checkpoint: wrong_root }.to_body();
    assert_eq!(ask(&witness, &log, &empty), Outcome::Conflict { size: 0 });
    assert_eq!(ask(&witness, &log, &log.body(0, 4, 7)), Outcome::Conflict { size: 0 });
    assert!(is_cosigned(&ask(&witness, &log, &log.body(0, 0, 7))));
}

#[test]
fn two_roots_of_one_size_are_evidence_that_convicts_anywhere() {
    let (log, (witness, _)) = (Log::new(), witness());
    assert!(is_cosigned(&ask(&witness, &log, &log.body(0, 0, 7))));
    for _ in 0..2 {
        assert_eq!(ask(&witness, &log, &log.body(1, 7, 7)), Outcome::Conflict { size: 7 });
    }
    // Whatever else is wrong with the request: the log signed it.
    assert_eq!(ask(&witness, &log, &log.body(2, 0, 7)), Outcome::Conflict { size: 7 });
    let evidence = witness.state().evidence(ORIGIN).unwrap();
    assert_eq!(evidence.len(), 2);
    assert_eq!((evidence[0].suspicion, evidence[0].found_s), (Suspicion::Fork, NOW_S));
    assert_eq!(evidence[0].offered, log.note(1, 7));
    assert_eq!(evidence[0].convicts(&log.key()), Ok(true));
    assert!(evidence[0].convicts(&Log::new().key()).is_err());
}

#[test]
fn a_branch_without_a_proof_is_kept_as_suspicion_that_convicts_nobody() {
    let (log, (witness, _)) = (Log::new(), witness());
    assert!(is_cosigned(&ask(&witness, &log, &log.body(0, 0, 7))));
    assert_eq!(ask(&witness, &log, &log.body(1, 7, 9)).status(), 422);
    let evidence = witness.state().evidence(ORIGIN).unwrap();
    assert_eq!((evidence.len(), evidence[0].suspicion), (1, Suspicion::Unproven));
    assert_eq!(evidence[0].proof, proof(1, 7, 9));
    assert_eq!(evidence[0].convicts(&log.key()), Ok(false));
    // A fork from before the last cosigned size is as impossible to prove.
    assert!(is_cosigned(&ask(&witness, &log, &log.body(0, 7, 9))));
}

/// State that holds every request up between reading and storing until all have read.
struct Rendezvous<S> {
    state: S,
    have_read: Barrier,
}

impl<S: WitnessState> WitnessState for Rendezvous<S> {
    fn latest(&self, origin: &str) -> Result<Option<Witnessed>, StateError> {
        let latest = self.state.latest(origin);
        self.have_read.wait();
        latest
    }

    fn compare_and_set(&self, origin: &str, expected: Option<&TreeHead>, next: &Witnessed) -> Result<Swap, StateError> {
        self.state.compare_and_set(origin, expected, next)
    }

    fn keep_evidence(&self, evidence: &Evidence) -> Result<bool, StateError> {
        self.state.keep_evidence(evidence)
    }

    fn evidence(&self, origin: &str) -> Result<Vec<Evidence>, StateError> {
        self.state.evidence(origin)
    }
}

/// Two threads read the same head, and each has a proof that extends it.
fn race<S: WitnessState>(state: S, log: &Log, old: u64) {
    let witness = Witness::new(witness_key(), Rendezvous { state, have_read: Barrier::new(2) });
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (branch, size) in [(1, old + 3), (2, old + 4)] {
            let (witness, outcomes) = (&witness, &outcomes);
            scope.spawn(move || {
                let outcome = ask(witness, log, &log.body(branch, old, size));
                outcomes.lock().unwrap().push((branch, size, outcome));
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let winners: Vec<_> = outcomes.iter().filter(|(_, _, outcome)| is_cosigned(outcome)).collect();
    let &[&(branch, size, _)] = winners.as_slice() else { panic!("{outcomes:?}") };
    assert!(outcomes.iter().any(|(_, _, outcome)| *outcome == Outcome::Conflict { size }), "{outcomes:?}");
    let head = TreeHead { size, root: root(branch, size) };
    assert_eq!(witness.state().state.latest(ORIGIN).unwrap().map(|held| held.head), Some(head));
}

#[test]
fn of_two_extensions_that_race_exactly_one_is_cosigned() {
    let log = Log::new();
    for round in 0..20 {
        let (memory, directory) = (MemoryState::default(), tempfile::tempdir().unwrap());
        let database = DatabaseState::open(directory.path()).unwrap();
        // Of a new log, and of one with a head before the fork.
        if round % 2 == 1 {
            let first = Witnessed { head: TreeHead { size: FORK, root: root(0, FORK) }, note: log.note(0, FORK) };
            memory.compare_and_set(ORIGIN, None, &first).unwrap();
            database.compare_and_set(ORIGIN, None, &first).unwrap();
        }
        let old = if round % 2 == 1 { FORK } else { 0 };
        race(memory, &log, old);
        race(database, &log, old);
    }
}

#[test]
fn two_processes_on_one_database_race_as_well() {
    let (log, directory) = (Log::new(), tempfile::tempdir().unwrap());
    DatabaseState::open(directory.path()).unwrap();
    let have_opened = Barrier::new(4);
    let wins: usize = std::thread::scope(|scope| {
        let ask_for = |branch: u8| {
            let (log, directory, have_opened) = (&log, directory.path(), &have_opened);
            scope.spawn(move || {
                let witness = Witness::new(witness_key(), DatabaseState::open(directory).unwrap());
                have_opened.wait();
                usize::from(is_cosigned(&ask(&witness, log, &log.body(branch, 0, 9))))
            })
        };
        let threads: Vec<_> = (0..4).map(ask_for).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(wins, 1);
}

/// State that can be read and not written.
struct ReadOnly;

impl WitnessState for ReadOnly {
    fn latest(&self, _: &str) -> Result<Option<Witnessed>, StateError> {
        Ok(None)
    }

    fn compare_and_set(&self, _: &str, _: Option<&TreeHead>, _: &Witnessed) -> Result<Swap, StateError> {
        Err(StateError { act: "write", place: String::new(), cause: "the disk is full".into() })
    }

    fn keep_evidence(&self, _: &Evidence) -> Result<bool, StateError> {
        unreachable!("nothing is held")
    }

    fn evidence(&self, _: &str) -> Result<Vec<Evidence>, StateError> {
        Ok(Vec::new())
    }
}

#[test]
fn what_cannot_be_stored_is_not_cosigned() {
    let log = Log::new();
    let witness = Witness::new(witness_key(), ReadOnly);
    let error = witness.add_checkpoint(log.body(0, 0, 7).as_bytes(), NOW_S, |origin| log.keys(origin)).unwrap_err();
    assert_eq!(error.to_string(), "cannot write the state of the witness: the disk is full");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_log_tries_all_that_is_cosigned_is_one_history(
        requests in proptest::collection::vec((0..3_u8, 0..12_u64, 0..12_u64, any::<bool>()), 1..40),
    ) {
        let (log, (witness, _)) = (Log::new(), witness());
        let mut history: Vec<(u8, u64)> = Vec::new();
        for (branch, old, size, asks_from_the_last) in requests {
            let last = history.last().map_or(0, |&(_, size)| size);
            let old = if asks_from_the_last { last } else { old };
            if is_cosigned(&ask(&witness, &log, &log.body(branch, old, size))) {
                prop_assert!(size >= last);
                history.push((branch, size));
            }
        }
        for &(branch, size) in &history {
            let (last_branch, _) = *history.last().unwrap();
            prop_assert_eq!(root(branch, size), root(last_branch, size));
        }
    }

    #[test]
    fn any_bytes_are_answered(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "old [0-9]{1,3}\n(AAAA\n)?\n(a|[0-9]|\n|— |AAAA| ){0,20}".prop_map(String::into_bytes),
        ],
    ) {
        let (log, (witness, _)) = (Log::new(), witness());
        let outcome = witness.add_checkpoint(&body, NOW_S, |_| log.keys(ORIGIN)).unwrap();
        prop_assert!(!is_cosigned(&outcome));
    }

    #[test]
    fn no_request_with_a_changed_bit_is_cosigned(at in any::<prop::sample::Index>(), bit in 0..7_u8) {
        let (log, (witness, _)) = (Log::new(), witness());
        assert!(is_cosigned(&ask(&witness, &log, &log.body(0, 0, 6))));
        let mut body = log.body(0, 6, 11).into_bytes();
        let at = at.index(body.len());
        body[at] ^= 1 << bit;
        let outcome = witness.add_checkpoint(&body, NOW_S, |origin| log.keys(origin)).unwrap();
        prop_assert!(!is_cosigned(&outcome), "{outcome:?}");
    }
}
