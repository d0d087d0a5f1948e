//! The guard and the written rules say the same: their texts are read here as those brokers read them.

use std::sync::Arc;

use outpost_contract::Up;

use super::*;
use crate::broker::Guard;

const MOSQUITTO: &str = include_str!("../../../../cross/package/mosquitto/acl");
const EMQX: &str = include_str!("../../../../cross/package/emqx/acl.conf");

fn rules(tenant: &str) -> Rules {
    Rules::new(tenant.parse().unwrap())
}

#[test]
fn the_committed_files_are_what_the_command_writes() {
    let written = rules("default");
    assert_eq!(MOSQUITTO, written.written_for(Dialect::Mosquitto), "cross/package/mosquitto/acl");
    assert_eq!(EMQX, written.written_for(Dialect::Emqx), "cross/package/emqx/acl.conf");
}

#[test]
fn a_new_topic_of_devices_is_not_forgotten() {
    for (up, _) in SAYS {
        // Does this not compile? The new topic belongs into `SAYS`, or no broker lets devices say it.
        match up {
            Up::Hello | Up::Presence | Up::Reported | Up::Response | Up::Event => {}
            Up::BlobRequest | Up::AuditCheckpoint | Up::AuditEntries => {}
        }
    }
    assert!(SAYS.iter().enumerate().all(|(at, (up, _))| !SAYS[..at].iter().any(|(before, _)| before == up)));
}

/// Whether a filter names a topic, or everything that another filter names.
fn covers(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(one), Some(other)) if one == other => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// As Mosquitto reads an `acl_file`: `user` begins a user's rules, `pattern` is for everybody.
fn mosquitto(text: &str, user: &str, writes: bool, topic: &str) -> bool {
    let (mut of, mut allowed) = (None, false);
    for words in text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').collect::<Vec<_>>()) {
        let grants = |access: &str| access == "readwrite" || (access == "write") == writes;
        match words[..] {
            ["user", name] => of = Some(name.to_owned()),
            ["topic", access, filter] if of.as_deref() == Some(user) => {
                allowed |= grants(access) && covers(filter, topic)
            }
            ["topic", ..] | [""] => {}
            ["pattern", access, filter] => allowed |= grants(access) && covers(&filter.replace("%u", user), topic),
            _ => panic!("{words:?} is no rule"),
        }
    }
    allowed
}

/// As EMQX reads an `acl.conf`: terms that end with a point, the first that fits decides.
fn emqx(text: &str, user: &str, writes: bool, topic: &str, retain: bool) -> bool {
    let plain: String = text.lines().filter(|line| !line.starts_with("%%")).collect();
    for term in plain.split("}.").filter(|term| !term.trim().is_empty()) {
        let term = term.trim().strip_prefix('{').expect("a tuple");
        if term == "deny, all" {
            return false;
        }
        let (head, topics) = term.strip_prefix("allow, ").expect("allow").split_once(", [\"").unwrap_or_else(|| {
            let at = term.find(", [    \"").expect("topics");
            (&term["allow, ".len()..at], &term[at + 8..])
        });
        let (who, action) = match head.strip_prefix("{username, \"") {
            Some(rest) => rest.split_once("\"}, ").map(|(name, action)| (Some(name), action)).expect("a user"),
            None => (None, head.strip_prefix("all, ").expect("everybody")),
        };
        let acts = match action {
            "all" => true,
            "publish" => writes,
            "subscribe" => !writes,
            "{publish, [{retain, false}]}" => writes && !retain,
            other => panic!("`{other}` is no action"),
        };
        let topics = topics.replace("${username}", user);
        let fits =
            topics.trim_end_matches(['"', ']']).split(',').any(|filter| covers(filter.trim().trim_matches('"'), topic));
        if acts && fits && who.is_none_or(|who| who == user) {
            return true;
        }
    }
    panic!("the last rule refuses everything")
}

/// Who, does what with which topic, kept or not, and what must come of it: in the broker inside, in Mosquitto, in EMQX.
const CASES: &[(&str, bool, &str, bool, [bool; 3])] = &[
    // Publishing.
    ("till-1", true, "op/1/acme/d/till-1/up/hello", false, [true; 3]),
    ("till-1", true, "op/1/acme/d/till-1/up/presence", false, [true; 3]),
    ("till-1", true, "op/1/acme/d/till-1/up/presence", true, [true; 3]),
    ("till-1", true, "op/1/acme/d/till-1/up/reported", false, [true; 3]),
    ("till-1", true, "op/1/acme/d/till-1/up/res", false, [true; 3]),
    ("till-1", true, "op/1/acme/d/till-1/up/event", false, [true; 3]),
    ("till-1", true, "op/1/acme/d/till-1/up/blob/req", false, [true; 3]),
    ("till-1", true, "op/1/acme/d/till-1/up/audit/checkpoint", false, [true; 3]),
    ("till-1", true, "op/1/acme/d/till-1/up/audit/entries", false, [true; 3]),
    // Mosquitto's rules do not look at whether something is kept; its README says so.
    ("till-1", true, "op/1/acme/d/till-1/up/reported", true, [false, true, false]),
    ("till-1", true, "op/1/acme/d/till-1/up/hello", true, [false, true, false]),
    ("till-1", true, "op/1/acme/d/till-1/up/other", false, [false; 3]),
    ("till-1", true, "op/1/acme/d/till-1/up/hello/more", false, [false; 3]),
    ("till-1", true, "op/1/acme/d/till-1/down/desired", false, [false; 3]),
    ("till-1", true, "op/1/acme/d/till-2/up/reported", false, [false; 3]),
    ("till-1", true, "op/1/acme/d/till-11/up/reported", false, [false; 3]),
    ("till-1", true, "op/1/other/d/till-1/up/reported", false, [false; 3]),
    ("till-1", true, "op/2/acme/d/till-1/up/reported", false, [false; 3]),
    ("till-1", true, "$SYS/broker", false, [false; 3]),
    ("control-plane", true, "op/1/acme/d/till-1/down/desired", true, [true; 3]),
    ("control-plane", true, "op/1/acme/d/till-1/down/blob/7", false, [true; 3]),
    ("control-plane", true, "op/1/acme/d/till-1/up/presence", true, [true; 3]),
    // Subscribing.
    ("till-1", false, "op/1/acme/d/till-1/down/#", false, [true; 3]),
    ("till-1", false, "op/1/acme/d/till-1/down/blob/+", false, [true; 3]),
    ("till-1", false, "op/1/acme/d/till-1/down/desired", false, [true; 3]),
    ("till-1", false, "#", false, [false; 3]),
    ("till-1", false, "op/1/acme/d/+/down/#", false, [false; 3]),
    ("till-1", false, "op/1/acme/d/till-1/#", false, [false; 3]),
    ("till-1", false, "op/1/acme/d/till-1/up/#", false, [false; 3]),
    ("till-1", false, "op/1/acme/d/till-2/down/#", false, [false; 3]),
    ("till-1", false, "op/1/acme/d/till-11/down/#", false, [false; 3]),
    ("till-1", false, "op/1/other/d/till-1/down/#", false, [false; 3]),
    ("till-1", false, "+/1/acme/d/till-1/down/#", false, [false; 3]),
    ("till-1", false, "$SYS/#", false, [false; 3]),
    ("control-plane", false, "op/1/acme/d/till-1/up/hello", false, [true; 3]),
    // Mosquitto grants any filter and looks at each message when it delivers it, so there the filter needs no rule.
    ("control-plane", false, "op/1/+/d/+/up/#", false, [true, false, true]),
];

#[test]
fn guard_and_written_rules_agree() {
    let rules = rules("acme");
    let guard = Guard::new("acme".parse().unwrap(), Arc::new(|_| true));
    let (for_mosquitto, for_emqx) = (rules.written_for(Dialect::Mosquitto), rules.written_for(Dialect::Emqx));
    for &(user, writes, topic, retain, expected) in CASES {
        let said = [
            guard.lets(user, writes, topic, retain),
            mosquitto(&for_mosquitto, user, writes, topic),
            emqx(&for_emqx, user, writes, topic, retain),
        ];
        assert_eq!(said, expected, "{user} {} {topic}", if writes { "says" } else { "hears" });
    }
}

#[test]
fn no_name_of_a_device_is_more_than_a_name_in_a_pattern() {
    for name in ["+", "#", "a/b", "%u", "${username}", "till-1/down/#"] {
        assert!(name.parse::<DeviceId>().is_err(), "{name}");
    }
}
