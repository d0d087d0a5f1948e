//! Who may come to the local API beside key holders and local accounts: what `outpost.toml` says, in the server's words.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use outpost_disk::Clock;
use outpost_policies::PrincipalKind;
use outpost_serve::Identities;
use outpost_serve::identify::{CertificateSubject, CertificateSubjects, JWKS_BYTES, OidcProvider, ProviderKeys};
use tokio_util::sync::CancellationToken;

use crate::config::{Api, Oidc};

/// How often key files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long a key counts after it left a provider's set: longer than any access token lives.
const KEEP_REMOVED_S: i64 = 24 * 3600;

/// The names in client certificates and what they are.
pub(crate) fn subjects(api: &Api) -> Result<CertificateSubjects> {
    let named = api.client_certificates.subjects.iter().map(|(name, subject)| {
        let kind = kind(&subject.kind).with_context(|| format!("`api.client_certificates.subjects`: `{name}`"))?;
        Ok((name.clone(), CertificateSubject { kind, roles: subject.roles.clone() }))
    });
    named.collect()
}

/// Makes the configured providers known; each counts once its key file is read.
pub(crate) fn set_providers(identities: &Identities, api: &Api) -> Result<()> {
    let providers = api.oidc.iter().map(|oidc| {
        let kind = kind(&oidc.kind).with_context(|| format!("`api.oidc`: `{}`", oidc.issuer))?;
        Ok(OidcProvider {
            issuer: oidc.issuer.clone(),
            audience: oidc.audience.clone(),
            roles_claim: oidc.roles_claim.clone(),
            roles: oidc.roles.clone(),
            role_prefix: oidc.role_prefix.clone(),
            authorized_parties: oidc.authorized_parties.clone(),
            tenant: oidc.tenant.clone(),
            kind,
            max_offline: None,
            refresh: LOOK_EVERY,
        })
    });
    let providers = providers.collect::<Result<Vec<_>>>()?;
    identities.set_providers(&providers).context("`api.oidc`")
}

/// Reads the providers' key files, and reads them again for as long as the agent runs. Keys that left a file count for a
/// day more; a file that cannot be used leaves what was known.
pub(crate) async fn watch_keys(
    providers: Vec<Oidc>,
    identities: Arc<Identities>,
    clock: Clock,
    stop: CancellationToken,
) {
    if providers.is_empty() {
        return;
    }
    let mut known = vec![ProviderKeys::default(); providers.len()];
    let mut timer = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        for (provider, keys) in providers.iter().zip(&mut known) {
            match read(&provider.jwks_file, keys, clock.now_s()).await {
                Ok(read) => {
                    identities.set_provider_keys(&provider.issuer, &read);
                    *keys = read;
                }
                Err(error) => {
                    tracing::error!(
                        issuer = provider.issuer,
                        error = format!("{error:#}"),
                        "a provider's keys are not read"
                    );
                }
            }
        }
    }
}

async fn read(file: &Path, known: &ProviderKeys, now_s: i64) -> Result<ProviderKeys> {
    let size = tokio::fs::metadata(file).await.with_context(|| format!("cannot read `{}`", file.display()))?.len();
    if size > JWKS_BYTES as u64 {
        bail!("`{}` has {size} bytes, more than {JWKS_BYTES}", file.display());
    }
    let jwks = tokio::fs::read(file).await.with_context(|| format!("cannot read `{}`", file.display()))?;
    known.updated(&jwks, now_s, KEEP_REMOVED_S).with_context(|| format!("`{}`", file.display()))
}

fn kind(word: &str) -> Result<PrincipalKind> {
    match word {
        "user" => Ok(PrincipalKind::User),
        "service" => Ok(PrincipalKind::Service),
        "device" => Ok(PrincipalKind::Device),
        _ => bail!("the kind `{word}` is none: choose user, service or device"),
    }
}
