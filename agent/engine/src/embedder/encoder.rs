//! The encoder loop: whole texts through every layer at once, then one vector of each.

use super::EmbedError;
use crate::arch::{Figures, bert, bert::Pooling};
use crate::cpu::{Activations, Cpu, Shares};
use crate::gguf::Gguf;
use crate::model::{Beside, Linear, LoadError, apply};
use crate::ops::{self, Activation, Asked, Attention, LayerNorm, Sight};
use crate::session::{KvType, PAGE_TOKENS, PageShape};
use crate::weights::{Loader, Matrix};

/// Most kinds of token that a file may state.
const MOST_TOKEN_TYPES: u64 = 1 << 16;

/// The weights of an encoder.
#[derive(Debug)]
pub(super) struct Encoder {
    figures: Figures,
    pooling: Pooling,
    embedding: Matrix,
    /// What the first kind of token adds: texts come alone, so there is no other kind.
    token_type: Option<Vec<f32>>,
    positions: Matrix,
    embedding_norm: LayerNorm,
    layers: Vec<Layer>,
    cpu: Cpu,
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
}

impl Encoder {
    pub(super) fn load(gguf: &Gguf, threads: usize) -> Result<Self, LoadError> {
        let (figures, pooling) = bert::describe(gguf)?;
        let cpu = Cpu::new(threads, None).map_err(|source| LoadError::Threads { source })?;
        let mut loader = Loader::new(gguf, &cpu);
        let width = figures.embedding;
        let embedding = loader.table("token_embd.weight", figures.vocabulary, width)?;
        let positions = loader.table("position_embd.weight", figures.context_tokens, width)?;
        let embedding_norm = norm(&mut loader, "token_embd_norm", width, figures.epsilon)?;
        let token_type = match gguf.tensor("token_types.weight").map(|tensor| tensor.shape.clone()) {
            None => None,
            Some(shape) => {
                let rows = shape.get(1).copied().filter(|rows| (1..=MOST_TOKEN_TYPES).contains(rows)).unwrap_or(1);
                let types = loader.table("token_types.weight", rows as usize, width)?;
                let mut first = vec![0.0; width];
                types.row(0, &mut first);
                Some(first)
            }
        };
        let layers = (0..figures.layers).map(|index| Layer::load(&mut loader, &figures, index));
        let layers = layers.collect::<Result<_, _>>()?;
        loader.nothing_left()?;
        Ok(Self { figures, pooling, embedding, token_type, positions, embedding_norm, layers, cpu })
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// One vector of length 1 for each text, all read in one pass. No text may be empty or longer than the context.
    pub(super) fn encode(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let vocabulary = self.figures.vocabulary;
        if let Some(token) = texts.iter().flatten().find(|token| **token as usize >= vocabulary) {
            return Err(EmbedError::UnknownToken { token: *token, vocabulary });
        }
        let stream = self.read(texts).map_err(EmbedError::Kernel)?;
        let mut rest = &stream[..];
        let vectors = texts.iter().map(|text| {
            let (rows, later) = rest.split_at(text.len() * self.figures.embedding);
            rest = later;
            self.pool(rows)
        });
        Ok(vectors.collect())
    }

    /// The last layer's rows of all texts, one text after the other. Shapes in comments: (tokens, …).
    pub(super) fn read(&self, texts: &[Vec<u32>]) -> Result<Vec<f32>, candle_core::Error> {
        let figures = &self.figures;
        let tokens: usize = texts.iter().map(Vec::len).sum();
        let mut stream = self.embed(texts, tokens)?; // (tokens, embedding)
        let buffer = |width: usize| vec![0.0; tokens * width];
        let (key, value, heads) = (figures.key_length, figures.value_length, figures.heads);
        let (mut queries, mut keys) = (buffer(heads * key), buffer(figures.kv_heads * key));
        let (mut values, mut block) = (buffer(figures.kv_heads * value), buffer(figures.embedding));
        let [mut input, mut attended, mut wide] = [const { Activations::new() }; 3];
        let cpu = &self.cpu;
        for layer in &self.layers {
            input.set(&stream, figures.embedding);
            // (tokens, heads, key_length), (tokens, kv_heads, key_length), (tokens, kv_heads, value_length)
            apply(
                cpu,
                &mut input,
                [(&layer.query, &mut queries), (&layer.key, &mut keys), (&layer.value, &mut values)],
            )?;
            self.attend(texts, &queries, &keys, &values, attended.rows_mut(tokens, heads * value));
            apply(cpu, &mut attended, [(&layer.attention_output, &mut block)])?;
            ops::add(&mut stream, &block);
            layer.attention_norm.apply(&mut stream);

            input.set(&stream, figures.embedding);
            let rows = wide.rows_mut(tokens, figures.feed_forward);
            apply(cpu, &mut input, [(&layer.up, rows)])?;
            ops::bend(Activation::Gelu, rows);
            apply(cpu, &mut wide, [(&layer.down, &mut block)])?;
            ops::add(&mut stream, &block);
            layer.output_norm.apply(&mut stream);
        }
        Ok(stream)
    }

    fn embed(&self, texts: &[Vec<u32>], tokens: usize) -> Result<Vec<f32>, candle_core::Error> {
        let width = self.figures.embedding;
        let mut stream = vec![0.0; tokens * width];
        let mut position_row = vec![0.0; width];
        let places = texts.iter().flat_map(|text| text.iter().enumerate());
        for ((position, token), row) in places.zip(stream.chunks_exact_mut(width)) {
            self.embedding.row(*token as usize, row);
            self.positions.row(position, &mut position_row);
            ops::add(row, &position_row);
            if let Some(token_type) = &self.token_type {
                ops::add(row, token_type);
            }
        }
        self.embedding_norm.apply(&mut stream);
        Ok(stream)
    }

    /// Every token sees all tokens of its own text.
    fn attend(&self, texts: &[Vec<u32>], queries: &[f32], keys: &[f32], values: &[f32], attended: &mut [f32]) {
        let Figures { heads, kv_heads, key_length, value_length, .. } = self.figures;
        let scale = 1.0 / (key_length as f32).sqrt();
        let shape = PageShape { kv_heads, key_length, value_length, kv_type: KvType::F32 };
        let mut begin = 0;
        for text in texts {
            let end = begin + text.len();
            let rows = |width: usize| begin * width..end * width;
            let mut pages = vec![vec![0; shape.layer_bytes()]; text.len().div_ceil(PAGE_TOKENS)];
            let keys = keys[rows(kv_heads * key_length)].chunks_exact(kv_heads * key_length);
            let values = values[rows(kv_heads * value_length)].chunks_exact(kv_heads * value_length);
            for (position, (key, value)) in keys.zip(values).enumerate() {
                shape.write(&mut pages[position / PAGE_TOKENS], position % PAGE_TOKENS, key, value);
            }
            let asked = Asked {
                queries: &queries[rows(heads * key_length)],
                first: 0,
                pages: |page: usize| pages[page].as_slice(),
                output: Shares::new(&mut attended[rows(heads * value_length)]),
            };
            Attention { heads, scale, sight: Sight::All(text.len()) }.apply(&self.cpu, shape, &[asked]);
            begin = end;
        }
    }

    /// One vector of length 1 from the rows of a text.
    fn pool(&self, rows: &[f32]) -> Vec<f32> {
        let width = self.figures.embedding;
        let mut vector = vec![0.0; width];
        match self.pooling {
            // The length is made 1 below, so the sum stands for the mean.
            Pooling::Mean => rows.chunks_exact(width).for_each(|row| ops::add(&mut vector, row)),
            Pooling::First => vector.copy_from_slice(&rows[..width]),
            Pooling::Last => vector.copy_from_slice(&rows[rows.len() - width..]),
        }
        let length = ops::dot(&vector, &vector).sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|element| *element /= length);
        }
        vector
    }
}

impl Layer {
    fn load(loader: &mut Loader<'_>, figures: &Figures, index: usize) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let (width, wide) = (figures.embedding, figures.feed_forward);
        let (query_rows, key_rows) = (figures.heads * figures.key_length, figures.kv_heads * figures.key_length);
        let (value_rows, attended) = (figures.kv_heads * figures.value_length, figures.heads * figures.value_length);
        let mut linear = |part: &str, rows: usize, columns: usize| {
            Linear::load(loader, &name(part), rows, columns, Beside { bias: true, scale: false })
        };
        Ok(Self {
            query: linear("attn_q", query_rows, width)?,
            key: linear("attn_k", key_rows, width)?,
            value: linear("attn_v", value_rows, width)?,
            attention_output: linear("attn_output", width, attended)?,
            up: linear("ffn_up", wide, width)?,
            down: linear("ffn_down", width, wide)?,
            attention_norm: norm(loader, &name("attn_output_norm"), width, figures.epsilon)?,
            output_norm: norm(loader, &name("layer_output_norm"), width, figures.epsilon)?,
        })
    }
}

fn norm(loader: &mut Loader<'_>, name: &str, length: usize, epsilon: f32) -> Result<LayerNorm, LoadError> {
    Ok(LayerNorm {
        weight: loader.vector(&format!("{name}.weight"), length)?,
        bias: loader.vector(&format!("{name}.bias"), length)?,
        epsilon,
    })
}
