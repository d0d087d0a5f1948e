//! What serves is kept until another one is better by enough: memory and speed go up and down a little all the time.

use crate::Objective;
use crate::judge::{Judge, Judged};
use crate::table::{rounded_down, rounded_up, thousandths};

/// A newcomer must leave one part in so many of the memory free, or be better by as much.
const MARGIN: u64 = 10;

/// Why what serves stays, although a newcomer is better; nothing if the newcomer is better by enough.
///
/// Whatever the objective, the newcomer must fit with a tenth to spare, or the next dip of memory would throw it out again. One
/// that is only faster or only smaller must be so by a tenth.
pub(crate) fn keeps(judge: &Judge<'_>, serving: &Judged<'_>, newcomer: &Judged<'_>) -> Option<String> {
    let name = serving.name_beside(newcomer);
    let (needed, usable) = (newcomer.needs.total(), judge.budget.usable_bytes);
    if with_margin(needed) > usable {
        let (needed, asked, usable) = (rounded_up(needed), rounded_up(with_margin(needed)), rounded_down(usable));
        return Some(format!(
            "fits, but {name} serves and stays: needs {needed}, {asked} have to be free before a change, {usable} are"
        ));
    }
    let [quality, newcomers_quality] = [serving, newcomer].map(|one| one.candidate.facts.quality_milli);
    let [speed, newcomers_speed] = [serving, newcomer].map(|one| one.speed.tokens_per_second_milli);
    let [size, newcomers_size] = [serving, newcomer].map(|one| one.needs.total());
    let is_closer = newcomers_quality > quality;
    let is_faster = newcomers_speed > with_margin(speed);
    let is_smaller = with_margin(newcomers_size) < size;
    let enough = match judge.constraints.objective {
        Objective::Quality => is_closer || is_faster || is_smaller,
        Objective::Speed => is_faster || (newcomers_speed == speed && (is_closer || is_smaller)),
        Objective::Memory => is_smaller || (newcomers_size == size && (is_closer || is_faster)),
    };
    (!enough).then(|| {
        let [speed, newcomers_speed] = [speed, newcomers_speed].map(thousandths);
        format!(
            "fits, but {name} serves and stays: {newcomers_speed} tokens/s against {speed} and {} against {} are less than a \
             tenth better",
            rounded_up(newcomers_size),
            rounded_up(size),
        )
    })
}

fn with_margin(amount: u64) -> u64 {
    amount.saturating_add(amount / MARGIN)
}
