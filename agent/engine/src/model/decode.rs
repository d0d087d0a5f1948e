//! The decoder loop, written once for all families: one pass reads tokens of several sessions through every matrix at once.

use super::layer::Layer;
use super::{ForwardError, Model, Workspace};
use crate::ops::{self, Attention, Sight};
use crate::session::Session;

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
        let (tokens, pass_tokens) = (self.tokens.len(), self.session.pass_tokens());
        if tokens > pass_tokens {
            return Err(ForwardError::PassTooLong { tokens, pass_tokens });
        }
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
        if tokens.len() <= session.pass_tokens() {
            return self.forward_together(&mut [Part { session, tokens, wanted }], workspace);
        }
        let mut logits = Vec::new();
        let pass_tokens = session.pass_tokens();
        for (tokens, first) in tokens.chunks(pass_tokens).zip((0..).step_by(pass_tokens)) {
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
        self.pool.install(|| self.read(parts, workspace)).map_err(ForwardError::Kernel)?;
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
            self.feed_forward(layer, workspace)?;
        }
        // Only the wanted rows pass through the output matrix: it is the largest of all.
        let Workspace { stream, normed, logits, .. } = workspace;
        normed.clear();
        let mut first = 0;
        for part in parts.iter() {
            for index in part.wanted {
                normed.extend_from_slice(&stream[(first + index) * figures.embedding..][..figures.embedding]);
            }
            first += part.tokens.len();
        }
        if normed.is_empty() {
            return Ok(());
        }
        ops::rms_norm(normed, &self.output_norm, figures.epsilon);
        logits.resize(normed.len() / figures.embedding * figures.vocabulary, 0.0);
        self.output.as_ref().unwrap_or(&self.embedding).apply(normed, logits)?;
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
        let (figures, traits) = (&self.figures, self.traits.layers[index]);
        let Workspace { stream, normed, queries, keys, values, attended, turns, .. } = workspace;

        normed.clone_from(stream);
        ops::rms_norm(normed, &layer.attention_norm, figures.epsilon);
        layer.query.apply(normed, queries)?; // (tokens, heads, key_length)
        layer.key.apply(normed, keys)?; // (tokens, kv_heads, key_length)
        layer.value.apply(normed, values)?; // (tokens, kv_heads, value_length)
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
            sight: traits.window.map_or(Sight::Back, Sight::Window),
        };
        let (query_row, attended_row) = (figures.heads * figures.key_length, figures.heads * figures.value_length);
        let (key_row, value_row) = (figures.kv_heads * figures.key_length, figures.kv_heads * figures.value_length);
        let mut begin = 0;
        for Part { session, tokens, .. } in parts.iter_mut() {
            let (first, end) = (session.length(), begin + tokens.len());
            let cache = &mut session.layers[index];
            cache.write(first, &keys[begin * key_row..end * key_row], &values[begin * value_row..end * value_row]);
            let queries = &queries[begin * query_row..end * query_row];
            let attended = &mut attended[begin * attended_row..end * attended_row];
            attention.apply(queries, &cache.keys, &cache.values, first, attended);
            begin = end;
        }
        if let Some(norm) = &layer.attention_sub_norm {
            ops::rms_norm(attended, norm, figures.epsilon);
        }
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
