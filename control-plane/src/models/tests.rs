//! What may be assigned: licences, approvals with their ends, withdrawals; what runs goes on.

use outpost_contract::{
    Blake3, BlobRef, Chunk, Desired, DeviceId, GoldenPrompts, Manifest, ModelFacts, Sha256, TargetKind, VariantFacts,
};

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Assignment, StoredTarget};
use crate::fleet::{Fleet, FleetError};

const NOW_S: i64 = 1_800_000_000;
const DAY_S: i64 = 24 * 60 * 60;

pub(crate) struct House {
    pub(crate) fleet: Fleet,
    pub(crate) token: String,
    dir: tempfile::TempDir,
}

impl House {
    /// A fleet of 20 devices that asks for what `rules` says.
    pub(crate) fn new(rules: crate::config::ModelRules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { models: rules, ..Config::new(dir.path().join("state")) };
        let made = Fleet::init(config, Clock::fixed(NOW_S)).unwrap();
        made.fleet.add_crowd(20).unwrap();
        let house = Self { fleet: made.fleet, token: made.admin_token, dir };
        house.release(&[
            ("alpha", "Q8_0", "apache-2.0", 1),
            ("alpha", "Q4_0", "apache-2.0", 2),
            ("beta", "Q4_0", "", 3),
        ]);
        house
    }

    /// The same fleet, so many seconds later.
    pub(crate) fn later(self, seconds: i64) -> Self {
        let config = self.fleet.config().clone();
        let now_s = self.fleet.now_s() + seconds;
        drop(self.fleet);
        Self { fleet: Fleet::open(config, Clock::fixed(now_s)).unwrap(), token: self.token, dir: self.dir }
    }

    /// Makes these the catalogue: model, quantisation, licence and a byte that the file is of.
    pub(crate) fn release(&self, variants: &[(&str, &str, &str, u8)]) {
        let of_crowd = [("qwen3-0.6b", 201), ("llama-3.2-1b", 202), ("phi-4-mini", 203)];
        let of_crowd = of_crowd.map(|(model, byte)| variant(model, "Q4_0", "apache-2.0", byte));
        let ours = variants.iter().map(|(model, q, licence, byte)| variant(model, q, licence, *byte));
        let targets: Vec<StoredTarget> = ours.chain(of_crowd).collect();
        let database = &self.fleet.inner.database;
        let previous = database.current_catalogue().unwrap().map(|current| current.reference.blake3);
        let number = u8::try_from(variants.len()).unwrap() + variants.first().map_or(0, |one| one.3 * 16);
        let reference = BlobRef { bytes: 1, blake3: Blake3([number; 32]), chunks: Vec::new() };
        assert!(database.publish(&targets, &reference, previous, NOW_S).unwrap());
    }

    fn assign(&self, device: &str, model: &str) -> Result<u64, FleetError> {
        let assignment = Assignment { model: Some(model.parse().unwrap()), minimum_context_tokens: 512 };
        self.fleet.assign(&id(device), &assignment)
    }

    /// What the newest signed document tells a device.
    fn told(&self, device: &str) -> Desired {
        let (_, _, envelope) = self.fleet.inner.database.signed_for(&[id(device)]).unwrap().pop().unwrap();
        let keys = self.fleet.inner.keys.accepted_directors();
        let read = outpost_trust::Envelope::parse(&envelope).unwrap();
        serde_json::from_slice(&read.verify(outpost_contract::desired::PAYLOAD_TYPE, &keys).unwrap()).unwrap()
    }

    fn variants(&self, device: &str) -> Vec<String> {
        let told = self.told(device).model.map(|model| model.variants).unwrap_or_default();
        told.into_iter().map(|pin| pin.name.to_string()).collect()
    }

    fn approve(&self, model: &str, days: i64, selector: Option<&str>) -> String {
        let request = ApprovalRequest {
            until_s: self.fleet.now_s() + days * DAY_S,
            selector: selector.map(str::to_owned),
            note: String::new(),
        };
        self.fleet.approve_model(&model.parse().unwrap(), &request, "ada").unwrap().id
    }

    fn refusal(&self, device: &str, model: &str) -> String {
        match self.assign(device, model) {
            Err(FleetError::Model(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

fn id(device: &str) -> DeviceId {
    device.parse().unwrap()
}

fn variant(model: &str, quantisation: &str, licence: &str, byte: u8) -> StoredTarget {
    let facts = VariantFacts {
        release: 1,
        model: ModelFacts {
            model: model.parse().unwrap(),
            architecture: "qwen3".into(),
            licence: licence.into(),
            parameters: 600_000_000,
            context_tokens: 32_768,
            layers: 28,
            embedding_length: 1024,
            vocabulary: 151_936,
            kv_elements_per_layer: 2048,
            feed_forward_length: 3072,
            query_elements: 2048,
        },
        quantisation: quantisation.into(),
        file_bytes: 7,
        weight_bytes: 7,
        quality_milli: if quantisation == "Q8_0" { 8_500 } else { 4_500 },
        golden: GoldenPrompts::default(),
        origin: None,
        footprint: None,
    };
    let digest = [byte; 32];
    let chunks = vec![Chunk { id: Blake3(digest), bytes: 7 }];
    let manifest =
        Manifest { v: 1, bytes: 7, blake3: Blake3(digest), sha256: Sha256(digest), chunking: "fixed".into(), chunks };
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let sha256 = Sha256(<sha2::Sha256 as sha2::Digest>::digest(&bytes).into());
    StoredTarget {
        name: format!("{model}.{quantisation}").parse().unwrap(),
        kind: TargetKind::Variant(facts),
        sha256,
        bytes,
    }
}

pub(crate) fn rules(approvals: bool, allow: &[&str], deny: &[&str]) -> crate::config::ModelRules {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    crate::config::ModelRules { approvals, allow: list(allow), deny: list(deny) }
}

#[test]
fn without_rules_everything_in_the_catalogue_can_be_assigned() {
    let house = House::new(rules(false, &[], &[]));
    house.assign("box-00001", "beta").unwrap();
    assert_eq!(house.variants("box-00001"), ["beta.Q4_0"]);
    assert!(house.told("box-00001").withdrawn.is_empty());
}

#[test]
fn what_needs_an_approval_is_assigned_with_one_that_covers_device_file_and_day() {
    let house = House::new(rules(true, &[], &[]));
    let refusal = house.refusal("box-00001", "alpha");
    assert!(
        refusal.contains("nobody approved it") && refusal.contains("outpost-control model approve alpha"),
        "{refusal}"
    );
    let ended = house.approve("alpha", 1, Some("name=box-00002"));
    assert!(house.refusal("box-00001", "alpha").contains("is for `name=box-00002`"));
    house.assign("box-00002", "alpha").unwrap();
    assert_eq!(house.variants("box-00002"), ["alpha.Q8_0", "alpha.Q4_0"]);
    // Another model is not meant by it.
    assert!(house.refusal("box-00002", "beta").contains("nobody approved it"));
    // What is released later was not approved; what was is still told.
    house.release(&[("alpha", "Q8_0", "apache-2.0", 9), ("alpha", "Q4_0", "apache-2.0", 2)]);
    house.fleet.sign_all().unwrap();
    assert_eq!(house.variants("box-00002"), ["alpha.Q4_0"]);
    let state = |house: &House| house.fleet.model_approvals(None).unwrap()[0].state;
    assert_eq!(state(&house), ApprovalState::Partly);
    // Its end stops nothing that runs, and nothing new comes by it.
    let house = house.later(2 * DAY_S);
    house.fleet.sign_all().unwrap();
    assert_eq!((house.variants("box-00002"), state(&house)), (vec!["alpha.Q4_0".to_owned()], ApprovalState::Ended));
    house.approve("alpha", 1, Some("name=box-00003"));
    let house = house.later(2 * DAY_S);
    assert!(house.refusal("box-00003", "alpha").contains("has ended"));
    house.fleet.revoke_model_approval(&ended, "bo").unwrap();
    assert!(matches!(
        house.fleet.revoke_model_approval(&ended, "bo"),
        Err(FleetError::Model(ModelError::NoApproval(_)))
    ));
    house.fleet.sign_all().unwrap();
    assert_eq!(house.variants("box-00002"), ["alpha.Q4_0"]);
}

#[test]
fn licences_are_allowed_denied_or_approved_and_a_denied_one_is_helped_by_nobody() {
    let house = House::new(rules(false, &["apache-2.0"], &["cc-by-nc-4.0"]));
    house.assign("box-00001", "alpha").unwrap();
    assert!(house.refusal("box-00001", "beta").contains("its licence is unknown, and nobody approved it"));
    house.approve("beta", 30, None);
    house.assign("box-00001", "beta").unwrap();
    house.release(&[("gamma", "Q4_0", "CC-BY-NC-4.0", 5)]);
    house.approve("gamma", 30, None);
    assert!(house.refusal("box-00001", "gamma").contains("on the list `deny`"));
}

#[test]
fn an_approval_that_cannot_be_is_refused_with_the_reason() {
    let house = House::new(rules(true, &[], &[]));
    let approve = |until_s, selector: Option<&str>, model: &str| {
        let request = ApprovalRequest { until_s, selector: selector.map(str::to_owned), note: String::new() };
        house.fleet.approve_model(&model.parse().unwrap(), &request, "ada").unwrap_err().to_string()
    };
    assert!(approve(NOW_S, None, "alpha").contains("not before now"));
    assert!(approve(NOW_S + 6 * 365 * DAY_S, None, "alpha").contains("within five years"));
    assert!(approve(NOW_S + 1, Some("group=nobody"), "alpha").contains("there is no group"));
    assert!(approve(NOW_S + 1, None, "omega").contains("is not in the catalogue"));
}

#[test]
fn a_withdrawn_variant_gives_way_to_the_next_and_a_withdrawn_model_to_nothing_after_its_deadline() {
    let house = House::new(rules(false, &[], &[]));
    house.assign("box-00001", "alpha").unwrap();
    let request = |deadline_s, target: Option<&str>| WithdrawalRequest {
        reason: "it leaks".into(),
        deadline_s,
        target: target.map(|target| target.parse().unwrap()),
    };
    let alpha = "alpha".parse().unwrap();
    house.fleet.withdraw_model(&alpha, &request(3600, Some("alpha.Q8_0")), "ada").unwrap();
    assert_eq!(house.variants("box-00001"), ["alpha.Q4_0"]);
    let told = house.told("box-00001").withdrawn;
    assert_eq!((told.len(), told[0].whole, told[0].after_s), (1, false, NOW_S + 3600));
    assert_eq!(told[0].files, [Sha256([1; 32])]);
    assert!(
        told[0].means(&"other-name".parse().unwrap(), &Sha256([1; 32])) && !told[0].means(&alpha, &Sha256([2; 32]))
    );
    // All of it: nothing new at once, and the devices that were told keep what they have until the deadline.
    house.fleet.withdraw_model(&alpha, &request(7200, None), "ada").unwrap();
    assert!(house.refusal("box-00002", "alpha").contains("was withdrawn by ada: it leaks"));
    assert!(house.refusal("box-00001", "alpha").contains("was withdrawn"));
    assert_eq!(house.variants("box-00001"), ["alpha.Q4_0"]);
    assert_eq!(house.told("box-00001").withdrawn.len(), 2);
    let house = house.later(7200);
    house.fleet.sign_all().unwrap();
    assert_eq!(house.told("box-00001").model, None);
    house.fleet.sign_all().unwrap();
    assert_eq!(house.told("box-00001").withdrawn.len(), 2);
    // Taken back, it is told again.
    house.fleet.restore_model(&alpha).unwrap();
    assert_eq!(house.variants("box-00001").len(), 2);
    assert!(house.told("box-00001").withdrawn.is_empty());
    assert!(house.fleet.restore_model(&alpha).is_err());
}

#[test]
fn a_withdrawal_that_cannot_be_is_refused_and_leaves_everything() {
    let house = House::new(rules(false, &[], &[]));
    let refused = |model: &str, reason: &str, deadline_s, target: Option<&str>| {
        let target = target.map(|target| target.parse().unwrap());
        let request = WithdrawalRequest { reason: reason.into(), deadline_s, target };
        house.fleet.withdraw_model(&model.parse().unwrap(), &request, "ada").unwrap_err().to_string()
    };
    assert!(refused("omega", "x", 0, None).contains("not in the catalogue"));
    assert!(refused("alpha", " ", 0, None).contains("needs a reason"));
    assert!(refused("alpha", "two\nlines", 0, None).contains("needs a reason"));
    assert!(refused("alpha", "x", -1, None).contains("within 90 days"));
    assert!(refused("alpha", "x", 91 * DAY_S, None).contains("within 90 days"));
    assert!(refused("alpha", "x", 0, Some("beta.Q4_0")).contains("no variant of `alpha`"));
    assert!(house.fleet.withdrawals().unwrap().is_empty());
}

#[test]
fn as_much_can_be_withdrawn_as_a_desired_state_can_carry() {
    let house = House::new(rules(false, &[], &[]));
    let names: Vec<String> = (0..33).map(|number| format!("model-{number}")).collect();
    let variants: Vec<(&str, &str, &str, u8)> =
        names.iter().zip(1..).map(|(name, byte)| (name.as_str(), "Q4_0", "", byte)).collect();
    house.release(&variants);
    house.assign("box-00001", "model-0").unwrap();
    let withdraw = |name: &str| {
        let request = WithdrawalRequest { reason: "\u{e9}".repeat(100), deadline_s: 60, target: None };
        house.fleet.withdraw_model(&name.parse().unwrap(), &request, "ada")
    };
    for name in &names[..32] {
        withdraw(name).unwrap();
    }
    assert_eq!(house.told("box-00001").withdrawn.len(), 32);
    assert!(withdraw(&names[32]).unwrap_err().to_string().contains("can be in force at once"));
    // One that is ordered again takes its own place.
    withdraw(&names[0]).unwrap();
    house.fleet.restore_model(&names[1].parse().unwrap()).unwrap();
    withdraw(&names[32]).unwrap();
}
