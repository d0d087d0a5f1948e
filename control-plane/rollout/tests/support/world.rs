//! A fleet with an operator, a lossy line and a jumping clock; it keeps books of its own and holds every step to them.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::DeviceId;
use outpost_rollout::{
    Assignment, Book, Effect, End, Event, Facts, Failure, LONGEST_TICK_S, Member, Notice, Outcome, Phase, Refusal,
    RolloutId, Selector, Spec, State, Status, Stop,
};

use super::chance::Chance;
use super::orders;

/// Devices that there may be.
const DEVICES: u64 = 9;
/// Ticks within which all must be over: the longest waits of `orders::spec`, one after the other, in every wave.
const TICKS_TO_THE_END: usize = 400;

/// How often the interesting things happened.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen(BTreeMap<&'static str, u64>);

impl Seen {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    pub(crate) fn assert_everything_was_seen(&self) {
        for what in [
            "assigned",
            "rolled back",
            "gate passed",
            "late joiner",
            "superseded",
            "completed",
            "aborted",
            "errors",
            "gate failed",
            "no evidence",
            "nobody left",
            "approved",
            "author refused",
            "retried",
            "timed out",
            "no window",
            "restart",
            "report twice",
            "report late",
            "revoked",
            "join refused",
            "no room",
        ] {
            assert!(self.0.contains_key(what), "no history came to `{what}`: {self:?}");
        }
    }
}

/// What the world knows of one device in one rollout.
#[derive(Debug, Default, Clone)]
struct Entry {
    facts: Facts,
    /// The newest report on the current order that was heard.
    word: Option<(u64, Outcome)>,
    order: u64,
    assignments: u64,
    /// Assignments that it may have had: one, and one more for every retry.
    allowed: u64,
    rolled_back: bool,
    left: bool,
}

/// What the world knows of one rollout.
#[derive(Debug, Default, Clone)]
struct Ledger {
    entries: BTreeMap<DeviceId, Entry>,
    orders: BTreeSet<u64>,
    passed: BTreeSet<usize>,
    opened: BTreeSet<usize>,
    approvals: BTreeMap<usize, BTreeSet<String>>,
    /// Seconds that passed for it, counted apart, and since when each wave was good.
    elapsed_s: u64,
    last_now_s: Option<i64>,
    good_since_s: BTreeMap<usize, u64>,
}

type Answer = Result<BTreeMap<RolloutId, Vec<Effect>>, Refusal>;

#[derive(Debug)]
pub(crate) struct World {
    chance: Chance,
    book: Book,
    /// Every call and what came of it, for the replay.
    history: Vec<(RolloutId, Event, i64, usize, Answer)>,
    ledgers: BTreeMap<RolloutId, Ledger>,
    /// What each device is to run.
    desired: BTreeMap<DeviceId, Assignment>,
    /// Reports on their way: device, rollout, order, sequence, outcome.
    line: Vec<(RolloutId, Event)>,
    sequence: u64,
    now_s: i64,
    releases: u64,
    /// How many devices a step may order something: one of these. While only time passes, never none.
    room: &'static [usize],
    pub(crate) seen: Seen,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let desired = (0..DEVICES).map(|number| (orders::device(number), orders::assignment(number * 10)));
        Self {
            chance: Chance(seed),
            book: Book::default(),
            history: Vec::new(),
            ledgers: BTreeMap::new(),
            desired: desired.collect(),
            line: Vec::new(),
            sequence: 0,
            now_s: 1_795_816_800,
            releases: 1000,
            room: &[0, 1, 2, usize::MAX],
            seen: Seen::default(),
        }
    }

    /// One thing happens.
    pub(crate) fn live(&mut self) {
        if self.chance.once_in(4) {
            self.restart();
        }
        let jump = if self.chance.once_in(25) { self.chance.pick(&[-90_000, 90_000, 7_000_000]) } else { 0 };
        self.now_s += jump + i64::try_from(self.chance.below(200)).unwrap();
        match self.chance.below(100) {
            _ if self.ledgers.is_empty() => self.draft_and_start(),
            0..2 => self.draft_and_start(),
            2..30 => self.a_device_speaks(),
            30..65 => self.a_report_arrives(),
            65..78 => self.everybody(&Event::Tick),
            78..83 => self.somebody_approves(),
            83..90 => self.the_operator_acts(),
            90..94 => self.a_device_joins(),
            94 => {
                let device = self.any_device();
                self.seen.count("revoked");
                self.everybody(&Event::Revoked(device));
            }
            95 => {
                // An order from elsewhere.
                let device = self.any_device();
                self.releases += 10;
                self.desired.insert(device.clone(), orders::assignment(self.releases));
                self.everybody(&Event::Superseded { devices: vec![device], by: "an operator".into() });
            }
            _ => {
                let event = Event::ClockOffset { device: self.any_device(), utc_offset_minutes: 0 };
                self.everybody(&event);
            }
        }
    }

    /// `ends`: an abort of what stands still for a person, and nothing but time for the rest.
    pub(crate) fn only_time_passes(&mut self) {
        self.line.clear();
        self.room = &[1, usize::MAX];
        let ids: Vec<RolloutId> = self.ledgers.keys().cloned().collect();
        for id in &ids {
            let state = self.book.get(id).unwrap();
            let awaits_a_person = matches!(state.phase(), Phase::Draft | Phase::Paused(_))
                || state.waves().iter().any(|wave| wave.approval.is_some() && wave.opened_s.is_none());
            if awaits_a_person && !matches!(state.phase(), Phase::RollingBack(_) | Phase::Ended(_)) {
                let roll_back = self.chance.once_in(2);
                self.step(id, &Event::Abort { roll_back });
            }
        }
        for _ in 0..TICKS_TO_THE_END {
            let waits = |state: &State| {
                let ordered = |status: &Status| matches!(status, Status::Assigned { .. } | Status::RollingBack { .. });
                let paused = matches!(state.phase(), Phase::Paused(_));
                paused && !state.devices().values().any(|device| ordered(&device.status))
            };
            if self.book.iter().all(|(_, state)| !state.is_active() || waits(state)) {
                break;
            }
            self.now_s += 300;
            self.everybody(&Event::Tick);
        }
        for id in &ids {
            let state = self.book.get(id).unwrap();
            let waits = matches!(state.phase(), Phase::Paused(_));
            assert!(waits || !state.is_active(), "ends: {id:?} is {:?}: {state:#?}", state.phase());
            for (device, known) in state.devices() {
                let ordered = matches!(known.status, Status::Assigned { .. } | Status::RollingBack { .. });
                assert!(!ordered, "ends: {device} of {id:?} is still {:?}", known.status);
                assert!(waits || known.status.is_final(), "ends: {device} of {id:?} is still {:?}", known.status);
            }
            if waits {
                self.step(id, &Event::Abort { roll_back: true });
            }
        }
        // One after the other, and then their deadlines.
        for _ in 0..=DEVICES + 1200 / LONGEST_TICK_S {
            self.now_s += 300;
            self.everybody(&Event::Tick);
        }
        assert!(self.book.iter().all(|(_, state)| !state.is_active()), "ends: an abort");
        self.replay();
    }

    /// `function of history`: the same calls on a book that was never written down give the same book.
    fn replay(&self) {
        let mut book = Book::default();
        let mut specs: BTreeMap<&RolloutId, &Spec> = self.book.iter().map(|(id, state)| (id, state.spec())).collect();
        for (id, event, now_s, room, answer) in &self.history {
            if let Some(spec) = specs.remove(id) {
                book.draft(id.clone(), spec.clone()).unwrap();
            }
            let again = book.step(id, event, *now_s, *room);
            assert!(again == *answer, "function of history: a replay answered otherwise");
        }
        for (id, spec) in specs {
            book.draft(id.clone(), spec.clone()).unwrap();
        }
        assert!(book == self.book, "function of history: a replay came to another state");
    }

    fn restart(&mut self) {
        self.seen.count("restart");
        let written = serde_json::to_string(&self.book).unwrap();
        let read: Book = serde_json::from_str(&written).unwrap();
        assert!(read == self.book, "function of history: what was written down reads otherwise");
        self.book = read;
    }

    fn any_device(&mut self) -> DeviceId {
        orders::device(self.chance.below(DEVICES))
    }

    fn any_rollout(&mut self) -> Option<RolloutId> {
        let active: Vec<RolloutId> =
            self.book.iter().filter(|(_, state)| state.is_active()).map(|(id, _)| id.clone()).collect();
        let all: Vec<RolloutId> = self.ledgers.keys().cloned().collect();
        let from = if active.is_empty() || self.chance.once_in(10) { all } else { active };
        (!from.is_empty()).then(|| self.chance.pick(&from))
    }

    fn draft_and_start(&mut self) {
        self.releases += 10;
        let id = RolloutId(format!("rollout-{}", self.releases));
        let spec = orders::spec(&mut self.chance, self.releases);
        self.book.draft(id.clone(), spec.clone()).unwrap();
        self.ledgers.insert(id.clone(), Ledger::default());
        let mut devices = Vec::new();
        for number in 0..DEVICES {
            if !self.chance.once_in(3) {
                let before = self.desired[&orders::device(number)].clone();
                devices.push((orders::device(number), orders::facts(&mut self.chance, before)));
            }
        }
        let members = spec.members(devices, |selector| {
            assert_eq!(selector.0, orders::SELECTOR);
            (0..DEVICES).filter(|number| number % 3 == 0).map(orders::device).collect()
        });
        self.step(&id, &Event::Start(members));
    }

    /// A device says how far it is; the line keeps it for a while.
    fn a_device_speaks(&mut self) {
        let Some(id) = self.any_rollout() else { return };
        let anybody = self.chance.once_in(5);
        let awaited: Vec<(DeviceId, u64)> = self.ledgers[&id]
            .entries
            .iter()
            .filter(|(_, entry)| entry.order > 0 && !entry.left && (anybody || entry.word.is_none()))
            .map(|(device, entry)| (device.clone(), entry.order))
            .collect();
        if awaited.is_empty() {
            return;
        }
        let (device, order) = self.chance.pick(&awaited);
        self.sequence += 1;
        let outcome = orders::outcome(&mut self.chance);
        self.line.push((id, Event::Report { device, order, sequence: self.sequence, outcome }));
    }

    /// Lost, twice, or in another order.
    fn a_report_arrives(&mut self) {
        if self.line.is_empty() {
            return self.a_device_speaks();
        }
        let at = usize::try_from(self.chance.below(self.line.len() as u64)).unwrap();
        let (id, event) = if self.chance.once_in(6) { self.line[at].clone() } else { self.line.swap_remove(at) };
        if self.chance.once_in(10) {
            return;
        }
        self.step(&id, &event);
        if self.chance.once_in(6) {
            self.seen.count("report twice");
            let heard = |book: &Book| {
                let Event::Report { device, .. } = &event else { return None };
                book.get(&id)
                    .and_then(|state| state.devices().get(device))
                    .map(|device| (device.heard, device.status.clone()))
            };
            let once = heard(&self.book);
            self.step(&id, &event);
            let ordered_anew = matches!(
                once,
                Some((_, Status::Waiting { .. } | Status::Assigned { .. } | Status::RollingBack { at_s: None }))
            );
            let expired = matches!(heard(&self.book), Some((_, Status::Failed(Failure::NoWindow))));
            assert!(ordered_anew || expired || heard(&self.book) == once, "no effect twice: a report was heard twice");
        }
    }

    fn somebody_approves(&mut self) {
        let Some(id) = self.any_rollout() else { return };
        let wave = self.ledgers[&id].passed.len();
        let wave = if self.chance.once_in(6) { wave + 1 } else { wave };
        let who = self.chance.pick(orders::PEOPLE).to_owned();
        self.step(&id, &Event::Approve { wave, who });
    }

    fn the_operator_acts(&mut self) {
        let Some(id) = self.any_rollout() else { return };
        let event = match self.chance.below(9) {
            0..2 => Event::Pause,
            2..5 => Event::Resume,
            5..8 => Event::RetryFailed,
            _ => Event::Abort { roll_back: self.chance.once_in(2) },
        };
        self.step(&id, &event);
    }

    fn a_device_joins(&mut self) {
        let Some(id) = self.any_rollout() else { return };
        let device = self.any_device();
        let facts = orders::facts(&mut self.chance, self.desired[&device].clone());
        self.step(&id, &Event::Joined(Member { device, facts, selectors: BTreeSet::<Selector>::new() }));
    }

    fn everybody(&mut self, event: &Event) {
        let ids: Vec<RolloutId> =
            self.book.iter().filter(|(_, state)| state.is_active()).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.step(&id, event);
        }
    }

    /// One step, held to every invariant.
    fn step(&mut self, id: &RolloutId, event: &Event) {
        let was = self.book.get(id).unwrap().clone();
        let active: BTreeSet<RolloutId> =
            self.book.iter().filter(|(_, state)| state.is_active()).map(|(id, _)| id.clone()).collect();
        let running: BTreeSet<RolloutId> =
            self.book.iter().filter(|(_, state)| *state.phase() == Phase::Running).map(|(id, _)| id.clone()).collect();
        let room = self.chance.pick(self.room);
        let answer = self.book.step(id, event, self.now_s, room);
        self.history.push((id.clone(), event.clone(), self.now_s, room, answer.clone()));
        let all = match answer {
            Err(refusal) => {
                let same = *self.book.get(id).unwrap() == was;
                assert!(same, "function of history: a refusal ({refusal}) changed something");
                assert!(!refusal.code().is_empty());
                match refusal {
                    Refusal::AuthorMayNotApprove { .. } => self.seen.count("author refused"),
                    Refusal::HeldByAnother { .. } => self.seen.count("join refused"),
                    _ => {}
                }
                return;
            }
            Ok(all) => all,
        };
        self.hear(id, event, &active);
        let ordered: usize = all.values().map(|effects| Effect::orders(effects)).sum();
        assert!(ordered <= room, "room in a step: {ordered} devices were ordered something where {room} may be");
        for (other, effects) in &all {
            if other != id {
                self.seen.count("superseded");
            }
            if self.book.get(other).unwrap().is_behind(self.now_s) {
                assert!(ordered == room, "room in a step: somebody waits though there is room");
                self.seen.count("no room");
            }
            self.pass_time(other);
            self.hold(other, running.contains(other), effects);
        }
        self.one_rollout_per_device();
    }

    /// The world's own account of what the event means.
    fn hear(&mut self, id: &RolloutId, event: &Event, active: &BTreeSet<RolloutId>) {
        let running = active.contains(id);
        let ledger = self.ledgers.get_mut(id).unwrap();
        match event {
            Event::Start(members) => {
                for member in members {
                    let entry = Entry { facts: member.facts.clone(), allowed: 1, ..Entry::default() };
                    ledger.entries.insert(member.device.clone(), entry);
                }
                for (other, ledger) in self.ledgers.iter_mut().filter(|(other, _)| *other != id) {
                    for member in members {
                        if let (Some(entry), true) = (ledger.entries.get_mut(&member.device), active.contains(other)) {
                            entry.left = true;
                        }
                    }
                }
            }
            Event::Joined(member) => {
                self.seen.count("late joiner");
                let entry = Entry { facts: member.facts.clone(), allowed: 1, ..Entry::default() };
                ledger.entries.insert(member.device.clone(), entry);
            }
            Event::Approve { wave, who } => {
                self.seen.count("approved");
                ledger.approvals.entry(*wave).or_default().insert(who.clone());
            }
            Event::RetryFailed => {
                self.seen.count("retried");
                ledger.entries.values_mut().for_each(|entry| entry.allowed += 1);
            }
            Event::Report { device, order, sequence, outcome } => {
                let Some(entry) = ledger.entries.get_mut(device) else { return };
                let newest = entry.word.as_ref().is_none_or(|(heard, _)| sequence > heard);
                if entry.order != *order || !newest {
                    self.seen.count("report late");
                } else if *outcome != Outcome::Underway {
                    entry.word = Some((*sequence, outcome.clone()));
                } else if let Some((heard, _)) = &mut entry.word {
                    *heard = *sequence;
                }
            }
            Event::Superseded { devices, .. } if running => {
                for device in devices {
                    if let Some(entry) = ledger.entries.get_mut(device) {
                        entry.left = true;
                    }
                }
            }
            Event::Revoked(device) if running => {
                if let Some(entry) = ledger.entries.get_mut(device) {
                    entry.left = true;
                }
            }
            _ => {}
        }
    }

    fn pass_time(&mut self, id: &RolloutId) {
        let ledger = self.ledgers.get_mut(id).unwrap();
        let passed = ledger.last_now_s.map_or(0, |last| (self.now_s - last).max(0));
        ledger.elapsed_s += u64::try_from(passed).unwrap().min(LONGEST_TICK_S);
        ledger.last_now_s = Some(self.now_s);
    }

    fn hold(&mut self, id: &RolloutId, was_running: bool, effects: &[Effect]) {
        let state = self.book.get(id).unwrap();
        let ledger = self.ledgers.get_mut(id).unwrap();
        let spec = state.spec();
        for effect in effects {
            match effect {
                Effect::Assign { device, order, to } => {
                    let entry = ledger.entries.get_mut(device).unwrap();
                    let wave = state.devices()[device].wave;
                    assert!(!entry.left, "one rollout per device: {device} had left {id:?}");
                    assert!(ledger.orders.insert(*order), "no effect twice: order {order} of {id:?}");
                    assert!((0..wave).all(|earlier| ledger.passed.contains(&earlier)), "gate before wave: {device}");
                    assert!(ledger.opened.contains(&wave), "gate before wave: {device} in wave {wave}");
                    entry.assignments += 1;
                    assert!(entry.assignments <= entry.allowed, "no effect twice: {device} in {id:?}");
                    assert!(!entry.rolled_back, "no effect twice: {device} was given back by {id:?}");
                    let offset = state.devices()[device].facts.utc_offset_minutes;
                    let in_window = spec.windows.iter().any(|window| window.is_open(self.now_s, offset));
                    assert!(spec.windows.is_empty() || in_window, "{device} was assigned outside its windows");
                    assert_eq!(*to, spec.change.applied_to(&entry.facts.before));
                    (entry.order, entry.word) = (*order, None);
                    self.desired.insert(device.clone(), to.clone());
                    self.seen.count("assigned");
                }
                Effect::RollBack { device, order, to } => {
                    let entry = ledger.entries.get_mut(device).unwrap();
                    assert!(!entry.left, "one rollout per device: {device} had left {id:?}");
                    assert!(ledger.orders.insert(*order), "no effect twice: order {order} of {id:?}");
                    assert!(!entry.rolled_back, "no effect twice: {device} was given back twice by {id:?}");
                    assert!(entry.assignments > 0, "exactly as before: {device} was never changed by {id:?}");
                    assert_eq!(*to, entry.facts.before, "exactly as before: {device}");
                    entry.rolled_back = true;
                    (entry.order, entry.word) = (*order, None);
                    self.desired.insert(device.clone(), to.clone());
                    self.seen.count("rolled back");
                }
                Effect::Tell(Notice::GatePassed(wave)) => {
                    let of_wave = ledger
                        .entries
                        .iter()
                        .filter(|(device, entry)| !entry.left && state.devices()[*device].wave == *wave);
                    let healthy = of_wave.clone().filter(|(_, entry)| {
                        let said = entry.word.as_ref().map(|(_, outcome)| outcome);
                        said.is_some_and(|outcome| orders::is_healthy(spec, &entry.facts.health, outcome))
                    });
                    let (healthy, counted) = (healthy.count(), of_wave.count());
                    let enough = healthy > 0 && healthy * 100 >= counted * usize::from(spec.success_percent);
                    assert!(enough, "gate before wave: gate {wave} of {id:?} passed with {healthy} of {counted}");
                    let soaked = ledger.elapsed_s - ledger.good_since_s.get(wave).unwrap_or(&ledger.elapsed_s);
                    assert!(soaked >= spec.soak_s.into(), "gate before wave: {id:?} soaked {soaked} s");
                    assert!((0..*wave).all(|earlier| ledger.passed.contains(&earlier)));
                    assert!(ledger.passed.insert(*wave), "no effect twice: gate {wave}");
                    self.seen.count("gate passed");
                }
                Effect::Tell(Notice::WaveOpened(wave)) => {
                    assert!(ledger.opened.insert(*wave), "no effect twice: wave {wave}");
                    if let Some(approval) = &state.waves()[*wave].approval {
                        let none = BTreeSet::new();
                        let given = ledger.approvals.get(wave).unwrap_or(&none);
                        let counting =
                            given.iter().filter(|who| !approval.another_person || *who != orders::AUTHOR).count();
                        assert!(counting >= approval.people.into(), "another person: wave {wave} of {id:?}: {given:?}");
                    }
                }
                Effect::Tell(Notice::Paused(Stop::NoEvidence(_))) => self.seen.count("no evidence"),
                Effect::Tell(
                    Notice::Paused(Stop::GateFailed(_)) | Notice::RollingBack(End::RolledBack(Stop::GateFailed(_))),
                ) => self.seen.count("gate failed"),
                Effect::Tell(
                    Notice::Paused(Stop::Errors(_)) | Notice::RollingBack(End::RolledBack(Stop::Errors(_))),
                ) => self.seen.count("errors"),
                Effect::Tell(Notice::Ended(End::Completed)) => self.seen.count("completed"),
                Effect::Tell(Notice::Ended(End::Aborted)) => self.seen.count("aborted"),
                Effect::Tell(Notice::Ended(End::NobodyLeft)) => self.seen.count("nobody left"),
                Effect::Tell(Notice::DeviceFailed(_, Failure::TimedOut)) => {
                    self.seen.count("timed out");
                }
                Effect::Tell(Notice::DeviceFailed(_, Failure::NoWindow)) => {
                    self.seen.count("no window");
                }
                Effect::Tell(_) => {}
            }
        }
        // `paused assigns nothing`: what is assigned in a step is assigned by a rollout that runs after it.
        let assigns = effects.iter().any(|effect| matches!(effect, Effect::Assign { .. }));
        let gives_back = effects.iter().any(|effect| matches!(effect, Effect::RollBack { .. }));
        let was_running_or_let_go = was_running
            || effects.iter().any(|effect| matches!(effect, Effect::Tell(Notice::Started | Notice::Resumed)));
        let runs = matches!(state.phase(), Phase::Running | Phase::Ended(End::Completed));
        assert!(!assigns || (was_running_or_let_go && runs), "paused assigns nothing: {id:?} {:?}", state.phase());
        let back = matches!(state.phase(), Phase::RollingBack(_) | Phase::Ended(_));
        assert!(!gives_back || back, "paused assigns nothing: {id:?} gave back as {:?}", state.phase());
        // `errors stop at once`, and since when each wave is good, by the world's own count.
        for wave in 0..state.waves().len() {
            let of_wave = || state.devices().values().filter(|device| device.wave == wave && !device.status.has_left());
            let failed = of_wave().filter(|device| matches!(device.status, Status::Failed(_))).count();
            let counted = of_wave().count();
            let over = failed * 100 > counted * usize::from(spec.error_percent);
            assert!(!over || *state.phase() != Phase::Running, "errors stop at once: wave {wave} of {id:?}");
            let good = of_wave().filter(|device| device.status == Status::Succeeded).count();
            if good > 0 && good * 100 >= counted * usize::from(spec.success_percent) {
                ledger.good_since_s.entry(wave).or_insert(ledger.elapsed_s);
            } else {
                ledger.good_since_s.remove(&wave);
            }
        }
        // By its deadline, no later than the step that sees it pass.
        for (device, known) in state.devices() {
            if let Status::Assigned { at_s } | Status::RollingBack { at_s: Some(at_s) } = known.status {
                assert!(ledger.elapsed_s - at_s < spec.deadline_s.into(), "ends: {device} is past its deadline");
            }
            let left = ledger.entries[device].left;
            assert!(!left || known.status.has_left(), "one rollout per device: {device} left {id:?}, says the world");
        }
    }

    fn one_rollout_per_device(&self) {
        for number in 0..DEVICES {
            let device = orders::device(number);
            let holders = self.book.iter().filter(|(_, state)| state.holds(&device)).count();
            assert!(holders <= 1, "one rollout per device: {device} is held by {holders}");
        }
    }
}
