//! Staged changes of the fleet: what people ask for, kept in the database and driven by the machine of `outpost-rollout`.
//!
//! ```text
//! person ──► Fleet::start_rollout, pause_rollout, …  ─────────┐
//! departures, reports, joiners, time ──► driver, one leader ──┴─► ledger ──► one transaction: state, devices that changed,
//!                                                                            notices, assignments with their signed versions
//! ```
//!
//! One transaction orders no more than 500 devices something, however large a wave or a way back is: the next ones go on.
//!
//! Nothing is handed over in memory: the driver looks at what the database holds and the machine has not heard. A process
//! that dies at any moment has written all of a step or nothing, and whoever comes next looks again.

mod driver;
mod ledger;
mod members;
mod picture;
mod request;
#[cfg(test)]
mod tests;
mod view;

use outpost_contract::DeviceId;
use outpost_rollout::{Event, Refusal, RolloutId, State};
use sha2::Digest as _;

use crate::fleet::{Fleet, FleetError};
use crate::people::{Act, Actor, Approvable, LOCAL, Means, person};
pub(crate) use driver::Driver;
use ledger::{Known, Ledger};
pub use picture::picture;
pub use request::{DEFAULT_WAVES, RolloutRequest, WaveRequest, WindowRequest};
pub use view::{MemberView, NoticeView, RolloutView, WaveView};

/// How often an act is tried that another process's act came before.
const TRIES: usize = 5;

/// Most rollouts of one page.
const MOST_PER_PAGE: usize = 200;

impl Fleet {
    /// Starts a rollout, which takes the devices that it is for from any other. Returns it as it stands then.
    ///
    /// # Errors
    /// If the name is taken or none, it cannot be carried out, or is for nobody.
    pub fn start_rollout(&self, author: &str, request: &RolloutRequest) -> Result<RolloutView, FleetError> {
        let id = RolloutId(request.checked_name()?.to_owned());
        self.change_rollouts(|ledger| {
            if self.inner.database.rollout(&id.0)?.is_some() {
                return Err(Refusal::NameTaken { id: id.0.clone() }.into());
            }
            let spec = request.spec(self, author)?;
            let devices = members::selected(self, &request.selector)?;
            let members = members::members(self, &spec, devices)?;
            ledger.start(&id, request, spec, members)
        })?;
        self.rollout(&id.0)
    }

    /// Stops it for a while: devices that were ordered to change go on, no other is.
    ///
    /// # Errors
    /// [`FleetError::UnknownRollout`]; [`FleetError::Rollout`] if that cannot be done now.
    pub fn pause_rollout(&self, name: &str) -> Result<RolloutView, FleetError> {
        self.step_rollout(name, |_| Ok(Event::Pause))
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// As [`pause_rollout`](Self::pause_rollout).
    pub fn resume_rollout(&self, name: &str) -> Result<RolloutView, FleetError> {
        self.step_rollout(name, |_| Ok(Event::Resume))
    }

    /// Ends it; with `roll_back`, devices that were changed get back what they had.
    ///
    /// # Errors
    /// As [`pause_rollout`](Self::pause_rollout).
    pub fn abort_rollout(&self, name: &str, roll_back: bool) -> Result<RolloutView, FleetError> {
        self.step_rollout(name, |_| Ok(Event::Abort { roll_back }))
    }

    /// Lets the devices that failed try again.
    ///
    /// # Errors
    /// As [`pause_rollout`](Self::pause_rollout).
    pub fn retry_rollout(&self, name: &str) -> Result<RolloutView, FleetError> {
        self.step_rollout(name, |_| Ok(Event::RetryFailed))
    }

    /// An account of this machine agrees to the opening of a wave.
    ///
    /// # Errors
    /// As [`pause_rollout`](Self::pause_rollout), and if the account wrote the rollout.
    pub fn approve_rollout_locally(
        &self,
        user: &str,
        name: &str,
        wave: Option<usize>,
    ) -> Result<RolloutView, FleetError> {
        let actor = self.actor(&format!("{LOCAL}{user}"), &["administrator".to_owned()], Means::Local);
        self.approve_rollout(&actor, name, wave)
    }

    /// `actor` agrees to the opening of a wave, counted from 1, or of the one that waits; on record.
    pub(crate) fn approve_rollout(
        &self,
        actor: &Actor,
        name: &str,
        wave: Option<usize>,
    ) -> Result<RolloutView, FleetError> {
        if !actor.may(Act::ApproveRollout) {
            // Refused on record, whatever the rollout waits for.
            self.permit(actor, Act::ApproveRollout, name)?;
        }
        if actor.means == Means::ApiToken {
            return Err(FleetError::Forbidden(
                "a program is no second person: sign in, and approve it yourself".to_owned(),
            ));
        }
        let state = ledger::head(self, name)?;
        let at = wave.map_or_else(|| awaited(&state).unwrap_or(0), |number| number.saturating_sub(1));
        // By whatever way they come, they are one person.
        let event = Event::Approve { wave: at, who: person(&actor.name).to_owned() };
        // The machine is asked first, so that nothing is on record as approved that waits for nothing.
        match state.clone().step(&event, self.now_s()) {
            Ok(_) | Err(Refusal::AuthorMayNotApprove { .. }) => {}
            Err(refusal) => return Err(refusal.into()),
        }
        let words = serde_json::to_vec(state.spec()).map_err(|error| FleetError::Record(error.to_string()))?;
        let digest = hex::encode(sha2::Sha256::digest([words.as_slice(), &at.to_be_bytes()].concat()));
        let (kind, subject, author) = ("rollout", name, state.spec().author.as_str());
        self.approve(actor, Act::ApproveRollout, Approvable { kind, subject, digest: &digest, author })?;
        self.step_rollout(name, |_| Ok(event.clone()))
    }

    /// One rollout, with how its waves do and what happened last.
    ///
    /// # Errors
    /// [`FleetError::UnknownRollout`] if it is not there.
    pub fn rollout(&self, name: &str) -> Result<RolloutView, FleetError> {
        let row = self.inner.database.rollout(name)?.ok_or_else(|| unknown(name))?;
        RolloutView::whole(self, row)
    }

    /// Rollouts by name, those after `after`, and whether there are more.
    ///
    /// # Errors
    /// If the database fails.
    pub fn rollouts(&self, after: Option<&str>, limit: usize) -> Result<(Vec<RolloutView>, bool), FleetError> {
        let limit = limit.clamp(1, MOST_PER_PAGE);
        let mut rows = self.inner.database.rollouts_after(after.unwrap_or_default(), limit + 1)?;
        let is_more = rows.len() > limit;
        rows.truncate(limit);
        let views = rows.into_iter().map(|row| RolloutView::short(self, row));
        Ok((views.collect::<Result<_, _>>()?, is_more))
    }

    /// The rollouts that began last, the newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub fn newest_rollouts(&self, limit: usize) -> Result<Vec<RolloutView>, FleetError> {
        let rows = self.inner.database.newest_rollouts(limit.clamp(1, MOST_PER_PAGE))?;
        rows.into_iter().map(|row| RolloutView::short(self, row)).collect()
    }

    /// Devices of a rollout by name, those after `after`; all, or those of one status.
    ///
    /// # Errors
    /// [`FleetError::UnknownRollout`] if it is not there.
    pub fn rollout_devices(
        &self,
        name: &str,
        status: Option<&str>,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<(Vec<MemberView>, bool), FleetError> {
        if self.inner.database.rollout(name)?.is_none() {
            return Err(unknown(name));
        }
        let limit = limit.clamp(1, crate::inventory::MOST_PER_PAGE);
        let after = after.map_or("", DeviceId::as_str);
        let mut rows = self.inner.database.members_after(name, status, after, limit + 1)?;
        let is_more = rows.len() > limit;
        rows.truncate(limit);
        let views = rows.into_iter().map(|(device, document)| MemberView::read(device, &document));
        Ok((views.collect::<Result<_, _>>()?, is_more))
    }

    /// One event for one rollout, from a person.
    fn step_rollout(
        &self,
        name: &str,
        event: impl Fn(&State) -> Result<Event, FleetError>,
    ) -> Result<RolloutView, FleetError> {
        let id = RolloutId(name.to_owned());
        self.change_rollouts(|ledger| {
            let event = event(ledger.want(&id)?)?;
            ledger.step(&id, &event)
        })?;
        self.rollout(name)
    }

    /// One transaction on the rollouts; once more if another process wrote one of them in between.
    fn change_rollouts(&self, act: impl Fn(&mut Ledger<'_>) -> Result<(), FleetError>) -> Result<(), FleetError> {
        let once = || {
            self.inner.database.together(|| {
                let mut ledger = Ledger::open(self, Known::default())?;
                // Who left before this moment was not there when it was asked for.
                ledger.hear_departures()?;
                act(&mut ledger)?;
                ledger.close()
            })
        };
        let mut tries = 0;
        let (_, changed) = loop {
            tries += 1;
            match once() {
                Err(FleetError::RolloutBusy(_)) if tries < TRIES => {}
                done => break done?,
            }
        };
        changed.tell(self);
        Ok(())
    }
}

/// The wave that waits for people's agreement.
fn awaited(state: &State) -> Option<usize> {
    let at = state.waves().iter().position(|wave| wave.opened_s.is_none())?;
    let before_passed = at == 0 || state.waves()[at - 1].passed;
    let wave = &state.waves()[at];
    let needed = wave.approval.as_ref().is_some_and(|approval| wave.approved_by.len() < usize::from(approval.people));
    (before_passed && needed).then_some(at)
}

fn unknown(name: &str) -> FleetError {
    FleetError::UnknownRollout(crate::inventory::words::clean(name, 64))
}
