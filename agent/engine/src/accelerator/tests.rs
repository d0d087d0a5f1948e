//! The path of a graphics processor, walked on the main processor: candle's own device for it stands in.

use std::path::Path;

use super::*;
use crate::cpu::{Activations, Cpu};
use crate::gguf::Gguf;
use crate::weights::{Loader, multiply};

fn golden() -> Gguf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/outpost-demo-f16.gguf");
    Gguf::open(path).expect("the demo model is sound")
}

fn stand_in() -> Accelerator {
    Accelerator { device: Device::Cpu, backend: Backend::Cpu }
}

fn products(gguf: &Gguf, accelerator: Option<&Accelerator>, tokens: usize) -> Vec<f32> {
    let cpu = Cpu::new(1, None).expect("no thread is needed");
    let mut loader = Loader::new(gguf, &cpu);
    loader.accelerate(accelerator);
    let matrix = loader.matrix("blk.0.ffn_up.weight", 768, 256).expect("the matrix is there");
    let input: Vec<f32> = (0..tokens * 256).map(|index| ((index * 31) % 97) as f32 / 97.0 - 0.5).collect();
    let mut output = vec![0.0; tokens * 768];
    let mut activations = Activations::new();
    activations.set(&input, 256);
    multiply(&cpu, &mut activations, &mut [(&matrix, &mut output)]).expect("it multiplies");
    output
}

#[test]
fn a_matrix_that_was_put_elsewhere_multiplies_as_it_does_here() {
    let gguf = golden();
    for tokens in [1, 3, 20] {
        let (here, there) = (products(&gguf, None, tokens), products(&gguf, Some(&stand_in()), tokens));
        let apart = here.iter().zip(&there).map(|(here, there)| (here - there).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{tokens} tokens: {apart}");
    }
}

#[test]
fn a_format_that_the_processor_does_not_know_travels_widened() {
    let blocks: Vec<u8> = (0..18 * 8 * 4).map(|index| if index % 18 == 1 { 0x2c } else { (index * 7) as u8 }).collect();
    let wide = |accelerator: &Accelerator| accelerator.widened(Format::IQ4_NL, &blocks, 4, 256);
    let there = wide(&stand_in()).and_then(|wide| wide.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>());
    let there = there.expect("it is widened");
    let mut here = vec![0.0; 4 * 256];
    widen(Format::IQ4_NL, &blocks, &mut here);
    let apart = here.iter().zip(&there).map(|(here, there)| ((here - there) / here.abs().max(1.0)).abs());
    assert!(apart.fold(0.0, f32::max) < 1e-3);
}

#[test]
fn what_this_binary_lacks_is_refused_with_the_way_out_and_the_main_processor_is_always_there() {
    assert!(matches!(Accelerator::open(Some(Backend::Cpu)), Ok(None)));
    for backend in [Backend::Cuda, Backend::Metal].into_iter().filter(|known| !Backend::COMPILED.contains(known)) {
        let refused = Accelerator::open(Some(backend)).expect_err("it is not compiled in");
        assert!(refused.contains("--features"), "{refused}");
    }
}
