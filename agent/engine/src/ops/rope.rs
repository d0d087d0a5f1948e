//! Rotary positions: pairs of a head's elements turn by an angle that grows with the position.

/// Which elements of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// `(2i, 2i + 1)`, as in `llama`.
    Neighbours,
    /// `(i, i + n/2)`, as in GPT-NeoX and most others.
    Halves,
}

/// How fast each pair turns. Elements beyond the pairs stay as they are.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    pairing: Pairing,
    /// Radians per position, one per pair.
    speeds: Vec<f32>,
    /// What replaces `speeds` in a session that holds more than so many tokens: LongRoPE's second set.
    long: Option<(usize, Vec<f32>)>,
    /// Multiplies cosine and sine; 1 unless a family stretches its context.
    magnitude: f32,
}

impl Rope {
    /// Pair `i` of `rotated / 2` turns by `base^(-2i / rotated)` per position, divided by its divisor if there is one.
    pub(crate) fn new(pairing: Pairing, rotated: usize, base: f64, divisors: Option<&[f32]>) -> Self {
        Self { pairing, speeds: speeds(rotated, base, divisors), long: None, magnitude: 1.0 }
    }

    /// Positions count `divisor` times less: linear scaling.
    pub(crate) fn slowed(mut self, divisor: f64) -> Self {
        self.speeds.iter_mut().for_each(|speed| *speed = (f64::from(*speed) / divisor) as f32);
        self
    }

    /// Sessions made for more than `beyond` tokens turn by these divisors.
    pub(crate) fn long(mut self, beyond: usize, base: f64, divisors: &[f32]) -> Self {
        self.long = Some((beyond, speeds(2 * self.speeds.len(), base, Some(divisors))));
        self
    }

    /// Cosine and sine are multiplied by this.
    pub(crate) fn magnified(mut self, magnitude: f32) -> Self {
        self.magnitude = magnitude;
        self
    }

    /// Appends (cosine, sine) of every pair at so many positions from `first`, in a session that holds `capacity` tokens:
    /// (tokens, pairs).
    pub(crate) fn turns(&self, capacity: usize, first: usize, tokens: usize, turns: &mut Vec<(f32, f32)>) {
        let speeds = match &self.long {
            Some((beyond, speeds)) if capacity > *beyond => speeds,
            _ => &self.speeds,
        };
        for position in first..first + tokens {
            turns.extend(speeds.iter().map(|speed| {
                let (sine, cosine) = (position as f32 * speed).sin_cos();
                (cosine * self.magnitude, sine * self.magnitude)
            }));
        }
    }

    /// Turns the first elements of every head: `rows` is (tokens, heads, head_length).
    pub(crate) fn apply(&self, rows: &mut [f32], heads: usize, head_length: usize, turns: &[(f32, f32)]) {
        let pairs = self.speeds.len();
        for (row, turns) in rows.chunks_exact_mut(heads * head_length).zip(turns.chunks_exact(pairs)) {
            for head in row.chunks_exact_mut(head_length) {
                match self.pairing {
                    Pairing::Neighbours => {
                        for (pair, (cosine, sine)) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                            let [x, y] = *pair;
                            *pair = [x * cosine - y * sine, x * sine + y * cosine];
                        }
                    }
                    Pairing::Halves => {
                        let (first, second) = head[..2 * pairs].split_at_mut(pairs);
                        for ((first, second), (cosine, sine)) in first.iter_mut().zip(second).zip(turns) {
                            let (x, y) = (*first, *second);
                            *first = x * cosine - y * sine;
                            *second = x * sine + y * cosine;
                        }
                    }
                }
            }
        }
    }
}

fn speeds(rotated: usize, base: f64, divisors: Option<&[f32]>) -> Vec<f32> {
    let speed = |pair: usize| {
        let divisor = divisors.map_or(1.0, |divisors| f64::from(divisors[pair]));
        (base.powf(-2.0 * pair as f64 / rotated as f64) / divisor) as f32
    };
    (0..rotated / 2).map(speed).collect()
}
