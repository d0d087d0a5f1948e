//! A product is the same for one token and for many, in every format that is written here.

use super::*;
use crate::blocks::encode::WRITTEN;
use crate::blocks::tests::Random;

fn cpu() -> Cpu {
    Cpu::new(2, None).expect("threads start")
}

fn products(matrix: &Matrix, input: &[f32]) -> Vec<f32> {
    let mut output = vec![0.0; input.len() / matrix.columns * matrix.rows];
    let mut activations = Activations::new();
    activations.set(input, matrix.columns);
    multiply(&cpu(), &mut activations, &mut [(matrix, &mut output)]).expect("it computes");
    output
}

#[test]
fn one_token_and_many_give_the_same_products() {
    for format in Format::all().filter(|format| WRITTEN.contains(format) || *format == Format::IQ4_NL) {
        let (rows, columns, tokens) = (70, 256, 20);
        let blocks = Random::new(9).blocks(format, rows * columns / format.block_weights() as usize);
        let matrix = Matrix::owned(&cpu(), rows, columns, format, blocks).expect("there is memory");
        assert_eq!(matches!(matrix.products, Products::Packed(_)), format != Format::IQ4_NL, "{}", format.name());
        let input = Random::new(2).input(tokens * columns);
        let one: Vec<f32> = input.chunks(columns).flat_map(|input| products(&matrix, input)).collect();
        assert_eq!(products(&matrix, &input), one, "{}", format.name());
    }
}

#[test]
fn several_matrices_take_the_same_input_each_in_its_own_format() {
    let cpu = cpu();
    let input = Random::new(4).input(5 * 256);
    let formats = [Format::Q4_K, Format::F16, Format::IQ4_NL];
    let matrices = formats.map(|format| {
        let blocks = Random::new(8).blocks(format, 40 * 256 / format.block_weights() as usize);
        Matrix::owned(&cpu, 40, 256, format, blocks).expect("there is memory")
    });
    let mut outputs = [const { Vec::new() }; 3].map(|_: Vec<f32>| vec![0.0; 5 * 40]);
    let mut activations = Activations::new();
    activations.set(&input, 256);
    let mut both: Vec<Product<'_>> = matrices.iter().zip(outputs.iter_mut().map(Vec::as_mut_slice)).collect();
    multiply(&cpu, &mut activations, &mut both).expect("it computes");
    for (matrix, output) in matrices.iter().zip(&outputs) {
        assert_eq!(output, &products(matrix, &input), "{}", matrix.format.name());
    }
}

#[test]
fn the_scale_of_a_tensor_multiplies_its_products_and_its_rows() {
    // Codes 2, 2, 2, 2 in every byte: all weights are +1.
    let blocks = vec![0b1010_1010; 3 * 64];
    let plain = Matrix::owned(&cpu(), 3, 256, Format::I2_S, blocks).expect("there is memory");
    let scaled = Matrix { scale: 0.25, ..plain };
    for tokens in [1, 4, 30] {
        assert_eq!(products(&scaled, &vec![0.5; 256 * tokens]), vec![32.0; 3 * tokens]);
    }
    let mut row = [0.0; 256];
    scaled.row(2, &mut row);
    assert_eq!(row, [0.25; 256]);
}
