//! Sign-ins at a provider that are under way, and the people for whom it vouches.

use super::sql::{OptionalExtension, params};

use super::{Database, DbError};

/// A sign-in that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// The nonce that the provider must repeat.
    pub(crate) nonce: String,
    /// What proves to the provider that who asks for the token is who began (RFC 7636).
    pub(crate) verifier: String,
    /// The hash of the session that the browser had when it began.
    pub(crate) earlier: Option<[u8; 32]>,
}

/// Who somebody is for whom a provider vouches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vouching {
    /// The person of this name.
    Person(String),
    /// Nobody who is known, and without a role.
    Stranger,
    /// The name is another person's.
    Taken,
    /// They are let in no longer.
    Disabled(String),
}

impl Database {
    /// Notes that a browser begins; false if as many as may are under way of this address. Of all, the oldest of whoever has most
    /// makes room: many who never come back keep nobody out.
    pub(crate) fn begin_login(
        &self,
        state: &[u8; 32],
        browser: &[u8; 32],
        login: &Login,
        from: (&str, [i64; 2]),
        times_s: [i64; 2],
    ) -> Result<bool, DbError> {
        let ((address, [most_of_address, most]), [now_s, expires_s]) = (from, times_s);
        self.write(|transaction| {
            transaction.execute("DELETE FROM logins WHERE expires_s <= ?1", [now_s])?;
            let count = |row: &super::sql::Row<'_>| row.get::<_, i64>(0);
            let all = transaction.query_row("SELECT COUNT(*) FROM logins", [], count)?;
            let sql = "SELECT COUNT(*) FROM logins WHERE address = ?1";
            let of_address = transaction.query_row(sql, [address], count)?;
            if of_address >= most_of_address {
                return Ok(false);
            }
            if all >= most {
                let sql = "DELETE FROM logins WHERE state = (SELECT state FROM logins WHERE address = (SELECT address FROM logins
                     GROUP BY address ORDER BY COUNT(*) DESC, address LIMIT 1) ORDER BY expires_s, state LIMIT 1)";
                transaction.execute(sql, [])?;
            }
            let sql = "INSERT INTO logins (state, browser, nonce, verifier, earlier, address, expires_s) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let Login { nonce, verifier, earlier } = login;
            transaction.execute(sql, params![state, browser, nonce, verifier, earlier, address, expires_s])?;
            Ok(true)
        })
    }

    /// Takes what this browser began under this state, once.
    pub(crate) fn take_login(
        &self,
        state: &[u8; 32],
        browser: &[u8; 32],
        now_s: i64,
    ) -> Result<Option<Login>, DbError> {
        // Strangers' inventions write nothing.
        let found = self.read(|connection| {
            let sql =
                "SELECT nonce, verifier, earlier FROM logins WHERE state = ?1 AND browser = ?2 AND expires_s > ?3";
            let found = connection.query_row(sql, params![state, browser, now_s], |row| {
                Ok(Login { nonce: row.get(0)?, verifier: row.get(1)?, earlier: row.get(2)? })
            });
            Ok(found.optional()?)
        })?;
        let Some(login) = found else { return Ok(None) };
        // Of two who found it, one deletes it.
        let sql = "DELETE FROM logins WHERE state = ?1 AND browser = ?2";
        let is_first = self.write(|transaction| Ok(transaction.execute(sql, params![state, browser])? == 1))?;
        Ok(is_first.then_some(login))
    }

    /// Who it is for whom a provider vouches: the person that they were before, or a new one called `name`. Changes nothing.
    pub(crate) fn vouched_as(
        &self,
        issuer: &str,
        subject: &str,
        name: &str,
        roles: &[String],
    ) -> Result<Vouching, DbError> {
        let known: Option<String> = self.read(|connection| {
            let sql = "SELECT person FROM vouched_people WHERE issuer = ?1 AND subject = ?2";
            Ok(connection.query_row(sql, params![issuer, subject], |row| row.get(0)).optional()?)
        })?;
        let person = self.person(known.as_deref().unwrap_or(name))?;
        Ok(match (known, person) {
            (Some(known), Some(person)) if person.disabled_s.is_none() => Vouching::Person(known),
            (Some(known), _) => Vouching::Disabled(known),
            (None, Some(_)) => Vouching::Taken,
            (None, None) if roles.is_empty() => Vouching::Stranger,
            (None, None) => Vouching::Person(name.to_owned()),
        })
    }

    /// Gives somebody for whom a provider vouches these roles, as [`vouched_as`](Self::vouched_as) found them; false if they are
    /// no longer who they were then.
    pub(crate) fn vouch(
        &self,
        issuer: &str,
        subject: &str,
        person: &str,
        roles: &[String],
        now_s: i64,
    ) -> Result<bool, DbError> {
        self.write(|transaction| {
            let roles = roles.join(" ");
            let sql = "UPDATE people SET roles = ?2 WHERE name = ?1 AND disabled_s IS NULL \
                       AND name IN (SELECT person FROM vouched_people WHERE issuer = ?3 AND subject = ?4)";
            if transaction.execute(sql, params![person, roles, issuer, subject])? == 1 {
                return Ok(true);
            }
            let sql = "INSERT INTO people (name, roles, totp_step, created_s) VALUES (?1, ?2, 0, ?3) \
                       ON CONFLICT DO NOTHING";
            if transaction.execute(sql, params![person, roles, now_s])? == 0 {
                return Ok(false);
            }
            let sql = "INSERT INTO vouched_people (issuer, subject, person) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, params![issuer, subject, person])?;
            Ok(true)
        })
    }

    /// Whether a provider vouches for a person, whose roles are then its word.
    pub(crate) fn is_vouched_for(&self, name: &str) -> Result<bool, DbError> {
        self.read(|connection| {
            let sql = "SELECT person FROM vouched_people WHERE person = ?1";
            let found: Option<String> = connection.query_row(sql, [name], |row| row.get(0)).optional()?;
            Ok(found.is_some())
        })
    }

    /// Names of all people for whom a provider vouches.
    pub(crate) fn vouched_people(&self) -> Result<Vec<String>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT person FROM vouched_people ORDER BY person")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;

    #[test]
    fn many_who_never_come_back_keep_nobody_out() {
        both(|database| {
            let login = || Login { nonce: "n".to_owned(), verifier: "v".to_owned(), earlier: None };
            let begin = |number: u8, from: &str| {
                let times_s = [100, 700 + i64::from(number)];
                database.begin_login(&[number; 32], &[0; 32], &login(), (from, [4, 6]), times_s).unwrap()
            };
            assert!((0..4).all(|number| begin(number, "192.0.2.1")) && !begin(4, "192.0.2.1"));
            assert!(begin(5, "192.0.2.2") && begin(6, "192.0.2.2"));
            assert!(begin(7, "192.0.2.3"), "there is no room, and room is made");
            let is_there = |number: u8| database.take_login(&[number; 32], &[0; 32], 200).unwrap().is_some();
            assert_eq!(
                [7, 6, 5, 1, 0].map(is_there),
                [true, true, true, true, false],
                "at the cost of whoever has most"
            );
        });
    }
}
