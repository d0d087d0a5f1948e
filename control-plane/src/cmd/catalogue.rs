//! `outpost-control catalogue …`: files become a signed release.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_contract::{Signer, TargetKind, VariantFacts};
use outpost_control::{Config, Filter, Fleet, HeldModel, ReleaseRequest, Variant, size};
use outpost_policies::Bundle;
use serde::Deserialize;
use serde_json::json;

use super::{hold, keys, open, passphrase, say, say_json};
use crate::args::{Catalogue, ReleaseContent};

/// Largest description of a file: tensor offsets of a large model and some facts.
pub(super) const DESCRIPTION_BYTES: u64 = 16 * 1024 * 1024;

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
            let fleet = open(config)?;
            let request = request(&fleet, &content)?;
            let models = request.variants.len();
            let holders = passphrase::open(&keys, &passphrase_file)?;
            let released = fleet.release_by(&holders, request)?;
            fleet.let_go_of_released()?;
            if as_json {
                return say_json(&released);
            }
            let bytes = released.bytes;
            say(format!("released: {models} model files, catalogue {} ({bytes} bytes)", released.blake3))
        }
        Catalogue::Prepare { out, content } => {
            let fleet = open(config)?;
            let proposal = fleet.prepare(request(&fleet, &content)?)?;
            keys::write(&out, &proposal)?;
            keys::tell(&proposal, &[], as_json)?;
            if as_json {
                return Ok(());
            }
            say(format!("now each holder: outpost-control keys sign {} --keys DIR", out.display()))
        }
        Catalogue::Publish { files } => {
            let fleet = open(config)?;
            let released = fleet.publish(keys::together(&files)?)?;
            fleet.let_go_of_released()?;
            if as_json {
                return say_json(&released);
            }
            say(format!("released: catalogue {} ({} bytes)", released.blake3, released.bytes))
        }
        // Handed over before: it waits for a network.
        Catalogue::Fetch(_) => bail!("a fetch is run by its own file"),
        Catalogue::Add { directory, described } => hold::add(config, &directory, &described, as_json),
        Catalogue::Held => hold::held(config, as_json),
        Catalogue::Drop { target } => hold::drop(config, &target, as_json),
        Catalogue::Ls { filter: Some(filter) } => list(&open(config)?, &filter, as_json),
        Catalogue::Compare { targets } => compare(&open(config)?, &targets, as_json),
        Catalogue::Ls { filter: None } => {
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
                    TargetKind::Agent(facts) => format!("agent {} for {}", facts.version, facts.target),
                    TargetKind::Authority { .. } => "who may sign and issue what".to_owned(),
                };
                say(format!("{:<40} release {:<4} {what}", target.name.as_str(), target.facts.release()))?;
            }
            Ok(())
        }
    }
}

/// The variants that a filter means, one line each.
fn list(fleet: &Fleet, filter: &str, as_json: bool) -> Result<()> {
    let entries = fleet.entries(&filter.parse::<Filter>()?)?;
    if as_json {
        return say_json(&entries);
    }
    entries.iter().try_for_each(|one| {
        let licence = if one.licence.is_empty() { "no licence named" } else { &one.licence };
        let bits = format!("{}.{} bits", one.bits_per_weight_milli / 1000, one.bits_per_weight_milli % 1000 / 100);
        let speed = one.speed_milli.map_or_else(
            || "not measured".to_owned(),
            |milli| format!("{}.{} tokens/s on {}", milli / 1000, milli % 1000 / 100, one.devices),
        );
        let (size, withdrawn) = (size(one.file_bytes), if one.withdrawn.is_some() { "  withdrawn" } else { "" });
        let (target, class) = (one.target.as_str(), &one.class);
        say(format!("{target:<40} {class:<6} {bits:>9} {size:>10} {licence:<16} {speed}{withdrawn}"))
    })
}

/// Variants side by side, a line per fact; a `*` marks what differs.
fn compare(fleet: &Fleet, targets: &[String], as_json: bool) -> Result<()> {
    let comparison = fleet.compare(targets)?;
    if as_json {
        return say_json(&comparison);
    }
    let columns = |values: Vec<&str>| values.iter().map(|value| format!("{value:<32}")).collect::<String>();
    let names = comparison.entries.iter().map(|entry| entry.target.as_str()).collect();
    say(format!("  {:<20} {}", "", columns(names)).trim_end())?;
    comparison.facts.iter().try_for_each(|fact| {
        let mark = if fact.differs { '*' } else { ' ' };
        let values = columns(fact.values.iter().map(String::as_str).collect());
        say(format!("{mark} {:<20} {values}", fact.name).trim_end())
    })
}

fn request(fleet: &Fleet, content: &ReleaseContent) -> Result<ReleaseRequest> {
    let policy = match (&content.policy, content.default_policy) {
        (Some(path), _) => Some(read(path)?),
        (None, true) => Some(Bundle::default_bundle().to_bytes()),
        (None, false) => None,
    };
    let signers = content.signers.as_deref().map(read_signers).transpose()?;
    let held = if content.held { fleet.held()? } else { Vec::new() };
    if content.held && held.is_empty() {
        bail!("no model file is held; `outpost-control catalogue fetch` or `add` holds some");
    }
    if content.models.is_empty() && held.is_empty() && policy.is_none() && signers.is_none() && !content.again {
        bail!(
            "nothing to release: give `--model`, `--held`, `--policy`, `--default-policy` or `--signers`, or `--again`"
        );
    }
    let mut variants = content.models.iter().map(|path| described(path)).collect::<Result<Vec<_>>>()?;
    variants.extend(held.into_iter().map(HeldModel::into_variant));
    Ok(ReleaseRequest { variants, policy, signers, ..ReleaseRequest::default() })
}

/// What a file says of a model file.
pub(super) fn described(path: &Path) -> Result<Variant> {
    read_description(&read(path)?, &format!("`{}`", path.display()))
}

/// What `outpost model inspect FILE --json` wrote.
pub(super) fn read_description(text: &[u8], whose: &str) -> Result<Variant> {
    let described: Description = serde_json::from_slice(text)
        .with_context(|| format!("{whose} is not what `outpost model inspect FILE --json` writes"))?;
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
