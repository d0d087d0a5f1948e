//! What a release or a withdrawal owes everybody: a signed word of it. It is written down with what changed, and crossed out when the
//! last device has its own, since there are as many transactions between as there are batches of devices.

use serde::{Deserialize, Serialize};

use crate::db::DbError;
use crate::fleet::{Fleet, FleetError};

/// The setting that holds it.
const OWED: &str = "signing_owed";

/// Whoever began to pay has this long, in seconds, before somebody else thinks that he never will.
const PATIENCE_S: i64 = 60;

/// A debt to every device that has an assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owed {
    /// Which: of two that overlap the first one's end is not the other's.
    number: u64,
    /// When it was made, seconds since 1970-01-01 UTC.
    since_s: i64,
    paid: bool,
}

impl Fleet {
    /// Writes down, as a part of the caller's transaction, that every device is to be told what changes in it.
    pub(crate) fn owe_everybody(&self) -> Result<Owed, FleetError> {
        let number = self.last_owed()?.map_or(1, |last| last.number + 1);
        let owed = Owed { number, since_s: self.now_s(), paid: false };
        self.write_owed(&owed)?;
        Ok(owed)
    }

    /// What is owed now.
    pub(super) fn owed(&self) -> Result<Option<Owed>, FleetError> {
        Ok(self.last_owed()?.filter(|last| !last.paid))
    }

    /// Everybody was told; what came to be owed since stays so.
    pub(super) fn paid(&self, owed: &Owed) -> Result<(), FleetError> {
        self.inner.database.together(|| {
            if self.last_owed()?.as_ref() == Some(owed) {
                self.write_owed(&Owed { paid: true, ..owed.clone() })?;
            }
            Ok(())
        })
    }

    /// Pays what nobody seems to pay any more: the server that was about it has ended, or its database was away. True if it did.
    pub(crate) fn settle_owed(&self) -> Result<bool, FleetError> {
        let now_s = self.now_s();
        let is_left = |owed: &Owed| !(owed.since_s..owed.since_s + PATIENCE_S).contains(&now_s);
        let Some(owed) = self.owed()?.filter(is_left) else { return Ok(false) };
        tracing::warn!(since_s = owed.since_s, "not every device was told of the last change; they are told now");
        self.sign_all()?;
        self.touch();
        Ok(true)
    }

    fn last_owed(&self) -> Result<Option<Owed>, FleetError> {
        let Some(bytes) = self.inner.database.setting(OWED)? else { return Ok(None) };
        let unreadable = |source| DbError::Document { what: "debt", source };
        Ok(Some(serde_json::from_slice(&bytes).map_err(unreadable)?))
    }

    fn write_owed(&self, owed: &Owed) -> Result<(), FleetError> {
        let unreadable = |source| DbError::Document { what: "debt", source };
        Ok(self.inner.database.set(OWED, &serde_json::to_vec(owed).map_err(unreadable)?)?)
    }
}
