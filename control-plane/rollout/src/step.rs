//! One event, one step: what it changes and what must be done about it.

use outpost_contract::DeviceId;
use serde::{Deserialize, Serialize};

use crate::state::{End, Failure, Phase, State, Status, Stop, Wave};
use crate::{Assignment, Member, Outcome, Refusal};

/// Most seconds that may count as passed between two steps: the driver ticks more often than that.
pub const LONGEST_TICK_S: u64 = 300;

/// Devices that a notice names; the list of a rollout's devices has them all.
const NAMED: usize = 5;

/// What a rollout hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Nothing but time passed.
    Tick,
    /// A person starts it, for these devices.
    Start(Vec<Member>),
    /// A person agrees to the opening of a wave; legal while that waits for it.
    Approve {
        /// The wave, from 0.
        wave: usize,
        /// The person.
        who: String,
    },
    /// A person stops it for a while.
    Pause,
    /// A person lets it go on.
    Resume,
    /// A person ends it.
    Abort {
        /// Devices that were changed get back what they had.
        roll_back: bool,
    },
    /// A person lets the failed devices try again.
    RetryFailed,
    /// A device that the rollout is for came after the start.
    Joined(Member),
    /// A device's report, as far as it is about this rollout.
    Report {
        /// The device.
        device: DeviceId,
        /// The order it is about.
        order: u64,
        /// Goes up with every report of the device; older ones are not heard.
        sequence: u64,
        /// What it says.
        outcome: Outcome,
    },
    /// A device's clocks changed.
    ClockOffset {
        /// The device.
        device: DeviceId,
        /// How far they are from UTC now.
        utc_offset_minutes: i16,
    },
    /// Something newer rules these devices, all from this moment on.
    Superseded {
        /// The devices.
        devices: Vec<DeviceId>,
        /// What rules them.
        by: String,
    },
    /// A device is none of the fleet any more.
    Revoked(DeviceId),
}

/// What must be done, in the same transaction in which the state is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A device is to run this.
    Assign {
        /// The device.
        device: DeviceId,
        /// Number of the order: used once in this rollout.
        order: u64,
        /// What it is to run.
        to: Assignment,
    },
    /// A device is to run again what it had.
    RollBack {
        /// The device.
        device: DeviceId,
        /// Number of the order: used once in this rollout.
        order: u64,
        /// What it had.
        to: Assignment,
    },
    /// People and machines that watch are told.
    Tell(Notice),
}

impl Effect {
    /// How many devices these order something.
    #[must_use]
    pub fn orders(effects: &[Self]) -> usize {
        effects.iter().filter(|effect| !matches!(effect, Self::Tell(_))).count()
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// It was started.
    Started,
    /// This wave waits for people's agreement.
    ApprovalAwaited(usize),
    /// This wave opened.
    WaveOpened(usize),
    /// This wave's gate passed.
    GatePassed(usize),
    /// A device failed.
    DeviceFailed(DeviceId, Failure),
    /// Something newer rules devices from now on.
    DevicesLeft {
        /// How many left.
        count: u64,
        /// The first of them by name.
        first: Vec<DeviceId>,
        /// What rules them: a rollout's name, or whose act.
        by: String,
    },
    /// It stands still.
    Paused(Stop),
    /// It goes on.
    Resumed,
    /// It goes back.
    RollingBack(End),
    /// It is over.
    Ended(End),
}

impl State {
    /// Hears one event at this time, seconds since 1970-01-01 UTC, and says what must be done.
    ///
    /// # Errors
    /// What a person asked cannot be done now; the state is as it was.
    pub fn step(&mut self, event: &Event, now_s: i64) -> Result<Vec<Effect>, Refusal> {
        self.step_within(event, now_s, usize::MAX)
    }

    /// The same with no more than `most_orders` devices ordered to change or to go back. Others wait for one of the next steps:
    /// [`is_behind`](Self::is_behind) says whether somebody does.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_within(&mut self, event: &Event, now_s: i64, most_orders: usize) -> Result<Vec<Effect>, Refusal> {
        let clock = (self.elapsed_s, self.last_now_s);
        self.pass_time(now_s);
        let mut effects = Vec::new();
        if let Err(refusal) = self.hear(event, &mut effects) {
            (self.elapsed_s, self.last_now_s) = clock;
            return Err(refusal);
        }
        self.expire(&mut effects);
        self.watch_soaking();
        self.settle(now_s, most_orders, &mut effects);
        Ok(effects)
    }

    /// Whether a device waits for nothing but room in a step.
    #[must_use]
    pub fn is_behind(&self, now_s: i64) -> bool {
        match self.phase {
            Phase::Running => self.devices.values().any(|device| device.may_be_assigned(&self.spec, now_s)),
            Phase::RollingBack(_) => {
                self.devices.values().any(|device| device.status == Status::RollingBack { at_s: None })
            }
            _ => false,
        }
    }

    fn pass_time(&mut self, now_s: i64) {
        let passed = self.last_now_s.map_or(0, |last| now_s.saturating_sub(last));
        self.elapsed_s += u64::try_from(passed).unwrap_or(0).min(LONGEST_TICK_S);
        self.last_now_s = Some(now_s);
    }

    /// Takes the event in. It fails before it changes anything, or not at all.
    fn hear(&mut self, event: &Event, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        match event {
            Event::Tick => {}
            Event::Start(members) => {
                match self.phase {
                    Phase::Draft => self.enter(members)?,
                    Phase::Ended(_) => return Err(Refusal::Over),
                    _ => return Err(Refusal::AlreadyStarted),
                }
                self.phase = Phase::Running;
                effects.push(Effect::Tell(Notice::Started));
            }
            Event::Approve { wave, who } => self.approve(*wave, who)?,
            Event::Pause => {
                self.going()?;
                if matches!(self.phase, Phase::Paused(_)) {
                    return Err(Refusal::AlreadyPaused);
                }
                self.pause(Stop::Operator, effects);
            }
            Event::Resume => self.resume(effects)?,
            Event::Abort { roll_back } => match (&self.phase, roll_back) {
                (Phase::Draft, _) => self.end(End::Aborted, effects),
                (Phase::Running | Phase::Paused(_), true) => self.roll_back(0, End::Aborted, effects),
                (Phase::Running | Phase::Paused(_), false) => {
                    self.let_go();
                    self.end(End::Aborted, effects);
                }
                (Phase::RollingBack(_) | Phase::Ended(_), _) => return Err(Refusal::Over),
            },
            Event::RetryFailed => self.retry_failed(effects)?,
            Event::Joined(member) => {
                self.going()?;
                if self.devices.contains_key(&member.device) {
                    return Err(Refusal::MemberAlready { device: member.device.clone() });
                }
                self.join(member);
            }
            Event::Report { device, order, sequence, outcome } => {
                self.hear_report(device, *order, *sequence, outcome, effects);
            }
            Event::ClockOffset { device, utc_offset_minutes } => {
                if let Some(device) = self.devices.get_mut(device) {
                    device.facts.utc_offset_minutes = *utc_offset_minutes;
                }
            }
            Event::Superseded { devices, by } => {
                let mut left: Vec<&DeviceId> = devices.iter().collect();
                left.sort();
                left.retain(|device| self.leave(device, Status::Superseded { by: by.clone() }));
                if !left.is_empty() {
                    let first = left.iter().take(NAMED).map(|device| (*device).clone()).collect();
                    let notice = Notice::DevicesLeft { count: left.len() as u64, first, by: by.clone() };
                    effects.push(Effect::Tell(notice));
                }
            }
            Event::Revoked(device) => {
                self.leave(device, Status::Revoked);
            }
        }
        Ok(())
    }

    /// It runs or stands still.
    fn going(&self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Draft => Err(Refusal::NotStarted),
            Phase::Running | Phase::Paused(_) => Ok(()),
            Phase::RollingBack(_) | Phase::Ended(_) => Err(Refusal::Over),
        }
    }

    fn approve(&mut self, at: usize, who: &str) -> Result<(), Refusal> {
        self.going()?;
        let before_passed = at == 0 || self.waves.get(at - 1).is_some_and(|before| before.passed);
        let awaited = Refusal::NoApprovalAwaited { wave: at };
        let wave = self.waves.get_mut(at).filter(|wave| before_passed && wave.opened_s.is_none());
        let Some(wave) = wave.filter(|wave| !wave.is_approved()) else { return Err(awaited) };
        if who.is_empty() {
            return Err(Refusal::Nameless);
        }
        if who == self.spec.author && wave.approval.as_ref().is_some_and(|approval| approval.another_person) {
            return Err(Refusal::AuthorMayNotApprove { who: who.to_owned() });
        }
        if !wave.approved_by.insert(who.to_owned()) {
            return Err(Refusal::ApprovedAlready { who: who.to_owned() });
        }
        Ok(())
    }

    fn resume(&mut self, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        self.going()?;
        match &self.phase {
            Phase::Paused(Stop::Operator) => {}
            Phase::Paused(_) if self.judge().is_some() => return Err(Refusal::StoppedAtFailure),
            Phase::Paused(_) => {}
            _ => return Err(Refusal::NotPaused),
        }
        self.run(effects);
        Ok(())
    }

    fn run(&mut self, effects: &mut Vec<Effect>) {
        // Nobody could be assigned meanwhile: the wait for a window begins anew.
        for device in self.devices.values_mut() {
            if let Status::Waiting { since_s: Some(since_s) } = &mut device.status {
                *since_s = self.elapsed_s;
            }
        }
        self.phase = Phase::Running;
        effects.push(Effect::Tell(Notice::Resumed));
    }

    fn retry_failed(&mut self, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        self.going()?;
        let mut retried = false;
        for device in self.devices.values_mut().filter(|device| matches!(device.status, Status::Failed(_))) {
            device.status = Status::Waiting { since_s: Some(self.elapsed_s) };
            retried = true;
        }
        if !retried {
            return Err(Refusal::NothingFailed);
        }
        if !matches!(self.phase, Phase::Running | Phase::Paused(Stop::Operator)) {
            self.run(effects);
        }
        Ok(())
    }

    fn hear_report(&mut self, id: &DeviceId, order: u64, sequence: u64, outcome: &Outcome, effects: &mut Vec<Effect>) {
        let going = self.going().is_ok();
        let Some(device) = self.devices.get_mut(id) else { return };
        if order == 0 || order != device.order || sequence <= device.heard {
            return;
        }
        device.heard = sequence;
        let status = match (&device.status, outcome) {
            (_, Outcome::Underway) => return,
            // Before it was ordered back, a report is about what it was ordered first.
            (Status::RollingBack { at_s: Some(_) }, Outcome::Applied(_)) => Status::RolledBack,
            (Status::RollingBack { at_s: Some(_) }, Outcome::Refused(code)) => {
                Status::NotRolledBack(Failure::Refused(*code))
            }
            // The newest word of a device counts for as long as the rollout goes: good may turn bad while it soaks.
            (Status::Assigned { .. } | Status::Succeeded | Status::Failed(_), _) if going => match outcome {
                Outcome::Applied(health) => match self.spec.gates.unmet(&device.facts.health, health) {
                    Some(gate) => Status::Failed(Failure::Gate(gate)),
                    None => Status::Succeeded,
                },
                Outcome::Refused(code) => Status::Failed(Failure::Refused(*code)),
                Outcome::Underway => return,
            },
            _ => return,
        };
        if let (Status::Failed(failure) | Status::NotRolledBack(failure), true) = (&status, status != device.status) {
            effects.push(Effect::Tell(Notice::DeviceFailed(id.clone(), *failure)));
        }
        device.status = status;
    }

    /// True if it was there until now.
    fn leave(&mut self, device: &DeviceId, status: Status) -> bool {
        let is_active = self.is_active();
        let device = self.devices.get_mut(device).filter(|device| is_active && !device.status.has_left());
        device.map(|device| device.status = status).is_some()
    }

    /// Ends waits that took too long.
    fn expire(&mut self, effects: &mut Vec<Effect>) {
        let (deadline, window_deadline) = (self.spec.deadline_s.into(), self.spec.window_deadline_s.into());
        let running = self.phase == Phase::Running;
        for (id, device) in &mut self.devices {
            let over = |since: u64, most: u64| self.elapsed_s - since >= most;
            let (status, failure) = match device.status {
                Status::Assigned { at_s } if over(at_s, deadline) => {
                    (Status::Failed(Failure::TimedOut), Failure::TimedOut)
                }
                Status::RollingBack { at_s: Some(at_s) } if over(at_s, deadline) => {
                    (Status::NotRolledBack(Failure::TimedOut), Failure::TimedOut)
                }
                Status::Waiting { since_s: Some(since_s) } if running && over(since_s, window_deadline) => {
                    (Status::Failed(Failure::NoWindow), Failure::NoWindow)
                }
                _ => continue,
            };
            device.status = status;
            effects.push(Effect::Tell(Notice::DeviceFailed(id.clone(), failure)));
        }
    }

    /// Notes since when waves are good; in a pause as well, or what was bad in between would count as soaked.
    fn watch_soaking(&mut self) {
        for (at, tally) in self.tallies().into_iter().enumerate() {
            let good = self.waves[at].opened_s.is_some() && self.is_good(&tally);
            let since_s = self.waves[at].good_since_s;
            self.waves[at].good_since_s = good.then(|| since_s.unwrap_or(self.elapsed_s));
        }
    }

    /// Goes as far as gates, approvals and windows let it.
    fn settle(&mut self, now_s: i64, most_orders: usize, effects: &mut Vec<Effect>) {
        if self.going().is_ok() && self.devices.values().all(|device| device.status.has_left()) {
            self.end(End::NobodyLeft, effects);
        }
        if self.phase == Phase::Running {
            match self.judge() {
                Some(stop) => self.stop(stop, effects),
                None => self.advance(now_s, most_orders, effects),
            }
        }
        if matches!(self.phase, Phase::RollingBack(_)) {
            self.give_back(most_orders, effects);
        }
        if let Phase::RollingBack(end) = &self.phase
            && !self.devices.values().any(|device| matches!(device.status, Status::RollingBack { .. }))
        {
            self.end(end.clone(), effects);
        }
    }

    /// What must stop the rollout, if anything.
    fn judge(&self) -> Option<Stop> {
        let tallies = self.tallies();
        let opened = || self.waves.iter().zip(&tallies).enumerate().filter(|(_, (wave, _))| wave.opened_s.is_some());
        let too_many = opened().find(|(_, (_, tally))| tally.failed * 100 > tally.counted * self.error_percent());
        if let Some((at, _)) = too_many {
            return Some(Stop::Errors(at));
        }
        let (at, (_, tally)) = opened().find(|(_, (wave, _))| !wave.passed)?;
        if tally.counted == 0 {
            return tallies[at..].iter().any(|later| later.counted > 0).then_some(Stop::NoEvidence(at));
        }
        (tally.open == 0 && !self.is_good(tally)).then_some(Stop::GateFailed(at))
    }

    fn error_percent(&self) -> u64 {
        self.spec.error_percent.into()
    }

    fn is_good(&self, tally: &crate::state::Tally) -> bool {
        tally.counted > 0 && tally.succeeded * 100 >= tally.counted * u64::from(self.spec.success_percent)
    }

    /// Passes gates, opens waves and assigns devices.
    fn advance(&mut self, now_s: i64, most_orders: usize, effects: &mut Vec<Effect>) {
        let tallies = self.tallies();
        // Waves that everybody left need no gate: there is nobody whom it could protect.
        let next = |waves: &[Wave]| {
            let at = waves.iter().position(|wave| !wave.passed)?;
            tallies[at..].iter().any(|tally| tally.counted > 0).then_some(at)
        };
        while let Some(at) = next(&self.waves) {
            let wave = &mut self.waves[at];
            if wave.opened_s.is_none() {
                if !wave.is_approved() {
                    if !std::mem::replace(&mut wave.approval_asked, true) {
                        effects.push(Effect::Tell(Notice::ApprovalAwaited(at)));
                    }
                    break;
                }
                self.open(at, effects);
                if tallies[at].counted == 0 {
                    self.stop(Stop::NoEvidence(at), effects);
                    return;
                }
                break;
            }
            let soaked = |since: u64| self.elapsed_s - since >= u64::from(self.spec.soak_s);
            if !wave.good_since_s.is_some_and(soaked) {
                break;
            }
            wave.passed = true;
            effects.push(Effect::Tell(Notice::GatePassed(at)));
        }
        self.assign(now_s, most_orders, effects);
        if next(&self.waves).is_none() && self.devices.values().all(|device| device.status.is_final()) {
            self.end(End::Completed, effects);
        }
    }

    fn open(&mut self, at: usize, effects: &mut Vec<Effect>) {
        self.waves[at].opened_s = Some(self.elapsed_s);
        let since_s = Some(self.elapsed_s);
        for device in self.devices.values_mut().filter(|device| device.wave == at) {
            if let Status::Waiting { since_s: since } = &mut device.status {
                *since = since_s;
            }
        }
        effects.push(Effect::Tell(Notice::WaveOpened(at)));
    }

    /// Gives orders to those of open waves whose window is open, as far as there is room.
    fn assign(&mut self, now_s: i64, most_orders: usize, effects: &mut Vec<Effect>) {
        let Self { spec, devices, orders, elapsed_s, .. } = self;
        let due = devices.iter_mut().filter(|(_, device)| device.may_be_assigned(spec, now_s));
        for (id, device) in due.take(most_orders) {
            *orders += 1;
            device.order = *orders;
            device.status = Status::Assigned { at_s: *elapsed_s };
            let to = spec.change.applied_to(&device.facts.before);
            effects.push(Effect::Assign { device: id.clone(), order: *orders, to });
        }
    }

    /// Gives back what they had to those that are to get it, as far as there is room.
    fn give_back(&mut self, most_orders: usize, effects: &mut Vec<Effect>) {
        let Self { devices, orders, elapsed_s, .. } = self;
        let due = devices.iter_mut().filter(|(_, device)| device.status == Status::RollingBack { at_s: None });
        for (id, device) in due.take(most_orders) {
            *orders += 1;
            device.order = *orders;
            device.status = Status::RollingBack { at_s: Some(*elapsed_s) };
            effects.push(Effect::RollBack { device: id.clone(), order: *orders, to: device.facts.before.clone() });
        }
    }

    fn stop(&mut self, stop: Stop, effects: &mut Vec<Effect>) {
        use crate::OnFailure::{Pause, RollBackAll, RollBackWave};
        match (&stop, self.spec.on_failure) {
            (Stop::Operator | Stop::NoEvidence(_), _) | (_, Pause) => self.pause(stop, effects),
            (Stop::GateFailed(wave) | Stop::Errors(wave), RollBackWave) => {
                self.roll_back(*wave, End::RolledBack(stop), effects);
            }
            (_, RollBackAll) => self.roll_back(0, End::RolledBack(stop), effects),
        }
    }

    fn pause(&mut self, stop: Stop, effects: &mut Vec<Effect>) {
        self.phase = Phase::Paused(stop.clone());
        effects.push(Effect::Tell(Notice::Paused(stop)));
    }

    /// All that were changed in this wave and those after it are to get back what they had; the others are let go.
    fn roll_back(&mut self, from_wave: usize, end: End, effects: &mut Vec<Effect>) {
        self.phase = Phase::RollingBack(end.clone());
        effects.push(Effect::Tell(Notice::RollingBack(end)));
        for device in self.devices.values_mut() {
            if device.order > 0 && device.wave >= from_wave && !device.status.has_left() {
                device.status = Status::RollingBack { at_s: None };
            }
        }
        self.let_go();
    }

    /// Awaits nothing more of those that were not ordered back.
    fn let_go(&mut self) {
        for device in self.devices.values_mut() {
            device.status = match device.status {
                Status::Waiting { .. } if device.order == 0 => Status::Untouched,
                Status::Waiting { .. } | Status::Assigned { .. } => Status::LeftUnderway,
                _ => continue,
            };
        }
    }

    fn end(&mut self, end: End, effects: &mut Vec<Effect>) {
        self.phase = Phase::Ended(end.clone());
        effects.push(Effect::Tell(Notice::Ended(end)));
    }
}
