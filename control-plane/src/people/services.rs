//! API tokens for programs: roles, narrowed by a scope; expiring, revocable, kept by hash.

use super::local::{check_name, check_roles};
use super::{Act, Actor, Means};
use crate::db::ApiToken;
use crate::fleet::{Fleet, FleetError};
use crate::tokens::{self, random};

/// What scanners for secrets know a token of ours by.
pub(crate) const PREFIX: &str = "opc_";

const DAY_S: i64 = 24 * 60 * 60;

impl Fleet {
    /// Makes an API token; it can be read this once. An empty `scope` is all that the roles allow.
    ///
    /// # Errors
    /// If the name is taken or none, a role or an act of the scope is none, or `days` is not 1 to 366.
    pub fn create_api_token(
        &self,
        name: &str,
        roles: &[String],
        scope: &[String],
        days: u32,
    ) -> Result<String, FleetError> {
        check_name(name)?;
        check_roles(roles)?;
        if !(1..=366).contains(&days) {
            return Err(FleetError::Person(format!("a token is valid for 1 to 366 days, not {days}")));
        }
        if scope.iter().any(|act| Act::from_name(act).is_none()) {
            let acts: Vec<_> = Act::ALL.iter().map(|act| act.name()).collect();
            return Err(FleetError::Person(format!("a scope names acts: {}", acts.join(", "))));
        }
        let secret = format!("{PREFIX}{}", hex::encode(random::<32>().map_err(FleetError::Random)?));
        let (created_s, roles, scope) = (self.now_s(), roles.to_vec(), scope.to_vec());
        let expires_s = created_s + i64::from(days) * DAY_S;
        let name = name.to_owned();
        let token = ApiToken { name, roles, scope, created_s, expires_s, revoked_s: None, used_s: None };
        if !self.inner.database.add_api_token(&token, &tokens::hash(&secret))? {
            return Err(FleetError::Person(format!("a token `{}` was made before; choose another name", token.name)));
        }
        Ok(secret)
    }

    /// All API tokens, without their secrets.
    ///
    /// # Errors
    /// If the database fails.
    pub fn api_tokens(&self) -> Result<Vec<ApiToken>, FleetError> {
        Ok(self.inner.database.api_tokens()?)
    }

    /// Lets the carrier of a token in no longer.
    ///
    /// # Errors
    /// [`FleetError::UnknownPerson`] if there is no such token, or it was revoked before.
    pub fn revoke_api_token(&self, name: &str) -> Result<(), FleetError> {
        match self.inner.database.revoke_api_token(name, self.now_s())? {
            true => Ok(()),
            false => Err(FleetError::UnknownPerson(name.to_owned())),
        }
    }

    /// Who carries this bearer token: the operators' own, or an API token.
    pub(crate) fn bearer(&self, secret: &str) -> Result<Option<Actor>, FleetError> {
        if !secret.starts_with(PREFIX) {
            return Ok(self.is_admin_token(secret)?.then(|| self.administrator()));
        }
        let Some(token) = self.inner.database.use_api_token(&tokens::hash(secret), self.now_s())? else {
            return Ok(None);
        };
        let scope = token.scope.iter().filter_map(|act| Act::from_name(act)).collect();
        let scope = (!token.scope.is_empty()).then_some(scope);
        Ok(Some(Actor { scope, ..self.actor(&token.name, &token.roles, Means::ApiToken) }))
    }
}
