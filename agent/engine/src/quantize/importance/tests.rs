//! What is heard at every place against what its definition says, on a model whose layers change nothing.

use std::path::{Path, PathBuf};

use super::*;
use crate::blocks;
use crate::evaluate::Passage;
use crate::gguf::Gguf;
use crate::gguf::write::{Outline, write};
use crate::model::LoadOptions;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden").join(name)
}

/// A copy of a model in which nothing comes out of attention and feed-forward: every layer is given the embedding.
fn silenced(path: &Path) -> Gguf {
    let gguf = Gguf::open(golden("llama.gguf")).expect("sound");
    let outline = Outline {
        metadata: gguf.metadata().to_vec(),
        tensors: gguf.tensors().iter().map(|one| (one.name.clone(), one.shape.clone(), one.format)).collect(),
    };
    let mut file = Vec::new();
    write(&mut file, &outline, |index, out| {
        let tensor = &gguf.tensors()[index];
        let is_silent = tensor.name.contains("attn_output") || tensor.name.contains("ffn_down");
        out.extend(gguf.bytes(tensor).iter().map(|byte| if is_silent { 0 } else { *byte }));
        Ok(())
    })
    .expect("memory takes it");
    std::fs::write(path, file).expect("it is written");
    Gguf::open(path).expect("what we write is sound")
}

fn wide(gguf: &Gguf, name: &str) -> Vec<f64> {
    let tensor = gguf.tensor(name).expect("it is there");
    let mut wide = vec![0.0f32; tensor.weights() as usize];
    blocks::widen(tensor.format, gguf.bytes(tensor), &mut wide);
    wide.into_iter().map(f64::from).collect()
}

fn normed(row: &[f64], norm: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = row.iter().map(|number| number * number).sum::<f64>() / row.len() as f64;
    row.iter().zip(norm).map(|(number, norm)| number / (mean + epsilon).sqrt() * norm).collect()
}

fn product(matrix: &[f64], input: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(input.len()).map(|row| row.iter().zip(input).map(|(left, right)| left * right).sum()).collect()
}

/// The mean of squares over rows, as parts of their mean.
fn expected(rows: &[Vec<f64>]) -> Vec<f32> {
    let squares = |column: usize| rows.iter().map(|row| row[column] * row[column]).sum::<f64>() / rows.len() as f64;
    relative(&(0..rows[0].len()).map(squares).collect::<Vec<_>>()).expect("they are numbers")
}

#[test]
fn every_matrix_is_heard_as_its_definition_says() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let gguf = silenced(&folder.path().join("silenced.gguf"));
    let model = Model::from_gguf(&gguf, &LoadOptions::threads(1)).expect("it loads");
    // In a passage of one token over and over, attention gives that token's value back.
    let tokens = [7u32, 19, 42, 42, 101, 255];
    let passages = tokens.map(|token| Passage { tokens: vec![token; 3], scored_from: 0 });
    let sample = Sample::of_passages(passages.to_vec(), "test").expect("there are enough");
    let found = Importance::of(&model, &sample, &mut |_, _| {}).expect("it listens");
    // The fourth passage is kept for judging.
    let heard: Vec<u32> = [0, 1, 2, 4, 5].map(|index| tokens[index]).to_vec();
    assert_eq!(found.tokens, heard.len() * 3);

    let figures = model.figures();
    let epsilon = gguf.number("llama.attention.layer_norm_rms_epsilon").expect("it is there");
    let table = wide(&gguf, "token_embd.weight");
    let embedded = |token: &u32| table[*token as usize * figures.embedding..][..figures.embedding].to_vec();
    let rows_of = |norm: &str| -> Vec<Vec<f64>> {
        let norm = wide(&gguf, norm);
        heard.iter().map(|token| normed(&embedded(token), &norm, epsilon)).collect()
    };
    let check = |tensor: &str, rows: &[Vec<f64>]| {
        let (found, expected) = (found.columns(tensor).expect("it was heard"), expected(rows));
        assert_eq!(found.len(), expected.len(), "{tensor}");
        for (column, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let off = (found - expected).abs();
            assert!(off <= 2e-3 * expected.max(1.0), "{tensor} column {column}: {found} instead of {expected}");
        }
    };
    for layer in 0..figures.layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let attention = rows_of(&name("attn_norm"));
        for part in ["attn_q", "attn_k", "attn_v"] {
            check(&name(part), &attention);
        }
        let value = wide(&gguf, &name("attn_v"));
        let group = figures.heads / figures.kv_heads;
        let attended = attention.iter().map(|row| {
            let values = product(&value, row);
            let of_head = |head: usize| values[head / group * figures.value_length..][..figures.value_length].to_vec();
            (0..figures.heads).flat_map(of_head).collect()
        });
        check(&name("attn_output"), &attended.collect::<Vec<Vec<f64>>>());
        let given = rows_of(&name("ffn_norm"));
        let (gate, up) = (wide(&gguf, &name("ffn_gate")), wide(&gguf, &name("ffn_up")));
        let gated = given.iter().map(|row| {
            let both = product(&gate, row).into_iter().zip(product(&up, row));
            both.map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect()
        });
        check(&name("ffn_gate"), &given);
        check(&name("ffn_up"), &given);
        check(&name("ffn_down"), &gated.collect::<Vec<Vec<f64>>>());
    }
    let output = if model.is_tied() { "token_embd.weight" } else { "output.weight" };
    check(output, &rows_of("output_norm.weight"));
}

#[test]
fn a_table_that_is_looked_up_and_what_is_no_matrix_were_not_heard() {
    assert_eq!(place("token_embd.weight", false), None);
    assert_eq!(place("token_embd.weight", true), Some(Place::Output));
    assert_eq!(place("blk.3.ffn_down.weight", true), Some(Place::Gated(3)));
    assert_eq!(place("blk.3.attn_qkv.weight", true), Some(Place::Attention(3)));
    for name in
        ["blk.3.attn_norm.weight", "blk.x.attn_q.weight", "blk.99999999999999999999.attn_q.weight", "", "output"]
    {
        assert_eq!(place(name, true), None, "{name}");
    }
}

#[test]
fn columns_that_are_never_excited_keep_a_little_and_what_is_no_number_is_refused() {
    assert_eq!(relative(&[0.0, 2.0, 4.0]), Some(vec![LEAST as f32, 1.0, 2.0]));
    assert_eq!(relative(&[0.0, 0.0]), Some(vec![1.0, 1.0]));
    assert_eq!(relative(&[f64::NAN, 1.0]), None);
    assert_eq!(relative(&[f64::INFINITY, 1.0]), None);
}
