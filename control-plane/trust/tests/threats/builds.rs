//! Builds of the agent: one is run only if the offline keys released just that, for this kind of machine.

use outpost_contract::limits::{BUILD_BYTES, BUILDS, CHUNK_BYTES};
use outpost_contract::{
    AgentFacts, Blake3, Chunk, Desired, Manifest, ReasonCode, Sha256, TargetKind, TargetName, TargetPin,
};
use outpost_trust::desired::agree;
use outpost_trust::{Agreed, Catalogue, Refusal};
use serde_json::json;

use crate::fleet::{Fleet, forge_targets, name, sha256, targets};

const TRIPLES: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Bytes of the small ones.
const BYTES: u64 = 2 * CHUNK_BYTES as u64;

fn build(version: &str, triple: &str, bytes: u64) -> (TargetName, Vec<u8>, TargetKind) {
    let chunk = Chunk { id: Blake3([4; 32]), bytes: u32::try_from(CHUNK_BYTES).unwrap() };
    let manifest = Manifest {
        v: 1,
        bytes,
        blake3: Blake3([4; 32]),
        sha256: Sha256([5; 32]),
        chunking: "fixed".to_owned(),
        chunks: vec![chunk; usize::try_from(bytes).unwrap() / CHUNK_BYTES],
    };
    let (version, target) = (version.parse().unwrap(), triple.parse().unwrap());
    let facts = AgentFacts { release: 1, version, target, state_format: 1 };
    let name = name(&format!("agent-{}.{triple}", facts.version));
    (name, serde_json::to_vec(&manifest).unwrap(), TargetKind::Agent(facts))
}

fn pin((name, bytes, kind): &(TargetName, Vec<u8>, TargetKind)) -> TargetPin {
    let (length, release) = (bytes.len() as u64, kind.release());
    TargetPin { name: name.clone(), length, sha256: sha256(bytes), release }
}

/// A fleet whose catalogue lists these builds beside all else.
async fn released(builds: &[(TargetName, Vec<u8>, TargetKind)]) -> (Fleet, Catalogue) {
    let mut fleet = Fleet::new();
    let mut all = targets(2, &fleet.director.verifying_key().to_hex());
    all.extend(builds.iter().cloned());
    fleet.release_targets(all);
    let catalogue = fleet.device().take(&fleet.bundle).await.unwrap();
    (fleet, catalogue)
}

fn wanted(fleet: &Fleet, catalogue: &Catalogue, agent: Vec<TargetPin>) -> Result<Agreed, Refusal> {
    let desired = Desired { agent, ..fleet.desired(1, 2) };
    let accepted = fleet.device().accept(fleet, &fleet.sign_desired(&desired), None).unwrap();
    agree(&accepted, catalogue)
}

#[tokio::test]
async fn a_build_that_both_sides_name_is_agreed_with_its_facts() {
    let builds = TRIPLES.map(|triple| build("0.3.0", triple, BYTES));
    let (fleet, catalogue) = released(&builds).await;
    let agreed = wanted(&fleet, &catalogue, builds.iter().map(pin).collect()).unwrap();
    let told: Vec<_> = agreed.builds.iter().map(|(_, facts, _)| facts.target.as_str()).collect();
    assert_eq!(told, TRIPLES);
    assert_eq!(agreed.builds[0].2.bytes, BYTES);
    assert!(wanted(&fleet, &catalogue, Vec::new()).unwrap().builds.is_empty());
}

#[tokio::test]
async fn a_thief_of_the_director_key_can_name_no_other_program() {
    let builds = TRIPLES.map(|triple| build("0.3.0", triple, BYTES));
    let (fleet, catalogue) = released(&builds).await;
    let mut unlisted = pin(&builds[0]);
    unlisted.sha256 = Sha256([9; 32]);
    let policy = fleet.desired(1, 2).policy.unwrap();
    for (pin, why) in [(unlisted, "another digest is listed"), (policy, "it is no build of the agent")] {
        let refusal = wanted(&fleet, &catalogue, vec![pin]).unwrap_err();
        assert_eq!(refusal.code, ReasonCode::NotInCatalogue);
        assert!(refusal.detail.contains(why), "{refusal}");
    }
}

#[tokio::test]
async fn builds_that_leave_open_which_one_is_meant_and_builds_without_end_are_refused() {
    let (one, other, huge) = (
        build("0.3.0", TRIPLES[0], BYTES),
        build("0.4.0", TRIPLES[0], BYTES),
        build("0.5.0", TRIPLES[1], BUILD_BYTES + CHUNK_BYTES as u64),
    );
    let elsewhere = build("0.4.0", TRIPLES[1], BYTES);
    let (fleet, catalogue) = released(&[one.clone(), other.clone(), huge.clone(), elsewhere.clone()]).await;
    for (pins, why) in [
        (vec![pin(&one), pin(&other)], "not of one version"),
        (vec![pin(&one), pin(&one)], "not of one version"),
        (vec![pin(&one), pin(&elsewhere)], "not of one version"),
        (vec![pin(&huge)], "is the limit"),
        (vec![pin(&one); BUILDS + 1], "is the limit"),
    ] {
        let refusal = wanted(&fleet, &catalogue, pins).unwrap_err();
        assert_eq!(refusal.code, ReasonCode::Unloadable);
        assert!(refusal.detail.contains(why), "{refusal}");
    }
}

/// What an agent needs that is to be replaced by a newer one.
#[tokio::test]
async fn a_catalogue_with_a_kind_of_later_releases_is_read_without_that() {
    let newer = build("0.3.0", TRIPLES[0], BYTES);
    let (fleet, known) = released(std::slice::from_ref(&newer)).await;
    let later = forge_targets(&fleet, |signed| {
        let custom = &mut signed["targets"][newer.0.as_str()]["custom"];
        *custom = json!({"kind": "of_a_year_to_come", "release": 1});
    });
    let catalogue = fleet.device().take(&later).await.unwrap();
    assert_eq!(catalogue.targets.len() + 1, known.targets.len());
    assert!(!catalogue.targets.contains_key(&newer.0));
    let refusal = wanted(&fleet, &catalogue, vec![pin(&newer)]).unwrap_err();
    assert!(refusal.code == ReasonCode::NotInCatalogue && refusal.detail.contains("it is not listed"), "{refusal}");
    // All of it is held to what was signed even so.
    let mut files = crate::fleet::unpack(&later);
    let path = files.keys().find(|path| path.to_string().contains(newer.0.as_str())).unwrap().clone();
    files.get_mut(&path).unwrap()[0] ^= 1;
    let flipped = outpost_trust::CatalogueBundle::from_files(files).unwrap();
    assert!(fleet.device().take(&flipped).await.is_err());
}
