//! A thousand changed bundles: what becomes of a bundle when a byte, a word or a part of it is another one.
//!
//! A change may do one of three things. It is refused, by the reader, the validator, the lint that activation has, or the
//! bundle's own cases. Or it changes no decision: a word in a title, a case that says less. Or it changes decisions and
//! passes: then the bundle still proves its own cases, and nobody may do more than before in any typical situation. That
//! last is what the default bundle's cases promise, which name every role and every act; a bundle with fewer cases
//! promises less.
#![allow(clippy::print_stdout, reason = "figures for whoever reads the test's output")]

use outpost_policies::{Action, Bundle, Change, Expect, Policies, diff};

/// What the mutations know of a bundle: words that stand for one another.
const WORDS: [(&str, &str); 22] = [
    ("permit", "forbid"),
    ("forbid", "permit"),
    ("when", "unless"),
    ("unless", "when"),
    ("operator", "admin"),
    ("operator", "auditor"),
    ("admin", "operator"),
    ("auditor", "operator"),
    ("infer", "embed"),
    ("embed", "infer"),
    ("list_models", "manage_keys"),
    ("read_status", "delete_model"),
    ("read_audit", "erase_audit"),
    ("restart", "change_policy"),
    ("principal in Role::\\\"operator\\\"", "principal"),
    ("principal in Role::\\\"admin\\\"", "principal"),
    ("principal in Role::\\\"auditor\\\"", "principal"),
    (" > ", " < "),
    ("4096", "40960"),
    ("8192", "8193"),
    ("allow", "deny"),
    ("deny", "allow"),
];

/// Numbers that look random and are the same every time (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((value ^ (value >> 31)) % bound as u64).unwrap()
    }
}

/// A change to the bytes of a bundle.
fn mutate(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let mut place = |bound: usize| random.below(bound);
    let (here, there, kind, byte) = (place(bytes.len()), place(bytes.len()), place(8), place(256));
    match kind {
        0 => bytes[here] = u8::try_from(byte).unwrap(),
        1 => bytes[here] ^= 1 << (byte % 8),
        2 => {
            bytes.remove(here);
        }
        3 => bytes.insert(here, bytes[there]),
        4 => {
            let end = (here + 1 + byte % 64).min(bytes.len());
            bytes.drain(here..end);
        }
        5 => {
            let end = (there + 1 + byte % 64).min(bytes.len());
            let copy = bytes[there..end].to_vec();
            bytes.splice(here..here, copy);
        }
        // One place of a word becomes another word.
        6 => {
            let (from, to) = WORDS[byte % WORDS.len()];
            let text = String::from_utf8(bytes).unwrap();
            let places: Vec<usize> = text.match_indices(from).map(|(at, _)| at).collect();
            let at = places[here % places.len()];
            bytes = format!("{}{to}{}", &text[..at], &text[at + from.len()..]).into_bytes();
        }
        // A whole rule goes.
        _ => {
            let text = String::from_utf8(bytes).unwrap();
            let ends: Vec<usize> = text.match_indices(";\\n").map(|(at, _)| at + 3).collect();
            let end = ends[here % ends.len()];
            let begin = text[..end].rfind("@id(").unwrap();
            bytes = format!("{}{}", &text[..begin], &text[end..]).into_bytes();
        }
    }
    bytes
}

/// What decides, without what only people read.
fn decides(bundle: &Bundle) -> String {
    let words = |text: &str| {
        let plain: Vec<&str> = text.lines().filter(|line| !line.starts_with(['@', '/'])).collect();
        plain.join("\n")
    };
    let rules: Vec<String> = bundle.policies.values().map(|text| words(text)).collect();
    format!("{rules:?} {:?} {:?} {:?}", bundle.limits, bundle.models, bundle.content)
}

#[test]
fn of_a_thousand_changed_bundles_none_activates_that_should_not() {
    let original = Bundle::default_bundle();
    let bytes = original.to_bytes();
    let before = Policies::activate(original.clone()).unwrap();
    let mut random = Random(20_261_126);
    let (mut unread, mut refused, mut same, mut changed, mut tried) = (0, 0, 0, 0, 0);
    while tried < 1000 {
        let mutated = mutate(&bytes, &mut random);
        if mutated == bytes {
            continue;
        }
        tried += 1;
        let Ok(bundle) = Bundle::parse(&mutated) else {
            unread += 1;
            continue;
        };
        let Ok(after) = Policies::activate(bundle.clone()) else {
            refused += 1;
            continue;
        };
        // Whatever else, the cases of the bundle as its author wrote it hold for the changed rules: no cell that they cover
        // is wider.
        for case in original.cases.iter().filter(|case| case.expect == Expect::Deny) {
            for ask in case.asks() {
                assert!(after.authorize(&ask).is_err(), "“{}” is allowed:\n{}", case.title, show(&mutated));
            }
        }
        if decides(&bundle) == decides(&original) {
            same += 1;
            continue;
        }
        changed += 1;
        let diff = diff(&before, &after);
        for change in &diff.changes {
            match change {
                Change::Gains { .. } => panic!("{diff}\n{}", show(&mutated)),
                // How many tokens an auditor might ask for if it might ask: no decision ever sees it.
                Change::Value { of, widens: true, .. } => assert_eq!(of, "role `auditor`", "{diff}"),
                _ => {}
            }
        }
    }
    println!(
        "1000 changed bundles: {unread} were not read, {refused} were not activated, {same} decide as before, \
         {changed} decide otherwise and let nobody do more"
    );
    assert!(refused > 100 && same > 20, "the changes reach every stage: {unread} {refused} {same} {changed}");
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\\n", "\n")
}

#[test]
fn every_role_and_act_of_the_default_bundle_is_in_a_case() {
    let bundle = Bundle::default_bundle();
    for role in bundle.limits.keys() {
        for action in Action::ALL {
            let covers = |case: &&outpost_policies::Case| {
                case.who.to_vec() == [role.clone()] && case.does.as_slice().contains(&action)
            };
            assert!(bundle.cases.iter().any(|case| covers(&case)), "{role} {action}");
        }
    }
}
