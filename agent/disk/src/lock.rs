//! One process per state directory, held by a lock that dies with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::DiskError;

const LOCK_FILE: &str = "lock";

/// How long a holder that is going is waited for, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// The right to write in a state directory; released when dropped, and by the kernel if the process dies.
#[derive(Debug)]
pub struct StateLock {
    _held: File,
}

impl StateLock {
    /// Takes the directory as [`acquire`](Self::acquire) does, and waits up to two seconds for a holder to let go: one that
    /// was killed lives on for a moment in a child that it was starting.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_soon(directory: impl AsRef<Path>) -> Result<Self, DiskError> {
        let directory = directory.as_ref();
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::acquire(directory) {
                Err(DiskError::Locked { .. }) if Instant::now() < until => std::thread::sleep(PAUSE),
                result => return result,
            }
        }
    }

    /// Takes the directory (made if missing) for this process.
    ///
    /// # Errors
    /// [`DiskError::Locked`] if another holder has it, naming the directory and the holder; otherwise if the lock
    /// file cannot be made.
    pub fn acquire(directory: impl AsRef<Path>) -> Result<Self, DiskError> {
        let directory = directory.as_ref();
        std::fs::create_dir_all(directory).map_err(|source| DiskError::io("make the directory", directory, source))?;
        let path = directory.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| DiskError::io("open the lock", &path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DiskError::Locked { directory: directory.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(DiskError::io("lock", &path, source)),
        }
        // Only a courtesy for the message above, so it may fail: the lock itself is what counts, and a full disk must
        // not keep the agent from starting.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        Ok(Self { _held: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(20).read_to_string(&mut text).map(|_| text.trim().parse::<u32>()) {
        Ok(Ok(process)) => format!(" (process {process})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_and_where() {
        let directory = tempfile::tempdir().unwrap();
        let _held = StateLock::acquire(directory.path()).unwrap();
        let text = StateLock::acquire(directory.path()).unwrap_err().to_string();
        assert!(text.contains(&directory.path().display().to_string()), "{text}");
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
    }

    #[test]
    fn a_holder_that_is_going_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let held = StateLock::acquire(directory.path()).unwrap();
        let going = std::thread::spawn(move || {
            std::thread::sleep(PAUSE * 3);
            drop(held);
        });
        StateLock::acquire_soon(directory.path()).unwrap();
        going.join().unwrap();
    }

    #[test]
    fn a_released_directory_can_be_taken_again() {
        let directory = tempfile::tempdir().unwrap();
        drop(StateLock::acquire(directory.path()).unwrap());
        StateLock::acquire(directory.path()).unwrap();
    }
}
