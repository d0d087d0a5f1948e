//! The page on a fleet with the worst words in every place.

use super::*;

const HOSTILE: &str = "<script>alert(1)</script>\"'\u{202e}";

fn fleet() -> Fleet {
    let log = Log {
        origin: HOSTILE.into(),
        mirrored: 7,
        reported: Some(9),
        checked: Some(vec![HOSTILE.into()]),
        ..Log::default()
    };
    let device = |logs| Device { name: HOSTILE.into(), revoked: true, logs };
    let act = Act {
        by: HOSTILE.into(),
        means: HOSTILE.into(),
        act: HOSTILE.into(),
        subject: HOSTILE.into(),
        error: HOSTILE.into(),
        ..Act::default()
    };
    Fleet {
        name: HOSTILE.into(),
        made_ms: 1,
        tool: HOSTILE.into(),
        since_ms: None,
        before_ms: Some(i64::MAX),
        keys: (HOSTILE.into(), HOSTILE.into()),
        devices: vec![device(vec![log]), device(Vec::new())],
        incidents: vec![Incident {
            number: 1,
            device: HOSTILE.into(),
            origin: HOSTILE.into(),
            kind: HOSTILE.into(),
            found_ms: 5,
        }],
        findings: Findings::default(),
        acts: vec![act],
        acts_left_out: 3,
        own_log: (HOSTILE.into(), 4, vec![HOSTILE.into()]),
        missing: vec![HOSTILE.into()],
    }
}

#[test]
fn whatever_stands_in_it_the_page_runs_and_loads_nothing_and_says_the_worst_first() {
    let html = render(&fleet());
    assert!(!html.contains("<script") && !html.contains('\u{202e}') && !html.contains("src="), "{html}");
    assert!(html.contains("default-src 'none'; style-src 'unsafe-inline'"));
    assert!(html.contains("<title>INCIDENTS") && html.contains("1 incident is on record, 1 log does not verify"));
    assert!(html.contains("nothing has arrived") && html.contains("3 older ones"));
    let good = Fleet { incidents: Vec::new(), devices: Vec::new(), own_log: ("own".into(), 0, Vec::new()), ..fleet() };
    assert!(render(&good).contains("Nothing is held against any log."));
    for (tag, end) in [("<table", "</table>"), ("<section", "</section>"), ("<td", "</td>"), ("<li", "</li>")] {
        let count = |what: &str| html.matches(what).count();
        assert_eq!(count(tag), count(end), "{tag}");
    }
}
