//! Accounts of this machine, on the Unix socket: the kernel says who it is, the configuration says what it may.

use std::collections::BTreeMap;

use outpost_policies::{AuthMethod, Network, Principal, PrincipalKind};

use super::{Caller, Unidentified};

/// The role of the agent's own account and of root, who could read the agent's files anyway.
const OWN_ROLE: &str = "admin";

/// Roles by account number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalUsers {
    roles: BTreeMap<u32, Vec<String>>,
}

impl Default for LocalUsers {
    /// Root and the agent's own account, as admins.
    fn default() -> Self {
        let own = rustix::process::getuid().as_raw();
        Self { roles: [0, own].into_iter().map(|uid| (uid, vec![OWN_ROLE.to_owned()])).collect() }
    }
}

impl LocalUsers {
    /// Knows nobody.
    #[must_use]
    pub fn none() -> Self {
        Self { roles: BTreeMap::new() }
    }

    /// Gives an account these roles, instead of those it had.
    #[must_use]
    pub fn with(mut self, uid: u32, roles: Vec<String>) -> Self {
        self.roles.insert(uid, roles);
        self
    }

    pub(super) fn identify(&self, uid: u32) -> Result<Caller, Unidentified> {
        let Some(roles) = self.roles.get(&uid) else {
            let message = format!(
                "the account {uid} of this machine has no role here: an admin adds it to the configuration, \
                 or use a token or an API key"
            );
            return Err(Unidentified::new("unknown_account", message));
        };
        let principal = Principal { kind: PrincipalKind::LocalUser, id: format!("uid:{uid}"), roles: roles.clone() };
        Ok(Caller::new(principal, AuthMethod::Socket, Network::Socket))
    }
}
