//! Responses that are kept for whoever asked: in memory, bounded in number, bytes and age, each seen by its owner alone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use outpost_policies::{Principal, PrincipalKind};
use serde_json::Value;

use crate::Message;
use crate::error::ApiError;

/// Responses of one owner.
const EACH: usize = 256;

/// Bytes of one owner's responses.
const EACH_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of all responses.
const ALL_BYTES: usize = 64 * 1024 * 1024;

/// How long a response is kept, seconds.
const AGE_S: i64 = 24 * 3600;

/// What one entry takes beside its content, about.
const OVERHEAD: usize = 512;

/// Who a response belongs to: the sort of caller too, as a person and a program may share a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    kind: PrincipalKind,
    id: String,
}

impl Owner {
    pub(super) fn of(principal: &Principal) -> Self {
        Self { kind: principal.kind, id: principal.id.clone() }
    }
}

/// A response as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) response: Value,
    /// The model as it was asked for.
    pub(super) model: String,
    /// The items of the request.
    pub(super) input: Vec<Value>,
    /// The whole conversation with the answer, without instructions.
    pub(super) history: Vec<Message>,
}

impl Kept {
    fn bytes(&self) -> usize {
        let message = |message: &Message| {
            let calls =
                message.calls.iter().map(|call| call.id.len() + call.name.len() + call.arguments.len() + OVERHEAD);
            message.content.len() + message.reasoning.as_ref().map_or(0, String::len) + calls.sum::<usize>() + OVERHEAD
        };
        // Values take several times their text; three is about what objects of short texts do.
        let values = std::iter::once(&self.response).chain(&self.input).map(|value| 3 * value.to_string().len());
        OVERHEAD + values.sum::<usize>() + self.history.iter().map(message).sum::<usize>()
    }
}

/// All kept responses.
#[derive(Debug, Default)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    bytes: usize,
    /// Counts what was ever kept, so that the oldest can be told.
    count: u64,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    kept: Kept,
    bytes: usize,
    number: u64,
    since_s: i64,
}

impl Store {
    /// Keeps a response; the oldest make room for it. Gives whether there was room at all.
    pub(super) fn keep(&self, owner: &Owner, id: &str, kept: Kept, now_s: i64) -> bool {
        let bytes = kept.bytes();
        if bytes > EACH_BYTES {
            return false;
        }
        let mut inner = self.lock();
        inner.forget(id);
        inner.drop_old(now_s);
        while inner.of(owner).count() >= EACH
            || inner.of(owner).map(|(_, entry)| entry.bytes).sum::<usize>() + bytes > EACH_BYTES
        {
            let oldest = inner.of(owner).min_by_key(|(_, entry)| entry.number).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { return false };
            inner.forget(&oldest);
        }
        while inner.bytes + bytes > ALL_BYTES {
            let oldest = inner.entries.iter().min_by_key(|(_, entry)| entry.number).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { return false };
            inner.forget(&oldest);
        }
        inner.count += 1;
        inner.bytes += bytes;
        let entry = Entry { owner: owner.clone(), kept, bytes, number: inner.count, since_s: now_s };
        inner.entries.insert(id.to_owned(), entry);
        true
    }

    /// A response of this owner; somebody else's is not there.
    pub(super) fn get(&self, owner: &Owner, id: &str, now_s: i64) -> Option<Kept> {
        let mut inner = self.lock();
        inner.drop_old(now_s);
        inner.entries.get(id).filter(|entry| entry.owner == *owner).map(|entry| entry.kept.clone())
    }

    /// Forgets a response of this owner. Gives whether it was there.
    pub(super) fn delete(&self, owner: &Owner, id: &str) -> bool {
        let mut inner = self.lock();
        let own = inner.entries.get(id).is_some_and(|entry| entry.owner == *owner);
        if own {
            inner.forget(id);
        }
        own
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics halfway through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn of<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = (&'a String, &'a Entry)> {
        self.entries.iter().filter(move |(_, entry)| entry.owner == *owner)
    }

    fn forget(&mut self, id: &str) {
        if let Some(entry) = self.entries.remove(id) {
            self.bytes -= entry.bytes;
        }
    }

    /// Age counts from either side: a clock that was set back does not keep anything longer.
    fn drop_old(&mut self, now_s: i64) {
        let bytes = &mut self.bytes;
        self.entries.retain(|_, entry| {
            let young = now_s.abs_diff(entry.since_s) <= AGE_S.unsigned_abs();
            if !young {
                *bytes -= entry.bytes;
            }
            young
        });
    }
}

/// An id that nobody can guess.
///
/// # Errors
/// If the device has no randomness.
pub(super) fn fresh_id() -> Result<String, ApiError> {
    let mut random = [0_u8; 20];
    getrandom::fill(&mut random).map_err(|error| {
        tracing::error!(%error, "no randomness for the id of a response");
        ApiError::internal()
    })?;
    Ok(format!("resp_{}", hex::encode(random)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Role;

    fn owner(kind: PrincipalKind, id: &str) -> Owner {
        Owner { kind, id: id.to_owned() }
    }

    fn kept(bytes: usize) -> Kept {
        let history = vec![Message::new(Role::User, "x".repeat(bytes))];
        Kept { response: json!({}), model: "demo".to_owned(), input: Vec::new(), history }
    }

    #[test]
    fn only_the_owner_sees_and_forgets_a_response() {
        let (store, ada) = (Store::default(), owner(PrincipalKind::User, "ada"));
        assert!(store.keep(&ada, "resp_1", kept(1), 0));
        for other in [owner(PrincipalKind::User, "bob"), owner(PrincipalKind::Service, "ada")] {
            assert_eq!(store.get(&other, "resp_1", 0), None);
            assert!(!store.delete(&other, "resp_1"));
        }
        assert_eq!(store.get(&ada, "resp_1", 0), Some(kept(1)));
        assert!(store.delete(&ada, "resp_1") && !store.delete(&ada, "resp_1"));
        assert_eq!(store.lock().bytes, 0);
    }

    #[test]
    fn the_oldest_make_room_in_number_and_bytes_and_old_ones_are_gone() {
        let (store, ada) = (Store::default(), owner(PrincipalKind::User, "ada"));
        for number in 0..=EACH {
            assert!(store.keep(&ada, &format!("resp_{number}"), kept(1), 0));
        }
        assert_eq!((store.get(&ada, "resp_0", 0), store.lock().entries.len()), (None, EACH));
        assert!(!store.keep(&ada, "huge", kept(EACH_BYTES), 0));
        assert!(store.keep(&ada, "large", kept(EACH_BYTES - 2048), 0));
        assert!(store.get(&ada, "large", 0).is_some());
        assert!(store.lock().entries.len() <= 2);
        assert_eq!(store.get(&ada, "large", AGE_S + 1), None);
        assert_eq!(store.lock().bytes, 0);
    }

    #[test]
    fn all_owners_together_have_a_bound_too() {
        let store = Store::default();
        for number in 0..12 {
            let owner = owner(PrincipalKind::User, &number.to_string());
            assert!(store.keep(&owner, &format!("resp_{number}"), kept(EACH_BYTES - 4096), 0));
            assert!(store.lock().bytes <= ALL_BYTES);
        }
        assert_eq!(store.get(&owner(PrincipalKind::User, "0"), "resp_0", 0), None);
    }

    #[test]
    fn ids_are_long_and_never_the_same() {
        let (one, two) = (fresh_id().unwrap(), fresh_id().unwrap());
        assert!(one != two && one.len() == 45, "{one}");
    }
}
