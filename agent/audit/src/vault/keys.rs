//! The keys in memory: one for each subject and month, shared by the threads that seal.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::VaultError;
use super::cipher::{self, Derived, Key};
use super::month::Month;
use super::root::Root;
use super::table::KeyRow;

/// Random bytes in the id of a key.
const ID_BYTES: usize = 8;

/// A subject's key of one month.
#[derive(Debug)]
pub(crate) struct SubjectKey {
    /// `k:2026-11:` and 16 hexadecimal digits: random, so that it says nothing about whose key it is.
    pub(crate) id: String,
    /// Pseudonym of the subject.
    pub(crate) subject: String,
    pub(crate) month: Month,
    /// None if what is stored does not unwrap.
    pub(crate) key: Option<Key>,
}

impl SubjectKey {
    pub(crate) fn fresh(subject: String, month: Month) -> Result<Self, VaultError> {
        let mut random = [0; ID_BYTES];
        cipher::fill_random(&mut random)?;
        Ok(Self { id: format!("k:{month}:{}", hex::encode(random)), subject, month, key: Some(Key::random()?) })
    }

    /// What a wrapped key is bound to.
    fn place(&self) -> String {
        place(&self.id, &self.subject, &self.month.to_string())
    }

    /// As the database may hold it.
    pub(crate) fn wrap(&self, root: &Root) -> Result<KeyRow, VaultError> {
        Ok(KeyRow {
            id: self.id.clone(),
            subject: self.subject.clone(),
            month: self.month.to_string(),
            wrapped: root.wrap(&self.place(), self.key()?)?,
        })
    }

    /// The key in a row. One that does not unwrap is kept without its bytes: it must be possible to erase it.
    pub(crate) fn unwrap(root: &Root, row: KeyRow) -> Self {
        let key = root.unwrap(&place(&row.id, &row.subject, &row.month), &row.wrapped);
        // A month that cannot be read is never over: nothing is pruned on the word of a damaged row.
        let month = Month::parse(&row.month).unwrap_or(Month::LAST);
        Self { id: row.id, subject: row.subject, month, key }
    }

    fn key(&self) -> Result<&Key, VaultError> {
        self.key.as_ref().ok_or_else(|| VaultError::DamagedKey { key: self.id.clone() })
    }

    /// The key for one side of one record.
    pub(crate) fn for_record(&self, record: &str, side: &str) -> Result<Derived, VaultError> {
        cipher::derive(self.key()?.expose(), &format!("content\n{record}\n{side}"))
    }
}

/// What a wrapped key is bound to: its own row.
pub(crate) fn place(id: &str, subject: &str, month: &str) -> String {
    format!("{id}\n{subject}\n{month}")
}

/// All keys that are not destroyed.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    by_id: BTreeMap<String, Arc<SubjectKey>>,
    current: HashMap<(String, Month), Arc<SubjectKey>>,
}

impl Keys {
    pub(crate) fn add(&mut self, key: Arc<SubjectKey>) {
        if key.key.is_some() {
            self.current.insert((key.subject.clone(), key.month), Arc::clone(&key));
        }
        self.by_id.insert(key.id.clone(), key);
    }

    /// The key to seal with, made if there is none; a damaged one is not written with any more.
    pub(crate) fn obtain(&mut self, subject: &str, month: Month) -> Result<Arc<SubjectKey>, VaultError> {
        if let Some(key) = self.current.get(&(subject.to_owned(), month)) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(SubjectKey::fresh(subject.to_owned(), month)?);
        self.add(Arc::clone(&key));
        Ok(key)
    }

    /// Forgets destroyed keys: the next record of their subject gets a new one, under a new id.
    pub(crate) fn forget(&mut self, ids: &[String]) {
        for id in ids {
            let Some(key) = self.by_id.remove(id) else { continue };
            let slot = (key.subject.clone(), key.month);
            if self.current.get(&slot).is_some_and(|current| current.id == key.id) {
                self.current.remove(&slot);
            }
        }
    }

    pub(crate) fn holds(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// Every key, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<SubjectKey>> {
        self.by_id.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_one_key_a_month_and_a_new_one_after_it_was_forgotten() {
        let (november, december) = (Month::parse("2026-11").unwrap(), Month::parse("2026-12").unwrap());
        let mut keys = Keys::default();
        let first = keys.obtain("p:a", november).unwrap();
        assert_eq!(keys.obtain("p:a", november).unwrap().id, first.id);
        assert_ne!(keys.obtain("p:a", december).unwrap().id, first.id);
        assert_ne!(keys.obtain("p:b", november).unwrap().id, first.id);
        assert!(first.id.starts_with("k:2026-11:") && first.id.len() == 26, "{}", first.id);
        keys.forget(std::slice::from_ref(&first.id));
        assert_ne!(keys.obtain("p:a", november).unwrap().id, first.id);
        assert_eq!(keys.iter().count(), 3);
    }

    #[test]
    fn a_damaged_key_is_kept_and_not_sealed_with() {
        let month = Month::parse("2026-11").unwrap();
        let mut keys = Keys::default();
        keys.add(Arc::new(SubjectKey { key: None, ..SubjectKey::fresh("p:a".to_owned(), month).unwrap() }));
        assert!(keys.obtain("p:a", month).unwrap().key.is_some());
        assert_eq!(keys.iter().count(), 2);
    }
}
