//! The order of retreat, and when a step is taken: pure, time comes in and steps come out.
//!
//! ```text
//! full ──► cache ──► slots ──► context ──► variant ──► nothing        one step after another, none left out
//!      ◄──       ◄──       ◄──         ◄──         ◄──                the same way back, each after a calm time
//! ```
//! Down is soon, since memory that is gone kills: a step every two seconds while it is short, four in a second at the very
//! end. Up is late: whoever comes back too soon has to go again. A step back that did not last doubles the calm that the next
//! one needs.

use std::fmt;

/// What the device does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing.
    Full,
    /// Kept beginnings of prompts, and idle models beside the planned one.
    Cache,
    /// As many answers at once.
    Slots,
    /// As long a context for conversations that begin.
    Context,
    /// The variant that was chosen: a smaller one serves, if there is one.
    Variant,
    /// Any model.
    Nothing,
}

impl Level {
    /// Every level, in the order of retreat.
    pub(crate) const ALL: [Self; 6] =
        [Self::Full, Self::Cache, Self::Slots, Self::Context, Self::Variant, Self::Nothing];

    /// Its word in records and reports.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Cache => "cache",
            Self::Slots => "slots",
            Self::Context => "context",
            Self::Variant => "variant",
            Self::Nothing => "nothing",
        }
    }

    /// How many steps it is below full.
    pub(crate) fn steps(self) -> u8 {
        self as u8
    }

    fn below(self) -> Self {
        Self::ALL.get(usize::from(self.steps()) + 1).copied().unwrap_or(Self::Nothing)
    }

    fn above(self) -> Self {
        usize::from(self.steps()).checked_sub(1).map_or(Self::Full, |place| Self::ALL[place])
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// How memory is at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strain {
    /// There is so much that a step up would not make it short.
    Calm,
    /// Neither.
    Fair,
    /// It is short.
    Short,
    /// It is nearly gone.
    Critical,
}

/// A step to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) from: Level,
    /// The same as `from` where another variant, smaller still, is to serve.
    pub(crate) to: Level,
}

impl Step {
    /// Whether it is one back up.
    pub(crate) fn is_up(self) -> bool {
        self.to < self.from
    }
}

/// What a step down has to show for itself before the next one, milliseconds.
const SETTLE_MS: u64 = 2_000;

/// The same at the very end.
const HASTE_MS: u64 = 250;

/// A step down within so many calm times after one up shows that it came too soon.
const RELAPSE: u64 = 4;

/// The most that the calm which is asked for is doubled.
const DOUBLINGS: u32 = 5;

/// Where the device stands on the ladder.
#[derive(Debug, Clone)]
pub(crate) struct Ladder {
    level: Level,
    calm_ms: u64,
    /// Whether no smaller variant is left to step down to.
    is_smallest: bool,
    moved_ms: Option<u64>,
    raised_ms: Option<u64>,
    calm_since_ms: Option<u64>,
    doublings: u32,
}

impl Ladder {
    /// At the top; a step up needs so much calm before it.
    pub(crate) fn new(calm_ms: u64) -> Self {
        Self {
            level: Level::Full,
            calm_ms,
            is_smallest: false,
            moved_ms: None,
            raised_ms: None,
            calm_since_ms: None,
            doublings: 0,
        }
    }

    /// Where it stands.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// The calm that the next step up needs before it.
    pub(crate) fn calm_needed_ms(&self) -> u64 {
        self.calm_ms.saturating_mul(1 << self.doublings)
    }

    /// The step that is due, if one is. Nothing has changed before it is [`taken`](Self::taken).
    pub(crate) fn look(&mut self, now_ms: u64, strain: Strain) -> Option<Step> {
        let since = |moment: Option<u64>| moment.map_or(u64::MAX, |moment| now_ms.saturating_sub(moment));
        if strain == Strain::Calm {
            let calm_since = *self.calm_since_ms.get_or_insert(now_ms);
            let is_over = now_ms.saturating_sub(calm_since).min(since(self.moved_ms)) >= self.calm_needed_ms();
            let to = self.level.above();
            return (is_over && to != self.level).then_some(Step { from: self.level, to });
        }
        self.calm_since_ms = None;
        let rest = match strain {
            Strain::Critical => HASTE_MS,
            Strain::Short => SETTLE_MS,
            Strain::Calm | Strain::Fair => return None,
        };
        if since(self.moved_ms) < rest {
            return None;
        }
        let to = match self.level {
            Level::Nothing => return None,
            Level::Variant if !self.is_smallest => Level::Variant,
            // A box that answers slowly is of more use than one that does not; one that is killed is of none.
            Level::Variant if strain < Strain::Critical => return None,
            level => level.below(),
        };
        Some(Step { from: self.level, to })
    }

    /// The step was taken.
    pub(crate) fn taken(&mut self, now_ms: u64, step: Step) {
        if step.is_up() {
            self.raised_ms = Some(now_ms);
            if step.to < Level::Variant {
                self.is_smallest = false;
            }
        } else {
            let lasted_ms = self.raised_ms.take().map(|raised| now_ms.saturating_sub(raised));
            match lasted_ms {
                Some(lasted) if lasted < self.calm_needed_ms().saturating_mul(RELAPSE) => {
                    self.doublings = (self.doublings + 1).min(DOUBLINGS);
                }
                Some(_) => self.doublings = 0,
                None => {}
            }
        }
        self.level = step.to;
        self.moved_ms = Some(now_ms);
    }

    /// A step up cannot be taken yet: it is thought of again after another calm time.
    pub(crate) fn put_off(&mut self, now_ms: u64) {
        self.calm_since_ms = Some(now_ms);
    }

    /// Whether a smaller variant is there to step down to.
    pub(crate) fn smallest(&mut self, is_smallest: bool) {
        self.is_smallest = is_smallest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALM_MS: u64 = 30_000;

    /// Looks every so often while memory is so, and gives the levels that were reached.
    fn walk(ladder: &mut Ladder, from_ms: u64, to_ms: u64, every_ms: u64, strain: Strain) -> Vec<Level> {
        let mut reached = Vec::new();
        for now_ms in (from_ms..to_ms).step_by(usize::try_from(every_ms).unwrap()) {
            if let Some(step) = ladder.look(now_ms, strain) {
                ladder.taken(now_ms, step);
                reached.push(step.to);
            }
        }
        reached
    }

    #[test]
    fn the_order_of_retreat_is_cache_slots_context_variant_and_back_again() {
        let mut ladder = Ladder::new(CALM_MS);
        ladder.smallest(true);
        let down = walk(&mut ladder, 0, 20_000, 1_000, Strain::Short);
        assert_eq!(down, [Level::Cache, Level::Slots, Level::Context, Level::Variant]);
        let up = walk(&mut ladder, 20_000, 200_000, 1_000, Strain::Calm);
        assert_eq!(up, [Level::Context, Level::Slots, Level::Cache, Level::Full]);
    }

    #[test]
    fn only_memory_that_is_nearly_gone_unloads_the_last_model() {
        let mut ladder = Ladder::new(CALM_MS);
        ladder.smallest(true);
        walk(&mut ladder, 0, 600_000, 1_000, Strain::Short);
        assert_eq!(ladder.level(), Level::Variant);
        assert_eq!(walk(&mut ladder, 600_000, 601_000, 250, Strain::Critical), [Level::Nothing]);
        assert!(walk(&mut ladder, 601_000, 700_000, 1_000, Strain::Critical).is_empty(), "there is nothing below");
    }

    #[test]
    fn a_smaller_variant_is_followed_by_one_smaller_still() {
        let mut ladder = Ladder::new(CALM_MS);
        let down = walk(&mut ladder, 0, 12_000, 1_000, Strain::Short);
        assert_eq!(down[3..], [Level::Variant, Level::Variant, Level::Variant]);
        ladder.smallest(true);
        assert!(walk(&mut ladder, 12_000, 30_000, 1_000, Strain::Short).is_empty());
    }

    #[test]
    fn at_the_very_end_four_steps_take_a_second() {
        let mut ladder = Ladder::new(CALM_MS);
        let down = walk(&mut ladder, 0, 1_000, 250, Strain::Critical);
        assert_eq!(down, [Level::Cache, Level::Slots, Level::Context, Level::Variant]);
    }

    #[test]
    fn a_step_up_that_does_not_last_has_the_next_one_wait_longer() {
        let mut ladder = Ladder::new(CALM_MS);
        assert_eq!(walk(&mut ladder, 0, 1_000, 1_000, Strain::Short), [Level::Cache]);
        assert_eq!(walk(&mut ladder, 1_000, 40_000, 1_000, Strain::Calm), [Level::Full]);
        assert_eq!(walk(&mut ladder, 40_000, 41_000, 1_000, Strain::Short), [Level::Cache]);
        assert_eq!(ladder.calm_needed_ms(), 2 * CALM_MS);
        assert!(walk(&mut ladder, 41_000, 100_000, 1_000, Strain::Calm).is_empty());
        assert_eq!(walk(&mut ladder, 100_000, 103_000, 1_000, Strain::Calm), [Level::Full]);
        // What lasts is forgotten.
        assert_eq!(walk(&mut ladder, 900_000, 901_000, 1_000, Strain::Short), [Level::Cache]);
        assert_eq!(ladder.calm_needed_ms(), CALM_MS);
    }

    fn strain() -> impl Strategy<Value = Strain> {
        prop_oneof![Just(Strain::Calm), Just(Strain::Fair), Just(Strain::Short), Just(Strain::Critical)]
    }

    proptest! {
        #[test]
        fn no_history_skips_a_step_or_flaps_and_every_one_recovers(
            looks in proptest::collection::vec((strain(), 1u64..20_000, any::<bool>(), any::<bool>()), 0..400),
        ) {
            let mut ladder = Ladder::new(CALM_MS);
            let (mut now_ms, mut moved_ms, mut strained_ms) = (0, None, None);
            for (strain, passed, is_smallest, is_put_off) in looks {
                now_ms += passed;
                ladder.smallest(is_smallest);
                if strain != Strain::Calm {
                    strained_ms = Some(now_ms);
                }
                let before = ladder.level();
                let Some(step) = ladder.look(now_ms, strain) else { continue };
                prop_assert_eq!(step.from, before);
                prop_assert!(before.steps().abs_diff(step.to.steps()) <= 1, "{before} to {}", step.to);
                if step.is_up() {
                    prop_assert_eq!(strain, Strain::Calm);
                    let calm = [moved_ms, strained_ms].into_iter().flatten().all(|at| now_ms - at >= CALM_MS);
                    prop_assert!(calm, "up at {now_ms} after {moved_ms:?}, {strained_ms:?}");
                    if is_put_off {
                        ladder.put_off(now_ms);
                        continue;
                    }
                } else {
                    prop_assert!(strain >= Strain::Short);
                    prop_assert!(step.to != Level::Nothing || strain == Strain::Critical);
                    prop_assert!(step.to != before || before == Level::Variant);
                }
                ladder.taken(now_ms, step);
                prop_assert_eq!(ladder.level(), step.to);
                moved_ms = Some(now_ms);
            }
            let longest = CALM_MS << DOUBLINGS;
            walk(&mut ladder, now_ms, now_ms + 7 * longest, 1_000, Strain::Calm);
            prop_assert_eq!(ladder.level(), Level::Full);
        }
    }
}
