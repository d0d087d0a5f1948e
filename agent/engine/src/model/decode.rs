//! The decoder loop, written once for all families: one pass reads tokens of several sessions through every matrix at once.

use super::layer::Layer;
use super::observer::{Place, observe};
use super::{ForwardError, Model, Workspace, linear};
use crate::cpu::Shares;
use crate::ops::{self, Asked, Attention, Sight};
use crate::session::Session;
use crate::weights;

/// Tokens of one session that are read in one pass where nobody else waits.
const READ_TOGETHER: usize = 256;

/// What a pass reads of one session.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    pub(crate) session: &'a mut Session,
    /// The tokens that follow what the session has read.
    pub(crate) tokens: &'a [u32],
    /// Indices within `tokens`, ascending, after which logits are asked for.
    pub(crate) wanted: &'a [usize],
}

impl Part<'_> {
    fn check(&self, vocabulary: usize) -> Result<(), ForwardError> {
        let tokens = self.tokens.len();
        let (needed, capacity) = (self.session.length() + tokens, self.session.capacity());
        if needed > capacity {
            return Err(ForwardError::ContextFull { needed, capacity });
        }
        if let Some(token) = self.tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(ForwardError::UnknownToken { token: *token, vocabulary });
        }
        match self.wanted.iter().find(|position| **position >= tokens) {
            Some(position) => Err(ForwardError::NoSuchPosition { position: *position, tokens }),
            None => Ok(()),
        }
    }
}

impl Model {
    /// Reads tokens into one session, in as many passes as it takes. The logits after the tokens whose indices (within
    /// `tokens`, ascending) are asked for come one vocabulary after the other in `workspace.logits`.
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
        if tokens.len() <= READ_TOGETHER {
            return self.forward_together(&mut [Part { session, tokens, wanted }], workspace);
        }
        let mut logits = Vec::new();
        for (tokens, first) in tokens.chunks(READ_TOGETHER).zip((0..).step_by(READ_TOGETHER)) {
            let here = wanted.iter().filter(|index| (first..first + tokens.len()).contains(index));
            let wanted: Vec<usize> = here.map(|index| index - first).collect();
            self.forward_together(&mut [Part { session: &mut *session, tokens, wanted: &wanted }], workspace)?;
            logits.append(&mut workspace.logits);
        }
        workspace.logits = logits;
        Ok(())
    }

    /// Reads parts of several sessions in one pass: every weight is read once for all of them. The logits asked for come
    /// part by part, one vocabulary after the other, in `workspace.logits`. On an error no session has read anything.
    pub(crate) fn forward_together(
        &self,
        parts: &mut [Part<'_>],
        workspace: &mut Workspace,
    ) -> Result<(), ForwardError> {
        parts.iter().try_for_each(|part| part.check(self.figures.vocabulary))?;
        workspace.logits.clear();
        if parts.iter().all(|part| part.tokens.is_empty()) {
            return Ok(());
        }
        parts.iter_mut().for_each(|part| part.session.make_room(part.tokens.len()));
        self.read(parts, workspace).map_err(ForwardError::Kernel)?;
        parts.iter_mut().for_each(|part| part.session.length += part.tokens.len());
        Ok(())
    }

    /// Shapes in comments: (tokens, …), where tokens are those of all parts, one part after the other.
    fn read(&self, parts: &mut [Part<'_>], workspace: &mut Workspace) -> Result<(), candle_core::Error> {
        let figures = &self.figures;
        workspace.resize(figures, parts.iter().map(|part| part.tokens.len()).sum());
        for (rope, turns) in self.traits.ropes.iter().zip(&mut workspace.turns) {
            turns.clear();
            for Part { session, tokens, .. } in parts.iter() {
                rope.turns(session.capacity(), session.length(), tokens.len(), turns);
            }
        }
        let tokens = parts.iter().flat_map(|part| part.tokens);
        for (token, row) in tokens.zip(workspace.stream.chunks_exact_mut(figures.embedding)) {
            self.embedding.row(*token as usize, row);
            row.iter_mut().for_each(|element| *element *= self.traits.embedding_scale);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            self.attend(index, layer, parts, workspace)?;
            self.feed_forward(index, layer, workspace)?;
        }
        // Only the wanted rows pass through the output matrix: it is the largest of all.
        let Workspace { stream, normed, logits, observer, .. } = workspace;
        let mut first = 0;
        let mut wanted = Vec::new();
        for part in parts.iter() {
            wanted.extend(part.wanted.iter().map(|index| first + index));
            first += part.tokens.len();
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let rows = normed.rows_mut(wanted.len(), figures.embedding);
        for (token, row) in wanted.iter().zip(rows.chunks_exact_mut(figures.embedding)) {
            row.copy_from_slice(&stream[token * figures.embedding..][..figures.embedding]);
        }
        ops::rms_norm(&self.cpu, rows, &self.output_norm, figures.epsilon);
        observe(observer, Place::Output, normed);
        logits.resize(wanted.len() * figures.vocabulary, 0.0);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        weights::multiply(&self.cpu, normed, &mut [(output, logits.as_mut_slice())])?;
        if let Some(cap) = self.traits.softcap {
            ops::softcap(logits, cap);
        }
        Ok(())
    }

    fn attend(
        &self,
        index: usize,
        layer: &Layer,
        parts: &mut [Part<'_>],
        workspace: &mut Workspace,
    ) -> Result<(), candle_core::Error> {
        let (figures, traits, cpu) = (&self.figures, self.traits.layers[index], &self.cpu);
        let Workspace { stream, normed, block, queries, keys, values, attended, turns, observer, .. } = workspace;

        let tokens = stream.len() / figures.embedding;
        let rows = normed.rows_mut(tokens, figures.embedding);
        ops::rms_norm_of(cpu, stream, &layer.attention_norm, figures.epsilon, rows);
        observe(observer, Place::Attention(index), normed);
        // (tokens, heads, key_length), (tokens, kv_heads, key_length), (tokens, kv_heads, value_length)
        linear::apply(cpu, normed, [(&layer.query, queries), (&layer.key, keys), (&layer.value, values)])?;
        if let Some(norm) = &layer.query_norm {
            ops::rms_norm(cpu, queries, norm, figures.epsilon);
        }
        if let Some(norm) = &layer.key_norm {
            ops::rms_norm(cpu, keys, norm, figures.epsilon);
        }
        let (rope, turns) = (&self.traits.ropes[traits.rope], &turns[traits.rope]);
        rope.apply(cpu, queries, figures.heads, figures.key_length, turns);
        rope.apply(cpu, keys, figures.kv_heads, figures.key_length, turns);

        let attention = Attention {
            heads: figures.heads,
            scale: self.traits.attention_scale,
            sight: traits.window.map_or(Sight::Back, Sight::Window),
        };
        let (query_row, attended_row) = (figures.heads * figures.key_length, figures.heads * figures.value_length);
        let (key_row, value_row) = (figures.kv_heads * figures.key_length, figures.kv_heads * figures.value_length);
        let attended_rows = attended.rows_mut(tokens, attended_row);
        let mut begin = 0;
        for Part { session, tokens, .. } in parts.iter_mut() {
            let end = begin + tokens.len();
            session.write(index, &keys[begin * key_row..end * key_row], &values[begin * value_row..end * value_row]);
            begin = end;
        }
        let mut rest = &mut *attended_rows;
        let mut begin = 0;
        let mut asked = Vec::with_capacity(parts.len());
        for Part { session, tokens, .. } in parts.iter() {
            let end = begin + tokens.len();
            let (output, later) = rest.split_at_mut(tokens.len() * attended_row);
            rest = later;
            asked.push(Asked {
                queries: &queries[begin * query_row..end * query_row],
                first: session.length(),
                pages: session.pages(index),
                output: Shares::new(output),
            });
            begin = end;
        }
        let shape = parts.first().map(|part| part.session.shape());
        if let Some(shape) = shape {
            attention.apply(cpu, shape, &asked);
        }
        drop(asked);
        if let Some(norm) = &layer.attention_sub_norm {
            ops::rms_norm(cpu, attended_rows, norm, figures.epsilon);
        }
        observe(observer, Place::Attended(index), attended);
        linear::apply(cpu, attended, [(&layer.attention_output, block)])?;
        if let Some(norm) = &layer.post_attention_norm {
            ops::rms_norm(cpu, block, norm, figures.epsilon);
        }
        ops::add(stream, block);
        Ok(())
    }

    fn feed_forward(&self, index: usize, layer: &Layer, workspace: &mut Workspace) -> Result<(), candle_core::Error> {
        let (figures, epsilon, cpu) = (&self.figures, self.figures.epsilon, &self.cpu);
        let Workspace { stream, normed, block, gate, up, observer, .. } = workspace;
        let tokens = stream.len() / figures.embedding;
        ops::rms_norm_of(cpu, stream, &layer.feed_forward_norm, epsilon, normed.rows_mut(tokens, figures.embedding));
        observe(observer, Place::FeedForward(index), normed);
        let gate_rows = gate.rows_mut(tokens, figures.feed_forward);
        linear::apply(cpu, normed, [(&layer.gate, gate_rows), (&layer.up, up)])?;
        ops::activate(cpu, self.traits.activation, gate_rows, up);
        if let Some(norm) = &layer.feed_forward_sub_norm {
            ops::rms_norm(cpu, gate_rows, norm, epsilon);
        }
        observe(observer, Place::Gated(index), gate);
        linear::apply(cpu, gate, [(&layer.down, block)])?;
        if let Some(norm) = &layer.post_feed_forward_norm {
            ops::rms_norm(cpu, block, norm, epsilon);
        }
        ops::add(stream, block);
        Ok(())
    }
}
