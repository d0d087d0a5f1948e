//! Which format each tensor gets: the least predicted loss that fits a number of bytes. Pure.
//!
//! A multiple-choice knapsack, solved exactly by dynamic programming over cells of bytes. The size of a cell depends on the
//! tensors alone, so that more bytes never give a greater loss; where sizes are no multiples of it they are rounded up, so
//! that no answer is too large.

/// Cells that the bytes above the smallest choice are counted in, at the most.
const CELLS: u64 = 1 << 15;

/// One format for one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    /// Bytes in the file.
    pub(crate) bytes: u64,
    /// What it is predicted to cost, nats per token; finite.
    pub(crate) loss: f64,
}

/// The index of every tensor's choice; nothing where even the smallest choices are too large, or a tensor has none. Of
/// answers with equal loss it is the same one whatever the machine.
pub(crate) fn assign(tensors: &[Vec<Choice>], budget_bytes: u64) -> Option<Vec<usize>> {
    let least = |choices: &Vec<Choice>| choices.iter().map(|choice| choice.bytes).min();
    let smallest = tensors.iter().map(least).collect::<Option<Vec<u64>>>()?;
    let room = budget_bytes.checked_sub(smallest.iter().sum())?;
    let cell = cell_bytes(tensors, &smallest);
    let in_cells = |choice: &Choice, smallest: u64| (choice.bytes - smallest).div_ceil(cell);
    let most = |(choices, smallest): (&Vec<Choice>, &u64)| {
        choices.iter().map(|choice| in_cells(choice, *smallest)).max().unwrap_or(0)
    };
    let all: u64 = tensors.iter().zip(&smallest).map(most).sum();
    let cells = (room / cell).min(all) as usize;

    // The least loss of the tensors so far within so many cells, and the choice of the last of them that gives it.
    let mut losses = vec![0.0f64; cells + 1];
    let mut chosen: Vec<Vec<u8>> = Vec::with_capacity(tensors.len());
    for (choices, smallest) in tensors.iter().zip(&smallest) {
        let (mut next, mut choice_of) = (vec![f64::INFINITY; cells + 1], vec![0u8; cells + 1]);
        for (index, choice) in choices.iter().enumerate().take(usize::from(u8::MAX) + 1) {
            let own = in_cells(choice, *smallest) as usize;
            for at in own..=cells {
                let loss = losses[at - own] + choice.loss;
                if loss < next[at] {
                    (next[at], choice_of[at]) = (loss, index as u8);
                }
            }
        }
        losses = next;
        chosen.push(choice_of);
    }
    let mut at = cells;
    let mut answer = vec![0; tensors.len()];
    for (index, (choices, smallest)) in tensors.iter().zip(&smallest).enumerate().rev() {
        answer[index] = usize::from(chosen[index][at]);
        at -= in_cells(&choices[answer[index]], *smallest) as usize;
    }
    Some(answer)
}

/// The largest number that divides every step between two choices, unless that makes too many cells.
fn cell_bytes(tensors: &[Vec<Choice>], smallest: &[u64]) -> u64 {
    let (mut common, mut all) = (0, 0u64);
    for (choices, smallest) in tensors.iter().zip(smallest) {
        let steps = choices.iter().map(|choice| choice.bytes - smallest);
        common = steps.clone().fold(common, common_divisor);
        all = all.saturating_add(steps.max().unwrap_or(0));
    }
    common.max(all.div_ceil(CELLS)).max(1)
}

fn common_divisor(left: u64, right: u64) -> u64 {
    if right == 0 { left } else { common_divisor(right, left % right) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums(tensors: &[Vec<Choice>], answer: &[usize]) -> (u64, f64) {
        let chosen = || tensors.iter().zip(answer).map(|(choices, index)| choices[*index]);
        (chosen().map(|choice| choice.bytes).sum(), chosen().map(|choice| choice.loss).sum())
    }

    /// Every answer there is.
    fn all_answers(tensors: &[Vec<Choice>]) -> Vec<Vec<usize>> {
        tensors.iter().fold(vec![Vec::new()], |answers, choices| {
            let longer = |answer: &Vec<usize>| (0..choices.len()).map(|index| [answer.as_slice(), &[index]].concat());
            answers.iter().flat_map(|answer| longer(answer).collect::<Vec<_>>()).collect()
        })
    }

    fn tensors(bytes: impl Strategy<Value = u64> + Clone) -> impl Strategy<Value = Vec<Vec<Choice>>> {
        let choice = (bytes, 0.0..10.0f64).prop_map(|(bytes, loss)| Choice { bytes, loss });
        prop::collection::vec(prop::collection::vec(choice, 1..5), 1..6)
    }

    proptest! {
        #[test]
        fn of_few_cells_the_answer_is_the_best_there_is(tensors in tensors(1..200u64), budget in 0..1_200u64) {
            let fitting = all_answers(&tensors).into_iter().map(|answer| sums(&tensors, &answer));
            let best = fitting.filter(|(bytes, _)| *bytes <= budget).map(|(_, loss)| loss).min_by(f64::total_cmp);
            let found = assign(&tensors, budget).map(|answer| sums(&tensors, &answer));
            prop_assert_eq!(found.is_some(), best.is_some());
            if let (Some((bytes, loss)), Some(best)) = (found, best) {
                prop_assert!(bytes <= budget, "{} of {}", bytes, budget);
                prop_assert!((loss - best).abs() < 1e-9, "{} instead of {}", loss, best);
            }
        }

        #[test]
        fn no_answer_is_too_large_and_more_bytes_never_lose_more(
            tensors in tensors(1..1u64 << 40),
            budgets in prop::array::uniform2(0..1u64 << 43),
        ) {
            let [small, large] = if budgets[0] < budgets[1] { budgets } else { [budgets[1], budgets[0]] };
            let [less, more] = [small, large].map(|budget| assign(&tensors, budget));
            prop_assert_eq!(&less, &assign(&tensors, small));
            if let Some(less) = less {
                let more = more.expect("what fits less fits more");
                let ((less_bytes, less_loss), (more_bytes, more_loss)) = (sums(&tensors, &less), sums(&tensors, &more));
                prop_assert!(less_bytes <= small && more_bytes <= large);
                prop_assert!(more_loss <= less_loss + 1e-9, "{} after {}", more_loss, less_loss);
            }
        }
    }

    #[test]
    fn nothing_to_choose_from_and_no_room_are_no_answer() {
        let choice = |bytes, loss| Choice { bytes, loss };
        assert_eq!(assign(&[], 0), Some(Vec::new()));
        assert_eq!(assign(&[Vec::new()], 100), None);
        assert_eq!(assign(&[vec![choice(10, 1.0)]], 9), None);
        assert_eq!(assign(&[vec![choice(10, 1.0), choice(20, 0.0)]], 19), Some(vec![0]));
        assert_eq!(assign(&[vec![choice(10, 1.0), choice(20, 0.0)]], u64::MAX), Some(vec![1]));
    }
}
