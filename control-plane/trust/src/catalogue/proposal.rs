//! A proposal: metadata on its way from holder to holder, until enough of them have signed it.
//!
//! ```text
//! {"v":1,"kind":"root","document":<root>,"before":<root before it>|null}
//! {"v":1,"kind":"release","document":<targets>,"before":<targets before them>|null,"root":<root in force>,
//!  "files":{"targets/<sha256>.<name>":<base64>, …}}
//! ```
//!
//! It holds everything that a holder must see to judge it, so that it can be signed on a machine without a network; and
//! nothing in it is believed: documents are signed as they are read here, files are held to the digests in the document,
//! and what was there before counts as proven only under a root that the holder's own key has signed.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outpost_contract::limits::CATALOGUE_BYTES;
use outpost_contract::{Sha256, TargetKind, TargetName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tough::schema::{Role, RoleType, Root, Signature, Signed, Targets};

use super::facts::{RoleFacts, RootFacts, listed};
use super::publish::{SignedRelease, check_limits, sha256};
use super::root::{read, read_strictly, to_bytes};
use super::{BundlePath, CatalogueBundle, PublishError, Release, RootPlan};
use crate::{SigningKey, VerifyingKey};

/// Largest proposal, bytes: a catalogue in base64, and metadata.
pub const MOST_BYTES: u64 = 2 * CATALOGUE_BYTES;

/// What a proposal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Whose keys count.
    Root,
    /// What exists.
    Release,
}

/// How far a proposal is with the keys of one root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Whose signatures these are, as in `root 2`.
    pub authority: String,
    /// Holders (or key ids) that have signed.
    pub signed_by: Vec<String>,
    /// Holders (or key ids) that have not.
    pub missing: Vec<String>,
    /// Signatures needed.
    pub threshold: u64,
}

/// Metadata that waits for signatures.
#[derive(Debug, Clone)]
pub struct Proposal(Subject);

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Subject {
    Root { document: Signed<Root>, before: Option<Signed<Root>> },
    Release(Offer),
}

#[derive(Debug, Clone)]
struct Offer {
    document: Signed<Targets>,
    before: Option<Signed<Targets>>,
    root: Signed<Root>,
    files: BTreeMap<BundlePath, Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Wire {
    Root { v: u32, document: Value, before: Option<Value> },
    Release { v: u32, document: Value, before: Option<Value>, root: Value, files: BTreeMap<String, String> },
}

impl Proposal {
    /// The root of a plan, the first or the one after `previous`.
    ///
    /// # Errors
    /// If the plan makes no sense or `previous` cannot be read.
    pub fn root(plan: &RootPlan, previous: Option<&[u8]>, expires_at_s: i64) -> Result<Self, PublishError> {
        let before = previous.map(|bytes| read::<Root>("root", bytes)).transpose()?;
        let root = plan.draft(before.as_ref().map(|root| &root.signed), expires_at_s)?;
        Ok(Self(Subject::Root { document: unsigned(root), before }))
    }

    /// A release under `root`, the first or the one after that in `previous`.
    ///
    /// # Errors
    /// If a target breaks a rule that devices hold.
    pub fn release(
        release: Release,
        root: &[u8],
        previous: Option<&CatalogueBundle>,
        expires_at_s: i64,
    ) -> Result<Self, PublishError> {
        let root = read("root", root)?;
        let before = previous.map(|bundle| read::<Targets>("targets", bundle.targets())).transpose()?;
        let (targets, files) = release.draft(before.as_ref().map(|targets| &targets.signed), expires_at_s)?;
        Ok(Self(Subject::Release(Offer { document: unsigned(targets), before, root, files })))
    }

    /// Reads a proposal of at most [`MOST_BYTES`] bytes. Signatures that do not hold are dropped: they are nobody's.
    ///
    /// # Errors
    /// [`PublishError::Proposal`] with what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, PublishError> {
        if bytes.len() as u64 > MOST_BYTES {
            return Err(refused(format!("{} bytes, {MOST_BYTES} is the limit", bytes.len())));
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        let mut proposal = match wire {
            Wire::Root { v: 1, document, before } => {
                Self(Subject::Root { document: strictly(&document)?, before: earlier(before)? })
            }
            Wire::Release { v: 1, document, before, root, files } => Self(Subject::Release(Offer {
                document: strictly(&document)?,
                before: earlier(before)?,
                root: strictly(&root)?,
                files: files.into_iter().map(unpacked).collect::<Result<_, _>>()?,
            })),
            Wire::Root { v, .. } | Wire::Release { v, .. } => {
                return Err(refused(format!("form {v} is unknown here; use a newer `outpost-control`")));
            }
        };
        proposal.check()?;
        proposal.drop_bad_signatures()?;
        Ok(proposal)
    }

    /// The proposal's bytes, to be given to the next holder.
    ///
    /// # Errors
    /// If it would be larger than can be read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PublishError> {
        let wire = match &self.0 {
            Subject::Root { document, before } => {
                Wire::Root { v: 1, document: value(document)?, before: before.as_ref().map(value).transpose()? }
            }
            Subject::Release(offer) => Wire::Release {
                v: 1,
                document: value(&offer.document)?,
                before: offer.before.as_ref().map(value).transpose()?,
                root: value(&offer.root)?,
                files: offer.files.iter().map(|(path, bytes)| (path.to_string(), STANDARD.encode(bytes))).collect(),
            },
        };
        let bytes = serde_json::to_vec(&wire).map_err(|error| refused(error.to_string()))?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(refused(format!("{} bytes, {MOST_BYTES} is the limit", bytes.len())));
        }
        Ok(bytes)
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.0 {
            Subject::Root { .. } => Kind::Root,
            Subject::Release(_) => Kind::Release,
        }
    }

    /// The version that it would have.
    #[must_use]
    pub fn version(&self) -> u64 {
        match &self.0 {
            Subject::Root { document, .. } => document.signed.version.get(),
            Subject::Release(offer) => offer.document.signed.version.get(),
        }
    }

    /// Adds a holder's signature. False if the key may not sign this, or has.
    ///
    /// # Errors
    /// If the document has no canonical form.
    pub fn sign(&mut self, key: &SigningKey) -> Result<bool, PublishError> {
        let message = self.message()?;
        let public = key.verifying_key();
        let may = self.authorities().iter().any(|(_, role)| role.knows(&public));
        if !may || self.signed_by(&message)?.contains(&public) {
            return Ok(false);
        }
        let signature = Signature { keyid: public.tuf_key_id(), sig: key.sign(&message).to_vec().into() };
        self.signatures_mut().push(signature);
        Ok(true)
    }

    /// Takes over the signatures of another copy.
    ///
    /// # Errors
    /// If it is of another document.
    pub fn merge(&mut self, other: &Self) -> Result<(), PublishError> {
        if self.message()? != other.message()? || self.kind() != other.kind() {
            return Err(refused("the files are not copies of the same proposal".to_owned()));
        }
        let have: BTreeSet<_> = self.signatures().iter().map(|signature| signature.keyid.clone()).collect();
        let more: Vec<_> = other.signatures().iter().filter(|one| !have.contains(&one.keyid)).cloned().collect();
        self.signatures_mut().extend(more);
        self.drop_bad_signatures()
    }

    /// How far it is with the keys of each root that must agree.
    ///
    /// # Errors
    /// If the document has no canonical form.
    pub fn standings(&self) -> Result<Vec<Standing>, PublishError> {
        let signed = self.signed_by(&self.message()?)?;
        let standing = |(authority, role): (String, RoleFacts)| {
            let name = |(key, name): &(VerifyingKey, Option<String>)| words::who(key, name.as_deref());
            let (have, lack): (Vec<_>, Vec<_>) = role.keys.iter().partition(|(key, _)| signed.contains(key));
            Standing {
                authority,
                signed_by: have.into_iter().map(name).collect(),
                missing: lack.into_iter().map(name).collect(),
                threshold: role.threshold,
            }
        };
        Ok(self.authorities().into_iter().map(standing).collect())
    }

    /// True if enough holders have signed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.verify().is_ok()
    }

    /// What it would change, in words, line by line; `own` are the public keys of whoever is about to sign.
    #[must_use]
    pub fn words(&self, own: &[VerifyingKey]) -> Vec<String> {
        match &self.0 {
            Subject::Root { document, before } => words::of_root(document, before.as_ref(), own),
            Subject::Release(offer) => words::of_release(offer, own),
        }
    }

    /// The signed root.
    ///
    /// # Errors
    /// [`PublishError::NotEnoughSignatures`], or if it does not follow `newest`, the root in force.
    pub fn into_root(self, newest: Option<&[u8]>) -> Result<Vec<u8>, PublishError> {
        self.verify()?;
        let newest = newest.map(|bytes| read::<Root>("root", bytes)).transpose()?;
        match self.0 {
            Subject::Root { document, before } if same(before.as_ref(), newest.as_ref()) => to_bytes(&document),
            Subject::Root { .. } => {
                Err(refused("it does not follow the root that is in force; make it again with `keys root`".to_owned()))
            }
            Subject::Release(_) => Err(refused("it is a release; use `catalogue publish`".to_owned())),
        }
    }

    /// The signed release, and every target of it.
    ///
    /// # Errors
    /// [`PublishError::NotEnoughSignatures`], or if it does not follow `previous` under `newest`, the root in force.
    #[expect(clippy::type_complexity, reason = "a name for a list of three fields says less")]
    pub fn into_release(
        self,
        newest: &[u8],
        previous: Option<&CatalogueBundle>,
    ) -> Result<(SignedRelease, Vec<(TargetName, Vec<u8>, TargetKind)>), PublishError> {
        let newest: Signed<Root> = read("root", newest)?;
        let previous = previous.map(|bundle| read::<Targets>("targets", bundle.targets())).transpose()?;
        let Subject::Release(offer) = self.0 else {
            return Err(refused("it is a root; use `keys install`".to_owned()));
        };
        verify(&newest.signed, &offer.document)?;
        if !same(offer.before.as_ref(), previous.as_ref()) {
            let why = "another release was published since it was prepared; run `catalogue prepare` again";
            return Err(refused(why.to_owned()));
        }
        let mut targets = Vec::new();
        for (name, kind) in listed(&offer.document)? {
            let bytes =
                offer.files.iter().find(|(path, _)| matches!(path, BundlePath::Target(_, file) if *file == name));
            let bytes = bytes.map(|(_, bytes)| bytes.clone()).unwrap_or_default();
            targets.push((name, bytes, kind));
        }
        let metadata = to_bytes(&offer.document)?;
        Ok((SignedRelease::new(offer.document.signed.version, metadata, offer.files), targets))
    }

    fn verify(&self) -> Result<(), PublishError> {
        match &self.0 {
            Subject::Root { document, before } => {
                before.iter().try_for_each(|before| verify(&before.signed, document))?;
                verify(&document.signed, document)
            }
            Subject::Release(offer) => verify(&offer.root.signed, &offer.document),
        }
    }

    /// The rules that whoever made it should have kept.
    fn check(&self) -> Result<(), PublishError> {
        match &self.0 {
            Subject::Root { document, before } => check_root(document, before.as_ref()),
            Subject::Release(offer) => offer.check(),
        }
    }

    /// Whose signatures it needs: every root that must agree, by name.
    fn authorities(&self) -> Vec<(String, RoleFacts)> {
        let named = |root: &Root| format!("root {}", root.version);
        match &self.0 {
            Subject::Root { document, before } => {
                let roots = before.iter().chain([document]).map(|root| &root.signed);
                roots.map(|root| (named(root), RootFacts::of(root).root)).collect()
            }
            Subject::Release(offer) => {
                vec![(named(&offer.root.signed), RootFacts::of(&offer.root.signed).targets)]
            }
        }
    }

    fn message(&self) -> Result<Vec<u8>, PublishError> {
        match &self.0 {
            Subject::Root { document, .. } => canonical(&document.signed),
            Subject::Release(offer) => canonical(&offer.document.signed),
        }
    }

    fn signatures(&self) -> &[Signature] {
        match &self.0 {
            Subject::Root { document, .. } => &document.signatures,
            Subject::Release(offer) => &offer.document.signatures,
        }
    }

    fn signatures_mut(&mut self) -> &mut Vec<Signature> {
        match &mut self.0 {
            Subject::Root { document, .. } => &mut document.signatures,
            Subject::Release(offer) => &mut offer.document.signatures,
        }
    }

    /// The keys that have signed, of those that may.
    fn signed_by(&self, message: &[u8]) -> Result<BTreeSet<VerifyingKey>, PublishError> {
        let known = self.authorities().into_iter().flat_map(|(_, role)| role.keys).map(|(key, _)| key);
        let signed = |key: &VerifyingKey| {
            let mut own = self.signatures().iter().filter(|signature| signature.keyid == key.tuf_key_id());
            own.any(|signature| key.verifies(message, signature.sig.as_ref()))
        };
        Ok(known.filter(signed).collect())
    }

    /// Each signature once, and only those that hold: one bad one would make `tough` refuse the good ones too.
    fn drop_bad_signatures(&mut self) -> Result<(), PublishError> {
        let message = self.message()?;
        let mut left = self.signed_by(&message)?;
        let mut keep = Vec::new();
        for signature in self.signatures() {
            let by = left.iter().find(|key| key.tuf_key_id() == signature.keyid).copied();
            if let Some(key) = by.filter(|key| key.verifies(&message, signature.sig.as_ref())) {
                left.remove(&key);
                keep.push(signature.clone());
            }
        }
        *self.signatures_mut() = keep;
        Ok(())
    }
}

impl Offer {
    fn check(&self) -> Result<(), PublishError> {
        check_follows(
            self.document.signed.version.get(),
            self.before.as_ref().map(|before| before.signed.version.get()),
        )?;
        if self.document.signed.delegations.is_some() {
            return Err(refused("it delegates targets to other keys, which no catalogue of ours does".to_owned()));
        }
        let kinds = listed(&self.document)?;
        if kinds.len() != self.files.len() {
            return Err(refused("the files in it are not those that it lists".to_owned()));
        }
        for (name, kind) in kinds {
            let wrong = |what: &str| PublishError::Target { name: name.to_string(), what: what.to_owned() };
            let described = self.target(&name).ok_or_else(|| wrong("it is not listed"))?;
            let digest = described.hashes.sha256.as_ref().try_into().map(Sha256);
            let digest = digest.map_err(|_| wrong("its digest is not a SHA-256"))?;
            let bytes = self.files.get(&BundlePath::Target(digest, name.clone()));
            let bytes = bytes.ok_or_else(|| wrong("its bytes are not here"))?;
            if sha256(bytes) != digest || bytes.len() as u64 != described.length {
                return Err(wrong("its bytes are not those that are listed"));
            }
            check_limits(bytes, &kind).map_err(wrong)?;
        }
        Ok(())
    }

    fn target(&self, name: &TargetName) -> Option<&tough::schema::Target> {
        self.document.signed.targets.iter().find(|(listed, _)| listed.raw() == name.as_str()).map(|(_, target)| target)
    }
}

fn check_root(document: &Signed<Root>, before: Option<&Signed<Root>>) -> Result<(), PublishError> {
    let root = &document.signed;
    check_follows(root.version.get(), before.map(|before| before.signed.version.get()))?;
    let roles = [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp];
    for role in roles {
        let keys = root.roles.get(&role).ok_or_else(|| refused(format!("it names no {role} keys")))?;
        if (keys.keyids.len() as u64) < keys.threshold.get() {
            return Err(refused(format!("it asks for {} of {} {role} keys", keys.threshold, keys.keyids.len())));
        }
    }
    let keys = |role: RoleType| root.roles[&role].keyids.iter().collect::<BTreeSet<_>>();
    let offline: BTreeSet<_> = keys(RoleType::Root).union(&keys(RoleType::Targets)).copied().collect();
    if [RoleType::Snapshot, RoleType::Timestamp].into_iter().any(|role| !keys(role).is_disjoint(&offline)) {
        return Err(refused("a key of the server is an offline key too".to_owned()));
    }
    Ok(())
}

fn check_follows(version: u64, before: Option<u64>) -> Result<(), PublishError> {
    let expected = before.unwrap_or(0) + 1;
    if version == expected {
        return Ok(());
    }
    Err(refused(format!("it has version {version}, expected {expected}")))
}

fn verify<T: Role + Serialize>(root: &Root, document: &Signed<T>) -> Result<(), PublishError> {
    root.verify_role(document)
        .map_err(|error| PublishError::NotEnoughSignatures { role: T::TYPE.to_string(), what: error.to_string() })
}

fn same<T: PartialEq>(one: Option<&Signed<T>>, other: Option<&Signed<T>>) -> bool {
    one.map(|signed| &signed.signed) == other.map(|signed| &signed.signed)
}

fn unsigned<T>(role: T) -> Signed<T> {
    Signed { signed: role, signatures: Vec::new() }
}

fn refused(why: String) -> PublishError {
    PublishError::Proposal(why)
}

fn canonical<T: Role>(role: &T) -> Result<Vec<u8>, PublishError> {
    role.canonical_form().map_err(|error| PublishError::OutOfRange(error.to_string()))
}

fn value<T: Serialize>(signed: &Signed<T>) -> Result<Value, PublishError> {
    serde_json::to_value(signed).map_err(|error| refused(error.to_string()))
}

fn strictly<T: serde::de::DeserializeOwned + Serialize>(value: &Value) -> Result<Signed<T>, PublishError> {
    let bytes = serde_json::to_vec(value).map_err(|error| refused(error.to_string()))?;
    read_strictly(&bytes).map_err(refused)
}

fn earlier<T>(value: Option<Value>) -> Result<Option<Signed<T>>, PublishError>
where
    T: serde::de::DeserializeOwned + Serialize,
{
    value.as_ref().map(strictly).transpose()
}

fn unpacked((path, text): (String, String)) -> Result<(BundlePath, Vec<u8>), PublishError> {
    let bytes = STANDARD.decode(text).map_err(|error| refused(format!("a file is not base64: {error}")))?;
    Ok((path.parse::<BundlePath>()?, bytes))
}
