//! Leases: what only one of several servers on this database may do.

use super::sql::{OptionalExtension, params};

use super::{Database, DbError};

impl Database {
    /// Takes the lease, or keeps it, for `seconds` from now: its term, which goes up whenever it changes hands; `None` while
    /// somebody else has it. Whoever acts by it asks in the transaction in which they act.
    pub(crate) fn take_lease(
        &self,
        name: &str,
        holder: &str,
        now_s: i64,
        seconds: i64,
    ) -> Result<Option<u64>, DbError> {
        // Servers on several machines go by one clock.
        let now_s = if self.is_shared() { self.read(|connection| Ok(connection.now_s()?))? } else { now_s };
        let held = |own: &super::sql::Connection| {
            let sql = "SELECT term, until_s FROM leases WHERE name = ?1 AND holder = ?2";
            let row = own.prepare_cached(sql)?.query_row([name, holder], |row| Ok((row.get(0)?, row.get(1)?)));
            Ok::<Option<(u64, i64)>, DbError>(row.optional()?)
        };
        // Renewed at half its time: not every look at it is a write.
        if let Some((term, until_s)) = self.read(held)?
            && (now_s + seconds / 2 < until_s && until_s <= now_s + seconds)
        {
            return Ok(Some(term));
        }
        self.write(|transaction| {
            // One that lasts longer than any lasts was taken by a clock that has been set back since.
            let sql = "INSERT INTO leases (name, holder, term, until_s) VALUES (?1, ?2, 1, ?3)
                 ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_s = excluded.until_s,
                 term = CASE WHEN leases.holder = excluded.holder THEN leases.term ELSE leases.term + 1 END
                 WHERE leases.holder = excluded.holder OR leases.until_s <= ?4 OR leases.until_s > excluded.until_s";
            transaction.execute(sql, params![name, holder, now_s + seconds, now_s])?;
            Ok(held(transaction)?.map(|(term, _)| term))
        })
    }

    /// Gives the lease back, if this holder has it.
    pub(crate) fn release_lease(&self, name: &str, holder: &str) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("UPDATE leases SET until_s = 0 WHERE name = ?1 AND holder = ?2", [name, holder])?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_one_holder_and_a_new_term_for_each() {
        let database = Database::open(std::path::Path::new(":memory:")).unwrap();
        let take = |holder: &str, now_s| database.take_lease("rollouts", holder, now_s, 10).unwrap();
        assert_eq!(take("a", 100), Some(1));
        assert_eq!(take("b", 105), None);
        assert_eq!(take("a", 108), Some(1), "it is kept");
        assert_eq!(take("b", 112), None, "until ten seconds after that");
        assert_eq!(take("b", 118), Some(2));
        assert_eq!(take("a", 119), None);
        assert_eq!(take("a", 5), Some(3), "a clock that was set back does not lock everybody out");
        database.release_lease("rollouts", "b").unwrap();
        assert_eq!(take("b", 6), None, "nobody gives back what another has");
        database.release_lease("rollouts", "a").unwrap();
        assert_eq!(take("b", 7), Some(4));
    }
}
