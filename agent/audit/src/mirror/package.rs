//! One package of records on their way to a mirror.
//!
//! ```text
//! <origin of the log>
//! <index of the first record> <bytes of the head> <bytes of the records, once opened>
//! <the signed head, or nothing><the records: a zstd frame over an entry bundle of c2sp.org/tlog-tiles>
//! ```

use crate::checkpoint::decimal;
use crate::note;

/// Largest package on the wire; one MQTT packet of the strictest broker holds it.
pub const MAX_PACKAGE_BYTES: usize = 240 * 1024;

/// Most bytes of records in one package: what a receiver makes room for.
pub(super) const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// Larger heads are refused unread: the log's own line, and room for another.
const MAX_HEAD_BYTES: usize = 4 * 1024;

/// Records repeat each other: a higher level is worth its time on a metered link.
const LEVEL: i32 = 9;

/// Records in order, and the head that they lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Name of the log.
    pub origin: String,
    /// Index of the first record.
    pub first: u64,
    /// The signed head of the log after the last record; none if that lies in a later package.
    pub head: Option<String>,
    /// The records' bytes.
    pub records: Vec<Vec<u8>>,
}

/// A package that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a package of records: {0}")]
pub struct BadPackage(&'static str);

impl Package {
    /// The bytes on the wire.
    ///
    /// # Errors
    /// If it holds no records, more than a package may, or one that is longer than a bundle can say.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadPackage> {
        let mut bundle = Vec::new();
        for record in &self.records {
            let length = u16::try_from(record.len()).map_err(|_| BadPackage("a record is too long"))?;
            bundle.extend_from_slice(&length.to_be_bytes());
            bundle.extend_from_slice(record);
        }
        if bundle.is_empty() || bundle.len() > MAX_RECORD_BYTES {
            return Err(BadPackage("it holds nothing, or too much"));
        }
        let head = self.head.as_deref().unwrap_or_default();
        let (origin, first) = (&self.origin, self.first);
        let mut bytes = format!("{origin}\n{first} {} {}\n{head}", head.len(), bundle.len()).into_bytes();
        let frame = zstd::bulk::compress(&bundle, LEVEL).map_err(|_| BadPackage("it cannot be compressed"))?;
        bytes.extend_from_slice(&frame);
        Ok(bytes)
    }

    /// Reads a package. Makes no more room than a package may need, whatever the bytes claim.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadPackage> {
        if bytes.len() > MAX_PACKAGE_BYTES {
            return Err(BadPackage("it is too large"));
        }
        let (origin, rest) = line(bytes).ok_or(BadPackage("it has no origin"))?;
        if !note::is_key_name(origin) {
            return Err(BadPackage("its origin is no name of a log"));
        }
        let (numbers, rest) = line(rest).ok_or(BadPackage("it has no sizes"))?;
        let numbers: Option<Vec<u64>> = numbers.split(' ').map(decimal).collect();
        let Some([first, head_bytes, record_bytes]) = numbers.as_deref() else {
            return Err(BadPackage("its sizes are not three numbers"));
        };
        let within = |bytes: &u64, most: usize| usize::try_from(*bytes).ok().filter(|&bytes| bytes <= most);
        let head_bytes = within(head_bytes, MAX_HEAD_BYTES).ok_or(BadPackage("its head is too large"))?;
        let record_bytes = within(record_bytes, MAX_RECORD_BYTES).ok_or(BadPackage("it holds too much"))?;
        let (head, frame) = rest.split_at_checked(head_bytes).ok_or(BadPackage("it ends within its head"))?;
        let head = std::str::from_utf8(head).map_err(|_| BadPackage("its head is not UTF-8"))?;
        let bundle = zstd::bulk::decompress(frame, record_bytes).map_err(|_| BadPackage("its records do not open"))?;
        if bundle.len() != record_bytes {
            return Err(BadPackage("its records are shorter than it says"));
        }
        let head = (!head.is_empty()).then(|| head.to_owned());
        Ok(Self { origin: origin.to_owned(), first: *first, head, records: unbundle(&bundle)? })
    }
}

fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().take(1024).position(|&byte| byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

fn unbundle(mut bundle: &[u8]) -> Result<Vec<Vec<u8>>, BadPackage> {
    let mut records = Vec::new();
    while !bundle.is_empty() {
        let (length, rest) = bundle.split_first_chunk().ok_or(BadPackage("it ends within a length"))?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (record, rest) = rest.split_at_checked(length).ok_or(BadPackage("it ends within a record"))?;
        records.push(record.to_vec());
        bundle = rest;
    }
    if records.is_empty() { Err(BadPackage("it holds no records")) } else { Ok(records) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn package(head: Option<&str>, records: Vec<Vec<u8>>) -> Package {
        Package { origin: "audit.example/dev-1/1".into(), first: 1000, head: head.map(str::to_owned), records }
    }

    #[test]
    fn a_small_package_that_would_fill_the_memory_is_refused() {
        let frame = zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 3).unwrap();
        for claimed in [MAX_RECORD_BYTES, MAX_RECORD_BYTES + 1, usize::MAX] {
            let mut bytes = format!("audit.example/dev-1/1\n0 0 {claimed}\n").into_bytes();
            bytes.extend_from_slice(&frame);
            assert!(Package::parse(&bytes).is_err(), "{claimed}");
        }
        assert!(package(None, vec![vec![7; 65_536]]).to_bytes().is_err());
        assert!(package(None, vec![vec![7; 60_000]; 18]).to_bytes().is_err());
        assert!(package(None, Vec::new()).to_bytes().is_err());
    }

    proptest! {
        #[test]
        fn a_package_survives_its_way(
            head in proptest::option::of("[a-z\n]{1,60}"),
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..20),
        ) {
            let package = package(head.as_deref(), records);
            prop_assert_eq!(Package::parse(&package.to_bytes().unwrap()), Ok(package));
        }

        #[test]
        fn any_bytes_are_a_package_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..80), cut in 0_usize..200, place in 0_usize..200, bit in 0_u8..8,
        ) {
            let _ = Package::parse(&bytes);
            let mut whole = package(Some("head\n"), vec![b"one".to_vec(), b"two".to_vec()]).to_bytes().unwrap();
            let _ = Package::parse(&whole[..cut.min(whole.len())]);
            let place = place % whole.len();
            whole[place] ^= 1 << bit;
            let _ = Package::parse(&whole);
        }
    }
}
