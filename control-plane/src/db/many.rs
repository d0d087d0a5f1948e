//! One statement for many rows: what is done for ten thousand devices costs a hundred statements, not ten thousand. Where the
//! database is on another machine, each is a way there and back.

use std::fmt::Write as _;

use outpost_contract::DeviceId;

use super::sql::{Connection, Result, Row, Value};

/// Rows of one statement; both databases take thousands of places.
const ROWS: usize = 200;

impl Connection {
    /// Runs a statement for many rows, some hundreds at a time. `{rows}` in its text stands for the rows; what comes before
    /// (`first`) is the same for each and is `?1`, `?2` and so on. How many rows it changed.
    pub(super) fn execute_many<const N: usize>(
        &self,
        sql: &str,
        first: &[Value<'_>],
        rows: &[[Value<'_>; N]],
    ) -> Result<usize> {
        let mut changed = 0;
        for some in rows.chunks(ROWS) {
            let values: Vec<Value<'_>> = first.iter().chain(some.iter().flatten()).copied().collect();
            changed +=
                self.prepare_cached(&with_places(sql, first.len(), some.len(), N))?.execute(values.as_slice())?;
        }
        Ok(changed)
    }

    /// Every row that a statement gives for many rows, some hundreds at a time: `{rows}` in its text stands for those, as in
    /// `WHERE device IN ({rows})` for [`names`].
    pub(super) fn query_many<const N: usize, T>(
        &self,
        sql: &str,
        rows: &[[Value<'_>; N]],
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        for some in rows.chunks(ROWS) {
            let values: Vec<Value<'_>> = some.iter().flatten().copied().collect();
            let mut statement = self.prepare_cached(&with_places(sql, 0, some.len(), N))?;
            for row in statement.query_map(values.as_slice(), &mut read)? {
                found.push(row?);
            }
        }
        Ok(found)
    }
}

/// Names of devices as rows of one column.
pub(super) fn names(devices: &[DeviceId]) -> Vec<[Value<'_>; 1]> {
    devices.iter().map(|device| [Value::Text(device.as_str())]).collect()
}

/// A statement with `(?1, ?2), (?3, ?4)` in the place of `{rows}`.
fn with_places(sql: &str, first: usize, rows: usize, columns: usize) -> String {
    let mut places = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        places.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            let comma = if column == 0 { "" } else { ", " };
            // Writing to a `String` does not fail.
            let _ = write!(places, "{comma}?{}", first + row * columns + column + 1);
        }
        places.push(')');
    }
    sql.replace("{rows}", &places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;

    #[test]
    fn places_are_counted_through() {
        assert_eq!(with_places("VALUES {rows}", 0, 2, 2), "VALUES (?1, ?2), (?3, ?4)");
        assert_eq!(with_places("= ?1 AND a IN ({rows})", 1, 3, 1), "= ?1 AND a IN ((?2), (?3), (?4))");
    }

    #[test]
    fn more_rows_than_one_statement_takes_are_written_and_read() {
        both(|database| {
            let devices: Vec<DeviceId> =
                (0..ROWS * 2 + 1).map(|number| format!("box-{number:05}").parse().unwrap()).collect();
            let rows: Vec<_> =
                devices.iter().map(|device| [Value::Text(device.as_str()), Value::Text("here")]).collect();
            let sql = "INSERT INTO sites (device, site) VALUES {rows} ON CONFLICT (device) DO UPDATE SET site = excluded.site";
            let written = database.write(|connection| Ok(connection.execute_many(sql, &[], &rows)?)).unwrap();
            assert_eq!(written, devices.len());
            let sql = "SELECT device FROM sites WHERE device IN ({rows})";
            let read = |connection: &Connection| {
                Ok(connection.query_many(sql, &names(&devices), |row| row.get::<_, String>(0))?)
            };
            let mut found = database.read(read).unwrap();
            found.sort();
            assert_eq!(found, devices.iter().map(DeviceId::to_string).collect::<Vec<_>>());
            let sql = "UPDATE sites SET site = ?1 WHERE device IN ({rows})";
            let moved = database.write(|connection| {
                Ok(connection.execute_many(sql, &[Value::Text("there")], &names(&devices[..ROWS + 7]))?)
            });
            assert_eq!(moved.unwrap(), ROWS + 7);
            let nobody =
                database.write(|connection| Ok(connection.execute_many(sql, &[Value::Text("x")], &names(&[]))?));
            assert_eq!(nobody.unwrap(), 0);
        });
    }
}
