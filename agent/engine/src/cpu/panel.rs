//! Sixteen tokens as matrix products of bytes take them.

use super::activations::{GROUP, Group};

/// Tokens that are multiplied together.
pub(crate) const TOKENS: usize = 16;

/// One group of sixteen tokens.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Panel {
    /// (pairs of tokens, eights of columns): eight columns of one token, then of the other.
    codes: [[[i8; 16]; GROUP / 8]; TOKENS / 2],
    pub(super) scales: [f32; TOKENS],
    /// The sum of a token's codes, times its scale.
    pub(super) scaled_sums: [f32; TOKENS],
}

impl Panel {
    /// Takes one token's group in.
    pub(super) fn set(&mut self, token: usize, group: &Group) {
        let place = token % 2 * 8..token % 2 * 8 + 8;
        for (both, codes) in self.codes[token / 2].iter_mut().zip(group.codes.as_chunks::<2>().0) {
            both[place.clone()].copy_from_slice(codes.as_flattened());
        }
        self.scales[token] = group.scale;
        self.scaled_sums[token] = group.scaled_sum;
    }

    /// Eight columns of two tokens.
    #[inline(always)]
    pub(super) fn pair(&self, pair: usize, octet: usize) -> &[i8; 16] {
        &self.codes[pair][octet]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens_lie_side_by_side_eight_columns_at_a_time() {
        let mut panel = Panel::default();
        for token in 0..TOKENS {
            let mut group = Group { scale: token as f32, ..Group::default() };
            let codes = group.codes.as_flattened_mut().iter_mut();
            codes.enumerate().for_each(|(column, code)| *code = (token * 7 + column) as i8);
            panel.set(token, &group);
        }
        let expected: Vec<i8> = [(4, 16..24), (5, 16..24)]
            .into_iter()
            .flat_map(|(token, columns)| columns.map(move |column: usize| (token * 7 + column) as i8))
            .collect();
        assert_eq!(panel.pair(2, 2).as_slice(), expected);
        assert_eq!(panel.scales[5], 5.0);
    }
}
