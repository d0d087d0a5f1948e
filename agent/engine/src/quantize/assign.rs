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
mod tests;
