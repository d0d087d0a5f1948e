//! How much: requests per minute, tokens per day, requests at once. Reserved before, settled after, each together with its
//! audit record.
//!
//! ```text
//! take ──► Hold ──reserve──► infer.start and +reserved: one transaction ──settle──► infer.end and what it took in fact
//!           └ dropped before that: as if it had not been        └ killed, cut off: what was reserved stays spent
//! ```
//!
//! The counters of the log are the truth, and what is in memory is those plus what is on its way to the disk. Whoever
//! is killed finds them again as the records have them: a restart gives nothing back.

mod rate;
mod spent;
mod told;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outpost_audit::{AuditError, AuditLog, Change, Moment, Record};

use outpost_policies::Limits;

use rate::Rate;
use spent::Spent;
pub(crate) use told::Told;

/// Counters in the log: tokens by hour, and the moment at which a bucket is full.
const TOKENS: &str = "tokens/";
const RATE: &str = "rate/";

/// When somebody who has as many requests under way as allowed may try again.
const RETRY_AFTER_S: u64 = 1;

/// What everybody has used.
pub(crate) struct Quotas {
    accounts: Mutex<HashMap<String, Account>>,
}

#[derive(Debug, Default)]
struct Account {
    rate: Rate,
    spent: Spent,
    at_once: u32,
}

/// What a request would use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// Tokens that its prompt is thought to have.
    pub(crate) prompt_tokens: u32,
    /// Tokens that it may have generated.
    pub(crate) max_tokens: u32,
    /// Whether fewer will do, because the caller did not say how many.
    pub(crate) fewer_will_do: bool,
}

/// A limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// Requests in a minute.
    Requests { limit: u32, retry_after_s: u64 },
    /// Tokens in a day.
    Tokens { limit: u64, left: u64, retry_after_s: u64 },
    /// Requests at once.
    AtOnce { limit: u32, retry_after_s: u64 },
}

/// How somebody stands, as answers tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Limit, what is left, and milliseconds until all of it is back.
    pub(crate) requests: Option<(u64, u64, u64)>,
    /// The same.
    pub(crate) tokens: Option<(u64, u64, u64)>,
}

impl Quotas {
    /// As the log has them.
    ///
    /// # Errors
    /// If its counters cannot be read.
    pub(crate) fn load(audit: &AuditLog, now: Moment) -> Result<Arc<Self>, AuditError> {
        let mut accounts: HashMap<String, Account> = HashMap::new();
        for counter in audit.counters()? {
            let value = u64::try_from(counter.value).unwrap_or(0);
            if let Some(tenant) = counter.key.strip_prefix(TOKENS) {
                accounts.entry(tenant.to_owned()).or_default().spent.add(counter.period, value);
            } else if let Some(tenant) = counter.key.strip_prefix(RATE) {
                accounts.entry(tenant.to_owned()).or_default().rate = Rate::remembered(counter.value, now.boot_us);
            }
        }
        Ok(Arc::new(Self { accounts: Mutex::new(accounts) }))
    }

    /// Takes what a request needs, or nothing.
    pub(crate) fn take(
        self: &Arc<Self>,
        tenant: &str,
        limits: &Limits,
        now: Moment,
        need: Need,
    ) -> Result<Hold, Exceeded> {
        let mut accounts = self.lock();
        let account = accounts.entry(tenant.to_owned()).or_default();
        let taken = account.take(limits, now, need);
        let standing = account.standing(limits, now);
        if account.is_blank() {
            accounts.remove(tenant);
        }
        drop(accounts);
        let max_tokens = taken?;
        Ok(Hold {
            quotas: Arc::clone(self),
            tenant: tenant.to_owned(),
            per_minute: limits.requests_per_minute,
            now,
            reserved: u64::from(need.prompt_tokens) + u64::from(max_tokens),
            max_tokens,
            standing,
            stage: Stage::Taken,
        })
    }

    /// How somebody stands who takes nothing.
    pub(crate) fn standing(&self, tenant: &str, limits: &Limits, now: Moment) -> Standing {
        self.lock()
            .get(tenant)
            .map_or_else(|| Account::default().standing(limits, now), |account| account.standing(limits, now))
    }

    /// Tokens that somebody has had today, reserved ones included.
    pub(crate) fn tokens_today(&self, tenant: &str, now: Moment) -> u64 {
        self.lock().get(tenant).map_or(0, |account| account.spent.today(now))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn take(&mut self, limits: &Limits, now: Moment, need: Need) -> Result<u32, Exceeded> {
        if let Some(limit) = limits.concurrent.filter(|limit| self.at_once >= *limit) {
            return Err(Exceeded::AtOnce { limit, retry_after_s: RETRY_AFTER_S });
        }
        if let Some(limit) = limits.requests_per_minute {
            let next_us = self.rate.standing(limit, now.boot_us).next_us;
            if next_us > 0 {
                let retry_after_s = u64::try_from(next_us).unwrap_or(0).div_ceil(1_000_000);
                return Err(Exceeded::Requests { limit, retry_after_s });
            }
        }
        let mut max_tokens = need.max_tokens;
        let prompt = u64::from(need.prompt_tokens);
        if let Some(limit) = limits.tokens_per_day {
            let left = limit.saturating_sub(self.spent.today(now));
            let for_answer = left.saturating_sub(prompt);
            if for_answer < u64::from(max_tokens) {
                let least = prompt + if need.fewer_will_do { 1 } else { u64::from(max_tokens) };
                if left < least {
                    let retry_after_s = self.spent.allowed_in_s(now, limit, least);
                    return Err(Exceeded::Tokens { limit, left, retry_after_s });
                }
                max_tokens = u32::try_from(for_answer).unwrap_or(max_tokens);
            }
        }
        if let Some(limit) = limits.requests_per_minute {
            self.rate.take(limit, now.boot_us);
        }
        self.at_once += 1;
        self.spent.add(spent::hour(now), prompt + u64::from(max_tokens));
        Ok(max_tokens)
    }

    fn standing(&self, limits: &Limits, now: Moment) -> Standing {
        let requests = limits.requests_per_minute.map(|limit| {
            let standing = self.rate.standing(limit, now.boot_us);
            (limit.into(), standing.remaining.into(), u64::try_from(standing.full_us).unwrap_or(0).div_ceil(1000))
        });
        let tokens = limits.tokens_per_day.map(|limit| {
            let left = limit.saturating_sub(self.spent.today(now));
            (limit, left, self.spent.allowed_in_s(now, limit, limit).saturating_mul(1000))
        });
        Standing { requests, tokens }
    }

    fn is_blank(&self) -> bool {
        self.at_once == 0 && self.rate == Rate::default() && self.spent.is_empty()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In memory only.
    Taken,
    /// With a record that is on its way, or on the disk.
    Reserved,
    /// What it took is known.
    Settled,
}

/// What a request has taken. Dropped before it is reserved, it gives everything back.
pub(crate) struct Hold {
    quotas: Arc<Quotas>,
    tenant: String,
    per_minute: Option<u32>,
    now: Moment,
    reserved: u64,
    max_tokens: u32,
    standing: Standing,
    stage: Stage,
}

impl Hold {
    /// The most tokens that may be generated: what was asked for, or what is left of the day.
    pub(crate) fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    /// How the caller stands with this request taken.
    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether a record carries it.
    pub(crate) fn is_reserved(&self) -> bool {
        self.stage != Stage::Taken
    }

    /// Adds to the record of its start what is reserved.
    pub(crate) fn reserve(&mut self, record: Record) -> Record {
        self.stage = Stage::Reserved;
        let reserved = i64::try_from(self.reserved).unwrap_or(i64::MAX);
        let mut record = record.detail("reserved_tokens", reserved).count(self.change(reserved));
        let mut accounts = self.quotas.lock();
        if self.per_minute.is_some() {
            let full_us = accounts.get(&self.tenant).map_or(0, |account| account.rate.full_us);
            let ceiling = self.now.boot_us.saturating_add(rate::WINDOW_US);
            record = record.count(Change::raise(format!("{RATE}{}", self.tenant), 0, full_us, ceiling));
        }
        let forgotten = accounts.get_mut(&self.tenant).and_then(|account| account.spent.forget(self.hour()));
        match forgotten {
            Some(hour) => record.count(Change::forget(format!("{TOKENS}{}", self.tenant), hour)),
            None => record,
        }
    }

    /// Adds to the record of its end what it took.
    pub(crate) fn settle(&mut self, record: Record, took: u64) -> Record {
        if self.stage != Stage::Reserved {
            return record;
        }
        self.stage = Stage::Settled;
        let (took, reserved) =
            (i64::try_from(took).unwrap_or(i64::MAX), i64::try_from(self.reserved).unwrap_or(i64::MAX));
        if let Some(account) = self.quotas.lock().get_mut(&self.tenant) {
            account.spent.take_back(self.hour(), self.reserved);
            account.spent.add(self.hour(), u64::try_from(took).unwrap_or(0));
        }
        record.count(self.change(took.saturating_sub(reserved)))
    }

    /// Its start could not be recorded: as if it had not been.
    pub(crate) fn release(&mut self) {
        if self.stage == Stage::Settled {
            return;
        }
        self.stage = Stage::Settled;
        if let Some(account) = self.quotas.lock().get_mut(&self.tenant) {
            account.spent.take_back(self.hour(), self.reserved);
            if let Some(per_minute) = self.per_minute {
                account.rate.give_back(per_minute);
            }
        }
    }

    fn change(&self, by: i64) -> Change {
        Change::add(format!("{TOKENS}{}", self.tenant), self.hour(), by)
    }

    fn hour(&self) -> i64 {
        spent::hour(self.now)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.stage == Stage::Taken {
            self.release();
        }
        let mut accounts = self.quotas.lock();
        if let Some(account) = accounts.get_mut(&self.tenant) {
            account.at_once = account.at_once.saturating_sub(1);
            if account.is_blank() {
                accounts.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests;
