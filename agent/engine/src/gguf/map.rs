//! A read-only memory map of a model file: the one place of this crate that needs `unsafe`.

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

/// A whole file in memory.
#[derive(Debug)]
pub(crate) enum FileMap {
    /// Paged in by the kernel as it is read.
    Mapped(Mmap),
    /// Made here and never written to a disk; or empty, since the kernel refuses a map of no bytes.
    Held(Vec<u8>),
}

impl FileMap {
    /// Maps a file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self::Held(Vec::new()));
        }
        // SAFETY: the map is read-only and private to this value. Model files are content-addressed and replaced by
        // rename, never written in place, so the bytes behind the map do not change while it lives. Should another
        // program truncate the file all the same, the process dies by SIGBUS: that is why a model is loaded in a
        // worker whose death the agent survives. No reference outlives the map.
        #[expect(unsafe_code, reason = "mapping a file is unsafe by its nature; see SAFETY")]
        let map = unsafe { Mmap::map(file)? };
        Ok(Self::Mapped(map))
    }

    /// Takes the whole pages of a range out of this process's memory; who looks again has them read again.
    pub(crate) fn let_go(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            #[expect(unsafe_code, reason = "advice that can discard pages is unsafe in general; see SAFETY")]
            // SAFETY: the map is of a file and never written, so a discarded page comes back from the file as it was.
            // The advice may fail, and then the pages stay.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
    }

    /// Takes all of the file out of this process's memory.
    pub(crate) fn let_all_go(&self) {
        self.let_go(0..self.bytes().len());
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}
