//! A disk that is full, or becomes full while a file arrives.

mod common;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Room, manifest_of, noise};
use outpost_store::{Medium, MemorySource, Pull, StoreError, StoreOptions};

const CHUNK: usize = outpost_contract::limits::CHUNK_BYTES;

/// A disk with a set amount of room; reservations may lie, as on file systems that cannot reserve.
#[derive(Debug)]
struct SmallDisk {
    free: AtomicU64,
    reserves: bool,
}

impl Medium for SmallDisk {
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }

    fn reserve(&self, file: &File, bytes: u64) -> io::Result<()> {
        if self.reserves && self.free.load(Ordering::Relaxed) < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.set_len(bytes)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let take = |free: u64| free.checked_sub(bytes.len() as u64);
        let taken = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
    }
}

fn room(free: u64, reserve_bytes: u64, reserves: bool) -> (Room, Arc<SmallDisk>) {
    let medium = Arc::new(SmallDisk { free: AtomicU64::new(free), reserves });
    (Room::with(StoreOptions { reserve_bytes, medium: medium.clone() }), medium)
}

#[tokio::test]
async fn a_full_disk_while_pulling_is_refused_before_the_first_byte() {
    let (room, _) = room(3 * CHUNK as u64, 2 * CHUNK as u64, true);
    let bytes = noise(1, 2 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let error = room.store.pull(&manifest, &MemorySource::of(&bytes, &manifest.chunks), |_| {}).await.unwrap_err();
    let StoreError::NotEnoughSpace { needed_bytes, free_bytes, reserve_bytes, .. } = error else { panic!("{error}") };
    assert_eq!((needed_bytes, free_bytes, reserve_bytes), (2 * CHUNK as u64, 3 * CHUNK as u64, 2 * CHUNK as u64));
    assert!(room.partial_files().is_empty() && room.model_files().is_empty(), "nothing half-written stays");
}

#[test]
fn a_file_system_that_refuses_the_reservation_is_a_full_disk_too() {
    #[derive(Debug)]
    struct Full;
    impl Medium for Full {
        fn free_bytes(&self, _: &Path) -> io::Result<u64> {
            Ok(u64::MAX)
        }
        fn reserve(&self, _: &File, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn write_at(&self, _: &File, _: &[u8], _: u64) -> io::Result<()> {
            unreachable!("nothing is written without a reservation")
        }
    }
    let room = Room::with(StoreOptions { reserve_bytes: 0, medium: Arc::new(Full) });
    let error = Pull::begin(&room.store, &manifest_of(&noise(2, CHUNK), &[])).unwrap_err();
    assert!(matches!(error, StoreError::NotEnoughSpace { .. }), "{error}");
    assert!(error.to_string().contains("remove a model or free space"), "{error}");
    assert!(room.partial_files().is_empty());
}

#[tokio::test]
async fn a_disk_that_fills_up_halfway_keeps_what_arrived_and_goes_on_when_there_is_room() {
    let (room, disk) = room(4 * CHUNK as u64, 0, false);
    let bytes = noise(3, 4 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let pull = Pull::begin(&room.store, &manifest).unwrap();
    disk.free.store(2 * CHUNK as u64, Ordering::Relaxed);
    drop(pull);
    disk.free.store(4 * CHUNK as u64, Ordering::Relaxed);
    let mut pull = Pull::begin(&room.store, &manifest).unwrap();
    disk.free.store(2 * CHUNK as u64, Ordering::Relaxed);
    let mut refused = 0;
    for (index, chunk) in manifest.chunks.iter().enumerate() {
        match pull.accept(chunk.id, &bytes[index * CHUNK..][..CHUNK], "test") {
            Ok(_) => {}
            Err(StoreError::NotEnoughSpace { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refused, 2);
    drop(pull);
    assert_eq!(room.store.partials().unwrap(), [(manifest.blake3, 2 * CHUNK as u64)]);

    disk.free.store(100 * CHUNK as u64, Ordering::Relaxed);
    let stored = room.store.pull(&manifest, &MemorySource::of(&bytes, &manifest.chunks), |_| {}).await.unwrap();
    assert_eq!(std::fs::read(stored.path).unwrap(), bytes);
}
