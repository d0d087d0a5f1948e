//! Faults that only a test can order: a full disk that has space again, an fsync that fails.

use rusqlite::ffi;

use super::*;

/// What the writer's next transactions meet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// The database cannot grow.
    Full,
    /// The database can grow again.
    SpaceAgain,
    /// The next fsync fails.
    Fsync,
}

impl Writer {
    pub(super) fn inject_fault(&mut self) -> Result<(), AuditError> {
        let fault = self.shared.fault.lock().unwrap().take();
        match fault {
            None => Ok(()),
            Some(Fault::Full) => {
                self.connection.pragma_update(None, "max_page_count", 1).unwrap();
                Ok(())
            }
            Some(Fault::SpaceAgain) => {
                self.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
                Ok(())
            }
            Some(Fault::Fsync) => {
                let error = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None);
                Err(AuditError::database("write", &self.directory, &error))
            }
        }
    }
}
