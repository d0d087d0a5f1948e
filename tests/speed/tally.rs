//! How far predictions were off, one by one and together.

use std::fmt;
use std::time::Duration;

use super::measured::Took;

/// One shape in one format and context: what was predicted before and after learning, and what was measured.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) next: [Duration; 2],
    pub(crate) first: [Duration; 2],
    pub(crate) took: Took,
}

impl Cell {
    /// Hundredths by which predicted tokens/s are more than measured ones, before and after.
    fn speed_errors(&self) -> [f64; 2] {
        self.next.map(|predicted| off(self.took.next_token, predicted))
    }

    /// The same of the time to the first token.
    fn first_errors(&self) -> [f64; 2] {
        self.first.map(|predicted| off(predicted, self.took.first_token))
    }
}

fn off(one: Duration, of: Duration) -> f64 {
    (one.as_secs_f64() / of.as_secs_f64() - 1.0) * 100.0
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = |time: Duration| 1.0 / time.as_secs_f64();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let [plain, learned] = self.speed_errors();
        let (predicted, measured) = (per_second(self.next[0]), per_second(self.took.next_token));
        write!(formatter, "{predicted:>9.1} {measured:>9.1} {plain:>+6.1}% {learned:>+6.1}%")?;
        let [plain, learned] = self.first_errors();
        let (predicted, measured) = (milliseconds(self.first[0]), milliseconds(self.took.first_token));
        write!(formatter, "  {predicted:>9.1} {measured:>9.1} {plain:>+6.1}% {learned:>+6.1}%")
    }
}

/// The errors of all cells, without their sign.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    speed: [Vec<f64>; 2],
    first: [Vec<f64>; 2],
}

impl Tally {
    pub(crate) fn add_all(&mut self, cells: &[Cell]) {
        cells.iter().for_each(|cell| self.add(cell));
    }

    fn add(&mut self, cell: &Cell) {
        for (all, error) in self.speed.iter_mut().zip(cell.speed_errors()) {
            all.push(error.abs());
        }
        for (all, error) in self.first.iter_mut().zip(cell.first_errors()) {
            all.push(error.abs());
        }
    }

    pub(crate) fn cells(&self) -> usize {
        self.speed[0].len()
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.speed.iter().chain(&self.first).flatten().all(|error| error.is_finite())
    }

    /// Whether the median is at most 15 % and the 95th percentile at most 30 % before learning, the median 5 % after it.
    pub(crate) fn is_kept(&self) -> bool {
        let kept = |[plain, learned]: &[Vec<f64>; 2]| {
            quantile(plain, 50) <= 15.0 && quantile(plain, 95) <= 30.0 && quantile(learned, 50) <= 5.0
        };
        kept(&self.speed) && kept(&self.first)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "errors of {} cells", self.cells())?;
        for (what, [plain, learned]) in [("tokens/s", &self.speed), ("first token", &self.first)] {
            for (when, errors) in [("predicted", plain), ("after one run", learned)] {
                let [median, most, all] = [50, 95, 100].map(|percent| quantile(errors, percent));
                write!(
                    formatter,
                    "\n{what:<12} {when:<14} median {median:>5.1} %, p95 {most:>5.1} %, worst {all:>5.1} %"
                )?;
            }
        }
        Ok(())
    }
}

/// The smallest error that so many hundredths of all do not exceed.
fn quantile(errors: &[f64], percent: usize) -> f64 {
    let mut sorted = errors.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}
