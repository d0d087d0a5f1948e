//! Mixes fit, are the best there are, and never get worse with more bytes.

use proptest::prelude::*;

use super::*;

fn sums(tensors: &[Vec<Choice>], answer: &[usize]) -> (u64, f64) {
    let chosen = || tensors.iter().zip(answer).map(|(choices, index)| choices[*index]);
    (chosen().map(|choice| choice.bytes).sum(), chosen().map(|choice| choice.loss).sum())
}

/// Every answer there is.
fn all_answers(tensors: &[Vec<Choice>]) -> Vec<Vec<usize>> {
    tensors.iter().fold(vec![Vec::new()], |answers: Vec<Vec<usize>>, choices| {
        let longer = |answer: &Vec<usize>| -> Vec<Vec<usize>> {
            (0..choices.len()).map(|index| [answer.as_slice(), &[index]].concat()).collect()
        };
        answers.iter().flat_map(longer).collect()
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
