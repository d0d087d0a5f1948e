//! The work itself: what is to be measured, in which order, what is known of it already, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outpost_contract::{Measurements, VariantFacts};
use outpost_engine::{Backend, KERNEL_BUILD, LoadOptions, Model};
use outpost_planner::{budget, speed};

use super::choice::choose;
use super::class::HardwareClass;
use super::evidence::{Effort, Evidence, FileRow, SettingRow};
use super::figures::{nats, percent, thousandths};
use super::kept::{How, Journal, Room};
use super::limits::Limits;
use super::measuring::{expected, measure};
use super::pareto::pareto;
use super::prune::{Pruned, needs_of, prune};
use super::quality::Exam;
use super::setting::{Kv, Run, Setting, Space};
use super::variants::{self, Offer, Variant};
use crate::state::StateDir;

/// What somebody wants tuned.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) offer: Offer,
    pub(crate) space: Space,
    pub(crate) limits: Limits,
    pub(crate) effort: Effort,
    pub(crate) exam: Exam,
    /// Measures anew what is known.
    pub(crate) again: bool,
}

/// What would be measured.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) settings: Vec<Setting>,
    pub(crate) pruned: Vec<Pruned>,
    /// How long it is expected to take if nothing is known yet.
    pub(crate) expected: Duration,
}

impl Survey {
    /// Everything that has to be measured, once each, in the order of the work.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut seen = BTreeSet::new();
        self.settings.iter().map(Setting::run).filter(|run| seen.insert(run.clone())).collect()
    }

    /// Every variant with every type of keys and values, once each.
    fn judged(&self) -> Vec<(String, Kv)> {
        let mut seen = BTreeSet::new();
        let all = self.settings.iter().map(|setting| (setting.variant.clone(), setting.kv));
        all.filter(|one| seen.insert(one.clone())).collect()
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) evidence: Evidence,
    /// Where the variants lie.
    pub(crate) files: BTreeMap<String, PathBuf>,
    /// Runs that were measured now, and those that were known.
    pub(crate) measured_runs: usize,
    pub(crate) known_runs: usize,
}

/// Looks through everything that could be measured.
pub(crate) fn survey(order: &Order, measurements: &Measurements) -> Survey {
    let facts = facts(&order.offer);
    let (settings, pruned) = prune(order.space.settings(), &facts, measurements, &order.limits);
    let mut survey = Survey { settings, pruned, expected: Duration::ZERO };
    survey.expected = survey.runs().iter().map(|run| expected_run(run, &facts, order, measurements)).sum();
    survey
}

fn facts(offer: &Offer) -> BTreeMap<String, VariantFacts> {
    offer.variants.iter().map(|variant| (variant.name.clone(), variant.facts.clone())).collect()
}

fn expected_run(
    run: &Run,
    facts: &BTreeMap<String, VariantFacts>,
    order: &Order,
    measurements: &Measurements,
) -> Duration {
    let predicted = facts.get(&run.variant).map_or(0, |facts| speed(facts, measurements).tokens_per_second_milli);
    expected(run, &order.effort, predicted)
}

/// Measures and judges what is not known yet, and chooses. `say` hears one line for each step.
pub(crate) fn tune(
    state: &StateDir,
    order: &Order,
    measurements: &Measurements,
    now_s: i64,
    say: &mut dyn FnMut(&str),
) -> Result<Done> {
    let survey = survey(order, measurements);
    if survey.settings.is_empty() {
        let because = survey.pruned.first().map_or("there is no setting", |pruned| pruned.because.as_str());
        bail!("nothing is left to measure; the first setting: {because}; `--dry-run` tells of each");
    }
    let origin = variants::row(&order.offer.quantisation, &order.offer.origin)?;
    let room = Room::open(state, origin.sha256)?;
    let mut at_work = Work { order, measurements, survey: &survey, room: &room, say, began: Instant::now() };
    let (files, rows) = at_work.make_variants(&origin)?;
    let reference = at_work.reference()?;
    let of_reference = rows.iter().find(|row| row.variant == reference.name).context("the reference was not made")?;
    let class = HardwareClass::of(measurements);
    let mut journal = room.journal(&How::new(&class, KERNEL_BUILD, of_reference.sha256, &order.effort))?;
    if order.again {
        journal.forget()?;
    }
    let all = survey.runs().len();
    let known_runs = survey.runs().iter().filter(|run| journal.run(run).is_some()).count();
    if known_runs > 0 {
        (at_work.say)(&format!("{known_runs} of {all} runs are known from before and are not measured again"));
    }
    at_work.measure_runs(&files, &mut journal)?;
    at_work.judge_variants(&files, &reference.name, &mut journal)?;
    let (model, limits, effort) = (order.offer.model.clone(), order.limits, order.effort.clone());
    let mut evidence =
        Evidence::new(now_s, KERNEL_BUILD, class, model, origin, rows, reference.name.clone(), effort, limits);
    fill(&mut evidence, &survey, &journal, &facts(&order.offer))?;
    let stays = evidence.chosen().map(|row| row.setting.variant.clone());
    variants::clear(&order.offer.variants, room.folder(), stays.as_deref())?;
    Ok(Done { evidence, files, measured_runs: all - known_runs, known_runs })
}

/// Everything that was found, the choice among it, and why.
fn fill(
    evidence: &mut Evidence,
    survey: &Survey,
    journal: &Journal,
    facts: &BTreeMap<String, VariantFacts>,
) -> Result<()> {
    let missing = || "something was not measured".to_owned();
    for run in survey.runs() {
        evidence.runs.push(journal.run(&run).with_context(missing)?.clone());
    }
    for (variant, kv) in survey.judged() {
        evidence.qualities.push(journal.quality(&variant, kv).with_context(missing)?.clone());
    }
    for setting in &survey.settings {
        let needs_bytes = needs_of(facts.get(&setting.variant).with_context(missing)?, setting);
        let row = SettingRow { setting: setting.clone(), needs_bytes, pareto: false, because: String::new() };
        evidence.settings.push(row);
    }
    let points = evidence.points();
    let (chosen, set) = (choose(&points, &evidence.limits), pareto(&points));
    for ((row, because), pareto) in evidence.settings.iter_mut().zip(chosen.because).zip(set) {
        (row.because, row.pareto) = (because, pareto);
    }
    evidence.choice = chosen.index.map(u32::try_from).transpose().context("too many settings")?;
    evidence.pruned.clone_from(&survey.pruned);
    Ok(())
}

struct Work<'a> {
    order: &'a Order,
    measurements: &'a Measurements,
    survey: &'a Survey,
    room: &'a Room,
    say: &'a mut dyn FnMut(&str),
    began: Instant,
}

impl<'a> Work<'a> {
    /// The variants that are measured, the largest first.
    fn wanted(&self) -> Vec<&'a Variant> {
        let names: BTreeSet<&str> = self.survey.settings.iter().map(|setting| setting.variant.as_str()).collect();
        self.order.offer.variants.iter().filter(|variant| names.contains(variant.name.as_str())).collect()
    }

    /// Makes those that are missing; where each lies and what is in it.
    fn make_variants(&mut self, origin: &FileRow) -> Result<(BTreeMap<String, PathBuf>, Vec<FileRow>)> {
        let (offer, folder) = (&self.order.offer, self.room.folder());
        let wanted = self.wanted();
        variants::check_room(&wanted, folder)?;
        let (mut files, mut rows) = (BTreeMap::new(), Vec::new());
        for variant in wanted {
            if !variants::path(variant, folder).exists() {
                (self.say)(&format!("making {} of {}", variant.name, offer.quantisation));
            }
            let file = variants::make(variant, &offer.origin, folder, &mut |_| ())?;
            let is_origin = file == offer.origin;
            rows.push(if is_origin { origin.clone() } else { variants::row(&variant.name, &file)? });
            files.insert(variant.name.clone(), file);
        }
        Ok((files, rows))
    }

    /// The largest variant that can be in memory beside any other.
    fn reference(&self) -> Result<&'a Variant> {
        let wanted = self.wanted();
        let weights = |variant: &Variant| {
            variant.facts.footprint.as_deref().map_or(variant.facts.weight_bytes, |footprint| footprint.weight_bytes)
        };
        let usable = budget(self.measurements).usable_bytes;
        let fits = |one: &&&Variant| {
            let others = wanted.iter().filter(|other| other.name != one.name).map(|other| weights(other));
            weights(one).saturating_add(others.max().unwrap_or(0)) <= usable
        };
        let found = wanted.iter().find(fits).copied();
        found.context("no two variants fit into memory together, so none can be compared with another; name fewer")
    }

    fn measure_runs(&mut self, files: &BTreeMap<String, PathBuf>, journal: &mut Journal) -> Result<()> {
        let facts = facts(&self.order.offer);
        let (runs, mut loaded) = (self.survey.runs(), None::<(String, u32, Arc<Model>)>);
        let mut took = Vec::new();
        for (place, run) in runs.iter().enumerate() {
            if journal.run(run).is_some() {
                continue;
            }
            if loaded.as_ref().is_none_or(|(name, threads, _)| (name, threads) != (&run.variant, &run.threads)) {
                // The one before has to leave first, or two would be in memory.
                drop(loaded.take());
                let model = load(files, &run.variant, run.threads as usize)?;
                loaded = Some((run.variant.clone(), run.threads, model));
            }
            let Some((_, _, model)) = &loaded else { continue };
            let began = Instant::now();
            let figures = measure(model, run, &self.order.effort)?;
            took.push(began.elapsed());
            let left = runs[place + 1..].iter().filter(|run| journal.run(run).is_none());
            let left = match took.iter().sum::<Duration>().checked_div(u32::try_from(took.len()).unwrap_or(1)) {
                Some(mean) => mean * u32::try_from(left.count()).unwrap_or(u32::MAX),
                None => left.map(|run| expected_run(run, &facts, self.order, self.measurements)).sum(),
            };
            let line = format!(
                "{:>3} of {}  {run}: {} tokens/s each, {} together, first token {} ms{}{}",
                place + 1,
                runs.len(),
                thousandths(figures.tokens_per_second_milli.p50),
                thousandths(figures.together_milli),
                thousandths(figures.first_token_us.p50),
                if figures.disturbed_by.is_empty() { "" } else { ", disturbed" },
                about(left),
            );
            journal.keep_run(figures)?;
            (self.say)(&line);
        }
        Ok(())
    }

    fn judge_variants(
        &mut self,
        files: &BTreeMap<String, PathBuf>,
        reference: &str,
        journal: &mut Journal,
    ) -> Result<()> {
        let missing: Vec<_> =
            self.survey.judged().into_iter().filter(|(name, kv)| journal.quality(name, *kv).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let reference = (reference, load(files, reference, 0)?);
        let mut loaded = None::<(String, Arc<Model>)>;
        for (name, kv) in missing {
            if loaded.as_ref().is_none_or(|(other, _)| *other != name) {
                drop(loaded.take());
                let model = if name == reference.0 { Arc::clone(&reference.1) } else { load(files, &name, 0)? };
                loaded = Some((name.clone(), model));
            }
            let Some((_, model)) = &loaded else { continue };
            let found = self.order.exam.judge(&name, model, &reference.1, kv)?;
            let tasks = found.tasks.map(|tasks| format!(", {} of {} tasks", tasks.right, tasks.asked));
            let line = format!(
                "quality of {name} with {kv} keys: perplexity {}, {} nats from {}, same choice in {}{}",
                thousandths(found.perplexity_milli),
                nats(found.divergence_micro),
                reference.0,
                percent(found.agreement_ppm),
                tasks.unwrap_or_default(),
            );
            journal.keep_quality(found)?;
            (self.say)(&line);
        }
        (self.say)(&format!("measured and judged in {} s", self.began.elapsed().as_secs()));
        Ok(())
    }
}

/// Loads a variant on so many threads of the processor; 0 for all cores.
fn load(files: &BTreeMap<String, PathBuf>, name: &str, threads: usize) -> Result<Arc<Model>> {
    let file = files.get(name).with_context(|| format!("`{name}` was not made"))?;
    let options = LoadOptions { threads, backend: Some(Backend::Cpu), ..LoadOptions::default() };
    Model::load(file, &options).with_context(|| format!("cannot load `{}`", file.display()))
}

fn about(left: Duration) -> String {
    let seconds = left.as_secs();
    if left.is_zero() { String::new() } else { format!("; about {}:{:02} left", seconds / 60, seconds % 60) }
}

/// One line for what would be measured, for `--dry-run` and for the beginning.
pub(crate) fn intention(survey: &Survey) -> String {
    let seconds = survey.expected.as_secs();
    let most = survey.settings.len() + survey.pruned.len();
    format!(
        "{} runs for {} of {most} settings, {} are left out; about {}:{:02} minutes",
        survey.runs().len(),
        survey.settings.len(),
        survey.pruned.len(),
        seconds / 60,
        seconds % 60
    )
}
