//! Content-addressed model files: manifests, chunks, resumable verified installs.
//!
//! ```text
//! <dir>/models/<blake3>.gguf    whole, verified files; a name appears here only by a rename of a finished file
//! <dir>/partial/<blake3>.part   files being pulled, at full length; what is in them is known from the index
//! <dir>/store.db                which chunk lies where, and which chunks of a partial file are safe on disk
//! ```
//!
//! A pull reserves its space before the first byte, copies what other files here already hold, asks a [`Source`] for the
//! rest, checks length and BLAKE3 of each chunk before it is written, and the whole file's BLAKE3 and SHA-256 before it
//! gets its name. A kill costs the chunk on its way; a power cut the chunks since the last commit and nothing else: half a
//! second of a fast link, 5 seconds of a slow one, and what a disk that is slower than the link had not taken yet.

mod blob;
mod collect;
mod error;
mod index;
mod install;
mod layout;
pub mod manifest;
mod medium;
mod pull;
mod recover;
mod source;
mod store;

pub use collect::{Collection, Keep, Kept, Removed, Room};
pub use error::StoreError;
pub use index::StoredFile;
pub use medium::{Medium, RealMedium};
pub use pull::{Arrival, Progress, Pull};
pub use source::{
    Deliver, DirectorySource, FileSource, MemorySource, Share, Source, SourceError, Sources, read_plain_file,
};
pub use store::{Store, StoreOptions};
