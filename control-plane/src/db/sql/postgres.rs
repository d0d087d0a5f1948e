//! A session with PostgreSQL: statements kept prepared, and whether a transaction is under way.
//!
//! The client library is asynchronous; its sockets are served by a thread of the pool. Whoever calls waits with its own thread,
//! as for SQLite's disk, and may be anybody: no asynchronous runtime is entered.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error as _;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::Handle;
use tokio_postgres::types::{self, IsNull, Type};
use tokio_postgres::{Client, NoTls};

use super::target::{Target, Tls};
use super::value::Kind;
use super::{Error, Result, Value, dialect};

/// Statements that are kept prepared.
const STATEMENTS: usize = 256;

/// What holds for every session. Whoever dies or hangs in the middle of a transaction does not keep the others out.
const SETTINGS: &str =
    "SET client_min_messages = warning; SET standard_conforming_strings = on; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '60s'";

/// The row of this table is the lock of all writers, whatever machine they are on, and counts their transactions. Two servers that
/// start at once make it once: the number is that of a lock that exists without a table.
const STATE: &str = "BEGIN; SELECT pg_advisory_xact_lock(7886137001);
    CREATE TABLE IF NOT EXISTS outpost_state
        (one BIGINT PRIMARY KEY, schema_version BIGINT NOT NULL, changes BIGINT NOT NULL);
    INSERT INTO outpost_state (one, schema_version, changes) VALUES (1, 0, 0) ON CONFLICT DO NOTHING;
    COMMIT";

/// A session. Its calls block.
pub(crate) struct Session {
    client: Client,
    statements: RefCell<HashMap<String, tokio_postgres::Statement>>,
    is_in_transaction: Cell<bool>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").field("is_closed", &self.client.is_closed()).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects; the socket is served by `runtime`.
    pub(crate) fn connect(target: &Target, runtime: &Handle) -> Result<Self> {
        let (sender, answer) = mpsc::channel();
        let (config, tls, serving) = (target.config.clone(), target.tls.clone(), runtime.clone());
        // Whoever waits for nothing any more is told nothing: the receiver is there until then.
        runtime.spawn(async move {
            let connected = match tls {
                None => config.connect(NoTls).await.map(|(client, connection)| {
                    serving.spawn(served(connection));
                    client
                }),
                Some(tls) => config.connect(Tls(tls)).await.map(|(client, connection)| {
                    serving.spawn(served(connection));
                    client
                }),
            };
            sender.send(connected).ok();
        });
        let client = answer.recv().map_err(|_| Error::Postgres("its thread has ended".to_owned()))?.map_err(said)?;
        let session = Self { client, statements: RefCell::default(), is_in_transaction: Cell::new(false) };
        session.batch(SETTINGS)?;
        Ok(session)
    }

    /// Whether nothing can be asked any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.is_in_transaction.get()
    }

    pub(super) fn make_state(&self) -> Result<()> {
        self.batch(STATE)
    }

    pub(super) fn begin(&self) -> Result<()> {
        self.is_in_transaction.set(true);
        // Each statement sees what the writers before have committed, for the row is waited for first.
        self.batch("BEGIN ISOLATION LEVEL READ COMMITTED; UPDATE outpost_state SET changes = changes + 1 WHERE one = 1")
    }

    /// Whoever cannot end a transaction has lost the session: what is in it is then for the server to end.
    pub(super) fn end(&self, how: &str) -> Result<()> {
        self.batch(how)?;
        self.is_in_transaction.set(false);
        Ok(())
    }

    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        wait(self.client.batch_execute(sql)).map_err(said)
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize> {
        let statement = self.prepare(sql, values)?;
        let changed = wait(self.client.execute(&statement, &parameters(values))).map_err(said)?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<tokio_postgres::Row>> {
        let statement = self.prepare(sql, values)?;
        wait(self.client.query(&statement, &parameters(values))).map_err(said)
    }

    /// Types are those of the values, which are the same each time.
    fn prepare(&self, sql: &str, values: &[Value<'_>]) -> Result<tokio_postgres::Statement> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let types: Vec<Type> = values.iter().map(kind).collect();
        let prepared = wait(self.client.prepare_typed(&dialect::to_postgres(sql), &types)).map_err(said)?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }
}

/// Serves a connection until it ends.
async fn served(connection: impl Future<Output = std::result::Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::warn!(error = %said(error), "a connection to PostgreSQL ended");
    }
}

/// Waits with this thread. Nothing that is waited for here needs a runtime: answers come through plain channels.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// What went wrong, in a line; without the values that the server names in its details.
fn said(error: tokio_postgres::Error) -> Error {
    if let Some(refused) = error.as_db_error() {
        let text = format!("{} ({})", refused.message(), refused.code().code());
        return match refused.code().code() {
            "55P03" => Error::Postgres("another transaction has held the database for more than 10 seconds".to_owned()),
            // It stops, it starts, it has no room.
            "57P01" | "57P02" | "57P03" | "53300" => Error::Away(text),
            _ => Error::Postgres(text),
        };
    }
    let is_away = error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>());
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    if is_away { Error::Away(text) } else { Error::Postgres(text) }
}

fn kind(value: &Value<'_>) -> Type {
    match value {
        Value::Integer(_) | Value::Null(Kind::Integer) => Type::INT8,
        Value::Real(_) | Value::Null(Kind::Real) => Type::FLOAT8,
        Value::Text(_) | Value::Null(Kind::Text) => Type::TEXT,
        Value::Blob(_) | Value::Null(Kind::Blob) => Type::BYTEA,
        Value::Null(Kind::Unknown) => Type::UNKNOWN,
    }
}

fn parameters<'v>(values: &'v [Value<'_>]) -> Vec<&'v (dyn types::ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn types::ToSql + Sync)).collect()
}

type AnyError = Box<dyn std::error::Error + Sync + Send>;

impl types::ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut bytes::BytesMut) -> std::result::Result<IsNull, AnyError> {
        match (*self, kind) {
            (Value::Null(_), _) => Ok(IsNull::Yes),
            (Value::Integer(number), &Type::INT8) => number.to_sql(kind, out),
            (Value::Integer(number), &Type::INT4) => i32::try_from(number)?.to_sql(kind, out),
            (Value::Real(number), &Type::FLOAT8) => number.to_sql(kind, out),
            // The one character that its texts cannot hold.
            (Value::Text(text), &Type::TEXT) => text.replace('\0', "\u{fffd}").to_sql(kind, out),
            (Value::Blob(bytes), &Type::BYTEA) => bytes.to_sql(kind, out),
            (value, kind) => Err(format!("{value:?} cannot be a {kind}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    types::to_sql_checked!();
}

/// A column of a row.
pub(super) fn value(row: &tokio_postgres::Row, index: usize) -> std::result::Result<Value<'_>, String> {
    match row.try_get::<_, Column<'_>>(index) {
        Ok(Column(value)) => Ok(value),
        Err(error) => Err(said(error).to_string()),
    }
}

struct Column<'a>(Value<'a>);

impl<'a> types::FromSql<'a> for Column<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> std::result::Result<Self, AnyError> {
        Ok(Self(match *kind {
            Type::INT8 => Value::Integer(i64::from_sql(kind, raw)?),
            Type::INT4 => Value::Integer(i32::from_sql(kind, raw)?.into()),
            Type::INT2 => Value::Integer(i16::from_sql(kind, raw)?.into()),
            Type::BOOL => Value::Integer(bool::from_sql(kind, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(kind, raw)?),
            Type::NUMERIC => Value::Integer(whole(raw).ok_or("a sum that is no whole number of 64 bits")?),
            Type::TEXT | Type::VARCHAR | Type::NAME | Type::UNKNOWN => Value::Text(<&str>::from_sql(kind, raw)?),
            Type::BYTEA => Value::Blob(raw),
            _ => return Err(format!("a column of type {kind}; cast it").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, AnyError> {
        Ok(Self(Value::Null(Kind::Unknown)))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A whole number out of the form in which sums come: digits of base 10,000, the highest first.
fn whole(raw: &[u8]) -> Option<i64> {
    let word = |at: usize| Some(i16::from_be_bytes(raw.get(at * 2..at * 2 + 2)?.try_into().ok()?));
    let (count, weight, sign) = (word(0)?, word(1)?, word(2)?);
    let mut number: i64 = 0;
    for place in 0..=weight.max(count - 1) {
        let digit = if place < count { word(4 + usize::try_from(place).ok()?)? } else { 0 };
        if place > weight {
            // A fraction.
            if digit != 0 {
                return None;
            }
            continue;
        }
        number = number.checked_mul(10_000)?.checked_add(digit.into())?;
    }
    match sign {
        0 => Some(number),
        0x4000 => Some(-number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn sums_are_read_and_fractions_are_not() {
        let form = |words: &[i16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
        assert_eq!(whole(&form(&[0, 0, 0, 0])), Some(0));
        assert_eq!(whole(&form(&[2, 1, 0, 0, 12, 3456])), Some(123_456));
        assert_eq!(whole(&form(&[1, 1, 0x4000, 0, 12])), Some(-120_000));
        assert_eq!(whole(&form(&[2, 0, 0, 1, 1, 5000])), None);
        assert_eq!(whole(&form(&[1, 5, 0, 0, 1])), None, "more than 64 bits");
        assert_eq!(whole(&form(&[1, 0])), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_a_number_or_none(raw in proptest::collection::vec(0_u8.., 0..40)) {
            whole(&raw);
        }
    }
}
