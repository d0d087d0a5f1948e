//! What a proposal would change, in words for whoever is asked to sign it.
//!
//! Whoever made the file also chose what it says was there before. That is believed only where the reader's own key has
//! signed it; otherwise everything is told as new.

use std::collections::BTreeMap;

use outpost_contract::{Authority, TargetKind};
use tough::schema::{Root, Signed, Target, Targets};

use super::super::BundlePath;
use super::super::facts::{RoleFacts, RootFacts};
use super::super::publish::kind_of;
use super::{Offer, canonical};
use crate::VerifyingKey;

/// A key as people tell it from others: its holder, and the beginning of its id.
pub(super) fn who(key: &VerifyingKey, holder: Option<&str>) -> String {
    let id = &key.key_id()[..8];
    holder.map_or_else(|| id.to_owned(), |holder| format!("{holder} ({id})"))
}

/// A root against the one before it.
pub(super) fn of_root(document: &Signed<Root>, before: Option<&Signed<Root>>, own: &[VerifyingKey]) -> Vec<String> {
    let facts = RootFacts::of(&document.signed);
    let mut lines = vec![match before {
        None => "the first root: it says whose keys count from now on".to_owned(),
        Some(before) => format!("root {}, after root {}", facts.version, before.signed.version),
    }];
    if before.is_some_and(|before| !is_signed_by(before, own)) {
        lines.push(
            "  ! none of your keys has signed the root before it: compare its keys with another holder".to_owned(),
        );
    }
    lines.push(format!("  expires {}", document.signed.expires));
    let earlier = before.map(|before| RootFacts::of(&before.signed));
    for (role, now, then) in [
        ("root", &facts.root, earlier.as_ref().map(|facts| &facts.root)),
        ("targets", &facts.targets, earlier.as_ref().map(|facts| &facts.targets)),
        ("online", &facts.online, earlier.as_ref().map(|facts| &facts.online)),
    ] {
        lines.push(format!("  {role}: {} of {}", now.threshold, names(now).join(", ")));
        if let Some(then) = then {
            lines.extend(changed_keys(now, then));
        }
    }
    lines
}

fn changed_keys(now: &RoleFacts, then: &RoleFacts) -> Vec<String> {
    let mut lines = Vec::new();
    if now.threshold != then.threshold {
        lines.push(format!("    threshold: {} before, {} now", then.threshold, now.threshold));
    }
    let only = |one: &RoleFacts, other: &RoleFacts| {
        let keys = one.keys.iter().filter(|(key, _)| !other.knows(key));
        keys.map(|(key, holder)| who(key, holder.as_deref())).collect::<Vec<_>>()
    };
    lines.extend(only(now, then).iter().map(|key| format!("    + {key}")));
    lines.extend(only(then, now).iter().map(|key| format!("    - {key}")));
    lines
}

fn names(role: &RoleFacts) -> Vec<String> {
    role.keys.iter().map(|(key, holder)| who(key, holder.as_deref())).collect()
}

/// A release against the one before it.
pub(super) fn of_release(offer: &Offer, own: &[VerifyingKey]) -> Vec<String> {
    let document = &offer.document.signed;
    let vouched = is_signed_by(&offer.root, own);
    let proven = offer.before.as_ref().filter(|before| vouched && offer.root.signed.verify_role(before).is_ok());
    let mut lines = vec![match &offer.before {
        None => "the first release".to_owned(),
        Some(before) => format!("release {}, after release {}", document.version, before.signed.version),
    }];
    lines.push(format!("  expires {}", document.expires));
    if !vouched {
        lines.push("  ! none of your keys has signed the root in this file: everything in it counts as new".to_owned());
    } else if offer.before.is_some() && proven.is_none() {
        lines.push("  ! the keys in force did not sign the release before it: everything counts as new".to_owned());
    }
    let none = BTreeMap::new();
    let now = by_name(document);
    let then = proven.map_or(none, |before| by_name(&before.signed));
    for (name, target) in &now {
        match then.get(name) {
            None => lines.push(format!("  + {name}: {}", told(target))),
            Some(before) if before != target => {
                lines.push(format!("  ~ {name}: {}", told(target)));
                lines.push(format!("    before: {}", told(before)));
            }
            Some(_) => {}
        }
    }
    lines.extend(then.keys().filter(|name| !now.contains_key(*name)).map(|name| format!("  - {name}")));
    let same = now.iter().filter(|(name, target)| then.get(*name) == Some(target)).count();
    lines.push(format!("  {same} of {} targets stay as they are", now.len()));
    lines.extend(authority(offer));
    lines
}

fn by_name(targets: &Targets) -> BTreeMap<&str, &Target> {
    targets.targets.iter().map(|(name, target)| (name.raw(), target)).collect()
}

fn told(target: &Target) -> String {
    let what = match kind_of(target) {
        Some(TargetKind::Variant(facts)) => {
            format!(
                "{} {}, {} bytes, release {}",
                facts.model.model, facts.quantisation, facts.file_bytes, facts.release
            )
        }
        Some(TargetKind::Policy(facts)) => format!("policy bundle {}, release {}", facts.version, facts.release),
        Some(TargetKind::Agent(facts)) => {
            format!("the agent's program, {} for {}, release {}", facts.version, facts.target, facts.release)
        }
        Some(TargetKind::Authority { release }) => format!("who may sign what, release {release}"),
        None => "of an unknown kind".to_owned(),
    };
    format!("{what}, sha256 {}", hex::encode(target.hashes.sha256.as_ref()))
}

/// What the authority document says, always in full: whoever is listed there is believed by every device.
fn authority(offer: &Offer) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, target) in by_name(&offer.document.signed) {
        if !matches!(kind_of(target), Some(TargetKind::Authority { .. })) {
            continue;
        }
        let file =
            offer.files.iter().find(|(path, _)| matches!(path, BundlePath::Target(_, file) if file.as_str() == name));
        let read = file.and_then(|(_, bytes)| serde_json::from_slice::<Authority>(bytes).ok());
        let Some(authority) = read else {
            lines.push(format!("  ! {name} cannot be read: do not sign it"));
            continue;
        };
        let short = |key: &str| plain(key).chars().take(16).collect::<String>();
        lines.extend(authority.director_keys.iter().map(|key| format!("  may say what devices run: {}", short(key))));
        lines.extend(
            authority.token_issuers.iter().map(|issuer| {
                format!("  may issue tokens: {} as {}", short(&issuer.public_key), plain(&issuer.issuer))
            }),
        );
        lines.extend(
            authority.signers.iter().map(|signer| {
                format!("  may sign {:?}: {} as {}", signer.may, short(&signer.key), plain(&signer.name))
            }),
        );
    }
    lines
}

/// Text from outside, without what would move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(100).collect()
}

fn is_signed_by(root: &Signed<Root>, own: &[VerifyingKey]) -> bool {
    let Ok(message) = canonical(&root.signed) else { return false };
    let signs = |key: &VerifyingKey| {
        let mut signatures = root.signatures.iter().filter(|signature| signature.keyid == key.tuf_key_id());
        signatures.any(|signature| key.verifies(&message, signature.sig.as_ref()))
    };
    root.signed.verify_role(root).is_ok() && own.iter().any(signs)
}
