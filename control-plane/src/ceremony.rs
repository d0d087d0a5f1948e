//! The key ceremony, the server's side: plans roots, puts signed ones in force, replaces the server's own keys, and says
//! whose keys count until when.
//!
//! What changes keys holds the state directory as a server does, so that no running server signs with a key that is gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use outpost_trust::catalogue::{
    Expiry, MOST_PROPOSAL_BYTES, Proposal, PublishError, RoleFacts, RoleKeys, RootFacts, RootPlan, expiries,
};
use serde::Serialize;

use crate::catalogue::authority_in;
use crate::files;
use crate::fleet::{Fleet, FleetError, ROOT_S};
use crate::keys::{Earlier, Holder, KeysError, ServerKey};

const DAY_S: i64 = 24 * 60 * 60;

/// So long before something expires that the holders must renew, they are told.
const WARNED_DAYS: i64 = 60;

/// Who renews what is signed with the online key.
const ITSELF: &str = "this server, by itself";

/// Devices that an error names before it only counts.
const NAMED: usize = 5;

/// A root was put in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Its version.
    pub root: u64,
    /// Devices get it with the catalogue from now on. False if there is no catalogue yet, or if the keys that signed it count
    /// no longer: then a release must be signed first.
    pub published: bool,
}

/// Whose keys count, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeysOverview {
    /// Version of the newest root; 0 if none was signed yet.
    pub root: u64,
    /// Its roles.
    pub roles: Vec<RoleView>,
    /// The server's own keys.
    pub server: Vec<ServerKeyView>,
    /// What expires, the first to do so first.
    pub expiries: Vec<Validity>,
    /// What should be done, in words; empty if all is well.
    pub advice: Vec<String>,
}

/// One role of the newest root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleView {
    /// `root`, `targets` or `online`.
    pub role: String,
    /// Signatures needed.
    pub threshold: u64,
    /// Key id of each, and its holder if the root says one.
    pub keys: Vec<(String, Option<String>)>,
}

/// One key of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerKeyView {
    /// `online`, `director` or `tokens`.
    pub key: String,
    /// Its id.
    pub id: String,
    /// `current`, `earlier`, `stolen` or `next`.
    pub state: String,
}

/// How long something is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Validity {
    /// As in `timestamp 7`.
    pub what: String,
    /// Seconds since 1970-01-01 UTC.
    pub expires_at_s: i64,
    /// Who renews it.
    pub renewed_by: String,
}

impl Fleet {
    /// The root of these holders, each with one vote in both offline roles; the first one, or the one after the newest.
    /// Without a signature: [`Proposal::sign`] is done where the offline keys are.
    ///
    /// # Errors
    /// If the threshold cannot be met, or two holders have one name or key.
    pub fn propose_root(&self, holders: &[Holder], threshold: u64) -> Result<Proposal, FleetError> {
        let mut plan = RootPlan {
            root: RoleKeys { keys: Vec::new(), threshold },
            targets: RoleKeys { keys: Vec::new(), threshold },
            online: RoleKeys::one(self.next_online().verifying_key()),
            holders: BTreeMap::new(),
        };
        for holder in holders {
            let (root, targets) = holder.keys().map_err(|error| FleetError::Root(error.to_string()))?;
            if plan.holders.values().any(|name| *name == holder.name) {
                return Err(FleetError::Root(format!("`{}` is named twice", holder.name)));
            }
            plan.root.keys.push(root);
            plan.targets.keys.push(targets);
            plan.holders.extend([(root, holder.name.clone()), (targets, holder.name.clone())]);
        }
        let roots = self.roots()?;
        Ok(Proposal::root(&plan, roots.last().map(Vec::as_slice), self.now_s() + ROOT_S)?)
    }

    /// The newest root's keys again, with the server's next online key: for a root that replaces that key alone.
    ///
    /// # Errors
    /// [`FleetError::NoRoot`] before the first one.
    pub fn propose_same_root(&self) -> Result<Proposal, FleetError> {
        let roots = self.roots()?;
        let newest = roots.last().ok_or(FleetError::NoRoot)?;
        let facts = RootFacts::read(newest)?;
        let keys = |role: &RoleFacts| RoleKeys {
            keys: role.keys.iter().map(|(key, _)| *key).collect(),
            threshold: role.threshold,
        };
        let named = facts.root.keys.iter().chain(&facts.targets.keys);
        let plan = RootPlan {
            root: keys(&facts.root),
            targets: keys(&facts.targets),
            online: RoleKeys::one(self.next_online().verifying_key()),
            holders: named.filter_map(|(key, holder)| Some((*key, holder.clone()?))).collect(),
        };
        Ok(Proposal::root(&plan, Some(newest), self.now_s() + ROOT_S)?)
    }

    /// Puts a root in force that enough holders have signed. Give the fleet back to use it: its keys may have changed.
    ///
    /// # Errors
    /// If a server runs on the directory, signatures are missing, another root came in between, or the root names none of
    /// this server's keys.
    pub fn install(&self, proposal: Proposal) -> Result<(Self, Installed), FleetError> {
        let _lock = self.lock()?;
        let roots = self.roots()?;
        let root = proposal.into_root(roots.last().map(Vec::as_slice))?;
        let facts = RootFacts::read(&root)?;
        if !facts.online.knows(&self.inner.keys.online_for(&facts).verifying_key()) {
            return Err(FleetError::Root("it names none of this server's online keys; make it again".to_owned()));
        }
        self.keep_root(roots.len() + 1, &root)?;
        self.settle_online_key()?;
        let fleet = self.reopened()?;
        let published = match fleet.refresh_older_than(i64::MIN) {
            Ok(published) => published,
            // The keys that signed the newest release count no longer.
            Err(FleetError::Publish(PublishError::NotEnoughSignatures { .. })) => false,
            Err(error) => return Err(error),
        };
        Ok((fleet, Installed { root: facts.version, published }))
    }

    /// Replaces a key of the server. The online key waits for a root that names it; the others sign at once, beside the ones
    /// before them, and devices learn them with the next release. A `stolen` one is not listed in it any more.
    ///
    /// # Errors
    /// If a server runs on the directory, or the key before this one is still in use.
    pub fn rotate(&self, which: ServerKey, stolen: bool) -> Result<Self, FleetError> {
        let _lock = self.lock()?;
        self.settle_online_key()?;
        which.replace(&self.keys_dir(), stolen)?;
        let fleet = self.reopened()?;
        if which == ServerKey::Director {
            fleet.sign_all()?;
        }
        Ok(fleet)
    }

    /// Forgets the key before the current one, once every device knows the current one; with `force`, also before.
    ///
    /// # Errors
    /// [`FleetError::NotYet`] if a device would not follow.
    pub fn retire(&self, which: ServerKey, force: bool) -> Result<Self, FleetError> {
        let _lock = self.lock()?;
        let missing = |key: Option<&Earlier>, name| key.is_none().then_some(KeysError::NothingToRetire(name));
        let nothing = match which {
            ServerKey::Online => Some(KeysError::NothingToRetire("online")),
            ServerKey::Director => missing(self.inner.keys.director_before.as_ref(), "director"),
            ServerKey::Tokens => missing(self.inner.keys.tokens_before.as_ref(), "tokens"),
        };
        if let Some(nothing) = nothing {
            return Err(nothing.into());
        }
        if !force {
            self.check_followed(which)?;
        }
        which.retire(&self.keys_dir())?;
        let fleet = self.reopened()?;
        if which == ServerKey::Director {
            fleet.sign_all()?;
        }
        Ok(fleet)
    }

    /// Whose keys count, until when, and what should be done about it.
    ///
    /// # Errors
    /// If a root or the catalogue cannot be read.
    pub fn keys_overview(&self) -> Result<KeysOverview, FleetError> {
        let roots = self.roots()?;
        let facts = roots.last().map(|root| RootFacts::read(root)).transpose()?;
        let current = self.inner.database.current_catalogue()?;
        let published = current.map(|current| self.bundle(&current)).transpose()?;
        let parts = published.as_ref().map(expiries).transpose()?.unwrap_or_default();
        let mut validities: Vec<_> = parts.iter().map(validity).collect();
        validities.extend(facts.iter().map(|facts| Validity {
            what: format!("root {}", facts.version),
            expires_at_s: facts.expires_at_s,
            renewed_by: "the holders: `keys root --same`".to_owned(),
        }));
        validities.sort_by_key(|validity| validity.expires_at_s);
        let carried = published.as_ref().and_then(|bundle| bundle.roots().map(|(version, _)| version).max());
        Ok(KeysOverview {
            root: facts.as_ref().map_or(0, |facts| facts.version),
            roles: facts.as_ref().map(roles).unwrap_or_default(),
            server: self.server_keys(),
            advice: self.advice(facts.as_ref(), carried, &validities)?,
            expiries: validities,
        })
    }

    fn advice(
        &self,
        facts: Option<&RootFacts>,
        carried: Option<u64>,
        validities: &[Validity],
    ) -> Result<Vec<String>, FleetError> {
        let keys = &self.inner.keys;
        let mut advice = Vec::new();
        let Some(facts) = facts else {
            return Ok(vec!["nobody signed a root yet: `keys root`".to_owned()]);
        };
        if carried.is_some_and(|carried| carried < facts.version) {
            advice.push(format!(
                "devices do not get root {} yet: sign a release, `catalogue prepare --again`",
                facts.version
            ));
        }
        if keys.online_next.is_some() {
            advice.push("the next online key waits for a root: `keys root --same`".to_owned());
        }
        for (which, name, before) in [
            (ServerKey::Director, "director", &keys.director_before),
            (ServerKey::Tokens, "tokens", &keys.tokens_before),
        ] {
            if self.is_told(which)? == Some(false) {
                let how = "sign a release, `catalogue prepare --again`";
                advice.push(format!("devices do not know the {name} key yet: {how}"));
            } else if before.is_some() {
                let how = format!("`keys retire {name}` when every device has followed");
                advice.push(format!("the earlier {name} key is still in use: {how}"));
            }
        }
        let now_s = self.now_s();
        for Validity { what, expires_at_s, renewed_by } in validities {
            let days = (expires_at_s - now_s).div_euclid(DAY_S);
            match days {
                ..0 => advice.push(format!("{what} has expired; renewed by {renewed_by}")),
                ..WARNED_DAYS if renewed_by != ITSELF => {
                    advice.push(format!("{what} expires in {days} days; renewed by {renewed_by}"));
                }
                _ => {}
            }
        }
        Ok(advice)
    }

    fn server_keys(&self) -> Vec<ServerKeyView> {
        let keys = &self.inner.keys;
        let view = |key: &str, held: &outpost_trust::SigningKey, state: &str| ServerKeyView {
            key: key.to_owned(),
            id: held.verifying_key().key_id(),
            state: state.to_owned(),
        };
        let mut all = vec![view("online", &keys.online, "current")];
        all.extend(keys.online_next.iter().map(|key| view("online", key, "next")));
        for (name, now, before) in
            [("director", &keys.director, &keys.director_before), ("tokens", &keys.tokens, &keys.tokens_before)]
        {
            all.push(view(name, now, "current"));
            all.extend(before.iter().map(|one| view(name, &one.key, if one.stolen { "stolen" } else { "earlier" })));
        }
        all
    }

    /// Whether the newest release lists the current key; `None` before the first one.
    fn is_told(&self, which: ServerKey) -> Result<Option<bool>, FleetError> {
        let keys = &self.inner.keys;
        let listed = authority_in(&self.inner.database.targets()?)?;
        Ok(listed.map(|listed| match which {
            ServerKey::Online => true,
            ServerKey::Director => listed.director_keys.contains(&keys.director.verifying_key().to_hex()),
            ServerKey::Tokens => {
                let current = keys.tokens.verifying_key().to_hex();
                listed.token_issuers.iter().any(|issuer| issuer.public_key == current)
            }
        }))
    }

    /// Every device has accepted a document that came with a catalogue that lists the current key.
    fn check_followed(&self, which: ServerKey) -> Result<(), FleetError> {
        if self.is_told(which)? != Some(true) {
            return Err(FleetError::NotYet("the newest release does not list the key that replaces it".to_owned()));
        }
        let behind = self.devices()?.into_iter().filter(|device| {
            let accepted = device.reported.as_ref().map_or(0, |reported| reported.desired_version);
            device.revoked_s.is_none() && accepted < device.desired_version
        });
        let behind: Vec<_> = behind.map(|device| device.device.to_string()).collect();
        if behind.is_empty() {
            return Ok(());
        }
        let named = behind.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        Err(FleetError::NotYet(format!("{} devices have not followed ({named} …)", behind.len())))
    }

    /// The online key that the next root is to name.
    fn next_online(&self) -> &outpost_trust::SigningKey {
        self.inner.keys.online_next.as_ref().unwrap_or(&self.inner.keys.online)
    }

    /// Puts the next online key in the place of the current one, if the newest root names it.
    fn settle_online_key(&self) -> Result<(), FleetError> {
        let roots = self.roots()?;
        let (Some(root), Some(next)) = (roots.last(), &self.inner.keys.online_next) else { return Ok(()) };
        if RootFacts::read(root)?.online.knows(&next.verifying_key()) {
            ServerKey::Online.retire(&self.keys_dir())?;
        }
        Ok(())
    }

    fn keys_dir(&self) -> PathBuf {
        self.inner.config.state_dir.join("keys")
    }

    fn reopened(&self) -> Result<Self, FleetError> {
        Self::open(self.inner.config.clone(), self.inner.clock.clone())
    }
}

fn roles(facts: &RootFacts) -> Vec<RoleView> {
    let view = |(role, facts): (&str, &RoleFacts)| RoleView {
        role: role.to_owned(),
        threshold: facts.threshold,
        keys: facts.keys.iter().map(|(key, holder)| (key.key_id(), holder.clone())).collect(),
    };
    [("root", &facts.root), ("targets", &facts.targets), ("online", &facts.online)].map(view).to_vec()
}

fn validity(expiry: &Expiry) -> Validity {
    let holders = expiry.role == "targets";
    Validity {
        what: format!("{} {}", expiry.role, expiry.version),
        expires_at_s: expiry.expires_at_s,
        renewed_by: if holders { "the holders: `catalogue prepare --again`" } else { ITSELF }.to_owned(),
    }
}

/// Reads a proposal that a holder or the server wrote.
///
/// # Errors
/// If it cannot be read or is none.
pub fn read_proposal(path: &Path) -> Result<Proposal, FleetError> {
    Ok(Proposal::parse(&files::read(path, MOST_PROPOSAL_BYTES)?)?)
}

/// Writes a proposal for the next who needs it; the one that was there stays whole until then.
///
/// # Errors
/// If it cannot be written.
pub fn write_proposal(path: &Path, proposal: &Proposal) -> Result<(), FleetError> {
    Ok(files::write(path, &proposal.to_bytes()?)?)
}

#[cfg(test)]
mod tests;
