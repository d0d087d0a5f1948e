//! A loaded model and the decoder loop that every family shares.

mod error;
mod workspace;

use std::path::Path;
use std::sync::Arc;

pub use error::{ForwardError, LoadError};
pub(crate) use workspace::Workspace;

use crate::arch::{self, Figures, Traits};
use crate::gguf::{Gguf, ModelInfo};
use crate::ops::{self, Attention};
use crate::session::Session;
use crate::template::{ChatTemplate, Message, RenderOptions, TemplateError};
use crate::tokenizer::Tokenizer;
use crate::weights::{Loader, Matrix};

/// How to load a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads to compute with; 0 means one per core.
    pub threads: usize,
}

/// A model ready to answer: weights, tokenizer and template, shared and immutable.
#[derive(Debug)]
pub struct Model {
    info: ModelInfo,
    figures: Figures,
    traits: Traits,
    embedding: Matrix,
    /// Absent when the embedding serves as output too.
    output: Option<Matrix>,
    output_norm: Vec<f32>,
    layers: Vec<Layer>,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    pool: rayon::ThreadPool,
}

/// The weights of one layer.
#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    query_norm: Option<Vec<f32>>,
    key_norm: Option<Vec<f32>>,
    attention_sub_norm: Option<Vec<f32>>,
    attention_output: Matrix,
    post_attention_norm: Option<Vec<f32>>,
    feed_forward_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    feed_forward_sub_norm: Option<Vec<f32>>,
    down: Matrix,
    post_feed_forward_norm: Option<Vec<f32>>,
}

impl Model {
    /// Validates and loads a model file.
    ///
    /// # Errors
    /// Says which check failed, with the file's key or tensor and the way out where there is one.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Arc<Self>, LoadError> {
        Self::from_gguf(&Gguf::open(path)?, options)
    }

    /// Loads a model from a file that is open already.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_gguf(gguf: &Gguf, options: &LoadOptions) -> Result<Arc<Self>, LoadError> {
        let mut loader = Loader::new(gguf);
        let (figures, traits) = arch::describe(gguf, &mut loader)?;
        let embedding = loader.matrix("token_embd.weight", figures.vocabulary, figures.embedding)?;
        let output = match loader.has("output.weight") {
            true => Some(loader.matrix("output.weight", figures.vocabulary, figures.embedding)?),
            false => None,
        };
        let output_norm = loader.vector("output_norm.weight", figures.embedding)?;
        let layers = (0..figures.layers)
            .map(|layer| Layer::load(&mut loader, &figures, &traits, layer))
            .collect::<Result<_, _>>()?;
        loader.nothing_left()?;
        let tokenizer = Tokenizer::from_gguf(gguf)?;
        if tokenizer.vocabulary() > figures.vocabulary {
            return Err(LoadError::VocabularyMismatch { tokens: tokenizer.vocabulary(), rows: figures.vocabulary });
        }
        let template = ChatTemplate::from_gguf(gguf, &tokenizer)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|index| format!("engine-{index}"))
            .build()
            .map_err(|source| LoadError::Threads { source })?;
        let info = gguf.info();
        Ok(Arc::new(Self { info, figures, traits, embedding, output, output_norm, layers, tokenizer, template, pool }))
    }

    /// What the file says of the model.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Text to tokens and back.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, if the file has one.
    #[must_use]
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Reads tokens into a session and returns the logits after the tokens whose indices (within `tokens`, ascending)
    /// are asked for, one vocabulary after the other, in `workspace.logits`.
    pub(crate) fn forward(
        &self,
        session: &mut Session,
        tokens: &[u32],
        wanted: &[usize],
        workspace: &mut Workspace,
    ) -> Result<(), ForwardError> {
        let (needed, capacity) = (session.length() + tokens.len(), session.capacity());
        if needed > capacity {
            return Err(ForwardError::ContextFull { needed, capacity });
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.figures.vocabulary) {
            return Err(ForwardError::UnknownToken { token: *token, vocabulary: self.figures.vocabulary });
        }
        workspace.logits.clear();
        if tokens.is_empty() {
            return Ok(());
        }
        self.pool.install(|| self.read(session, tokens, wanted, workspace)).map_err(ForwardError::Kernel)?;
        session.length += tokens.len();
        Ok(())
    }

    /// The decoder loop. Shapes in comments: (tokens, …).
    fn read(
        &self,
        session: &mut Session,
        tokens: &[u32],
        wanted: &[usize],
        workspace: &mut Workspace,
    ) -> Result<(), candle_core::Error> {
        let (figures, first) = (&self.figures, session.length());
        workspace.resize(figures, tokens.len());
        for (rope, turns) in self.traits.ropes.iter().zip(&mut workspace.turns) {
            rope.turns(first, tokens.len(), turns);
        }
        for (token, row) in tokens.iter().zip(workspace.stream.chunks_exact_mut(figures.embedding)) {
            self.embedding.row(*token as usize, row)?;
            row.iter_mut().for_each(|element| *element *= self.traits.embedding_scale);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            self.attend(index, layer, session, workspace, first)?;
            self.feed_forward(layer, workspace)?;
        }
        // Only the wanted rows pass through the output matrix: it is the largest of all.
        let Workspace { stream, normed, logits, .. } = workspace;
        normed.clear();
        for index in wanted {
            normed.extend_from_slice(&stream[index * figures.embedding..(index + 1) * figures.embedding]);
        }
        if normed.is_empty() {
            return Ok(());
        }
        ops::rms_norm(normed, &self.output_norm, figures.epsilon);
        logits.resize(wanted.len() * figures.vocabulary, 0.0);
        self.output.as_ref().unwrap_or(&self.embedding).apply(normed, logits)
    }

    fn attend(
        &self,
        index: usize,
        layer: &Layer,
        session: &mut Session,
        workspace: &mut Workspace,
        first: usize,
    ) -> Result<(), candle_core::Error> {
        let (figures, traits) = (&self.figures, self.traits.layers[index]);
        let Workspace { stream, normed, queries, attended, turns, .. } = workspace;
        let tokens = stream.len() / figures.embedding;
        let (key_row, value_row) = (figures.kv_heads * figures.key_length, figures.kv_heads * figures.value_length);
        let cache = &mut session.layers[index];
        let keys = &mut cache.keys[first * key_row..(first + tokens) * key_row];
        let values = &mut cache.values[first * value_row..(first + tokens) * value_row];

        normed.clone_from(stream);
        ops::rms_norm(normed, &layer.attention_norm, figures.epsilon);
        layer.query.apply(normed, queries)?; // (tokens, heads, key_length)
        layer.key.apply(normed, keys)?;
        layer.value.apply(normed, values)?;
        if let Some(norm) = &layer.query_norm {
            ops::rms_norm(queries, norm, figures.epsilon);
        }
        if let Some(norm) = &layer.key_norm {
            ops::rms_norm(keys, norm, figures.epsilon);
        }
        let (rope, turns) = (&self.traits.ropes[traits.rope], &turns[traits.rope]);
        rope.apply(queries, figures.heads, figures.key_length, turns);
        rope.apply(keys, figures.kv_heads, figures.key_length, turns);

        let attention = Attention {
            heads: figures.heads,
            kv_heads: figures.kv_heads,
            key_length: figures.key_length,
            value_length: figures.value_length,
            scale: self.traits.attention_scale,
            window: traits.window,
        };
        attention.apply(queries, &cache.keys, &cache.values, first, attended); // (tokens, heads, value_length)
        if let Some(norm) = &layer.attention_sub_norm {
            ops::rms_norm(attended, norm, figures.epsilon);
        }
        normed.resize(stream.len(), 0.0);
        layer.attention_output.apply(attended, normed)?;
        if let Some(norm) = &layer.post_attention_norm {
            ops::rms_norm(normed, norm, figures.epsilon);
        }
        ops::add(stream, normed);
        Ok(())
    }

    fn feed_forward(&self, layer: &Layer, workspace: &mut Workspace) -> Result<(), candle_core::Error> {
        let epsilon = self.figures.epsilon;
        let Workspace { stream, normed, gate, up, .. } = workspace;
        normed.clone_from(stream);
        ops::rms_norm(normed, &layer.feed_forward_norm, epsilon);
        layer.gate.apply(normed, gate)?;
        layer.up.apply(normed, up)?;
        ops::activate(self.traits.activation, gate, up);
        if let Some(norm) = &layer.feed_forward_sub_norm {
            ops::rms_norm(gate, norm, epsilon);
        }
        layer.down.apply(gate, normed)?;
        if let Some(norm) = &layer.post_feed_forward_norm {
            ops::rms_norm(normed, norm, epsilon);
        }
        ops::add(stream, normed);
        Ok(())
    }
}

impl Layer {
    fn load(loader: &mut Loader<'_>, figures: &Figures, traits: &Traits, index: usize) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let (embedding, feed_forward) = (figures.embedding, figures.feed_forward);
        let query_rows = figures.heads * figures.key_length;
        let key_rows = figures.kv_heads * figures.key_length;
        let value_rows = figures.kv_heads * figures.value_length;
        let attended = figures.heads * figures.value_length;
        let (query, key, value, gate, up) = if traits.fused {
            let (all, qkv) = (query_rows + key_rows + value_rows, name("attn_qkv"));
            let key_end = query_rows + key_rows;
            let both = name("ffn_up");
            (
                loader.matrix_part(&qkv, all, embedding, 0..query_rows)?,
                loader.matrix_part(&qkv, all, embedding, query_rows..key_end)?,
                loader.matrix_part(&qkv, all, embedding, key_end..all)?,
                loader.matrix_part(&both, 2 * feed_forward, embedding, 0..feed_forward)?,
                loader.matrix_part(&both, 2 * feed_forward, embedding, feed_forward..2 * feed_forward)?,
            )
        } else {
            (
                loader.matrix(&name("attn_q"), query_rows, embedding)?,
                loader.matrix(&name("attn_k"), key_rows, embedding)?,
                loader.matrix(&name("attn_v"), value_rows, embedding)?,
                loader.matrix(&name("ffn_gate"), feed_forward, embedding)?,
                loader.matrix(&name("ffn_up"), feed_forward, embedding)?,
            )
        };
        Ok(Self {
            attention_norm: loader.vector(&name("attn_norm"), embedding)?,
            query,
            key,
            value,
            query_norm: loader.optional_vector(&name("attn_q_norm"), figures.key_length)?,
            key_norm: loader.optional_vector(&name("attn_k_norm"), figures.key_length)?,
            attention_sub_norm: loader.optional_vector(&name("attn_sub_norm"), attended)?,
            attention_output: loader.matrix(&name("attn_output"), embedding, attended)?,
            post_attention_norm: loader.optional_vector(&name("post_attention_norm"), embedding)?,
            feed_forward_norm: loader.vector(&name("ffn_norm"), embedding)?,
            gate,
            up,
            feed_forward_sub_norm: loader.optional_vector(&name("ffn_sub_norm"), feed_forward)?,
            down: loader.matrix(&name("ffn_down"), embedding, feed_forward)?,
            post_feed_forward_norm: loader.optional_vector(&name("post_ffw_norm"), embedding)?,
        })
    }
}

/// The tokens of a conversation as the model's template writes it. Special tokens are recognised in the template's own
/// text only: a caller who types one gets it spelled out in ordinary tokens.
///
/// # Errors
/// Fails when the file has no template or the template does not take this conversation.
pub fn encode_chat(model: &Model, messages: &[Message], options: &RenderOptions) -> Result<Vec<u32>, TemplateError> {
    let template = model.template().ok_or(TemplateError::Missing)?;
    let pieces = template.render(messages, options)?;
    Ok(model.tokenizer().encode_pieces(&pieces, true))
}

/// The logits after each of the given positions (counting from 0) of a token sequence.
///
/// # Errors
/// Fails on a token outside the vocabulary, a position outside the sequence or a sequence longer than the context.
pub fn logits(model: &Model, tokens: &[u32], positions: &[usize]) -> Result<Vec<Vec<f32>>, ForwardError> {
    logits_in_chunks(model, tokens, positions, 128)
}

/// As [`logits`], reading so many tokens at a time.
///
/// # Errors
/// As [`logits`].
pub(crate) fn logits_in_chunks(
    model: &Model,
    tokens: &[u32],
    positions: &[usize],
    chunk: usize,
) -> Result<Vec<Vec<f32>>, ForwardError> {
    if let Some(position) = positions.iter().find(|position| **position >= tokens.len()) {
        return Err(ForwardError::NoSuchPosition { position: *position, tokens: tokens.len() });
    }
    let longest = model.figures.context_tokens;
    if tokens.len() > longest {
        return Err(ForwardError::ContextFull { needed: tokens.len(), capacity: longest });
    }
    let mut session = Session::new(model, tokens.len());
    let mut workspace = Workspace::default();
    let mut answers = vec![Vec::new(); positions.len()];
    for part in tokens.chunks(chunk.max(1)) {
        let first = session.length();
        let here = |position: &usize| (first..first + part.len()).contains(position);
        let mut wanted: Vec<usize> = positions.iter().filter(|position| here(position)).map(|p| p - first).collect();
        wanted.sort_unstable();
        wanted.dedup();
        model.forward(&mut session, part, &wanted, &mut workspace)?;
        for (position, answer) in positions.iter().zip(&mut answers).filter(|(position, _)| here(position)) {
            let at = wanted.iter().position(|index| index + first == *position);
            let at = at.expect("every position of this chunk is in `wanted`") * model.figures.vocabulary;
            answer.extend_from_slice(&workspace.logits[at..at + model.figures.vocabulary]);
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests;
