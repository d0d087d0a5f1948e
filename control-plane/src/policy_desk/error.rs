//! What the policy desk refuses, and the way out.

use axum::http::StatusCode;

/// The policy desk refused something.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// A name that is none.
    #[error("`{0}` is no name for a draft: write 1 to 48 of a-z, 0-9 and `-`, as in `night-shift`")]
    Name(String),
    /// There is no such draft.
    #[error("there is no draft `{0}`; `outpost-control policy ls` shows those that are")]
    Unknown(String),
    /// More than are kept.
    #[error("there are {0} drafts already; drop one first")]
    TooMany(usize),
    /// The files are none.
    #[error(transparent)]
    Files(#[from] outpost_policies::FilesError),
    /// What was brought is no bundle.
    #[error("that is no policy bundle: {0}")]
    Bundle(String),
    /// Somebody else saved it in between.
    #[error("somebody saved the draft `{0}` meanwhile; look at it again before you save yours")]
    Overtaken(String),
    /// What was looked at is not what is there.
    #[error("the draft has the digest {now}, not {asked}: look at what it says now, and approve that")]
    OtherDigest {
        /// The digest of what is there.
        now: String,
        /// What was asked for.
        asked: String,
    },
    /// Something is wrong with it.
    #[error(
        "the draft `{name}` has {errors} errors, the first: {first}; `outpost-control policy lint {name}` names all"
    )]
    Faulty {
        /// Which draft.
        name: String,
        /// How many.
        errors: usize,
        /// The first of them.
        first: String,
    },
    /// Nobody approved it.
    #[error(
        "nobody but its authors has approved `{0}` as it is now: a second person does (`outpost-control policy approve`, or its \
         page); `[policies] two_persons = false` in `outpost-control.toml` asks for none"
    )]
    NotApproved(String),
    /// A policy that never was a draft.
    #[error(
        "two people release a policy here, and this one was approved by nobody: `outpost-control policy draft`, `approve` by a \
         second person, then `publish`; `[policies] two_persons = false` in `outpost-control.toml` asks for no second"
    )]
    NoDraft,
    /// An approval by a program.
    #[error("a token is nobody: people approve, signed in or at the command line under their own account")]
    ByToken,
    /// The version is not above the one in force.
    #[error(
        "the draft is version {draft}, and version {released} is released: write `version = {next}` in `bundle.toml`"
    )]
    Version {
        /// The draft's.
        draft: u64,
        /// The one in force.
        released: u64,
        /// The next one.
        next: u64,
    },
    /// Released already.
    #[error("the draft `{0}` is what the fleet enforces already")]
    Released(String),
    /// Devices would refuse it without signatures.
    #[error(
        "the policy in force asks for {asked} signatures on the next one: `outpost-control policy show {name} --bundle FILE`, \
         `outpost seal policy FILE …`, then `policy publish {name} --sealed SEALED`"
    )]
    Unsealed {
        /// Which draft.
        name: String,
        /// How many signatures.
        asked: u8,
    },
    /// What was sealed is something else.
    #[error("the sealed document cannot be released for `{name}`: {why}")]
    Sealed {
        /// Which draft.
        name: String,
        /// Why not.
        why: String,
    },
    /// A roll-back from it would be refused.
    #[error(
        "this policy asks for signatures on whatever follows it, and the one in force has fewer: devices would refuse to go \
         back to it, so it cannot be staged; release it for all, or have the one in force sealed first"
    )]
    NoWayBack,
    /// The catalogue has no such policy.
    #[error("the catalogue has no policy `{0}`; `outpost-control policy ls` shows those that it has")]
    NoTarget(String),
    /// Nothing is in force to begin with.
    #[error("how far back is 1 to 90 days, not {0}")]
    Days(u32),
}

impl DeskError {
    /// How it is told over HTTP: status and code.
    pub(crate) fn told(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unknown(_) | Self::NoTarget(_) => (StatusCode::NOT_FOUND, "unknown_policy"),
            Self::ByToken => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Name(_) | Self::Files(_) | Self::Bundle(_) | Self::Sealed { .. } | Self::Days(_) => {
                (StatusCode::BAD_REQUEST, "bad_policy")
            }
            Self::NotApproved(_) | Self::NoDraft => (StatusCode::CONFLICT, "not_approved"),
            Self::Overtaken(_) | Self::OtherDigest { .. } => (StatusCode::CONFLICT, "changed"),
            Self::TooMany(_)
            | Self::Faulty { .. }
            | Self::Version { .. }
            | Self::Released(_)
            | Self::Unsealed { .. }
            | Self::NoWayBack => (StatusCode::CONFLICT, "bad_policy"),
        }
    }
}
