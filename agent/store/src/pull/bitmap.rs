//! One bit per chunk, lowest bit first.

/// Which chunks are present. Bits beyond the count are never set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bitmap {
    bytes: Vec<u8>,
    count: usize,
}

impl Bitmap {
    pub(crate) fn empty(count: usize) -> Self {
        Self { bytes: vec![0; count.div_ceil(8)], count }
    }

    /// Reads stored bytes; one of another length says nothing about this file and is taken as empty.
    pub(crate) fn from_bytes(bytes: &[u8], count: usize) -> Self {
        if bytes.len() == count.div_ceil(8) { Self { bytes: bytes.to_vec(), count } } else { Self::empty(count) }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn get(&self, index: usize) -> bool {
        index < self.count && self.bytes[index / 8] & (1 << (index % 8)) != 0
    }

    pub(crate) fn set(&mut self, index: usize, present: bool) {
        debug_assert!(index < self.count, "bit {index} of {}", self.count);
        let mask = 1 << (index % 8);
        if present {
            self.bytes[index / 8] |= mask;
        } else {
            self.bytes[index / 8] &= !mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stored_bits_come_back_and_foreign_bytes_say_nothing(bits in prop::collection::vec(any::<bool>(), 1..70)) {
            let mut bitmap = Bitmap::empty(bits.len());
            bits.iter().enumerate().for_each(|(index, &bit)| bitmap.set(index, bit));
            let back = Bitmap::from_bytes(bitmap.as_bytes(), bits.len());
            prop_assert!(bits.iter().enumerate().all(|(index, &bit)| back.get(index) == bit));
            let foreign = Bitmap::from_bytes(bitmap.as_bytes(), bits.len() + 64);
            prop_assert!((0..bits.len() + 64).all(|index| !foreign.get(index)));
            prop_assert!(!back.get(bits.len()));
        }
    }
}
