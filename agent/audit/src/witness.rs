//! Witnessing: others vouch for when they saw which head of a log, so that its keeper cannot rewrite, shorten or fork it.
//!
//! ```text
//! device                                                     witness (control plane, a peer on the site, a customer's)
//!  checkpoint, proof from the last cosigned size ──────────►  known log? signed? same last size? proof holds?
//!                                                             compare-and-set, fsynced, then
//!  `cosig` record, through the log's own writer  ◄──────────  cosignature, or the size that it cosigned last
//! ```
//!
//! The bodies are those of c2sp.org/tlog-witness, so any transport can carry them, and a witness that this project did
//! not write can take this one's place. No file here does any input or output but `database`, the witness's state.
//!
//! * [`Witness`] answers `add-checkpoint`; [`WitnessState`] is what it remembers.
//! * [`Exchange`] is the log's side: what to send, and what an answer means, the two rollbacks among it.
//! * [`Timeline`] gives each record the times before and after which it did not come to be, by the `cosig` records.
//! * [`Policy`] is c2sp.org/tlog-policy: how many witnesses, and which, make a head believable; [`Vouched`] is how far that
//!   goes in a whole log.

mod database;
mod exchange;
mod ledger;
mod outcome;
mod policy;
mod quorum;
mod request;
mod state;
mod succession;
mod timeline;

pub use self::database::DatabaseState;
pub use self::exchange::{Divergence, Exchange, Next};
pub use self::ledger::{TooLong, newest, record};
pub use self::outcome::{BadAnswer, MAX_ANSWER_BYTES, Outcome};
pub use self::policy::{Policy, PolicyError, Unmet};
pub use self::quorum::Vouched;
pub use self::request::{AddCheckpoint, BadRequest, MAX_REQUEST_BYTES};
pub use self::state::{Evidence, MAX_EVIDENCE, MemoryState, StateError, Suspicion, Swap, WitnessState, Witnessed};
pub use self::succession::{log_of, next_origin, split_origin, succession};
pub use self::timeline::{Bound, Bracket, Timeline};
pub(crate) use self::{
    ledger::note_in,
    quorum::{best_note, vouched},
    timeline::examine,
};
use crate::consistency::{self, MAX_TREE_SIZE, TreeHead};
use crate::cosignature::{WitnessKey, signed_by_log, without_strangers};
use crate::note::Note;
use crate::{Checkpoint, VerifierKey};

/// One witness: its key and what it remembers.
#[derive(Debug)]
pub struct Witness<S> {
    key: WitnessKey,
    state: S,
}

impl<S: WitnessState> Witness<S> {
    /// A witness with this key. Two witnesses never share a key or a state.
    #[must_use]
    pub fn new(key: WitnessKey, state: S) -> Self {
        Self { key, state }
    }

    /// What it remembers.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Answers one `add-checkpoint` at the time `now_s`, in seconds since 1970, by a clock that does not run backwards
    /// (`outpost_disk::Clock`): what is cosigned later must not claim to be earlier. `keys` gives the public keys of a log by
    /// its origin: none for a log that is not known here.
    ///
    /// **The promise:** a cosignature is returned only after the new head is durable, and only for a tree that begins
    /// with every tree of this log that was cosigned before.
    ///
    /// # Errors
    /// If the state cannot be read or written; nothing is cosigned then, and the log may ask again.
    pub fn add_checkpoint(
        &self,
        body: &[u8],
        now_s: u64,
        keys: impl FnOnce(&str) -> Vec<VerifierKey>,
    ) -> Result<Outcome, StateError> {
        let malformed = |cause: String| Ok(Outcome::Malformed(cause));
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(cause) => return malformed(cause.to_string()),
        };
        let parsed = Note::parse(&request.checkpoint)
            .and_then(|note| Ok((Checkpoint::parse_text(note.unverified_text())?, note)));
        let (unverified, note) = match parsed {
            Ok(parsed) => parsed,
            Err(cause) => return malformed(cause.to_string()),
        };
        let keys = keys(&unverified.origin);
        if keys.is_empty() {
            return Ok(Outcome::UnknownLog);
        }
        let checkpoint = match signed_by_log(&note, &keys) {
            Ok(checkpoint) => checkpoint,
            Err(cause) => return Ok(Outcome::NotSigned(cause.to_string())),
        };
        if request.old > checkpoint.size || checkpoint.size > MAX_TREE_SIZE {
            return malformed(format!("no log grows from {} to {} records", request.old, checkpoint.size));
        }
        let offer = Offer { request: &request, note: &note, checkpoint: &checkpoint, keys: &keys };
        self.decide(&offer, now_s)
    }

    /// The rest of the specification's steps, for a checkpoint that the log did sign.
    fn decide(&self, offer: &Offer<'_>, now_s: u64) -> Result<Outcome, StateError> {
        let held = self.state.latest(&offer.checkpoint.origin)?;
        let (last, next) = (held.as_ref().map_or_else(TreeHead::empty, |held| held.head), offer.head());
        let is_fork = next.size == last.size && next.root != last.root;
        if is_fork {
            self.suspect(offer, held.as_ref(), Suspicion::Fork, now_s)?;
        }
        if is_fork || offer.request.old != last.size {
            return Ok(Outcome::Conflict { size: last.size });
        }
        if let Err(cause) = consistency::check(&last, &next, &offer.request.proof) {
            self.suspect(offer, held.as_ref(), Suspicion::Unproven, now_s)?;
            return Ok(Outcome::Inconsistent(cause.to_string()));
        }
        let line = self.key.cosign(offer.note.unverified_text(), now_s);
        let next = Witnessed { head: next, note: without_strangers(offer.note, offer.keys) + &line };
        match self.state.compare_and_set(&offer.checkpoint.origin, held.as_ref().map(|held| &held.head), &next)? {
            Swap::Stored => Ok(Outcome::Cosigned(line)),
            // The line was made but never leaves.
            Swap::Conflict(faster) => Ok(Outcome::Conflict { size: faster.map_or(0, |faster| faster.head.size) }),
        }
    }

    /// Keeps both notes, if two notes there are.
    fn suspect(
        &self,
        offer: &Offer<'_>,
        held: Option<&Witnessed>,
        suspicion: Suspicion,
        now_s: u64,
    ) -> Result<(), StateError> {
        let Some(held) = held else { return Ok(()) };
        let is_new = self.state.keep_evidence(&Evidence {
            origin: offer.checkpoint.origin.clone(),
            suspicion,
            held: held.note.clone(),
            offered: without_strangers(offer.note, offer.keys),
            proof: offer.request.proof.clone(),
            found_s: now_s,
        })?;
        if is_new {
            tracing::warn!(
                origin = offer.checkpoint.origin,
                held = held.head.size,
                offered = offer.checkpoint.size,
                suspicion = suspicion.name(),
                "a signed checkpoint does not extend the one that was cosigned last"
            );
        }
        Ok(())
    }
}

/// A request whose checkpoint the log signed.
struct Offer<'a> {
    request: &'a AddCheckpoint,
    note: &'a Note,
    checkpoint: &'a Checkpoint,
    keys: &'a [VerifierKey],
}

impl Offer<'_> {
    fn head(&self) -> TreeHead {
        self.checkpoint.into()
    }
}

#[cfg(test)]
mod tests;
