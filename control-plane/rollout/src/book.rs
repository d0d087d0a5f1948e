//! All rollouts of a fleet: a device is held by one at most; a start takes it from another, a late joiner does not.

use std::collections::BTreeMap;

use outpost_contract::DeviceId;
use serde::{Deserialize, Serialize};

use crate::{Effect, Event, Refusal, Spec, State};

/// Name of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutId(pub String);

/// The rollouts that a driver holds; those that ended may be taken out and kept elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    rollouts: BTreeMap<RolloutId, State>,
}

impl Book {
    /// Puts in a draft.
    ///
    /// # Errors
    /// The name is taken, or the order cannot be carried out.
    pub fn draft(&mut self, id: RolloutId, spec: Spec) -> Result<(), Refusal> {
        if self.rollouts.contains_key(&id) {
            return Err(Refusal::NameTaken { id: id.0 });
        }
        self.rollouts.insert(id, State::new(spec)?);
        Ok(())
    }

    /// Puts in a rollout as it was written down.
    pub fn load(&mut self, id: RolloutId, state: State) {
        self.rollouts.insert(id, state);
    }

    /// Takes out a rollout that ended; others stay.
    pub fn retire(&mut self, id: &RolloutId) -> Option<State> {
        let ended = self.rollouts.get(id).is_some_and(|state| matches!(state.phase(), crate::Phase::Ended(_)));
        if ended { self.rollouts.remove(id) } else { None }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &RolloutId) -> Option<&State> {
        self.rollouts.get(id)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&RolloutId, &State)> {
        self.rollouts.iter()
    }

    /// The rollout that may order something for this device, if one may.
    #[must_use]
    pub fn holder(&self, device: &DeviceId) -> Option<&RolloutId> {
        self.rollouts.iter().find(|(_, state)| state.holds(device)).map(|(id, _)| id)
    }

    /// One rollout hears an event; others lose the devices that it takes by its start. Says what must be done, in
    /// one transaction with the writing of every rollout that is named. What all must hear (time, a device that was
    /// revoked, an order from elsewhere) is told to each that [is active](State::is_active). No more than `most_orders`
    /// devices are ordered anything, by all of them together.
    ///
    /// # Errors
    /// What was asked cannot be done now; all is as it was.
    pub fn step(
        &mut self,
        id: &RolloutId,
        event: &Event,
        now_s: i64,
        most_orders: usize,
    ) -> Result<BTreeMap<RolloutId, Vec<Effect>>, Refusal> {
        if let Event::Joined(member) = event
            && let Some(by) = self.holder(&member.device).filter(|by| *by != id)
        {
            return Err(Refusal::HeldByAnother { device: member.device.clone(), by: by.0.clone() });
        }
        let state = self.rollouts.get_mut(id).ok_or_else(|| Refusal::Unknown { id: id.0.clone() })?;
        let own = state.step_within(event, now_s, most_orders)?;
        let mut left = most_orders.saturating_sub(Effect::orders(&own));
        let mut effects = BTreeMap::new();
        if let Event::Start(members) = event {
            for (other, state) in self.rollouts.iter_mut().filter(|(other, _)| *other != id) {
                let held = members.iter().map(|member| &member.device).filter(|device| state.holds(device));
                let devices: Vec<DeviceId> = held.cloned().collect();
                if !devices.is_empty() {
                    let superseded = Event::Superseded { devices, by: id.0.clone() };
                    let of_other = state.step_within(&superseded, now_s, left)?;
                    left = left.saturating_sub(Effect::orders(&of_other));
                    effects.insert(other.clone(), of_other);
                }
            }
        }
        effects.insert(id.clone(), own);
        Ok(effects)
    }
}
