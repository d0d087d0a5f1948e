//! Who acts on the fleet and what they ask for: every act of a person or a service passes [`Fleet::permit`].
//!
//! ```text
//! actor ── permit ──► rules (Cedar) ──► record, durable ──► the act ──► if it failed: a second record
//!                        └ denied ────► record, durable ──► 403 with the rule's reason
//! ```
//!
//! Looking at devices, the catalogue or rollouts is not recorded; reading records is, and so is every refusal. What cannot be
//! recorded is not done.

mod account;
mod approvals;
mod local;
pub(crate) mod oidc;
mod own_log;
pub(crate) mod pages;
mod password;
pub(crate) mod sent;
mod services;
mod sign_in;
pub(crate) mod together;
mod totp;

use std::sync::Arc;

use outpost_policies::{ControlAsk, ControlPrincipal, ControlRules};
use parking_lot::Mutex;

use crate::config::Config;
use crate::db::Database;
use crate::files;
use crate::fleet::{Fleet, FleetError};
use crate::leader::Replica;
pub(crate) use account::Offered;
pub(crate) use approvals::{Approvable, LOCAL, is_same_person, person};
pub(crate) use local::{check_name, check_roles};
pub use oidc::LoginError;
use oidc::Provider;
pub use own_log::OwnRecord;
pub(crate) use own_log::{Happening, OwnLog, keep_record};
pub(crate) use sign_in::{COOKIE, IDLE_S, SESSION_S, Typed};

/// The rules' file in the state directory; without it, the built-in ones hold.
const RULES_FILE: &str = "control.cedar";

/// How somebody proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// The bearer token of `init`.
    AdminToken,
    /// An API token.
    ApiToken,
    /// A browser that signed in.
    Session,
    /// An account of this machine that may read the state directory.
    Local,
}

impl Means {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AdminToken => "admin-token",
            Self::ApiToken => "api-token",
            Self::Session => "session",
            Self::Local => "local",
        }
    }

    fn principal(self) -> ControlPrincipal {
        match self {
            Self::AdminToken | Self::Session => ControlPrincipal::Person,
            Self::ApiToken => ControlPrincipal::Token,
            Self::Local => ControlPrincipal::LocalUser,
        }
    }
}

/// Whoever acts on the fleet, identified.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    /// The name that stands in records and on pages.
    pub(crate) name: String,
    /// The roles that they hold.
    pub(crate) roles: Vec<String>,
    /// How they proved it.
    pub(crate) means: Means,
    /// The acts that they are limited to, whatever the roles allow; none is no such limit.
    pub(crate) scope: Option<Vec<Act>>,
    rules: Arc<ControlRules>,
}

impl Actor {
    /// Whether they may do this to something: for showing buttons, not for doing it.
    pub(crate) fn may(&self, act: Act) -> bool {
        self.verdict(act, "").allowed
    }

    /// Somebody of this name who may do everything, where there is no fleet.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        let rules = Arc::new(ControlRules::embedded().expect("the rules that are built in hold"));
        Self {
            name: name.to_owned(),
            roles: vec!["administrator".to_owned()],
            means: Means::AdminToken,
            scope: None,
            rules,
        }
    }

    fn verdict(&self, act: Act, subject: &str) -> outpost_policies::ControlVerdict {
        if self.scope.as_ref().is_some_and(|scope| !scope.contains(&act)) {
            let reason = format!("the token is not good for `{}`", act.name());
            return outpost_policies::ControlVerdict { allowed: false, rules: vec!["token-scope".to_owned()], reason };
        }
        let (kind, name, roles) = (self.means.principal(), self.name.as_str(), self.roles.as_slice());
        self.rules.judge(&ControlAsk { kind, name, roles, action: act.name(), subject })
    }
}

macro_rules! acts {
    ($($(#[doc = $doc:literal])+ $act:ident = $name:literal,)+) => {
        /// What is asked for. Each is an action of its own for the rules, and a kind of record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Act {
            $($(#[doc = $doc])+ $act,)+
        }

        impl Act {
            /// Every act.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$act,)+];

            /// As the schema of the rules spells it.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$act => $name,)+ }
            }
        }
    };
}

acts! {
    /// Look at devices, the catalogue, rollouts, policies.
    See = "see",
    /// Read audit records, the control plane's own included.
    ReadRecords = "read_records",
    /// Make codes, allow keys, answer requests.
    Enrol = "enrol",
    /// Change a device's assignment, labels, groups, site.
    Assign = "assign",
    /// Let a device in no longer.
    Revoke = "revoke",
    /// Give a device a command.
    Command = "command",
    /// Issue a token for the devices' APIs.
    IssueToken = "issue_token",
    /// Change the catalogue or the keys that sign it.
    Release = "release",
    /// Start, pause or end a rollout.
    Rollout = "rollout",
    /// Approve somebody else's rollout.
    ApproveRollout = "approve_rollout",
    /// Approve somebody else's policy.
    ApprovePolicy = "approve_policy",
    /// Write, change or drop a draft of a policy.
    DraftPolicy = "draft_policy",
    /// Approve a model for devices, or take an approval back.
    ApproveModel = "approve_model",
    /// Withdraw a model from every device, or take that back.
    WithdrawModel = "withdraw_model",
    /// Change people, roles and API tokens.
    Administer = "administer",
}

impl Act {
    /// The act of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|act| act.name() == name)
    }
}

/// What the fleet holds for people.
#[derive(Debug)]
pub(crate) struct People {
    rules: Arc<ControlRules>,
    pub(crate) own_log: OwnLog,
    /// One password is checked at a time: each takes 19 MiB.
    checking: Mutex<()>,
    /// Who vouches for people, if anybody does.
    provider: Option<Provider>,
}

impl People {
    /// Opens what is there in the state directory; rules that cannot be used are an error, not the built-in ones.
    pub(crate) fn open(config: &Config, database: Database, replica: &Arc<Replica>) -> Result<Self, FleetError> {
        let state = config.state_dir.as_path();
        let path = state.join(RULES_FILE);
        let most = u64::try_from(outpost_policies::CONTROL_RULES_BYTES).unwrap_or(u64::MAX);
        let rules = match files::read_text(&path, most) {
            Ok(text) => ControlRules::parse(&text)?,
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => ControlRules::embedded()?,
            Err(error) => return Err(error.into()),
        };
        let own_log = OwnLog::new(state, database, config.tenant.as_str(), Arc::clone(replica));
        let provider = config.login.clone().map(Provider::new);
        Ok(Self { rules: Arc::new(rules), own_log, checking: Mutex::new(()), provider })
    }
}

/// Proof that an act was permitted, and recorded. Only [`Fleet::permit`] makes one.
#[derive(Debug)]
pub(crate) struct Permit(());

impl Fleet {
    /// Somebody who proved who they are.
    pub(crate) fn actor(&self, name: &str, roles: &[String], means: Means) -> Actor {
        let rules = Arc::clone(&self.inner.people.rules);
        Actor { name: name.to_owned(), roles: roles.to_vec(), means, scope: None, rules }
    }

    /// The carrier of the operators' bearer token, who may do everything.
    pub(crate) fn administrator(&self) -> Actor {
        let roles = ["administrator", "operator", "approver", "auditor"].map(str::to_owned);
        self.actor("administrator", &roles, Means::AdminToken)
    }

    /// Whether `actor` may do this to `subject` (a device, a rollout, a person: its name).
    ///
    /// # Errors
    /// [`FleetError::Forbidden`] if they may not; any other if it could not be recorded.
    pub(crate) fn permit(&self, actor: &Actor, act: Act, subject: &str) -> Result<Permit, FleetError> {
        let verdict = actor.verdict(act, subject);
        tracing::info!(by = actor.name, ?act, subject, allowed = verdict.allowed, "an operator acts");
        if !(verdict.allowed && act == Act::See) {
            let effect = if verdict.allowed { "allow" } else { "deny" };
            let happening = Happening::of(actor, act, subject);
            self.record(&Happening { effect: effect.to_owned(), rules: verdict.rules, ..happening })?;
        }
        match verdict.allowed {
            true => Ok(Permit(())),
            false => Err(FleetError::Forbidden(verdict.reason)),
        }
    }

    /// Records durably that something happened.
    ///
    /// # Errors
    /// If it cannot; then it must not happen.
    pub(crate) fn record(&self, happening: &Happening) -> Result<(), FleetError> {
        self.inner.people.own_log.record(happening, self.now_s())
    }

    /// Does `run` away from the async threads, if `actor` may do `act` to `subject`.
    ///
    /// # Errors
    /// As [`permit`](Self::permit) and `run`.
    pub(crate) async fn run_as<T: Send + 'static>(
        &self,
        actor: Actor,
        act: Act,
        subject: impl ToString,
        run: impl FnOnce(&Self) -> Result<T, FleetError> + Send + 'static,
    ) -> Result<T, FleetError> {
        let subject = subject.to_string();
        self.run(move |fleet| {
            let _permit = fleet.permit(&actor, act, &subject)?;
            let done = run(fleet);
            if let (Err(error), true) = (&done, act != Act::See) {
                let failed = Happening { outcome: error.to_string(), ..Happening::of(&actor, act, &subject) };
                fleet.record(&failed)?;
            }
            done
        })
        .await
    }

    /// An account of this machine is about to do this: whoever can read the state directory may, on record.
    ///
    /// # Errors
    /// If it cannot be recorded, or `act` is none.
    pub fn record_local(&self, user: &str, act: &str, subject: &str) -> Result<(), FleetError> {
        let act = Act::from_name(act).ok_or_else(|| FleetError::Person(format!("`{act}` is no act")))?;
        let actor = self.actor(&format!("local:{user}"), &["administrator".to_owned()], Means::Local);
        self.record(&Happening { effect: "allow".to_owned(), ..Happening::of(&actor, act, subject) })
    }
}

#[cfg(test)]
mod tests;
