//! What one request asks for, and how far it came: to the byte.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use outpost_contract::{Blake3, Chunk, ChunkRun};

/// What a segment is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A whole file.
    Blob(Blake3),
    /// One chunk, wherever it lies.
    Chunk(Blake3),
}

/// Neighbouring chunks that are still to come.
#[derive(Debug)]
pub(super) struct Segment {
    target: Target,
    /// Where the first missing chunk begins in the target.
    start: u64,
    chunks: VecDeque<Chunk>,
    /// What came of the first missing chunk.
    held: BytesMut,
}

impl Segment {
    /// Cuts runs into segments of at most `most` bytes, one chunk at least.
    pub(super) fn of_runs(runs: &[ChunkRun], most: u64) -> VecDeque<Self> {
        let mut segments = VecDeque::new();
        for run in runs {
            let mut at = run.start;
            let mut open: Option<(Self, u64)> = None;
            for chunk in &run.chunks {
                let bytes = u64::from(chunk.bytes);
                match &mut open {
                    Some((segment, length)) if *length + bytes <= most => {
                        segment.chunks.push_back(*chunk);
                        *length += bytes;
                    }
                    _ => {
                        let target = Target::Blob(run.blob);
                        let next = Self { target, start: at, chunks: [*chunk].into(), held: BytesMut::new() };
                        segments.extend(open.replace((next, bytes)).map(|(segment, _)| segment));
                    }
                }
                at = at.saturating_add(bytes);
            }
            segments.extend(open.map(|(segment, _)| segment));
        }
        segments
    }

    /// A chunk by its own id.
    pub(super) fn of_chunk(chunk: Chunk) -> Self {
        Self { target: Target::Chunk(chunk.id), start: 0, chunks: [chunk].into(), held: BytesMut::new() }
    }

    /// The chunks of a blob that the server does not have, each by its own id; `None` if it is one already.
    pub(super) fn one_by_one(self) -> Option<Vec<Self>> {
        match self.target {
            Target::Blob(_) => Some(self.chunks.into_iter().map(Self::of_chunk).collect()),
            Target::Chunk(_) => None,
        }
    }

    pub(super) fn target(&self) -> Target {
        self.target
    }

    /// Below the server's address.
    pub(super) fn path(&self) -> String {
        match self.target {
            Target::Blob(id) => format!("/v1/blobs/{id}"),
            Target::Chunk(id) => format!("/v1/chunks/{id}"),
        }
    }

    /// First and last byte of the next `most` that are missing, one at least; `None` for a whole chunk of its own.
    pub(super) fn range(&self, most: u64) -> Option<(u64, u64)> {
        if matches!(self.target, Target::Chunk(_)) && self.held.is_empty() {
            return None;
        }
        let first = self.start.saturating_add(self.held.len() as u64);
        let bytes = match self.target {
            Target::Blob(_) => self.missing_bytes().min(most.max(1)),
            Target::Chunk(_) => self.missing_bytes(),
        };
        Some((first, first.saturating_add(bytes).saturating_sub(1)))
    }

    pub(super) fn missing_bytes(&self) -> u64 {
        let all: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
        all.saturating_sub(self.held.len() as u64)
    }

    pub(super) fn missing_chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Forgets what came of the first chunk.
    pub(super) fn restart(&mut self) {
        self.held.clear();
    }

    /// Takes bytes off the front of `piece`, up to the end of a chunk; `None` when the piece is used up, or bytes are left
    /// and no chunk is missing.
    pub(super) fn take(&mut self, piece: &mut Bytes) -> Option<(Blake3, Bytes)> {
        let chunk = *self.chunks.front()?;
        if self.held.is_empty() {
            self.held.reserve(chunk.bytes as usize);
        }
        let part = (chunk.bytes as usize).saturating_sub(self.held.len()).min(piece.len());
        self.held.extend_from_slice(&piece[..part]);
        piece.advance(part);
        if self.held.len() < chunk.bytes as usize {
            return None;
        }
        self.chunks.pop_front();
        self.start = self.start.saturating_add(u64::from(chunk.bytes));
        Some((chunk.id, self.held.split().freeze()))
    }
}

/// First and last byte of `bytes 0-99/1234` or `bytes 0-99/*`.
pub(super) fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, _whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(sizes: &[u32]) -> ChunkRun {
        let chunk = |(number, &bytes): (usize, &u32)| Chunk { id: Blake3([number as u8; 32]), bytes };
        ChunkRun { blob: Blake3([255; 32]), start: 1000, chunks: sizes.iter().enumerate().map(chunk).collect() }
    }

    #[test]
    fn a_content_range_is_two_numbers_in_order() {
        assert_eq!(content_range("bytes 0-99/1234"), Some((0, 99)));
        assert_eq!(content_range("bytes 5-5/*"), Some((5, 5)));
        for bad in ["", "bytes", "bytes */7", "bytes 2-1/7", "bytes -1/7", "items 0-1/7", "bytes 0-1", "bytes 0-x/7"] {
            assert_eq!(content_range(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_or_none_without_panic(text in "(bytes )?.{0,40}") {
            if let Some((first, last)) = content_range(&text) {
                prop_assert!(first <= last);
            }
        }

        #[test]
        fn however_the_bytes_come_and_break_off_each_chunk_comes_whole_and_once(
            sizes in prop::collection::vec(1u32..5000, 1..20),
            pieces in prop::collection::vec(1usize..3000, 1..200),
            most in 1u64..20_000,
            asked in 1u64..20_000,
        ) {
            let run = run(&sizes);
            let whole: Vec<u8> = (0..run.bytes()).map(|at| (at % 251) as u8).collect();
            let mut pieces = pieces.into_iter().cycle();
            let mut came = Vec::new();
            for mut segment in Segment::of_runs(std::slice::from_ref(&run), most) {
                prop_assert!(segment.missing_bytes() <= most || segment.missing_chunks() == 1);
                while segment.missing_chunks() > 0 {
                    // A request, answered in part.
                    let (first, last) = segment.range(asked).unwrap();
                    prop_assert!(last - first < asked);
                    let answer = &whole[(first - run.start) as usize..=(last - run.start) as usize];
                    let cut = answer.len().min(pieces.next().unwrap());
                    let mut piece = Bytes::copy_from_slice(&answer[..cut]);
                    while let Some((_, bytes)) = segment.take(&mut piece) {
                        came.push(bytes);
                    }
                    prop_assert!(piece.is_empty());
                }
                let mut more = Bytes::from_static(b"more");
                prop_assert!(segment.take(&mut more).is_none());
                prop_assert_eq!(more.len(), 4, "what nobody asked for is left over");
            }
            prop_assert_eq!(came.iter().map(Bytes::len).collect::<Vec<_>>(), sizes.iter().map(|&size| size as usize).collect::<Vec<_>>());
            prop_assert_eq!(came.concat(), whole);
        }
    }
}
