//! The same code compiled twice: for every x86-64, and for those with 256-bit vectors. Both round alike, so both give the
//! same bits.

use crate::gguf::Format;

pub(super) fn widen(format: Format, blocks: &[u8], output: &mut [f32]) {
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "a function for some processors only is called after a look at this one")]
        // SAFETY: the processor has AVX2, the one thing that `widen_avx2` asks for.
        unsafe {
            widen_avx2(format, blocks, output);
        }
    } else {
        super::widen_blocks(format, blocks, output);
    }
}

pub(super) fn dot_few(format: Format, row: &[u8], inputs: &[f32], products: &mut [f32]) {
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "a function for some processors only is called after a look at this one")]
        // SAFETY: the processor has AVX2, the one thing that `dot_few_avx2` asks for.
        unsafe {
            dot_few_avx2(format, row, inputs, products);
        }
    } else {
        super::multiply_row(format, row, inputs, products);
    }
}

#[target_feature(enable = "avx2")]
fn widen_avx2(format: Format, blocks: &[u8], output: &mut [f32]) {
    super::widen_blocks(format, blocks, output);
}

#[target_feature(enable = "avx2")]
fn dot_few_avx2(format: Format, row: &[u8], inputs: &[f32], products: &mut [f32]) {
    super::multiply_row(format, row, inputs, products);
}

#[cfg(test)]
mod tests {
    use crate::blocks::tests::Random;
    use crate::gguf::Format;

    #[test]
    fn both_compilations_give_the_same_bits() {
        for format in Format::all() {
            let mut random = Random::new(5);
            let row = random.blocks(format, 23);
            let inputs = random.input(3 * 23 * format.block_weights() as usize);
            let (mut chosen, mut plain) = ([0.0f32; 3], [0.0f32; 3]);
            super::dot_few(format, &row, &inputs, &mut chosen);
            super::super::multiply_row(format, &row, &inputs, &mut plain);
            assert_eq!(chosen.map(f32::to_bits), plain.map(f32::to_bits), "{}", format.name());
        }
    }
}
