//! Who is sent events, how far each has got, and what was given up.

use std::collections::BTreeMap;

use serde::Serialize;

use super::sql::{OptionalExtension, Row, params};
use super::{Database, DbError};

/// Attempts of a hook that are kept.
const ATTEMPTS_KEPT: i64 = 100;

/// Dead letters of a hook that are kept.
const DEAD_KEPT: i64 = 1000;

/// Somebody who is sent events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// Where events go.
    pub url: String,
    /// Which events: kinds, or areas as in `device.*`; none for all.
    pub kinds: Vec<String>,
    /// When it was made.
    pub created_s: i64,
    /// Why it is sent nothing any more.
    pub disabled: Option<String>,
    /// Number of the event up to which it has all that it wants.
    pub delivered: i64,
    /// Attempts that failed since the last one that did not.
    pub failures: i64,
    /// When it is tried next, if it failed.
    pub due_s: i64,
    #[serde(skip)]
    pub(crate) salt: Vec<u8>,
}

/// One attempt to deliver an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Counts the attempts of its hook; 0 of one that is not on record.
    pub attempt: i64,
    /// Number of the event.
    pub number: i64,
    /// When.
    pub at_s: i64,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// How long it took, milliseconds.
    pub took_ms: i64,
    /// What went wrong; empty if nothing did.
    pub error: String,
}

/// An event that was given up for a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadEvent {
    /// Number of the event.
    pub number: i64,
    /// When it was given up.
    pub at_s: i64,
    /// Why.
    pub why: String,
}

const HOOK: &str = "SELECT name, url, kinds, salt, created_s, disabled, delivered, failures, due_s FROM webhooks";

impl Database {
    /// Enters a hook, which is sent what happens from now on; false if the name is taken.
    pub(crate) fn add_webhook(&self, hook: &Webhook) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "INSERT INTO webhooks (name, url, kinds, salt, created_s, delivered, failures, due_s, claimed_s)
                       VALUES (?1, ?2, ?3, ?4, ?5, coalesce((SELECT number FROM fleet_event_count WHERE one = 1), 0), 0, 0, 0)
                       ON CONFLICT DO NOTHING";
            let Webhook { name, url, salt, created_s, .. } = hook;
            Ok(transaction.execute(sql, params![name, url, hook.kinds.join(" "), salt, created_s])? == 1)
        })
    }

    /// All hooks, by name.
    pub(crate) fn webhooks(&self) -> Result<Vec<Webhook>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{HOOK} ORDER BY name"))?;
            Ok(statement.query_map([], webhook)?.collect::<Result<_, _>>()?)
        })
    }

    pub(crate) fn webhook(&self, name: &str) -> Result<Option<Webhook>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{HOOK} WHERE name = ?1"))?;
            Ok(statement.query_row([name], webhook).optional()?)
        })
    }

    /// Forgets a hook and all that is kept of it; false if there is none.
    pub(crate) fn remove_webhook(&self, name: &str) -> Result<bool, DbError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM webhook_deliveries WHERE hook = ?1", [name])?;
            transaction.execute("DELETE FROM webhook_dead WHERE hook = ?1", [name])?;
            Ok(transaction.execute("DELETE FROM webhooks WHERE name = ?1", [name])? == 1)
        })
    }

    /// Takes a hook until `until_s`, if it is due and no other server has it.
    pub(crate) fn claim_webhook(&self, name: &str, now_s: i64, until_s: i64) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "UPDATE webhooks SET claimed_s = ?3 WHERE name = ?1 AND claimed_s <= ?2 AND due_s <= ?2
                       AND disabled IS NULL";
            Ok(transaction.execute(sql, params![name, now_s, until_s])? == 1)
        })
    }

    /// Lets go of a hook.
    pub(crate) fn release_webhook(&self, name: &str) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("UPDATE webhooks SET claimed_s = 0 WHERE name = ?1", [name])?;
            Ok(())
        })
    }

    /// A hook has got, or does not want, everything up to this number.
    pub(crate) fn advance_webhook(&self, name: &str, number: i64) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "UPDATE webhooks SET delivered = ?2, failures = 0, due_s = 0 WHERE name = ?1 AND delivered < ?2";
            transaction.execute(sql, params![name, number])?;
            Ok(())
        })
    }

    /// An attempt failed; the next one is at `due_s`, or never.
    pub(crate) fn webhook_failed(&self, name: &str, due_s: i64, disabled: Option<&str>) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "UPDATE webhooks SET failures = failures + 1, due_s = ?2, disabled = coalesce(?3, disabled)
                       WHERE name = ?1";
            transaction.execute(sql, params![name, due_s, disabled])?;
            Ok(())
        })
    }

    /// Sends a hook nothing more, for this reason or the one that there is already; false if there is none.
    pub(crate) fn disable_webhook(&self, name: &str, why: &str) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "UPDATE webhooks SET disabled = coalesce(disabled, ?2) WHERE name = ?1";
            Ok(transaction.execute(sql, params![name, why])? == 1)
        })
    }

    /// Lets a hook be tried at once, also one that was disabled; false if there is none.
    pub(crate) fn enable_webhook(&self, name: &str) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "UPDATE webhooks SET failures = 0, due_s = 0, disabled = NULL WHERE name = ?1";
            Ok(transaction.execute(sql, [name])? == 1)
        })
    }

    pub(crate) fn note_delivery(&self, hook: &str, delivery: &Delivery) -> Result<(), DbError> {
        self.write(|transaction| {
            let Delivery { attempt: _, number, at_s, status, took_ms, error } = delivery;
            let sql = "SELECT coalesce(max(attempt), 0) + 1 FROM webhook_deliveries WHERE hook = ?1";
            let attempt: i64 = transaction.prepare_cached(sql)?.query_row([hook], |row| row.get(0))?;
            let sql = "INSERT INTO webhook_deliveries (hook, attempt, number, at_s, status, took_ms, error)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let status = status.map(i64::from);
            transaction.prepare_cached(sql)?.execute(params![hook, attempt, number, at_s, status, took_ms, error])?;
            let sql = "DELETE FROM webhook_deliveries WHERE hook = ?1 AND attempt <= ?2";
            transaction.prepare_cached(sql)?.execute(params![hook, attempt - ATTEMPTS_KEPT])?;
            Ok(())
        })
    }

    /// The newest attempts of a hook, newest first.
    pub(crate) fn deliveries(&self, hook: &str, most: u32) -> Result<Vec<Delivery>, DbError> {
        self.read(|connection| {
            let sql = "SELECT number, at_s, status, took_ms, error, attempt FROM webhook_deliveries WHERE hook = ?1
                       ORDER BY attempt DESC LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![hook, most], |row| {
                let status: Option<i64> = row.get(2)?;
                Ok(Delivery {
                    attempt: row.get(5)?,
                    number: row.get(0)?,
                    at_s: row.get(1)?,
                    status: status.and_then(|status| u16::try_from(status).ok()),
                    took_ms: row.get(3)?,
                    error: row.get(4)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Gives an event up for a hook.
    pub(crate) fn bury(&self, hook: &str, dead: &DeadEvent) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql =
                "INSERT INTO webhook_dead (hook, number, at_s, why) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
            transaction.prepare_cached(sql)?.execute(params![hook, dead.number, dead.at_s, dead.why])?;
            let sql = "DELETE FROM webhook_dead WHERE hook = ?1 AND number <= coalesce((SELECT number FROM webhook_dead
                       WHERE hook = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2), 0)";
            transaction.prepare_cached(sql)?.execute(params![hook, DEAD_KEPT])?;
            Ok(())
        })
    }

    /// Events that were given up for a hook, newest first.
    pub(crate) fn dead_events(&self, hook: &str, most: u32) -> Result<Vec<DeadEvent>, DbError> {
        self.read(|connection| {
            let sql = "SELECT number, at_s, why FROM webhook_dead WHERE hook = ?1 ORDER BY number DESC LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![hook, most], |row| {
                Ok(DeadEvent { number: row.get(0)?, at_s: row.get(1)?, why: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// How many events were given up for each hook and are remembered; hooks without any are not there.
    pub(crate) fn dead_events_by_hook(&self) -> Result<BTreeMap<String, i64>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT hook, count(*) FROM webhook_dead GROUP BY hook")?;
            Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
        })
    }

    /// How many events were given up and are remembered, over all hooks.
    pub(crate) fn dead_event_count(&self) -> Result<i64, DbError> {
        self.read(|connection| {
            let sql = "SELECT count(*) FROM webhook_dead";
            Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
        })
    }
}

fn webhook(row: &Row<'_>) -> super::sql::Result<Webhook> {
    Ok(Webhook {
        name: row.get(0)?,
        url: row.get(1)?,
        kinds: row.get::<_, String>(2)?.split_whitespace().map(str::to_owned).collect(),
        salt: row.get(3)?,
        created_s: row.get(4)?,
        disabled: row.get(5)?,
        delivered: row.get(6)?,
        failures: row.get(7)?,
        due_s: row.get(8)?,
    })
}
