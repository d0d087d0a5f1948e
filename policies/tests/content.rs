//! Content rules: what is found, what is left alone, and that the way a text is cut changes nothing.

use std::collections::BTreeMap;

use outpost_policies::content::{
    Act, Class, Content, ContentRule, ContentRules, Direction, HOLD_BACK_BYTES, Hit, Pattern, RoleContent, Scanner,
};
use outpost_policies::{Action, Bundle, Given, Policies};
use proptest::prelude::*;

/// The rules of somebody with these roles, under these content rules.
fn rules(content: Content, roles: &[&str]) -> ContentRules {
    let mut bundle = Bundle::default_bundle();
    bundle.content = content;
    bundle.cases.truncate(1);
    let policies = Policies::activate(bundle).unwrap();
    let ask = Given::default().ask(roles.iter().map(|&role| role.to_owned()).collect(), Action::ListModels);
    policies.authorize(&ask).unwrap().content().clone()
}

fn rule(class: &str, act: Act) -> ContentRule {
    ContentRule { class: class.to_owned(), act }
}

fn pattern(matches: &str) -> Pattern {
    Pattern { matches: matches.to_owned(), whole_word: true }
}

/// An operator's rules on what comes out.
fn output(rules_written: Vec<ContentRule>) -> ContentRules {
    let pattern = BTreeMap::from([("patient-number".to_owned(), pattern("PN-[0-9]{4,8}"))]);
    let role = RoleContent { output: rules_written, ..RoleContent::default() };
    rules(Content { pattern, role: BTreeMap::from([("operator".to_owned(), role)]) }, &["operator"])
}

fn every_class(act: Act) -> ContentRules {
    let words = Class::built_in().iter().map(|class| class.word().to_owned());
    output(words.chain(["patient-number".to_owned()]).map(|class| ContentRule { class, act }).collect())
}

fn scanner(rules: &ContentRules) -> Scanner {
    rules.scanner(Direction::Output).unwrap()
}

/// What came of a text that was cut at these places.
#[derive(Debug, PartialEq, Default)]
struct Whole {
    text: String,
    hits: BTreeMap<(Class, Act), u32>,
    blocked: Option<Class>,
}

fn scan(rules: &ContentRules, pieces: &[&str]) -> Whole {
    let mut scanner = scanner(rules);
    let mut whole = Whole::default();
    let mut take = |released: outpost_policies::content::Released| {
        whole.text.push_str(&released.text);
        for Hit { class, act, count } in released.hits {
            *whole.hits.entry((class, act)).or_default() += count;
        }
        whole.blocked = released.blocked;
    };
    for piece in pieces {
        take(scanner.push(piece));
        assert!(scanner.held_bytes() <= HOLD_BACK_BYTES, "{} bytes are held back", scanner.held_bytes());
    }
    take(scanner.finish());
    whole
}

fn redacted(text: &str) -> String {
    scan(&every_class(Act::Redact), &[text]).text
}

#[test]
fn each_class_is_found_as_people_write_it() {
    for (text, expected) in [
        ("pay with 4111 1111 1111 1111 today", "pay with [payment card removed] today"),
        ("4111-1111-1111-1111", "[payment card removed]"),
        ("amex 378282246310005, jcb 3530111333300000", "amex [payment card removed], jcb [payment card removed]"),
        (
            "13 digits 4222222222222 and 14 30569309025904.",
            "13 digits [payment card removed] and 14 [payment card removed].",
        ),
        ("order 12 5555\u{a0}5555\u{a0}5555\u{a0}4444", "order 12 [payment card removed]"),
        ("write to ada.lovelace+x@mail.example.org.", "write to [e-mail address removed]."),
        ("<müller@bücher.example>", "<[e-mail address removed]>"),
        ("call +49 30 1234567 or (202) 555-0143", "call [phone number removed] or [phone number removed]"),
        (
            "0171/1234567, 020 7946 0958, 1-800-555-0199",
            "[phone number removed], [phone number removed], [phone number removed]",
        ),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN [IBAN removed] please"),
        ("gb82west12345698765432;NO9386011117947", "[IBAN removed];[IBAN removed]"),
        ("SSN 219-09-9999", "SSN [national id removed]"),
        ("NINO AB 12 34 56 C and ab123456c", "NINO [national id removed] and [national id removed]"),
        ("Steuer-ID 86 095 742 719", "Steuer-ID [national id removed]"),
        ("NIR 2 55 08 14 168 025 38", "NIR [national id removed]"),
        ("DNI 12345678Z, NIE X1234567L", "DNI [national id removed], NIE [national id removed]"),
        ("CF RSSMRA85T10A562S", "CF [national id removed]"),
        (
            "from 192.168.7.1, 2001:db8::1 and fe80::1.",
            "from [IP address removed], [IP address removed] and [IP address removed].",
        ),
        ("key AKIAIOSFODNN7EXAMPLE", "key [secret removed]"),
        ("Authorization: Bearer abcdefghijklmnopqrstuvwxyz012345.x-y", "Authorization: [secret removed]"),
        ("token ghp_abcdefghijklmnopqrstuvwxyz0123456789 end", "token [secret removed] end"),
        ("patient PN-123456!", "patient [patient-number removed]!"),
    ] {
        assert_eq!(redacted(text), expected, "{text}");
    }
}

#[test]
fn a_long_token_and_a_private_key_go_as_a_whole() {
    let token = format!("eyJhbGciOiJFZERTQSJ9.eyJ{}.{} after", "a".repeat(3000), "b".repeat(90));
    assert_eq!(redacted(&token), "[secret removed] after");
    let key =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\nafter", "MIIEvQIBADAN\n".repeat(100));
    assert_eq!(redacted(&key), "[secret removed]\nafter");
    let endless = format!("-----BEGIN RSA PRIVATE KEY-----\n{}", "x".repeat(40_000));
    let left = redacted(&endless).len();
    assert!((20_000..30_000).contains(&left), "text does not vanish for ever: {left} bytes are left");
}

#[test]
fn what_only_looks_alike_is_left_alone() {
    for text in [
        "4111 1111 1111 1112",
        "0.4111111111111111 is a fraction",
        "12345678901234567890",
        "1234 5678 9012",
        "at 12:30:45 on 2026-11-26, 14:15",
        "std::collections::BTreeMap, a::b, feed::me",
        "version 1.2.3.4.5 and 1.2.3 and 300.1.2.3",
        "ada@localhost, @ada, a@b",
        "DE00370400440532013000",
        "SSN 000-12-3456, 666-12-3456, 123-45-67890",
        "GB123456A is not given out",
        "Bearer of bad news, the bearer: me",
        "task-force sk-short ghp_short AKIA123",
        "-----BEGIN CERTIFICATE-----",
        "PN-123 XPN-12345 PN-12345X",
        "the answer is 42, or 1,000,000",
        "call 911 or 112; room 0815; page 030",
    ] {
        assert_eq!(redacted(text), text, "{text}");
    }
}

#[test]
fn a_card_behind_other_digits_is_found() {
    assert_eq!(redacted("ref 1234 4111 1111 1111 1111"), "ref 1234 [payment card removed]");
}

#[test]
fn hits_say_the_class_and_never_the_text() {
    let whole = scan(&every_class(Act::Redact), &["a@b.example, c@d.example, 4111111111111111"]);
    let expected = BTreeMap::from([((Class::Email, Act::Redact), 2), ((Class::PaymentCard, Act::Redact), 1)]);
    assert_eq!(whole.hits, expected);
    let mut held = scanner(&every_class(Act::Redact));
    let _ = held.push("411111111111");
    assert!(!format!("{held:?}").contains("4111"), "{held:?}");
}

#[test]
fn a_note_lets_pass_and_counts_once_each() {
    let whole = scan(&every_class(Act::Note), &["4111 1111 1111 1111 and a@b.example"]);
    assert_eq!(whole.text, "4111 1111 1111 1111 and a@b.example");
    assert_eq!(whole.hits.get(&(Class::PaymentCard, Act::Note)), Some(&1));
    assert_eq!(whole.hits.get(&(Class::Email, Act::Note)), Some(&1));
}

#[test]
fn a_block_lets_nothing_more_pass_and_wins_inside_what_is_removed() {
    let rules = output(vec![rule("secret", Act::Block), rule("email", Act::Redact)]);
    let whole = scan(&rules, &["hello a@b.example, AKIAIOSFODNN7", "EXAMPLE and more"]);
    assert_eq!((whole.text.as_str(), whole.blocked), ("hello [e-mail address removed], ", Some(Class::Secret)));
    let mut scanner = scanner(&rules);
    let _ = scanner.push("AKIAIOSFODNN7EXAMPLE ");
    assert_eq!(scanner.push("anything").text, "");
    let inside = output(vec![rule("email", Act::Redact), rule("patient-number", Act::Block)]);
    assert_eq!(scan(&inside, &["x.PN-12345@b.example"]).blocked, Some(Class::Custom("patient-number".into())));
}

#[test]
fn of_several_roles_every_rule_counts_and_the_stricter_act() {
    let role = |rules: Vec<ContentRule>| RoleContent { input: rules, ..RoleContent::default() };
    let content = Content {
        pattern: BTreeMap::new(),
        role: BTreeMap::from([
            ("operator".to_owned(), role(vec![rule("email", Act::Note), rule("phone", Act::Redact)])),
            ("admin".to_owned(), role(vec![rule("email", Act::Block)])),
        ]),
    };
    let both = rules(content.clone(), &["admin", "operator"]);
    let of_both: Vec<_> = both.rules(Direction::Input).map(|(class, act)| (class.clone(), act)).collect();
    assert_eq!(of_both, [(Class::Email, Act::Block), (Class::Phone, Act::Redact)]);
    assert!(both.scanner(Direction::Output).is_none());
    assert!(rules(content, &["auditor"]).scanner(Direction::Input).is_none());
}

#[test]
fn patterns_that_could_hold_a_stream_or_a_machine_are_refused() {
    for (matches, why) in [
        ("a+b", "matches without end"),
        ("[0-9]*x{3}", "matches without end"),
        ("\\bword\\b", "looks around"),
        ("^start", "looks around"),
        ("(", "is no pattern"),
        ("(?=x)yy", "is no pattern"),
        ("(ab)\\1", "is no pattern"),
        ("a?", "fewer than two bytes"),
        ("x{300}", "matches up to 300 bytes"),
        (r"\w{30}[\w\s]{20}\d{10}", "too large a machine"),
        (&"(".repeat(100), "is no pattern"),
        (&"x".repeat(600), "has 600 bytes"),
    ] {
        let mut bundle = Bundle::default_bundle();
        bundle.content.pattern.insert("own".to_owned(), pattern(matches));
        let found = Policies::activate(bundle).unwrap_err();
        assert!(found[0].to_string().contains(why), "{matches}: {}", found[0]);
    }
}

#[test]
fn unknown_classes_roles_and_names_are_refused() {
    let refused = |change: fn(&mut Content)| {
        let mut bundle = Bundle::default_bundle();
        change(&mut bundle.content);
        let found = Policies::activate(bundle).unwrap_err();
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let unknown = refused(|content| {
        content.role.insert(
            "operator".to_owned(),
            RoleContent { input: vec![rule("emial", Act::Note)], ..RoleContent::default() },
        );
    });
    assert!(unknown.contains("`emial` is no class; known are email, iban"), "{unknown}");
    let twice = refused(|content| {
        let input = vec![rule("email", Act::Note), rule("email", Act::Block)];
        content.role.insert("operator".to_owned(), RoleContent { input, ..RoleContent::default() });
    });
    assert!(twice.contains("`email` is there twice"), "{twice}");
    let role = refused(|content| {
        content.role.insert("janitor".to_owned(), RoleContent::default());
    });
    assert!(role.contains("the role `janitor` is not declared"), "{role}");
    let shadow = refused(|content| {
        content.pattern.insert("email".to_owned(), pattern("xx"));
    });
    assert!(shadow.contains("`email` is no name for a pattern"), "{shadow}");
}

/// Pieces that hits are made of, whole and broken, among words of several scripts.
fn fragment() -> impl Strategy<Value = String> {
    let samples = [
        "4111 1111 1111 1111",
        "4111",
        "1111-1111",
        "378282246310005",
        "ada@mail.example.org",
        "@",
        "ada",
        ".example",
        "+49 30 1234567",
        "(202) 555-0143",
        "0171/1234567",
        "DE89 3704 0044 0532 0130 00",
        "GB82",
        "219-09-9999",
        "86095742719",
        "AB123456C",
        "192.168.7.1",
        "2001:db8::1",
        "::",
        "AKIAIOSFODNN7EXAMPLE",
        "Bearer ",
        "abcdefghijklmnopqrstuvwxyz",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "eyJhbGci.eyJzdWIi",
        "PN-12345",
        "PN-",
        "ü",
        "日本語",
        "🙂",
        " ",
        " ",
        ", ",
        ".",
        "\n",
        "-",
        "0",
        "7",
        "x",
    ];
    prop_oneof![proptest::sample::select(samples.to_vec()).prop_map(str::to_owned), "[ -~]{0,12}", "\\PC{0,6}"]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    proptest::collection::vec(proptest::sample::select(vec![Act::Note, Act::Redact, Act::Redact, Act::Block]), 8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_way_a_text_is_cut_changes_nothing(
        fragments in proptest::collection::vec(fragment(), 0..30),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        acts in acts(),
    ) {
        let words = Class::built_in().iter().map(|class| class.word().to_owned()).chain(["patient-number".to_owned()]);
        let rules = output(words.zip(&acts).map(|(class, act)| ContentRule { class, act: *act }).collect());
        let text = fragments.concat();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        places.retain(|place| text.is_char_boundary(*place));
        places.extend([0, text.len()]);
        places.sort_unstable();
        let pieces: Vec<&str> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let characters: Vec<String> = text.chars().map(String::from).collect();
        let one_by_one: Vec<&str> = characters.iter().map(String::as_str).collect();
        let whole = scan(&rules, &[&text]);
        prop_assert_eq!(&scan(&rules, &pieces), &whole);
        prop_assert_eq!(&scan(&rules, &one_by_one), &whole);
    }

    #[test]
    fn what_was_removed_does_not_come_out(
        before in "[a-z ]{0,40}", after in "[a-z ]{0,40}", digits in "4[0-9]{14}", cut in any::<prop::sample::Index>()
    ) {
        let number = with_check_digit(&digits);
        let text = format!("{before} {number} {after}");
        let at = cut.index(text.len());
        let whole = scan(&every_class(Act::Redact), &[&text[..at], &text[at..]]);
        prop_assert!(!whole.text.contains(&number));
        prop_assert_eq!(whole.text, format!("{before} [payment card removed] {after}"));
    }

    #[test]
    fn a_text_without_hits_comes_out_as_it_went_in(text in "[a-z ,.\\n]{0,200}") {
        let whole = scan(&every_class(Act::Redact), &[&text]);
        prop_assert_eq!(whole, Whole { text, ..Whole::default() });
    }

    #[test]
    fn any_pattern_is_taken_or_refused_without_panic(matches in "\\PC{0,60}", text in "\\PC{0,60}") {
        let mut bundle = Bundle::default_bundle();
        bundle.cases.truncate(1);
        bundle.content.pattern.insert("own".to_owned(), pattern(&matches));
        let role = RoleContent { output: vec![rule("own", Act::Redact)], ..RoleContent::default() };
        bundle.content.role.insert("operator".to_owned(), role);
        if let Ok(policies) = Policies::activate(bundle) {
            let permit = policies.authorize(&Given::default().ask(vec!["operator".to_owned()], Action::Infer)).unwrap();
            let mut scanner = permit.content().scanner(Direction::Output).unwrap();
            let _ = scanner.push(&text);
            let _ = scanner.finish();
        }
    }
}

/// Fifteen digits and the one that makes the Luhn sum a multiple of ten.
fn with_check_digit(digits: &str) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            if place % 2 == 0 { digit * 2 / 10 + digit * 2 % 10 } else { digit }
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}
