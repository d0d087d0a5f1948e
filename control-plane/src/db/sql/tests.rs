//! The same statements on both databases, and what differs put right.

use super::*;
use crate::db::testing::both;
use crate::db::{Database, DbError};

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS things (number INTEGER PRIMARY KEY, name TEXT, bytes BLOB, size REAL) STRICT;";

fn make(database: &Database) {
    database.write(|connection| Ok(connection.make_schema(TABLE)?)).unwrap();
}

#[test]
fn values_come_back_as_they_went() {
    both(|database| {
        make(&database);
        let read = database.write(|connection| {
            let sql = "INSERT INTO things (name, bytes, size) VALUES (?1, ?2, ?3) RETURNING number";
            let first: i64 = connection.query_row(sql, params!["é 'x' ?1", [0_u8, 255], 1.5], |row| row.get(0))?;
            let none = params![None::<&str>, None::<Vec<u8>>, None::<f64>];
            assert_eq!(connection.query_row(sql, none, |row| row.get::<_, i64>(0))?, first + 1);
            let sql = "SELECT name, bytes, size, number = ?1, count(*) OVER () FROM things ORDER BY number";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([first], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, bool>(3)?, row.get::<_, u32>(4)?))
            })?;
            Ok(rows.collect::<Result<Vec<(Option<String>, Option<Vec<u8>>, Option<f64>, bool, u32)>>>()?)
        });
        let first = (Some("é 'x' ?1".to_owned()), Some(vec![0, 255]), Some(1.5), true, 2);
        assert_eq!(read.unwrap(), [first, (None, None, None, false, 2)]);
    });
}

#[test]
fn a_condition_that_may_be_left_out_is_understood_with_and_without_it() {
    both(|database| {
        make(&database);
        let count = |connection: &Connection, name: Option<&str>, least: Option<i64>| {
            let sql = "SELECT count(*) FROM things WHERE (?1 IS NULL OR name = ?1) AND (?2 IS NULL OR number >= ?2)";
            connection.query_row(sql, params![name, least], |row| row.get::<_, u64>(0))
        };
        let counted = database.write(|connection| {
            for name in ["a", "b", "b"] {
                connection.execute("INSERT INTO things (name) VALUES (?1)", [name])?;
            }
            Ok([count(connection, None, None)?, count(connection, Some("b"), None)?, count(connection, None, Some(3))?])
        });
        assert_eq!(counted.unwrap(), [3, 2, 1]);
    });
}

#[test]
fn texts_are_ordered_by_their_bytes_and_found_whatever_their_case() {
    both(|database| {
        make(&database);
        let read = database.write(|connection| {
            for name in ["b", "B", "a-2", "a1", "~", "é"] {
                connection.execute("INSERT INTO things (name) VALUES (?1)", [name])?;
            }
            let mut statement = connection.prepare_cached("SELECT name FROM things WHERE name > ?1 ORDER BY name")?;
            let ordered = statement.query_map([""], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>>>()?;
            let count = "SELECT count(*) FROM things WHERE name LIKE ?1";
            Ok((ordered, connection.query_row(count, ["b"], |row| row.get::<_, u64>(0))?))
        });
        assert_eq!(read.unwrap(), (["B", "a-2", "a1", "b", "~", "é"].map(str::to_owned).to_vec(), 2));
    });
}

#[test]
fn a_wrong_type_a_missing_row_and_a_number_too_large_are_said() {
    both(|database| {
        make(&database);
        let failed = |act: &dyn Fn(&Connection) -> Result<()>| {
            let failed = database.write(|connection| Ok(act(connection)?));
            failed.unwrap_err().to_string()
        };
        let text = failed(&|connection| connection.query_row("SELECT 'x'", [], |row| row.get::<_, i64>(0)).map(|_| ()));
        assert!(text.contains("column 0: a text where a number is expected"), "{text}");
        let text =
            failed(&|connection| connection.execute("DELETE FROM things WHERE number = ?1", [u64::MAX]).map(|_| ()));
        assert!(text.contains("18446744073709551615 is too large"), "{text}");
        let none = |connection: &Connection| {
            Ok(connection.query_row("SELECT 1 FROM things", [], |row| row.get::<_, i64>(0)).optional()?)
        };
        assert_eq!(database.read(none).unwrap(), None);
    });
}

#[test]
fn a_sum_and_a_null_character_can_be_kept() {
    both(|database| {
        make(&database);
        let read = database.write(|connection| {
            connection.execute("INSERT INTO things (number, name) VALUES (?1, ?2)", params![70_000, "a\0b"])?;
            connection.execute("INSERT INTO things (number) VALUES (?1)", [5])?;
            let row = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
            Ok(connection.query_row("SELECT sum(number), max(name) FROM things", [], row)?)
        });
        let (sum, name) = read.unwrap();
        assert_eq!(sum, 70_005);
        assert!(name == "a\0b" || name == "a\u{fffd}b", "{name:?}");
    });
}

#[test]
fn a_statement_that_fails_spoils_its_own_part_alone() {
    both(|database| {
        make(&database);
        let whole = database.together(|| {
            let insert = |number: i64| {
                database
                    .write(|connection| Ok(connection.execute("INSERT INTO things (number) VALUES (?1)", [number])?))
            };
            insert(1)?;
            assert!(insert(1).is_err(), "it is there");
            insert(2)?;
            Ok::<_, DbError>(())
        });
        whole.unwrap();
        let count = |connection: &Connection| {
            Ok(connection.query_row("SELECT count(*) FROM things", [], |row| row.get::<_, i64>(0))?)
        };
        assert_eq!(database.read(count).unwrap(), 2);
    });
}
