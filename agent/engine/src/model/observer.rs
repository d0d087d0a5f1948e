//! Sees what enters the matrices: the sum of squares of every input column, over all tokens that pass.

use crate::cpu::Activations;

/// What stands between two matrices. Several matrices may read the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// What queries, keys and values of a layer are made from.
    Attention(usize),
    /// What a layer's attention gives its output matrix.
    Attended(usize),
    /// What gate and up of a layer are made from.
    FeedForward(usize),
    /// What the way down of a layer is given.
    Gated(usize),
    /// What the output matrix is given: only tokens whose logits were asked for.
    Output,
}

/// Places of one layer.
const PLACES: usize = 4;

impl Place {
    /// Its number among all places of a model.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Output => 0,
            Self::Attention(layer) => 1 + PLACES * layer,
            Self::Attended(layer) => 2 + PLACES * layer,
            Self::FeedForward(layer) => 3 + PLACES * layer,
            Self::Gated(layer) => 4 + PLACES * layer,
        }
    }
}

/// What has been seen so far.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    seen: Vec<Seen>,
}

#[derive(Debug, Default, Clone)]
struct Seen {
    tokens: u64,
    squares: Vec<f64>,
}

impl Observer {
    /// The mean square of every column at a place; nothing where no token passed.
    pub(crate) fn mean_squares(&self, place: Place) -> Option<Vec<f64>> {
        let seen = self.seen.get(place.index()).filter(|seen| seen.tokens > 0)?;
        Some(seen.squares.iter().map(|sum| sum / seen.tokens as f64).collect())
    }

    fn see(&mut self, place: Place, rows: &[f32], columns: usize) {
        let index = place.index();
        if self.seen.len() <= index {
            self.seen.resize(index + 1, Seen::default());
        }
        let seen = &mut self.seen[index];
        seen.squares.resize(columns, 0.0);
        for row in rows.chunks_exact(columns) {
            seen.tokens += 1;
            for (sum, input) in seen.squares.iter_mut().zip(row) {
                *sum += f64::from(*input) * f64::from(*input);
            }
        }
    }
}

/// Shows what a matrix is about to be given to who wants to see it: one branch per matrix where nobody does.
pub(super) fn observe(observer: &mut Option<Box<Observer>>, place: Place, input: &Activations) {
    if let Some(observer) = observer {
        observer.see(place, input.rows(), input.columns());
    }
}
