//! What if: which devices could hold a model, asked of the planner that they have themselves, with what they measured.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{available_parallelism, scope};

use outpost_contract::{DeviceId, Measurements, ModelId, TargetKind, TargetName, VariantFacts};
use outpost_planner::{Broken, Candidate, Constraints, Plan, Verdict, given_back, plan};
use serde::{Deserialize, Serialize};

use super::index::Known;
use super::words::size;
use crate::db::{DeviceSummary, Row};
use crate::fleet::{Fleet, FleetError};

/// Largest speed that is asked for, tokens per second.
const MOST_TOKENS_PER_SECOND: f64 = 1_000_000.0;

/// Fewer devices are planned for by one thread, and no question takes more threads than these.
const FEW: usize = 256;
const MOST_WORKERS: usize = 8;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The model.
    pub model: ModelId,
    /// Smallest context that is of use, tokens.
    #[serde(default = "useful_context")]
    pub context_tokens: u32,
    /// Slowest decoding that is of use; 0 for any.
    #[serde(default)]
    pub tokens_per_second: f64,
    /// Of which devices; of all that are let in if nothing is said.
    #[serde(default, rename = "where")]
    pub selector: Option<String>,
    /// Devices that are answered one by one, the first by name; all are counted.
    #[serde(default = "many")]
    pub limit: usize,
}

fn useful_context() -> u32 {
    512
}

fn many() -> usize {
    1000
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// The model.
    pub model: ModelId,
    /// Devices that were asked about.
    pub of: u64,
    /// Devices that hold it.
    pub hold: u64,
    /// In words: how many hold it, and what the others lack.
    pub summary: String,
    /// Devices that hold it, by the variant that each would choose.
    pub variants: BTreeMap<TargetName, u64>,
    /// One by one, by name; no more than were asked for.
    pub devices: Vec<Answer>,
}

/// The answer for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The device.
    pub device: DeviceId,
    /// The variant that it would choose; of one that holds none, the variant that comes nearest.
    pub target: Option<TargetName>,
    /// Context of one conversation, tokens; 0 if it holds none.
    pub context_tokens: u32,
    /// Predicted speed, thousandths of a token per second.
    pub tokens_per_second_milli: u64,
    /// What is in the way; `None` if it holds it.
    pub lack: Option<Lack>,
    /// In words, with the numbers.
    pub because: String,
}

/// The first constraint that is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Lack {
    /// Memory.
    Memory {
        /// How much.
        missing_bytes: u64,
    },
    /// Room on the disk for its file.
    Disk {
        /// How much.
        missing_bytes: u64,
    },
    /// It would be slower than was asked for.
    Speed {
        /// How fast it would be, thousandths of a token per second.
        tokens_per_second_milli: u64,
    },
    /// No variant has so long a context.
    Context,
    /// Its licence is not allowed.
    Licence,
    /// Nobody approved it.
    Approval,
    /// Its class of size is not allowed.
    Class,
    /// No variant that would fit is as close to the original as was asked for.
    Quality {
        /// Thousandths of a bit per weight that are missing.
        missing_milli: u32,
    },
    /// The device never said what its machine can give, or not how fast.
    NeverMeasured,
}

impl Lack {
    fn of(broken: Broken) -> Self {
        match broken {
            Broken::Memory { missing_bytes } => Self::Memory { missing_bytes },
            Broken::Disk { missing_bytes } => Self::Disk { missing_bytes },
            Broken::Speed { tokens_per_second_milli: 0 } => Self::NeverMeasured,
            Broken::Speed { tokens_per_second_milli } => Self::Speed { tokens_per_second_milli },
            Broken::Context => Self::Context,
            Broken::Licence => Self::Licence,
            Broken::Approval => Self::Approval,
            Broken::Class => Self::Class,
            Broken::Quality { missing_milli } => Self::Quality { missing_milli },
        }
    }

    /// The smaller, the nearer to holding it.
    fn distance(self) -> (u8, u64) {
        match self {
            Self::Speed { tokens_per_second_milli } => (0, u64::MAX - tokens_per_second_milli),
            Self::NeverMeasured => (1, 0),
            Self::Disk { missing_bytes } => (2, missing_bytes),
            Self::Memory { missing_bytes } => (3, missing_bytes),
            Self::Context => (4, 0),
            Self::Quality { missing_milli } => (5, missing_milli.into()),
            Self::Licence | Self::Approval | Self::Class => (6, 0),
        }
    }
}

/// The catalogue and the constraints that a question comes to.
struct Asked {
    candidates: Vec<Candidate>,
    /// Every variant there is, for what a device gives back when its model leaves.
    variants: BTreeMap<TargetName, VariantFacts>,
    constraints: Constraints,
}

impl Asked {
    /// The answer for each device, in their order; the machine's cores share the planning.
    fn answers(&self, devices: &[&Arc<Known>]) -> Vec<Answer> {
        let workers = available_parallelism().map_or(1, NonZero::get).min(MOST_WORKERS);
        let answer = |known: &&Arc<Known>| {
            let device = known.row.device.parse().ok()?;
            Some(self.answer(&known.row, device, known.measured.as_ref()))
        };
        let part = |part: &[&Arc<Known>]| part.iter().filter_map(answer).collect::<Vec<Answer>>();
        if devices.len() < FEW {
            return part(devices);
        }
        scope(|scope| {
            let parts = devices.chunks(devices.len().div_ceil(workers));
            let working: Vec<_> = parts.map(|devices| scope.spawn(move || part(devices))).collect();
            let joined = working.into_iter().map(|worker| worker.join());
            joined.flat_map(|answers| answers.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }

    /// As the device would plan: without what serves there now, and with its file to be fetched if it is another.
    fn plan(&self, serves: Option<&str>, measured: &Measurements) -> (Plan, Constraints) {
        let absent = self.candidates.iter().filter(|candidate| Some(candidate.target.as_str()) != serves);
        let constraints = Constraints {
            to_fetch: absent.map(|candidate| candidate.target.clone()).collect(),
            serving: serves.and_then(|target| target.parse().ok()),
            ..self.constraints.clone()
        };
        let serving = serves.and_then(|target| self.variants.iter().find(|(name, _)| name.as_str() == target));
        let plan = match serving {
            Some((_, facts)) => plan(&self.candidates, &given_back(measured, facts, &constraints), &constraints),
            None => plan(&self.candidates, measured, &constraints),
        };
        (plan, constraints)
    }

    /// As the device would answer.
    fn answer(&self, row: &Row, device: DeviceId, measured: Option<&Measurements>) -> Answer {
        let never = || Answer {
            device: device.clone(),
            target: None,
            context_tokens: 0,
            tokens_per_second_milli: 0,
            lack: Some(Lack::NeverMeasured),
            because: "never said what its machine can give".to_owned(),
        };
        let Some(measured) = measured.filter(|measured| measured.memory_total_bytes > 0) else { return never() };
        let (plan, _) = self.plan(row.said.as_ref().and_then(|said| said.target.as_deref()), measured);
        let nearest = |verdict: &&Verdict| match (&plan.choice, verdict.broken) {
            (Some(choice), _) if choice.target == verdict.target => (0, 0),
            (_, Some(broken)) => Lack::of(broken).distance(),
            (_, None) => (u8::MAX, 0),
        };
        let chosen = plan.choice.as_ref();
        let verdict = match chosen {
            Some(choice) => plan.verdicts.iter().find(|verdict| verdict.target == choice.target),
            None => plan.verdicts.iter().min_by_key(nearest),
        };
        let Some(verdict) = verdict else { return never() };
        Answer {
            device,
            target: Some(verdict.target.clone()),
            context_tokens: chosen.map_or(0, |choice| choice.context_tokens),
            tokens_per_second_milli: verdict.speed.tokens_per_second_milli,
            lack: if chosen.is_some() { None } else { verdict.broken.map(Lack::of) },
            because: verdict.because.clone(),
        }
    }
}

/// What one device would make of the model that it is assigned, for a picture.
#[derive(Debug)]
pub(crate) struct DevicePlan {
    /// The model.
    pub(crate) model: ModelId,
    /// Its variants.
    pub(crate) candidates: Vec<Candidate>,
    /// What was asked of them.
    pub(crate) constraints: Constraints,
    /// The answer of the planner's own code.
    pub(crate) plan: Plan,
}

impl Fleet {
    /// The plan of a device for the model that it is assigned, by what it measured last; none if it is assigned none, never
    /// measured, or the catalogue has no such model any more.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(crate) fn device_plan(&self, device: &DeviceSummary) -> Result<Option<DevicePlan>, FleetError> {
        let assigned =
            device.assignment.as_ref().and_then(|one| Some((one.model.clone()?, one.minimum_context_tokens)));
        let measured = device.reported.as_ref().and_then(|reported| reported.measurements.as_ref());
        let (Some((model, context_tokens)), Some(measured)) =
            (assigned, measured.filter(|measured| measured.memory_total_bytes > 0))
        else {
            return Ok(None);
        };
        let question =
            Question { model: model.clone(), context_tokens, tokens_per_second: 0.0, selector: None, limit: 0 };
        let asked = match self.asked(&question) {
            Err(FleetError::UnknownModel(_)) => return Ok(None),
            asked => asked?,
        };
        let serves = device.reported.as_ref().and_then(|reported| reported.model.as_ref());
        let (plan, constraints) = asked.plan(serves.map(|serves| serves.target.as_str()), measured);
        Ok(Some(DevicePlan { model, candidates: asked.candidates, constraints, plan }))
    }

    /// Which devices could hold a model, and what the others lack, before a byte is sent.
    ///
    /// # Errors
    /// [`FleetError::UnknownModel`]; as [`selector`](Self::selector); [`FleetError::Inventory`] if no such speed can be asked
    /// for.
    pub fn what_if(&self, question: &Question) -> Result<WhatIf, FleetError> {
        let selector = question.selector.as_deref().map(|text| self.selector(text)).transpose()?;
        let asked = self.asked(question)?;
        let mut answer = WhatIf {
            model: question.model.clone(),
            of: 0,
            hold: 0,
            summary: String::new(),
            variants: BTreeMap::new(),
            devices: Vec::new(),
        };
        let rows = self.known(&self.desk()?)?;
        let of_question = |known: &&Arc<Known>| {
            known.row.revoked_s.is_none() && selector.as_ref().is_none_or(|selector| selector.matches(&known.facts))
        };
        let chosen: Vec<&Arc<Known>> = rows.iter().filter(of_question).collect();
        let mut lacks = Lacks::default();
        for one in asked.answers(&chosen) {
            answer.of += 1;
            match (one.lack, &one.target) {
                (Some(lack), _) => lacks.count(lack),
                (None, Some(target)) => {
                    answer.hold += 1;
                    *answer.variants.entry(target.clone()).or_default() += 1;
                }
                (None, None) => {}
            }
            if answer.devices.len() < question.limit {
                answer.devices.push(one);
            }
        }
        answer.summary = lacks.words(answer.hold, answer.of);
        Ok(answer)
    }

    fn asked(&self, question: &Question) -> Result<Asked, FleetError> {
        let speed = question.tokens_per_second;
        if !(0.0..=MOST_TOKENS_PER_SECOND).contains(&speed) {
            return Err(FleetError::Inventory("a speed is 0 to 1000000 tokens per second".to_owned()));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its range was just checked")]
        let minimum_tokens_per_second_milli = (speed * 1000.0).round() as u64;
        let targets = self.inner.database.targets()?;
        let variants: BTreeMap<TargetName, VariantFacts> = targets
            .into_iter()
            .filter_map(|target| match target.kind {
                TargetKind::Variant(facts) => Some((target.name, facts)),
                _ => None,
            })
            .collect();
        let of_model = variants.iter().filter(|(_, facts)| facts.model.model == question.model);
        let candidates: Vec<Candidate> =
            of_model.map(|(target, facts)| Candidate { target: target.clone(), facts: facts.clone() }).collect();
        if candidates.is_empty() {
            return Err(FleetError::UnknownModel(question.model.to_string()));
        }
        let constraints = Constraints {
            minimum_context_tokens: question.context_tokens,
            minimum_tokens_per_second_milli,
            ..Constraints::default()
        };
        Ok(Asked { candidates, variants, constraints })
    }
}

/// What devices lack, counted, with the smallest and the largest number.
#[derive(Default)]
struct Lacks {
    memory: Range,
    disk: Range,
    speed: Range,
    context: u64,
    quality: u64,
    licence: u64,
    approval: u64,
    class: u64,
    never: u64,
}

#[derive(Default)]
struct Range {
    count: u64,
    least: u64,
    most: u64,
}

impl Range {
    fn take(&mut self, number: u64) {
        self.least = if self.count == 0 { number } else { self.least.min(number) };
        self.most = self.most.max(number);
        self.count += 1;
    }

    fn words(&self, say: impl Fn(u64) -> String) -> String {
        let (least, most) = (say(self.least), say(self.most));
        if least == most { least } else { format!("{least} to {most}") }
    }
}

impl Lacks {
    fn count(&mut self, lack: Lack) {
        match lack {
            Lack::Memory { missing_bytes } => self.memory.take(missing_bytes),
            Lack::Disk { missing_bytes } => self.disk.take(missing_bytes),
            Lack::Speed { tokens_per_second_milli } => self.speed.take(tokens_per_second_milli),
            Lack::Context => self.context += 1,
            Lack::Quality { .. } => self.quality += 1,
            Lack::Licence => self.licence += 1,
            Lack::Approval => self.approval += 1,
            Lack::Class => self.class += 1,
            Lack::NeverMeasured => self.never += 1,
        }
    }

    fn words(&self, hold: u64, of: u64) -> String {
        let tokens = |milli: u64| format!("{}.{}", milli / 1000, milli % 1000 / 100);
        let Self { memory, disk, speed, .. } = self;
        let lacks = [
            (memory.count, format!("lack memory ({})", memory.words(size))),
            (disk.count, format!("lack room on the disk ({})", disk.words(size))),
            (speed.count, format!("too slow ({} tokens/s)", speed.words(tokens))),
            (self.context, "with no variant of so long a context".to_owned()),
            (self.quality, "with no variant of such quality".to_owned()),
            (self.licence, "not allowed by licence".to_owned()),
            (self.approval, "where nobody approved it".to_owned()),
            (self.class, "not allowed by class".to_owned()),
            (self.never, "never measured".to_owned()),
        ];
        let lacks: Vec<String> =
            lacks.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect();
        let separator = if lacks.is_empty() { "" } else { "; " };
        format!("{hold} of {of} hold it{separator}{}", lacks.join(", "))
    }
}
