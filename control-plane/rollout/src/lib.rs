//! Staged changes of a fleet as a pure state machine: an event and the time in, effects out.
//!
//! ```text
//! draft ──start──▶ running ◀──resume/retry── paused
//!                   │  │ └──gate or errors────▲ │
//!                   │  └──gate or errors──▶ rolling back ◀──abort──┘
//!                   ▼                          ▼
//!                 ended: completed      ended: rolled back / aborted
//! ```
//!
//! A rollout holds its devices in waves. A wave opens when the gate of the one before passed and the approvals it
//! asks for are given; its devices are assigned inside their maintenance windows; its gate passes when enough of
//! them report, healthy, that the change is in force, and have done so for the soak time. Who joins later comes
//! into a wave that has not opened, or a new last one: under the same gates.
//!
//! Invariants, each by the name under which `tests/histories.rs` holds it over random histories:
//!
//! * `gate before wave`: nobody in wave n+1 is assigned before gate n passed, and a gate passes only with enough
//!   devices whose newest report is a healthy one of the order they were given, after the soak time.
//! * `errors stop at once`: after the step that brings a wave over its error threshold the rollout does not run.
//! * `paused assigns nothing`: no device is assigned but while the rollout runs; none is given back but in a roll-back.
//! * `no effect twice`: an order's number is used once; a device gets one assignment per attempt and one roll-back.
//! * `room in a step`: no step orders more devices something than its caller allows; the others are ordered in later ones, and
//!   until then nothing counts them as changed or given back.
//! * `exactly as before`: a roll-back names just what the device had when it became a member.
//! * `another person`: a wave that asks for approval opens only after enough different people gave it, of whom none
//!   is the author where that is asked.
//! * `one rollout per device`: a device is held by at most one rollout that has not ended; the last started wins,
//!   and no other orders anything for it from then on.
//! * `ends`: with nothing but the passing of time every ordered device reaches a final state by its deadline, and an
//!   abort or a roll-back ends.
//! * `function of history`: the same events give the same state and effects; writing a state down and reading it
//!   back between any two steps changes nothing; what is refused changes nothing.
//!
//! Time: deadlines and soaking count the seconds that were seen to pass. A clock that jumps back counts nothing, one
//! that jumps ahead (or a service that was down) counts no more than [`LONGEST_TICK_S`] per step: devices must not
//! time out, nor a change count as soaked, because nobody was looking. Only maintenance windows read the wall clock.

mod book;
mod health;
mod outcome;
mod refusal;
mod spec;
mod state;
mod step;
mod window;

pub use book::{Book, RolloutId};
pub use health::{Gate, Gates, Health};
pub use outcome::Outcome;
pub use refusal::Refusal;
pub use spec::{Approval, Assignment, Change, Facts, Member, OnFailure, Selector, Spec, Take, WaveSpec};
pub use state::{Device, End, Failure, Phase, State, Status, Stop, Wave};
pub use step::{Effect, Event, LONGEST_TICK_S, Notice};
pub use window::Window;
