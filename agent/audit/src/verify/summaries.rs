//! What each `summary` says it counts, against the leaves that it covers: counted here from the leaves alone.

use std::collections::BTreeMap;

use super::Problems;
use crate::canonical::Value;
use crate::leaf::Leaf;

/// How a leaf of this type spells it.
const SUMMARY: &str = "summary";

/// The records since the last summary, in the order in which they are read.
#[derive(Debug)]
pub(super) struct Summaries {
    /// The first record that was read, or the last summary.
    since: u64,
    /// The record that must come next.
    next: u64,
    counts: BTreeMap<String, u64>,
    /// Whether a summary was read: before one, records may lie outside of what is checked.
    has_seen_one: bool,
    /// Whether a record is missing or does not parse: that is named where it is, and no summary is blamed for it.
    has_gap: bool,
}

impl Summaries {
    /// Before the record at this index.
    pub(super) fn from(first: u64) -> Self {
        Self { since: first, next: first, counts: BTreeMap::new(), has_seen_one: first == 0, has_gap: false }
    }

    /// The next record; none if it does not parse.
    pub(super) fn check(&mut self, index: u64, leaf: Option<&Leaf>, problems: &mut Problems) {
        self.has_gap |= index != self.next || leaf.is_none();
        self.next = index.saturating_add(1);
        let kind = leaf.and_then(Leaf::kind).unwrap_or_default();
        if let (SUMMARY, Some(leaf)) = (kind, leaf) {
            if let Err(what) = self.compare(index, leaf) {
                problems.add(index, what);
            }
            *self = Self { since: index, has_seen_one: true, ..Self::from(index) };
            self.next = index.saturating_add(1);
        }
        *self.counts.entry(kind.to_owned()).or_default() += 1;
    }

    fn compare(&self, index: u64, leaf: &Leaf) -> Result<(), String> {
        let whole = |path: &str| leaf.integer(path).and_then(|number| u64::try_from(number).ok());
        let (Some(from), Some(to), Some(counts)) = (whole("detail.from"), whole("detail.to"), counts(leaf)) else {
            return Err("it is a summary and does not say what it counts".to_owned());
        };
        if to != index {
            return Err(format!("it is a summary up to record {to}, and stands elsewhere"));
        }
        if self.has_gap {
            return Ok(());
        }
        if from != self.since {
            // One that begins before what is checked cannot be counted here.
            let begins_before = !self.has_seen_one && from < self.since;
            let since = self.since;
            return if begins_before {
                Ok(())
            } else {
                Err(format!("it is a summary from record {from} on, and the last one ends at {since}"))
            };
        }
        let claims =
            self.counts.iter().map(|(kind, count)| (kind, *count, counts.get(kind.as_str()).copied().unwrap_or(0)));
        match claims.into_iter().find(|(_, count, claimed)| count != claimed) {
            Some((kind, count, claimed)) => {
                Err(format!("it counts {claimed} records of type `{kind}` from {from} to {to}, and there are {count}"))
            }
            None if counts.values().sum::<u64>() == to - from => Ok(()),
            None => Err(format!("it counts records from {from} to {to} that are not there")),
        }
    }
}

/// The counts of a summary; none if they are anything else.
fn counts(leaf: &Leaf) -> Option<BTreeMap<&str, u64>> {
    let Value::Object(counts) = leaf.at("counts")? else { return None };
    counts.iter().map(|(kind, count)| Some((kind.as_str(), u64::try_from(count.integer()?).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(kind: &str) -> Leaf {
        Leaf::parse(format!("{{\"type\":\"{kind}\"}}").as_bytes()).unwrap()
    }

    fn summary(from: u64, to: u64, counts: &str) -> Leaf {
        let text = format!("{{\"counts\":{counts},\"detail\":{{\"from\":{from},\"to\":{to}}},\"type\":\"summary\"}}");
        Leaf::parse(text.as_bytes()).unwrap()
    }

    /// What is said of a summary over the records `boot`, `infer.start`, `infer.start`.
    fn verdict(summary: &Leaf) -> Vec<super::super::Problem> {
        let (mut problems, mut summaries) = (Problems::default(), Summaries::from(0));
        for (index, kind) in (0..).zip(["boot", "infer.start", "infer.start"]) {
            summaries.check(index, Some(&leaf(kind)), &mut problems);
        }
        summaries.check(3, Some(summary), &mut problems);
        problems.listed
    }

    #[test]
    fn a_summary_is_right_only_with_every_count_and_the_whole_range() {
        assert_eq!(verdict(&summary(0, 3, r#"{"boot":1,"infer.start":2}"#)), []);
        for (from, to, counts, what) in [
            (0, 3, r#"{"boot":1,"infer.start":1}"#, "counts 1 records of type `infer.start`"),
            (0, 3, r#"{"boot":1}"#, "counts 0 records of type `infer.start`"),
            (0, 3, r#"{"boot":1,"infer.end":1,"infer.start":2}"#, "not there"),
            (1, 3, r#"{"infer.start":2}"#, "the last one ends at 0"),
            (0, 2, r#"{"boot":1,"infer.start":1}"#, "stands elsewhere"),
            (0, 3, r#"{"boot":-1,"infer.start":4}"#, "does not say what it counts"),
            (0, 3, "[]", "does not say what it counts"),
        ] {
            let problems = verdict(&summary(from, to, counts));
            assert!(problems.len() == 1 && problems[0].index == Some(3), "{counts}: {problems:?}");
            assert!(problems[0].what.contains(what), "{counts}: {problems:?}");
        }
    }

    #[test]
    fn a_summary_of_records_before_the_first_one_read_is_not_judged_but_the_next_is() {
        let (mut problems, mut summaries) = (Problems::default(), Summaries::from(10));
        summaries.check(10, Some(&leaf("boot")), &mut problems);
        summaries.check(11, Some(&summary(4, 11, r#"{"boot":7}"#)), &mut problems);
        assert_eq!(problems.listed, []);
        summaries.check(12, Some(&summary(11, 12, r#"{"boot":1}"#)), &mut problems);
        assert_eq!(problems.listed[0].index, Some(12));
    }

    #[test]
    fn no_summary_is_blamed_for_a_record_that_is_missing() {
        let (mut problems, mut summaries) = (Problems::default(), Summaries::from(0));
        summaries.check(0, Some(&leaf("boot")), &mut problems);
        summaries.check(2, Some(&summary(0, 2, r#"{"boot":2}"#)), &mut problems);
        assert_eq!(problems.listed, []);
    }

    proptest! {
        #[test]
        fn any_leaf_that_says_it_is_a_summary_is_judged(
            from in "[0-9]{1,15}|-1|\"x\"|\\[\\]", to in "[0-9]{1,15}|null|\"3\"|3",
            counts in "[0-9]{1,15}|\\{\\}|\\{\"boot\":[0-9]{1,15},\"infer.start\":[0-9]{1,15}\\}|\\{\"boot\":\"x\"\\}|\\[1\\]",
        ) {
            let text = format!("{{\"counts\":{counts},\"detail\":{{\"from\":{from},\"to\":{to}}},\"type\":\"summary\"}}");
            if let Ok(leaf) = Leaf::parse(text.as_bytes()) {
                let is_right = counts == r#"{"boot":1,"infer.start":2}"# && from == "0" && to == "3";
                prop_assert_eq!(verdict(&leaf).is_empty(), is_right);
            }
        }
    }
}
