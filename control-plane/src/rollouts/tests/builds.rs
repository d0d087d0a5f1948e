//! Rollouts of the agent itself: the same waves and gates, and what a roll-back gives back.

use outpost_contract::{BuildSource, BuildVersion, Desired};
use outpost_trust::Envelope;

use super::*;
use crate::builds::Build;
use crate::keys::OfflineKeys;

const TRIPLES: [(&str, u8); 2] = [("x86_64-unknown-linux-gnu", 62), ("aarch64-unknown-linux-gnu", 183)];

fn version(text: &str) -> BuildVersion {
    text.parse().unwrap()
}

/// What a device tells whose agent can be replaced.
fn runs(text: &str) -> Option<BuildReport> {
    let (target, source) = (TRIPLES[0].0.parse().unwrap(), BuildSource::Packaged);
    Some(BuildReport { version: version(text), target, sha256: None, source, trial: false, rolled_back: None })
}

/// A rollout of nothing but a build.
fn of_build(name: &str, build: &str) -> RolloutRequest {
    RolloutRequest { model: None, build: Some(version(build)), ..request(name) }
}

impl House {
    /// Releases a version for every kind of machine.
    #[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
    fn publish(&self, text: &str) {
        let builds = TRIPLES.map(|(triple, machine)| {
            let path = self.dir.path().join(format!("{text}-{triple}"));
            let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
            bytes.resize(16, 0);
            bytes.extend([3, 0, machine, 0]);
            bytes.extend(text.bytes());
            std::fs::write(&path, bytes).unwrap();
            Build { path, version: version(text), target: triple.parse().unwrap(), state_format: 1 }
        });
        let keys = OfflineKeys::load(&self.dir.path().join("keys")).unwrap();
        self.fleet.release(&keys, ReleaseRequest { builds: builds.into(), ..ReleaseRequest::default() }).unwrap();
    }

    /// The builds that a device was told to run.
    fn told(&self, device: &str) -> Vec<String> {
        let (_, _, envelope) = self.fleet.inner.database.signed_for(&[id(device)]).unwrap().pop().unwrap();
        let desired: Desired = serde_json::from_slice(Envelope::parse(&envelope).unwrap().unproven_payload()).unwrap();
        desired.agent.into_iter().map(|pin| pin.name.to_string()).collect()
    }
}

fn names(text: &str) -> Vec<String> {
    let mut names = TRIPLES.map(|(triple, _)| format!("agent-{text}.{triple}"));
    names.sort();
    names.into()
}

#[test]
fn a_build_goes_through_the_waves_and_a_broken_one_stops_at_the_first_and_goes_back() {
    let devices = ["a", "b", "c"];
    let mut house = House::new(&devices);
    house.build = runs("0.1.0");
    house.all_apply(&devices);
    house.publish("0.2.0");
    let mut driver = house.driver();
    let started = house.fleet.start_rollout("ada", &of_build("march", "0.2.0")).unwrap();
    assert_eq!(started.change, "agent `0.2.0`");
    assert_eq!((house.told("a"), house.told("b"), house.model("a")), (names("0.2.0"), vec![], "old".into()));
    house.build = runs("0.2.0");
    house.apply("a");
    driver.turn().unwrap();
    house.clock.advance(60);
    driver.turn().unwrap();
    assert_eq!(house.told("c"), names("0.2.0"));
    house.all_apply(&devices);
    driver.turn().unwrap();
    house.clock.advance(60);
    driver.turn().unwrap();
    assert_eq!(house.state("march"), "completed");
    assert_eq!(house.fleet.builds().unwrap().iter().map(|build| build.wanted_by).collect::<Vec<_>>(), [3, 3]);

    house.publish("0.3.0");
    assert_eq!(house.told("a"), names("0.2.0"), "a release alone changes nothing");
    let before = house.version("b");
    house.fleet.start_rollout("ada", &of_build("april", "0.3.0")).unwrap();
    assert_eq!((house.told("a"), house.told("b")), (names("0.3.0"), names("0.2.0")));
    house.say("a", Some(ReasonCode::BuildRolledBack));
    driver.turn().unwrap();
    assert_eq!((house.state("april"), house.told("a")), ("rolling_back".into(), names("0.2.0")));
    house.apply("a");
    driver.turn().unwrap();
    let ended = house.fleet.rollout("april").unwrap();
    assert_eq!(ended.state, "rolled_back");
    assert!(ended.notices.iter().any(|notice| notice.text == "a failed: it refuses: build_rolled_back"));
    assert_eq!((house.told("b"), house.version("b")), (names("0.2.0"), before), "nobody else was told of it");
}

#[test]
fn a_device_goes_back_to_what_it_ran_if_that_was_released_and_keeps_the_new_one_if_not() {
    let mut house = House::new(&["a"]);
    house.build = runs("0.1.0");
    house.apply("a");
    house.publish("0.2.0");
    let once = |name: &str| RolloutRequest { on_failure: OnFailure::Pause, ..of_build(name, "0.2.0") };
    house.fleet.start_rollout("ada", &once("march")).unwrap();
    house.fleet.abort_rollout("march", true).unwrap();
    assert_eq!(house.told("a"), Vec::<String>::new(), "0.1.0 is nowhere to be had");
    house.publish("0.1.0");
    house.apply("a");
    house.driver().turn().unwrap();
    house.fleet.start_rollout("ada", &once("april")).unwrap();
    house.fleet.abort_rollout("april", true).unwrap();
    assert_eq!(house.told("a"), names("0.1.0"));
    // Whoever assigns a model leaves the agent as it was told to be.
    house.fleet.assign(&id("a"), &assigned("new")).unwrap();
    assert_eq!(house.told("a"), names("0.1.0"));
}

#[test]
fn an_agent_that_a_rollout_cannot_replace_is_told_nothing_and_counts_as_failed() {
    let mut house = House::new(&["a", "b"]);
    house.publish("0.2.0");
    let before = house.version("a");
    let unknown = house.fleet.start_rollout("ada", &of_build("march", "0.9.0")).unwrap_err();
    assert!(matches!(unknown, FleetError::UnknownBuild(_)), "{unknown}");
    let mut driver = house.driver();
    let asked = RolloutRequest { on_failure: OnFailure::Pause, ..of_build("march", "0.2.0") };
    house.fleet.start_rollout("ada", &asked).unwrap();
    driver.turn().unwrap();
    let stands = house.fleet.rollout("march").unwrap();
    assert_eq!(stands.state, "paused");
    assert!(stands.failures[0].reason.as_deref().is_some_and(|reason| reason.ends_with("build_refused")), "{stands:?}");
    assert_eq!((house.version("a"), house.told("a")), (before, vec![]));
    // Once its package is newer, it takes part.
    house.build = runs("0.1.0");
    house.all_apply(&["a", "b"]);
    house.fleet.retry_rollout("march").unwrap();
    assert_eq!(house.told("a"), names("0.2.0"));
}
