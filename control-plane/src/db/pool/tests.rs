//! Threads and servers on one PostgreSQL: what is lent, what is waited for, and what is left of a connection that was lost.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::db::sql::{Connection, OptionalExtension};
use crate::db::testing::{both, server::Postgres, settings};
use crate::db::{Database, DbError};

fn number(database: &Database) -> u32 {
    let kept = database.setting("number").unwrap();
    kept.map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}

fn count(database: &Database) -> Result<(), DbError> {
    database.together(|| database.set("number", &(number(database) + 1).to_be_bytes()))
}

#[test]
fn nobody_counts_the_same_number_on_however_many_servers() {
    let settings = settings();
    let servers = [Database::connect(&settings).unwrap(), Database::connect(&settings).unwrap()];
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let database = &servers[thread % 2];
            scope.spawn(move || (0..25).for_each(|_| count(database).unwrap()));
        }
        // Readers are not held up, however many there are.
        for thread in 0..8 {
            let database = &servers[thread % 2];
            scope.spawn(move || (0..50).for_each(|_| assert!(number(database) <= 200)));
        }
    });
    assert_eq!(number(&servers[0]), 200);
}

#[test]
fn a_thread_reads_what_it_wrote_and_others_do_not() {
    both(|database| {
        let is_shared = database.is_shared();
        let other = database.clone();
        let whole: Result<(), DbError> = database.together(|| {
            count(&database)?;
            assert_eq!(number(&database), 1);
            assert_eq!(database.read(|_| Ok(number(&database)))?, 1);
            if is_shared {
                std::thread::scope(|scope| scope.spawn(|| assert_eq!(number(&other), 0)).join().unwrap());
            }
            Err(crate::db::SqlError::NoRow.into())
        });
        assert!(whole.is_err());
        assert_eq!(number(&database), 0);
        // Within a read, too.
        database.read(|_| count(&database)).unwrap();
        assert_eq!(number(&database), 1);
    });
}

#[test]
fn what_another_server_writes_is_a_change_and_our_own_is_none() {
    let settings = settings();
    let [first, second] = [Database::connect(&settings).unwrap(), Database::connect(&settings).unwrap()];
    let before = first.foreign_changes().unwrap();
    count(&first).unwrap();
    let _: Result<(), DbError> = first.write(|_| Err(crate::db::SqlError::NoRow.into()));
    assert_eq!(first.foreign_changes().unwrap(), before);
    count(&second).unwrap();
    assert_ne!(first.foreign_changes().unwrap(), before);
}

#[test]
fn a_server_that_restarts_is_found_again_and_one_that_is_gone_is_named() {
    let mut server = Postgres::start();
    let settings = crate::config::DatabaseSettings { url: server.url("fleet"), password_file: None, authority: None };
    let database = Database::connect(&settings).unwrap();
    count(&database).unwrap();
    server.stop();
    server.restart();
    count(&database).unwrap();
    assert_eq!(number(&database), 2);
    // In the middle of a transaction, that one comes to nothing and says so.
    let cut = database.together(|| {
        count(&database)?;
        server.stop();
        let failed = database.set("other", b"1");
        server.restart();
        failed
    });
    assert!(cut.unwrap_err().to_string().contains("PostgreSQL does not answer"));
    assert_eq!(number(&database), 2);
    count(&database).unwrap();
    drop(server);
    let gone = count(&database).unwrap_err().to_string();
    assert!(gone.contains("postgres@/") && gone.contains("/postgres"), "{gone}");
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let settings = settings();
    let database = Database::connect(&settings).unwrap();
    database.write(|connection| Ok(connection.set_schema_version(99)?)).unwrap();
    let refused = Database::connect(&settings).unwrap_err().to_string();
    assert!(refused.contains("has schema 99"), "{refused}");
}

#[test]
fn servers_that_start_at_once_make_one_schema() {
    let settings = settings();
    let made = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                count(&Database::connect(&settings).unwrap()).unwrap();
                made.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(made.into_inner(), 4);
    let rows = |connection: &Connection| {
        Ok(connection.query_row("SELECT count(*) FROM outpost_state", [], |row| row.get::<_, i64>(0)).optional()?)
    };
    let database = Database::connect(&settings).unwrap();
    assert_eq!((database.read(rows).unwrap(), number(&database)), (Some(1), 4));
}

#[test]
fn a_server_elsewhere_is_spoken_to_by_tls_with_its_own_authority_and_a_password_from_a_file() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _server = Postgres::start_over_tls(&made.cert.pem(), &made.signing_key.serialize_pem(), port);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let settings = |word: &str, authority: &str| crate::config::DatabaseSettings {
        url: format!("postgres://postgres@localhost:{port}/postgres"),
        password_file: file("word", word),
        authority: file("authority.pem", authority),
    };
    let database = Database::connect(&settings("word\n", &made.cert.pem())).unwrap();
    count(&database).unwrap();
    let is_secured = |connection: &Connection| {
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        Ok(connection.query_row(sql, [], |row| row.get::<_, bool>(0))?)
    };
    assert!(database.read(is_secured).unwrap());
    let refused = Database::connect(&settings("wrong", &made.cert.pem())).unwrap_err().to_string();
    assert!(refused.contains("password authentication failed"), "{refused}");
    let refused = Database::connect(&settings("word", &other.cert.pem())).unwrap_err().to_string();
    assert!(refused.contains("TLS"), "{refused}");
}
