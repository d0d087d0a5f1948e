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
    /// The next fsync fails, though everything reached the disk.
    LateFsync,
    /// The next try to go on after a storage error fails.
    Reopen,
}

fn failed_fsync() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None)
}

impl Writer {
    pub(super) fn inject_fault(&mut self) -> Result<(), AuditError> {
        match self.take_fault(|fault| matches!(fault, Fault::Full | Fault::SpaceAgain | Fault::Fsync)) {
            Some(Fault::Full) => {
                self.connection.pragma_update(None, "max_page_count", 1).unwrap();
                Ok(())
            }
            Some(Fault::SpaceAgain) => {
                self.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
                Ok(())
            }
            Some(Fault::Fsync) => Err(AuditError::database("write", &self.directory, &failed_fsync())),
            _ => Ok(()),
        }
    }

    pub(super) fn inject_late_fault(&self) -> rusqlite::Result<()> {
        self.take_fault(|fault| matches!(fault, Fault::LateFsync)).map_or(Ok(()), |_| Err(failed_fsync()))
    }

    pub(super) fn inject_fault_into_reopening(&self) -> Result<(), AuditError> {
        let error = AuditError::database("open", &self.directory, &failed_fsync());
        self.take_fault(|fault| matches!(fault, Fault::Reopen)).map_or(Ok(()), |_| Err(error))
    }

    fn take_fault(&self, is_it: impl Fn(&Fault) -> bool) -> Option<Fault> {
        self.shared.fault.lock().unwrap().take_if(|fault| is_it(fault))
    }
}
