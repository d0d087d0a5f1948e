//! `outpost-control catalogue …`: files become a signed release.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_contract::{Signer, TargetKind, VariantFacts};
use outpost_control::{Config, ReleaseRequest, Variant};
use outpost_policies::Bundle;
use serde::Deserialize;
use serde_json::json;

use super::{keys, open, passphrase, say, say_json};
use crate::args::{Catalogue, ReleaseContent};

/// Largest description of a file: tensor offsets of a large model and some facts.
const DESCRIPTION_BYTES: u64 = 16 * 1024 * 1024;

/// What `outpost model inspect FILE --json` wrote; it says more than is needed here.
#[derive(Debug, Deserialize)]
struct Description {
    path: PathBuf,
    facts: VariantFacts,
    cuts: Vec<u64>,
}

/// A file that lists people whose signatures count.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignerFile {
    signers: Vec<Signer>,
}

/// Runs the command.
pub(super) fn run(config: Config, command: Catalogue, as_json: bool) -> Result<()> {
    match command {
        Catalogue::Release { keys, passphrase_file, content } => {
            let request = request(&content)?;
            let holders = passphrase::open(&keys, &passphrase_file)?;
            let released = open(config)?.release_by(&holders, request)?;
            if as_json {
                return say_json(&released);
            }
            let (models, bytes) = (content.models.len(), released.bytes);
            say(format!("released: {models} model files, catalogue {} ({bytes} bytes)", released.blake3))
        }
        Catalogue::Prepare { out, content } => {
            let proposal = open(config)?.prepare(request(&content)?)?;
            keys::write(&out, &proposal)?;
            keys::tell(&proposal, &[], as_json)?;
            if as_json {
                return Ok(());
            }
            say(format!("now each holder: outpost-control keys sign {} --keys DIR", out.display()))
        }
        Catalogue::Publish { files } => {
            let released = open(config)?.publish(keys::together(&files)?)?;
            if as_json {
                return say_json(&released);
            }
            say(format!("released: catalogue {} ({} bytes)", released.blake3, released.bytes))
        }
        Catalogue::Ls => {
            let targets = open(config)?.targets()?;
            if as_json {
                return say_json(&targets);
            }
            for target in targets {
                let what = match &target.facts {
                    TargetKind::Variant(facts) => {
                        format!("{} {}, {} bytes", facts.model.model, facts.quantisation, facts.file_bytes)
                    }
                    TargetKind::Policy(facts) => format!("policy bundle {}", facts.version),
                    TargetKind::Authority { .. } => "who may sign and issue what".to_owned(),
                };
                say(format!("{:<40} release {:<4} {what}", target.name.as_str(), target.facts.release()))?;
            }
            Ok(())
        }
    }
}

fn request(content: &ReleaseContent) -> Result<ReleaseRequest> {
    let policy = match (&content.policy, content.default_policy) {
        (Some(path), _) => Some(read(path)?),
        (None, true) => Some(Bundle::default_bundle().to_bytes()),
        (None, false) => None,
    };
    let signers = content.signers.as_deref().map(read_signers).transpose()?;
    if content.models.is_empty() && policy.is_none() && signers.is_none() && !content.again {
        bail!("nothing to release: give `--model`, `--policy`, `--default-policy` or `--signers`, or `--again`");
    }
    let variants = content.models.iter().map(|path| describe(path)).collect::<Result<Vec<_>>>()?;
    Ok(ReleaseRequest { variants, policy, signers })
}

fn describe(path: &Path) -> Result<Variant> {
    let text = read(path)?;
    let described: Description = serde_json::from_slice(&text)
        .with_context(|| format!("`{}` is not what `outpost model inspect FILE --json` writes", path.display()))?;
    Ok(Variant { path: described.path, target: None, facts: described.facts, cuts: described.cuts })
}

fn read_signers(path: &Path) -> Result<Vec<Signer>> {
    let text = String::from_utf8(read(path)?).with_context(|| format!("`{}` is no text", path.display()))?;
    let list: SignerFile = toml::from_str(&text).with_context(|| format!("`{}` lists no signers", path.display()))?;
    Ok(list.signers)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let reading = || json!(path.display().to_string()).to_string();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", reading()))?.len();
    if size > DESCRIPTION_BYTES {
        bail!("{} has {size} bytes, {DESCRIPTION_BYTES} is the limit", reading());
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", reading()))
}
