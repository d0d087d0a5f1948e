//! SQL on SQLite or PostgreSQL, by the words of `rusqlite`: what is written for that works on both once it imports these.
//!
//! The text of a statement is written once, in what both understand; the little that differs is put right when it is prepared
//! (`dialect`). A result is read as a whole before its rows are handed out, so that no statement is open while another one runs.

pub(crate) mod dialect;
mod postgres;
mod target;
mod value;

pub(crate) use postgres::Session;
pub(crate) use target::Target;
pub use target::TargetError;
pub(crate) use value::{FromSql, Kind, Params, ToSql, Value};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such row.
    #[error("no row was found")]
    NoRow,
    /// SQLite said no.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL said no.
    #[error("PostgreSQL: {0}")]
    Postgres(String),
    /// PostgreSQL is not there, or is starting or stopping.
    #[error("PostgreSQL does not answer: {0}")]
    Away(String),
    /// A column or a parameter is not of the kind that is expected.
    #[error("{place}: {what}")]
    Value {
        /// Which column or parameter, counted from 0.
        place: String,
        /// What was found, and what was expected.
        what: String,
    },
}

/// What statements give.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Parameters of a statement: `?1`, `?2`, …
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$(&$value as &dyn $crate::db::sql::ToSql),*] as &[&dyn $crate::db::sql::ToSql] };
}
pub(crate) use params;

/// Makes nothing of a missing row.
pub(crate) trait OptionalExtension<T> {
    /// The row, if there is one.
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A connection to either.
#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(Session),
}

impl Connection {
    /// Runs a statement; how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, parameters: impl Params) -> Result<usize> {
        self.prepare_cached(sql)?.execute(parameters)
    }

    /// Runs several statements without parameters.
    pub(crate) fn execute_batch(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(session) => session.batch(&dialect::to_postgres(sql)),
        }
    }

    /// The first row of a statement.
    pub(crate) fn query_row<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.prepare_cached(sql)?.query_row(parameters, read)
    }

    /// A statement that is kept prepared.
    pub(crate) fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        Ok(match self {
            Self::Sqlite(connection) => Statement::Sqlite(connection.prepare_cached(sql)?),
            Self::Postgres(session) => Statement::Postgres { session, sql: sql.to_owned() },
        })
    }

    /// Makes what is missing of a schema.
    pub(crate) fn make_schema(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(session) => session.batch(&dialect::schema_for_postgres(sql)),
        }
    }

    /// Makes the place where a version and the changes are counted, if that is not in the database's own file.
    pub(crate) fn make_state(&self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.make_state(),
        }
    }

    /// The version of the schema that is in force; 0 before there is one.
    pub(crate) fn schema_version(&self) -> Result<i64> {
        match self {
            Self::Sqlite(connection) => Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?),
            Self::Postgres(_) => self.query_row("SELECT schema_version FROM outpost_state", [], |row| row.get(0)),
        }
    }

    pub(crate) fn set_schema_version(&self, version: i64) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.pragma_update(None, "user_version", version)?),
            Self::Postgres(_) => self.execute("UPDATE outpost_state SET schema_version = ?1", [version]).map(|_| ()),
        }
    }

    /// A number that changes with every transaction of another process (and may with those of this one).
    pub(crate) fn changes(&self) -> Result<i64> {
        match self {
            Self::Sqlite(connection) => Ok(connection.pragma_query_value(None, "data_version", |row| row.get(0))?),
            Self::Postgres(_) => self.query_row("SELECT changes FROM outpost_state", [], |row| row.get(0)),
        }
    }

    /// Whether a transaction is under way.
    pub(crate) fn is_in_transaction(&self) -> bool {
        match self {
            Self::Sqlite(connection) => !connection.is_autocommit(),
            Self::Postgres(session) => session.is_in_transaction(),
        }
    }

    /// Begins a transaction that no other writer stands beside, here or anywhere.
    pub(crate) fn begin(&self) -> Result<()> {
        match self {
            // Immediate: a transaction that reads first could not become a writer while another process writes.
            Self::Sqlite(connection) => Ok(connection.execute_batch("BEGIN IMMEDIATE")?),
            Self::Postgres(session) => session.begin(),
        }
    }

    /// Ends it, durably.
    pub(crate) fn commit(&self) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch("COMMIT")?),
            Self::Postgres(session) => session.end("COMMIT"),
        }
    }

    /// Ends it, and nothing has happened.
    pub(crate) fn roll_back(&self) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch("ROLLBACK")?),
            Self::Postgres(session) => session.end("ROLLBACK"),
        }
    }

    /// Seconds since 1970-01-01 UTC, by the one clock that everybody who uses this database shares.
    pub(crate) fn now_s(&self) -> Result<i64> {
        let sql = match self {
            Self::Sqlite(_) => "SELECT unixepoch()",
            Self::Postgres(_) => "SELECT CAST(floor(extract(epoch FROM clock_timestamp())) AS BIGINT)",
        };
        self.query_row(sql, [], |row| row.get(0))
    }
}

/// A prepared statement.
pub(crate) enum Statement<'c> {
    Sqlite(rusqlite::CachedStatement<'c>),
    Postgres { session: &'c Session, sql: String },
}

impl Statement<'_> {
    /// Runs it; how many rows it changed.
    pub(crate) fn execute(&mut self, parameters: impl Params) -> Result<usize> {
        parameters.with(|values| match self {
            Self::Sqlite(statement) => Ok(statement.execute(rusqlite::params_from_iter(values))?),
            Self::Postgres { session, sql } => session.execute(sql, values),
        })
    }

    /// The first row.
    pub(crate) fn query_row<T>(
        &mut self,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        parameters.with(|values| match self {
            Self::Sqlite(statement) => {
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                read(&Row::Sqlite(rows.next()?.ok_or(Error::NoRow)?))
            }
            Self::Postgres { session, sql } => {
                let rows = session.query(sql, values)?;
                read(&Row::Postgres(rows.first().ok_or(Error::NoRow)?))
            }
        })
    }

    /// Every row, as `read` makes it. All are read before this returns.
    pub(crate) fn query_map<T>(
        &mut self,
        parameters: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<std::vec::IntoIter<Result<T>>> {
        parameters.with(|values| {
            let mut found = Vec::new();
            match self {
                Self::Sqlite(statement) => {
                    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                    while let Some(row) = rows.next()? {
                        found.push(read(&Row::Sqlite(row)));
                    }
                }
                Self::Postgres { session, sql } => {
                    found.extend(session.query(sql, values)?.iter().map(|row| read(&Row::Postgres(row))));
                }
            }
            Ok(found.into_iter())
        })
    }

    /// Whether there is a row.
    pub(crate) fn exists(&mut self, parameters: impl Params) -> Result<bool> {
        Ok(self.query_row(parameters, |_| Ok(())).optional()?.is_some())
    }
}

/// What names a column. One type does; as a trait, because callers write `get::<_, T>`.
pub(crate) trait RowIndex {
    fn place(self) -> usize;
}

impl RowIndex for usize {
    fn place(self) -> usize {
        self
    }
}

/// A row of a result.
#[derive(Debug)]
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl Row<'_> {
    /// A column, counted from 0.
    pub(crate) fn get<I: RowIndex, T: FromSql>(&self, index: I) -> Result<T> {
        let index = index.place();
        let failed = |what| Error::Value { place: format!("column {index}"), what };
        match self {
            Self::Sqlite(row) => T::from_sql(Value::from_sqlite(row.get_ref(index)?).map_err(failed)?),
            Self::Postgres(row) => T::from_sql(postgres::value(row, index).map_err(failed)?),
        }
        .map_err(failed)
    }
}

#[cfg(test)]
mod tests;
