//! Ids, topics, messages and limits that device and control plane share: types only, no I/O.
//!
//! Every type here crosses a border that this project owns. What arrives from a wire is parsed into these types
//! once; a value of one of them is well-formed, though not yet trusted: trust is `outpost-trust`'s word.

pub mod audit;
pub mod blob;
pub mod build;
pub mod bundle;
pub mod catalogue;
pub mod command;
pub mod desired;
pub mod digest;
pub mod enrol;
pub mod event;
pub mod fingerprint;
pub mod golden;
pub mod home;
pub mod ids;
pub mod limits;
pub mod machine;
pub mod measurements;
pub mod presence;
pub mod reported;
pub mod sealed;
pub mod topic;

pub use audit::{AuditAnswer, AuditAsk};
pub use blob::{BlobRef, Chunk, ChunkHeader, ChunkRefusal, ChunkRequest, ChunkRun, Manifest};
pub use build::{BuildReport, BuildSource, BuildVersion, RolledBack};
pub use bundle::{BundleIndex, BundledDesired, InvalidBundle};
pub use catalogue::{
    AgentFacts, Authority, Footprint, Matrices, ModelFacts, Origin, PolicyFacts, TargetKind, TokenIssuer, VariantFacts,
};
pub use command::{Answer, Command, CommandId, CommandState, Operation, Part, Response};
pub use desired::{Desired, DesiredModel, TargetPin, Withdrawal};
pub use digest::{Blake3, Sha256};
pub use enrol::{EnrolRefusal, EnrolRequest, EnrolResponse, LateRenewRequest, RenewNonce, RenewRequest, RenewResponse};
pub use event::{Event, EventKind, Stored};
pub use fingerprint::{Fingerprint, InvalidFingerprint};
pub use golden::{GoldenPrompt, GoldenPrompts, InvalidGolden};
pub use home::{HomeAnswer, HomeIndex, InvalidHome, Letter, LetterClass, LetterId, Letters};
pub use ids::{BootId, DeviceId, ModelId, TargetName, TenantId, Triple};
pub use machine::{
    AcceleratorFacts, CacheFacts, CoreKind, DiskFacts, HeatFacts, LackingKernels, LimitFacts, MachineFacts,
    MemoryFacts, NodeFacts, PowerFacts, PressureFacts, ProcessorFacts, RunFacts, StallFacts,
};
pub use measurements::{Correction, KernelSpeed, Learned, Measurements, PassSpeed};
pub use presence::{Hello, HelloAck, Neighbour, Presence};
pub use reported::{Activity, Installed, LinkHealth, Reason, ReasonCode, Reported, TransferProgress};
pub use sealed::{SealedKind, Signer};
pub use topic::{Down, Topic, Up};
