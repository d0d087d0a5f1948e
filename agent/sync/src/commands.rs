//! The journal of commands: what arrived is written down before it is done, so that it is done once, whatever happens between.
//!
//! ```text
//!  arrives ──► known? ──yes──► its stored answer is queued again, nothing is done
//!                 │ no
//!                 ├─ too late ─────► `expired`        ┐
//!                 ├─ not allowed ──► `refused`        ├─ final: the journal keeps the answer
//!                 └─ `accepted` ──► done or failed ───┘
//! ```
//!
//! In the same transaction as a final answer it is noted that the end is to be recorded, whoever settled it: the note stays
//! until the audit log has the record.

use std::sync::Arc;

use outpost_contract::{Answer, BootId, Command, CommandId, CommandState, DeviceId, Operation, Response};
use outpost_disk::Clock;
use rusqlite::{OptionalExtension, Transaction, params};
use tokio::sync::Notify;

use crate::outbox::{next_number, put_within};
use crate::{Class, SyncDatabase, SyncError};

/// Commands past their deadline that are remembered.
const REMEMBERED: i64 = 256;

/// Commands before their deadline that are taken: a director who sends more is refused.
const MOST_AT_ONCE: i64 = 512;

/// How often something repeatable is begun: more often it may be what stops the agent.
const MOST_BEGINNINGS: i64 = 2;

/// The latest deadline among the forgotten: what is not later than that may have been done.
const FORGOTTEN_UNTIL_S: &str = "commands_forgotten_until_s";

/// What to do with a command that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is written down: do it, then [`Commands::answer`].
    Begin,
    /// It is being done, or was, or never will be: nothing is left to do.
    Settled(Option<CommandState>),
}

/// The journal; clones share it. Its methods block for one small transaction.
#[derive(Debug, Clone)]
pub struct Commands {
    pub(crate) database: SyncDatabase,
    pub(crate) device: DeviceId,
    pub(crate) boot: BootId,
    pub(crate) clock: Clock,
    pub(crate) news: Arc<Notify>,
}

impl Commands {
    /// Takes a command that was signed for this device; `permission` says why it is not obeyed, if it is not. When this
    /// returns [`Verdict::Begin`], it is in the journal, whatever happens from then on.
    ///
    /// # Errors
    /// If it cannot be written down: it is not to be done, and comes again.
    pub fn take(&self, command: &Command, permission: Result<(), String>) -> Result<Verdict, SyncError> {
        let now_s = self.clock.now_s();
        let verdict = self.write(|transaction| {
            let sql = "SELECT answer, letter FROM commands WHERE id = ?1";
            let known = transaction
                .query_row(sql, [command.id.as_str()], |row| {
                    Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<i64>>(1)?))
                })
                .optional()
                .map_err(SyncError::database("read"))?;
            if let Some((answer, letter)) = known {
                let Some(answer) = answer else { return Ok(Verdict::Settled(None)) };
                let answer: Answer = read("an answer", &answer)?;
                let state = answer.state;
                if !self.waits(transaction, letter)? {
                    let letter = self.queue(transaction, &command.id, answer, now_s)?;
                    note_letter(transaction, &command.id, letter)?;
                }
                return Ok(Verdict::Settled(Some(state)));
            }
            let forgotten_until_s = SyncDatabase::fact(transaction, FORGOTTEN_UNTIL_S)?;
            let sql = "SELECT count(*) FROM commands WHERE not_after_s >= ?1";
            let at_once: i64 =
                transaction.query_row(sql, [now_s], |row| row.get(0)).map_err(SyncError::database("read"))?;
            if at_once >= MOST_AT_ONCE {
                let many = format!("{at_once} commands are not past their deadline yet: wait");
                self.queue(transaction, &command.id, Answer::new(CommandState::Refused, many), now_s)?;
                note_end(transaction, command, CommandState::Refused)?;
                return Ok(Verdict::Settled(Some(CommandState::Refused)));
            }
            let refusal = if command.not_after_s < now_s || command.not_after_s <= forgotten_until_s {
                Some(Answer::new(CommandState::Expired, "it arrived after its deadline by this device's clock"))
            } else {
                let permission = command.check().and(permission);
                permission.err().map(|why| Answer::new(CommandState::Refused, why))
            };
            let document = write("a command", command)?;
            transaction
                .execute(
                    "INSERT INTO commands (id, boot, not_after_s, document, begun) VALUES (?1, ?2, ?3, ?4, 1)",
                    params![command.id.as_str(), self.boot.as_str(), command.not_after_s, document],
                )
                .map_err(SyncError::database("write"))?;
            forget(transaction, now_s)?;
            if let Some(refusal) = refusal {
                let state = refusal.state;
                self.settle(transaction, &command.id, refusal, now_s)?;
                return Ok(Verdict::Settled(Some(state)));
            }
            self.queue(transaction, &command.id, Answer::new(CommandState::Accepted, ""), now_s)?;
            Ok(Verdict::Begin)
        })?;
        self.news.notify_one();
        Ok(verdict)
    }

    /// Answers a command. A final answer is kept in the journal in the same transaction, and given again if the command comes
    /// again; the first final one counts.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn answer(&self, id: &CommandId, answer: Answer) -> Result<(), SyncError> {
        let now_s = self.clock.now_s();
        self.write(|transaction| {
            if answer.state.is_final() {
                return self.settle(transaction, id, answer, now_s);
            }
            self.queue(transaction, id, answer, now_s).map(|_| ())
        })?;
        self.news.notify_one();
        Ok(())
    }

    /// At a start: what the last one left undone. A restart is done by this start; what does no harm is given out to be begun
    /// once more; everything else has failed.
    ///
    /// # Errors
    /// If the journal cannot be read or written.
    pub fn resume(&self) -> Result<Vec<Command>, SyncError> {
        let now_s = self.clock.now_s();
        let again = self.write(|transaction| {
            let mut again = Vec::new();
            for (document, begun, boot) in unfinished(transaction)? {
                if boot == self.boot.as_str() {
                    continue;
                }
                let command: Command = read("a command", &document)?;
                let answer = match command.op {
                    Operation::Restart => Answer::new(CommandState::Done, "the agent started again"),
                    _ if command.op.is_repeatable() && begun < MOST_BEGINNINGS && command.not_after_s >= now_s => {
                        let sql = "UPDATE commands SET begun = begun + 1, boot = ?2 WHERE id = ?1";
                        transaction
                            .execute(sql, params![command.id.as_str(), self.boot.as_str()])
                            .map_err(SyncError::database("write"))?;
                        again.push(command);
                        continue;
                    }
                    _ => Answer::new(CommandState::Failed, "interrupted: the agent stopped while it was at work"),
                };
                self.settle(transaction, &command.id, answer, now_s)?;
            }
            Ok(again)
        })?;
        self.news.notify_one();
        Ok(again)
    }

    /// Commands that ended, and whose end the audit log is not known to have; oldest first.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn unrecorded(&self) -> Result<Vec<(Command, CommandState)>, SyncError> {
        let connection = self.database.lock();
        let rows = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut statement = connection.prepare("SELECT document, state FROM command_ends ORDER BY number")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        let rows = rows().map_err(SyncError::database("read"))?;
        rows.iter().map(|(document, state)| Ok((read("a command", document)?, read("a state", state)?))).collect()
    }

    /// The audit log has the end of this command.
    ///
    /// # Errors
    /// If it cannot be written: the command is [`unrecorded`](Self::unrecorded) until it can.
    pub fn recorded(&self, id: &CommandId) -> Result<(), SyncError> {
        let gone = self.database.lock().execute("DELETE FROM command_ends WHERE id = ?1", [id.as_str()]);
        gone.map(|_| ()).map_err(SyncError::database("write"))
    }

    /// Keeps a final answer, unless there is one.
    fn settle(
        &self,
        transaction: &Transaction<'_>,
        id: &CommandId,
        answer: Answer,
        now_s: i64,
    ) -> Result<(), SyncError> {
        let sql = "UPDATE commands SET answer = ?2 WHERE id = ?1 AND answer IS NULL";
        let text = write("an answer", &answer)?;
        let first = transaction.execute(sql, params![id.as_str(), text]).map_err(SyncError::database("write"))?;
        if first == 0 {
            return Ok(());
        }
        let sql = "INSERT INTO command_ends (id, document, state) SELECT id, document, ?2 FROM commands WHERE id = ?1
                   ON CONFLICT (id) DO NOTHING";
        let state = write("a state", &answer.state)?;
        transaction.execute(sql, params![id.as_str(), state]).map_err(SyncError::database("write"))?;
        let letter = self.queue(transaction, id, answer, now_s)?;
        note_letter(transaction, id, letter)
    }

    /// Queues an answer; gives its number. None if no more answers may wait: the journal has it when it is asked for again.
    fn queue(
        &self,
        transaction: &Transaction<'_>,
        id: &CommandId,
        answer: Answer,
        at_s: i64,
    ) -> Result<Option<u64>, SyncError> {
        let sequence = next_number(transaction)?;
        let (device, boot) = (self.device.clone(), self.boot.clone());
        let response = Response { v: 1, device, boot, sequence, id: id.clone(), at_s, answer };
        let payload = write("an answer", &response)?;
        match put_within(transaction, Class::Response, &self.boot, sequence, payload.as_bytes()) {
            Ok(()) => Ok(Some(sequence)),
            Err(SyncError::Full { .. }) => {
                tracing::warn!(%id, "no more answers may wait; this one is given when the command comes again");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// True if the letter of that number has not left the outbox.
    fn waits(&self, transaction: &Transaction<'_>, letter: Option<i64>) -> Result<bool, SyncError> {
        let sql = "SELECT count(*) FROM outbox WHERE class = ?1 AND sequence = ?2";
        let count = transaction.query_row(sql, params![Class::Response.name(), letter], |row| row.get::<_, i64>(0));
        Ok(count.map_err(SyncError::database("read"))? > 0)
    }

    fn write<T>(&self, act: impl FnOnce(&Transaction<'_>) -> Result<T, SyncError>) -> Result<T, SyncError> {
        let mut connection = self.database.lock();
        let transaction = connection.transaction().map_err(SyncError::database("write"))?;
        let value = act(&transaction)?;
        transaction.commit().map_err(SyncError::database("write"))?;
        Ok(value)
    }
}

/// Notes that the end of a command is to be recorded which the journal does not keep.
fn note_end(transaction: &Transaction<'_>, command: &Command, state: CommandState) -> Result<(), SyncError> {
    let sql = "INSERT INTO command_ends (id, document, state) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING";
    let (document, state) = (write("a command", command)?, write("a state", &state)?);
    let noted = transaction.execute(sql, params![command.id.as_str(), document, state]);
    noted.map(|_| ()).map_err(SyncError::database("write"))
}

fn note_letter(transaction: &Transaction<'_>, id: &CommandId, letter: Option<u64>) -> Result<(), SyncError> {
    let sql = "UPDATE commands SET letter = ?2 WHERE id = ?1";
    let letter = letter.map(u64::cast_signed);
    transaction.execute(sql, params![id.as_str(), letter]).map(|_| ()).map_err(SyncError::database("write"))
}

/// Commands without a final answer: document, how often begun, in which start.
fn unfinished(transaction: &Transaction<'_>) -> Result<Vec<(String, i64, String)>, SyncError> {
    let read = || -> rusqlite::Result<Vec<_>> {
        let sql = "SELECT document, begun, boot FROM commands WHERE answer IS NULL ORDER BY number";
        let mut statement = transaction.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect()
    };
    read().map_err(SyncError::database("read"))
}

/// Forgets the oldest commands that are answered and past their deadline, and remembers how late those were.
fn forget(transaction: &Transaction<'_>, now_s: i64) -> Result<(), SyncError> {
    let act = || -> rusqlite::Result<()> {
        let which = "answer IS NOT NULL AND not_after_s < ?1 AND number <= (SELECT max(number) FROM commands) - ?2";
        let sql = format!("SELECT max(not_after_s) FROM commands WHERE {which}");
        let latest: Option<i64> = transaction.query_row(&sql, params![now_s, REMEMBERED], |row| row.get(0))?;
        let Some(latest) = latest else { return Ok(()) };
        transaction.execute(&format!("DELETE FROM commands WHERE {which}"), params![now_s, REMEMBERED])?;
        transaction.execute(
            "INSERT INTO facts (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            params![FORGOTTEN_UNTIL_S, latest],
        )?;
        Ok(())
    };
    act().map_err(SyncError::database("write"))
}

fn write(what: &'static str, value: &impl serde::Serialize) -> Result<String, SyncError> {
    serde_json::to_string(value).map_err(|error| SyncError::Unreadable { what, detail: error.to_string() })
}

fn read<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, SyncError> {
    serde_json::from_str(text).map_err(|error| SyncError::Unreadable { what, detail: error.to_string() })
}

#[cfg(test)]
mod tests;
