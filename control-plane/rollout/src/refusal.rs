//! Why something asked of a rollout is not done.

use outpost_contract::DeviceId;

/// A refusal: words by `Display`, a name for machines by [`Refusal::code`]. What is refused changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field of the order cannot be carried out.
    #[error("`{field}` {rule}")]
    InvalidSpec {
        /// Where.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// No device is named.
    #[error("the rollout is for no device; name at least one")]
    NoDevices,
    /// A step would take nobody: its evidence would be none.
    #[error("wave `{name}` takes no device; give it a selector or a share that does, or leave it out")]
    EmptyWave {
        /// The step's name.
        name: String,
    },
    /// It was started before.
    #[error("the rollout was started before")]
    AlreadyStarted,
    /// It was not started yet.
    #[error("the rollout was not started yet; start it first")]
    NotStarted,
    /// It ended, or goes back already.
    #[error("the rollout is over or on its way back; start a new one")]
    Over,
    /// It stands still already.
    #[error("the rollout is paused already")]
    AlreadyPaused,
    /// It does not stand still.
    #[error("the rollout is not paused")]
    NotPaused,
    /// It stands still because devices failed: going on would change nothing about that.
    #[error("the rollout stopped at a failure; retry the failed devices, or abort it")]
    StoppedAtFailure,
    /// Nothing failed.
    #[error("no device failed: there is nothing to retry")]
    NothingFailed,
    /// The step does not wait for agreement now.
    #[error("wave {wave} does not wait for an approval now")]
    NoApprovalAwaited {
        /// The step, from 0.
        wave: usize,
    },
    /// The author approves, where another must.
    #[error("`{who}` wrote the rollout; another person must approve it")]
    AuthorMayNotApprove {
        /// The author.
        who: String,
    },
    /// The same person again.
    #[error("`{who}` approved this wave already; another person must")]
    ApprovedAlready {
        /// The person.
        who: String,
    },
    /// The approval names nobody.
    #[error("an approval must name a person")]
    Nameless,
    /// The device is a member already.
    #[error("device `{device}` is a member of the rollout already")]
    MemberAlready {
        /// The device.
        device: DeviceId,
    },
    /// Another rollout has the device.
    #[error("device `{device}` belongs to rollout `{by}`; it may join when that ends, or start a new rollout for it")]
    HeldByAnother {
        /// The device.
        device: DeviceId,
        /// The other rollout.
        by: String,
    },
    /// There is no such rollout.
    #[error("there is no rollout `{id}`")]
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// The name is taken.
    #[error("there is a rollout `{id}` already; choose another name")]
    NameTaken {
        /// The name.
        id: String,
    },
}

impl Refusal {
    /// Its name for machines; stays the same.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidSpec { .. } => "invalid_spec",
            Self::NoDevices => "no_devices",
            Self::EmptyWave { .. } => "empty_wave",
            Self::AlreadyStarted => "already_started",
            Self::NotStarted => "not_started",
            Self::Over => "over",
            Self::AlreadyPaused => "already_paused",
            Self::NotPaused => "not_paused",
            Self::StoppedAtFailure => "stopped_at_failure",
            Self::NothingFailed => "nothing_failed",
            Self::NoApprovalAwaited { .. } => "no_approval_awaited",
            Self::AuthorMayNotApprove { .. } => "author_may_not_approve",
            Self::ApprovedAlready { .. } => "approved_already",
            Self::Nameless => "nameless",
            Self::MemberAlready { .. } => "member_already",
            Self::HeldByAnother { .. } => "held_by_another",
            Self::Unknown { .. } => "unknown",
            Self::NameTaken { .. } => "name_taken",
        }
    }
}
