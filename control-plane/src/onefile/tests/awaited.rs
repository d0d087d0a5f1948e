//! Wishes that cannot be carried out: in nobody's way, told with their reason, carried out once they can be. Devices that a file
//! takes out of a rollout: said before, and on record there.

use super::*;
use crate::config::ModelRules;
use crate::models::ApprovalRequest;
use crate::rollouts::{RolloutRequest, WaveRequest};

const TILLS: &str = "[[assign]]\nwhere = \"name=till-*\"\nmodel = \"demo\"\n";

impl House {
    /// Where nothing runs that nobody approved.
    fn cautious() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("state"));
        config.models = ModelRules { approvals: true, ..ModelRules::default() };
        let made = Fleet::init(config, Clock::fixed(NOW_S)).unwrap();
        made.fleet.create_offline_keys(&dir.path().join("stick")).unwrap();
        Self { fleet: made.fleet, token: made.admin_token, dir }
    }

    fn approve(&self, selector: &str) {
        let request = ApprovalRequest { until_s: NOW_S + 60, selector: Some(selector.to_owned()), note: String::new() };
        self.fleet.approve_model(&"demo".parse().unwrap(), &request, "ada").unwrap();
    }

    fn model(&self, name: &str) -> Option<String> {
        Some(self.fleet.device(&id(name)).unwrap().assignment?.model?.to_string())
    }

    /// What is waited for, by device.
    fn waiting(&self, text: &str) -> Vec<String> {
        let waiting = self.plan(text, false).unwrap().waiting;
        waiting.iter().map(|one| format!("{}: {} {}", one.device, one.wants, one.words)).collect()
    }

    /// A rollout of `demo` to all tills: `till-2` first, `till-1` in the second wave.
    fn roll_out(&self) {
        let first = WaveRequest { selector: Some("name=till-2".to_owned()), ..WaveRequest::default() };
        let second = WaveRequest { percent: Some(100), ..WaveRequest::default() };
        let request = RolloutRequest {
            selector: "name=till-*".to_owned(),
            model: Some("demo".parse().unwrap()),
            waves: vec![first, second],
            ..RolloutRequest::named("march")
        };
        self.fleet.start_rollout("ada", &request).unwrap();
    }
}

#[test]
fn a_model_that_nobody_approved_spoils_neither_release_nor_enrolment_and_is_told_once_somebody_does() {
    let house = House::cautious();
    let _one = house.enrol_by_code("till-1");
    house.apply(TILLS);
    house.apply("[[device]]\nid = \"till-2\"\nmodel = \"demo\"\n[[device]]\nid = \"desk-3\"\nidle = true\n");
    house.release(&["demo"]);
    let (_two, _three) = (house.enrol_by_code("till-2"), house.enrol_by_code("desk-3"));
    assert_eq!([house.model("till-1"), house.model("till-2")], [None, None]);
    assert!(house.fleet.device(&id("desk-3")).unwrap().assignment.is_some(), "others are not held up by it");
    let why = "it waits for permission: `demo` is not approved for it, nobody approved it";
    assert_eq!(house.waiting(TILLS), [format!("till-1: demo {why}"), format!("till-2: demo {why}")]);
    let notes = house.plan(TILLS, false).unwrap().notes.join("\n");
    assert!(notes.contains("`till-1`, `till-2` wait for permission: `demo` is not approved"), "{notes}");
    let file = FleetFile::read(TILLS).unwrap();
    let drift = house.fleet.file_drift(&file).unwrap();
    assert_eq!(drift.iter().map(|one| one.words.as_str()).collect::<Vec<_>>(), [why, why]);

    house.approve("name=till-1");
    assert_eq!([house.model("till-1").as_deref(), house.model("till-2").as_deref()], [Some("demo"), None]);
    let other = "it waits for permission: `demo` is not approved for it, what ada approved is for `name=till-1`";
    assert_eq!(house.waiting(TILLS), [format!("till-2: demo {other}")]);
    house.release(&["demo", "second"]);
    house.approve("name=till-2");
    assert_eq!(house.model("till-2").as_deref(), Some("demo"));
    assert_eq!((house.waiting(TILLS), house.fleet.inner.database.awaited().unwrap()), (vec![], vec![]));

    // Whoever applies a file is told at once, and nothing of it is done.
    let file = "[[device]]\nid = \"till-1\"\nsite = \"moon\"\nmodel = \"second\"\n";
    let file = FleetFile::read(file).unwrap();
    let plan = house.fleet.plan_file(&file, false).unwrap();
    let refused = house.fleet.apply_plan(&file, &plan, false).unwrap_err().to_string();
    assert!(refused.contains("`second` may not be assigned to `till-1`: nobody approved it"), "{refused}");
    assert_eq!(house.fleet.device(&id("till-1")).unwrap().site, None);
}

#[test]
fn a_withdrawn_model_is_waited_for_until_that_is_taken_back() {
    let house = House::rooted();
    house.release(&["demo"]);
    house.apply("[[device]]\nid = \"till-1\"\nmodel = \"demo\"\n");
    let model = "demo".parse().unwrap();
    let request = crate::models::WithdrawalRequest { reason: "it leaks".into(), deadline_s: 0, target: None };
    house.fleet.withdraw_model(&model, &request, "ada").unwrap();
    let _one = house.enrol_by_code("till-1");
    assert_eq!(house.model("till-1"), None);
    let waiting = house.waiting(TILLS);
    assert!(
        waiting[0].contains("till-1: demo it waits for permission: `demo` was withdrawn by ada: it leaks"),
        "{waiting:?}"
    );
    house.fleet.restore_model(&model).unwrap();
    assert_eq!(house.model("till-1").as_deref(), Some("demo"));
}

#[test]
fn a_device_that_a_rollout_holds_stays_in_it_while_its_wish_waits() {
    let house = House::rooted();
    let (_one, _two) = (house.enrol_by_code("till-1"), house.enrol_by_code("till-2"));
    let file = "[[device]]\nid = \"till-1\"\nmodel = \"second\"\n";
    house.apply(file);
    house.release(&["demo"]);
    house.roll_out();
    house.release(&["demo", "second"]);
    assert_eq!((house.model("till-1"), house.model("till-2").as_deref()), (None, Some("demo")));
    assert_eq!(house.waiting(file), ["till-1: second it waits for the end of rollout march, wave 2"]);
    assert_eq!(house.plan(file, false).unwrap().notes, ["`till-1` wait for the end of rollout march, wave 2"]);
    house.fleet.abort_rollout("march", false).unwrap();
    assert_eq!(house.waiting(file), ["till-1: second it waits for the next look at it, within the hour"]);
    house.fleet.settle_awaited(None);
    assert_eq!(house.model("till-1").as_deref(), Some("second"));
}

#[test]
fn a_file_that_takes_a_device_out_of_a_rollout_says_so_and_the_rollout_has_it_on_record() {
    let house = House::rooted();
    house.release(&["demo", "second"]);
    let (_one, _two) = (house.enrol_by_code("till-1"), house.enrol_by_code("till-2"));
    house.roll_out();
    let file = "[[device]]\nid = \"till-1\"\nmodel = \"second\"\nsite = \"store-1\"\n[[device]]\nid = \"till-2\"\n";
    let plan = house.apply(file);
    assert_eq!(
        words(&plan.changes),
        ["till-1: site none → store-1", "till-1: model none → second; leaves rollout march, wave 2"]
    );
    let leaves = |change: &Change| change.leaves.as_ref().map(|leaves| (leaves.rollout.clone(), leaves.wave));
    assert_eq!(plan.changes.iter().map(leaves).collect::<Vec<_>>(), [None, Some(("march".to_owned(), 2))]);
    assert_eq!(house.model("till-1").as_deref(), Some("second"));
    // Who left is in it no more, and is not told again that it would leave.
    let again =
        house.plan("[[device]]\nid = \"till-1\"\nmodel = \"demo\"\n[[device]]\nid = \"till-2\"\n", false).unwrap();
    assert_eq!(words(&again.changes), ["till-1: model second → demo"]);

    let rollout = house.fleet.pause_rollout("march").unwrap();
    let told: Vec<_> = rollout.notices.iter().map(|notice| notice.text.as_str()).collect();
    assert!(told.contains(&"till-1 left: now by a fleet file"), "{told:?}");
    let (members, _) = house.fleet.rollout_devices("march", None, None, 10).unwrap();
    let members: Vec<_> = members.iter().map(|one| (one.device.as_str(), one.status, one.reason.as_deref())).collect();
    assert_eq!(members[0], ("till-1", "superseded", Some("now by a fleet file")));
    assert_eq!(members[1].1, "assigned", "till-2 goes on");

    // So does a device that goes altogether.
    let plan = house.plan("[[device]]\nid = \"till-1\"\nsite = \"store-1\"\n", true).unwrap();
    assert_eq!(words(&plan.changes)[0], "till-2: revoked; leaves rollout march, wave 1");
}
