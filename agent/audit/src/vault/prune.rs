//! Content does not stay for ever: months that are over are destroyed, on record.

use std::collections::BTreeSet;

use crate::{AuditError, AuditLog, Kind, Record, Who};

const MS_PER_DAY: i64 = 86_400_000;

/// How long content is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A month goes as a whole when its last moment is so many days past. 0 keeps it until it is over.
    pub content_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { content_days: 30 }
    }
}

/// What a prune would destroy now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// The months, such as `2026-09`, oldest first.
    pub months: Vec<String>,
    /// Ids of their keys.
    pub keys: Vec<String>,
    /// Prompts and answers sealed under them.
    pub ciphertexts: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a prune did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// The last record that says so; none if there was nothing to do.
    pub index: Option<u64>,
    /// What was destroyed.
    pub plan: PrunePlan,
    /// As [`Erased::journal_truncated`](crate::vault::Erased::journal_truncated).
    pub journal_truncated: bool,
}

impl AuditLog {
    /// What [`prune`](Self::prune) would destroy now. Changes nothing. Reads the disk.
    ///
    /// # Errors
    /// Without a vault, or if the database cannot be read.
    pub fn prune_plan(&self, retention: Retention) -> Result<PrunePlan, AuditError> {
        let horizon_ms = self.horizon_ms(retention);
        let (mut months, mut keys) = (BTreeSet::new(), Vec::new());
        for key in self.vault()?.keys().iter().filter(|key| key.month.end_ms() <= horizon_ms) {
            months.insert(key.month);
            keys.push(key.id.clone());
        }
        let extent = self.sealed_extent(&keys)?;
        let months = months.iter().map(ToString::to_string).collect();
        Ok(PrunePlan { months, keys, ciphertexts: extent.rows, bytes: extent.bytes })
    }

    /// Destroys what is past its time in logs that were set aside, each with its record: how many keys, and the last record.
    ///
    /// # Errors
    /// As [`prune`](Self::prune), and if such a log cannot be opened.
    pub fn prune_ended(&self, retention: Retention, who: &Who) -> Result<Option<(usize, u64)>, AuditError> {
        let horizon_ms = self.horizon_ms(retention);
        let (mut destroyed, mut last) = (0, None);
        for mut aside in self.asides()? {
            let (keys, months): (Vec<_>, BTreeSet<_>) = aside.keys_past(horizon_ms).into_iter().unzip();
            let extent = aside.extent(&keys)?;
            let months: Vec<_> = months.into_iter().collect();
            let record = record(retention, &months, extent.rows).who(who.clone());
            last = self.destroy_aside(&mut aside, &keys, &record)?.or(last);
            destroyed += keys.len();
        }
        Ok(last.map(|last| (destroyed, last)))
    }

    /// What ended before it is past its time.
    fn horizon_ms(&self, retention: Retention) -> i64 {
        self.moment().wall_ms.saturating_sub(i64::from(retention.content_days) * MS_PER_DAY)
    }

    /// Destroys the content of every month whose last moment is `retention` past, keys and ciphertext, and records an
    /// `audit.prune` with the ids of the keys, if there are any. The promise is that of [`erase`](Self::erase). Blocks on
    /// the disk.
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    pub fn prune(&self, retention: Retention, who: Who) -> Result<Pruned, AuditError> {
        let plan = self.prune_plan(retention)?;
        if plan.keys.is_empty() {
            return Ok(Pruned { index: None, plan, journal_truncated: false });
        }
        let record = record(retention, &plan.months, plan.ciphertexts).who(who);
        let destroyed = self.destroy(&plan.keys, &record)?;
        Ok(Pruned { index: Some(destroyed.index), plan, journal_truncated: destroyed.journal_truncated })
    }
}

fn record(retention: Retention, months: &[String], ciphertexts: u64) -> Record {
    Record::new(Kind::AuditPrune)
        .act("prune")
        .detail("content_days", retention.content_days)
        .detail("months", months.join(" "))
        .detail("ciphertexts", ciphertexts)
}
