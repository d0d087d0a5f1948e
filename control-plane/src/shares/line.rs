//! The order of turns: start-time fair queueing by bytes over the devices, small blobs before models, under the rates.
//!
//! Each device has a tag: the bytes it was granted, at least as many as the device last served had when it joined. The
//! lowest tag is next. What a rate of the fleet holds up holds up everybody behind it, what a site's rate holds up only that
//! site, what a device's rate holds up only that device: a large chunk cannot be starved by small ones.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use outpost_contract::DeviceId;

use super::Rates;
use super::bucket::Bucket;

/// Bytes of small blobs that may go before a model's chunk that waits: a flood of them starves no model.
const SMALL_BYTES_PER_MODEL_CHUNK: u64 = 1024 * 1024;

/// What goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// Catalogues and policies: any blob below `limits::CATALOGUE_BYTES`.
    Small,
    /// Chunks of models.
    Model,
}

/// Somebody waits for a turn.
#[derive(Debug)]
pub(super) struct Ticket<T> {
    pub(super) device: DeviceId,
    pub(super) site: Option<String>,
    pub(super) bytes: u64,
    pub(super) priority: Priority,
    pub(super) payload: T,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// This one may send now.
    Grant(Ticket<T>),
    /// Nobody, for as long.
    In(Duration),
    /// Nobody waits.
    Idle,
}

/// Tickets of one priority.
#[derive(Debug)]
struct Class<T> {
    waiting: HashMap<DeviceId, VecDeque<Ticket<T>>>,
    /// Devices that wait, lowest tag first.
    order: BTreeSet<(u64, DeviceId)>,
    /// Bytes granted, by device; only of those who are ahead of the clock.
    tags: HashMap<DeviceId, u64>,
    /// The tag of whom was served last.
    clock: u64,
}

impl<T> Default for Class<T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), order: BTreeSet::new(), tags: HashMap::new(), clock: 0 }
    }
}

impl<T> Class<T> {
    fn put(&mut self, ticket: Ticket<T>) {
        let device = ticket.device.clone();
        let tickets = self.waiting.entry(device.clone()).or_default();
        tickets.push_back(ticket);
        if tickets.len() == 1 {
            let tag = self.tags.get(&device).map_or(self.clock, |tag| (*tag).max(self.clock));
            self.order.insert((tag, device));
        }
    }

    fn pop(&mut self, tag: u64, device: &DeviceId) -> Option<Ticket<T>> {
        self.order.remove(&(tag, device.clone()));
        let tickets = self.waiting.get_mut(device)?;
        let ticket = tickets.pop_front();
        let after = tag + ticket.as_ref().map_or(0, |ticket| ticket.bytes);
        if tickets.is_empty() {
            self.waiting.remove(device);
        } else {
            self.order.insert((after, device.clone()));
        }
        self.clock = self.clock.max(tag);
        let clock = self.clock;
        self.tags.insert(device.clone(), after);
        self.tags.retain(|_, tag| *tag > clock);
        ticket
    }
}

/// All that wait, and the rates they wait for.
#[derive(Debug)]
pub(super) struct Line<T> {
    rates: Rates,
    fleet: Bucket,
    sites: HashMap<String, Bucket>,
    devices: HashMap<DeviceId, Bucket>,
    small: Class<T>,
    model: Class<T>,
    /// Bytes of small blobs since a model's chunk that waits was last served.
    small_bytes: u64,
}

impl<T> Line<T> {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            rates,
            fleet: Bucket::new(rates.fleet, Duration::ZERO),
            sites: HashMap::new(),
            devices: HashMap::new(),
            small: Class::default(),
            model: Class::default(),
            small_bytes: 0,
        }
    }

    pub(super) fn put(&mut self, ticket: Ticket<T>, now: Duration) {
        let device = self.rates.device;
        self.devices.entry(ticket.device.clone()).or_insert_with(|| Bucket::new(device, now));
        if let Some(site) = &ticket.site {
            let rate = self.rates.site;
            self.sites.entry(site.clone()).or_insert_with(|| Bucket::new(rate, now));
        }
        match ticket.priority {
            Priority::Small => self.small.put(ticket),
            Priority::Model => self.model.put(ticket),
        }
    }

    /// The next turn, if it has come.
    pub(super) fn next(&mut self, now: Duration) -> Next<T> {
        let models_first = self.small_bytes >= SMALL_BYTES_PER_MODEL_CHUNK && !self.model.order.is_empty();
        let classes =
            if models_first { [Priority::Model, Priority::Small] } else { [Priority::Small, Priority::Model] };
        let mut held_up = HashSet::new();
        let mut shortest: Option<Duration> = None;
        for priority in classes {
            let class = match priority {
                Priority::Small => &self.small,
                Priority::Model => &self.model,
            };
            let mut found = None;
            for (tag, device) in &class.order {
                let Some(ticket) = class.waiting.get(device).and_then(VecDeque::front) else { continue };
                let bytes = ticket.bytes;
                if ticket.site.as_ref().is_some_and(|site| held_up.contains(site)) {
                    continue;
                }
                let own = self.devices.get_mut(device).map_or(Duration::ZERO, |bucket| bucket.wait(bytes, now));
                if !own.is_zero() {
                    shortest = Some(shortest.map_or(own, |shortest| shortest.min(own)));
                    continue;
                }
                let site = ticket.site.as_ref().and_then(|site| self.sites.get_mut(site));
                let site_wait = site.map_or(Duration::ZERO, |bucket| bucket.wait(bytes, now));
                if !site_wait.is_zero() {
                    held_up.extend(ticket.site.clone());
                    shortest = Some(shortest.map_or(site_wait, |shortest| shortest.min(site_wait)));
                    continue;
                }
                let fleet = self.fleet.wait(bytes, now);
                if !fleet.is_zero() {
                    return Next::In(shortest.map_or(fleet, |shortest| shortest.min(fleet)));
                }
                found = Some((*tag, device.clone()));
                break;
            }
            if let Some((tag, device)) = found {
                return self.grant(priority, tag, &device);
            }
        }
        shortest.map_or(Next::Idle, Next::In)
    }

    fn grant(&mut self, priority: Priority, tag: u64, device: &DeviceId) -> Next<T> {
        let class = match priority {
            Priority::Small => &mut self.small,
            Priority::Model => &mut self.model,
        };
        let Some(ticket) = class.pop(tag, device) else { return Next::Idle };
        self.small_bytes = match priority {
            Priority::Small if !self.model.order.is_empty() => self.small_bytes + ticket.bytes,
            _ => 0,
        };
        self.fleet.spend(ticket.bytes);
        if let Some(bucket) = ticket.site.as_ref().and_then(|site| self.sites.get_mut(site)) {
            bucket.spend(ticket.bytes);
        }
        if let Some(bucket) = self.devices.get_mut(device) {
            bucket.spend(ticket.bytes);
        }
        Next::Grant(ticket)
    }

    /// What was granted and not sent.
    pub(super) fn give_back(&mut self, device: &DeviceId, site: Option<&str>, bytes: u64) {
        self.fleet.give_back(bytes);
        if let Some(bucket) = site.and_then(|site| self.sites.get_mut(site)) {
            bucket.give_back(bytes);
        }
        if let Some(bucket) = self.devices.get_mut(device) {
            bucket.give_back(bytes);
        }
    }

    /// How long one round takes: everybody's first chunk of this priority, and of those before it, by each of the rates.
    pub(super) fn wait(
        &mut self,
        device: &DeviceId,
        site: Option<&str>,
        priority: Priority,
        now: Duration,
    ) -> Duration {
        let classes = [Some(&self.small), (priority == Priority::Model).then_some(&self.model)];
        let (mut fleet_bytes, mut site_bytes, mut device_bytes) = (0, 0, 0);
        for ticket in classes.iter().flatten().flat_map(|class| class.waiting.values()).filter_map(VecDeque::front) {
            fleet_bytes += ticket.bytes;
            if site.is_some() && ticket.site.as_deref() == site {
                site_bytes += ticket.bytes;
            }
            if ticket.device == *device {
                device_bytes += ticket.bytes;
            }
        }
        let fleet = self.fleet.wait(fleet_bytes, now);
        let site = site.and_then(|site| self.sites.get_mut(site));
        let site = site.map_or(Duration::ZERO, |bucket| bucket.wait(site_bytes, now));
        let own = self.devices.get_mut(device).map_or(Duration::ZERO, |bucket| bucket.wait(device_bytes, now));
        fleet.max(site).max(own)
    }
}

#[cfg(test)]
mod tests;
