//! Signing in with a browser: password and code, back-off, and the session behind a cookie.

use std::net::IpAddr;

use super::account::recovery_hash;
use super::{Actor, Happening, Means, password, totp};
use crate::db::{Person, Session};
use crate::fleet::{Fleet, FleetError};
use crate::origin;
use crate::tokens::{self, random};

/// The cookie: bound to this origin, and to nothing but TLS, by its name.
pub(crate) const COOKIE: &str = "__Host-outpost";

/// A session lives so long at most, seconds.
pub(crate) const SESSION_S: i64 = 12 * 60 * 60;

/// An unused one so long.
pub(crate) const IDLE_S: i64 = 30 * 60;

/// Failures that cost nothing: people mistype, and many may sit behind one address.
const FREE_OF_NAME: i64 = 4;
const FREE_OF_ADDRESS: i64 = 20;

/// Longest wait after a failure, and when failures are forgotten, seconds.
const MOST_WAIT_S: i64 = 15 * 60;
const FORGOTTEN_S: i64 = 24 * 60 * 60;

/// The means that stand in records.
const PASSWORD: &str = "password";
const RECOVERY: &str = "recovery-code";

/// What somebody typed.
#[derive(Clone, Default)]
pub(crate) struct Typed {
    pub(crate) name: String,
    pub(crate) password: String,
    /// From the authenticator, or the one-time code.
    pub(crate) code: String,
}

/// Whose failures count together, and how many of them cost nothing.
#[derive(Debug)]
pub(super) struct Failing(Vec<([u8; 32], i64)>);

impl Failing {
    /// Of whoever is at an address.
    pub(super) fn address(address: IpAddr) -> Self {
        Self(vec![(key("address", &origin::of(address).to_string()), FREE_OF_ADDRESS)])
    }

    /// Of a name, and of the address.
    pub(super) fn name(name: &str, address: IpAddr) -> Self {
        let Self(mut keys) = Self::address(address);
        keys.push((key("name", name), FREE_OF_NAME));
        Self(keys)
    }
}

impl Fleet {
    /// Signs a person in; the answer is the cookie's value, new each time. The same error for every mistake, after the same
    /// work.
    ///
    /// # Errors
    /// [`FleetError::SignIn`]; [`FleetError::HeldBack`] after too many failures.
    pub(crate) fn sign_in(&self, typed: &Typed, address: IpAddr, before: Option<&str>) -> Result<String, FleetError> {
        let _one_at_a_time = self.inner.people.checking.lock();
        let failing = Failing::name(&typed.name, address);
        self.check_failures(&failing)?;
        let person = self.inner.database.person(&typed.name)?.filter(|person| person.disabled_s.is_none());
        let kept = person.as_ref().and_then(|person| person.password.as_deref());
        let known = password::matches(&typed.password, kept)?;
        let means = match &person {
            Some(person) if known => self.code_holds(person, &typed.code)?,
            _ => None,
        };
        let Some((person, means)) = person.zip(means) else {
            return Err(self.sign_in_failed(&failing, address, "sign_in")?);
        };
        self.inner.database.forgive_sign_in(&key("name", &typed.name))?;
        let before = before.map(tokens::hash);
        self.record(&happening(&person.name, means, "sign_in", address))?;
        self.open_session(&person.name, address, before.as_ref())
    }

    /// Begins a session, which is on record already, in the place of the one that the browser had; the answer is the cookie's
    /// value.
    pub(super) fn open_session(
        &self,
        name: &str,
        address: IpAddr,
        before: Option<&[u8; 32]>,
    ) -> Result<String, FleetError> {
        let secret = hex::encode(random::<32>().map_err(FleetError::Random)?);
        let now_s = self.now_s();
        let session =
            Session { person: name.to_owned(), address: address.to_string(), started_s: now_s, seen_s: now_s };
        self.inner.database.begin_session(&tokens::hash(&secret), before, &session)?;
        Ok(secret)
    }

    /// Sets a password with a one-time code. Signs nobody in.
    ///
    /// # Errors
    /// [`FleetError::Person`] if the password will not do; otherwise as [`sign_in`](Self::sign_in).
    pub(crate) fn set_password(&self, typed: &Typed, address: IpAddr) -> Result<(), FleetError> {
        if let Some(fault) = password::fault(&typed.password, &typed.name) {
            return Err(FleetError::Person(fault.to_owned()));
        }
        let _one_at_a_time = self.inner.people.checking.lock();
        let failing = Failing::name(&typed.name, address);
        self.check_failures(&failing)?;
        let (hash, code, now_s) = (password::hash(&typed.password)?, tokens::hash(&typed.code), self.now_s());
        // That somebody set a password is on record only of who had the code; what comes between is told by redeeming.
        if self.inner.database.is_person_code(&typed.name, &code, now_s)? {
            self.record(&happening(&typed.name, PASSWORD, "set_password", address))?;
            if self.inner.database.redeem_person_code(&typed.name, &code, &hash, now_s)? {
                return Ok(());
            }
        }
        Err(self.sign_in_failed(&failing, address, "set_password")?)
    }

    /// Whose session this cookie is. Roles are as they are now, not as they were at sign-in.
    pub(crate) fn session(&self, cookie: &str) -> Result<Option<Actor>, FleetError> {
        let now_s = self.now_s();
        let (hash, began_s, used_s) = (tokens::hash(cookie), now_s - SESSION_S, now_s - IDLE_S);
        let person = self.inner.database.session_person(&hash, began_s, used_s, now_s)?;
        Ok(person.map(|Person { name, roles, .. }| self.actor(&name, &roles, Means::Session)))
    }

    /// Ends the session of this cookie, on record.
    pub(crate) fn sign_out(&self, actor: &Actor, cookie: &str, address: IpAddr) -> Result<(), FleetError> {
        self.record(&happening(&actor.name, actor.means.name(), "sign_out", address))?;
        Ok(self.inner.database.end_session(&tokens::hash(cookie))?)
    }

    /// By what means somebody signs in whose password is right: with a code, a recovery code, or none if none is asked for.
    fn code_holds(&self, person: &Person, code: &str) -> Result<Option<&'static str>, FleetError> {
        let Some(secret) = &person.totp else { return Ok(Some(PASSWORD)) };
        if let Some(step) = totp::step_of(secret, code.trim(), self.now_s()) {
            return Ok(self.inner.database.use_totp_step(&person.name, step)?.then_some(PASSWORD));
        }
        Ok(self.inner.database.use_recovery_code(&person.name, &recovery_hash(code))?.then_some(RECOVERY))
    }

    pub(super) fn check_failures(&self, Failing(keys): &Failing) -> Result<(), FleetError> {
        for (who, free) in keys {
            let (failures, last_s) = self.inner.database.sign_in_failures(who)?;
            let wait_s = match failures - free {
                ..0 => 0,
                over => 1_i64.checked_shl(u32::try_from(over).unwrap_or(u32::MAX).min(20)).unwrap_or(MOST_WAIT_S),
            };
            let until_s = last_s + wait_s.min(MOST_WAIT_S);
            if wait_s > 0 && self.now_s() < until_s {
                // Not recorded one by one: a flood would fill the log; what brought it here is.
                return Err(FleetError::HeldBack(until_s - self.now_s()));
            }
        }
        Ok(())
    }

    pub(super) fn count_failure(&self, Failing(keys): &Failing) -> Result<(), FleetError> {
        let now_s = self.now_s();
        for (who, _) in keys {
            self.inner.database.sign_in_failed(who, now_s, now_s - FORGOTTEN_S)?;
        }
        Ok(())
    }

    /// Notes a failure, and says which error it is.
    fn sign_in_failed(&self, failing: &Failing, address: IpAddr, act: &str) -> Result<FleetError, FleetError> {
        self.count_failure(failing)?;
        let outcome = "name, password or code is wrong".to_owned();
        self.record(&Happening { outcome, ..happening("", PASSWORD, act, address) })?;
        Ok(FleetError::SignIn)
    }
}

pub(super) fn happening(by: &str, means: &str, act: &str, address: IpAddr) -> Happening {
    let (by, means, subject) = (by.to_owned(), means.to_owned(), address.to_string());
    Happening { by, means, subject, act: act.to_owned(), ..Happening::default() }
}

fn key(kind: &str, who: &str) -> [u8; 32] {
    tokens::hash(&format!("{kind} {who}"))
}
