//! What the newest report of each device says, in columns, written in the transaction that keeps the report.
//!
//! A device controls its report: texts are cut and cleaned here, numbers end at what the database can hold.

use outpost_contract::{Measurements, ReasonCode, Reported};

use super::sql::{Connection, params};
use super::{Database, DbError, document};
use crate::inventory::words::clean;

/// Longest texts that are kept in columns, characters.
const AGENT_CHARACTERS: usize = 40;
const CPU_CHARACTERS: usize = 100;
const FEATURES_CHARACTERS: usize = 300;

/// Reasons of a device that are counted.
const REASONS: usize = 32;

/// True for what passes by itself: nothing is refused, something is awaited.
pub(crate) fn is_wait(code: ReasonCode) -> bool {
    matches!(code, ReasonCode::Unavailable | ReasonCode::WindowClosed | ReasonCode::BudgetSpent | ReasonCode::SlowLink)
}

/// As the code is written for machines.
fn code_name(code: ReasonCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{code:?}"),
    }
}

fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Keeps what a snapshot says, unless a newer one was kept.
pub(super) fn keep(transaction: &Connection, reported: &Reported, ordinal: i64, now_s: i64) -> Result<(), DbError> {
    let device = reported.device.as_str();
    let reasons = || reported.reasons.iter().take(REASONS);
    let waits = reasons().filter(|reason| is_wait(reason.code)).count();
    let refusals = reasons().count() - waits;
    let mut codes: Vec<String> = reasons().map(|reason| code_name(reason.code)).collect();
    codes.sort();
    codes.dedup();
    let model = reported.model.as_ref();
    let measured = reported.measurements.as_ref();
    let features = measured.map(|measured| {
        let words = measured.features.iter().filter(|word| word.chars().all(|c| c.is_ascii_graphic() && c != ','));
        clean(&words.map(String::as_str).collect::<Vec<_>>().join(","), FEATURES_CHARACTERS)
    });
    let sql = "INSERT INTO facts (device, ordinal, sequence, received_s, agent, desired_version, applied_version,
         policy_version, model, target, context_tokens, speed_milli, refusals, waits, reasons, backlog, dead_letters,
         measured_at_s, cpu, cores, features, memory_bytes, available_bytes, disk_bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
         ?23, ?24)
         ON CONFLICT (device) DO UPDATE SET ordinal = excluded.ordinal, sequence = excluded.sequence,
         received_s = excluded.received_s, agent = excluded.agent, desired_version = excluded.desired_version,
         applied_version = excluded.applied_version, policy_version = excluded.policy_version, model = excluded.model,
         target = excluded.target, context_tokens = excluded.context_tokens, speed_milli = excluded.speed_milli,
         refusals = excluded.refusals, waits = excluded.waits, reasons = excluded.reasons, backlog = excluded.backlog,
         dead_letters = excluded.dead_letters, measured_at_s = excluded.measured_at_s, cpu = excluded.cpu,
         cores = excluded.cores, features = excluded.features, memory_bytes = excluded.memory_bytes,
         available_bytes = excluded.available_bytes, disk_bytes = excluded.disk_bytes
         WHERE (excluded.ordinal, excluded.sequence) > (facts.ordinal, facts.sequence)";
    let written = transaction.prepare_cached(sql)?.execute(params![
        device,
        ordinal,
        bounded(reported.sequence),
        now_s,
        clean(&reported.agent, AGENT_CHARACTERS),
        bounded(reported.desired_version),
        bounded(reported.applied_version),
        bounded(reported.policy_version),
        model.map(|model| model.model.as_str()),
        model.map(|model| model.target.as_str()),
        model.map(|model| model.context_tokens),
        model.map(|model| bounded(model.self_test_tokens_per_second_milli)),
        bounded(refusals as u64),
        bounded(waits as u64),
        codes.join(","),
        bounded(reported.link.backlog),
        bounded(reported.link.dead_letters),
        measured.map(|measured| measured.measured_at_s),
        measured.map(|measured| clean(&measured.cpu, CPU_CHARACTERS)),
        measured.map(|measured| measured.cores),
        features,
        measured.map(|measured| bounded(measured.memory_total_bytes)),
        measured.map(|measured| bounded(measured.memory_available_bytes)),
        measured.map(|measured| bounded(measured.disk_free_bytes)),
    ])?;
    if written == 0 {
        return Ok(());
    }
    let Some(measured) = measured else {
        transaction.prepare_cached("DELETE FROM measurements WHERE device = ?1")?.execute([device])?;
        return Ok(());
    };
    let text =
        serde_json::to_string(measured).map_err(|source| DbError::Document { what: "list of measurements", source })?;
    let sql = "INSERT INTO measurements (device, document) VALUES (?1, ?2)
         ON CONFLICT (device) DO UPDATE SET document = excluded.document";
    transaction.prepare_cached(sql)?.execute(params![device, text])?;
    Ok(())
}

/// Facts of devices that reported before there was this table.
pub(super) fn fill(transaction: &Connection) -> Result<(), DbError> {
    let sql = "SELECT r.ordinal, r.received_s, r.document FROM devices d JOIN reports r USING (device)
         WHERE NOT EXISTS (SELECT 1 FROM facts f WHERE f.device = d.device)
         AND NOT EXISTS (SELECT 1 FROM reports n WHERE n.device = d.device
             AND (n.ordinal, n.sequence) > (r.ordinal, r.sequence))";
    let mut statement = transaction.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)))?;
    for row in rows {
        let (ordinal, received_s, text) = row?;
        match document::<Reported>("reported state", &text) {
            Ok(reported) => keep(transaction, &reported, ordinal, received_s)?,
            Err(error) => tracing::warn!(%error, "a report has no place in the inventory"),
        }
    }
    Ok(())
}

impl Database {
    /// What the machines can give of the devices after `after` up to and including `last`, by name.
    pub(crate) fn measurements(&self, after: &str, last: &str) -> Result<Vec<(String, Measurements)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT device, document FROM measurements WHERE device > ?1 AND device <= ?2 ORDER BY device";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([after, last], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
            rows.map(|row| {
                let (device, text) = row?;
                Ok((device, document("list of measurements", &text)?))
            })
            .collect()
        })
    }
}
