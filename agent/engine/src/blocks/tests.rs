//! Every format is read as its definition says, and a product is what widening and multiplying give.

use super::*;

#[test]
fn every_half_is_widened_exactly() {
    for bits in (0..=u16::MAX).filter(|bits| bits & 0x7C00 != 0x7C00) {
        assert_eq!(plain::widen_half(bits).to_bits(), ::half::f16::from_bits(bits).to_f32().to_bits(), "{bits:#x}");
    }
}
