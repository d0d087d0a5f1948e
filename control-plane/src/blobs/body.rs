//! A part of a file as a stream of blocks: read off the async threads, one block ahead of the network.

use std::fs::File;
use std::io::{Error, Result};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes that are read at once: two blocks per download are all the memory that it takes.
const BLOCK_BYTES: u64 = 512 * 1024;

/// Downloads at once; each has a file open and two blocks in memory.
const DOWNLOADS: usize = 256;

/// The places for downloads.
#[derive(Debug)]
pub(crate) struct Downloads(pub(crate) Arc<Semaphore>);

impl Default for Downloads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(DOWNLOADS)))
    }
}

/// Where bytes lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) bytes: u64,
}

/// Reads `part` of `file`; `on_block` is waited for, with the size of the block, whenever the network has taken what was read
/// and wants more.
pub(crate) fn stream<F: Future<Output = ()> + Send>(
    file: File,
    part: Extent,
    on_block: impl Fn(u32) -> F + Send,
) -> impl Stream<Item = Result<Bytes>> + Send {
    let file = Arc::new(file);
    let next = read(&file, part);
    futures_util::stream::unfold((next, part, on_block), move |(next, part, on_block)| {
        let file = Arc::clone(&file);
        async move {
            let block = next?.await.map_err(Error::other).and_then(|block| block);
            let length = part.bytes.min(BLOCK_BYTES);
            on_block(u32::try_from(length).unwrap_or(u32::MAX)).await;
            let rest = Extent { start: part.start + length, bytes: part.bytes - length };
            // After a failure the caller sees a body that is too short, never one that is wrong.
            let next = if block.is_ok() { read(&file, rest) } else { None };
            Some((block, (next, rest, on_block)))
        }
    })
}

/// Begins to read the first block of `part`; `None` if it is empty.
fn read(file: &Arc<File>, part: Extent) -> Option<JoinHandle<Result<Bytes>>> {
    let length = usize::try_from(part.bytes.min(BLOCK_BYTES)).ok().filter(|length| *length > 0)?;
    let file = Arc::clone(file);
    Some(spawn_blocking(move || {
        let mut block = vec![0; length];
        file.read_exact_at(&mut block, part.start)?;
        Ok(block.into())
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_part_comes_block_by_block_and_a_file_that_shrank_ends_in_an_error() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..1_500_000_u32).map(|at| (at % 251) as u8).collect();
        std::fs::write(path.path(), &content).unwrap();
        let blocks = AtomicUsize::new(0);
        let count = |_| {
            blocks.fetch_add(1, Ordering::Relaxed);
            std::future::ready(())
        };
        let part = Extent { start: 1000, bytes: 1_200_000 };
        let got: Vec<_> = Box::pin(stream(File::open(path.path()).unwrap(), part, count)).collect().await;
        let joined: Vec<u8> = got.into_iter().flat_map(|block| block.unwrap().to_vec()).collect();
        assert!(joined == content[1000..1_201_000]);
        assert_eq!(blocks.load(Ordering::Relaxed), 3);

        let beyond = Extent { start: 900_000, bytes: 1_200_000 };
        let got: Vec<_> =
            Box::pin(stream(File::open(path.path()).unwrap(), beyond, |_| std::future::ready(()))).collect().await;
        assert!(got[0].is_ok() && got.last().unwrap().is_err(), "{}", got.len());
    }
}
