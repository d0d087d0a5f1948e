//! Tests of the database run twice: on SQLite in memory and on a PostgreSQL that the first of them starts.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Database;
use crate::config::DatabaseSettings;

// The stories start theirs by the same code.
#[expect(unreachable_pub, reason = "it is a module of another crate, too")]
#[path = "../../../tests/src/postgres.rs"]
pub(crate) mod server;

/// Runs a test on both, each new and empty.
pub(crate) fn both(test: impl Fn(Database)) {
    test(Database::open(std::path::Path::new(":memory:")).unwrap());
    test(postgres());
}

/// An empty database at the PostgreSQL of this process.
pub(crate) fn postgres() -> Database {
    Database::connect(&settings()).unwrap()
}

/// The address of an empty database.
pub(crate) fn settings() -> DatabaseSettings {
    // Never dropped: it ends with the process.
    static SERVER: OnceLock<Mutex<server::Postgres>> = OnceLock::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(|| Mutex::new(server::Postgres::start()));
    let schema = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let url = server.lock().unwrap_or_else(PoisonError::into_inner).url(&schema);
    DatabaseSettings { url, password_file: None, authority: None }
}
