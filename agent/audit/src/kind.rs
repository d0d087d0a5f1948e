//! What a record is about: the closed list of types, as they are named in leaves.

use std::fmt;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Type of a record. New types are added at the end; names never change, because they are signed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Kind {
            /// Every type that this version writes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in the leaf's `type`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The type with this name, if this version knows it.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// The log was opened; says how the last run ended. Written by the log itself.
    Boot = "boot",
    /// The agent stopped in good order. Written by the log itself.
    Shutdown = "shutdown",
    /// Somebody came without an identity, or with one that did not hold.
    AuthFail = "auth.fail",
    /// A permitted request begins. Durable before the first token leaves.
    InferStart = "infer.start",
    /// That request ended, well or not. Durable before the last chunk leaves.
    InferEnd = "infer.end",
    /// A question was refused: by policy, a limit, a filter or for a mistake in it; or nobody waited for it any more.
    InferDenied = "infer.denied",
    /// A request began and never ended, because the agent died. Written by the log itself at the next start.
    InferAborted = "infer.aborted",
    /// Model bytes arrived, whole and verified.
    ModelPull = "model.pull",
    /// A model answers from now on.
    ModelLoad = "model.load",
    /// A model left memory; `because` says why.
    ModelUnload = "model.unload",
    /// A model was refused: bad bytes, no room, not approved.
    ModelReject = "model.reject",
    /// A policy bundle is in force from now on.
    PolicyActivate = "policy.activate",
    /// A policy bundle was refused.
    PolicyReject = "policy.reject",
    /// A desired state was accepted.
    DesiredAccept = "desired.accept",
    /// A desired state was refused.
    DesiredReject = "desired.reject",
    /// The device was enrolled, or that failed.
    DeviceEnrol = "device.enrol",
    /// The link to the control plane came up.
    SyncStart = "sync.start",
    /// The link to the control plane went down.
    SyncEnd = "sync.end",
    /// A privileged act; `act` says which.
    AdminAct = "admin.act",
    /// Somebody read the log.
    AuditRead = "audit.read",
    /// An API key was made.
    KeyCreate = "key.create",
    /// An API key was revoked.
    KeyRevoke = "key.revoke",
    /// Room for the log ran low, or came back.
    Capacity = "audit.capacity",
    /// The policy bundle that was in force before is in force again.
    PolicyRollback = "policy.rollback",
    /// A list of locks is in force from now on.
    LocksActivate = "locks.activate",
    /// A sealed override was opened, or is over; `act` says which.
    BreakGlass = "breakglass",
    /// Witnesses cosigned a checkpoint; the record holds their lines.
    Cosigned = "cosig",
    /// The content of one subject was destroyed; `keys` says under which keys it was sealed.
    AuditErase = "audit.erase",
    /// Content past its retention was destroyed; `keys` says under which keys it was sealed.
    AuditPrune = "audit.prune",
    /// Log and witness, or log and mirror, do not remember the same past; `reason` says whose memory is short.
    SyncDivergence = "sync.divergence",
    /// The clock was set: it and the time since the machine's start went apart. Written by the log itself.
    TimeStep = "time.step",
    /// How many records of each type there are since the last of these. Written by the log itself, hourly.
    Summary = "summary",
    /// The log stopped after a storage error, looked at what the disk has, and goes on. Written by the log itself.
    Integrity = "audit.integrity",
    /// A call was answered, or broke off, and no other record says how: a read, a mistake in a request, a client that left, a
    /// panic.
    Request = "request",
    /// For want of memory or for heat the device does with less from now on, or with more again: `from`, `to` and `because` say
    /// which, the figures are those of that moment.
    Pressure = "device.pressure",
    /// A build of the agent was taken in and is tried at the next start.
    UpdateStaged = "update.staged",
    /// A build of the agent was not taken; `code` and `reason` say why.
    UpdateRefused = "update.refused",
    /// A build of the agent that is on trial was started.
    UpdateStarted = "update.started",
    /// A build of the agent proved itself: it is what starts from now on.
    UpdateConfirmed = "update.confirmed",
    /// A build of the agent is not run any more; `reason` says why. Written by whichever build runs in its place.
    UpdateRolledBack = "update.rolled_back",
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_type() {
        for &kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("infer.everything"), None);
    }
}
