//! Commands that devices were given, and the newest answer to each.

use outpost_contract::{Answer, Command, CommandId, CommandState, DeviceId, Operation, Response};
use serde::Serialize;

use super::sql::{OptionalExtension, Row, params};
use super::{Database, DbError, document};
use crate::commands::Unanswered;

/// Commands of a device that are remembered.
const COMMANDS_KEPT: i64 = 200;

/// A command and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommandRecord {
    /// Its name.
    pub id: CommandId,
    /// For which device.
    pub device: DeviceId,
    /// What was asked for.
    pub op: Operation,
    /// By whom.
    pub asked_by: String,
    /// When, seconds since 1970-01-01 UTC.
    pub issued_s: i64,
    /// The device does not begin after this.
    pub not_after_s: i64,
    /// What the device said; `None` before it said anything.
    pub state: Option<CommandState>,
    /// When the newest answer arrived.
    pub answered_s: Option<i64>,
    /// The newest answer.
    pub answer: Option<Answer>,
}

impl CommandRecord {
    /// True if nothing more is expected: it is answered for good.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state.is_some_and(CommandState::is_final)
    }
}

const COLUMNS: &str = "SELECT id, device, op, asked_by, issued_s, not_after_s, state, answered_s, answer FROM commands";

impl Database {
    /// Keeps a command before it is sent.
    pub(crate) fn keep_command(&self, command: &Command, envelope: &[u8]) -> Result<(), DbError> {
        let op = serde_json::to_string(&command.op).map_err(|source| DbError::Document { what: "command", source })?;
        self.write(|transaction| {
            let device = command.device.as_str();
            transaction.execute(
                "INSERT INTO commands (id, device, op, asked_by, issued_s, not_after_s, envelope)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    command.id.as_str(),
                    device,
                    op,
                    command.asked_by,
                    command.issued_at_s,
                    command.not_after_s,
                    envelope
                ],
            )?;
            transaction.execute(
                "DELETE FROM commands WHERE device = ?1 AND number NOT IN
                 (SELECT number FROM commands WHERE device = ?1 ORDER BY number DESC LIMIT ?2)",
                params![device, COMMANDS_KEPT],
            )?;
            transaction.execute("DELETE FROM command_parts WHERE id NOT IN (SELECT id FROM commands)", [])?;
            Ok(())
        })
    }

    /// Commands before their deadline without a final answer, for admitted devices, oldest first.
    pub(crate) fn unanswered(&self, device: Option<&DeviceId>, now_s: i64) -> Result<Vec<Unanswered>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT c.id, c.device, c.not_after_s, c.envelope FROM commands c JOIN devices d USING (device)
                 WHERE c.not_after_s >= ?1 AND (?2 IS NULL OR c.device = ?2) AND d.revoked_s IS NULL
                 AND coalesce(c.state, 'accepted') IN ('accepted', 'progress') ORDER BY c.number",
            )?;
            let rows = statement.query_map(params![now_s, device.map(DeviceId::as_str)], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?))
            })?;
            let mut all = Vec::new();
            for row in rows {
                let (id, device, not_after_s, envelope) = row?;
                let (Ok(id), Ok(device)) = (id.parse(), device.parse()) else { continue };
                all.push(Unanswered { id, device, not_after_s, envelope });
            }
            Ok(all)
        })
    }

    /// Keeps what a device says to a command of its own; after a final answer nothing changes any more. What does not belong
    /// to a command that is remembered is not kept.
    pub(crate) fn keep_response(&self, response: &Response, now_s: i64) -> Result<(), DbError> {
        let Response { id, device, answer, .. } = response;
        if !answer.is_bounded() {
            return Ok(());
        }
        let text = serde_json::to_string(answer).map_err(|source| DbError::Document { what: "answer", source })?;
        self.write(|transaction| {
            let sql = "SELECT coalesce(state, 'accepted') FROM commands WHERE id = ?1 AND device = ?2";
            let state: Option<String> =
                transaction.query_row(sql, [id.as_str(), device.as_str()], |row| row.get(0)).optional()?;
            let Some(state) = state else { return Ok(()) };
            // A piece may be sent again after the last answer arrived.
            if let Some(part) = &answer.part {
                let Ok(bytes) = hex::decode(&part.hex) else { return Ok(()) };
                transaction.execute(
                    "INSERT INTO command_parts (id, number, parts, bytes) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (id, number) DO UPDATE SET parts = excluded.parts, bytes = excluded.bytes",
                    params![id.as_str(), part.number, part.of, bytes],
                )?;
                return Ok(());
            }
            if CommandState::from_name(&state).is_none_or(CommandState::is_final) {
                return Ok(());
            }
            transaction.execute(
                "UPDATE commands SET state = ?2, answered_s = ?3, answer = ?4 WHERE id = ?1",
                params![id.as_str(), answer.state.name(), now_s, text],
            )?;
            Ok(())
        })
    }

    /// The commands of a device, newest first.
    pub(crate) fn commands(&self, device: &DeviceId) -> Result<Vec<CommandRecord>, DbError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("{COLUMNS} WHERE device = ?1 ORDER BY number DESC"))?;
            let rows = statement.query_map([device.as_str()], Columns::read)?.collect::<Result<Vec<_>, _>>()?;
            rows.into_iter().filter_map(|row| row.record().transpose()).collect()
        })
    }

    /// One command of a device.
    pub(crate) fn command(&self, device: &DeviceId, id: &CommandId) -> Result<Option<CommandRecord>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE device = ?1 AND id = ?2"))?;
            let row = statement.query_row([device.as_str(), id.as_str()], Columns::read).optional()?;
            Ok(row.map(Columns::record).transpose()?.flatten())
        })
    }

    /// What a command collected, in order; none until every piece is here.
    pub(crate) fn collected(&self, id: &CommandId) -> Result<Option<Vec<u8>>, DbError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT parts, bytes FROM command_parts WHERE id = ?1 ORDER BY number")?;
            let rows = statement.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let pieces = rows.collect::<Result<Vec<(usize, Vec<u8>)>, _>>()?;
            let whole = pieces.first().is_some_and(|(parts, _)| *parts == pieces.len());
            Ok(whole.then(|| pieces.into_iter().flat_map(|(_, bytes)| bytes).collect()))
        })
    }
}

/// A row as it is stored.
struct Columns {
    id: String,
    device: String,
    op: String,
    asked_by: String,
    issued_s: i64,
    not_after_s: i64,
    state: Option<String>,
    answered_s: Option<i64>,
    answer: Option<String>,
}

impl Columns {
    fn read(row: &Row<'_>) -> super::sql::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            device: row.get(1)?,
            op: row.get(2)?,
            asked_by: row.get(3)?,
            issued_s: row.get(4)?,
            not_after_s: row.get(5)?,
            state: row.get(6)?,
            answered_s: row.get(7)?,
            answer: row.get(8)?,
        })
    }

    fn record(self) -> Result<Option<CommandRecord>, DbError> {
        let (Ok(id), Ok(device)) = (self.id.parse(), self.device.parse()) else { return Ok(None) };
        Ok(Some(CommandRecord {
            id,
            device,
            op: document("command", &self.op)?,
            asked_by: self.asked_by,
            issued_s: self.issued_s,
            not_after_s: self.not_after_s,
            state: self.state.as_deref().and_then(CommandState::from_name),
            answered_s: self.answered_s,
            answer: self.answer.map(|answer| document("answer", &answer)).transpose()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;
    use outpost_contract::Part;

    const TILL: &str = "till-1";

    fn enrol(database: &Database) {
        let sql =
            "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES (?1, 1, x'00', '', '')";
        database.write(|transaction| Ok(transaction.execute(sql, [TILL])?)).unwrap();
    }

    fn give(database: &Database, number: u128) -> CommandId {
        let command = Command {
            v: 1,
            tenant: "acme".parse().unwrap(),
            device: TILL.parse().unwrap(),
            id: CommandId::of(number.to_be_bytes()),
            op: Operation::Drain { seconds: 9 },
            issued_at_s: 1000,
            not_after_s: 1060,
            asked_by: "ada".into(),
        };
        database.keep_command(&command, b"signed").unwrap();
        command.id
    }

    fn say(database: &Database, device: &str, id: &CommandId, answer: Answer) {
        let (device, boot) = (device.parse().unwrap(), "b".parse().unwrap());
        let response = Response { v: 1, device, boot, sequence: 1, id: id.clone(), at_s: 1, answer };
        database.keep_response(&response, 1001).unwrap();
    }

    #[test]
    fn a_command_is_due_until_it_is_answered_or_late_or_its_device_revoked() {
        both(|database| {
            enrol(&database);
            let till = TILL.parse().unwrap();
            let (first, second) = (give(&database, 1), give(&database, 2));
            let due = |now_s| {
                database.unanswered(Some(&till), now_s).unwrap().into_iter().map(|one| one.id).collect::<Vec<_>>()
            };
            assert_eq!(due(1060), [first.clone(), second.clone()]);
            assert!(due(1061).is_empty());
            say(&database, TILL, &first, Answer::new(CommandState::Accepted, ""));
            assert_eq!(due(1060).len(), 2, "it may have to be answered again");
            say(&database, TILL, &first, Answer::new(CommandState::Done, "yes"));
            assert_eq!(due(1060), [second]);
            assert_eq!(database.unanswered(None, 1060).unwrap().len(), 1);
            database.revoke(&till, 5).unwrap();
            assert!(due(1060).is_empty());
        });
    }

    #[test]
    fn the_first_final_answer_stays_and_only_its_own_device_gives_it() {
        both(|database| {
            enrol(&database);
            let till = TILL.parse().unwrap();
            let id = give(&database, 1);
            say(&database, "till-2", &id, Answer::new(CommandState::Done, "forged"));
            assert_eq!(database.command(&till, &id).unwrap().unwrap().state, None);
            say(&database, TILL, &id, Answer::new(CommandState::Refused, "no"));
            say(&database, TILL, &id, Answer::new(CommandState::Done, "yes"));
            say(&database, TILL, &id, Answer::new(CommandState::Accepted, ""));
            let record = database.command(&till, &id).unwrap().unwrap();
            assert_eq!((record.state, record.answer.unwrap().text.as_str()), (Some(CommandState::Refused), "no"));
            assert_eq!(record.op, Operation::Drain { seconds: 9 });
            say(&database, TILL, &CommandId::of([9; 16]), Answer::new(CommandState::Done, "of nothing"));
            assert_eq!(database.commands(&till).unwrap().len(), 1);
        });
    }

    #[test]
    fn a_large_result_is_whole_once_every_piece_came_in_any_order_and_twice() {
        both(|database| {
            enrol(&database);
            let id = give(&database, 1);
            let piece = |number, text: &str| Answer {
                part: Some(Part { number, of: 2, hex: hex::encode(text) }),
                ..Answer::new(CommandState::Progress, "")
            };
            for part in [piece(1, "world"), piece(1, "world")] {
                say(&database, TILL, &id, part);
                assert_eq!(database.collected(&id).unwrap(), None);
            }
            say(&database, TILL, &id, Answer::new(CommandState::Done, ""));
            say(&database, TILL, &id, piece(0, "hello "));
            say(&database, TILL, &id, piece(7, "outside"));
            assert_eq!(database.collected(&id).unwrap().unwrap(), b"hello world");
        });
    }

    #[test]
    fn only_the_newest_commands_of_a_device_are_remembered() {
        both(|database| {
            enrol(&database);
            for number in 0..210 {
                give(&database, number);
            }
            let kept = database.commands(&TILL.parse().unwrap()).unwrap();
            assert_eq!((kept.len(), &kept[0].id), (200, &CommandId::of(209u128.to_be_bytes())));
        });
    }
}
