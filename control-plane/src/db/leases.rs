//! Leases: what only one of several servers on this database may do, for as long as it says so again in time.

use super::sql::{Connection, OptionalExtension, params};
use super::{Database, DbError};

/// Something that one holder at a time has. A holder that dies has it until its time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// What is held.
    pub(crate) name: &'static str,
    /// Who holds it: a name that no other process has, of now or before.
    pub(crate) holder: String,
    /// For how long, each time.
    pub(crate) seconds: i64,
}

impl Lease {
    /// Its term and its end, if it is held.
    fn held(&self, connection: &Connection) -> Result<Option<(u64, i64)>, DbError> {
        let sql = "SELECT term, until_s FROM leases WHERE name = ?1 AND holder = ?2";
        let row =
            connection.prepare_cached(sql)?.query_row([self.name, &self.holder], |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(row.optional()?)
    }
}

impl Database {
    /// Takes the lease, or holds it for longer: for all of its time from now, or none of it. Its term, which goes up whenever it
    /// changes hands; `None` while somebody else has it. Servers on several machines go by the clock of their database, one with a
    /// file of its own by `now_s`.
    pub(crate) fn hold_lease(&self, lease: &Lease, now_s: i64) -> Result<Option<u64>, DbError> {
        self.write(|transaction| {
            let now_s = if self.is_shared() { transaction.now_s()? } else { now_s };
            // One that lasts longer than any lasts was taken by a clock that has been set back since. Where others may still go by it,
            // it is waited for.
            let latest_s = if self.is_shared() { i64::MAX } else { now_s + lease.seconds };
            let sql = "INSERT INTO leases (name, holder, term, until_s) VALUES (?1, ?2, 1, ?3)
                 ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_s = excluded.until_s,
                 term = CASE WHEN leases.holder = excluded.holder THEN leases.term ELSE leases.term + 1 END
                 WHERE leases.holder = excluded.holder OR leases.until_s <= ?4 OR leases.until_s > ?5";
            let until_s = now_s + lease.seconds;
            transaction.execute(sql, params![lease.name, lease.holder, until_s, now_s, latest_s])?;
            Ok(lease.held(transaction)?.map(|(term, _)| term))
        })
    }

    /// The same for whoever acts by it in the transaction in which they ask: it is held for longer at half of its time, so that not
    /// every look at it is a write.
    pub(crate) fn keep_lease(&self, lease: &Lease, now_s: i64) -> Result<Option<u64>, DbError> {
        let held = self.read(|connection| {
            let now_s = if self.is_shared() { connection.now_s()? } else { now_s };
            let is_fresh = |until_s| now_s + lease.seconds / 2 < until_s && until_s <= now_s + lease.seconds;
            Ok(lease.held(connection)?.filter(|(_, until_s)| is_fresh(*until_s)))
        })?;
        match held {
            Some((term, _)) => Ok(Some(term)),
            None => self.hold_lease(lease, now_s),
        }
    }

    /// Gives a lease back, if it is held; the next one need not wait.
    pub(crate) fn let_go(&self, lease: &Lease) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "UPDATE leases SET until_s = 0 WHERE name = ?1 AND holder = ?2";
            transaction.execute(sql, [lease.name, &lease.holder])?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;

    fn lease(holder: &str, seconds: i64) -> Lease {
        Lease { name: "rollouts", holder: holder.to_owned(), seconds }
    }

    #[test]
    fn one_holds_it_until_its_time_is_over_or_it_is_given_back() {
        both(|database| {
            let (first, second) = (lease("first", 60), lease("second", 60));
            let hold = |lease: &Lease| database.hold_lease(lease, 100).unwrap();
            assert_eq!(hold(&first), Some(1));
            assert_eq!(hold(&second), None);
            assert_eq!(hold(&first), Some(1), "held for longer");
            database.let_go(&second).unwrap();
            assert_eq!(hold(&second), None, "only its holder gives it back");
            database.let_go(&first).unwrap();
            assert_eq!(hold(&lease("second", 0)), Some(2));
            assert_eq!(hold(&first), Some(3), "its time was over at once");
            assert_eq!(hold(&Lease { name: "other", ..second }), Some(1));
        });
    }

    #[test]
    fn whoever_looks_often_keeps_it_and_writes_at_half_of_its_time() {
        both(|database| {
            let (first, second) = (lease("first", 600), lease("second", 600));
            let keep = |lease: &Lease| database.keep_lease(lease, 100).unwrap();
            assert_eq!((keep(&first), keep(&first), keep(&second)), (Some(1), Some(1), None));
            database.let_go(&first).unwrap();
            assert_eq!((keep(&second), keep(&first)), (Some(2), None));
        });
    }

    #[test]
    fn a_lease_has_one_holder_and_a_new_term_for_each() {
        let database = Database::open(std::path::Path::new(":memory:")).unwrap();
        let keep = |holder: &str, now_s| database.keep_lease(&lease(holder, 10), now_s).unwrap();
        let until_s = || database.read(|connection| lease("a", 10).held(connection)).unwrap().unwrap().1;
        assert_eq!(keep("a", 100), Some(1));
        assert_eq!(keep("b", 105), None);
        assert_eq!((keep("a", 104), until_s()), (Some(1), 110), "not every look is a write");
        assert_eq!((keep("a", 108), until_s()), (Some(1), 118), "it is kept");
        assert_eq!(keep("b", 112), None, "until ten seconds after that");
        assert_eq!(keep("b", 118), Some(2));
        assert_eq!(keep("a", 119), None);
        assert_eq!(keep("a", 5), Some(3), "a clock that was set back does not lock everybody out");
        database.let_go(&lease("b", 10)).unwrap();
        assert_eq!(keep("b", 6), None, "nobody gives back what another has");
        database.let_go(&lease("a", 10)).unwrap();
        assert_eq!(keep("b", 7), Some(4));
    }
}
