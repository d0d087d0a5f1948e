//! `outpost seal …`: keys of people, and documents signed with them; nothing is signed that no device would take.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use outpost_audit::leaf::Time;
use outpost_contract::SealedKind;
use outpost_contract::limits::SEALED_BYTES;
use outpost_disk::{Clock, atomic};
use outpost_policies::{BreakGlass, Bundle, Locks, Policies};
use outpost_trust::{Envelope, SigningKey, seal};
use serde_json::{Value, json};

use super::{Here, Outcome, policy, say, say_json};
use crate::args::{Seal, Sealing};

/// A key file has about 120 bytes; one of this size is something else.
const KEY_BYTES: usize = 4096;

/// Runs the command.
pub(super) fn run(here: &Here, command: Seal) -> Result<Outcome> {
    match command {
        Seal::Key { out } => make_key(here, &out),
        Seal::Policy { bundle, sealing } => {
            let bundle = policy::read(Some(&bundle))?.to_bytes();
            finish(here, SealedKind::Policy, &bundle, &sealing)
        }
        Seal::Locks { list, sealing } => {
            let mut list: Value = serde_json::from_slice(&read_bounded(&list, SEALED_BYTES)?)
                .with_context(|| format!("`{}` is no JSON", list.display()))?;
            if let Some(list) = list.as_object_mut() {
                list.entry("issued_s").or_insert(json!(Clock::system().now_s()));
            }
            finish(here, SealedKind::Locks, list.to_string().as_bytes(), &sealing)
        }
        Seal::BreakGlass { id, roles, hours, reason, user, device, sealed_by, sealing } => {
            let from_s = Clock::system().now_s();
            let until_s = from_s + i64::from(hours) * 3600;
            let glass = BreakGlass { id, roles, user, device, from_s, until_s, reason, sealed_by };
            let glass = serde_json::to_vec(&glass).context("the override cannot be written")?;
            finish(here, SealedKind::BreakGlass, &glass, &sealing)
        }
        Seal::Again { document, key } => again(here, &document, &key),
    }
}

fn make_key(here: &Here, out: &Path) -> Result<Outcome> {
    if out.exists() {
        bail!("`{}` is there already: a key is not written over", out.display());
    }
    let key = SigningKey::generate()?;
    atomic::write_private(out, key.to_pem()?)?;
    let public = key.verifying_key().to_hex();
    if here.json {
        say_json(&json!({ "key": public }))?
    } else {
        say(public)?
    }
    Ok(Outcome::Done)
}

/// Signs, says what was signed, and writes it.
fn finish(here: &Here, kind: SealedKind, payload: &[u8], sealing: &Sealing) -> Result<Outcome> {
    let what = described(kind, payload)?;
    let envelope = seal(kind, payload, &read_key(&sealing.key)?)?;
    write(here, &sealing.out, &envelope, &what)
}

fn again(here: &Here, document: &Path, key: &Path) -> Result<Outcome> {
    let envelope = Envelope::parse_within(SEALED_BYTES, &read_bounded(document, SEALED_BYTES)?)
        .with_context(|| format!("`{}` is not sealed", document.display()))?;
    let Some(kind) = SealedKind::of_payload_type(envelope.payload_type()) else {
        bail!("`{}` holds `{}`, which is not signed here", document.display(), envelope.payload_type());
    };
    let what = described(kind, envelope.unproven_payload())?;
    write(here, document, &envelope.signed_also_by(&read_key(key)?)?, &what)
}

/// What a document says, for whoever signs it; as strict as a device.
fn described(kind: SealedKind, payload: &[u8]) -> Result<String> {
    Ok(match kind {
        SealedKind::Policy => {
            let bundle = Bundle::parse(payload)?;
            let (version, rules, cases) = (bundle.version, bundle.policies.len(), bundle.cases.len());
            Policies::activate(bundle).map_err(|findings| {
                let findings: Vec<String> = findings.iter().take(5).map(ToString::to_string).collect();
                anyhow::anyhow!("no device would activate the bundle: {}", findings.join("; "))
            })?;
            format!("policy bundle version {version}: {rules} files of rules, {cases} cases that hold")
        }
        SealedKind::Locks => {
            let locks = Locks::parse(payload)?;
            let issued = Time(locks.issued_s().saturating_mul(1000));
            format!("list of locks number {}: {} locks, issued at {issued}", locks.seq(), locks.len())
        }
        SealedKind::BreakGlass => {
            let glass = BreakGlass::parse(payload)?;
            let (roles, by) = (glass.roles.join(", "), glass.sealed_by.join(" and "));
            let (user, device) = (glass.user.as_deref(), glass.device.as_deref());
            format!(
                "override `{}`: {roles} for {} on {}, {} hours, by {by}: {}",
                glass.id,
                user.unwrap_or("whoever may break glass"),
                device.unwrap_or("every device"),
                (glass.until_s - glass.from_s) / 3600,
                glass.reason
            )
        }
    })
}

fn write(here: &Here, out: &Path, envelope: &Envelope, what: &str) -> Result<Outcome> {
    atomic::write(out, envelope.to_bytes())?;
    let file = out.display().to_string();
    if here.json {
        say_json(&json!({ "sealed": what, "file": file }))?
    } else {
        say(format!("sealed {what}\n{file}"))?
    }
    Ok(Outcome::Done)
}

fn read_key(path: &Path) -> Result<SigningKey> {
    let text = String::from_utf8(read_bounded(path, KEY_BYTES)?).unwrap_or_default();
    SigningKey::from_pem(&text).with_context(|| format!("`{}` is not used", path.display()))
}

/// A file of at most so many bytes.
pub(super) fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>> {
    let unreadable = || format!("cannot read `{}`", path.display());
    let file = std::fs::File::open(path).with_context(unreadable)?;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).with_context(unreadable)?;
    if bytes.len() > most {
        bail!("`{}` has more than {most} bytes", path.display());
    }
    Ok(bytes)
}
