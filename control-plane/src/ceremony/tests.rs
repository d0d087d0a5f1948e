//! The ceremony from the server's side, with devices that follow and thieves who do not give up.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outpost_contract::{Activity, BlobRef, Desired, DeviceId, Reported, limits::CATALOGUE_BYTES};
use outpost_trust::desired::{Acceptance, accept, agree};
use outpost_trust::{Catalogue, Envelope, Floors, SigningKey, VerifyingKey, catalogue};
use serde_json::json;

use super::*;
use crate::catalogue::ReleaseRequest;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Assignment;
use crate::keys::OfflineKeys;

const NOW_S: i64 = 1_800_000_000;
/// A fleet of three holders, of whom two must sign, and one device.
struct Site {
    fleet: Fleet,
    clock: Clock,
    dir: tempfile::TempDir,
}

/// What a device keeps.
struct Device {
    root: Vec<u8>,
    floors: Floors,
    version: u64,
    directors: Vec<VerifyingKey>,
}

impl Site {
    fn new() -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::fixed(NOW_S));
        let mut config = Config::new(dir.path().join("state"));
        config.tenant = "acme".parse().unwrap();
        let fleet = Fleet::init(config, clock.clone()).unwrap().fleet;
        Self { fleet, clock, dir }
    }

    /// With a root and a release in force.
    fn founded() -> Self {
        let mut site = Self::new();
        for name in ["ada", "bo", "cy"] {
            OfflineKeys::create_for(&site.path(name), name, None).unwrap();
        }
        site.install(site.fleet.propose_root(&site.holders(["ada", "bo", "cy"]), 2).unwrap(), &["ada", "bo"]).unwrap();
        site.release(&["ada", "cy"]).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keys(&self, name: &str) -> OfflineKeys {
        OfflineKeys::load(&self.path(name)).unwrap()
    }

    fn holders<const N: usize>(&self, names: [&str; N]) -> [Holder; N] {
        names.map(|name| Holder::read(&self.path(name).join(format!("{name}.pub.json"))).unwrap())
    }

    fn install(&mut self, mut proposal: Proposal, names: &[&str]) -> Result<Installed, FleetError> {
        names.iter().for_each(|name| assert!(proposal.sign(&self.keys(name).root).unwrap(), "{name}"));
        let (fleet, installed) = self.fleet.install(proposal)?;
        self.fleet = fleet;
        Ok(installed)
    }

    fn release(&self, names: &[&str]) -> Result<BlobRef, FleetError> {
        let mut proposal = self.fleet.prepare(ReleaseRequest::default())?;
        names.iter().for_each(|name| assert!(proposal.sign(&self.keys(name).targets).unwrap(), "{name}"));
        self.fleet.publish(proposal)
    }

    /// A device that enrolled now.
    fn device(&self) -> Device {
        self.fleet
            .inner
            .database
            .write(|transaction| {
                let sql = "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES (?1, 0, x'00', '', '')";
                transaction.execute(sql, [till().as_str()])?;
                Ok(())
            })
            .unwrap();
        let root = self.fleet.roots().unwrap()[0].clone();
        self.fleet.assign(&till(), &Assignment { model: None, minimum_context_tokens: 1 }).unwrap();
        Device { root, floors: Floors::default(), version: 0, directors: self.fleet.inner.keys.accepted_directors() }
    }

    fn catalogue(&self) -> Vec<u8> {
        self.fleet.inner.blobs.read(&self.fleet.catalogue().unwrap().blake3, CATALOGUE_BYTES).unwrap()
    }

    fn document(&self) -> Vec<u8> {
        self.fleet.inner.database.signed().unwrap().remove(0).2
    }

    async fn verify(&self, device: &Device) -> Result<Catalogue, outpost_trust::CatalogueError> {
        let (bytes, now_s) = (self.catalogue(), self.fleet.now_s());
        catalogue::verify(&bytes, &device.root, &device.floors, now_s, self.dir.path()).await
    }

    fn report(&self, version: u64, sequence: u64) -> Reported {
        let report: Reported = serde_json::from_value(json!({
            "v": 1, "device": "till-7", "boot": "b1", "sequence": sequence, "agent": "0", "desired_version": version,
            "applied_version": version, "model": null, "policy_version": 0, "reasons": [], "measurements": null, "plan": [],
            "activity": Activity::default(),
        }))
        .unwrap();
        self.fleet.inner.database.keep_report(&report, self.fleet.now_s()).unwrap();
        report
    }
}

impl Device {
    /// Takes a document and the newest catalogue, as an agent does.
    async fn take(&mut self, site: &Site, document: &[u8]) -> Result<Desired, String> {
        let acceptance = Acceptance {
            tenant: &"acme".parse().unwrap(),
            device: &till(),
            floor_version: self.version,
            floor_payload: None,
            director_keys: &self.directors,
            now_s: site.fleet.now_s(),
        };
        let accepted = accept(document, &acceptance).map_err(|refusal| refusal.to_string())?;
        let catalogue = site.verify(self).await.map_err(|error| error.to_string())?;
        let agreed = agree(&accepted, &catalogue).map_err(|refusal| refusal.to_string())?;
        (self.root, self.floors) = (catalogue.root, catalogue.floors);
        (self.version, self.directors) = (accepted.desired.version, agreed.director_keys);
        Ok(accepted.desired)
    }
}

fn till() -> DeviceId {
    "till-7".parse().unwrap()
}

/// What a thief of a director key signs: the newest document, of a version that he likes.
fn forged(document: &[u8], version: u64, key: &SigningKey) -> Vec<u8> {
    let envelope = Envelope::parse(document).unwrap();
    let desired: Desired = serde_json::from_slice(envelope.unproven_payload()).unwrap();
    outpost_trust::desired::sign(&Desired { version, ..desired }, &[key]).unwrap().to_bytes()
}

fn key_id(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn nothing_is_put_in_force_with_one_signature_of_two_or_for_another_server() {
    let mut site = Site::founded();
    let refused = site.install(site.fleet.propose_same_root().unwrap(), &["bo"]).unwrap_err();
    assert!(refused.to_string().contains("bring the missing keys"), "{refused}");
    assert!(site.release(&["cy"]).is_err());
    assert!(site.fleet.release(&site.keys("ada"), ReleaseRequest::default()).is_err());
    site.fleet.release_by(&[site.keys("ada"), site.keys("bo")], ReleaseRequest::default()).unwrap();
    // Signed by enough, but of a server that has other keys.
    let mut other = Site::new();
    let refused = other.fleet.propose_root(&site.holders(["ada", "ada"]), 1).unwrap_err();
    assert!(refused.to_string().contains("named twice"), "{refused}");
    let mut foreign = site.fleet.propose_root(&site.holders(["ada", "bo", "cy"]), 2).unwrap();
    sign_by(&site, &mut foreign);
    let refused = other.install(foreign, &[]).unwrap_err();
    assert!(refused.to_string().contains("does not follow the root that is in force"), "{refused}");
    let mut first = Site::new().fleet.propose_root(&site.holders(["ada", "bo", "cy"]), 2).unwrap();
    sign_by(&site, &mut first);
    let refused = other.install(first, &[]).unwrap_err();
    assert!(refused.to_string().contains("names none of this server's online keys"), "{refused}");
    // While a server runs nothing is replaced under it.
    let lock = site.fleet.lock().unwrap();
    assert!(matches!(site.fleet.rotate(ServerKey::Online, false), Err(FleetError::Locked(_))));
    drop(lock);
}

#[tokio::test]
async fn a_release_or_a_root_that_another_overtook_is_not_put_in_force() {
    let mut site = Site::founded();
    let mut late = site.fleet.prepare(ReleaseRequest::default()).unwrap();
    let mut late_root = site.fleet.propose_same_root().unwrap();
    site.release(&["ada", "bo"]).unwrap();
    assert!(site.install(site.fleet.propose_same_root().unwrap(), &["ada", "bo"]).unwrap().published);
    for name in ["ada", "bo"] {
        late.sign(&site.keys(name).targets).unwrap();
        late_root.sign(&site.keys(name).root).unwrap();
    }
    assert!(site.fleet.publish(late).unwrap_err().to_string().contains("prepare` again"));
    assert!(site.install(late_root, &[]).unwrap_err().to_string().contains("does not follow"));
}

#[tokio::test]
async fn a_stolen_online_key_is_replaced_and_what_the_thief_counted_up_counts_no_longer() {
    let mut site = Site::founded();
    let mut device = site.device();
    let thief = catalogue::refresh(
        &outpost_trust::CatalogueBundle::parse(&site.catalogue()).unwrap(),
        [],
        &Default::default(),
        site.fleet.now_s(),
        &[&site.fleet.inner.keys.online],
    );
    // He has signed one more than we have; a device that saw it does not take ours.
    let (thief, now_s) = (thief.unwrap().to_bytes(), site.fleet.now_s());
    let seen = catalogue::verify(&thief, &device.root, &device.floors, now_s, site.dir.path()).await.unwrap();
    device.floors = seen.floors;
    assert!(site.verify(&device).await.is_err());
    let stolen = site.fleet.inner.keys.online.verifying_key();
    site.fleet = site.fleet.rotate(ServerKey::Online, false).unwrap();
    assert_eq!(site.fleet.inner.keys.online.verifying_key(), stolen, "until a root names the next one");
    site.fleet.refresh_older_than(0).unwrap();
    let installed = site.install(site.fleet.propose_same_root().unwrap(), &["ada", "cy"]).unwrap();
    assert_eq!(installed, Installed { root: 2, published: true });
    assert_ne!(site.fleet.inner.keys.online.verifying_key(), stolen);
    assert!(site.fleet.inner.keys.online_next.is_none());
    let taken = site.verify(&device).await.unwrap();
    assert_eq!(taken.floors.root, 2);
    assert_eq!(site.fleet.keys_overview().unwrap().advice, Vec::<String>::new());
}

#[tokio::test]
async fn an_interrupted_replacement_of_a_key_is_finished_at_the_next_start() {
    let mut site = Site::founded();
    let keys = site.path("state/keys");
    // Cut between the two renames of the director key.
    site.fleet = site.fleet.rotate(ServerKey::Director, false).unwrap();
    let new = site.fleet.inner.keys.director.verifying_key();
    std::fs::rename(keys.join("director.pem"), keys.join("director.next.pem")).unwrap();
    site.fleet = site.fleet.reopened().unwrap();
    assert_eq!(site.fleet.inner.keys.director.verifying_key(), new);
    assert!(site.fleet.inner.keys.director_before.is_some());
    // Cut between the root and the rename of the online key: the root decides.
    site.fleet = site.fleet.rotate(ServerKey::Online, false).unwrap();
    let next = std::fs::read(keys.join("online.next.pem")).unwrap();
    let old = std::fs::read(keys.join("online.pem")).unwrap();
    site.install(site.fleet.propose_same_root().unwrap(), &["ada", "bo"]).unwrap();
    restore(&keys.join("online.next.pem"), &next);
    restore(&keys.join("online.pem"), &old);
    site.fleet = site.fleet.reopened().unwrap();
    assert!(site.fleet.refresh_older_than(0).unwrap(), "signed with the key that the root names");
    site.fleet = site.fleet.rotate(ServerKey::Online, false).unwrap();
    assert_eq!(std::fs::read(keys.join("online.pem")).unwrap(), next, "the key in force is not written over");
}

#[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
fn restore(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_director_key_is_replaced_without_losing_a_device_that_was_away() {
    let mut site = Site::founded();
    let mut present = site.device();
    let mut absent = Device {
        directors: present.directors.clone(),
        root: present.root.clone(),
        floors: Floors::default(),
        version: 0,
    };
    present.take(&site, &site.document()).await.unwrap();
    let old = stolen_copy(&site);
    site.fleet = site.fleet.rotate(ServerKey::Director, false).unwrap();
    assert!(matches!(site.fleet.rotate(ServerKey::Director, true), Err(FleetError::Keys(KeysError::StillTwo(_)))));
    // Before the release devices know the old key alone, after it both.
    present.take(&site, &site.document()).await.unwrap();
    assert_eq!(present.directors.len(), 1);
    assert!(site.fleet.retire(ServerKey::Director, false).unwrap_err().to_string().contains("does not list"));
    site.release(&["ada", "bo"]).unwrap();
    present.take(&site, &site.document()).await.unwrap();
    assert_eq!(present.directors.len(), 2);
    present.take(&site, &forged(&site.document(), present.version + 1, &old)).await.unwrap();
    // Not retired before every device has said that it followed.
    assert!(site.fleet.retire(ServerKey::Director, false).unwrap_err().to_string().contains("till-7"));
    absent.take(&site, &site.document()).await.unwrap();
    let version = site.fleet.inner.database.desired_version(&till()).unwrap();
    site.report(version, 1);
    site.fleet = site.fleet.retire(ServerKey::Director, false).unwrap();
    absent.take(&site, &site.document()).await.unwrap();
    site.release(&["ada", "bo"]).unwrap();
    absent.take(&site, &site.document()).await.unwrap();
    assert_eq!(absent.directors, [site.fleet.inner.keys.director.verifying_key()]);
    assert!(absent.take(&site, &forged(&site.document(), absent.version + 1, &old)).await.is_err());
    assert!(matches!(
        site.fleet.retire(ServerKey::Director, true),
        Err(FleetError::Keys(KeysError::NothingToRetire(_)))
    ));
}

#[tokio::test]
async fn a_thief_of_the_director_key_is_undone_by_a_release_and_overtaken_in_versions() {
    let mut site = Site::founded();
    let mut device = site.device();
    device.take(&site, &site.document()).await.unwrap();
    let stolen = stolen_copy(&site);
    device.take(&site, &forged(&site.document(), 900_000, &stolen)).await.unwrap();
    site.fleet = site.fleet.rotate(ServerKey::Director, true).unwrap();
    site.release(&["bo", "cy"]).unwrap();
    // The device is ahead and says so.
    assert!(device.take(&site, &site.document()).await.unwrap_err().contains("not going back"));
    assert!(site.fleet.overtake(&site.report(device.version, 1)).unwrap());
    assert!(!site.fleet.overtake(&site.report(3, 2)).unwrap(), "a device behind us is not ahead");
    assert!(!site.fleet.overtake(&site.report(u64::MAX, 3)).unwrap(), "nor is one that lies");
    let taken = device.take(&site, &site.document()).await.unwrap();
    assert_eq!(taken.version, 900_001);
    // It obeys the new key alone.
    assert_eq!(device.directors, [site.fleet.inner.keys.director.verifying_key()]);
    let again = device.take(&site, &forged(&site.document(), 900_002, &stolen)).await.unwrap_err();
    assert!(again.contains("signature"), "{again}");
}

#[tokio::test]
async fn a_database_from_a_backup_does_not_lose_devices_that_are_ahead_of_it() {
    let site = Site::founded();
    let mut device = site.device();
    for _ in 0..3 {
        site.fleet.sign_all().unwrap();
    }
    device.take(&site, &site.document()).await.unwrap();
    site.fleet
        .inner
        .database
        .write(|transaction| Ok(transaction.execute("UPDATE desired SET version = 1", [])?))
        .unwrap();
    site.clock.advance(60);
    site.fleet.sign_all().unwrap();
    assert!(device.take(&site, &site.document()).await.is_err());
    assert!(site.fleet.overtake(&site.report(device.version, 1)).unwrap());
    assert_eq!(device.take(&site, &site.document()).await.unwrap().version, 5);
}

#[tokio::test]
async fn tokens_are_issued_with_a_key_that_devices_know_and_never_with_a_stolen_one() {
    let mut site = Site::founded();
    let issue = |site: &Site| key_id(&site.fleet.issue_token("ada", &["operator".to_owned()], 60).unwrap());
    let old = site.fleet.inner.keys.tokens.verifying_key().key_id();
    assert_eq!(issue(&site), old);
    site.fleet = site.fleet.rotate(ServerKey::Tokens, false).unwrap();
    assert_eq!(issue(&site), old, "devices do not know the new one yet");
    site.release(&["ada", "bo"]).unwrap();
    let new = site.fleet.inner.keys.tokens.verifying_key().key_id();
    assert_eq!(issue(&site), new);
    assert_eq!(listed(&site).token_issuers.len(), 2);
    site.fleet = site.fleet.retire(ServerKey::Tokens, false).unwrap();
    site.release(&["ada", "bo"]).unwrap();
    assert_eq!(listed(&site).token_issuers.len(), 1);
    site.fleet = site.fleet.rotate(ServerKey::Tokens, true).unwrap();
    assert_ne!(issue(&site), new, "a thief has it");
    site.release(&["ada", "bo"]).unwrap();
    assert_eq!(
        listed(&site).token_issuers.iter().map(|issuer| issuer.key_id.clone()).collect::<Vec<_>>(),
        [issue(&site)]
    );
}

#[tokio::test]
async fn a_server_that_was_down_for_weeks_refreshes_the_catalogue_at_its_start() {
    let site = Site::founded();
    let mut device = site.device();
    device.take(&site, &site.document()).await.unwrap();
    assert!(!site.fleet.refresh_catalogue().unwrap(), "it is young");
    for days in [8, 35, 200] {
        site.clock.advance(days * DAY_S);
        let expired = site.verify(&device).await.is_err();
        assert_eq!(expired, days > 30, "after {days} days more");
        // What the director does at its first look.
        assert!(site.fleet.refresh_catalogue().unwrap());
        device.floors = site.verify(&device).await.unwrap().floors;
        assert!(!site.fleet.refresh_catalogue().unwrap());
    }
    // A clock that was set back and forth: what was signed in the future is not taken for young.
    site.clock.advance(-300 * DAY_S);
    assert!(site.fleet.refresh_catalogue().unwrap());
    // The release itself only the holders can renew, and they are told in time.
    let expires = site.fleet.keys_overview().unwrap().expiries;
    let targets = expires.iter().find(|validity| validity.what == "targets 1").unwrap();
    site.clock.advance(targets.expires_at_s - site.fleet.now_s() - 30 * DAY_S);
    site.fleet.refresh_catalogue().unwrap();
    assert_eq!(site.fleet.keys_overview().unwrap().advice.len(), 1);
    assert!(site.fleet.keys_overview().unwrap().advice[0].contains("targets 1 expires in 30 days"));
    site.clock.advance(700 * DAY_S);
    site.fleet.refresh_catalogue().unwrap();
    assert!(site.verify(&device).await.is_err());
    let advice = site.fleet.keys_overview().unwrap().advice;
    assert!(advice.iter().any(|advice| advice.contains("targets 1 has expired")), "{advice:?}");
    site.release(&["bo", "cy"]).unwrap();
    site.verify(&device).await.unwrap();
}

/// Two of the site's holders sign a root.
fn sign_by(site: &Site, proposal: &mut Proposal) {
    assert!(["ada", "bo"].iter().all(|name| proposal.sign(&site.keys(name).root).unwrap()));
}

fn listed(site: &Site) -> outpost_contract::Authority {
    authority_in(&site.fleet.inner.database.targets().unwrap()).unwrap().unwrap()
}

/// A copy of the director key, as a thief makes it.
fn stolen_copy(site: &Site) -> SigningKey {
    SigningKey::from_pkcs8(&site.fleet.inner.keys.director.to_pkcs8().unwrap()).unwrap()
}
