//! A product is the same for one token and for many, in every format that is written here.

use super::*;
use crate::blocks::encode::encode;

fn matrix(format: Format, rows: usize, columns: usize) -> Matrix {
    let values: Vec<f32> = (0..rows * columns).map(|index| ((index * 7919) % 251) as f32 / 251.0 - 0.5).collect();
    let mut blocks = vec![0; format.bytes_for(values.len() as u64).expect("whole blocks") as usize];
    encode(format, &values, &mut blocks);
    Matrix::owned(rows, columns, format, blocks)
}

#[test]
fn one_token_and_many_give_the_same_products() {
    for format in [Format::F32, Format::F16, Format::Q8_0, Format::Q5_1, Format::Q4_0, Format::Q4_K] {
        for tokens in [2, 3, 8, 9, 20] {
            let matrix = matrix(format, 300, 256);
            let input: Vec<f32> = (0..tokens * 256).map(|index| (index % 23) as f32 / 23.0 - 0.5).collect();
            let (mut one, mut many) = (vec![0.0; tokens * 300], vec![0.0; tokens * 300]);
            matrix.apply(&input, &mut many).expect("it computes");
            for (input, output) in input.chunks(256).zip(one.chunks_mut(300)) {
                matrix.apply(input, output).expect("it computes");
            }
            let worst = one.iter().zip(&many).map(|(one, many)| (one - many).abs()).fold(0.0, f32::max);
            let bound = if tokens <= FEW { 0.0 } else { 1e-4 };
            assert!(worst <= bound, "{} with {tokens} tokens: {worst}", format.name());
        }
    }
}

#[test]
fn the_scale_of_a_tensor_multiplies_its_products_and_its_rows() {
    // Codes 2, 2, 2, 2 in every byte: all weights are +1.
    let plain = Matrix::owned(3, 256, Format::I2_S, vec![0b1010_1010; 3 * 64]);
    let scaled = Matrix { scale: 0.25, ..plain };
    for tokens in [1, 4, 30] {
        let mut output = vec![0.0; 3 * tokens];
        scaled.apply(&vec![0.5; 256 * tokens], &mut output).expect("it computes");
        assert_eq!(output, vec![32.0; 3 * tokens]);
    }
    let mut row = [0.0; 256];
    scaled.row(2, &mut row);
    assert_eq!(row, [0.25; 256]);
}
