//! What a model says of some passages, kept, so that the same model can be compared with itself after it was changed, and what
//! enters its matrices meanwhile.

use super::{CHUNK, EvaluateError, Passage, Prediction, Reader, check};
use crate::model::{ForwardError, Model, Observer};
use crate::session::KvType;

/// The logits of every scored position.
#[derive(Debug)]
pub(crate) struct Reference {
    vocabulary: usize,
    longest: usize,
    /// (scored positions of all passages, vocabulary)
    logits: Vec<f32>,
}

/// How far a changed model is from what it said before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    /// Mean Kullback–Leibler divergence, nats per scored token.
    pub(crate) divergence: f64,
    /// Share of scored tokens whose likeliest next token is the same, 0 to 1.
    pub(crate) agreement: f64,
}

impl Reference {
    /// Reads the passages and keeps what is said of every scored position.
    ///
    /// # Errors
    /// As [`super::evaluate`].
    pub(crate) fn of(model: &Model, passages: &[Passage]) -> Result<Self, EvaluateError> {
        let longest = check(model, None, passages)?;
        let mut reader = Reader::new(model, longest, KvType::default());
        let mut logits = Vec::new();
        for passage in passages {
            read(&mut reader, passage, |row| logits.extend_from_slice(row))?;
        }
        Ok(Self { vocabulary: model.figures().vocabulary, longest, logits })
    }

    /// How far the model is now from what it said of the same passages.
    ///
    /// # Errors
    /// As [`super::evaluate`].
    pub(crate) fn change(&self, model: &Model, passages: &[Passage]) -> Result<Change, EvaluateError> {
        let mut reader = Reader::new(model, self.longest, KvType::default());
        let (mut divergence, mut agreements, mut count) = (0.0, 0usize, 0usize);
        let mut expected = self.logits.chunks_exact(self.vocabulary);
        for passage in passages {
            read(&mut reader, passage, |row| {
                let Some(expected) = expected.next().map(Prediction::of) else { return };
                let found = Prediction::of(row);
                divergence += found.divergence_from(&expected);
                agreements += usize::from(found.likeliest() == expected.likeliest());
                count += 1;
            })?;
        }
        let count = count.max(1) as f64;
        Ok(Change { divergence: divergence / count, agreement: agreements as f64 / count })
    }
}

/// Reads the passages and gives what entered every matrix meanwhile; the output matrix is given scored positions alone.
///
/// # Errors
/// As [`super::evaluate`].
pub(crate) fn observed(
    model: &Model,
    passages: &[Passage],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Observer, EvaluateError> {
    let mut reader = Reader::new(model, check(model, None, passages)?, KvType::default());
    reader.workspace.observer = Some(Box::default());
    for (index, passage) in passages.iter().enumerate() {
        read(&mut reader, passage, |_| {})?;
        progress(index + 1, passages.len());
    }
    Ok(reader.workspace.observer.take().map_or_else(Observer::default, |observer| *observer))
}

/// Reads a passage from an empty cache and shows the logits of every scored position.
fn read(reader: &mut Reader<'_>, passage: &Passage, mut show: impl FnMut(&[f32])) -> Result<(), ForwardError> {
    reader.session.clear();
    for (part, first) in passage.tokens.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        // The last position predicts a token that is not in the passage.
        let scored = passage.scored_from..passage.tokens.len() - 1;
        let wanted: Vec<usize> = (0..part.len()).filter(|index| scored.contains(&(first + index))).collect();
        reader.read(part, &wanted)?;
        (0..wanted.len()).for_each(|row| show(reader.row(row)));
    }
    Ok(())
}
