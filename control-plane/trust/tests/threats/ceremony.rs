//! The ceremony: proposals that go from holder to holder, and what somebody on the way could do to them.

use std::collections::BTreeMap;

use outpost_contract::{Authority, TargetKind};
use outpost_trust::catalogue::{Kind, Lifetimes, Proposal, PublishError, Release, RoleKeys, RootFacts, RootPlan};
use outpost_trust::{CatalogueBundle, SigningKey};
use proptest::prelude::*;

use crate::fleet::{DAY_S, Fleet, NOW_S, key, refs, slices, targets};

const EXPIRES_S: i64 = NOW_S + 1000 * DAY_S;

/// Three holders, of whom two must sign.
struct Holders {
    root: Vec<SigningKey>,
    targets: Vec<SigningKey>,
    online: SigningKey,
}

impl Holders {
    fn new() -> Self {
        Self { root: keys(3), targets: keys(3), online: key() }
    }

    fn plan(&self) -> RootPlan {
        let role =
            |keys: &[SigningKey]| RoleKeys { keys: keys.iter().map(SigningKey::verifying_key).collect(), threshold: 2 };
        let names = ["ada", "bo", "cy"];
        let named = |keys: &[SigningKey]| {
            let named = names.iter().zip(keys).map(|(name, key)| (key.verifying_key(), (*name).to_owned()));
            named.collect::<Vec<_>>()
        };
        RootPlan {
            root: role(&self.root),
            targets: role(&self.targets),
            online: RoleKeys::one(self.online.verifying_key()),
            holders: named(&self.root).into_iter().chain(named(&self.targets)).collect(),
        }
    }

    fn first_root(&self) -> Proposal {
        Proposal::root(&self.plan(), None, EXPIRES_S).unwrap()
    }

    fn signed_root(&self) -> Vec<u8> {
        let mut proposal = self.first_root();
        assert!(proposal.sign(&self.root[0]).unwrap() && proposal.sign(&self.root[1]).unwrap());
        proposal.into_root(None).unwrap()
    }
}

fn keys(count: usize) -> Vec<SigningKey> {
    (0..count).map(|_| key()).collect()
}

/// As a file goes from one machine to the next.
fn carried(proposal: &Proposal) -> Proposal {
    Proposal::parse(&proposal.to_bytes().unwrap()).unwrap()
}

fn release(root: &[u8], previous: Option<&CatalogueBundle>, counter: u64, director: &SigningKey) -> Proposal {
    let targets = targets(counter, &director.verifying_key().to_hex());
    Proposal::release(Release { targets }, root, previous, EXPIRES_S).unwrap()
}

#[test]
fn a_root_counts_when_two_of_three_holders_have_signed_it_each_on_his_own_machine() {
    let holders = Holders::new();
    let mut proposal = holders.first_root();
    assert_eq!((proposal.kind(), proposal.version()), (Kind::Root, 1));
    assert!(!proposal.sign(&key()).unwrap(), "a stranger");
    assert!(!proposal.sign(&holders.targets[0]).unwrap(), "the key of another role");
    assert!(proposal.sign(&holders.root[2]).unwrap());
    assert!(!proposal.sign(&holders.root[2]).unwrap(), "twice by one");
    let standing = &carried(&proposal).standings().unwrap()[0];
    assert_eq!((standing.signed_by.len(), standing.missing.len(), standing.threshold), (1, 2, 2));
    assert!(standing.signed_by[0].starts_with("cy ("), "{standing:?}");
    let refused = carried(&proposal).into_root(None).unwrap_err();
    assert!(matches!(refused, PublishError::NotEnoughSignatures { .. }), "{refused}");
    let mut again = carried(&proposal);
    assert!(again.sign(&holders.root[0]).unwrap());
    let root = carried(&again).into_root(None).unwrap();
    let facts = RootFacts::read(&root).unwrap();
    assert_eq!((facts.version, facts.root.threshold, facts.targets.threshold), (1, 2, 2));
    assert!(facts.targets.keys.iter().any(|(_, name)| name.as_deref() == Some("bo")), "{facts:?}");
}

#[test]
fn copies_that_holders_signed_apart_are_put_together() {
    let holders = Holders::new();
    let proposal = holders.first_root();
    let (mut one, mut other) = (carried(&proposal), carried(&proposal));
    one.sign(&holders.root[0]).unwrap();
    other.sign(&holders.root[1]).unwrap();
    one.merge(&other).unwrap();
    one.merge(&other).unwrap();
    assert!(one.is_complete());
    let another = Holders::new().first_root();
    assert!(one.merge(&another).unwrap_err().to_string().contains("not copies of the same"));
}

#[tokio::test]
async fn a_release_that_two_of_three_holders_signed_is_taken_by_a_device_and_one_that_one_signed_is_not() {
    let holders = Holders::new();
    let root = holders.signed_root();
    let director = key();
    let mut proposal = release(&root, None, 1, &director);
    proposal.sign(&holders.targets[1]).unwrap();
    let refused = carried(&proposal).into_release(&root, None).unwrap_err();
    assert!(matches!(refused, PublishError::NotEnoughSignatures { .. }), "{refused}");
    proposal.sign(&holders.targets[2]).unwrap();
    let (signed, listed) = carried(&proposal).into_release(&root, None).unwrap();
    assert_eq!(listed.len(), 4);
    let roots = [root.as_slice()];
    let bundle = signed.publish(roots, None, &Lifetimes::default(), NOW_S, &[&holders.online]).unwrap();
    let mut device = Fleet::new().device();
    device.root.clone_from(&root);
    assert_eq!(device.take(&bundle).await.unwrap().targets.len(), 4);
    // A second one must follow the first: what was prepared before it is not published after it.
    let mut late = release(&root, None, 1, &director);
    holders.targets.iter().for_each(|key| assert!(late.sign(key).unwrap()));
    let refused = late.into_release(&root, Some(&bundle)).unwrap_err();
    assert!(refused.to_string().contains("another release was published"), "{refused}");
}

#[tokio::test]
async fn a_lost_holder_is_replaced_by_the_two_who_remain() {
    let mut fleet = Fleet::with_keys(2, 3);
    let mut device = fleet.device();
    device.take(&fleet.bundle).await.unwrap();
    let (root_key, targets_key) = (key(), key());
    let mut plan = crate::fleet::plan(&fleet.root_keys, &fleet.targets_keys, &fleet.online, 2);
    plan.root.keys[0] = root_key.verifying_key();
    plan.targets.keys[0] = targets_key.verifying_key();
    let mut proposal = Proposal::root(&plan, Some(&fleet.roots[0]), NOW_S + DAY_S).unwrap();
    // The new holder and one old one satisfy the new root, but not the old one.
    proposal.sign(&root_key).unwrap();
    proposal.sign(&fleet.root_keys[1]).unwrap();
    assert!(!proposal.is_complete());
    let standings = proposal.standings().unwrap();
    assert_eq!((standings[0].signed_by.len(), standings[1].signed_by.len()), (1, 2));
    proposal.sign(&fleet.root_keys[2]).unwrap();
    fleet.roots.push(carried(&proposal).into_root(Some(&fleet.roots[0])).unwrap());
    // The targets are signed once more: the lost holder's signature counts for nothing.
    let director = fleet.director.verifying_key().to_hex();
    let again = Release { targets: targets(1, &director) };
    let mut again = Proposal::release(again, &fleet.roots[1], Some(&fleet.bundle), NOW_S + DAY_S).unwrap();
    assert!(!again.sign(&fleet.targets_keys[0]).unwrap(), "the lost key");
    assert!(again.sign(&fleet.targets_keys[1]).unwrap() && again.sign(&targets_key).unwrap());
    let (signed, _) = again.into_release(&fleet.roots[1], Some(&fleet.bundle)).unwrap();
    let lifetimes = Lifetimes::default();
    let bundle =
        signed.publish(slices(&fleet.roots), Some(&fleet.bundle), &lifetimes, NOW_S, &[&fleet.online]).unwrap();
    assert_eq!(device.take(&bundle).await.unwrap().floors.root, 2);
}

#[test]
fn a_holder_reads_what_he_signs_keys_thresholds_targets_and_who_is_believed() {
    let fleet = Fleet::with_keys(2, 3);
    let own = fleet.root_keys[0].verifying_key();
    let mut changed = targets(2, "00");
    changed.remove(1);
    let authority =
        Authority { v: 1, director_keys: vec!["ab".repeat(32)], token_issuers: Vec::new(), signers: Vec::new() };
    changed[2] = (
        crate::fleet::name("authority.json"),
        serde_json::to_vec(&authority).unwrap(),
        TargetKind::Authority { release: 2 },
    );
    let release = Release { targets: changed };
    let proposal = Proposal::release(release, &fleet.roots[0], Some(&fleet.bundle), EXPIRES_S).unwrap();
    let words = proposal.words(&[own]).join("\n");
    for part in [
        "release 2, after release 1",
        "~ guide-Q8_0.json",
        "- guide-Q4_0.json",
        "release 1, sha256",
        "devices run: abababab",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let mut plan = crate::fleet::plan(&fleet.root_keys, &fleet.targets_keys, &fleet.online, 1);
    plan.holders = BTreeMap::from([(own, "ada".to_owned())]);
    plan.targets.keys.pop();
    let words = Proposal::root(&plan, Some(&fleet.roots[0]), EXPIRES_S).unwrap().words(&[own]).join("\n");
    for part in ["root 2, after root 1", "root: 1 of", "ada (", "threshold: 2 before, 1 now", "    - "] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[test]
fn a_thief_of_the_server_cannot_make_a_forged_release_look_as_if_nothing_changed() {
    let fleet = Fleet::with_keys(2, 3);
    let own = [fleet.root_keys[0].verifying_key(), fleet.targets_keys[0].verifying_key()];
    // He makes a root of his own that names the holder, and signs with it that his targets were always there.
    let thief = Fleet::new();
    let mut plan = crate::fleet::plan(&thief.root_keys, &thief.targets_keys, &thief.online, 1);
    plan.targets.keys.push(fleet.targets_keys[0].verifying_key());
    let root = plan.sign(None, EXPIRES_S, &refs(&thief.root_keys)).unwrap();
    let evil = || targets(1, &thief.director.verifying_key().to_hex());
    let signed = Release { targets: evil() }.sign(&root, None, EXPIRES_S, &refs(&thief.targets_keys)).unwrap();
    let before = signed.publish([root.as_slice()], None, &Lifetimes::default(), NOW_S, &[&thief.online]).unwrap();
    let proposal = Proposal::release(Release { targets: evil() }, &root, Some(&before), EXPIRES_S).unwrap();
    let words = carried(&proposal).words(&own).join("\n");
    assert!(words.contains("none of your keys has signed the root"), "{words}");
    assert!(words.contains("+ authority.json") && words.contains("0 of 4 targets stay"), "{words}");
    // Under the holder's own root the same is told as it is.
    let honest = Proposal::release(Release { targets: evil() }, &fleet.roots[0], None, EXPIRES_S).unwrap();
    assert!(!honest.words(&own).join("\n").contains('!'));
}

#[test]
fn a_proposal_that_was_tampered_with_on_the_way_is_refused_or_loses_its_signatures() {
    let holders = Holders::new();
    let root = holders.signed_root();
    let mut proposal = release(&root, None, 1, &key());
    proposal.sign(&holders.targets[0]).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&proposal.to_bytes().unwrap()).unwrap();
    let parse = |value: &serde_json::Value| Proposal::parse(value.to_string().as_bytes());
    let changed = |path: &str, value: serde_json::Value| {
        let mut copy = written.clone();
        *copy.pointer_mut(path).unwrap() = value;
        copy
    };
    // Another expiry is another document: nobody has signed it.
    let later = parse(&changed("/document/signed/expires", "2099-01-01T00:00:00Z".into())).unwrap();
    assert!(later.standings().unwrap()[0].signed_by.is_empty());
    // A signature that does not hold is dropped, so that it cannot stand in the way of a good one.
    let mut spoilt = parse(&changed("/document/signatures/0/sig", "00".repeat(64).into())).unwrap();
    assert!(spoilt.standings().unwrap()[0].signed_by.is_empty());
    assert!(spoilt.sign(&holders.targets[0]).unwrap() && spoilt.sign(&holders.targets[1]).unwrap());
    assert!(spoilt.is_complete());
    let first = written["files"].as_object().unwrap().keys().next().unwrap().replace('/', "~1");
    for bad in [
        changed("/v", 2.into()),
        changed("/kind", "snapshot".into()),
        changed("/document/signed/version", 2.into()),
        changed("/document/signed/targets/authority.json/length", 1.into()),
        changed(&format!("/files/{first}"), "AAAA".into()),
        changed("/files", serde_json::json!({})),
        changed("/files", serde_json::json!({"../../etc/passwd": "AAAA"})),
    ] {
        assert!(parse(&bad).is_err(), "{bad}");
    }
    let mut delegating = written.clone();
    delegating["document"]["signed"]["delegations"] = serde_json::json!({"keys": {}, "roles": []});
    assert!(parse(&delegating).unwrap_err().to_string().contains("delegates"));
}

#[test]
fn a_planned_root_that_would_lock_everybody_out_is_refused() {
    let holders = Holders::new();
    let written: serde_json::Value = serde_json::from_slice(&holders.first_root().to_bytes().unwrap()).unwrap();
    let online = written["document"]["signed"]["roles"]["timestamp"].clone();
    for (path, value) in [
        ("/document/signed/roles/root/threshold", serde_json::json!(4)),
        ("/document/signed/roles/targets", online),
        ("/document/signed/roles/targets", serde_json::Value::Null),
        ("/document/signed/version", serde_json::json!(7)),
    ] {
        let mut bad = written.clone();
        *bad.pointer_mut(path).unwrap() = value;
        assert!(Proposal::parse(bad.to_string().as_bytes()).is_err(), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_a_proposal_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Proposal::parse(&bytes).is_err());
    }

    #[test]
    fn any_cut_or_flipped_proposal_is_refused_or_gains_no_signature(index in 0usize..4000, bit in 0u8..8, cut: bool) {
        let holders = Holders::new();
        let mut proposal = holders.first_root();
        proposal.sign(&holders.root[0]).unwrap();
        let mut bytes = proposal.to_bytes().unwrap();
        let index = index % bytes.len();
        if cut { bytes.truncate(index) } else { bytes[index] ^= 1 << bit }
        if let Ok(read) = Proposal::parse(&bytes) {
            prop_assert!(!read.is_complete());
            let _ = read.words(&[holders.root[0].verifying_key()]);
        }
    }
}
