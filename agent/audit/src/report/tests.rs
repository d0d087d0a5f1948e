//! Reports of good, damaged, empty and hostile logs, and their numbers against ones counted in another way.

mod counted;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use outpost_disk::Clock;
use proptest::prelude::*;

use super::*;
use crate::cosignature::{Cosigned, WitnessKey};
use crate::{
    AuditLog, BootInfo, CheckpointKey, Content, DecisionRef, EraseOrder, Io, Kind, Level, LogIdentity, ObjectRef,
    Outcome, Record, Who,
};

const ORIGIN: &str = "audit.example/dev-1/1";
const NOW_S: i64 = 1_795_380_305;

/// A log being written, under a clock that obeys.
struct Device {
    folder: tempfile::TempDir,
    clock: Clock,
    key: outpost_disk::Secret,
}

impl Device {
    fn new() -> Self {
        let key = CheckpointKey::generate().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), clock: Clock::fixed(NOW_S), key }
    }

    fn identity(&self) -> LogIdentity {
        LogIdentity { origin: ORIGIN.into(), key: CheckpointKey::from_pkcs8(self.key.expose()).unwrap() }
    }

    fn open(&self) -> AuditLog {
        let info = BootInfo { agent: "0.1.0".into(), device: "dev-1".into(), clock: self.clock.clone() };
        AuditLog::open_with_vault(&self.path(), self.identity(), info, &self.folder.path().join("roots")).unwrap().0
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    fn key(&self) -> VerifierKey {
        self.identity().key.verifier_key(ORIGIN).unwrap()
    }

    fn render(&self, options: &Options) -> (String, Reported) {
        render(&self.path(), options).unwrap()
    }

    /// Changes the database behind the log's back.
    fn damage(&self, sql: &str) {
        let connection = Connection::open(crate::schema::database_path(&self.path())).unwrap();
        assert!(connection.execute(sql, ()).unwrap() > 0, "{sql}");
    }
}

fn with_key(device: &Device) -> Options {
    let verify = verify::Options { verifier_key: Some(device.key()), ..verify::Options::default() };
    Options { verify, tool: "outpost test".into(), made_ms: NOW_S * 1000, ..Options::default() }
}

/// Appends all of them and waits.
fn append(log: &AuditLog, records: impl IntoIterator<Item = Record>) {
    let answers: Vec<_> = records.into_iter().map(|record| log.append(record)).collect();
    for answer in answers {
        answer.wait().unwrap();
    }
}

/// The tags of a page, taken apart strictly: whatever is not `<name attribute="value" …>` is none.
fn tags(html: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = html.split_once("</style>").unwrap().1;
    while let Some((before, tag)) = rest.split_once('<') {
        assert!(!before.contains('>'), "a stray > before {}", &tag[..tag.len().min(60)]);
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut parts = attributes.split('"');
        let mut names = Vec::new();
        while let (Some(name), Some(_value)) = (parts.next(), parts.next()) {
            names.push(name.trim().trim_end_matches('=').to_owned());
        }
        found.push((name.to_owned(), names));
        rest = after;
    }
    found
}

/// That nothing but our own markup is there, and nothing that loads or runs anything.
fn assert_is_ours(html: &str) {
    let known = "a article b body caption circle code dd defs div dl dt figcaption figure g h1 h2 h3 header html li line main nav \
                 ol p pattern polygon pre rect section span strong svg table tbody td text th thead time title tr ul";
    let attributes = "anchor aria-hidden aria-label aria-labelledby class cx cy datetime height href id patternTransform \
                      patternUnits points preserveAspectRatio r role scope tabindex text-anchor viewBox width x x1 x2 y y1 y2";
    let (known, attributes): (BTreeSet<_>, BTreeSet<_>) =
        (known.split_whitespace().collect(), attributes.split_whitespace().collect());
    for (name, given) in tags(html) {
        if name == "/head" {
            continue;
        }
        assert!(known.contains(name.trim_start_matches('/')), "<{name}>");
        given.iter().for_each(|given| assert!(attributes.contains(given.as_str()), "<{name} {given}>"));
    }
    let links = html.split("href=\"").skip(1).all(|link| link.starts_with('#'));
    let style = html.split_once("</style>").unwrap().0.replace("url(#", "");
    assert!(links && !html.contains("<script") && !style.contains("url(") && !style.contains("@import"));
}

#[test]
fn a_good_log_gets_one_file_that_says_so_and_asks_for_nothing_else() {
    let device = Device::new();
    let log = device.open();
    append(&log, [Record::new(Kind::AuditRead).act("export_audit")]);
    log.shutdown("done").unwrap();
    let target = device.folder.path().join("report.html");
    let reported = report(&device.path(), &target, &with_key(&device)).unwrap();
    let html = std::fs::read_to_string(&target).unwrap();
    assert!(reported.is_good && reported.records == 3);
    assert!(html.contains("✓ The log verifies.") && html.contains(&reported.verified.root_hex));
    assert!(!html.contains("NOT verify") && !html.contains("lay beside the log"));
    // What the reader is told to save is the head itself.
    let pre = html.split_once("Signed head of the log\">").unwrap().1.split_once("</pre>").unwrap().0;
    assert_eq!(crate::Checkpoint::verify(pre, &device.key()).unwrap().size, 3);
    assert_is_ours(&html);
    for (id, _) in SECTIONS {
        assert_eq!(html.matches(&format!(" id=\"{id}\"")).count(), 1, "{id}");
    }
    let table_heads = html.matches("<table").count();
    assert_eq!(html.matches("<table><caption>").count(), table_heads);
    assert_eq!(html.matches("<th ").count(), html.matches("<th scope=").count());
}

#[test]
fn a_log_without_the_readers_key_says_what_that_means() {
    let device = Device::new();
    device.open().shutdown("done").unwrap();
    let (html, reported) = device.render(&Options::default());
    assert!(reported.is_good && html.contains("lay beside the log"));
}

#[test]
fn a_log_that_does_not_verify_says_so_first_and_names_the_record() {
    let device = Device::new();
    let log = device.open();
    append(&log, (0..40).map(|number: u64| Record::new(Kind::InferEnd).act("infer").detail("number", number)));
    log.shutdown("done").unwrap();
    device.damage("UPDATE leaves SET bytes = cast(replace(bytes, 'infer', 'inter') AS BLOB) WHERE idx = 17");
    device.damage("UPDATE leaves SET bytes = x'7b' WHERE idx = 23");
    let (html, reported) = device.render(&with_key(&device));
    assert!(!reported.is_good && !reported.verified.is_ok());
    let verdict = html.find("This log does NOT verify").unwrap();
    assert!(verdict < html.find("id=\"summary\"").unwrap() && html.contains("<title>DOES NOT VERIFY"));
    assert!(
        html.contains("record 17:") && html.contains("record 23:") && html.contains("of which 1 could not be read")
    );
    assert!(html.contains("the log does NOT verify"), "the matrix says it too");
    assert!(html.contains("@top-left { content: \"This log does NOT verify\""), "and every printed sheet");
    assert_is_ours(&html);
}

#[test]
fn a_database_that_cannot_be_read_to_its_end_is_no_good_log() {
    let device = Device::new();
    device.open().shutdown("done").unwrap();
    device.damage("DELETE FROM tree");
    let (html, reported) = device.render(&with_key(&device));
    assert!(!reported.is_good && html.contains("NOT verify") && html.contains("The log holds no signed head."));
}

#[test]
fn an_empty_log_and_an_empty_range_are_reported_as_such() {
    let device = Device::new();
    AuditLog::create(&device.path(), &device.identity()).unwrap();
    let (html, reported) = device.render(&with_key(&device));
    assert!(reported.is_good && reported.records == 0 && html.contains("No record of this log is in the range"));
    assert_is_ours(&html);
    device.open().shutdown("done").unwrap();
    let (html, reported) = device.render(&Options { since_ms: Some(i64::MAX), ..with_key(&device) });
    assert!(reported.is_good && reported.records == 0 && html.contains("it holds 2 records"));
}

#[test]
fn a_directory_without_a_log_is_refused_and_no_file_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("report.html");
    let error = report(folder.path(), &target, &Options::default()).unwrap_err();
    assert!(matches!(error, AuditError::Missing { .. }) && !target.exists());
}

#[test]
fn erasures_are_held_against_the_tombstones() {
    let device = Device::new();
    let log = device.open();
    let ended = || Record::new(Kind::InferEnd).act("infer");
    append(&log, [ended().seal(Level::Request, "p:ada", Content::of_input("a")), ended()]);
    let approver = Who { id: "p:root".into(), ..Who::default() };
    log.erase(&EraseOrder { subject: "p:ada".into(), basis: "case 7".into(), approver }).unwrap();
    log.shutdown("done").unwrap();
    let (html, _) = device.render(&with_key(&device));
    assert!(html.contains("name 1 key that were destroyed, the database has 1 tombstone, and they agree one by one"));
    assert!(html.contains("1 record of this range had content sealed") && html.contains("basis: case 7"));
    device.damage("DELETE FROM tombstones");
    let (html, reported) = device.render(&with_key(&device));
    assert!(html.contains("do NOT agree: records name 1 destroyed key, the database has 0 tombstones"));
    assert!(reported.is_good, "tombstones are not a part of the log");
}

#[test]
fn cosignatures_are_checked_by_the_keys_that_are_brought_and_a_foreign_head_spoils_the_log() {
    let device = Device::new();
    let log = device.open();
    let witness = WitnessKey::from_pkcs8("witness.example/w1", CheckpointKey::generate().unwrap().expose()).unwrap();
    let cosign = |note: &str, key: &VerifierKey| {
        let (text, _) = note.split_once("\n\n").unwrap();
        let line = witness.cosign(&format!("{text}\n"), NOW_S.unsigned_abs());
        let keys = std::slice::from_ref(witness.cosigner_key());
        crate::witness::record(&Cosigned::join(note, &line, std::slice::from_ref(key), keys).unwrap()).unwrap()
    };
    append(&log, [cosign(&log.checkpoint(), &device.key())]);
    let options = with_key(&device);
    assert!(device.render(&options).0.contains("not checked: no key of it was brought"));
    let options = Options { witnesses: vec![witness.cosigner_key().clone()], ..options };
    let (html, reported) = device.render(&options);
    assert!(reported.is_good && html.contains("all verify") && html.contains("cosigned by 1 witness, checked"));

    let checkpoint = crate::Checkpoint { origin: ORIGIN.into(), size: 1, root: [9; 32] };
    let forged = device.identity().key.sign(&checkpoint);
    append(&log, [cosign(&forged, &device.key())]);
    let (html, reported) = device.render(&options);
    assert!(!reported.is_good && html.contains("Record 2 holds a cosigned checkpoint that is not of this log"));
}

#[test]
fn runs_links_and_clocks_are_told_apart() {
    let device = Device::new();
    let log = device.open();
    let pass = |seconds| device.clock.advance(Duration::from_secs(seconds));
    append(&log, [Record::new(Kind::SyncStart)]);
    pass(3_600);
    append(&log, [Record::new(Kind::SyncEnd).detail("reason", "gone"), Record::new(Kind::InferEnd)]);
    pass(7_200);
    append(&log, [Record::new(Kind::SyncStart).detail("offline_s", 7_200_u32)]);
    pass(60);
    append(&log, [Record::new(Kind::InferStart).request("r").act("infer")]);
    drop(log);
    pass(60);
    device.clock.raise_floor(device.clock.now_s() + 600).unwrap();
    let log = device.open();
    log.shutdown("done").unwrap();
    let (html, _) = device.render(&with_key(&device));
    assert!(html.contains("The agent started 2 times; 1 run ended without a shutdown"), "{html}");
    let offline = counted::rows(&html, "The longest times without a link");
    let told: Vec<_> = offline.iter().map(|row| [&row[0], &row[3], &row[4]].map(String::as_str)).collect();
    assert_eq!(told, [["2 h", "2 h", "1"], ["11 min", "–", "0"]]);
    assert!(html.contains("3 records were made while the clock was not believed"));
}

#[test]
fn keys_that_nobody_used_and_keys_that_were_used_too_late_are_asked_about() {
    let device = Device::new();
    let log = device.open();
    let key = |kind, id: &str| Record::new(kind).detail("key", id).detail("roles", "operator");
    let used = |id: &str| {
        let who = Who { id: "p:1".into(), auth: "key".into(), roles: vec!["operator".into()], ..Who::default() };
        Record::new(Kind::InferEnd).who(who).detail("credential", id)
    };
    append(&log, ["idle", "busy", "late"].map(|id| key(Kind::KeyCreate, id)));
    append(&log, [used("busy"), used("late"), key(Kind::KeyRevoke, "late"), key(Kind::KeyRevoke, "idle-too")]);
    device.clock.advance(Duration::from_secs(60));
    append(&log, [used("late")]);
    let (html, _) = device.render(&with_key(&device));
    let asked = html.split_once("What to ask about").unwrap().1.split_once("</section>").unwrap().0;
    assert!(asked.contains("API key idle (operator) was made and never used"));
    assert!(asked.contains("API key late (operator) is named by a record of"));
    assert_eq!(asked.matches("<li>").count(), 2, "{asked}");
}

/// Text and drawings against the ground that they stand on, in both colour schemes and in print (WCAG 2.2, AA).
#[test]
fn colours_have_enough_contrast() {
    let blocks: Vec<_> = STYLE.split(":root {").skip(1).map(|block| block.split_once('}').unwrap().0).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let luminance = |name: &str| {
            let hex = block.split_once(&format!("--{name}: #")).unwrap_or_else(|| panic!("no colour {name}")).1;
            let channel = |at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            let linear =
                |value: f64| if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) };
            0.2126 * linear(channel(0)) + 0.7152 * linear(channel(2)) + 0.0722 * linear(channel(4))
        };
        let contrast = |one: &str, other: &str| {
            let (one, other) = (luminance(one), luminance(other));
            (one.max(other) + 0.05) / (one.min(other) + 0.05)
        };
        let texts = [
            ("ink", "paper"),
            ("muted", "paper"),
            ("link", "paper"),
            ("bad", "paper"),
            ("ink", "soft"),
            ("muted", "soft"),
            ("good", "good-soft"),
            ("bad", "bad-soft"),
            ("ink", "good-soft"),
            ("ink", "bad-soft"),
            ("ink", "care-soft"),
            ("ink", "version-a"),
            ("ink", "version-b"),
        ];
        let drawings =
            ["answered", "refused", "aborted", "in", "out", "run", "linked", "bad"].map(|name| (name, "paper"));
        for (pairs, least) in [(&texts[..], 4.5), (&drawings[..], 3.0)] {
            for (one, other) in pairs {
                assert!(contrast(one, other) >= least, "{one} on {other}: {:.2}", contrast(one, other));
            }
        }
    }
}

/// A leaf with this text wherever a record may hold a text from outside.
fn hostile_leaf(kind: &str, text: &str, index: u64) -> Leaf {
    let text = serde_json::Value::from(text);
    let json = format!(
        "{{\"act\":{text},\"agent\":{text},\"dec\":{{\"effect\":\"deny\",\"errors\":[{text}],\"policy\":{text},\"rules\":[{text}]}},\
         \"detail\":{{\"approved_by\":{text},\"basis\":{text},\"because\":{text},\"credential\":{text},\"format\":{text},\"glass\":{text},\
         \"key\":{text},\"months\":{text},\"opened_by\":{text},\"reason\":{text},\"replaces\":{text},\"roles\":{text},\"server\":{text},\
         \"source\":{text},\"version\":{text}}},\"dev\":{text},\"i\":{index},\"obj\":{{\"file\":{text},\"model\":{text},\
         \"variant\":{text}}},\"res\":{{\"err\":{text}}},\"t\":{{\"wall_ms\":{index}}},\"type\":\"{kind}\",\
         \"who\":{{\"auth\":{text},\"kind\":{text},\"pid\":{text},\"roles\":[{text}]}}}}"
    );
    Leaf::parse(json.as_bytes()).unwrap()
}

/// The page over leaves that never were in a log.
fn page_of(leaves: impl IntoIterator<Item = Leaf>) -> (Findings, String) {
    let mut found = Findings::new(Ok(Vec::new()), &[]);
    let options = Options::default();
    for (index, leaf) in (0..).zip(leaves) {
        found.records += 1;
        found.take(&Seen::new(index, &leaf), &options, None, None);
    }
    found.uptime.finish(found.range.unwrap_or_default());
    let verified = Report {
        subject: verify::Subject::Log,
        origin: ORIGIN.into(),
        verifier_key: String::new(),
        records: found.records,
        first: 0,
        root_hex: String::new(),
        checkpoint_size: None,
        checkpoints: 0,
        vouched: None,
        problems: Vec::new(),
        further_problems: 0,
    };
    let integrity = Integrity {
        verified: &verified,
        witnesses: &found.witnesses,
        head: None,
        key_was_brought: true,
        unreadable: 0,
        cut_short: None,
    };
    let html = found.write(&integrity, Path::new("audit"), &options);
    (found, html)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_text_of_a_record_becomes_markup(
        text in prop_oneof![
            "[<>&\"' a-z/=!\\-]{0,40}",
            "(.|\n){0,40}",
            Just("</style><script>alert(1)</script>".to_owned()),
            Just("\"><img src=x onerror=alert(1)>".to_owned()),
            Just("<!--\u{202e}]]>&lt;script&gt;\u{0}".to_owned()),
        ],
    ) {
        let leaves = Kind::ALL.iter().flat_map(|kind| [hostile_leaf(kind.name(), &text, 1), hostile_leaf(kind.name(), &text, 90_000_000)]);
        let (_, html) = page_of(leaves);
        assert_is_ours(&html);
        let dangerous = ['\u{202e}', '\0'];
        prop_assert!(!html.contains(dangerous));
    }
}

#[test]
fn many_principals_models_and_sources_are_folded_and_none_is_lost() {
    let leaf = |number: u64| {
        let kind =
            ["infer.end", "infer.denied", "auth.fail", "admin.act", "model.load", "audit.read"][(number % 6) as usize];
        hostile_leaf(kind, &format!("name-{}", number / 6), number * 60_000)
    };
    let few = page_of((0..6 * 3_000).map(leaf)).1.len();
    let (found, html) = page_of((0..6 * 30_000).map(leaf));
    assert!(html.len() < few + few / 10, "a log ten times as long makes a page of {} after {few} bytes", html.len());
    assert!(html.contains("others, and all first seen after the first 1024") && html.contains("more than 1,024"));
    let requests: u64 = counted::rows(&html, "Use by principal").iter().map(|row| counted::number(&row[1])).sum();
    assert_eq!(requests, 60_000);
    assert_eq!(found.denials.knocks, 30_000);
    let attempts: u64 = counted::rows(&html, "Attempts without").iter().map(|row| counted::number(&row[2])).sum();
    assert_eq!(attempts, 30_000);
}
