//! Stop texts, however the answer is cut into tokens.

use proptest::prelude::*;

use super::stop::StopStrings;

/// Feeds pieces until a stop text comes; returns what was handed out and whether one came.
fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
    let mut matcher = StopStrings::new(stops.iter().map(|text| (*text).to_owned()).collect());
    let mut out = String::new();
    for piece in pieces {
        let (text, stopped) = matcher.push(piece);
        out.extend(text);
        if stopped {
            return (out, true);
        }
    }
    out.extend(matcher.finish());
    (out, false)
}

#[test]
fn a_stop_text_ends_the_answer_before_itself() {
    assert_eq!(run(&["END"], &["one END two"]), ("one ".to_owned(), true));
}

#[test]
fn a_stop_text_that_spans_tokens_is_found() {
    assert_eq!(run(&["\n\nUser:"], &["hello", "\n", "\nUs", "er", ": more"]), ("hello".to_owned(), true));
}

#[test]
fn what_only_began_like_a_stop_text_is_handed_out() {
    assert_eq!(run(&["</s>"], &["a <", "/", "b> <", "/s"]), ("a </b> </s".to_owned(), false));
}

#[test]
fn the_earliest_of_several_stop_texts_counts() {
    assert_eq!(run(&["later", "soon"], &["now soon later"]), ("now ".to_owned(), true));
    assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), ("a".to_owned(), true));
}

#[test]
fn an_empty_stop_text_is_no_stop_text() {
    assert_eq!(run(&[""], &["all", " of it"]), ("all of it".to_owned(), false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn how_an_answer_is_cut_into_tokens_changes_nothing(
        text in "[abü]{0,24}",
        stop in "[abü]{1,4}",
        cuts in proptest::collection::vec(0usize..4, 24),
    ) {
        let whole = run(&[&stop], &[&text]);
        let mut characters = text.chars();
        let mut pieces: Vec<String> = cuts.iter().map(|count| characters.by_ref().take(*count).collect()).collect();
        pieces.push(characters.collect());
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        prop_assert_eq!(run(&[&stop], &pieces), whole);
    }
}
