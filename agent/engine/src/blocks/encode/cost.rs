//! What an error in a weight costs: the same everywhere, or as much as its column matters.

/// The costs of the weights of a block. The search is written once for both kinds; where all cost the same, the compiler makes
/// of it what it would be without costs, to the same bits.
pub(super) trait Cost: Copy {
    /// Whether all errors cost the same.
    const EQUAL: bool;

    /// Those of the weights from this one on.
    fn skip(self, weight: usize) -> Self;

    /// Those of the `at`-th sixteen weights.
    fn sixteen(self, at: usize) -> [f32; 16];

    /// The sum of the first ones.
    fn total(self, count: usize) -> f32;

    /// Σ cost · weight.
    fn weighed(self, weights: &[f32]) -> f32;
}

/// All errors cost 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Equal;

impl Cost for Equal {
    const EQUAL: bool = true;

    #[inline(always)]
    fn skip(self, _: usize) -> Self {
        self
    }

    #[inline(always)]
    fn sixteen(self, _: usize) -> [f32; 16] {
        [1.0; 16]
    }

    fn total(self, count: usize) -> f32 {
        count as f32
    }

    fn weighed(self, weights: &[f32]) -> f32 {
        weights.iter().sum()
    }
}

/// One number for each weight.
impl Cost for &[f32] {
    const EQUAL: bool = false;

    #[inline(always)]
    fn skip(self, weight: usize) -> Self {
        &self[weight..]
    }

    #[inline(always)]
    fn sixteen(self, at: usize) -> [f32; 16] {
        self.as_chunks().0[at]
    }

    fn total(self, count: usize) -> f32 {
        self[..count].iter().sum()
    }

    fn weighed(self, weights: &[f32]) -> f32 {
        self.iter().zip(weights).map(|(cost, weight)| cost * weight).sum()
    }
}
