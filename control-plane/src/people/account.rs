//! What people do about their own way in: password, authenticator, recovery codes. Each act asks for the password again, so that a
//! browser that somebody left open is not enough, and is on record.

use std::net::IpAddr;

use super::sign_in::{Failing, happening};
use super::{Actor, Happening, Means, password, totp};
use crate::db::Person;
use crate::fleet::{Fleet, FleetError};
use crate::tokens::{self, random};

/// Recovery codes that a person has at most.
const RECOVERY_CODES: usize = 10;

/// Random bytes of each: nobody finds one by trying, even with the hash.
const RECOVERY_BYTES: usize = 10;

/// How long the secret of a new authenticator waits to be confirmed, seconds.
const OFFER_S: i64 = 15 * 60;

/// The secret of an authenticator, shown once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offered {
    /// As it is typed.
    pub(crate) secret: String,
    /// As an authenticator reads it.
    pub(crate) address: String,
}

impl Fleet {
    /// Sets a new password; every other session of the person ends.
    ///
    /// # Errors
    /// [`FleetError::Person`] if the current one is wrong or the new one will not do.
    pub(crate) fn change_password(
        &self,
        actor: &Actor,
        [current, new]: [&str; 2],
        cookie: &str,
        address: IpAddr,
    ) -> Result<(), FleetError> {
        if let Some(fault) = password::fault(new, &actor.name) {
            return Err(FleetError::Person(fault.to_owned()));
        }
        self.prove(actor, current, "change_password", address)?;
        let hash = password::hash(new)?;
        self.record(&happening(&actor.name, actor.means.name(), "change_password", address))?;
        match self.inner.database.change_password(&actor.name, &hash, &tokens::hash(cookie))? {
            true => Ok(()),
            false => Err(FleetError::UnknownPerson(actor.name.clone())),
        }
    }

    /// Makes the secret of an authenticator, which counts once a code of it was typed.
    ///
    /// # Errors
    /// [`FleetError::Person`] if the password is wrong.
    pub(crate) fn offer_authenticator(
        &self,
        actor: &Actor,
        current: &str,
        address: IpAddr,
    ) -> Result<Offered, FleetError> {
        self.prove(actor, current, "set_authenticator", address)?;
        let secret = random::<20>().map_err(FleetError::Random)?;
        self.inner.database.offer_authenticator(&actor.name, &secret, self.now_s() + OFFER_S)?;
        Ok(Offered { secret: totp::base32(&secret), address: totp::address(&actor.name, &secret) })
    }

    /// Puts the new authenticator in force with a first code of it; the answer is new recovery codes, shown once.
    ///
    /// # Errors
    /// [`FleetError::Person`] if there is none to confirm, or the code is not its.
    pub(crate) fn confirm_authenticator(
        &self,
        actor: &Actor,
        code: &str,
        address: IpAddr,
    ) -> Result<Vec<String>, FleetError> {
        own(actor)?;
        let failing = Failing::name(&actor.name, address);
        self.check_failures(&failing)?;
        let now_s = self.now_s();
        let offered = self.inner.database.offered_authenticator(&actor.name, now_s)?;
        let offered =
            offered.ok_or_else(|| FleetError::Person("the secret has waited too long; begin again".to_owned()))?;
        let Some(step) = totp::step_of(&offered, code.trim(), now_s) else {
            self.count_failure(&failing)?;
            let message = "that is no code of the new authenticator; are its clock and the secret right?";
            return Err(FleetError::Person(message.to_owned()));
        };
        self.record(&happening(&actor.name, actor.means.name(), "set_authenticator", address))?;
        let (codes, hashes) = recovery_codes()?;
        let database = &self.inner.database;
        database.together(|| {
            // This takes away what waited, and the codes for the authenticator before.
            database.set_totp(&actor.name, Some(&offered))?;
            database.use_totp_step(&actor.name, step)?;
            Ok::<_, FleetError>(database.set_recovery_codes(&actor.name, &hashes)?)
        })?;
        Ok(codes)
    }

    /// Asks a person for codes no more.
    ///
    /// # Errors
    /// [`FleetError::Person`] if the password is wrong.
    pub(crate) fn drop_authenticator(&self, actor: &Actor, current: &str, address: IpAddr) -> Result<(), FleetError> {
        self.prove(actor, current, "drop_authenticator", address)?;
        self.record(&happening(&actor.name, actor.means.name(), "drop_authenticator", address))?;
        self.take_authenticator(&actor.name)
    }

    /// Makes new recovery codes, shown once; those before count no more.
    ///
    /// # Errors
    /// [`FleetError::Person`] if the password is wrong, or there is no authenticator that could be lost.
    pub(crate) fn renew_recovery_codes(
        &self,
        actor: &Actor,
        current: &str,
        address: IpAddr,
    ) -> Result<Vec<String>, FleetError> {
        let person = self.prove(actor, current, "recovery_codes", address)?;
        if !person.has_totp {
            return Err(FleetError::Person(
                "recovery codes stand in for an authenticator; set one up first".to_owned(),
            ));
        }
        self.record(&happening(&actor.name, actor.means.name(), "recovery_codes", address))?;
        let (codes, hashes) = recovery_codes()?;
        self.inner.database.set_recovery_codes(&actor.name, &hashes)?;
        Ok(codes)
    }

    /// Whoever sits there knows the password, too. Guessing is held back as at sign-in, and on record.
    fn prove(&self, actor: &Actor, current: &str, act: &str, address: IpAddr) -> Result<Person, FleetError> {
        own(actor)?;
        let _one_at_a_time = self.inner.people.checking.lock();
        let failing = Failing::name(&actor.name, address);
        self.check_failures(&failing)?;
        let person = self.inner.database.person(&actor.name)?.filter(|person| person.disabled_s.is_none());
        let kept = person.as_ref().and_then(|person| person.password.as_deref());
        let is_right = password::matches(current, kept)?;
        if let Some(person) = person.filter(|_| is_right) {
            return Ok(person);
        }
        self.count_failure(&failing)?;
        let outcome = "the current password is wrong".to_owned();
        let failed = happening(&actor.name, actor.means.name(), act, address);
        self.record(&Happening { outcome: outcome.clone(), ..failed })?;
        Err(FleetError::Person(outcome))
    }
}

/// Tokens have no way in of their own, even if they are called like somebody.
fn own(actor: &Actor) -> Result<(), FleetError> {
    if actor.means == Means::Session {
        return Ok(());
    }
    Err(FleetError::Forbidden("a token has no account; sign in at `/login`".to_owned()))
}

/// What a recovery code is kept and found by, however it was typed.
pub(super) fn recovery_hash(typed: &str) -> [u8; 32] {
    let plain = typed.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase());
    tokens::hash(&format!("recovery {}", plain.take(64).collect::<String>()))
}

fn recovery_codes() -> Result<(Vec<String>, Vec<[u8; 32]>), FleetError> {
    let mut codes = Vec::new();
    for _ in 0..RECOVERY_CODES {
        let letters = totp::base32(&random::<RECOVERY_BYTES>().map_err(FleetError::Random)?).to_ascii_lowercase();
        let groups: Vec<_> = letters.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
        codes.push(groups.join("-"));
    }
    let hashes = codes.iter().map(|code| recovery_hash(code)).collect();
    Ok((codes, hashes))
}
