//! Checks a proof (c2sp.org/tlog-proof) with its record, by `ct-merkle`.

use std::path::Path;

use ct_merkle::{InclusionProof, RootHash};
use sha2::Sha256;

use super::claims::Claims;
use super::scan::leaf_hash;
use super::{Options, Problems, Report, Subject, files};
use crate::export::RECORD_ENDING;
use crate::leaf::Leaf;
use crate::proof::{self, Proof};
use crate::witness::{Policy, Vouched};
use crate::{AuditError, Checkpoint, VerifierKey};

/// What a bundle entry can hold.
const MAX_RECORD_BYTES: usize = u16::MAX as usize;

/// No log has more records: every JSON reader is exact up to here.
const MAX_SIZE: u64 = 1 << 53;

/// Checks the proof in `path`.
pub(super) fn check(path: &Path, options: &Options) -> Result<Report, AuditError> {
    let text = files::text(path, proof::MAX_BYTES)?;
    let record = options.record.clone().unwrap_or_else(|| path.with_extension(RECORD_ENDING));
    let cannot = |cause| AuditError::Disk(format!("cannot read the record in `{}`: {cause}", record.display()));
    let record = files::read(&record, MAX_RECORD_BYTES)
        .and_then(|record| record.ok_or_else(|| "it is not there; name it with `--record`".to_owned()))
        .map_err(cannot)?;
    let mut problems = Problems::default();
    let key = files::key(path.parent().unwrap_or_else(|| Path::new(".")), options, &mut problems);
    if !options.checkpoints.is_empty() {
        problems.add(None, "a proof cannot be held against other checkpoints; the log or its tiles can");
    }
    let (proof, head) = match &key {
        Some(key) => believe(&text, &record, key, &mut problems),
        None => (None, None),
    };
    let vouched = match (&options.policy, &proof, &key) {
        (Some(policy), Some(proof), Some(key)) => ask_witnesses(proof, key, policy, &mut problems),
        _ => None,
    };
    Ok(Report {
        subject: Subject::Proof,
        origin: key.as_ref().map(|key| key.name().to_owned()).unwrap_or_default(),
        verifier_key: key.as_ref().map(ToString::to_string).unwrap_or_default(),
        records: 1,
        first: proof.as_ref().map_or(0, |proof| proof.index),
        root_hex: head.as_ref().map(|head| hex::encode(head.root)).unwrap_or_default(),
        checkpoint_size: head.as_ref().map(|head| head.size),
        checkpoints: usize::from(head.is_some()),
        vouched,
        problems: problems.listed,
        further_problems: problems.further,
    })
}

/// Whether the quorum of `policy` cosigned the very head that the proof leads to.
fn ask_witnesses(proof: &Proof, key: &VerifierKey, policy: &Policy, problems: &mut Problems) -> Option<Vouched> {
    match policy.check_of(&proof.checkpoint, std::slice::from_ref(key)) {
        Ok(cosigned) => {
            let time_s = cosigned.cosignatures.iter().map(|said| said.time_s).max().unwrap_or(0);
            Some(Vouched { size: cosigned.checkpoint.size, time_s })
        }
        Err(unmet) => {
            problems.add(None, format!("the witnesses do not vouch for the head of this proof: {unmet}"));
            None
        }
    }
}

/// The proof and the head it leads to, as far as they are to be believed.
fn believe(
    text: &str,
    record: &[u8],
    key: &VerifierKey,
    problems: &mut Problems,
) -> (Option<Proof>, Option<Checkpoint>) {
    let proof = match Proof::parse(text) {
        Ok(proof) => proof,
        Err(cause) => {
            problems.add(None, format!("this is no proof: {cause}"));
            return (None, None);
        }
    };
    let head = match Checkpoint::verify(&proof.checkpoint, key) {
        Ok(head) if head.size <= MAX_SIZE => head,
        Ok(_) => {
            problems.add(None, "the checkpoint in the proof: its size is beyond any log");
            return (Some(proof), None);
        }
        Err(cause) => {
            problems.add(None, format!("the checkpoint in the proof: {cause}"));
            return (Some(proof), None);
        }
    };
    let path = InclusionProof::<Sha256>::from_bytes(proof.path.concat());
    let root = RootHash::<Sha256>::new(head.root.into(), head.size);
    if root.verify_inclusion(&record, proof.index, &path).is_err() {
        let hash = hex::encode(leaf_hash(record));
        problems.add(
            proof.index,
            format!(
                "the record (leaf hash {hash}) and the hashes do not lead to the signed root: one of them was changed"
            ),
        );
    }
    match Leaf::parse(record) {
        Ok(leaf) => Claims::default().check(proof.index, &leaf, problems),
        Err(cause) => problems.add(proof.index, format!("it does not parse: {cause}")),
    }
    (Some(proof), Some(head))
}
