//! People, their sessions, API tokens, approvals, and the records that wait for the control plane's own log.

use serde::Serialize;

use super::sql::{OptionalExtension, Row, params};
use super::{Database, DbError};

/// Somebody who administers the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// Their roles.
    pub roles: Vec<String>,
    /// Whether they have set a password.
    pub has_password: bool,
    /// Whether a code from their authenticator is asked for.
    pub has_totp: bool,
    /// Since when they may not sign in.
    pub disabled_s: Option<i64>,
    #[serde(skip)]
    pub(crate) password: Option<Vec<u8>>,
    #[serde(skip)]
    pub(crate) totp: Option<Vec<u8>>,
}

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiToken {
    /// Its name.
    pub name: String,
    /// The roles of its carrier.
    pub roles: Vec<String>,
    /// The acts that it is good for; empty for all that the roles allow.
    pub scope: Vec<String>,
    /// When it was made.
    pub created_s: i64,
    /// When it ends.
    pub expires_s: i64,
    /// When it was revoked.
    pub revoked_s: Option<i64>,
    /// When it was used last, to the minute.
    pub used_s: Option<i64>,
}

/// A browser that is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Who signed in.
    pub person: String,
    /// From where.
    pub address: String,
    /// When.
    pub started_s: i64,
    /// When it was used last, to the minute.
    pub seen_s: i64,
}

/// What is noted of use is at most this old, seconds.
const SEEN_S: i64 = 60;

const PERSON: &str = "SELECT name, roles, password, totp, disabled_s FROM people";
pub(super) const TOKEN: &str = "SELECT name, roles, scope, created_s, expires_s, revoked_s, used_s FROM api_tokens";

impl Database {
    /// Enters a person; false if the name is taken.
    pub(crate) fn add_person(&self, name: &str, roles: &[String], now_s: i64) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql =
                "INSERT INTO people (name, roles, totp_step, created_s) VALUES (?1, ?2, 0, ?3) ON CONFLICT DO NOTHING";
            Ok(transaction.execute(sql, params![name, roles.join(" "), now_s])? == 1)
        })
    }

    pub(crate) fn person(&self, name: &str) -> Result<Option<Person>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{PERSON} WHERE name = ?1"))?;
            Ok(statement.query_row([name], person).optional()?)
        })
    }

    /// Everybody, by name.
    pub(crate) fn people(&self) -> Result<Vec<Person>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{PERSON} ORDER BY name"))?;
            Ok(statement.query_map([], person)?.collect::<Result<_, _>>()?)
        })
    }

    pub(crate) fn set_roles(&self, name: &str, roles: &[String]) -> Result<bool, DbError> {
        self.write(|transaction| {
            Ok(transaction.execute("UPDATE people SET roles = ?2 WHERE name = ?1", params![name, roles.join(" ")])?
                == 1)
        })
    }

    /// Lets a person in no longer, or again; their sessions and codes are gone either way.
    pub(crate) fn disable_person(&self, name: &str, since_s: Option<i64>) -> Result<bool, DbError> {
        self.write(|transaction| {
            let changed =
                transaction.execute("UPDATE people SET disabled_s = ?2 WHERE name = ?1", params![name, since_s])?;
            transaction.execute("DELETE FROM sessions WHERE person = ?1", [name])?;
            transaction.execute("DELETE FROM person_codes WHERE person = ?1", [name])?;
            Ok(changed == 1)
        })
    }

    pub(crate) fn remove_person(&self, name: &str) -> Result<bool, DbError> {
        self.together(|| {
            self.disable_person(name, None)?;
            self.write(|transaction| {
                for table in ["vouched_people", "recovery_codes", "offered_authenticators"] {
                    transaction.execute(&format!("DELETE FROM {table} WHERE person = ?1"), [name])?;
                }
                Ok(transaction.execute("DELETE FROM people WHERE name = ?1", [name])? == 1)
            })
        })
    }

    /// Keeps a code in the place of those before.
    pub(crate) fn set_person_code(&self, name: &str, hash: &[u8; 32], expires_s: i64) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM person_codes WHERE person = ?1", [name])?;
            let sql = "INSERT INTO person_codes (hash, person, expires_s) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, params![hash, name, expires_s])?;
            Ok(())
        })
    }

    /// Whether a person has this code.
    pub(crate) fn is_person_code(&self, name: &str, hash: &[u8; 32], now_s: i64) -> Result<bool, DbError> {
        self.read(|connection| {
            let sql = "SELECT person FROM person_codes WHERE hash = ?1 AND person = ?2 AND expires_s > ?3";
            let found: Option<String> =
                connection.query_row(sql, params![hash, name, now_s], |row| row.get(0)).optional()?;
            Ok(found.is_some())
        })
    }

    /// Uses a code up and sets the password, which ends every session; false if there is no such code, or it is too old.
    pub(crate) fn redeem_person_code(
        &self,
        name: &str,
        hash: &[u8; 32],
        password: &[u8],
        now_s: i64,
    ) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "DELETE FROM person_codes WHERE hash = ?1 AND person = ?2 AND expires_s > ?3";
            if transaction.execute(sql, params![hash, name, now_s])? == 0 {
                return Ok(false);
            }
            transaction.execute("DELETE FROM sessions WHERE person = ?1", [name])?;
            let sql = "UPDATE people SET password = ?2 WHERE name = ?1 AND disabled_s IS NULL";
            Ok(transaction.execute(sql, params![name, password])? == 1)
        })
    }

    /// Sets the authenticator's secret, or takes it away; recovery codes stand in for one authenticator, and go with it.
    pub(crate) fn set_totp(&self, name: &str, secret: Option<&[u8]>) -> Result<bool, DbError> {
        self.write(|transaction| {
            for table in ["recovery_codes", "offered_authenticators"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE person = ?1"), [name])?;
            }
            let sql = "UPDATE people SET totp = ?2, totp_step = 0 WHERE name = ?1";
            Ok(transaction.execute(sql, params![name, secret])? == 1)
        })
    }

    /// Uses up the code of a time step; false if that one or a later one was used.
    pub(crate) fn use_totp_step(&self, name: &str, step: i64) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "UPDATE people SET totp_step = ?2 WHERE name = ?1 AND totp_step < ?2";
            Ok(transaction.execute(sql, params![name, step])? == 1)
        })
    }

    /// Begins a session; the one that the browser had before ends.
    pub(crate) fn begin_session(
        &self,
        hash: &[u8; 32],
        before: Option<&[u8; 32]>,
        session: &Session,
    ) -> Result<(), DbError> {
        self.write(|transaction| {
            if let Some(before) = before {
                transaction.execute("DELETE FROM sessions WHERE hash = ?1", [before])?;
            }
            let Session { person, address, started_s, seen_s } = session;
            let sql = "INSERT INTO sessions (hash, person, address, started_s, seen_s) VALUES (?1, ?2, ?3, ?4, ?5)";
            transaction.execute(sql, params![hash, person, address, started_s, seen_s])?;
            Ok(())
        })
    }

    /// The person of a session that began after `began_s` and was used after `used_s`, unless they are disabled.
    pub(crate) fn session_person(
        &self,
        hash: &[u8; 32],
        began_s: i64,
        used_s: i64,
        now_s: i64,
    ) -> Result<Option<Person>, DbError> {
        let found = self.read(|connection| {
            let sql = "SELECT person, seen_s FROM sessions WHERE hash = ?1 AND started_s > ?2 AND seen_s > ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let row = statement.query_row(params![hash, began_s, used_s], |row| Ok((row.get(0)?, row.get(1)?)));
            Ok(row.optional()?)
        })?;
        let Some((name, seen_s)): Option<(String, i64)> = found else { return Ok(None) };
        let person = self.person(&name)?.filter(|person| person.disabled_s.is_none());
        if person.is_some() && seen_s + SEEN_S <= now_s {
            self.write(|transaction| {
                transaction.execute("UPDATE sessions SET seen_s = ?2 WHERE hash = ?1", params![hash, now_s])?;
                Ok(())
            })?;
        }
        Ok(person)
    }

    pub(crate) fn end_session(&self, hash: &[u8; 32]) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM sessions WHERE hash = ?1", [hash])?;
            Ok(())
        })
    }

    /// Ends all sessions of a person; how many.
    pub(crate) fn end_sessions(&self, name: &str) -> Result<usize, DbError> {
        self.write(|transaction| Ok(transaction.execute("DELETE FROM sessions WHERE person = ?1", [name])?))
    }

    /// Sessions that still count; older ones are forgotten.
    pub(crate) fn sessions(&self, began_s: i64, used_s: i64) -> Result<Vec<Session>, DbError> {
        self.write(|transaction| {
            let sql = "DELETE FROM sessions WHERE started_s <= ?1 OR seen_s <= ?2";
            transaction.execute(sql, params![began_s, used_s])?;
            let sql = "SELECT person, address, started_s, seen_s FROM sessions ORDER BY person, started_s";
            let mut statement = transaction.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(Session { person: row.get(0)?, address: row.get(1)?, started_s: row.get(2)?, seen_s: row.get(3)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Keeps an API token; false if the name is taken.
    pub(crate) fn add_api_token(&self, token: &ApiToken, hash: &[u8; 32]) -> Result<bool, DbError> {
        self.write(|transaction| {
            let ApiToken { name, created_s, expires_s, .. } = token;
            let sql = "INSERT INTO api_tokens (name, hash, roles, scope, created_s, expires_s) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
            let (roles, scope) = (token.roles.join(" "), token.scope.join(" "));
            Ok(transaction.execute(sql, params![name, hash, roles, scope, created_s, expires_s])? == 1)
        })
    }

    /// The token of this hash if it still counts, and notes that it was used.
    pub(crate) fn use_api_token(&self, hash: &[u8; 32], now_s: i64) -> Result<Option<ApiToken>, DbError> {
        let found = self.read(|connection| {
            let sql = format!("{TOKEN} WHERE hash = ?1 AND revoked_s IS NULL AND expires_s > ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row(params![hash, now_s], api_token).optional()?)
        })?;
        if found.as_ref().is_some_and(|token| token.used_s.is_none_or(|used_s| used_s + SEEN_S <= now_s)) {
            self.write(|transaction| {
                transaction.execute("UPDATE api_tokens SET used_s = ?2 WHERE hash = ?1", params![hash, now_s])?;
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// All API tokens, by name.
    pub(crate) fn api_tokens(&self) -> Result<Vec<ApiToken>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{TOKEN} ORDER BY name"))?;
            Ok(statement.query_map([], api_token)?.collect::<Result<_, _>>()?)
        })
    }

    pub(crate) fn revoke_api_token(&self, name: &str, now_s: i64) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "UPDATE api_tokens SET revoked_s = ?2 WHERE name = ?1 AND revoked_s IS NULL";
            Ok(transaction.execute(sql, params![name, now_s])? == 1)
        })
    }

    /// How often signing in failed for this name or address, and when last.
    pub(crate) fn sign_in_failures(&self, who: &[u8; 32]) -> Result<(i64, i64), DbError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT failures, last_s FROM sign_in_failures WHERE who = ?1")?;
            let row = statement.query_row([who], |row| Ok((row.get(0)?, row.get(1)?)));
            Ok(row.optional()?.unwrap_or((0, 0)))
        })
    }

    /// Counts one more failure; those before `forgotten_s` are forgotten.
    pub(crate) fn sign_in_failed(&self, who: &[u8; 32], now_s: i64, forgotten_s: i64) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM sign_in_failures WHERE last_s < ?1", [forgotten_s])?;
            let sql = "INSERT INTO sign_in_failures (who, failures, last_s) VALUES (?1, 1, ?2) \
                       ON CONFLICT (who) DO UPDATE SET failures = sign_in_failures.failures + 1, last_s = excluded.last_s";
            transaction.execute(sql, params![who, now_s])?;
            Ok(())
        })
    }

    pub(crate) fn forgive_sign_in(&self, who: &[u8; 32]) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM sign_in_failures WHERE who = ?1", [who])?;
            Ok(())
        })
    }

    pub(crate) fn add_approval(
        &self,
        kind: &str,
        subject: &str,
        digest: &str,
        person: &str,
        now_s: i64,
    ) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "INSERT INTO approvals (kind, subject, digest, person, at_s) VALUES (?1, ?2, ?3, ?4, ?5) \
                       ON CONFLICT DO NOTHING";
            transaction.execute(sql, params![kind, subject, digest, person, now_s])?;
            Ok(())
        })
    }

    /// Who approved exactly this, and when, oldest first.
    pub(crate) fn approvals(&self, kind: &str, subject: &str, digest: &str) -> Result<Vec<(String, i64)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT person, at_s FROM approvals WHERE kind = ?1 AND subject = ?2 AND digest = ?3 \
                       ORDER BY at_s, person";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([kind, subject, digest], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Keeps a record until it is in the log. Durable when this returns.
    pub(crate) fn queue_record(&self, form: &str) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("INSERT INTO own_records (form) VALUES (?1)", [form])?;
            Ok(())
        })
    }

    /// The oldest records that wait.
    pub(crate) fn queued_records(&self, most: u32) -> Result<Vec<(i64, String)>, DbError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT number, form FROM own_records ORDER BY number LIMIT ?1")?;
            let rows = statement.query_map([most], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// These records are in the log.
    pub(crate) fn unqueue_records(&self, numbers: &[i64]) -> Result<(), DbError> {
        self.write(|transaction| {
            let mut statement = transaction.prepare_cached("DELETE FROM own_records WHERE number = ?1")?;
            for number in numbers {
                statement.execute([number])?;
            }
            Ok(())
        })
    }
}

fn person(row: &Row<'_>) -> super::sql::Result<Person> {
    let (password, totp): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
    let (has_password, has_totp) = (password.is_some(), totp.is_some());
    let (name, roles, disabled_s) = (row.get(0)?, words(&row.get::<_, String>(1)?), row.get(4)?);
    Ok(Person { name, roles, has_password, has_totp, disabled_s, password, totp })
}

pub(super) fn api_token(row: &Row<'_>) -> super::sql::Result<ApiToken> {
    Ok(ApiToken {
        name: row.get(0)?,
        roles: words(&row.get::<_, String>(1)?),
        scope: words(&row.get::<_, String>(2)?),
        created_s: row.get(3)?,
        expires_s: row.get(4)?,
        revoked_s: row.get(5)?,
        used_s: row.get(6)?,
    })
}

pub(super) fn words(joined: &str) -> Vec<String> {
    joined.split_whitespace().map(str::to_owned).collect()
}
