//! Policies as their specification shows and forbids them, and quorums against every set of cosigners.

use proptest::prelude::*;

use super::*;
use crate::cosignature::WitnessKey;
use crate::{Checkpoint, CheckpointKey};

/// A log's key, six witnesses, and the specification's example over them.
struct World {
    log: CheckpointKey,
    witnesses: Vec<WitnessKey>,
    note: String,
}

const NAMES: [&str; 6] = ["X1", "X2", "X3", "Y1", "Y2", "Y3"];

impl World {
    fn new() -> Self {
        let log = CheckpointKey::from_pkcs8(CheckpointKey::generate().unwrap().expose()).unwrap();
        let witness = |name: &str| {
            WitnessKey::from_pkcs8(&format!("witness.example/{name}"), CheckpointKey::generate().unwrap().expose())
        };
        let witnesses = NAMES.iter().map(|name| witness(name).unwrap()).collect();
        let note = log.sign(&Checkpoint { origin: "audit.example/dev-1/1".into(), size: 3, root: [7; 32] });
        Self { log, witnesses, note }
    }

    fn log_line(&self) -> String {
        format!("log {}\n", self.log.verifier_key("audit.example/dev-1/1").unwrap())
    }

    fn witness_lines(&self) -> String {
        let line = |(name, key): (&&str, &WitnessKey)| format!("witness {name} {}\n", key.cosigner_key());
        NAMES.iter().zip(&self.witnesses).map(line).collect()
    }

    /// The example of c2sp.org/tlog-policy.
    fn example(&self) -> String {
        format!(
            "{}\n{}group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n\n\
             group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
            self.log_line(),
            self.witness_lines()
        )
    }

    fn parse(&self, rest: &str) -> Result<Policy, PolicyError> {
        Policy::parse(format!("{}{}{rest}", self.log_line(), self.witness_lines()).as_bytes())
    }

    fn cosigned_by(&self, who: impl Fn(usize) -> bool) -> String {
        let text = &self.note[..=self.note.find("\n\n").unwrap()];
        let lines = (0..).zip(&self.witnesses).filter(|(position, _)| who(*position));
        self.note.clone() + &lines.map(|(_, key)| key.cosign(text, 7)).collect::<String>()
    }
}

#[test]
fn the_example_of_the_specification_holds_for_exactly_the_sets_that_it_names() {
    let world = World::new();
    let policy = Policy::parse(world.example().as_bytes()).unwrap();
    assert_eq!((policy.logs().len(), policy.witnesses().len()), (1, 6));
    for set in 0..64_u32 {
        let note = world.cosigned_by(|position| set >> position & 1 == 1);
        let expected = (set & 0b111).count_ones() >= 2 && set & 0b111_000 != 0;
        assert_eq!(policy.check(&note).is_ok(), expected, "{set:06b}");
    }
    let unmet = policy.check(&world.cosigned_by(|position| position == 0 || position == 3)).unwrap_err();
    assert_eq!(unmet.to_string(), "the quorum `X-and-Y` is not reached: cosigned by X1, Y1");
}

#[test]
fn a_witness_alone_or_nobody_can_be_the_quorum() {
    let world = World::new();
    let single = world.parse("quorum Y2\n").unwrap();
    assert!(single.check(&world.cosigned_by(|position| position == 4)).is_ok());
    let unmet = Err(Unmet::Quorum { quorum: "Y2".into(), cosigned: vec!["X1".into()] });
    assert_eq!(single.check(&world.cosigned_by(|position| position == 0)), unmet);
    assert!(world.parse("quorum none\n").unwrap().check(&world.note).is_ok());
    // Without logs of its own, a policy is about logs that are known from elsewhere.
    let no_log = Policy::parse(b"quorum none\n").unwrap();
    assert!(no_log.check(&world.note).is_err());
    assert!(no_log.check_of(&world.note, world.parse("quorum none\n").unwrap().logs()).is_ok());
}

#[test]
fn a_forged_cosignature_spoils_even_a_checkpoint_that_has_its_quorum() {
    let world = World::new();
    let policy = Policy::parse(world.example().as_bytes()).unwrap();
    let forged = world.witnesses[5].cosign("another\n", 7);
    let note = world.cosigned_by(|position| position < 5) + &forged;
    assert_eq!(policy.check(&note), Err(Unmet::Note(NoteError::BadSignature("witness.example/Y3".into()))));
}

#[test]
fn whitespace_comments_urls_and_names_beyond_ascii_are_as_the_specification_says() {
    let world = World::new();
    let key = world.witnesses[0].cosigner_key().clone();
    let mut file =
        format!("\n \t\n# comment\n\t # another\n\twitness \t w\u{212a} {key} https://w.example/ \n").into_bytes();
    file.extend_from_slice(b"group \xff\xfe 1 w\xe2\x84\xaa\nquorum \xff\xfe\n");
    let policy = Policy::parse(&file).unwrap();
    let log = world.log.verifier_key("audit.example/dev-1/1").unwrap();
    assert!(policy.check_of(&world.cosigned_by(|position| position == 0), &[log]).is_ok());
    // A Kelvin sign is not a K.
    assert!(Policy::parse(format!("witness w\u{212a} {key}\nquorum wK\n").as_bytes()).is_err());
}

#[test]
fn what_the_specification_forbids_is_refused_with_its_line() {
    let world = World::new();
    let other_name = world.log.verifier_key("audit.example/dev-2/1").unwrap();
    let key = world.witnesses[0].cosigner_key().clone();
    let unused = World::new().witnesses[0].cosigner_key().clone();
    for (rest, line) in [
        ("", 7),
        ("quorum X1", 8),
        ("quorum X9\n", 8),
        ("quorum X1\nquorum X1\n", 9),
        ("quorum\n", 8),
        ("quorum X1 X2\n", 8),
        ("quorum g\ngroup g 1 X1\n", 8),
        ("group g 0 X1\nquorum g\n", 8),
        ("group g 2 X1\nquorum g\n", 8),
        ("group g 01 X1\nquorum g\n", 8),
        ("group g +1 X1\nquorum g\n", 8),
        ("group g some X1\nquorum g\n", 8),
        ("group g any\nquorum g\n", 8),
        ("group g any g\nquorum g\n", 8),
        ("group g any none\nquorum g\n", 8),
        ("group g 1 X1 X1\nquorum g\n", 8),
        ("group g 1 X1\ngroup h 1 X1\nquorum h\n", 9),
        ("group X1 1 X2\nquorum X1\n", 8),
        ("group none 1 X1\nquorum none\n", 8),
        ("party X1\nquorum X1\n", 8),
        ("quorum X1\r\n", 8),
        ("quorum X1 \u{7f}\n", 8),
        ("log\nquorum X1\n", 8),
        ("witness Z\nquorum X1\n", 8),
        (format!("log {other_name}\nquorum X1\n").as_str(), 8),
        (format!("log {key}\nquorum X1\n").as_str(), 8),
        (format!("witness Z {key}\nquorum X1\n").as_str(), 8),
        (format!("witness Z {other_name}\nquorum X1\n").as_str(), 8),
        (format!("witness X1 {unused}\nquorum X1\n").as_str(), 8),
        (format!("witness none {unused}\nquorum X1\n").as_str(), 8),
    ] {
        let error = world.parse(rest).expect_err(rest);
        assert_eq!(error.line, line, "{rest:?}: {error}");
    }
    assert_eq!(Policy::parse(b"").unwrap_err().line, 1);
    assert!(Policy::parse(&vec![b'\n'; MAX_FILE]).is_err());
}

/// One byte beyond the limit.
const MAX_FILE: usize = 256 * 1024 + 1;

#[test]
fn as_many_logs_witnesses_and_groups_as_the_specification_asks_for_are_read() {
    let fresh = || CheckpointKey::from_pkcs8(CheckpointKey::generate().unwrap().expose()).unwrap();
    let mut file = String::new();
    for number in 0..32 {
        let log = fresh().verifier_key(&format!("log.example/{number}")).unwrap();
        let witness = WitnessKey::from_pkcs8("w", CheckpointKey::generate().unwrap().expose()).unwrap();
        let key = witness.cosigner_key().clone();
        file += &format!("log {log}\nwitness w{number} {key}\n");
        let inner = if number == 0 { String::new() } else { format!("g{}", number - 1) };
        file += &format!("group g{number} any w{number} {inner}\n");
    }
    let policy = Policy::parse((file + "quorum g31\n").as_bytes()).unwrap();
    assert_eq!((policy.logs().len(), policy.witnesses().len(), policy.parties.len()), (32, 32, 64));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn any_bytes_are_a_policy_or_an_error(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "(log|witness|group|quorum|none|all|any|a|b|[0-9]|#| |\t|\n){0,40}".prop_map(String::into_bytes),
        ],
    ) {
        let _ = Policy::parse(&bytes);
    }

    #[test]
    fn no_line_of_the_example_can_be_left_out_unnoticed_but_comments(
        line in 0..13_usize, garbled in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let world = World::new();
        let example = world.example();
        let kept: String =
            example.split_inclusive('\n').enumerate().filter(|(at, _)| *at != line).map(|(_, line)| line).collect();
        let removed = example.split_inclusive('\n').nth(line).unwrap();
        if !removed.trim().is_empty() && !removed.starts_with("log") {
            prop_assert!(Policy::parse(kept.as_bytes()).is_err());
        }
        let mut bytes = example.into_bytes();
        let at = garbled.index(bytes.len());
        bytes[at] = byte;
        let _ = Policy::parse(&bytes);
    }
}
