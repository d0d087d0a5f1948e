//! The inventory over a crowd: what pages, selectors, groups, overview and what-if say, and what a device cannot do to them.

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::AFTER_ALL;

const NOW_S: i64 = 1_800_000_000;

struct House {
    fleet: Fleet,
    _dir: tempfile::TempDir,
}

fn house(crowd: usize) -> House {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path().join("state"));
    let fleet = Fleet::init(config, Clock::fixed(NOW_S)).unwrap().fleet;
    fleet.add_crowd(crowd).unwrap();
    House { fleet, _dir: dir }
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn count(fleet: &Fleet, selector: &str) -> u64 {
    let preview = fleet.preview(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
    assert_eq!(fleet.select(&fleet.selector(selector).unwrap()).unwrap().len() as u64, preview.count, "{selector}");
    preview.count
}

fn catalogue(fleet: &Fleet) {
    fleet.add_crowd_models().unwrap();
}

#[test]
fn pages_hold_every_device_once_in_order_whatever_their_size() {
    let House { fleet, .. } = &house(120);
    for (selector, limit) in [("all", 7), ("all", 500), ("drift", 3), ("name=box-0001*", 1)] {
        let chosen = fleet.selector(selector).unwrap();
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = fleet.views(&chosen, after.as_ref(), limit).unwrap();
            assert!(page.devices.len() <= limit);
            seen.extend(page.devices.iter().map(|view| view.device.clone()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, fleet.select(&chosen).unwrap(), "{selector}");
        assert!(!seen.is_empty() && seen.is_sorted());
    }
}

#[test]
fn one_device_is_seen_as_in_the_list() {
    let House { fleet, .. } = &house(30);
    let page = fleet.views(&Selector::all(), None, 100).unwrap();
    assert_eq!((page.devices.len(), page.next.clone()), (30, None));
    for view in page.devices {
        assert_eq!(fleet.view(&view.device).unwrap(), view);
    }
    assert!(matches!(fleet.view(&id("box-0000")), Err(FleetError::UnknownDevice(_))));
    let refused = fleet.view(&id("box-00003")).unwrap();
    assert_eq!(refused.drift.state(), "refused");
    assert!(refused.words.contains("needs 2.6 GiB"), "{}", refused.words);
    assert_eq!(refused.last_error.as_deref(), Some(refused.words.as_str()));
    let waiting = fleet.view(&id("box-00004")).unwrap();
    assert_eq!((waiting.drift.state(), waiting.last_error), ("waiting", None));
    assert_eq!(waiting.next_retry.as_deref(), Some("models are fetched from 22:00 to 05:00"));
}

#[test]
fn presence_follows_the_newest_connection_and_an_old_will_hides_none() {
    let House { fleet, .. } = &house(3);
    let (till, topic) = (id("box-00001"), |leaf: &str| format!("op/1/default/d/box-00001/up/{leaf}"));
    let hello = |connection: u64| {
        let hello = serde_json::json!({"v": 1, "device": "box-00001", "boot": "b1", "connection": connection,
            "agent": "0", "desired_version": 1});
        (topic("hello"), bytes::Bytes::from(hello.to_string()))
    };
    let will = |connection: u64| {
        let gone = serde_json::json!({"v": 1, "online": false, "boot": "b1", "connection": connection});
        (topic("presence"), bytes::Bytes::from(gone.to_string()))
    };
    let online = |messages| {
        crate::ingest::take_in(fleet, messages).unwrap();
        assert_eq!(count(fleet, "name=box-00001 and online") == 1, fleet.view(&till).unwrap().online);
        fleet.view(&till).unwrap().online
    };
    assert!(online(vec![hello(2)]));
    // The will of a connection before, late.
    assert!(online(vec![will(1)]));
    // The moment that the broker says so, it is so.
    assert!(!online(vec![will(2)]));
    assert!(online(vec![hello(3)]));
    fleet.inner.database.all_offline().unwrap();
    assert!(!online(vec![]), "nobody is online at a broker that has gone");
    assert!(online(vec![hello(4)]));
    fleet.revoke(&till).unwrap();
    assert!(!online(vec![]));
}

#[test]
fn a_device_that_fell_back_is_seen_by_the_newest_report_whatever_comes_late() {
    let House { fleet, .. } = &house(2);
    let mut reported = fleet.device(&id("box-00001")).unwrap().reported.unwrap();
    let mut say = |sequence, agent: &str| {
        (reported.sequence, reported.agent) = (sequence, agent.to_owned());
        let payload = serde_json::to_vec(&reported).unwrap().into();
        crate::ingest::take_in(fleet, vec![("op/1/default/d/box-00001/up/reported".into(), payload)]).unwrap();
    };
    say(5, "0.5.0");
    say(4, "0.4.0");
    assert_eq!(count(fleet, "agent=0.5"), 1);
    assert_eq!(count(fleet, "agent=0.4"), 0);
}

#[test]
fn what_a_device_says_has_an_end_and_steers_nothing() {
    let House { fleet, .. } = &house(2);
    let evil = "\u{1b}[2J\u{202e}<script>\n".repeat(100);
    let mut reported = fleet.device(&id("box-00001")).unwrap().reported.unwrap();
    reported.sequence = 9;
    reported.agent.clone_from(&evil);
    let reason = outpost_contract::Reason {
        code: outpost_contract::ReasonCode::DoesNotFit,
        subject: evil.clone(),
        detail: evil.clone(),
    };
    reported.reasons = vec![reason; 3];
    reported.plan = vec![evil.clone(); 3];
    let measured = reported.measurements.as_mut().unwrap();
    measured.cpu.clone_from(&evil);
    measured.features = vec![evil.clone(), "avx2,fma".into(), "neon".into()];
    measured.memory_total_bytes = u64::MAX;
    measured.memory_available_bytes = u64::MAX;
    measured.cores = u32::MAX;
    measured.measured_at_s = i64::MIN;
    measured.memory_read_bytes_per_second = u64::MAX;
    let payload = serde_json::to_vec(&reported).unwrap().into();
    crate::ingest::take_in(fleet, vec![("op/1/default/d/box-00001/up/reported".into(), payload)]).unwrap();
    let view = fleet.view(&id("box-00001")).unwrap();
    assert_eq!(view.drift.state(), "refused", "the report was kept");
    let texts = [&view.agent, &view.words, &view.plan[0], &view.line(NOW_S), &view.machine.unwrap().cpu];
    for text in texts.into_iter().chain(view.reasons.iter().map(|cause| &cause.subject)) {
        assert!(text.chars().count() < 1_500 && !text.contains(['\u{1b}', '\u{202e}', '\n']), "{text:?}");
    }
    assert_eq!(count(fleet, "feature=neon and memory>8TiB"), 1);
    assert_eq!(count(fleet, "feature=fma and name=box-00001"), 0, "two words in one are none");
    let overview = fleet.overview().unwrap();
    assert!(overview.agents.keys().all(|agent| agent.chars().count() <= 41 && !agent.contains('\u{1b}')));
    catalogue(fleet);
    let question = Question {
        model: "qwen3-0.6b".parse().unwrap(),
        context_tokens: u32::MAX,
        tokens_per_second: 8.0,
        selector: None,
        limit: 9,
    };
    assert_eq!(fleet.what_if(&question).unwrap().hold, 0);
}

#[test]
fn labels_and_groups_select_and_what_cannot_be_is_refused() {
    let House { fleet, .. } = &house(50);
    let till = id("box-00001");
    let set = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    let labels = fleet.set_labels(&till, &set("stage", "canary"), &["role".to_owned(), "absent".to_owned()]).unwrap();
    assert_eq!(labels, set("stage", "canary"));
    assert_eq!(count(fleet, "label.stage=canary"), 1);
    for (key, value) in [("Stage", "a"), ("stage", ""), ("stage", "<b>"), ("", "a"), ("stage", "a b")] {
        assert!(
            matches!(fleet.set_labels(&till, &set(key, value), &[]), Err(FleetError::Inventory(_))),
            "{key} {value}"
        );
    }
    assert!(matches!(fleet.set_labels(&id("nobody"), &set("a", "b"), &[]), Err(FleetError::UnknownDevice(_))));
    let many = (0..65).map(|number| (format!("key-{number}"), "a".to_owned())).collect();
    assert!(fleet.set_labels(&till, &many, &[]).is_err());
    assert_eq!(fleet.labels(&till).unwrap().len(), 1, "all or none");

    let group = |name: &str, selector: Option<&str>, members: &[&str]| Group {
        name: name.into(),
        description: "of a test".into(),
        selector: selector.map(str::to_owned),
        members: members.iter().map(|name| id(name)).collect(),
    };
    let keep = |one: Group| fleet.keep_group(&one);
    keep(group("lab", None, &["box-00001", "box-00002"])).unwrap();
    keep(group("canary", Some("label.stage=canary or group=lab"), &[])).unwrap();
    assert_eq!((count(fleet, "group=lab"), count(fleet, "group=canary"), count(fleet, "group!=canary")), (2, 2, 48));
    assert_eq!(fleet.view(&till).unwrap().groups, ["canary".to_owned(), "lab".to_owned()].into());
    assert_eq!(fleet.groups().unwrap().len(), 2);
    assert!(matches!(fleet.selector("group=labs"), Err(FleetError::UnknownGroup(_))));
    for bad in [
        group("Lab", None, &[]),
        group("both", Some("all"), &["box-00001"]),
        group("circle", Some("group=circle"), &[]),
        group("lab", Some("group=canary"), &[]),
        group("stranger", None, &["nobody"]),
        group("unknown", Some("group=nothing"), &[]),
        group("wrong", Some("memry>1"), &[]),
    ] {
        assert!(keep(bad.clone()).is_err(), "{bad:?}");
    }
    assert_eq!(fleet.groups().unwrap().len(), 2, "what was refused left nothing");
    assert!(matches!(fleet.remove_group("lab"), Err(FleetError::Inventory(_))), "canary is defined by it");
    fleet.remove_group("canary").unwrap();
    fleet.remove_group("lab").unwrap();
    assert!(matches!(fleet.remove_group("lab"), Err(FleetError::UnknownGroup(_))));
    assert_eq!(fleet.view(&till).unwrap().groups.len(), 0);
}

#[test]
fn the_overview_counts_what_selectors_count() {
    let House { fleet, .. } = &house(400);
    fleet.revoke(&id("box-00010")).unwrap();
    let overview = fleet.overview().unwrap();
    assert_eq!((overview.devices, overview.revoked), (399, 1));
    assert_eq!(overview.online, count(fleet, "online"));
    assert_eq!(overview.drifting, count(fleet, "drift"));
    assert!(overview.states.len() >= 6, "{:?}", overview.states);
    for (state, devices) in &overview.states {
        assert_eq!(*devices, count(fleet, &format!("state={state}")), "{state}");
    }
    for (agent, devices) in &overview.agents {
        assert_eq!(*devices, count(fleet, &format!("agent={agent} and not revoked")), "{agent}");
    }
    assert_eq!(overview.states.values().sum::<u64>(), 399);
    assert_eq!(overview.models.values().sum::<u64>(), 399);
    assert_eq!(overview.certificates.iter().map(|bucket| bucket.devices).sum::<u64>(), 399);
    assert_eq!(overview.certificates[2].devices, count(fleet, "certificate>=7d and certificate<30d and not revoked"));
    assert_eq!(
        overview.speeds.iter().map(|bucket| bucket.devices).sum::<u64>(),
        overview.models.values().sum::<u64>() - overview.models["nothing"]
    );
    assert_eq!(overview.never_measured, count(fleet, "not measured and not revoked"));
    assert_eq!((overview.sites.len(), overview.sites[0].devices, overview.other_sites), (16, 25, 0));
}

#[test]
fn what_if_answers_for_every_device_and_says_what_the_others_lack() {
    let House { fleet, .. } = &house(240);
    catalogue(fleet);
    let ask = |context_tokens, tokens_per_second, selector: Option<&str>, limit| {
        let selector = selector.map(str::to_owned);
        fleet.what_if(&Question {
            model: "qwen3-0.6b".parse().unwrap(),
            context_tokens,
            tokens_per_second,
            selector,
            limit,
        })
    };
    let answer = ask(8192, 8.0, None, 1000).unwrap();
    assert_eq!((answer.of, answer.devices.len()), (240, 240));
    let (held, lacking): (Vec<_>, Vec<_>) = answer.devices.iter().partition(|one| one.lack.is_none());
    assert_eq!(answer.hold, held.len() as u64);
    assert_eq!(answer.variants.values().sum::<u64>(), answer.hold);
    assert!(held.iter().all(|one| one.context_tokens >= 8192 && one.tokens_per_second_milli >= 8_000));
    let kind =
        |lack: fn(&Lack) -> bool| lacking.iter().filter(|one| one.lack.as_ref().is_some_and(lack)).count() as u64;
    let slow = kind(|lack| matches!(lack, Lack::Speed { tokens_per_second_milli } if *tokens_per_second_milli < 8_000));
    let narrow = kind(|lack| matches!(lack, Lack::Memory { missing_bytes } if *missing_bytes > 0));
    let never = kind(|lack| *lack == Lack::NeverMeasured);
    assert!(slow > 0 && narrow > 0 && never > 0, "{}", answer.summary);
    assert_eq!(answer.hold + slow + narrow + never, 240, "{}", answer.summary);
    assert_eq!(never, count(fleet, "not measured"));
    let words = format!("{} of 240 hold it; {narrow} lack memory (", answer.hold);
    assert!(answer.summary.starts_with(&words), "{}", answer.summary);
    assert!(answer.summary.ends_with(&format!(", {never} never measured")), "{}", answer.summary);

    let some = ask(512, 0.0, Some("site=store-1"), 3).unwrap();
    assert_eq!((some.of, some.devices.len()), (25, 3), "counted are all, shown are some");
    assert!(matches!(ask(512, f64::NAN, None, 1), Err(FleetError::Inventory(_))));
    assert!(matches!(ask(512, 0.0, Some("site"), 1), Err(FleetError::Selector(_))));
    let unknown = Question {
        model: "other".parse().unwrap(),
        context_tokens: 1,
        tokens_per_second: 0.0,
        selector: None,
        limit: 1,
    };
    assert!(matches!(fleet.what_if(&unknown), Err(FleetError::UnknownModel(_))));
}

#[test]
fn a_database_of_an_earlier_release_gets_its_facts_when_it_is_opened() {
    let House { fleet, _dir } = house(60);
    let before = fleet.overview().unwrap();
    let forget = |table: &str| {
        let sql = format!("DELETE FROM {table}");
        fleet.inner.database.write(|connection| Ok(connection.execute(&sql, [])?)).unwrap();
    };
    forget("facts");
    forget("measurements");
    assert_ne!(fleet.overview().unwrap(), before);
    let config = fleet.config().clone();
    drop(fleet);
    let fleet = Fleet::open(config, Clock::fixed(NOW_S)).unwrap();
    assert_eq!(fleet.overview().unwrap(), before);
    assert_eq!(fleet.inner.database.measurements("", AFTER_ALL).unwrap().len() as u64, count(&fleet, "measured"));
}

/// Says how long each question takes; p95 of 40, milliseconds. `OUTPOST_DEVICES=10000 cargo test --release -p outpost-control
/// --lib many_devices -- --nocapture` measures; the short form only answers every question in a crowd.
#[test]
#[expect(clippy::print_stdout, reason = "a measurement says what it measured")]
fn every_question_is_answered_with_many_devices() {
    let devices: usize = std::env::var("OUTPOST_DEVICES").map_or(200, |text| text.parse().unwrap());
    let House { fleet, .. } = &house(devices);
    catalogue(fleet);
    let measure = |name: &str, ask: &dyn Fn()| {
        let mut times: Vec<f64> = (0..40)
            .map(|_| {
                let start = std::time::Instant::now();
                ask();
                start.elapsed().as_secs_f64() * 1000.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{name:<40} median {:>7.1} ms   p95 {:>7.1} ms", times[20], times[37]);
    };
    let middle = id(&format!("box-{:05}", devices / 2));
    let page = |selector: &str| {
        let selector = fleet.selector(selector).unwrap();
        fleet.views(&selector, Some(&middle), 100).unwrap();
    };
    measure("view of one device", &|| drop(fleet.view(&middle).unwrap()));
    measure("page of 100", &|| page("all"));
    measure("page of 100 by site (25 found)", &|| page("site=store-399"));
    measure("page of 100 that drift", &|| page("drift and label.role=till"));
    measure("preview over all", &|| drop(fleet.preview("memory>=8GiB and not online").unwrap()));
    measure("overview", &|| drop(fleet.overview().unwrap()));
    let question = Question {
        model: "qwen3-0.6b".parse().unwrap(),
        context_tokens: 8192,
        tokens_per_second: 8.0,
        selector: None,
        limit: 1000,
    };
    measure("what-if over all", &|| drop(fleet.what_if(&question).unwrap()));
    let answer = fleet.what_if(&question).unwrap();
    println!("{}", answer.summary);
    assert_eq!(fleet.overview().unwrap().devices as usize, devices);
    assert!(!answer.summary.is_empty());
}
