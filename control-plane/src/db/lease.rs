//! Leases: what one of several servers does, for as long as it says so again in time.

use super::sql::{OptionalExtension, params};
use super::{Database, DbError};

/// Something that one holder at a time has. A holder that dies has it until its time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// What is held.
    pub(crate) name: String,
    /// Who holds it: a name that no other process has, of now or before.
    pub(crate) holder: String,
}

impl Database {
    /// Takes a lease for the next `seconds`, by the database's clock, or holds it for longer. The term goes up with every change
    /// of the holder; `None` if somebody else has it.
    pub(crate) fn hold_lease(&self, lease: &Lease, seconds: i64) -> Result<Option<i64>, DbError> {
        self.write(|transaction| {
            let now_s = transaction.now_s()?;
            let sql = "SELECT holder, term, until_s FROM leases WHERE name = ?1";
            let held = transaction.prepare_cached(sql)?.query_row([&lease.name], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            });
            let term = match held.optional()? {
                Some((holder, term, _)) if holder == lease.holder => term,
                Some((_, _, until_s)) if now_s < until_s => return Ok(None),
                Some((_, term, _)) => term + 1,
                None => 1,
            };
            let sql = "INSERT INTO leases (name, holder, term, until_s) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, term = excluded.term, until_s = excluded.until_s";
            transaction.prepare_cached(sql)?.execute(params![lease.name, lease.holder, term, now_s + seconds])?;
            Ok(Some(term))
        })
    }

    /// Gives a lease back, if it is held; the next one need not wait.
    pub(crate) fn let_go(&self, lease: &Lease) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "UPDATE leases SET until_s = 0 WHERE name = ?1 AND holder = ?2";
            transaction.execute(sql, [&lease.name, &lease.holder])?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;

    #[test]
    fn one_holds_it_until_its_time_is_over_or_it_is_given_back() {
        both(|database| {
            let lease = |holder: &str| Lease { name: "leader".to_owned(), holder: holder.to_owned() };
            let (first, second) = (lease("first"), lease("second"));
            assert_eq!(database.hold_lease(&first, 60).unwrap(), Some(1));
            assert_eq!(database.hold_lease(&second, 60).unwrap(), None);
            assert_eq!(database.hold_lease(&first, 60).unwrap(), Some(1), "held for longer");
            database.let_go(&second).unwrap();
            assert_eq!(database.hold_lease(&second, 60).unwrap(), None, "only its holder gives it back");
            database.let_go(&first).unwrap();
            assert_eq!(database.hold_lease(&second, 0).unwrap(), Some(2));
            assert_eq!(database.hold_lease(&first, 60).unwrap(), Some(3), "its time was over at once");
            let other = Lease { name: "other".to_owned(), ..second };
            assert_eq!(database.hold_lease(&other, 60).unwrap(), Some(1));
        });
    }
}
