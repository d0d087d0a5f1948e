//! Who may come to the local API beside key holders and local accounts: what `outpost.toml` says, in the server's words.

mod fetch;
mod key_set;
mod key_sets;
mod schedule;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use outpost_policies::PrincipalKind;
use outpost_serve::Identities;
use outpost_serve::identify::{CertificateSubject, CertificateSubjects, OidcProvider};

use crate::config::{Api, KeySource};

pub(crate) use key_sets::KeySets;

/// How often key files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The names in client certificates and what they are.
pub(crate) fn subjects(api: &Api) -> Result<CertificateSubjects> {
    let named = api.client_certificates.subjects.iter().map(|(name, subject)| {
        let kind = kind(&subject.kind).with_context(|| format!("`api.client_certificates.subjects`: `{name}`"))?;
        Ok((name.clone(), CertificateSubject { kind, roles: subject.roles.clone() }))
    });
    named.collect()
}

/// Makes the configured providers known; each counts once its keys are.
pub(crate) fn set_providers(identities: &Identities, api: &Api) -> Result<()> {
    let providers = api.oidc.iter().map(|oidc| {
        let kind = kind(&oidc.kind).with_context(|| format!("`api.oidc`: `{}`", oidc.issuer))?;
        let (max_offline, refresh) = match oidc.key_source()? {
            KeySource::File(_) => (None, LOOK_EVERY),
            KeySource::Address(address) => (Some(address.max_offline), address.refresh),
        };
        Ok(OidcProvider {
            issuer: oidc.issuer.clone(),
            audience: oidc.audience.clone(),
            roles_claim: oidc.roles_claim.clone(),
            roles: oidc.roles.clone(),
            role_prefix: oidc.role_prefix.clone(),
            authorized_parties: oidc.authorized_parties.clone(),
            tenant: oidc.tenant.clone(),
            kind,
            max_offline,
            refresh,
        })
    });
    let providers = providers.collect::<Result<Vec<_>>>()?;
    identities.set_providers(&providers).context("`api.oidc`")
}

fn kind(word: &str) -> Result<PrincipalKind> {
    match word {
        "user" => Ok(PrincipalKind::User),
        "service" => Ok(PrincipalKind::Service),
        "device" => Ok(PrincipalKind::Device),
        _ => bail!("the kind `{word}` is none: choose user, service or device"),
    }
}
