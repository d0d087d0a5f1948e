//! A few connections to PostgreSQL, lent to whoever asks: one for the writer, some for readers.
//!
//! What a thread has borrowed it has until it gives it back, however deep it asks again: so a read within a transaction sees what
//! the transaction wrote.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, ReentrantMutex, ReentrantMutexGuard};
use tokio::runtime::Runtime;

use super::sql::{Connection, Error, Result, Session, Target};

/// Connections for readers.
const READERS: usize = 4;

/// How long a reader waits for a connection, and anybody for a server that is starting again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);

thread_local! {
    /// What this thread has borrowed, by the pool's number.
    static LENT: RefCell<Vec<(u64, Rc<Connection>)>> = const { RefCell::new(Vec::new()) };
}

/// The connections.
#[derive(Debug)]
pub(super) struct Pool {
    number: u64,
    target: Target,
    /// Serves the sockets. `None` only while it is being dropped.
    runtime: Option<Runtime>,
    idle: Mutex<Vec<Connection>>,
    readers: Mutex<usize>,
    freed: Condvar,
    /// Held while one writes: the writers of this process wait here, those of others at the database.
    writer: ReentrantMutex<()>,
    changes: Changes,
}

/// Tells the changes of other processes from our own.
#[derive(Debug, Default)]
struct Changes {
    /// Commits of this process that were begun, and those of them that were done.
    begun: AtomicI64,
    done: AtomicI64,
    /// How many changes others had made when that was last known for certain, and the number that was told for it.
    known: Mutex<(i64, i64)>,
}

impl Pool {
    pub(super) fn new(target: Target) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("outpost-postgres")
            .enable_all()
            .build()
            .map_err(|error| Error::Postgres(format!("its thread cannot be started: {error}")))?;
        Ok(Self {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            target,
            runtime: Some(runtime),
            idle: Mutex::default(),
            readers: Mutex::new(0),
            freed: Condvar::new(),
            writer: ReentrantMutex::new(()),
            changes: Changes::default(),
        })
    }

    /// A connection to read by: that of the transaction, if this thread is in one.
    pub(super) fn to_read(&self) -> Result<Lent<'_>> {
        if let Some(connection) = self.borrowed() {
            return Ok(Lent { pool: self, connection: Some(connection), is_first: false, place: None, _writer: None });
        }
        let place = Place::take(self)?;
        self.lend(Some(place), None)
    }

    /// A connection to write by. A transaction is not begun on it.
    pub(super) fn to_write(&self) -> Result<Lent<'_>> {
        let writer = self.writer.lock();
        match self.borrowed() {
            Some(connection) => Ok(Lent {
                pool: self,
                connection: Some(connection),
                is_first: false,
                place: None,
                _writer: Some(writer),
            }),
            None => self.lend(None, Some(writer)),
        }
    }

    /// Commits; what is changed by it is our own.
    pub(super) fn commit(&self, commit: impl FnOnce() -> Result<()>) -> Result<()> {
        self.changes.begun.fetch_add(1, Ordering::SeqCst);
        let committed = commit();
        match committed {
            Ok(()) => self.changes.done.fetch_add(1, Ordering::SeqCst),
            // If it was committed all the same, it counts as a change of others: one look too many.
            Err(_) => self.changes.begun.fetch_sub(1, Ordering::SeqCst),
        };
        committed
    }

    /// A number that goes up when another process has written. While this one commits it is not known whether others have: then it
    /// goes up, too.
    pub(super) fn foreign_changes(&self, all: impl FnOnce() -> Result<i64>) -> Result<i64> {
        let Changes { begun, done, known } = &self.changes;
        let mut known = known.lock();
        let own = begun.load(Ordering::SeqCst);
        let is_quiet = own == done.load(Ordering::SeqCst);
        let foreign = all()? - own;
        if !is_quiet || own != begun.load(Ordering::SeqCst) {
            known.1 += 1;
        } else if foreign != known.0 {
            *known = (foreign, known.1 + 1);
        }
        Ok(known.1)
    }

    fn borrowed(&self) -> Option<Rc<Connection>> {
        LENT.with_borrow(|lent| lent.iter().find(|(number, _)| *number == self.number).map(|(_, one)| Rc::clone(one)))
    }

    fn lend<'p>(&'p self, place: Option<Place<'p>>, writer: Option<ReentrantMutexGuard<'p, ()>>) -> Result<Lent<'p>> {
        let connection = Rc::new(self.connected()?);
        LENT.with_borrow_mut(|lent| lent.push((self.number, Rc::clone(&connection))));
        Ok(Lent { pool: self, connection: Some(connection), is_first: true, place, _writer: writer })
    }

    /// One that is idle, or a new one. A server that restarts is waited for.
    fn connected(&self) -> Result<Connection> {
        while let Some(idle) = self.idle.lock().pop() {
            if !is_closed(&idle) {
                return Ok(idle);
            }
        }
        let Some(runtime) = &self.runtime else { return Err(Error::Postgres("its thread has ended".to_owned())) };
        let until = Instant::now() + PATIENCE;
        loop {
            match Session::connect(&self.target, runtime.handle()) {
                Ok(session) => return Ok(Connection::Postgres(session)),
                Err(Error::Away(_)) if Instant::now() < until => std::thread::sleep(PAUSE),
                Err(Error::Away(what)) => return Err(Error::Away(format!("{}: {what}", self.target))),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.idle.lock().clear();
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: this may be an asynchronous thread.
            runtime.shutdown_background();
        }
    }
}

fn is_closed(connection: &Connection) -> bool {
    matches!(connection, Connection::Postgres(session) if session.is_closed())
}

/// A reader's place.
struct Place<'p>(&'p Pool);

impl<'p> Place<'p> {
    fn take(pool: &'p Pool) -> Result<Self> {
        let mut readers = pool.readers.lock();
        let until = Instant::now() + PATIENCE;
        while *readers >= READERS {
            if pool.freed.wait_until(&mut readers, until).timed_out() {
                return Err(Error::Postgres("every connection has been busy for 10 seconds".to_owned()));
            }
        }
        *readers += 1;
        Ok(Self(pool))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.readers.lock() -= 1;
        self.0.freed.notify_one();
    }
}

/// A connection that is lent to this thread.
pub(super) struct Lent<'p> {
    pool: &'p Pool,
    /// `None` only while it is given back.
    connection: Option<Rc<Connection>>,
    /// Whoever borrowed it first gives it back.
    is_first: bool,
    place: Option<Place<'p>>,
    _writer: Option<ReentrantMutexGuard<'p, ()>>,
}

impl Lent<'_> {
    pub(super) fn connection(&self) -> &Connection {
        self.connection.as_deref().expect("it is there until it is given back")
    }

    /// True if this thread had none before.
    pub(super) fn is_first(&self) -> bool {
        self.is_first
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.is_first {
            LENT.with_borrow_mut(|lent| lent.retain(|(number, _)| *number != self.pool.number));
            // In the middle of a transaction: the server ends it with the connection.
            if let Some(connection) = Rc::into_inner(connection)
                && !is_closed(&connection)
                && !connection.is_in_transaction()
            {
                self.pool.idle.lock().push(connection);
            }
        }
        self.place = None;
    }
}

#[cfg(test)]
mod tests;
