//! Every failure and a crash at every step, with a stage that counts what is in memory.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use outpost_contract::ReasonCode;

use super::*;

const STEPS: [Step; 9] = [
    Step::Loading,
    Step::Testing,
    Step::Draining,
    Step::Unloaded,
    Step::LoadingAlone,
    Step::TestingAlone,
    Step::Committing,
    Step::Serving,
    Step::RollingBack,
];

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Load(Which),
    Test(Which),
    Drain,
    Commit,
}

#[derive(Debug)]
struct World {
    /// What outlives a crash.
    ledger: Which,
    serving: Option<Which>,
    in_memory: u32,
    most_in_memory: u32,
    steps: Vec<Step>,
}

struct Fake {
    world: Mutex<World>,
    faults: Vec<Fault>,
    crash: Option<Step>,
}

impl Fake {
    fn new(faults: &[Fault], crash: Option<Step>) -> Self {
        let world =
            World { ledger: Which::Old, serving: Some(Which::Old), in_memory: 1, most_in_memory: 1, steps: Vec::new() };
        Self { world: Mutex::new(world), faults: faults.to_vec(), crash }
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unless(&self, fault: Fault) -> Result<(), Reason> {
        let reason = || Reason { code: ReasonCode::Unloadable, subject: "m".into(), detail: format!("{fault:?}") };
        if self.faults.contains(&fault) { Err(reason()) } else { Ok(()) }
    }
}

#[async_trait]
impl Stage for Fake {
    type Model = Which;

    async fn at(&self, step: Step) {
        self.world().steps.push(step);
        if self.crash == Some(step) {
            std::future::pending::<()>().await;
        }
    }

    async fn load(&self, which: Which) -> Result<Which, Reason> {
        self.unless(Fault::Load(which))?;
        let mut world = self.world();
        world.in_memory += 1;
        world.most_in_memory = world.most_in_memory.max(world.in_memory);
        Ok(which)
    }

    async fn test(&self, which: Which, _: &mut Which) -> Result<(), Reason> {
        self.unless(Fault::Test(which))
    }

    async fn drain(&self) -> Result<(), Reason> {
        self.unless(Fault::Drain)?;
        let mut world = self.world();
        world.serving = None;
        world.in_memory -= 1;
        Ok(())
    }

    async fn commit(&self, model: &Which) -> Result<(), Reason> {
        self.unless(Fault::Commit)?;
        self.world().ledger = *model;
        Ok(())
    }

    async fn serve(&self, _: Which, model: Which) {
        let mut world = self.world();
        if world.serving.replace(model).is_some() {
            world.in_memory -= 1;
        }
    }

    async fn discard(&self, _: Which) {
        self.world().in_memory -= 1;
    }
}

async fn run(fake: &Fake, way: Way) -> Option<Ended> {
    tokio::time::timeout(Duration::from_secs(60), activate(fake, way)).await.ok()
}

#[tokio::test(start_paused = true)]
async fn without_a_fault_the_new_one_serves_and_alone_there_is_never_a_second_one_in_memory() {
    for (way, most) in [(Way::Beside, 2), (Way::Alone, 1)] {
        let fake = Fake::new(&[], None);
        assert_eq!(run(&fake, way).await, Some(Ended::New));
        let world = fake.world();
        assert_eq!((world.ledger, world.serving), (Which::New, Some(Which::New)));
        assert_eq!((world.in_memory, world.most_in_memory), (1, most), "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_the_old_one_serves_and_stays_what_the_next_start_loads() {
    for way in [Way::Beside, Way::Alone] {
        for fault in [Fault::Load(Which::New), Fault::Test(Which::New), Fault::Drain, Fault::Commit] {
            if way == Way::Beside && fault == Fault::Drain {
                continue;
            }
            let fake = Fake::new(&[fault], None);
            let Some(Ended::Old(reason)) = run(&fake, way).await else { panic!("{way:?} {fault:?}") };
            assert_eq!(reason.detail, format!("{fault:?}"));
            let world = fake.world();
            assert_eq!((world.ledger, world.serving, world.in_memory), (Which::Old, Some(Which::Old), 1));
            assert!(way == Way::Beside || world.most_in_memory == 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_one_that_does_not_come_back_is_said_and_is_what_the_next_start_tries() {
    for lost in [Fault::Load(Which::Old), Fault::Test(Which::Old)] {
        let fake = Fake::new(&[Fault::Test(Which::New), lost], None);
        let Some(Ended::Neither { failed, lost: told }) = run(&fake, Way::Alone).await else { panic!("{lost:?}") };
        assert_eq!((failed.detail, told.detail), (format!("{:?}", Fault::Test(Which::New)), format!("{lost:?}")));
        {
            let world = fake.world();
            assert_eq!((world.ledger, world.serving, world.in_memory), (Which::Old, None, 0));
        }
        let mended = Fake { faults: Vec::new(), ..fake };
        restore(&mended).await.unwrap();
        assert_eq!(mended.world().serving, Some(Which::Old));
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_leaves_a_ledger_of_the_old_or_the_new_and_the_new_only_once_it_was_tested() {
    let mut crashed = 0;
    for way in [Way::Beside, Way::Alone] {
        for faults in [&[][..], &[Fault::Test(Which::New)]] {
            for step in STEPS {
                let fake = Fake::new(faults, Some(step));
                let ended = run(&fake, way).await;
                let world = fake.world();
                if ended.is_some() {
                    assert!(!world.steps.contains(&step), "it went on after a crash");
                    continue;
                }
                crashed += 1;
                let committed = step == Step::Serving;
                assert_eq!(world.ledger, if committed { Which::New } else { Which::Old }, "{way:?} {step:?}");
                let drained = way == Way::Alone && step != Step::Draining;
                assert_eq!(world.serving.is_none(), drained, "{way:?} {step:?}");
            }
        }
    }
    assert_eq!(crashed, 4 + 2 + 6 + 5, "every step of every way was a crash once");
}
