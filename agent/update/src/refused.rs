//! Why a build is not taken: a word for programs and a sentence for people.

use std::io;
use std::path::PathBuf;

use outpost_contract::Sha256;
use outpost_contract::build::WrongProgram;
use outpost_disk::DiskError;

/// A build is not taken; what runs goes on, and nothing was chosen.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Another one is being tried.
    #[error("version {version} is on trial: wait until it is confirmed or rolled back")]
    Busy {
        /// The one on trial.
        version: String,
    },
    /// It was tried here and rolled back.
    #[error(
        "these bytes (version {version}) were rolled back here: {reason}; bring another build, or ask for it again by hand"
    )]
    RolledBack {
        /// Its version.
        version: String,
        /// Why it was.
        reason: String,
    },
    /// It lies in a slot and is confirmed.
    #[error("version {version} is here already, and confirmed")]
    AlreadyHere {
        /// Its version.
        version: String,
    },
    /// The packaged program would be preferred to it.
    #[error(
        "version {version} is not newer than the packaged program, which is {packaged}: the packaged one runs by itself"
    )]
    NotNewer {
        /// Its version.
        version: String,
        /// That of the packaged program.
        packaged: String,
    },
    /// What is said to be its version is none.
    #[error("`{version}` is no version: it has to be like `1.2.3`")]
    NoVersion {
        /// What was said.
        version: String,
    },
    /// It is for other machines, by what is said of it.
    #[error("wrong architecture: this build is for {target}, this box is {own}")]
    WrongTarget {
        /// What it is for.
        target: String,
        /// What this box is.
        own: String,
    },
    /// It is for other machines or no program at all, by its first bytes.
    #[error(transparent)]
    WrongProgram(#[from] WrongProgram),
    /// No agent is as large.
    #[error("a build of {bytes} bytes is larger than the {most} that are taken")]
    TooLarge {
        /// What it is said to have.
        bytes: u64,
        /// The most.
        most: u64,
    },
    /// There is no room for a second slot.
    #[error(
        "no room for the second slot: {needed} bytes are needed ({kept} of them kept free for the audit log), {free} are free; free space on this disk"
    )]
    NoRoom {
        /// What is needed.
        needed: u64,
        /// What of that stays free.
        kept: u64,
        /// What there is.
        free: u64,
    },
    /// Not all of it arrived, or too much.
    #[error("the build has {found} bytes where {expected} were said: send it again")]
    WrongLength {
        /// What was said.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// It is not what was said.
    #[error("the build hashes to {found} where {expected} was said: send it again")]
    WrongDigest {
        /// What was said.
        expected: Sha256,
        /// What came.
        found: Sha256,
    },
    /// Programs may not run from the state directory.
    #[error("programs may not run from the state directory ({because}): mount it without `noexec`")]
    MayNotRun {
        /// What the system said.
        because: String,
    },
    /// It needs an instruction that this processor does not have.
    #[error("it needs a kernel that this processor lacks: it ended by an illegal instruction in its self-check")]
    LacksKernel,
    /// It did not prove itself.
    #[error("it did not pass its self-check: {because}")]
    SelfCheck {
        /// What it said, or that it said nothing.
        because: String,
    },
    /// It says another version than was said of it.
    #[error("it says that it is version {found}, and {expected} was said")]
    WrongVersion {
        /// What was said.
        expected: String,
        /// What it says.
        found: String,
    },
    /// It could not read this state.
    #[error("it reads state up to format {reads}, and this state has format {found}: bring a newer build")]
    OlderState {
        /// What it reads.
        reads: u32,
        /// What there is.
        found: u32,
    },
    /// What happens to builds is on record, or does not happen.
    #[error("that it was taken could not be recorded: {because}")]
    NotRecorded {
        /// What the log said.
        because: String,
    },
    /// It could not be read from where it was.
    #[error("the build cannot be read: {source}")]
    Read {
        /// What the system said.
        source: io::Error,
    },
    /// It could not be written.
    #[error("cannot write the build to `{}`: {source}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be put into its slot.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Refused {
    /// The reason in one word, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::RolledBack { .. } => "rolled_back",
            Self::AlreadyHere { .. } => "already_here",
            Self::NotNewer { .. } => "not_newer",
            Self::NoVersion { .. } => "no_version",
            Self::WrongProgram(WrongProgram::NoProgram) => "no_program",
            Self::WrongTarget { .. } | Self::WrongProgram(_) => "wrong_architecture",
            Self::TooLarge { .. } => "too_large",
            Self::NoRoom { .. } => "no_room",
            Self::WrongLength { .. } | Self::WrongDigest { .. } => "damaged",
            Self::MayNotRun { .. } => "may_not_run",
            Self::LacksKernel => "lacks_kernel",
            Self::SelfCheck { .. } => "self_check_failed",
            Self::WrongVersion { .. } => "wrong_version",
            Self::OlderState { .. } => "older_state_format",
            Self::NotRecorded { .. } => "not_recorded",
            Self::Read { .. } => "unreadable",
            Self::Disk(error) if error.is_full() => "no_room",
            Self::Write { .. } | Self::Disk(_) => "disk",
        }
    }

    /// Whether the same bytes may be taken later, without anybody changing them.
    #[must_use]
    pub fn is_worth_another_try(&self) -> bool {
        matches!(self.code(), "busy" | "no_room" | "damaged" | "may_not_run" | "not_recorded" | "unreadable" | "disk")
    }
}
