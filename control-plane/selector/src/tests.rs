//! What selectors mean, as a table; what is wrong with others, as they say it; and what holds for any text.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::value::Value;

fn till() -> Facts {
    Facts {
        name: "till-7".into(),
        site: Some("store-12".into()),
        labels: [("role".to_owned(), "till".to_owned())].into(),
        groups: ["canary".to_owned()].into(),
        state: "refused".into(),
        wanted: Some("qwen3-0.6b".into()),
        reasons: ["does_not_fit".to_owned()].into(),
        agent: "0.2.9".into(),
        memory: Some(8 << 30),
        speed_milli: Some(7_500),
        seen_ago_s: Some(3 * 86_400),
        drift: true,
        assigned: true,
        ..Facts::default()
    }
}

#[test]
fn selectors_mean_what_they_say() {
    let facts = till();
    for (selector, expected) in [
        ("all", true),
        ("site=store-12 and (label.role=till or group=canary) and memory>=8GiB and agent<0.3 and not online", true),
        ("name=till-7", true),
        ("name=till-*", true),
        ("name=*7 and name=t*l-*", true),
        ("name=till", false),
        ("site in (store-11, store-12)", true),
        ("site in (store-1, store-2)", false),
        ("site!=store-12", false),
        ("memory>8GiB", false),
        ("memory>=8589934592", true),
        ("memory<=8.0GiB and memory>7.9GiB", true),
        ("memory>8GB", true),
        ("speed>=7.5 and speed<7.501", true),
        ("agent>=0.2 and agent<0.10", true),
        ("agent=0.2.9", true),
        ("seen>2d and seen<1w and seen=72h", true),
        ("drift and assigned and online=false and not revoked", true),
        ("reason=does_not_fit", true),
        ("reason=bad_*", false),
        ("state=refused or online", true),
        ("not (state=refused or online)", false),
        ("not not drift", true),
        // Binds as everywhere: `and` before `or`.
        ("drift or online and online", true),
        ("(drift or online) and online", false),
        // What is not known equals nothing, and is neither smaller nor larger.
        ("disk<1TiB", false),
        ("disk>=0", false),
        ("model=*", false),
        ("model!=qwen3-0.6b", true),
        ("label.stage=prod", false),
        ("label.stage!=prod", true),
        ("wanted=qwen3-0.6b", true),
        ("\tsite = \"store-12\"  and label.role = till", true),
    ] {
        let read: Selector = selector.parse().unwrap_or_else(|error| panic!("{selector}\n{error}"));
        assert_eq!(read.matches(&facts), expected, "{selector}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_was_probably_meant() {
    for (selector, column, message) in [
        ("", 1, "expected something to ask for, such as `site` or `online`, not the end"),
        ("site=a and memry>1", 12, "nothing is called `memry`; did you mean `memory`?"),
        ("zzzzzz=1", 1, "nothing is called `zzzzzz`"),
        ("site", 5, "expected an operator such as `=` after `site`"),
        ("memory 8GiB", 8, "expected an operator such as `>=` after `memory`"),
        ("memory>=lots", 9, "expected a size such as `8GiB` or `500MB`, not `lots`"),
        ("cores=1.5", 7, "expected a whole number, not `1.5`"),
        ("memory>=99999999999TiB", 9, "expected a size such as `8GiB` or `500MB`, not `99999999999TiB`"),
        ("agent<new", 7, "expected a version such as `0.3` or `1.2.0-rc1`, not `new`"),
        ("seen>3y", 6, "expected a time such as `30d`, `12h` or `5m`, not `3y`"),
        ("online=yes", 8, "expected `true` or `false`, not `yes`"),
        ("site<b", 5, "`site` has no order: `<` means nothing, use `=` or `!=`"),
        ("online<true", 7, "`online` has no order: `<` means nothing, use `=` or `!=`"),
        ("state=refusd", 7, "no device is ever in the state `refusd`; did you mean `refused`?"),
        ("(online", 1, "this `(` is never closed"),
        ("online)", 7, "nothing is open that `)` could close"),
        ("(online drift)", 9, "expected `)`, `and` or `or`"),
        ("online drift", 8, "expected `and`, `or` or the end, not `drift`"),
        ("online und drift", 8, "expected `and`, `or` or the end, not `und`"),
        ("site=", 6, "expected a value, not the end"),
        ("site=and", 6, "expected a value, not `and`"),
        ("site=\"a", 6, "this quote is never closed"),
        ("site=\"a\\n\"", 8, "after `\\` comes `\"` or another `\\`"),
        ("site in a", 9, "expected `(` and values after `in`"),
        ("site in (a b)", 12, "expected `,` or `)`"),
        (
            "label.Role=a",
            1,
            "`Role` is no key of a label: write 1 to 63 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter",
        ),
        ("é and ü=1", 1, "nothing is called `é`"),
    ] {
        let error = selector.parse::<Selector>().expect_err(selector);
        assert_eq!((error.column, error.message.as_str()), (column, message), "{selector}");
    }
}

#[test]
fn a_caret_points_at_the_place_and_nothing_steers_the_terminal() {
    let error = "site=a and memry>1".parse::<Selector>().unwrap_err().to_string();
    let expected =
        "nothing is called `memry`; did you mean `memory`? (column 12)\n  site=a and memry>1\n             ^";
    assert_eq!(error, expected);
    let error = format!("online and {} and \u{1b}[2J\u{202e}x", vec!["online"; 20].join(" and ")).parse::<Selector>();
    let error = error.unwrap_err().to_string();
    assert!(!error.contains('\u{1b}') && !error.contains('\u{202e}'), "{error}");
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[1].chars().nth(lines[2].chars().count() - 1), Some('\u{fffd}'), "{error}");
}

#[test]
fn length_depth_and_number_are_bounded() {
    let deep = |depth: usize| format!("{}online{}", "(".repeat(depth), ")".repeat(depth));
    assert!(deep(MOST_DEPTH).parse::<Selector>().is_ok());
    assert!(deep(MOST_DEPTH + 1).parse::<Selector>().is_err());
    assert!("not ".repeat(1000).parse::<Selector>().is_err());
    let wide = |tests: usize| vec!["drift"; tests].join(" or ");
    assert!(wide(MOST_TESTS).parse::<Selector>().is_ok());
    assert!(wide(MOST_TESTS + 1).parse::<Selector>().is_err());
    let list = format!("site in ({})", vec!["a"; MOST_TESTS + 1].join(","));
    assert!(list.parse::<Selector>().is_err());
    assert!(format!("online{}", " ".repeat(MOST_BYTES)).parse::<Selector>().is_err());
}

#[test]
fn a_group_that_a_selector_defines_stands_for_it_and_circles_are_refused() {
    let selector = |text: &str| text.parse::<Selector>().unwrap();
    let groups: BTreeMap<String, Selector> = [
        ("tills".to_owned(), selector("label.role=till")),
        ("far-tills".to_owned(), selector("group=tills and not online")),
        ("round".to_owned(), selector("not group=about")),
        ("about".to_owned(), selector("group=round")),
    ]
    .into();
    let facts = till();
    for (text, expected) in [
        ("group=tills", true),
        ("group!=tills", false),
        ("group=far-tills and group=canary", true),
        ("group in (canary-2, far-tills)", true),
        ("group in (canary-2, canary-3)", false),
        ("not group=far-tills", false),
    ] {
        assert_eq!(selector(text).expand(&groups).unwrap().matches(&facts), expected, "{text}");
    }
    assert!(selector("group=round").expand(&groups).is_err());
    // Each names the one below it a hundred times: a hundred to the power of five.
    let many = |name: &str| selector(&vec![format!("group={name}"); 100].join(" or "));
    let tower = ["a", "b", "c", "d", "e"].windows(2).map(|two| (two[0].to_owned(), many(two[1]))).collect();
    assert!(many("a").expand(&tower).is_err());
}

fn value(kind: Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Text | Kind::Name | Kind::Set => "[a-z\"\\\\ (),.äß*-]{0,12}".prop_map(Value::Text).boxed(),
        Kind::Bytes => any::<u64>().prop_map(Value::Bytes).boxed(),
        Kind::Count => any::<u64>().prop_map(Value::Count).boxed(),
        Kind::Decimal => any::<u64>().prop_map(Value::Thousandths).boxed(),
        Kind::Duration => (0..u64::MAX).prop_map(Value::Seconds).boxed(),
        Kind::Version => "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}(-[a-z0-9.]{1,8})?"
            .prop_map(|text| Value::Version(text.parse().unwrap()))
            .boxed(),
        Kind::Flag => any::<bool>().prop_map(Value::Flag).boxed(),
    }
}

fn test() -> impl Strategy<Value = Expression> {
    let field = proptest::sample::select(Field::EVERY).prop_filter("has a closed list", |field| *field != Field::State);
    let subject = prop_oneof![field.prop_map(Subject::Field), "[a-z][a-z0-9._-]{0,9}".prop_map(Subject::Label)];
    subject.prop_flat_map(|subject| {
        let kind = subject.kind();
        let ordered = matches!(kind, Kind::Bytes | Kind::Count | Kind::Decimal | Kind::Duration | Kind::Version);
        let operators: Vec<Operator> =
            Operator::EVERY.iter().map(|(_, operator)| *operator).filter(|one| ordered || !one.is_order()).collect();
        let values = proptest::collection::vec(value(kind), 1..4);
        (Just(subject), proptest::sample::select(operators), values).prop_map(|(subject, operator, mut values)| {
            if operator != Operator::Equal {
                values.truncate(1);
            }
            Expression::Test(Test { subject, operator, values })
        })
    })
}

fn expression() -> impl Strategy<Value = Expression> {
    prop_oneof![5 => test(), 1 => Just(Expression::All)].prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Expression::And),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Expression::Or),
            inner.prop_map(|inner| Expression::Not(Box::new(inner))),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same(expression in expression()) {
        let selector = Selector(expression);
        let text = selector.to_string();
        match text.parse::<Selector>() {
            Ok(read) => prop_assert_eq!(read, selector, "{}", text),
            Err(error) => prop_assert!(text.len() > MOST_BYTES, "{}\n{}", text, error),
        }
    }

    #[test]
    fn no_text_makes_it_panic_and_an_error_points_into_the_text(text in "\\PC{0,80}") {
        if let Err(error) = text.parse::<Selector>() {
            prop_assert!(error.column <= text.chars().count() + 1);
        }
    }

    #[test]
    fn nor_do_its_own_words_in_any_order(words in proptest::collection::vec(
        proptest::sample::select(vec!["(", ")", "and", "or", "not", "in", "=", ">=", "site", "memory", "8GiB", "\"", "\\", ",", "label.a", "é"]), 0..40)) {
        let text = words.join(" ");
        if let Ok(selector) = text.parse::<Selector>() {
            let _ = selector.matches(&till());
            prop_assert_eq!(&selector.to_string().parse::<Selector>().unwrap(), &selector);
        }
    }

    #[test]
    fn a_pattern_is_as_a_slow_and_plain_one_says(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
        fn plain(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.split_first(), text.split_first()) {
                (None, None) => true,
                (Some((b'*', rest)), _) => (0..=text.len()).any(|at| plain(rest, &text[at..])),
                (Some((one, rest)), Some((two, text))) => one == two && plain(rest, text),
                _ => false,
            }
        }
        prop_assert_eq!(value::glob(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
    }
}
