//! The journal through restarts, repetitions and clocks.

use std::time::Duration;

use super::*;

const NOW_S: i64 = 1_800_000_000;

struct Bench {
    dir: tempfile::TempDir,
    clock: Clock,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: Clock::fixed(NOW_S) }
    }

    /// The journal as a start of the agent opens it.
    fn start(&self, boot: &str) -> Commands {
        Commands {
            database: SyncDatabase::open(self.dir.path()).unwrap(),
            device: "till-7".parse().unwrap(),
            boot: boot.parse().unwrap(),
            clock: self.clock.clone(),
            news: Arc::default(),
        }
    }
}

fn command(number: u128, op: Operation) -> Command {
    Command {
        v: 1,
        tenant: "acme".parse().unwrap(),
        device: "till-7".parse().unwrap(),
        id: CommandId::of(number.to_be_bytes()),
        op,
        issued_at_s: NOW_S,
        not_after_s: NOW_S + 600,
        asked_by: "ada".into(),
    }
}

/// Everything said so far, oldest first; the control plane then has it.
fn said(commands: &Commands) -> Vec<(CommandState, String)> {
    let outbox = commands.database.outbox();
    let mut all = Vec::new();
    for id in outbox.waiting().unwrap() {
        let letter = outbox.letter(id).unwrap().unwrap();
        let response: Response = serde_json::from_slice(&letter.payload).unwrap();
        assert_eq!((response.sequence, &response.boot), (letter.sequence, &letter.boot));
        all.push((response.answer.state, response.answer.text));
        outbox.acknowledge_each(Class::Response, &[(letter.boot, letter.sequence)]).unwrap();
    }
    all
}

fn states(commands: &Commands) -> Vec<CommandState> {
    said(commands).into_iter().map(|(state, _)| state).collect()
}

#[test]
fn a_command_that_comes_again_is_answered_again_and_not_done_again() {
    let commands = Bench::new().start("a");
    let status = command(1, Operation::Status);
    assert_eq!(commands.take(&status, Ok(())).unwrap(), Verdict::Begin);
    assert_eq!(commands.take(&status, Ok(())).unwrap(), Verdict::Settled(None), "it is at work");
    commands.answer(&status.id, Answer::new(CommandState::Done, "fine")).unwrap();
    commands.answer(&status.id, Answer::new(CommandState::Failed, "a second end")).unwrap();
    assert_eq!(states(&commands), [CommandState::Accepted, CommandState::Done]);
    for _ in 0..3 {
        assert_eq!(commands.take(&status, Ok(())).unwrap(), Verdict::Settled(Some(CommandState::Done)));
    }
    assert_eq!(said(&commands), [(CommandState::Done, "fine".to_owned())], "once, while it waits to be stored");
}

#[test]
fn what_is_not_allowed_or_malformed_is_refused_with_the_reason() {
    let commands = Bench::new().start("a");
    let why = "the policy bundle in force does not list `restart`".to_owned();
    let settled = commands.take(&command(1, Operation::Restart), Err(why.clone())).unwrap();
    assert_eq!(settled, Verdict::Settled(Some(CommandState::Refused)));
    assert_eq!(said(&commands), [(CommandState::Refused, why)]);
    let long = Command { not_after_s: NOW_S + 90_000, ..command(2, Operation::Status) };
    commands.take(&long, Ok(())).unwrap();
    assert_eq!(states(&commands), [CommandState::Refused]);
}

#[test]
fn a_command_after_its_deadline_is_not_begun() {
    let bench = Bench::new();
    let commands = bench.start("a");
    bench.clock.advance(Duration::from_secs(601));
    let late = commands.take(&command(1, Operation::Restart), Ok(())).unwrap();
    assert_eq!(late, Verdict::Settled(Some(CommandState::Expired)));
    assert_eq!(states(&commands), [CommandState::Expired]);
}

#[test]
fn after_a_crash_a_restart_is_done_a_reading_is_begun_once_more_and_an_erasure_has_failed() {
    let bench = Bench::new();
    let commands = bench.start("a");
    let erase = Operation::Erase { subject: format!("p:{}", "a".repeat(32)), basis: "case 7".into() };
    for (number, op) in [(1, Operation::Restart), (2, Operation::Rescan), (3, erase)] {
        assert_eq!(commands.take(&command(number, op), Ok(())).unwrap(), Verdict::Begin);
    }
    assert!(commands.resume().unwrap().is_empty(), "what this start began goes on");
    said(&commands);
    drop(commands);
    let commands = bench.start("b");
    assert_eq!(commands.resume().unwrap(), [command(2, Operation::Rescan)]);
    let told = said(&commands);
    assert_eq!(told[0].0, CommandState::Done);
    assert_eq!(told[1].0, CommandState::Failed);
    assert!(told[1].1.starts_with("interrupted"), "{}", told[1].1);
    drop(commands);
    // It stopped the agent twice: enough.
    let commands = bench.start("c");
    assert!(commands.resume().unwrap().is_empty());
    assert_eq!(states(&commands), [CommandState::Failed]);
}

#[test]
fn the_journal_is_bounded_and_what_it_forgot_is_never_done_again_by_a_clock_set_back() {
    let bench = Bench::new();
    let commands = bench.start("a");
    let first = command(0, Operation::Restart);
    assert_eq!(commands.take(&first, Ok(())).unwrap(), Verdict::Begin);
    commands.answer(&first.id, Answer::new(CommandState::Done, "")).unwrap();
    bench.clock.step_ms(3_600_000);
    for number in 1..=600 {
        let later = Command { issued_at_s: NOW_S, not_after_s: NOW_S + 600, ..command(number, Operation::Status) };
        commands.take(&later, Ok(())).unwrap();
        said(&commands);
    }
    let kept: i64 = commands.database.lock().query_row("SELECT count(*) FROM commands", [], |row| row.get(0)).unwrap();
    assert!(kept <= REMEMBERED, "{kept}");
    bench.clock.step_ms(-3_600_000);
    let again = commands.take(&first, Ok(())).unwrap();
    assert_eq!(again, Verdict::Settled(Some(CommandState::Expired)));
}

#[test]
fn a_flood_of_commands_is_refused_before_it_fills_the_disk() {
    let commands = Bench::new().start("a");
    let mut begun = 0;
    for number in 0..600 {
        begun += i64::from(commands.take(&command(number, Operation::Status), Ok(())).unwrap() == Verdict::Begin);
        said(&commands);
    }
    assert_eq!(begun, MOST_AT_ONCE);
}

#[test]
fn an_answer_that_finds_no_room_is_given_when_the_command_comes_again() {
    let commands = Bench::new().start("a");
    let status = command(1, Operation::Status);
    commands.take(&status, Ok(())).unwrap();
    for _ in 0..300 {
        commands.answer(&status.id, Answer::new(CommandState::Progress, "on")).unwrap();
    }
    commands.answer(&status.id, Answer::new(CommandState::Done, "")).unwrap();
    let told = states(&commands);
    assert_eq!((told.len(), told.contains(&CommandState::Done)), (256, false));
    commands.take(&status, Ok(())).unwrap();
    assert_eq!(states(&commands), [CommandState::Done]);
}

#[test]
fn an_end_waits_to_be_recorded_whoever_settled_it_and_is_recorded_once() {
    let bench = Bench::new();
    let first = bench.start("a");
    let (drain, status, erase) =
        (command(1, Operation::Drain { seconds: 5 }), command(2, Operation::Status), command(3, Operation::Restart));
    for begun in [&drain, &status] {
        assert_eq!(first.take(begun, Ok(())).unwrap(), Verdict::Begin);
    }
    first.take(&erase, Err("not listed".into())).unwrap();
    first.answer(&status.id, Answer::new(CommandState::Done, "fine")).unwrap();
    first.recorded(&status.id).unwrap();
    drop(first);
    let second = bench.start("b");
    assert_eq!(second.resume().unwrap(), []);
    let ends = [(erase.clone(), CommandState::Refused), (drain.clone(), CommandState::Failed)];
    assert_eq!(second.unrecorded().unwrap(), ends);
    for (command, _) in &ends {
        second.recorded(&command.id).unwrap();
    }
    for known in [&drain, &status, &erase] {
        second.take(known, Ok(())).unwrap();
    }
    second.answer(&drain.id, Answer::new(CommandState::Done, "a second end")).unwrap();
    assert_eq!(second.unrecorded().unwrap(), [], "an answer that is given again is no second end");
}
