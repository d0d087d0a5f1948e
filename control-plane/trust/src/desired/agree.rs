//! Do both signatures say the same? What the director wants must be, word for word, what the catalogue lists.

use std::collections::BTreeSet;

use outpost_contract::desired::PAYLOAD_TYPE;
use outpost_contract::limits::{BUILD_BYTES, BUILDS};
use outpost_contract::{
    AgentFacts, Authority, Desired, DesiredModel, Manifest, PolicyFacts, ReasonCode, TargetKind, TargetPin,
    VariantFacts,
};

use super::{Accepted, Refusal};
use crate::catalogue::Target;
use crate::{Catalogue, Signers, VerifyingKey};

/// What may be activated: both the director and the offline keys said so.
#[derive(Debug, Clone)]
pub struct Agreed {
    /// Who may sign and issue what from now on.
    pub authority: Authority,
    /// The director keys of `authority`, read.
    pub director_keys: Vec<VerifyingKey>,
    /// The signers of `authority`, read.
    pub signers: Signers,
    /// The allowed variants of the desired model, in the director's order; empty if no model is to run.
    pub variants: Vec<(TargetPin, VariantFacts, Manifest)>,
    /// The policy bundle to enforce; `None` keeps the one in force.
    pub policy: Option<AgreedPolicy>,
    /// The build of the agent to run, one for each kind of machine; empty if any will do.
    pub builds: Vec<(TargetPin, AgentFacts, Manifest)>,
}

/// A policy bundle that both sides name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedPolicy {
    /// What the director pinned.
    pub pin: TargetPin,
    /// What the catalogue says of it.
    pub facts: PolicyFacts,
    /// The bundle's bytes.
    pub bytes: Vec<u8>,
}

/// Compares an accepted document with a verified catalogue.
///
/// # Errors
/// [`ReasonCode::NotInCatalogue`] where the two differ, [`ReasonCode::Rollback`] for a pin of an older release,
/// [`ReasonCode::BadSignature`] if the catalogue's authority document no longer lists the director's key,
/// [`ReasonCode::Unloadable`] if a listed manifest or the authority contradicts itself.
pub fn agree(accepted: &Accepted, catalogue: &Catalogue) -> Result<Agreed, Refusal> {
    let (authority, director_keys, signers) = read_authority(catalogue)?;
    // The envelope is verified again, now with the keys that the offline side vouches for.
    accepted.envelope.verify(PAYLOAD_TYPE, &director_keys).map_err(|error| {
        Refusal::new(ReasonCode::BadSignature, format!("the catalogue's authority does not know the director: {error}"))
    })?;
    let Desired { model, policy, agent, .. } = &accepted.desired;
    let variants = model.as_ref().map(|model| agree_variants(model, catalogue)).transpose()?.unwrap_or_default();
    let policy = policy.as_ref().map(|pin| agree_policy(pin, catalogue)).transpose()?;
    let builds = agree_builds(agent, catalogue)?;
    Ok(Agreed { authority, director_keys, signers, variants, policy, builds })
}

fn read_authority(catalogue: &Catalogue) -> Result<(Authority, Vec<VerifyingKey>, Signers), Refusal> {
    let mut documents =
        catalogue.targets.iter().filter(|(_, target)| matches!(target.kind, TargetKind::Authority { .. }));
    let (Some((name, target)), None) = (documents.next(), documents.next()) else {
        return Err(Refusal::new(ReasonCode::NotInCatalogue, "the catalogue must list exactly one authority document"));
    };
    let unreadable = |what: String| Refusal::new(ReasonCode::Unloadable, format!("authority `{name}`: {what}"));
    let authority: Authority = serde_json::from_slice(&target.bytes).map_err(|error| unreadable(error.to_string()))?;
    if authority.v != 1 {
        return Err(unreadable(format!("form {} is unknown here (this agent reads form 1)", authority.v)));
    }
    let keys = authority.director_keys.iter().map(|key| key.parse()).collect::<Result<Vec<VerifyingKey>, _>>();
    let keys = keys.map_err(|error| unreadable(error.to_string()))?;
    let signers = Signers::new(&authority.signers).map_err(|error| unreadable(error.to_string()))?;
    Ok((authority, keys, signers))
}

fn agree_variants(
    model: &DesiredModel,
    catalogue: &Catalogue,
) -> Result<Vec<(TargetPin, VariantFacts, Manifest)>, Refusal> {
    let names: BTreeSet<_> = model.variants.iter().map(|pin| &pin.name).collect();
    if model.variants.is_empty() || names.len() != model.variants.len() {
        let detail = format!("model `{}` has no variants to choose from, or names one twice", model.model);
        return Err(Refusal::new(ReasonCode::Unloadable, detail));
    }
    model.variants.iter().map(|pin| agree_variant(model, pin, catalogue)).collect()
}

fn agree_variant(
    model: &DesiredModel,
    pin: &TargetPin,
    catalogue: &Catalogue,
) -> Result<(TargetPin, VariantFacts, Manifest), Refusal> {
    let target = pinned(pin, catalogue)?;
    let TargetKind::Variant(facts) = &target.kind else { return Err(differs(pin, "it is no variant of a model")) };
    if facts.model.model != model.model {
        return Err(differs(pin, &format!("it is of model `{}`, not `{}`", facts.model.model, model.model)));
    }
    let manifest = read_manifest(pin, target)?;
    if manifest.bytes != facts.file_bytes {
        let what = format!("it is of {} bytes, the catalogue says {}", manifest.bytes, facts.file_bytes);
        return Err(unreadable(pin, &what));
    }
    Ok((pin.clone(), facts.clone(), manifest))
}

fn read_manifest(pin: &TargetPin, target: &Target) -> Result<Manifest, Refusal> {
    let manifest: Manifest =
        serde_json::from_slice(&target.bytes).map_err(|error| unreadable(pin, &error.to_string()))?;
    manifest.check().map_err(|error| unreadable(pin, &error.to_string()))?;
    Ok(manifest)
}

fn unreadable(pin: &TargetPin, what: &str) -> Refusal {
    Refusal::new(ReasonCode::Unloadable, format!("manifest `{}`: {what}", pin.name))
}

/// Builds of one version, each for other machines: which one is for this device must be plain.
fn agree_builds(pins: &[TargetPin], catalogue: &Catalogue) -> Result<Vec<(TargetPin, AgentFacts, Manifest)>, Refusal> {
    if pins.len() > BUILDS {
        let detail = format!("{} builds of the agent are named, {BUILDS} is the limit", pins.len());
        return Err(Refusal::new(ReasonCode::Unloadable, detail));
    }
    let builds = pins.iter().map(|pin| agree_build(pin, catalogue)).collect::<Result<Vec<_>, _>>()?;
    let triples: BTreeSet<_> = builds.iter().map(|(_, facts, _)| &facts.target).collect();
    let versions: BTreeSet<_> = builds.iter().map(|(_, facts, _)| &facts.version).collect();
    if triples.len() != builds.len() || versions.len() > 1 {
        let detail = "the builds of the agent are not of one version, one for each kind of machine".to_owned();
        return Err(Refusal::new(ReasonCode::Unloadable, detail));
    }
    Ok(builds)
}

fn agree_build(pin: &TargetPin, catalogue: &Catalogue) -> Result<(TargetPin, AgentFacts, Manifest), Refusal> {
    let target = pinned(pin, catalogue)?;
    let TargetKind::Agent(facts) = &target.kind else { return Err(differs(pin, "it is no build of the agent")) };
    let manifest = read_manifest(pin, target)?;
    if manifest.bytes > BUILD_BYTES {
        return Err(unreadable(pin, &format!("it is of {} bytes, {BUILD_BYTES} is the limit", manifest.bytes)));
    }
    Ok((pin.clone(), facts.clone(), manifest))
}

fn agree_policy(pin: &TargetPin, catalogue: &Catalogue) -> Result<AgreedPolicy, Refusal> {
    let target = pinned(pin, catalogue)?;
    let TargetKind::Policy(facts) = &target.kind else { return Err(differs(pin, "it is no policy bundle")) };
    Ok(AgreedPolicy { pin: pin.clone(), facts: facts.clone(), bytes: target.bytes.clone() })
}

/// The target of that name, if the catalogue says the same of it as the pin.
fn pinned<'a>(pin: &TargetPin, catalogue: &'a Catalogue) -> Result<&'a Target, Refusal> {
    let target = catalogue.targets.get(&pin.name).ok_or_else(|| differs(pin, "it is not listed"))?;
    let release = target.kind.release();
    if pin.release < release {
        let detail =
            format!("`{}`: release {} is wanted, the catalogue is at {release}: not going back", pin.name, pin.release);
        return Err(Refusal::new(ReasonCode::Rollback, detail));
    }
    if pin.release != release {
        return Err(differs(pin, &format!("release {release} is listed, {} is wanted", pin.release)));
    }
    if pin.length != target.length {
        return Err(differs(pin, &format!("{} bytes are listed, {} are wanted", target.length, pin.length)));
    }
    if pin.sha256 != target.sha256 {
        return Err(differs(pin, "another digest is listed"));
    }
    Ok(target)
}

fn differs(pin: &TargetPin, what: &str) -> Refusal {
    Refusal::new(ReasonCode::NotInCatalogue, format!("`{}` is wanted, but the catalogue disagrees: {what}", pin.name))
}
