//! Proofs made from a real log's database, checked by code that shares nothing with the prover.

use outpost_disk::Clock;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rusqlite::Connection;

use super::*;
use crate::tree::{Hash, Tree, leaf_hash};
use crate::{BootInfo, CheckpointKey, Kind, LogIdentity, Record};

/// The two tables that proofs are made from, filled as the writer fills them, and the root at every size.
fn stored(size: u64) -> (Connection, Vec<Hash>) {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(
            "CREATE TABLE leaves (idx INTEGER PRIMARY KEY, hash BLOB NOT NULL);
             CREATE TABLE nodes (level INTEGER, idx INTEGER, hash BLOB, PRIMARY KEY (level, idx)) WITHOUT ROWID;
             CREATE TABLE tree (size INTEGER);
             BEGIN;",
        )
        .unwrap();
    let (mut tree, mut roots) = (Tree::default(), vec![Tree::default().root()]);
    for index in 0..size {
        let hash = leaf_hash(&index.to_be_bytes());
        connection.prepare_cached("INSERT INTO leaves VALUES (?1, ?2)").unwrap().execute((index, hash)).unwrap();
        for node in tree.push(hash) {
            let mut insert = connection.prepare_cached("INSERT INTO nodes VALUES (?1, ?2, ?3)").unwrap();
            insert.execute((node.level, node.index, node.hash)).unwrap();
        }
        roots.push(tree.root());
    }
    connection.execute("INSERT INTO tree VALUES (?1)", [size]).unwrap();
    connection.execute_batch("COMMIT").unwrap();
    (connection, roots)
}

fn head(size: u64, roots: &[Hash]) -> TreeHead {
    TreeHead { size, root: roots[usize::try_from(size).unwrap()] }
}

fn hash(hexadecimal: &str) -> Hash {
    hex::decode(hexadecimal).unwrap().try_into().unwrap()
}

#[test]
fn the_published_proofs_verify() {
    // Certificate Transparency's reference implementation: the tree of eight leaves whose roots `tree.rs` tests.
    let [one, six, eight] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    .map(hash);
    let from_one = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    .map(hash);
    let from_six = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    .map(hash);
    let new = TreeHead { size: 8, root: eight };
    assert_eq!(check(&TreeHead { size: 1, root: one }, &new, &from_one), Ok(()));
    assert_eq!(check(&TreeHead { size: 6, root: six }, &new, &from_six), Ok(()));
    assert!(check(&TreeHead { size: 6, root: six }, &new, &from_one).is_err());
}

#[test]
fn every_pair_of_sizes_of_a_small_log_is_proven() {
    let (connection, roots) = stored(70);
    let tree = StoredTree::open(&connection, Path::new("log")).unwrap();
    for new in 0..=70 {
        assert_eq!(tree.root_at(new).unwrap(), head(new, &roots).root);
        for old in 0..=new {
            let proof = tree.prove(old, new).unwrap();
            assert_eq!(check(&head(old, &roots), &head(new, &roots), &proof), Ok(()), "{old} {new}");
        }
    }
}

#[test]
fn a_thousand_random_pairs_of_a_log_with_three_levels_are_proven_and_no_spoilt_one_is() {
    const SIZE: u64 = 70_000;
    let (connection, roots) = stored(SIZE);
    let tree = StoredTree::open(&connection, Path::new("log")).unwrap();
    let pairs = (1..=SIZE, 1..=SIZE, any::<prop::sample::Index>(), 0..256_usize);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(1_000));
    let outcome = runner.run(&pairs, |(one, other, spoilt, bit)| {
        let (old, new) = (one.min(other), one.max(other));
        let mut proof = tree.prove(old, new).unwrap();
        let (old, new) = (head(old, &roots), head(new, &roots));
        prop_assert!(proof.len() <= MAX_PROOF_HASHES);
        prop_assert_eq!(check(&old, &new, &proof), Ok(()));
        prop_assert_eq!(tree.root_at(old.size).unwrap(), old.root);
        let mut longer = proof.clone();
        longer.push([0; 32]);
        prop_assert!(check(&old, &new, &longer).is_err());
        let forked = TreeHead { size: old.size, root: new.root };
        prop_assert!(old.size == new.size || check(&forked, &new, &proof).is_err());
        if !proof.is_empty() {
            let length = proof.len();
            proof[spoilt.index(length)][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(check(&old, &new, &proof).is_err());
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn sizes_that_never_were_and_hashes_that_are_gone_are_named() {
    let (connection, roots) = stored(600);
    let tree = StoredTree::open(&connection, Path::new("log")).unwrap();
    assert!(matches!(tree.prove(5, 601), Err(ProofError::OutOfRange { old: 5, new: 601, size: 600 })));
    assert!(matches!(tree.prove(9, 8), Err(ProofError::OutOfRange { .. })));
    assert!(matches!(tree.root_at(601), Err(ProofError::OutOfRange { .. })));
    // Pruned as the specification of tiles allows: the first tile's leaves are gone, its node stays.
    connection.execute("DELETE FROM leaves WHERE idx < 256", ()).unwrap();
    assert_eq!(check(&head(300, &roots), &head(600, &roots), &tree.prove(300, 600).unwrap()), Ok(()));
    assert!(matches!(tree.prove(255, 600), Err(ProofError::Gone { first: 0, last: 127 })));
    connection.execute("UPDATE nodes SET hash = x'00'", ()).unwrap();
    assert!(matches!(tree.prove(300, 600), Err(ProofError::Log(_))));
}

#[test]
fn a_log_in_use_proves_its_growth() {
    let directory = tempfile::tempdir().unwrap();
    let key = CheckpointKey::from_pkcs8(CheckpointKey::generate().unwrap().expose()).unwrap();
    let identity = LogIdentity { origin: "audit.example/dev-1/1".into(), key };
    let info = BootInfo { agent: "0.1.0".into(), device: "dev-1".into(), clock: Clock::fixed(1_795_380_305) };
    let (log, _) = AuditLog::open(directory.path(), identity, info).unwrap();
    let before = TreeHead { size: log.size(), root: log.root() };
    let appended: Vec<_> = (0..300).map(|_| log.append(Record::new(Kind::AdminAct).act("drain"))).collect();
    for answer in appended {
        answer.wait().unwrap();
    }
    let after = TreeHead { size: log.size(), root: log.root() };
    let proof = log.prove_consistency(before.size, after.size).unwrap();
    assert_eq!((before.size, after.size), (1, 301));
    assert_eq!(check(&before, &after, &proof), Ok(()));
    assert_eq!(check(&after, &before, &proof), Err(Inconsistent { old: 301, new: 1 }));
}

#[test]
fn the_empty_tree_begins_every_tree_and_needs_no_proof() {
    let some = TreeHead { size: 5, root: [7; 32] };
    assert_eq!(check(&TreeHead::empty(), &some, &[]), Ok(()));
    assert!(check(&TreeHead::empty(), &some, &[[0; 32]]).is_err());
    assert!(check(&TreeHead { size: 0, root: [7; 32] }, &some, &[]).is_err());
    assert!(check(&some, &some, &[[0; 32]]).is_err());
    assert!(check(&some, &TreeHead { root: [8; 32], ..some }, &[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn any_heads_and_any_proof_are_answered(
        old in any::<u64>(), new in any::<u64>(), hashes in 0..80_usize, shift in 0..64_u32,
    ) {
        let (old, new) = (TreeHead { size: old >> shift, root: [1; 32] }, TreeHead { size: new, root: [2; 32] });
        prop_assert!(old.size == 0 || check(&old, &new, &vec![[3; 32]; hashes]).is_err());
    }
}
