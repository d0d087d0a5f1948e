//! People of this fleet: who there is, with which roles, and how they first get in.

use super::totp;
use crate::db::{Person, Session};
use crate::fleet::{Fleet, FleetError};
use crate::people::sign_in::{IDLE_S, SESSION_S};
use crate::tokens::{self, random};

/// How long a code for setting a password is valid, seconds.
const CODE_S: i64 = 24 * 60 * 60;

/// The roles that the built-in rules know.
pub(super) const ROLES: [&str; 5] = ["administrator", "operator", "approver", "auditor", "viewer"];

impl Fleet {
    /// Enters a person; the answer is the code with which they set their password, once.
    ///
    /// # Errors
    /// If the name is taken or none, or a role is none.
    pub fn add_person(&self, name: &str, roles: &[String]) -> Result<String, FleetError> {
        check_name(name)?;
        check_roles(roles)?;
        if !self.inner.database.add_person(name, roles, self.now_s())? {
            return Err(FleetError::Person(format!("`{name}` is there already")));
        }
        self.reset_person(name)
    }

    /// Makes a new code with which a person sets a new password; those before count no more.
    ///
    /// # Errors
    /// [`FleetError::UnknownPerson`] if there is none.
    pub fn reset_person(&self, name: &str) -> Result<String, FleetError> {
        let person = self.inner.database.person(name)?;
        person.ok_or_else(|| FleetError::UnknownPerson(name.to_owned()))?;
        self.not_vouched_for(name)?;
        let code = hex::encode(random::<16>().map_err(FleetError::Random)?);
        self.inner.database.set_person_code(name, &tokens::hash(&code), self.now_s() + CODE_S)?;
        Ok(code)
    }

    /// Everybody.
    ///
    /// # Errors
    /// If the database fails.
    pub fn people(&self) -> Result<Vec<Person>, FleetError> {
        Ok(self.inner.database.people()?)
    }

    /// Gives a person these roles in the place of those before; it counts from their next request.
    ///
    /// # Errors
    /// [`FleetError::UnknownPerson`] if there is none.
    pub fn set_person_roles(&self, name: &str, roles: &[String]) -> Result<(), FleetError> {
        check_roles(roles)?;
        self.not_vouched_for(name)?;
        known(name, self.inner.database.set_roles(name, roles)?)
    }

    /// Lets a person in no longer (their sessions end at once), or again.
    ///
    /// # Errors
    /// [`FleetError::UnknownPerson`] if there is none.
    pub fn disable_person(&self, name: &str, disabled: bool) -> Result<(), FleetError> {
        known(name, self.inner.database.disable_person(name, disabled.then(|| self.now_s()))?)
    }

    /// Forgets a person; what they did stays on record.
    ///
    /// # Errors
    /// [`FleetError::UnknownPerson`] if there is none.
    pub fn remove_person(&self, name: &str) -> Result<(), FleetError> {
        known(name, self.inner.database.remove_person(name)?)
    }

    /// Asks a person for codes of an authenticator from now on; the answer is the address that it reads, shown once.
    ///
    /// # Errors
    /// [`FleetError::UnknownPerson`] if there is none.
    pub fn give_authenticator(&self, name: &str) -> Result<String, FleetError> {
        self.not_vouched_for(name)?;
        let secret = random::<20>().map_err(FleetError::Random)?;
        known(name, self.inner.database.set_totp(name, Some(&secret))?)?;
        Ok(totp::address(name, &secret))
    }

    /// Asks a person for such codes no more.
    ///
    /// # Errors
    /// [`FleetError::UnknownPerson`] if there is none.
    pub fn take_authenticator(&self, name: &str) -> Result<(), FleetError> {
        known(name, self.inner.database.set_totp(name, None)?)
    }

    /// The browsers that are signed in.
    ///
    /// # Errors
    /// If the database fails.
    pub fn sessions(&self) -> Result<Vec<Session>, FleetError> {
        Ok(self.inner.database.sessions(self.now_s() - SESSION_S, self.now_s() - IDLE_S)?)
    }

    /// Ends all sessions of a person; how many.
    ///
    /// # Errors
    /// If the database fails.
    pub fn end_sessions(&self, name: &str) -> Result<usize, FleetError> {
        Ok(self.inner.database.end_sessions(name)?)
    }
}

impl Fleet {
    /// Password, authenticator and roles of somebody for whom a provider vouches are the provider's.
    fn not_vouched_for(&self, name: &str) -> Result<(), FleetError> {
        if self.inner.database.is_vouched_for(name)? {
            let message = format!(
                "`{name}` signs in at the provider of `[login.oidc]`, which says their roles; change them there"
            );
            return Err(FleetError::Person(message));
        }
        Ok(())
    }
}

fn known(name: &str, found: bool) -> Result<(), FleetError> {
    if found { Ok(()) } else { Err(FleetError::UnknownPerson(name.to_owned())) }
}

/// A name reads the same to everybody, and is nobody else's: `local:…` and `administrator` are taken.
pub(crate) fn check_name(name: &str) -> Result<(), FleetError> {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'@');
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) && name != "administrator" {
        return Ok(());
    }
    let name: String = name.chars().take(80).collect();
    let shown = name.escape_debug();
    Err(FleetError::Person(format!("`{shown}` is no name here: write 1 to 64 of a-z, 0-9, `-`, `.`, `_` and `@`")))
}

pub(crate) fn check_roles(roles: &[String]) -> Result<(), FleetError> {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    match roles.iter().find(|role| !(1..=32).contains(&role.len()) || !role.bytes().all(plain)) {
        None if roles.is_empty() => Err(FleetError::Person(format!("name a role: {}", ROLES.join(", ")))),
        None => Ok(()),
        Some(_) => Err(FleetError::Person("a role is 1 to 32 of a-z, 0-9 and `-`".to_owned())),
    }
}
