//! Random histories of a fleet with rollouts: whatever is lost, comes twice, late or in another order, the invariants
//! of the crate hold. `OUTPOST_HISTORIES` says how many histories; a failure names the seed of its own.

mod support;

use support::world::World;

/// Histories of the short form.
const SHORT: u64 = 500;
/// Events of one history before nothing but time passes.
const EVENTS: u64 = 80;

#[test]
fn the_invariants_hold_over_random_histories() {
    let histories = match std::env::var("OUTPOST_HISTORIES") {
        Ok(text) => text.parse().expect("`OUTPOST_HISTORIES` is a number"),
        Err(_) => SHORT,
    };
    let first = std::env::var("OUTPOST_SEED").map_or(0, |text| text.parse().expect("`OUTPOST_SEED` is a number"));
    let mut seen = support::world::Seen::default();
    for seed in first..first + histories {
        let history = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..EVENTS {
                world.live();
            }
            world.only_time_passes();
            world.seen
        });
        match history {
            Ok(of_this) => seen.add(&of_this),
            Err(_) => {
                panic!("history {seed} broke an invariant; `OUTPOST_SEED={seed} OUTPOST_HISTORIES=1` shows it again")
            }
        }
    }
    #[expect(clippy::print_stdout, reason = "the figures that the test is for")]
    {
        println!("{histories} histories: {seen:?}");
    }
    // A campaign that never came to the interesting places would hold anything.
    if histories >= SHORT {
        seen.assert_everything_was_seen();
    }
}
