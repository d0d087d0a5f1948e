//! The two-person rule: whoever approves is not who wrote, and approves exactly what is there.

use super::{Act, Actor};
use crate::fleet::{Fleet, FleetError};

/// How an account of this machine is named.
pub(crate) const LOCAL: &str = "local:";

/// Whose name it is: who signs in as `ada` is whoever has the account `ada`, until told otherwise.
pub(crate) fn person(name: &str) -> &str {
    name.strip_prefix(LOCAL).unwrap_or(name)
}

/// Whether two names are one person's.
pub(crate) fn is_same_person(one: &str, other: &str) -> bool {
    person(one) == person(other)
}

/// What is approved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Approvable<'a> {
    /// `rollout` or `policy`.
    pub(crate) kind: &'a str,
    /// Its name.
    pub(crate) subject: &'a str,
    /// The digest of what it says now: an approval of other words does not count.
    pub(crate) digest: &'a str,
    /// Who wrote it.
    pub(crate) author: &'a str,
}

impl Fleet {
    /// `actor` approves it; on record, and once however often.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`] if they may not by `act`, or wrote it themselves.
    pub(crate) fn approve(&self, actor: &Actor, act: Act, what: Approvable<'_>) -> Result<(), FleetError> {
        let _permit = self.permit(actor, act, what.subject)?;
        if is_same_person(&actor.name, what.author) {
            let own = super::Happening::of(actor, act, what.subject);
            let (effect, rules) = ("deny".to_owned(), vec!["two-persons".to_owned()]);
            self.record(&super::Happening { effect, rules, ..own })?;
            return Err(FleetError::Forbidden("whoever wrote it does not approve it; ask a second person".to_owned()));
        }
        let Approvable { kind, subject, digest, .. } = what;
        Ok(self.inner.database.add_approval(kind, subject, digest, &actor.name, self.now_s())?)
    }

    /// Who approved exactly this, and when (seconds), oldest first; never its author.
    pub(crate) fn approvals(&self, what: Approvable<'_>) -> Result<Vec<(String, i64)>, FleetError> {
        let mut approvals = self.inner.database.approvals(what.kind, what.subject, what.digest)?;
        approvals.retain(|(person, _)| !is_same_person(person, what.author));
        Ok(approvals)
    }
}
