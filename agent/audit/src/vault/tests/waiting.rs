//! Records on their way to the writer: ciphertext in memory has a bound, and a destruction has its transaction alone.

use std::sync::Arc;

use super::*;
use crate::Moment;
use crate::queue::{Appended, Draft, Queue};
use crate::record::Stamp;
use crate::vault::keys::SubjectKey;
use crate::vault::month::Month;
use crate::vault::seal::Sealed;

fn push(queue: &Queue, act: Act) -> Appended {
    let stamp = Stamp { wall_ms: 0, clock_is_trusted: true, boot_us: 0, boot: "6f1c", agent: "0.1.0", device: "dev-1" };
    let leaf = Record::new(Kind::InferEnd).render(&stamp).unwrap();
    queue.push(Draft { act, ..Draft::plain(Kind::InferEnd, Moment::default(), leaf) }, false)
}

fn store(bytes: usize) -> Act {
    let key = Arc::new(SubjectKey::fresh(ADA.to_owned(), Month::of(0)).unwrap());
    Act::Store(vec![Sealed { side: content::Side::Input, key, bytes: vec![0; bytes] }])
}

#[test]
fn more_ciphertext_than_fits_into_memory_is_refused_until_some_is_written() {
    let queue = Queue::default();
    let waiting: Vec<_> = (0..16).map(|_| push(&queue, store(MAX_CONTENT_BYTES))).collect();
    let refused = push(&queue, store(1)).wait().unwrap_err();
    assert!(matches!(refused, AuditError::Busy { pending: 16 }), "{refused}");
    let metadata = push(&queue, Act::None);
    assert_eq!(queue.take(None).batch.len(), 17, "a record without content is not refused for it");
    let again = push(&queue, store(MAX_CONTENT_BYTES));
    assert_eq!(queue.take(None).batch.len(), 1);
    drop((waiting, metadata, again));
}

#[test]
fn a_destruction_has_a_transaction_to_itself() {
    let queue = Queue::default();
    let destroy = || Act::Destroy(Destruction::new(&[]));
    let acts = [Act::None, store(1), destroy(), destroy(), Act::None, Act::None];
    let waiting: Vec<_> = acts.into_iter().map(|act| push(&queue, act)).collect();
    let batches: Vec<usize> = (0..4).map(|_| queue.take(None).batch.len()).collect();
    assert_eq!(batches, [2, 1, 1, 2]);
    drop(waiting);
}
