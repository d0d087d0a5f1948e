//! How much work waits: what the kernel tells as stalls of processor, memory and disk.

use outpost_contract::{PressureFacts, StallFacts};

use crate::tree::Tree;

/// Stalls of the whole machine; none where the kernel does not count them.
pub(crate) fn read(tree: &Tree) -> PressureFacts {
    let of = |name: &str| parse(&tree.text(&format!("proc/pressure/{name}"))?);
    PressureFacts { cpu: of("cpu"), memory: of("memory"), io: of("io") }
}

/// Lines as `some avg10=0.12 avg60=0.00 avg300=0.00 total=1234`, and the same with `full`.
pub(crate) fn parse(text: &str) -> Option<StallFacts> {
    let of = |name: &str| {
        let words = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        parse_percent(words.split(' ').find_map(|word| word.strip_prefix("avg10="))?)
    };
    Some(StallFacts { some_centi_percent: of("some")?, full_centi_percent: of("full") })
}

/// A percentage with two digits behind its point, in hundredths.
fn parse_percent(text: &str) -> Option<u32> {
    let (whole, part) = text.trim().split_once('.')?;
    let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() != 2 || !is_plain(whole) || !is_plain(part) {
        return None;
    }
    let (whole, part): (u32, u32) = (whole.parse().ok()?, part.parse().ok()?);
    whole.checked_mul(100)?.checked_add(part).filter(|hundredths| *hundredths <= 10_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{Fixture, nested_container};

    #[test]
    fn stalls_of_the_last_ten_seconds_are_read() {
        let facts = read(&nested_container().tree());
        assert_eq!(facts.cpu, Some(StallFacts { some_centi_percent: 5_160, full_centi_percent: None }));
        assert_eq!(facts.memory, Some(StallFacts { some_centi_percent: 70, full_centi_percent: Some(10) }));
        assert_eq!((facts.io, read(&Fixture::default().tree())), (None, PressureFacts::default()));
        assert_eq!(
            [parse_percent("0.7"), parse_percent("100.01"), parse_percent("-1.00"), parse_percent("1.+1")],
            [None; 4]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_stall_that_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), number in "[0-9.]{0,12}") {
            parse(&String::from_utf8_lossy(&bytes));
            let stall = parse(&format!("some avg10={number} avg60=0.00\nfull avg10={number}\n"));
            prop_assert!(stall.is_none_or(|stall| stall.some_centi_percent <= 10_000));
        }
    }
}
