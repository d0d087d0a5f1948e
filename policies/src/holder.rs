//! Everybody with the same roles: what they may use, and which rules concern them. Made once and then remembered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy_core::ast::{EntityUID, Value};

use crate::content::ContentRules;
use crate::judge::{Judge, Slice};
use crate::words::Words;
use crate::{Action, Limits, RoleLimits};

/// Sets of roles that are remembered; more than a fleet has, and a bound on what strange tokens can make us keep.
const REMEMBERED: usize = 1024;

/// The holders of one set of roles.
#[derive(Debug)]
pub(crate) struct Holder {
    /// The roles as Cedar's entities.
    pub(crate) uids: HashSet<EntityUID>,
    pub(crate) limits: Arc<Limits>,
    /// The limits as Cedar's record.
    pub(crate) limits_value: Value,
    pub(crate) content: ContentRules,
    /// By action, in the order of [`Action::ALL`].
    slices: Vec<Slice>,
}

impl Holder {
    fn new(roles: &[&str], parts: &Parts<'_>) -> Result<Self, String> {
        let limits = Limits::of(roles.iter().filter_map(|role| parts.limits.get(*role)));
        let has_role = |role: &str| roles.contains(&role);
        Ok(Self {
            uids: roles.iter().map(|role| parts.words.role(role)).collect(),
            limits_value: parts.words.limits(&limits)?,
            limits: Arc::new(limits),
            content: ContentRules::of(roles.iter().filter_map(|role| parts.content.get(*role))),
            slices: Action::ALL.into_iter().map(|action| parts.judge.slice(action, has_role)).collect(),
        })
    }

    pub(crate) fn slice(&self, action: Action) -> &Slice {
        &self.slices[action as usize]
    }
}

/// What a holder is made from.
pub(crate) struct Parts<'a> {
    pub(crate) limits: &'a BTreeMap<String, RoleLimits>,
    pub(crate) content: &'a BTreeMap<String, ContentRules>,
    pub(crate) words: &'a Words,
    pub(crate) judge: &'a Judge,
}

/// The holders that were asked for so far. What is remembered is what would be made again: the answer is the same.
#[derive(Debug, Default)]
pub(crate) struct Holders(RwLock<HashMap<u64, Arc<Holder>>>);

impl Holders {
    /// Those with these roles, each of which must be in the limits; `parts` makes them if need be.
    pub(crate) fn of(&self, roles: &[String], parts: &Parts<'_>) -> Result<Arc<Holder>, String> {
        // A bundle has at most 64 roles, so that a set of them is a number.
        let mut set = 0_u64;
        for (place, role) in parts.limits.keys().enumerate() {
            if roles.contains(role) {
                set |= 1_u64.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).ok_or("more than 64 roles")?;
            }
        }
        if let Some(holder) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&set) {
            return Ok(Arc::clone(holder));
        }
        let held: Vec<&str> =
            parts.limits.keys().map(String::as_str).filter(|role| roles.iter().any(|one| one == role)).collect();
        let holder = Arc::new(Holder::new(&held, parts)?);
        let mut remembered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() < REMEMBERED {
            remembered.insert(set, Arc::clone(&holder));
        }
        Ok(holder)
    }
}
