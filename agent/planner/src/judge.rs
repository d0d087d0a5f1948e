//! Holds every candidate against the constraints, ranks those that keep them, and says why each of the others lost.

use std::cmp::Reverse;

use outpost_contract::{Measurements, TargetName, VariantFacts};

use crate::class::Class;
use crate::keep::keeps;
use crate::memory::{Budget, Needs, Setting, needs};
use crate::speed::{Speed, speed};
use crate::table::{rounded_down, rounded_up, thousandths};
use crate::{Broken, Candidate, Choice, Constraints, Objective, Outcome, Plan, Verdict};

/// Contexts between the smallest and the longest are multiples of this many tokens.
const CONTEXT_STEP_TOKENS: u32 = 256;

/// Everything that a candidate is judged by, for one number of conversations.
pub(crate) struct Judge<'a> {
    pub(crate) measurements: &'a Measurements,
    pub(crate) constraints: &'a Constraints,
    pub(crate) slots: u32,
    pub(crate) budget: Budget,
}

/// A candidate with the smallest useful context: what it would take, what it would give, what it broke.
pub(crate) struct Judged<'a> {
    pub(crate) candidate: &'a Candidate,
    pub(crate) needs: Needs,
    missing_bytes: u64,
    pub(crate) speed: Speed,
    broken: Option<(Broken, String)>,
}

/// The higher, the better; the name last, so that the order of candidates never decides.
pub(crate) type Rank<'a> = (u64, u64, u64, Reverse<&'a TargetName>);

impl Judge<'_> {
    pub(crate) fn plan(&self, candidates: &[Candidate]) -> Plan {
        let judged: Vec<_> = candidates.iter().map(|candidate| self.judge(candidate)).collect();
        let fitting = || judged.iter().filter(|judged| judged.broken.is_none());
        let first = fitting().max_by_key(|judged| self.rank(judged));
        let serving = self.constraints.serving.as_ref();
        let serving = fitting().find(|judged| Some(&judged.candidate.target) == serving);
        // The best of those that are better than what serves by enough, else what serves.
        let best = match serving {
            None => first,
            Some(serving) => fitting()
                .filter(|judged| self.rank(judged) > self.rank(serving) && keeps(self, serving, judged).is_none())
                .max_by_key(|judged| self.rank(judged))
                .or(Some(serving)),
        };
        let choice = best.map(|best| self.choose(best));
        let verdicts = judged
            .iter()
            .map(|judged| match (&judged.broken, best, &choice) {
                (None, Some(best), Some(choice)) if std::ptr::eq(best, judged) => self.chosen(judged, choice),
                (None, Some(best), _) if self.rank(judged) > self.rank(best) => {
                    judged.lost(keeps(self, serving.unwrap_or(best), judged).unwrap_or_default())
                }
                (None, Some(best), _) => judged.lost(self.beaten(judged, best)),
                (broken, ..) => judged.lost(broken.as_ref().map(|(_, because)| because.clone()).unwrap_or_default()),
            })
            .collect();
        Plan { choice, verdicts, budget: self.budget }
    }

    fn judge<'c>(&self, candidate: &'c Candidate) -> Judged<'c> {
        let needs = self.needs(&candidate.facts, self.constraints.minimum_context_tokens);
        let missing_bytes = needs.total().saturating_sub(self.budget.usable_bytes);
        let speed = speed(&candidate.facts, self.measurements);
        let broken = self.broken(candidate, needs, missing_bytes, speed);
        Judged { candidate, needs, missing_bytes, speed, broken }
    }

    /// The first constraint that a candidate breaks: what may not run, then what cannot, then what is too slow.
    fn broken(
        &self,
        candidate: &Candidate,
        needs: Needs,
        missing_bytes: u64,
        speed: Speed,
    ) -> Option<(Broken, String)> {
        let (facts, constraints) = (&candidate.facts, self.constraints);
        let (licence, context_tokens) = (&facts.model.licence, facts.model.context_tokens);
        let model = &facts.model.model;
        if constraints.approved_models.as_ref().is_some_and(|approved| !approved.contains(model)) {
            return Some((Broken::Approval, format!("`{model}` is none of the models that are approved here")));
        }
        if constraints.allowed_licences.as_ref().is_some_and(|allowed| !allowed.contains(licence)) {
            return Some((Broken::Licence, format!("its licence `{licence}` is not allowed here")));
        }
        let class = Class::of(facts.model.parameters);
        if let Some(allowed) = &constraints.allowed_classes
            && !allowed.contains(&class)
        {
            let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
            let because = format!("it is of class {class}, allowed here: {}", allowed.join(", "));
            return Some((Broken::Class, because));
        }
        if facts.quality_milli < constraints.minimum_quality_milli {
            let missing_milli = constraints.minimum_quality_milli - facts.quality_milli;
            let [own, asked, missing] = [facts.quality_milli, constraints.minimum_quality_milli, missing_milli];
            let [own, asked, missing] = [own, asked, missing].map(|milli| thousandths(milli.into()));
            let because = format!("has {own} bits per weight, {asked} are asked for: {missing} missing");
            return Some((Broken::Quality { missing_milli }, because));
        }
        let minimum = constraints.minimum_context_tokens;
        if context_tokens < minimum {
            return Some((Broken::Context, format!("its context is {context_tokens} tokens, {minimum} are asked for")));
        }
        if missing_bytes > 0 {
            let (needed, usable) = (rounded_up(needs.total()), rounded_down(self.budget.usable_bytes));
            let because = format!("needs {needed}, {usable} available: {} missing", rounded_up(missing_bytes));
            return Some((Broken::Memory { missing_bytes }, because));
        }
        let free = self.measurements.disk_free_bytes;
        if constraints.to_fetch.contains(&candidate.target) && facts.file_bytes > free {
            let (file, missing) = (rounded_up(facts.file_bytes), rounded_up(facts.file_bytes - free));
            let because = format!("its file has {file}, {} free on the disk: {missing} missing", rounded_down(free));
            return Some((Broken::Disk { missing_bytes: facts.file_bytes - free }, because));
        }
        let minimum = constraints.minimum_tokens_per_second_milli;
        let tokens_per_second_milli = speed.tokens_per_second_milli;
        (tokens_per_second_milli < minimum).then(|| {
            let because = format!("decodes {speed}, {} tokens/s are asked for", thousandths(minimum));
            (Broken::Speed { tokens_per_second_milli }, because)
        })
    }

    pub(crate) fn rank<'c>(&self, judged: &Judged<'c>) -> Rank<'c> {
        let quality = u64::from(judged.candidate.facts.quality_milli);
        let (speed, smallness) = (judged.speed.tokens_per_second_milli, u64::MAX - judged.needs.total());
        let name = Reverse(&judged.candidate.target);
        match self.constraints.objective {
            Objective::Quality => (quality, speed, smallness, name),
            Objective::Speed => (speed, quality, smallness, name),
            Objective::Memory => (smallness, quality, speed, name),
        }
    }

    /// The rank of a candidate, for whoever compares two plans.
    #[cfg(test)]
    pub(crate) fn rank_of<'c>(&self, candidate: &'c Candidate) -> Rank<'c> {
        self.rank(&self.judge(candidate))
    }

    /// The longest context that fits: the model's own or the longest of use, else the largest step below it.
    fn choose(&self, judged: &Judged<'_>) -> Choice {
        let facts = &judged.candidate.facts;
        let (minimum, maximum) = (self.constraints.minimum_context_tokens, self.constraints.maximum_context_tokens);
        let at = |context_tokens| self.needs(facts, context_tokens);
        let fits = |context_tokens| at(context_tokens).total() <= self.budget.usable_bytes;
        let longest = facts.model.context_tokens.min(maximum).max(minimum);
        let context_tokens = if fits(longest) {
            longest
        } else {
            // The smallest is known to fit and the longest not to: memory grows with the context, so halve between them.
            let (mut fitting, mut too_long) = (minimum, longest);
            while too_long - fitting > 1 {
                let middle = fitting + (too_long - fitting) / 2;
                if fits(middle) { fitting = middle } else { too_long = middle }
            }
            (fitting / CONTEXT_STEP_TOKENS * CONTEXT_STEP_TOKENS).max(minimum)
        };
        Choice {
            target: judged.candidate.target.clone(),
            context_tokens,
            slots: self.slots,
            threads: self.threads(),
            kv_type: self.constraints.kv_type,
            needs: at(context_tokens),
            speed: judged.speed,
        }
    }

    fn chosen(&self, judged: &Judged<'_>, choice: &Choice) -> Verdict {
        let conversations = if self.slots == 1 { "conversation" } else { "conversations" };
        let fewer = if self.slots < self.constraints.slots {
            format!(" ({} were asked for)", self.constraints.slots)
        } else {
            String::new()
        };
        let because = format!(
            "fits: needs {} of {}, context {} × {} {conversations}{fewer}, decodes {}",
            rounded_down(choice.needs.total()),
            rounded_down(self.budget.usable_bytes),
            choice.context_tokens,
            self.slots,
            choice.speed,
        );
        Verdict { outcome: Outcome::Chosen, needs: choice.needs, ..judged.lost(because) }
    }

    /// Why a candidate that keeps every constraint lost to the best one.
    fn beaten(&self, judged: &Judged<'_>, best: &Judged<'_>) -> String {
        let name = best.name_beside(judged);
        let closer = || {
            let [own, better] = [judged, best].map(|one| thousandths(u64::from(one.candidate.facts.quality_milli)));
            format!("fits, but {name} is closer to the original ({better} bits per weight against {own})")
        };
        let faster = |prefix: &str| {
            let [own, better] = [judged, best].map(|one| thousandths(one.speed.tokens_per_second_milli));
            format!("{prefix}, but slower than {name} ({own} tokens/s against {better})")
        };
        let smaller = |prefix: &str| {
            let [own, better] = [judged, best].map(|one| rounded_up(one.needs.total()));
            format!("{prefix}, but larger than {name} ({own} against {better})")
        };
        let quality = judged.candidate.facts.quality_milli == best.candidate.facts.quality_milli;
        let speed = judged.speed.tokens_per_second_milli == best.speed.tokens_per_second_milli;
        let memory = judged.needs.total() == best.needs.total();
        match (self.constraints.objective, quality, speed, memory) {
            (_, true, true, true) => format!("fits and is equal to {name} in every number; names decide"),
            (Objective::Quality, false, ..) => closer(),
            (Objective::Quality, true, false, _) => faster("same quality"),
            (Objective::Quality, true, true, _) => smaller("same quality and speed"),
            (Objective::Speed, _, false, _) => faster("fits"),
            (Objective::Speed, false, true, _) | (Objective::Memory, false, _, true) => closer(),
            (Objective::Speed, true, true, _) => smaller("same quality and speed"),
            (Objective::Memory, _, _, false) => smaller("fits"),
            (Objective::Memory, true, _, true) => faster("same quality and memory"),
        }
    }

    /// What a variant needs with a context of so many tokens, a draft model's needs included.
    fn needs(&self, facts: &VariantFacts, context_tokens: u32) -> Needs {
        let kv_type = self.constraints.kv_type;
        let setting = Setting { context_tokens, slots: self.slots, threads: self.threads(), kv_type };
        let alone = |facts: &VariantFacts| needs(facts, &setting);
        match &self.constraints.draft {
            Some(draft) => alone(facts).beside(&alone(draft)),
            None => alone(facts),
        }
    }

    fn threads(&self) -> u32 {
        self.measurements.cores.max(1)
    }
}

impl Judged<'_> {
    fn lost(&self, because: String) -> Verdict {
        Verdict {
            target: self.candidate.target.clone(),
            quantisation: self.candidate.facts.quantisation.clone(),
            outcome: Outcome::Lost,
            because,
            broken: self.broken.as_ref().map(|(broken, _)| *broken),
            missing_bytes: self.missing_bytes,
            needs: self.needs,
            speed: self.speed,
        }
    }

    /// How to call this one beside another: by what differs first.
    pub(crate) fn name_beside(&self, other: &Judged<'_>) -> String {
        let (own, other) = (&self.candidate.facts, &other.candidate.facts);
        if own.model.model != other.model.model {
            format!("{} {}", own.model.model, own.quantisation)
        } else if own.quantisation != other.quantisation {
            own.quantisation.clone()
        } else {
            format!("`{}`", self.candidate.target)
        }
    }
}
