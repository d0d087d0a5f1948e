//! Evidence of another box is held against this one, and reused without measuring if it holds.

use std::path::PathBuf;

use anyhow::{Context, Result};
use outpost_contract::Measurements;
use outpost_engine::KERNEL_BUILD;
use outpost_planner::{budget, rounded_down, rounded_up};
use outpost_trust::VerifyingKey;

use super::class::HardwareClass;
use super::evidence::Evidence;
use super::kept::{Room, signing_key};
use super::prune::needs_of;
use super::variants::{self, Offer};
use crate::state::StateDir;

/// What came of evidence.
#[derive(Debug)]
pub(crate) enum Reuse {
    /// It holds: the choice is in force here, its file is there.
    Taken { evidence: Box<Evidence>, file: PathBuf },
    /// It does not hold; why, in words.
    Refused(Vec<String>),
}

/// Verifies evidence by a trusted key, holds it against this box and these files, and keeps it, vouched for by this box, too.
/// The chosen variant is made if it is missing; nothing is measured.
pub(crate) fn reuse(
    state: &StateDir,
    bytes: &[u8],
    trusted: VerifyingKey,
    offer: &Offer,
    measurements: &Measurements,
) -> Result<Reuse> {
    let (evidence, envelope) = match Evidence::open(bytes, &[trusted]) {
        Ok(opened) => opened,
        Err(refused) => return Ok(Reuse::Refused(vec![refused.to_string()])),
    };
    let origin = variants::row(&offer.quantisation, &offer.origin)?;
    let differences = evidence.differences(&HardwareClass::of(measurements), KERNEL_BUILD, &origin);
    if !differences.is_empty() {
        return Ok(Reuse::Refused(differences));
    }
    let Some(row) = evidence.chosen() else {
        return Ok(Reuse::Refused(vec!["nothing kept every limit where it was measured".to_owned()]));
    };
    let name = &row.setting.variant;
    let Some(variant) = offer.variants.iter().find(|variant| variant.name == *name) else {
        let why = format!("the chosen variant `{name}` cannot be made of this file; add it with `--also`");
        return Ok(Reuse::Refused(vec![why]));
    };
    // By the count of this agent: what a stranger wrote of memory decides nothing.
    let (needed, usable) = (needs_of(&variant.facts, &row.setting), budget(measurements).usable_bytes);
    if needed > usable {
        let why = format!("the choice needs {}, {} available here now", rounded_up(needed), rounded_down(usable));
        return Ok(Reuse::Refused(vec![why]));
    }
    let room = Room::open(state, origin.sha256)?;
    variants::check_room(&[variant], room.folder())?;
    let file = variants::make(variant, &offer.origin, room.folder(), &mut |_| ())?;
    let (own, theirs) = (variants::row(name, &file)?.sha256, evidence.file(name).map(|row| row.sha256));
    if Some(own) != theirs {
        let theirs = theirs.map(|sha256| sha256.to_string()).unwrap_or_default();
        let why = format!("file of `{name}`: measured was the one with SHA-256 {theirs}, this one has {own}");
        return Ok(Reuse::Refused(vec![why]));
    }
    let vouched = envelope.signed_also_by(&signing_key(state)?).context("the evidence cannot be kept")?;
    room.keep(&vouched)?;
    Ok(Reuse::Taken { evidence: Box::new(evidence), file })
}

#[cfg(test)]
mod tests;
