//! Lines as other systems read them, and the way back to the leaf.

use proptest::prelude::*;

use super::*;

const LEAF: &str = r#"{"act":"=cmd|'/c calc'!A0","agent":"0.1.0","dec":{"effect":"deny","errors":[],"policy":"p1","rules":["auditors-do-not-ask"]},"dev":"dev-1","i":7,"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","io":{"in":{"tok":203},"out":{}},"obj":{"endpoint":"/v1/chat,completions","model":"-x=\"1\""},"req":"r|1","res":{"err":"a\nb","status":403},"t":{"boot":"6f1c","boot_us":5,"ok":true,"wall_ms":1795412410123},"type":"infer.denied","v":1,"who":{"auth":"jwt","kind":"user","pid":"p:9c","roles":["operator","auditor"]}}"#;

fn shown(form: Form) -> String {
    let leaf = Leaf::parse(LEAF.as_bytes()).unwrap();
    String::from_utf8(line(form, 7, LEAF.as_bytes(), &leaf)).unwrap()
}

#[test]
fn json_lines_are_the_leaves() {
    assert_eq!(shown(Form::Jsonl), format!("{LEAF}\n"));
}

#[test]
fn a_table_holds_no_formulas() {
    let row = shown(Form::Csv);
    let quoted = LEAF.replace('"', "\"\"");
    assert_eq!(
        row,
        format!(
            "7,2026-11-23T05:40:10.123Z,infer.denied,01ARZ3NDEKTSV4RRFFQ69G5FAV,\"'=cmd|'/c calc'!A0\",p:9c,jwt,\
             operator auditor,\"'-x=\"\"1\"\"\",,\"/v1/chat,completions\",deny,auditors-do-not-ask,p1,403,,,203,,a·b,r|1,\"{quoted}\"\r\n"
        )
    );
    let columns = std::str::from_utf8(csv::HEADING).unwrap().split(',').count();
    assert_eq!(columns, 22);
    for start in ["=", "+", "-", "@", "\t=", "\r@"] {
        let leaf =
            Leaf::parse(format!(r#"{{"act":{}}}"#, serde_json::to_string(&format!("{start}1")).unwrap()).as_bytes());
        let row = csv::line(0, "{}", &leaf.unwrap());
        let act = row.split(',').nth(4).unwrap();
        assert!(act.starts_with("\"'") || act.starts_with('·'), "{act}");
    }
}

#[test]
fn syslog_has_the_header_of_its_standard() {
    let header = "<108>1 2026-11-23T05:40:10.123Z dev-1 outpost 6f1c infer.denied - ";
    assert_eq!(shown(Form::Syslog), format!("{header}{LEAF}\n"));
}

#[test]
fn cef_escapes_what_would_break_it() {
    let line = shown(Form::Cef);
    let head = "CEF:0|Outpost|outpost|0.1.0|infer.denied|infer.denied|6|rt=1795412410123 externalId=7 dvchost=dev-1 suid=p:9c \
                act=\\=cmd|'/c calc'!A0 request=/v1/chat,completions reason=a·b spriv=operator auditor outcome=failure \
                cs1Label=model cs1=-x\\=\"1\" cs2Label=effect cs2=deny";
    assert!(line.starts_with(head), "{line}");
    assert!(line.contains(" cn1Label=status cn1=403 cn2Label=tokensIn cn2=203 rawEvent={"), "{line}");
    assert_eq!(cef::header("a|b\\c"), "a\\|b\\\\c");
}

#[test]
fn events_have_what_their_class_requires() {
    let event: serde_json::Value = serde_json::from_str(&shown(Form::Ocsf)).unwrap();
    assert_eq!((&event["class_uid"], &event["type_uid"]), (&6003.into(), &600_399.into()));
    assert_eq!((&event["status_id"], &event["metadata"]["sequence"]), (&2.into(), &7.into()));
    assert_eq!(event["raw_data"], LEAF);
    for part in ["actor", "api", "src_endpoint", "metadata", "severity_id", "time", "category_uid"] {
        assert!(!event[part].is_null(), "{part}");
    }
    for (kind, class, part) in [("auth.fail", 3002, "user"), ("boot", 6002, "app"), ("model.load", 6002, "app")] {
        let leaf = Leaf::parse(format!(r#"{{"type":"{kind}"}}"#).as_bytes()).unwrap();
        let event: serde_json::Value = serde_json::from_slice(&ocsf::line(0, "{}", &leaf)).unwrap();
        assert_eq!(event["class_uid"], class);
        assert!(!event[part].is_null(), "{kind}");
    }
}

#[test]
fn every_form_gives_the_leaf_back() {
    for form in Form::ALL {
        let line = shown(form);
        assert_eq!(leaf_of(form, line.strip_suffix('\n').unwrap().as_bytes()).unwrap(), LEAF.as_bytes(), "{form:?}");
        assert_eq!(Form::from_name(form.name()), Some(form));
    }
}

proptest! {
    #[test]
    fn any_text_in_a_record_stays_on_its_line_and_comes_back(act in any::<String>(), error in any::<String>(), model in any::<String>()) {
        let text = |text: &str| serde_json::to_string(text).unwrap();
        let bytes = format!(
            r#"{{"act":{},"obj":{{"model":{}}},"res":{{"err":{}}},"type":"infer.end"}}"#, text(&act), text(&model), text(&error)
        ).into_bytes();
        let leaf = Leaf::parse(&bytes).unwrap();
        for form in Form::ALL {
            let line = line(form, 3, &bytes, &leaf);
            let (newline, rest) = line.split_last().unwrap();
            prop_assert_eq!(*newline, b'\n');
            prop_assert!(!rest.contains(&b'\n'), "{:?}", form);
            let read = leaf_of(form, rest);
            prop_assert_eq!(read.as_deref(), Ok(bytes.as_slice()), "{:?}", form);
        }
    }

    #[test]
    fn arbitrary_lines_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in "(<|CEF:0| rawEvent=|\"|,|\\\\|\r|[{}]|.){0,40}") {
        for form in Form::ALL {
            let _ = leaf_of(form, &bytes);
            let _ = leaf_of(form, text.as_bytes());
        }
    }
}
