//! Requests that may be sent again: which were begun, and what was answered.

use super::sql::{OptionalExtension, params};

use super::{Database, DbError};

/// A request that may be sent again, by what makes it the same one.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    /// Who asks, and by what means.
    pub(crate) actor: String,
    /// Method, path and query.
    pub(crate) route: String,
    /// The key that the client chose, by its hash.
    pub(crate) key: String,
    /// SHA-256 of the body.
    pub(crate) request: [u8; 32],
}

/// How a request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is new, and nobody else does it from now on.
    Begun,
    /// It is being done since then, or its server ended.
    InFlight { since_s: i64 },
    /// It was answered, sealed.
    Answered(Vec<u8>),
    /// The key was used for another body.
    Other,
    /// The actor has as many keys as are kept.
    TooMany,
}

/// What is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// What began before is forgotten.
    pub(crate) forgotten_s: i64,
    /// Keys of an actor.
    pub(crate) keys: i64,
    /// Bytes of the answers of an actor.
    pub(crate) bytes: i64,
}

impl Database {
    /// Begins a request, unless it was begun before. Durable when this returns.
    pub(crate) fn begin_keyed(&self, keyed: &Keyed, bounds: Bounds, now_s: i64) -> Result<Standing, DbError> {
        let Keyed { actor, route, key, request } = keyed;
        self.write(|transaction| {
            transaction.execute("DELETE FROM idempotency_keys WHERE started_s < ?1", [bounds.forgotten_s])?;
            let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM idempotency_keys WHERE actor = ?1";
            let (keys, bytes): (i64, i64) = transaction
                .prepare_cached(sql)?
                .query_row([actor.as_str()], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
            if keys < bounds.keys && bytes < bounds.bytes {
                let sql = "INSERT INTO idempotency_keys (actor, route, key, request, started_s, bytes) \
                           VALUES (?1, ?2, ?3, ?4, ?5, 0) ON CONFLICT DO NOTHING";
                if transaction.execute(sql, params![actor, route, key, request, now_s])? == 1 {
                    return Ok(Standing::Begun);
                }
            }
            let sql = "SELECT request, started_s, answer FROM idempotency_keys \
                       WHERE actor = ?1 AND route = ?2 AND key = ?3";
            let mut statement = transaction.prepare_cached(sql)?;
            let found = statement.query_row(params![actor, route, key], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<Vec<u8>>>(2)?))
            });
            Ok(match found.optional()? {
                None => Standing::TooMany,
                Some((earlier, ..)) if earlier != request => Standing::Other,
                Some((_, _, Some(answer))) => Standing::Answered(answer),
                Some((_, since_s, None)) => Standing::InFlight { since_s },
            })
        })
    }

    /// Keeps the answer to a request. Durable when this returns.
    pub(crate) fn answer_keyed(&self, keyed: &Keyed, answer: &[u8]) -> Result<(), DbError> {
        let Keyed { actor, route, key, .. } = keyed;
        let bytes = i64::try_from(answer.len()).unwrap_or(i64::MAX);
        self.write(|transaction| {
            let sql =
                "UPDATE idempotency_keys SET answer = ?4, bytes = ?5 WHERE actor = ?1 AND route = ?2 AND key = ?3";
            transaction.execute(sql, params![actor, route, key, answer, bytes])?;
            Ok(())
        })
    }

    /// Frees the key of a request that did nothing.
    pub(crate) fn free_keyed(&self, keyed: &Keyed) -> Result<(), DbError> {
        let Keyed { actor, route, key, .. } = keyed;
        self.write(|transaction| {
            let sql = "DELETE FROM idempotency_keys WHERE actor = ?1 AND route = ?2 AND key = ?3 AND answer IS NULL";
            transaction.execute(sql, params![actor, route, key])?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { forgotten_s: 0, keys: 3, bytes: 100 };

    fn keyed(actor: &str, key: &str, body: u8) -> Keyed {
        Keyed { actor: actor.to_owned(), route: "POST /v1/codes".to_owned(), key: key.to_owned(), request: [body; 32] }
    }

    #[test]
    fn a_request_is_begun_once_and_answered_alike_until_it_is_forgotten() {
        let database = Database::open(std::path::Path::new(":memory:")).unwrap();
        let (one, other) = (keyed("ada", "k", 1), keyed("ada", "k", 2));
        assert_eq!(database.begin_keyed(&one, BOUNDS, 10).unwrap(), Standing::Begun);
        assert_eq!(database.begin_keyed(&one, BOUNDS, 11).unwrap(), Standing::InFlight { since_s: 10 });
        assert_eq!(database.begin_keyed(&other, BOUNDS, 11).unwrap(), Standing::Other);
        assert_eq!(database.begin_keyed(&keyed("bob", "k", 2), BOUNDS, 11).unwrap(), Standing::Begun);
        database.answer_keyed(&one, b"yes").unwrap();
        database.free_keyed(&one).unwrap();
        assert_eq!(database.begin_keyed(&one, BOUNDS, 12).unwrap(), Standing::Answered(b"yes".to_vec()));
        let later = Bounds { forgotten_s: 11, ..BOUNDS };
        assert_eq!(database.begin_keyed(&one, later, 90_000).unwrap(), Standing::Begun);
        database.free_keyed(&one).unwrap();
        assert_eq!(database.begin_keyed(&other, later, 90_001).unwrap(), Standing::Begun);
    }

    #[test]
    fn an_actor_who_has_many_keys_gets_no_more_and_keeps_those() {
        let database = Database::open(std::path::Path::new(":memory:")).unwrap();
        for key in ["a", "b", "c"] {
            assert_eq!(database.begin_keyed(&keyed("ada", key, 1), BOUNDS, 10).unwrap(), Standing::Begun);
        }
        assert_eq!(database.begin_keyed(&keyed("ada", "d", 1), BOUNDS, 10).unwrap(), Standing::TooMany);
        database.answer_keyed(&keyed("ada", "a", 1), b"yes").unwrap();
        let again = database.begin_keyed(&keyed("ada", "a", 1), BOUNDS, 10).unwrap();
        assert_eq!(again, Standing::Answered(b"yes".to_vec()));
        assert_eq!(database.begin_keyed(&keyed("bob", "d", 1), BOUNDS, 10).unwrap(), Standing::Begun);
        database.answer_keyed(&keyed("bob", "d", 1), &[0; 100]).unwrap();
        assert_eq!(database.begin_keyed(&keyed("bob", "e", 1), BOUNDS, 10).unwrap(), Standing::TooMany);
    }
}
