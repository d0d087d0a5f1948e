//! Rollouts as people know them: each a short story with its end.

use std::collections::BTreeSet;

use outpost_contract::{DeviceId, ReasonCode, TargetPin};
use outpost_rollout::{
    Approval, Assignment, Change, Effect, End, Event, Facts, Failure, Gates, Health, Member, Notice, OnFailure,
    Outcome, Phase, Refusal, Selector, Spec, State, Status, Stop, Take, WaveSpec,
};

const NOW_S: i64 = 1_795_816_800;

fn policy(release: u64) -> TargetPin {
    let sha256 = serde_json::from_value(format!("{release:064x}").into()).unwrap();
    TargetPin { name: "policy.bundle".parse().unwrap(), length: 1, sha256, release }
}

fn device(number: usize) -> DeviceId {
    format!("device-{number}").parse().unwrap()
}

fn member(number: usize) -> Member {
    let before = Assignment { policy: Some(policy(1)), ..Assignment::default() };
    let facts = Facts { before, ..Facts::default() };
    Member { device: device(number), facts, selectors: BTreeSet::new() }
}

fn canary() -> WaveSpec {
    WaveSpec { name: "canary".into(), take: Take::Count(1), approval: None }
}

/// One canary, then the rest of five; any failure is one too many.
fn spec() -> Spec {
    Spec {
        author: "ada".into(),
        change: Change { policy: Some(policy(2)), ..Change::default() },
        waves: vec![canary()],
        success_percent: 100,
        error_percent: 0,
        soak_s: 60,
        gates: Gates::default(),
        windows: Vec::new(),
        deadline_s: 600,
        window_deadline_s: 600,
        on_failure: OnFailure::RollBackAll,
    }
}

fn started(spec: Spec) -> (State, Vec<Effect>) {
    let mut state = State::new(spec).unwrap();
    let effects = state.step(&Event::Start((0..5).map(member).collect()), NOW_S).unwrap();
    (state, effects)
}

/// Devices that are ordered something by these effects, and what.
fn ordered(effects: &[Effect]) -> Vec<(DeviceId, u64)> {
    let ordered = effects.iter().filter_map(|effect| match effect {
        Effect::Assign { device, to, .. } | Effect::RollBack { device, to, .. } => {
            Some((device.clone(), to.policy.as_ref()?.release))
        }
        Effect::Tell(_) => None,
    });
    ordered.collect()
}

fn report(state: &State, number: usize, sequence: u64, outcome: Outcome) -> Event {
    let device = device(number);
    Event::Report { order: state.devices()[&device].order, device, sequence, outcome }
}

fn applied() -> Outcome {
    Outcome::Applied(Health::default())
}

#[test]
fn a_gate_that_fails_in_the_second_wave_gives_everybody_back_what_they_had() {
    let (mut state, effects) = started(spec());
    assert_eq!(ordered(&effects), [(device(0), 2)]);
    let effects = state.step(&report(&state, 0, 1, applied()), NOW_S + 10).unwrap();
    assert_eq!(effects, [], "it has to soak");
    let effects = state.step(&Event::Tick, NOW_S + 70).unwrap();
    assert_eq!(effects[0], Effect::Tell(Notice::GatePassed(0)));
    assert_eq!(ordered(&effects), (1..5).map(|number| (device(number), 2)).collect::<Vec<_>>());

    let refused = Outcome::Refused(ReasonCode::PolicyInvalid);
    let effects = state.step(&report(&state, 2, 1, refused), NOW_S + 80).unwrap();
    assert_eq!(ordered(&effects), (0..5).map(|number| (device(number), 1)).collect::<Vec<_>>());
    for number in 0..4 {
        state.step(&report(&state, number, 2, applied()), NOW_S + 90).unwrap();
    }
    assert!(state.is_active(), "one device has not said so yet");
    for tick in 1..4 {
        state.step(&Event::Tick, NOW_S + 90 + tick * 300).unwrap();
    }
    assert_eq!(*state.phase(), Phase::Ended(End::RolledBack(Stop::Errors(1))));
    assert_eq!(state.devices()[&device(3)].status, Status::RolledBack);
    assert_eq!(state.devices()[&device(4)].status, Status::NotRolledBack(Failure::TimedOut));
}

#[test]
fn who_joins_after_the_last_wave_opened_waits_for_its_gate() {
    let (mut state, _) = started(spec());
    state.step(&report(&state, 0, 1, applied()), NOW_S).unwrap();
    state.step(&Event::Tick, NOW_S + 60).unwrap();
    let effects = state.step(&Event::Joined(member(7)), NOW_S + 61).unwrap();
    assert_eq!(ordered(&effects), [], "the wave before has to pass first");
    for number in 1..5 {
        state.step(&report(&state, number, 1, applied()), NOW_S + 62).unwrap();
    }
    let effects = state.step(&Event::Tick, NOW_S + 122).unwrap();
    assert_eq!(ordered(&effects), [(device(7), 2)]);
    state.step(&report(&state, 7, 1, applied()), NOW_S + 123).unwrap();
    state.step(&Event::Tick, NOW_S + 183).unwrap();
    assert_eq!(*state.phase(), Phase::Ended(End::Completed));
}

#[test]
fn a_service_that_was_down_for_a_week_lets_no_device_time_out_and_nothing_soak() {
    let (mut state, _) = started(Spec { soak_s: 3600, ..spec() });
    let week_s = 7 * 24 * 3600;
    state.step(&Event::Tick, NOW_S + week_s).unwrap();
    assert!(matches!(state.devices()[&device(0)].status, Status::Assigned { .. }));
    state.step(&report(&state, 0, 1, applied()), NOW_S + week_s).unwrap();
    let effects = state.step(&Event::Tick, NOW_S + 2 * week_s).unwrap();
    assert_eq!(effects, []);
}

#[test]
fn the_author_may_not_approve_where_another_must() {
    let mut asks = spec();
    asks.waves[0].approval = Some(Approval { people: 1, another_person: true });
    let (mut state, effects) = started(asks);
    assert_eq!(effects[1], Effect::Tell(Notice::ApprovalAwaited(0)));
    let mut approve = |wave, who: &str| state.step(&Event::Approve { wave, who: who.into() }, NOW_S);
    assert_eq!(approve(0, "ada"), Err(Refusal::AuthorMayNotApprove { who: "ada".into() }));
    assert_eq!(approve(1, "bo"), Err(Refusal::NoApprovalAwaited { wave: 1 }));
    assert_eq!(ordered(&approve(0, "bo").unwrap()), [(device(0), 2)]);
}

#[test]
fn what_stopped_at_a_failure_goes_on_when_the_failed_are_retried() {
    let (mut state, _) = started(Spec { on_failure: OnFailure::Pause, ..spec() });
    state.step(&report(&state, 0, 1, Outcome::Refused(ReasonCode::DoesNotFit)), NOW_S).unwrap();
    assert_eq!(*state.phase(), Phase::Paused(Stop::Errors(0)));
    assert_eq!(state.step(&Event::Resume, NOW_S), Err(Refusal::StoppedAtFailure));
    let effects = state.step(&Event::RetryFailed, NOW_S).unwrap();
    assert_eq!(ordered(&effects), [(device(0), 2)]);
    assert_eq!(state.step(&Event::RetryFailed, NOW_S), Err(Refusal::NothingFailed));
}

#[test]
fn an_order_that_cannot_be_carried_out_is_refused_before_it_starts() {
    let refused = |change: fn(&mut Spec)| {
        let mut spec = spec();
        change(&mut spec);
        match State::new(spec) {
            Err(Refusal::InvalidSpec { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|spec| spec.change = Change::default()), "change");
    assert_eq!(refused(|spec| spec.waves.clear()), "waves");
    assert_eq!(refused(|spec| spec.waves[0].take = Take::Percent(0)), "waves.take");
    assert_eq!(refused(|spec| spec.waves[0].take = Take::Selector(Selector(" ".into()))), "waves.take");
    assert_eq!(refused(|spec| spec.success_percent = 0), "success_percent");
    assert_eq!(refused(|spec| spec.error_percent = 101), "error_percent");
    assert_eq!(refused(|spec| spec.deadline_s = 0), "deadline_s");

    let mut nobody = spec();
    nobody.waves[0].take = Take::Selector(Selector("site:nowhere".into()));
    let mut state = State::new(nobody).unwrap();
    let start = Event::Start((0..5).map(member).collect());
    assert_eq!(state.step(&start, NOW_S), Err(Refusal::EmptyWave { name: "canary".into() }));
    assert_eq!(*state.phase(), Phase::Draft);
}

#[test]
fn who_joins_a_wave_that_everybody_left_before_it_opened_is_not_forgotten() {
    let (mut state, _) = started(spec());
    for number in 1..5 {
        state.step(&Event::Revoked(device(number)), NOW_S).unwrap();
    }
    state.step(&Event::Joined(member(7)), NOW_S).unwrap();
    state.step(&report(&state, 0, 1, applied()), NOW_S).unwrap();
    let effects = state.step(&Event::Tick, NOW_S + 60).unwrap();
    assert_eq!(ordered(&effects), [(device(7), 2)]);
}

#[test]
fn who_joins_while_a_straggler_is_awaited_after_the_last_wave_was_left_comes_too() {
    let mut lenient = Spec { success_percent: 50, error_percent: 100, soak_s: 0, ..spec() };
    lenient.waves[0].take = Take::Count(2);
    let (mut state, _) = started(lenient);
    for number in 2..5 {
        state.step(&Event::Revoked(device(number)), NOW_S).unwrap();
    }
    state.step(&report(&state, 0, 1, applied()), NOW_S).unwrap();
    assert_eq!(*state.phase(), Phase::Running, "a straggler is awaited");
    let effects = state.step(&Event::Joined(member(7)), NOW_S).unwrap();
    assert_eq!(ordered(&effects), [(device(7), 2)]);
}

#[test]
fn more_devices_than_have_room_in_a_step_are_told_in_several_and_given_back_in_several() {
    let mut state = State::new(Spec { waves: vec![WaveSpec { take: Take::Count(5), ..canary() }], ..spec() }).unwrap();
    let start = Event::Start((0..5).map(member).collect());
    let named = |numbers: std::ops::Range<usize>, release| numbers.map(|at| (device(at), release)).collect::<Vec<_>>();
    assert_eq!(ordered(&state.step_within(&start, NOW_S, 2).unwrap()), named(0..2, 2));
    assert!(state.is_behind(NOW_S));
    for number in 0..2 {
        state.step_within(&report(&state, number, 1, applied()), NOW_S + 10, 0).unwrap();
    }
    assert_eq!(ordered(&state.step_within(&Event::Tick, NOW_S + 100, 2).unwrap()), named(2..4, 2), "no gate passed");

    let refused = Outcome::Refused(ReasonCode::PolicyInvalid);
    let effects = state.step_within(&report(&state, 2, 1, refused), NOW_S + 110, 2).unwrap();
    assert_eq!(ordered(&effects), named(0..2, 1));
    assert_eq!(state.devices()[&device(4)].status, Status::Untouched, "it was never told anything");
    // It says that it did what it was told first; that is not that it went back.
    let late = report(&state, 3, 1, applied());
    state.step_within(&late, NOW_S + 120, 0).unwrap();
    assert_eq!(state.devices()[&device(3)].status, Status::RollingBack { at_s: None });
    for number in 0..2 {
        state.step_within(&report(&state, number, 2, applied()), NOW_S + 120, 0).unwrap();
    }
    assert!(state.is_active() && state.is_behind(NOW_S + 120));
    assert_eq!(ordered(&state.step_within(&Event::Tick, NOW_S + 130, 2).unwrap()), named(2..4, 1));
    assert!(!state.is_behind(NOW_S + 130));
    for number in 2..4 {
        state.step(&report(&state, number, 3, applied()), NOW_S + 140).unwrap();
    }
    assert_eq!(*state.phase(), Phase::Ended(End::RolledBack(Stop::Errors(0))));
}

#[test]
fn a_device_that_was_ordered_back_before_there_were_steps_without_room_is_read_as_it_was_written() {
    let status: Status = serde_json::from_str(r#"{"rolling_back":{"at_s":7}}"#).unwrap();
    assert_eq!(status, Status::RollingBack { at_s: Some(7) });
}

/// What the database of a release before builds holds, and what a person wrote then.
#[test]
fn a_rollout_that_was_written_down_before_there_were_builds_is_read_and_goes_on() {
    let (state, _) = started(spec());
    let text = serde_json::to_string(&state).unwrap();
    assert!(!text.contains("build"), "what nobody asked for is not written: {text}");
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
}

#[test]
fn a_build_reaches_a_wave_goes_back_with_it_and_leaves_the_rest_alone() {
    let version = |text: &str| text.parse().unwrap();
    let change = Change { build: Some(version("0.3.0")), ..Change::default() };
    let mut state = State::new(Spec { change, ..spec() }).unwrap();
    let members = (0..5).map(|number| {
        let mut member = member(number);
        member.facts.before.build = Some(version("0.2.0"));
        member
    });
    let effects = state.step(&Event::Start(members.collect()), NOW_S).unwrap();
    let told = |effects: &[Effect]| -> Vec<_> {
        let to = |effect: &Effect| match effect {
            Effect::Assign { device, to, .. } | Effect::RollBack { device, to, .. } => {
                Some((device.clone(), to.build.as_ref()?.to_string(), to.policy.clone()))
            }
            Effect::Tell(_) => None,
        };
        effects.iter().filter_map(to).collect()
    };
    assert_eq!(told(&effects), [(device(0), "0.3.0".to_owned(), Some(policy(1)))]);
    let refused = Outcome::Refused(ReasonCode::BuildRolledBack);
    let effects = state.step(&report(&state, 0, 1, refused), NOW_S + 10).unwrap();
    assert_eq!(told(&effects), [(device(0), "0.2.0".to_owned(), Some(policy(1)))]);
    state.step(&report(&state, 0, 2, applied()), NOW_S + 20).unwrap();
    assert_eq!(*state.phase(), Phase::Ended(End::RolledBack(Stop::Errors(0))));
}
