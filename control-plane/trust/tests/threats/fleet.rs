//! A fleet with its keys, a publisher and one device: the only file here that knows the whole interface.

use std::collections::BTreeMap;

use outpost_contract::{
    Authority, Blake3, BlobRef, Chunk, Desired, DesiredModel, DeviceId, GoldenPrompts, Manifest, ModelFacts,
    PolicyFacts, Sha256, TargetKind, TargetName, TargetPin, TenantId, VariantFacts,
};
use outpost_trust::catalogue::{BundlePath, Lifetimes, Release, RoleKeys, RootPlan, refresh, verify_with};
use outpost_trust::{
    Acceptance, Accepted, Catalogue, CatalogueBundle, CatalogueError, ExpirationPolicy, Floors, Refusal, SigningKey,
};
use serde_json::Value;
use tough::schema::{Role, Signature, Signed};

/// The moment at which all stories begin: 2027-01-15T08:00:00Z.
pub(crate) const NOW_S: i64 = 1_800_000_000;
pub(crate) const DAY_S: i64 = 24 * 60 * 60;

/// One fleet: offline keys, the online key, the director's key, and what was published last.
pub(crate) struct Fleet {
    pub(crate) root_keys: Vec<SigningKey>,
    pub(crate) targets_keys: Vec<SigningKey>,
    pub(crate) online: SigningKey,
    pub(crate) director: SigningKey,
    pub(crate) roots: Vec<Vec<u8>>,
    pub(crate) threshold: u64,
    pub(crate) now_s: i64,
    pub(crate) bundle: CatalogueBundle,
}

/// A device: what it persists, and its clock.
pub(crate) struct Device {
    pub(crate) root: Vec<u8>,
    pub(crate) floors: Floors,
    pub(crate) now_s: i64,
    scratch: tempfile::TempDir,
}

pub(crate) fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

pub(crate) fn refs(keys: &[SigningKey]) -> Vec<&SigningKey> {
    keys.iter().collect()
}

pub(crate) fn name(text: &str) -> TargetName {
    text.parse().unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().try_into().unwrap())
}

impl Fleet {
    /// One key per role, and a first release.
    pub(crate) fn new() -> Self {
        Self::with_keys(1, 1)
    }

    /// `threshold` of `keys` for both offline roles, and a first release.
    pub(crate) fn with_keys(threshold: u64, keys: usize) -> Self {
        Self::with(threshold, keys, &Lifetimes::default())
    }

    /// One key per role, and a first release whose parts are good for so long.
    pub(crate) fn with_lifetimes(lifetimes: &Lifetimes) -> Self {
        Self::with(1, 1, lifetimes)
    }

    fn with(threshold: u64, keys: usize, lifetimes: &Lifetimes) -> Self {
        let root_keys: Vec<_> = (0..keys).map(|_| key()).collect();
        let targets_keys: Vec<_> = (0..keys).map(|_| key()).collect();
        let (online, director) = (key(), key());
        let plan = plan(&root_keys, &targets_keys, &online, threshold);
        let root = plan.sign(None, NOW_S + lifetimes.root_s, &refs(&root_keys)).unwrap();
        let director_hex = director.verifying_key().to_hex();
        let release = Release { targets: targets(1, &director_hex) };
        let signed = release.sign(&root, None, NOW_S + lifetimes.targets_s, &refs(&targets_keys)).unwrap();
        let roots = vec![root];
        let bundle = signed.publish(slices(&roots), None, lifetimes, NOW_S, &[&online]).unwrap();
        Self { root_keys, targets_keys, online, director, roots, threshold, now_s: NOW_S, bundle }
    }

    /// A device that was enrolled when the newest root was in force.
    pub(crate) fn device(&self) -> Device {
        let root = self.roots.last().unwrap().clone();
        Device { root, floors: Floors::default(), now_s: self.now_s, scratch: tempfile::tempdir().unwrap() }
    }

    /// Releases every target with this release counter.
    pub(crate) fn release(&mut self, counter: u64) {
        self.release_targets(targets(counter, &self.director.verifying_key().to_hex()));
    }

    pub(crate) fn release_targets(&mut self, targets: Vec<(TargetName, Vec<u8>, TargetKind)>) {
        let expires = self.now_s + Lifetimes::default().targets_s;
        let root = self.roots.last().unwrap();
        let signed = Release { targets }.sign(root, Some(&self.bundle), expires, &refs(&self.targets_keys)).unwrap();
        self.bundle = signed
            .publish(slices(&self.roots), Some(&self.bundle), &Lifetimes::default(), self.now_s, &[&self.online])
            .unwrap();
    }

    /// New snapshot and timestamp by the online key alone.
    pub(crate) fn refresh(&mut self) {
        self.bundle =
            refresh(&self.bundle, slices(&self.roots), &Lifetimes::default(), self.now_s, &[&self.online]).unwrap();
    }

    /// Replaces keys by a new root that the old root keys sign too; the bundle is made anew.
    pub(crate) fn rotate(&mut self, change: impl FnOnce(&mut Self)) {
        let old_root_keys: Vec<_> = self.root_keys.iter().map(|key| key.to_pem().unwrap()).collect();
        let old_root_keys: Vec<_> = old_root_keys.iter().map(|pem| SigningKey::from_pem(pem).unwrap()).collect();
        change(self);
        let plan = plan(&self.root_keys, &self.targets_keys, &self.online, self.threshold);
        let mut signers = refs(&old_root_keys);
        signers.extend(refs(&self.root_keys));
        let expires = self.now_s + Lifetimes::default().root_s;
        self.roots.push(plan.sign(self.roots.last().map(Vec::as_slice), expires, &signers).unwrap());
    }

    /// A desired state for the device of the stories, wanting all that the bundle of release `counter` has.
    pub(crate) fn desired(&self, version: u64, counter: u64) -> Desired {
        let targets = targets(counter, &self.director.verifying_key().to_hex());
        let pin = |wanted: &str| {
            let (name, bytes, kind) = targets.iter().find(|(name, _, _)| name.as_str() == wanted).unwrap();
            let release = kind.release();
            TargetPin { name: name.clone(), length: bytes.len() as u64, sha256: sha256(bytes), release }
        };
        let chunk = Chunk { id: Blake3([1; 32]), bytes: 100 };
        Desired {
            v: 1,
            tenant: tenant(),
            device: till(),
            version,
            issued_at_s: self.now_s,
            not_after_s: self.now_s + 7 * DAY_S,
            catalogue: BlobRef { bytes: 100, blake3: Blake3([1; 32]), chunks: vec![chunk] },
            model: Some(DesiredModel {
                model: "guide".parse().unwrap(),
                variants: vec![pin("guide-Q8_0.json"), pin("guide-Q4_0.json")],
                minimum_context_tokens: 512,
            }),
            policy: Some(pin("policy-shop.json")),
            rollout: None,
            withdrawn: Vec::new(),
            agent: Vec::new(),
        }
    }

    pub(crate) fn sign_desired(&self, desired: &Desired) -> Vec<u8> {
        outpost_trust::desired::sign(desired, &[&self.director]).unwrap().to_bytes()
    }
}

impl Device {
    /// Verifies a bundle and keeps root and floors, as an agent does in one transaction.
    pub(crate) async fn take(&mut self, bundle: &CatalogueBundle) -> Result<Catalogue, CatalogueError> {
        self.take_bytes(ExpirationPolicy::Enforce, &bundle.to_bytes()).await
    }

    pub(crate) async fn take_bytes(
        &mut self,
        expiration: ExpirationPolicy,
        bytes: &[u8],
    ) -> Result<Catalogue, CatalogueError> {
        let taken = verify_with(expiration, bytes, &self.root, &self.floors, self.now_s, self.scratch.path()).await;
        let left: Vec<_> = std::fs::read_dir(self.scratch.path()).unwrap().collect();
        assert!(left.is_empty(), "nothing stays in the scratch directory: {left:?}");
        let catalogue = taken?;
        self.root.clone_from(&catalogue.root);
        self.floors.clone_from(&catalogue.floors);
        Ok(catalogue)
    }

    pub(crate) fn accept(&self, fleet: &Fleet, bytes: &[u8], floor: Option<&Accepted>) -> Result<Accepted, Refusal> {
        let acceptance = Acceptance {
            tenant: &tenant(),
            device: &till(),
            floor_version: floor.map_or(0, |accepted| accepted.desired.version),
            floor_payload: floor.map(|accepted| accepted.payload_sha256),
            director_keys: &[fleet.director.verifying_key()],
            now_s: self.now_s,
        };
        outpost_trust::desired::accept(bytes, &acceptance)
    }
}

pub(crate) fn plan(root: &[SigningKey], targets: &[SigningKey], online: &SigningKey, threshold: u64) -> RootPlan {
    let role = |keys: &[SigningKey]| RoleKeys { keys: keys.iter().map(SigningKey::verifying_key).collect(), threshold };
    RootPlan {
        root: role(root),
        targets: role(targets),
        online: RoleKeys::one(online.verifying_key()),
        holders: BTreeMap::new(),
    }
}

pub(crate) fn slices(roots: &[Vec<u8>]) -> Vec<&[u8]> {
    roots.iter().map(Vec::as_slice).collect()
}

pub(crate) fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

pub(crate) fn till() -> DeviceId {
    "till-7".parse().unwrap()
}

/// Two variants of one model, a policy bundle and the authority; their bytes differ per release.
pub(crate) fn targets(release: u64, director_hex: &str) -> Vec<(TargetName, Vec<u8>, TargetKind)> {
    let authority = Authority {
        v: 1,
        director_keys: vec![director_hex.to_owned()],
        token_issuers: Vec::new(),
        signers: Vec::new(),
    };
    let policy = TargetKind::Policy(PolicyFacts { release, version: release });
    vec![
        variant("guide-Q8_0.json", "Q8_0", release, 2_000 + release),
        variant("guide-Q4_0.json", "Q4_0", release, 1_000 + release),
        (name("policy-shop.json"), format!("{{\"v\":1,\"version\":{release}}}").into_bytes(), policy),
        (name("authority.json"), serde_json::to_vec(&authority).unwrap(), TargetKind::Authority { release }),
    ]
}

fn variant(file: &str, quantisation: &str, release: u64, bytes: u64) -> (TargetName, Vec<u8>, TargetKind) {
    let manifest = Manifest {
        v: 1,
        bytes,
        blake3: Blake3([2; 32]),
        sha256: Sha256([3; 32]),
        chunking: "fixed".to_owned(),
        chunks: vec![Chunk { id: Blake3([2; 32]), bytes: u32::try_from(bytes).unwrap() }],
    };
    let model = ModelFacts {
        model: "guide".parse().unwrap(),
        architecture: "qwen3".to_owned(),
        licence: "Apache-2.0".to_owned(),
        parameters: 8_000_000,
        context_tokens: 1024,
        layers: 6,
        embedding_length: 256,
        vocabulary: 4096,
        kv_elements_per_layer: 256,
        feed_forward_length: 768,
        query_elements: 256,
    };
    let facts = VariantFacts {
        release,
        model,
        quantisation: quantisation.to_owned(),
        file_bytes: bytes,
        weight_bytes: bytes - 100,
        quality_milli: 4_500,
        golden: GoldenPrompts::default(),
        origin: None,
        footprint: None,
    };
    (name(file), serde_json::to_vec(&manifest).unwrap(), TargetKind::Variant(facts))
}

/// The files of a bundle, to be changed and put together again.
pub(crate) fn unpack(bundle: &CatalogueBundle) -> BTreeMap<BundlePath, Vec<u8>> {
    bundle.files().map(|(path, bytes)| (path.clone(), bytes.to_vec())).collect()
}

/// Edits signed metadata and signs it again with the given keys: what a thief of those keys can do.
pub(crate) fn forge<T>(bytes: &[u8], keys: &[&SigningKey], edit: impl FnOnce(&mut Value)) -> Vec<u8>
where
    T: Role + serde::de::DeserializeOwned,
{
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    edit(&mut value["signed"]);
    let mut signed: Signed<T> = serde_json::from_value(value).unwrap();
    let message = signed.signed.canonical_form().unwrap();
    signed.signatures = keys
        .iter()
        .map(|key| Signature {
            keyid: key.verifying_key().key_id().parse().unwrap(),
            sig: key.sign(&message).to_vec().into(),
        })
        .collect();
    serde_json::to_vec(&signed).unwrap()
}

/// Edits the targets metadata with the stolen targets key, then has the online key sign on top.
pub(crate) fn forge_targets(fleet: &Fleet, edit: impl FnOnce(&mut Value)) -> CatalogueBundle {
    let mut files = unpack(&fleet.bundle);
    let path = files.keys().find(|path| matches!(path, BundlePath::Targets(_))).unwrap().clone();
    let forged = forge::<tough::schema::Targets>(&files[&path], &refs(&fleet.targets_keys), edit);
    files.insert(path, forged);
    let bundle = CatalogueBundle::from_files(files).unwrap();
    refresh(&bundle, slices(&fleet.roots), &Lifetimes::default(), fleet.now_s, &[&fleet.online]).unwrap()
}
