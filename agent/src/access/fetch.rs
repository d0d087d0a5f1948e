//! One reading of a key set, from a file or over HTTPS: from what was named or not at all, and never more than a set may have.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use outpost_disk::Clock;
use outpost_serve::identify::JWKS_BYTES;
use outpost_sync::FlooredTime;
use reqwest::header::{ACCEPT, LOCATION};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::AsyncReadExt;

use crate::config::KeyAddress;

/// How much of a server's own words is repeated.
const SHOWN_CHARACTERS: usize = 200;

/// What a file holds.
pub(super) async fn file(path: &Path) -> Result<Vec<u8>> {
    let reading = async {
        let mut jwks = Vec::new();
        let most = JWKS_BYTES as u64 + 1;
        tokio::fs::File::open(path).await?.take(most).read_to_end(&mut jwks).await?;
        std::io::Result::Ok(jwks)
    };
    let jwks = reading.await.with_context(|| format!("cannot read `{}`", path.display()))?;
    if jwks.len() > JWKS_BYTES {
        bail!("`{}` has more than {JWKS_BYTES} bytes", path.display());
    }
    Ok(jwks)
}

/// What the provider's address answers within `patience`, from the first packet to the last.
pub(super) async fn address(address: &KeyAddress, clock: &Clock, patience: Duration) -> Result<Vec<u8>> {
    // Made anew each time: a renewed authority file counts from the next reading on.
    let tls = tls(address.authority.as_deref(), clock).await?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(patience)
        .build()
        .context("cannot set up a client")?;
    let request = client.get(address.url.clone()).header(ACCEPT, "application/jwk-set+json, application/json");
    let mut answer = request.send().await.context("the provider cannot be reached")?;
    let status = answer.status();
    if status.is_redirection() {
        let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("an unreadable address");
        let to: String = to.chars().take(SHOWN_CHARACTERS).collect();
        bail!("the provider sends on to `{to}`, which is not followed: if that is right, write it as `jwks_url`");
    }
    if status != reqwest::StatusCode::OK {
        bail!("the provider answers {status}: is `jwks_url` right?");
    }
    let mut jwks = Vec::new();
    while let Some(piece) = answer.chunk().await.context("the provider broke off its answer")? {
        if jwks.len() + piece.len() > JWKS_BYTES {
            bail!("the provider answers with more than {JWKS_BYTES} bytes");
        }
        jwks.extend_from_slice(&piece);
    }
    Ok(jwks)
}

/// TLS that believes the authority, or whom this system believes, and the device's clock with its floor.
async fn tls(authority: Option<&Path>, clock: &Clock) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_details(provider, Arc::new(FlooredTime(clock.clone())))
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?;
    let config = match authority {
        Some(file) => {
            let pem = tokio::fs::read(file).await.with_context(|| format!("cannot read `{}`", file.display()))?;
            let roots = roots(&pem).with_context(|| format!("`{}` holds no usable authority", file.display()))?;
            config.with_root_certificates(roots)
        }
        None => config
            .with_platform_verifier()
            .context("this system has no list of authorities: install its `ca-certificates`, or name an `authority`")?,
    };
    Ok(config.with_no_client_auth())
}

fn roots(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        bail!("there is no CERTIFICATE block in it");
    }
    Ok(roots)
}
