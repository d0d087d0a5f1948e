//! Rollouts within one transaction: read, stepped, and written down with everything that follows.

use std::collections::BTreeMap;

use outpost_contract::{DeviceId, ReasonCode, TargetName};
use outpost_rollout::{
    Assignment, Book, Device, Effect, End, Event, Member, Notice, Outcome, Phase, RolloutId, Spec, State,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::request::RolloutRequest;
use super::{unknown, view};
use crate::db::{DbError, Pin, StoredMember, StoredRollout};
use crate::fleet::{Fleet, FleetError};
use crate::signing::Signer;

/// Nothing but time passed: it is written down after so many seconds. The machine lets no more than 300 pass at once, so a
/// process that dies loses none of it.
const CLOCK_KEPT_S: u64 = 60;

/// Reports that are heard in one transaction.
const REPORTS: usize = 256;

/// Devices that are ordered something in one transaction: whoever else writes waits for its end. The next one goes on.
pub(super) const ORDERS: usize = 500;

/// The active rollouts as they are known between transactions.
#[derive(Debug, Default)]
pub(super) struct Known {
    book: Book,
    kept: BTreeMap<RolloutId, Kept>,
}

/// A rollout as the database has it.
#[derive(Debug)]
struct Kept {
    row: StoredRollout,
    state: State,
}

/// What a transaction has changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    /// Something that people look at.
    is_visible: bool,
    /// Something that devices must be told.
    has_orders: bool,
    /// Others must be told something for which this transaction had no room.
    pub(super) is_behind: bool,
}

impl Changed {
    /// Wakes whoever waits for it.
    pub(super) fn tell(self, fleet: &Fleet) {
        if self.has_orders {
            fleet.touch();
        }
        if self.is_visible {
            fleet.tell_news();
        }
    }
}

/// What a device is to be told.
struct Order {
    number: u64,
    to: Assignment,
    /// Whether it brings something, or gives back what was before.
    is_new: bool,
}

/// Rollouts within one transaction.
pub(super) struct Ledger<'a> {
    fleet: &'a Fleet,
    now_s: i64,
    known: Known,
    /// The last order of each device, to be carried out.
    orders: BTreeMap<(RolloutId, DeviceId), Order>,
    notices: BTreeMap<RolloutId, Vec<Notice>>,
    /// How many more devices this transaction may order something.
    room: usize,
}

impl<'a> Ledger<'a> {
    /// Reads every active rollout that is not `known` as it is now.
    pub(super) fn open(fleet: &'a Fleet, mut known: Known) -> Result<Self, FleetError> {
        let active = fleet.inner.database.active_rollouts()?;
        let is_active = |id: &RolloutId| active.iter().any(|(name, _)| *name == id.0);
        let over: Vec<RolloutId> = known.kept.keys().filter(|id| !is_active(id)).cloned().collect();
        for id in over {
            // Somebody else ended it.
            known.read(fleet, &id)?;
            known.kept.remove(&id);
            known.book.retire(&id);
        }
        for (name, revision) in active {
            let id = RolloutId(name);
            if known.kept.get(&id).is_none_or(|kept| kept.row.revision != revision) {
                known.read(fleet, &id)?;
            }
        }
        let (orders, notices) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { fleet, now_s: fleet.now_s(), known, orders, notices, room: ORDERS })
    }

    /// One rollout, active or not.
    pub(super) fn want(&mut self, id: &RolloutId) -> Result<&State, FleetError> {
        if self.known.book.get(id).is_none() {
            self.known.read(self.fleet, id)?;
        }
        self.known.book.get(id).ok_or_else(|| unknown(&id.0))
    }

    /// Puts in a rollout and starts it.
    pub(super) fn start(
        &mut self,
        id: &RolloutId,
        request: &RolloutRequest,
        spec: Spec,
        members: Vec<Member>,
    ) -> Result<(), FleetError> {
        self.known.book.draft(id.clone(), spec.clone())?;
        let row = StoredRollout {
            name: id.0.clone(),
            created_s: self.now_s,
            is_active: false,
            state: String::new(),
            revision: 0,
            request: written("rollout's request", request)?,
            document: String::new(),
        };
        self.known.kept.insert(id.clone(), Kept { row, state: State::new(spec)? });
        self.step(id, &Event::Start(members))
    }

    /// One event for one rollout.
    pub(super) fn step(&mut self, id: &RolloutId, event: &Event) -> Result<(), FleetError> {
        for (id, effects) in self.known.book.step(id, event, self.now_s, self.room)? {
            self.room = self.room.saturating_sub(Effect::orders(&effects));
            for effect in effects {
                match effect {
                    Effect::Assign { device, order, to } => {
                        self.orders.insert((id.clone(), device), Order { number: order, to, is_new: true });
                    }
                    Effect::RollBack { device, order, to } => {
                        self.orders.insert((id.clone(), device), Order { number: order, to, is_new: false });
                    }
                    Effect::Tell(notice) => self.notices.entry(id.clone()).or_default().push(notice),
                }
            }
        }
        Ok(())
    }

    /// Names of the active rollouts.
    pub(super) fn active(&self) -> Vec<RolloutId> {
        let active = self.known.book.iter().filter(|(_, state)| state.is_active());
        active.map(|(id, _)| id.clone()).collect()
    }

    /// Time passes for all.
    pub(super) fn tick(&mut self) -> Result<(), FleetError> {
        self.active().iter().try_for_each(|id| self.step(id, &Event::Tick))
    }

    /// Devices that were assigned something by a person, or revoked.
    pub(super) fn hear_departures(&mut self) -> Result<(), FleetError> {
        let departures = self.fleet.inner.database.departures()?;
        let mut superseded: BTreeMap<(RolloutId, &str), Vec<DeviceId>> = BTreeMap::new();
        for (device, by) in &departures {
            let Some(id) = self.known.book.holder(device).cloned() else { continue };
            match by.as_str() {
                "" => self.step(&id, &Event::Revoked(device.clone()))?,
                by => superseded.entry((id, by)).or_default().push(device.clone()),
            }
        }
        for ((id, by), devices) in superseded {
            self.step(&id, &Event::Superseded { devices, by: by.to_owned() })?;
        }
        let heard: Vec<DeviceId> = departures.into_iter().map(|(device, _)| device).collect();
        Ok(self.fleet.inner.database.forget_departures(&heard)?)
    }

    /// What devices have reported since; true if there may be more.
    pub(super) fn hear_reports(&mut self) -> Result<bool, FleetError> {
        let mut is_more = false;
        for id in self.active() {
            let unheard = self.fleet.inner.database.unheard(&id.0, REPORTS)?;
            is_more |= unheard.len() == REPORTS;
            for report in unheard {
                let device = self.known.book.get(&id).and_then(|state| state.devices().get(&report.device));
                let Some(order) = device.map(|device| device.order) else { continue };
                let outcome = Outcome::of(&read("report", &report.document)?, report.version);
                self.step(&id, &Event::Report { device: report.device, order, sequence: report.place, outcome })?;
            }
        }
        Ok(is_more)
    }

    /// Devices that came under a rollout's selector after its start.
    pub(super) fn hear_joiners(&mut self) -> Result<(), FleetError> {
        for id in self.active() {
            let (Some(state), Some(kept)) = (self.known.book.get(&id), self.known.kept.get(&id)) else { continue };
            if matches!(state.phase(), outpost_rollout::Phase::RollingBack(_)) {
                continue;
            }
            let request: RolloutRequest = read("rollout's request", &kept.row.request)?;
            let is_new =
                |device: &DeviceId| !state.devices().contains_key(device) && self.known.book.holder(device).is_none();
            let joining = super::members::selected(self.fleet, &request.selector).and_then(|selected| {
                let joiners: Vec<DeviceId> = selected.into_iter().filter(is_new).collect();
                if joiners.is_empty() {
                    return Ok(Vec::new());
                }
                super::members::members(self.fleet, state.spec(), joiners)
            });
            let joining = match joining {
                Ok(joining) => joining,
                Err(FleetError::Database(error)) => return Err(error.into()),
                // A group that it names was removed, say: the other rollouts go on, and so does this one for who is in it.
                Err(error) => {
                    tracing::warn!(rollout = id.0, %error, "nobody can join the rollout");
                    continue;
                }
            };
            for member in joining {
                // As time passes with each step, it may have begun to go back with the one before.
                let is_open = |state: &State| matches!(state.phase(), Phase::Running | Phase::Paused(_));
                if !self.known.book.get(&id).is_some_and(is_open) {
                    break;
                }
                tracing::info!(rollout = id.0, device = %member.device, "a device joins the rollout");
                self.step(&id, &Event::Joined(member))?;
            }
        }
        Ok(())
    }

    /// Carries out what was ordered and writes down what changed; says what is known then, and what changed.
    pub(super) fn close(mut self) -> Result<(Known, Changed), FleetError> {
        let carried_out = self.carry_out()?;
        let is_behind = self.known.book.iter().any(|(_, state)| state.is_behind(self.now_s));
        let mut changed = Changed { is_visible: false, has_orders: !carried_out.is_empty(), is_behind };
        for id in self.known.book.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            changed.is_visible |= self.write(&id)?;
        }
        let database = &self.fleet.inner.database;
        for (id, device, version) in carried_out {
            database.note_order(&id.0, &device, version)?;
        }
        for (id, notices) in std::mem::take(&mut self.notices) {
            for notice in &notices {
                tracing::info!(rollout = id.0, ?notice, "rollout");
            }
            let documents = notices.iter().map(|notice| written("notice", notice)).collect::<Result<Vec<_>, _>>()?;
            database.add_notices(&id.0, self.now_s, &documents)?;
            changed.is_visible = true;
        }
        for id in self.known.kept.keys().cloned().collect::<Vec<_>>() {
            if self.known.book.get(&id).is_none_or(|state| !state.is_active()) {
                self.settle(&id)?;
                self.known.book.retire(&id);
                self.known.kept.remove(&id);
            }
        }
        Ok((self.known, changed))
    }

    /// A policy that has reached the whole fleet, gate by gate, is the fleet's from then on: who joins later gets it too.
    fn settle(&self, id: &RolloutId) -> Result<(), FleetError> {
        let (Some(state), Some(kept)) = (self.known.book.get(id), self.known.kept.get(id)) else { return Ok(()) };
        let (Phase::Ended(End::Completed), Some(policy)) = (state.phase(), &state.spec().change.policy) else {
            return Ok(());
        };
        let request: RolloutRequest = read("rollout's request", &kept.row.request)?;
        if request.selector.trim() != "all" {
            return Ok(());
        }
        match self.fleet.adopt_policy(policy) {
            Err(FleetError::Database(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(rollout = id.0, %error, "the policy does not become the fleet's");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Signs what was ordered. What cannot be signed is heard by its rollout as a refusal, which may order more.
    fn carry_out(&mut self) -> Result<Vec<(RolloutId, DeviceId, u64)>, FleetError> {
        let fleet = self.fleet;
        let (mut signer, mut carried_out) = (None, Vec::new());
        while let Some(((id, device), ordered)) = self.orders.pop_first() {
            let order = ordered.number;
            let current = self.known.book.get(&id).and_then(|state| state.devices().get(&device));
            let Some(current) = current.filter(|one| one.order == order && !one.status.has_left()) else { continue };
            let heard = current.heard;
            match assign(fleet, &mut signer, &id, &device, ordered) {
                Ok(version) => {
                    // What the device has said so far, it has not said of this.
                    if let Some(sequence) = fleet.inner.database.place_of_report(&device)? {
                        let outcome = Outcome::Underway;
                        self.step(&id, &Event::Report { device: device.clone(), order, sequence, outcome })?;
                    }
                    carried_out.push((id, device, version));
                }
                Err(FleetError::Database(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(rollout = id.0, %device, %error, "an order cannot be signed");
                    let code = match error {
                        FleetError::AgentTooOld(_) => ReasonCode::BuildRefused,
                        _ => ReasonCode::NotInCatalogue,
                    };
                    let outcome = Outcome::Refused(code);
                    self.step(&id, &Event::Report { device, order, sequence: heard + 1, outcome })?;
                }
            }
        }
        Ok(carried_out)
    }

    /// Writes down what changed of one rollout; true if anything but the time did.
    fn write(&mut self, id: &RolloutId) -> Result<bool, FleetError> {
        let Known { book, kept } = &mut self.known;
        let (Some(state), Some(kept)) = (book.get(id), kept.get_mut(id)) else { return Ok(false) };
        let before = kept.state.devices();
        let is_changed = |(device, now): &(&DeviceId, &Device)| before.get(*device) != Some(*now);
        let changed = state.devices().iter().filter(is_changed);
        let members = changed.map(|(device, now)| member(device, now)).collect::<Result<Vec<_>, _>>()?;
        let is_same = members.is_empty() && state.phase() == kept.state.phase() && state.waves() == kept.state.waves();
        if is_same && state.elapsed_s() < kept.state.elapsed_s() + CLOCK_KEPT_S {
            return Ok(false);
        }
        kept.row.is_active = state.is_active();
        kept.row.state = view::word(state.phase()).to_owned();
        kept.row.document = written("rollout", &state.without_devices())?;
        let database = &self.fleet.inner.database;
        if !database.keep_rollout(&kept.row)? {
            return Err(FleetError::RolloutBusy(id.0.clone()));
        }
        database.keep_members(&id.0, &members)?;
        kept.row.revision += 1;
        kept.state = state.clone();
        Ok(!is_same)
    }
}

impl Known {
    /// Reads one rollout from the database, if it is there.
    fn read(&mut self, fleet: &Fleet, id: &RolloutId) -> Result<(), FleetError> {
        let Some(row) = fleet.inner.database.rollout(&id.0)? else { return Ok(()) };
        let head: State = read("rollout", &row.document)?;
        let devices = fleet.inner.database.members_of(&id.0)?;
        let devices = devices.into_iter().map(|(device, document)| Ok((device, read("rollout's device", &document)?)));
        let state = head.with_devices(devices.collect::<Result<_, FleetError>>()?);
        self.book.load(id.clone(), state.clone());
        self.kept.insert(id.clone(), Kept { row, state });
        Ok(())
    }
}

/// A rollout without its devices.
pub(super) fn head(fleet: &Fleet, name: &str) -> Result<State, FleetError> {
    let row = fleet.inner.database.rollout(name)?.ok_or_else(|| unknown(name))?;
    read("rollout", &row.document)
}

fn member(device: &DeviceId, now: &Device) -> Result<StoredMember, FleetError> {
    Ok(StoredMember {
        device: device.clone(),
        wave: now.wave,
        status: now.status.name(),
        is_held: !now.status.has_left(),
        heard: now.heard,
        document: written("rollout's device", now)?,
    })
}

fn assign<'a>(
    fleet: &'a Fleet,
    signer: &mut Option<Signer<'a>>,
    id: &RolloutId,
    device: &DeviceId,
    Order { to, is_new, .. }: Order,
) -> Result<u64, FleetError> {
    let minimum_context_tokens = to.model.as_ref().map_or(0, |model| model.minimum_context_tokens);
    let assignment = crate::db::Assignment { model: to.model.map(|model| model.model), minimum_context_tokens };
    let policy: Option<TargetName> = to.policy.map(|policy| policy.name);
    fleet.order(signer, device, &assignment, &Pin { rollout: Some(id.0.clone()), policy, build: to.build }, is_new)
}

/// Reads a document of the database.
pub(super) fn read<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, FleetError> {
    serde_json::from_str(text).map_err(|source| DbError::Document { what, source }.into())
}

fn written(what: &'static str, value: &impl Serialize) -> Result<String, FleetError> {
    serde_json::to_string(value).map_err(|source| DbError::Document { what, source }.into())
}
