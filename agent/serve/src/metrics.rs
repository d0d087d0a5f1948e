//! What is measured while serving. Labels are names of routes, models, rules and reasons, never what a caller wrote or is.

pub(crate) mod names;
mod trace;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outpost_metrics::{Counters, Histograms, Page};
use tokio::sync::mpsc;

use crate::queue::Load;
use crate::{Ending, FinishReason, Prediction};

pub use trace::{Part, Trace};

const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const EACH_TOKEN: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const TOKENS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];
const GEN_AI_SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const APPEND: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Everything that is counted.
pub(crate) struct Metrics {
    requests: Counters,
    denials: Counters,
    refusals: Counters,
    aborted: Counters,
    content_hits: Counters,
    audit_append: Histograms,
    prompt_tokens: Counters,
    generation_tokens: Counters,
    prefix_queries: Counters,
    prefix_hits: Counters,
    success: Counters,
    first_token: Histograms,
    inter_token: Histograms,
    end_to_end: Histograms,
    queue_time: Histograms,
    prefill_time: Histograms,
    decode_time: Histograms,
    gen_ai_tokens: Histograms,
    gen_ai_duration: Histograms,
    gen_ai_first_token: Histograms,
    gen_ai_per_token: Histograms,
    traces: Option<mpsc::Sender<Trace>>,
    traces_dropped: AtomicU64,
}

/// The course of one answer.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    pub(crate) model: String,
    /// `chat` or `text_completion`.
    pub(crate) operation: &'static str,
    pub(crate) endpoint: &'static str,
    pub(crate) max_tokens: u32,
    /// When the request came.
    pub(crate) came: Instant,
    /// How long it waited for its turn.
    pub(crate) waited: Duration,
    /// When its turn came.
    pub(crate) began: Instant,
    /// When the first of the answer came.
    pub(crate) first: Option<Instant>,
}

/// What the rest of the device says for a page of measurements.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) load: Load,
    pub(crate) audit_records: u64,
    /// Models in memory, by name.
    pub(crate) loaded: Vec<String>,
    /// Part of the conversations' memory in use, where it is measured.
    pub(crate) kv_cache_usage: Option<f64>,
    /// Steps that the device stands back for want of memory, where it says so.
    pub(crate) pressure_steps: Option<f64>,
    /// Version, target and origin of the build that runs, where it says so.
    pub(crate) build: Option<[String; 3]>,
    /// How predicted times compare with measured ones.
    pub(crate) predictions: Vec<Prediction>,
}

impl Metrics {
    /// Finished traces go to `traces`, if somebody takes them; what does not fit there is dropped and counted.
    pub(crate) fn new(traces: Option<mpsc::Sender<Trace>>) -> Self {
        let counters = Counters::default;
        let request = || Histograms::new(REQUEST);
        Self {
            requests: counters(),
            denials: counters(),
            refusals: counters(),
            aborted: counters(),
            content_hits: counters(),
            audit_append: Histograms::new(APPEND),
            prompt_tokens: counters(),
            generation_tokens: counters(),
            prefix_queries: counters(),
            prefix_hits: counters(),
            success: counters(),
            first_token: Histograms::new(FIRST_TOKEN),
            inter_token: Histograms::new(EACH_TOKEN),
            end_to_end: request(),
            queue_time: request(),
            prefill_time: request(),
            decode_time: request(),
            gen_ai_tokens: Histograms::new(TOKENS),
            gen_ai_duration: Histograms::new(GEN_AI_SECONDS),
            gen_ai_first_token: Histograms::new(GEN_AI_SECONDS),
            gen_ai_per_token: Histograms::new(GEN_AI_SECONDS),
            traces,
            traces_dropped: AtomicU64::new(0),
        }
    }

    /// A request was answered, well or not.
    pub(crate) fn request(&self, endpoint: &'static str, status: u16) {
        self.requests.add(&[endpoint, &status.to_string()], 1);
    }

    /// Policy denied; without a rule it is that none allows.
    pub(crate) fn denied(&self, rules: &[String]) {
        if rules.is_empty() {
            self.denials.add(&["no rule allows it"], 1);
        }
        for rule in rules {
            self.denials.add(&[rule], 1);
        }
    }

    /// A limit or the queue refused.
    pub(crate) fn refused(&self, by: &'static str) {
        self.refusals.add(&[by], 1);
    }

    /// Content rules found something.
    pub(crate) fn content(&self, direction: &'static str, class: &str, act: &str, count: u64) {
        self.content_hits.add(&[direction, class, act], count);
    }

    /// A record became durable.
    pub(crate) fn appended(&self, took: Duration) {
        self.audit_append.time(&[], took);
    }

    /// A part of an answer followed another.
    pub(crate) fn next_part(&self, model: &str, after: Duration) {
        self.inter_token.time(&[model], after);
    }

    /// An answer came to its end.
    pub(crate) fn finished(&self, course: &Course, ending: &Ending) {
        let (model, usage) = (&*course.model, ending.usage);
        let reason = match ending.reason {
            // vLLM knows no other end of an answer that calls.
            FinishReason::Stop | FinishReason::StopText(_) | FinishReason::ToolCalls => "stop",
            FinishReason::Length => "length",
        };
        self.success.add(&[model, reason], 1);
        self.prompt_tokens.add(&[model], usage.prompt_tokens.into());
        self.generation_tokens.add(&[model], usage.generated_tokens.into());
        self.prefix_queries.add(&[model], usage.prompt_tokens.into());
        self.prefix_hits.add(&[model], usage.cached_tokens.into());
        let whole = course.came.elapsed();
        self.end_to_end.time(&[model], whole);
        self.queue_time.time(&[model], course.waited);
        self.prefill_time.time(&[model], ending.timings.prompt);
        self.decode_time.time(&[model], ending.timings.generation);
        let gen_ai = [model, course.operation];
        self.gen_ai_duration.time(&gen_ai, whole);
        for (kind, tokens) in [("input", usage.prompt_tokens), ("output", usage.generated_tokens)] {
            self.gen_ai_tokens.observe(&[model, course.operation, kind], f64::from(tokens));
        }
        if let Some(first) = course.first {
            let to_first = first.saturating_duration_since(course.came);
            self.first_token.time(&[model], to_first);
            self.gen_ai_first_token.time(&gen_ai, to_first);
        }
        if usage.generated_tokens > 1 {
            self.gen_ai_per_token.time(&gen_ai, ending.timings.generation / (usage.generated_tokens - 1));
        }
        self.trace(|| Trace::of(course, Some(ending), ""));
    }

    /// An answer was broken off.
    pub(crate) fn broke_off(&self, course: &Course, because: &'static str) {
        self.aborted.add(&[because], 1);
        self.success.add(&[&course.model, "abort"], 1);
        self.trace(|| Trace::of(course, None, because));
    }

    fn trace(&self, trace: impl FnOnce() -> Option<Trace>) {
        let Some(traces) = &self.traces else { return };
        // Nobody waits for whoever takes traces: what does not fit is lost, and counted.
        if trace().is_none_or(|trace| traces.try_send(trace).is_err()) {
            self.traces_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The page for Prometheus.
    pub(crate) fn page(&self, around: &Surroundings) -> String {
        let mut page = Page::default();
        let model = &[names::MODEL_LABEL][..];
        let gen_ai = &[names::GEN_AI_MODEL, names::GEN_AI_OPERATION][..];
        page.gauge(names::RUNNING, "Answers being given.", around.load.running as f64);
        page.gauge(names::WAITING, "Requests in the queue.", around.load.waiting as f64);
        if let Some(usage) = around.kv_cache_usage {
            page.gauge(names::KV_CACHE_USAGE, "Part of the conversations' memory in use, 0 to 1.", usage);
        }
        if let Some(steps) = around.pressure_steps {
            page.gauge(names::PRESSURE, "Steps that the device stands back for want of memory, 0 to 5.", steps);
        }
        if let Some(build) = &around.build {
            let labels = &["version", "target", "source"];
            page.labelled_gauges(names::BUILD, "The build of the agent that runs.", labels, &[(build.to_vec(), 1.0)]);
        }
        self.prefix_queries.write(&mut page, names::PREFIX_QUERIES, "Prompt tokens looked up.", model);
        self.prefix_hits.write(&mut page, names::PREFIX_HITS, "Prompt tokens that were there already.", model);
        self.prompt_tokens.write(&mut page, names::PROMPT_TOKENS, "Tokens read.", model);
        self.generation_tokens.write(&mut page, names::GENERATION_TOKENS, "Tokens generated.", model);
        let by_reason = &[names::MODEL_LABEL, "finished_reason"];
        self.success.write(&mut page, names::SUCCESS, "Answers, by how they ended.", by_reason);
        for (histograms, name, help) in [
            (&self.first_token, names::TIME_TO_FIRST_TOKEN, "From the request to the first of the answer."),
            (&self.inter_token, names::INTER_TOKEN, "From one part of the answer to the next."),
            (&self.end_to_end, names::END_TO_END, "From the request to the end of the answer."),
            (&self.queue_time, names::QUEUE_TIME, "In the queue."),
            (&self.prefill_time, names::PREFILL_TIME, "Reading the prompt."),
            (&self.decode_time, names::DECODE_TIME, "Generating."),
        ] {
            histograms.write(&mut page, name, help, model);
        }
        let by_type = &[names::GEN_AI_MODEL, names::GEN_AI_OPERATION, names::GEN_AI_TOKEN_TYPE];
        self.gen_ai_tokens.write(&mut page, names::GEN_AI_TOKENS, "Tokens of an answer.", by_type);
        for (histograms, name, help) in [
            (&self.gen_ai_duration, names::GEN_AI_DURATION, "From the request to the end of the answer."),
            (&self.gen_ai_first_token, names::GEN_AI_FIRST_TOKEN, "From the request to the first of the answer."),
            (&self.gen_ai_per_token, names::GEN_AI_PER_TOKEN, "Of each generated token after the first."),
        ] {
            // Prometheus names carry their unit.
            histograms.write(&mut page, &format!("{name}_seconds"), help, gen_ai);
        }
        self.requests.write(&mut page, names::REQUESTS, "Requests, by route and status.", &["endpoint", "status"]);
        self.denials.write(&mut page, names::DENIALS, "Denials, by rule.", &["rule"]);
        self.refusals.write(&mut page, names::REFUSALS, "Requests that a limit or the queue refused.", &["by"]);
        self.aborted.write(&mut page, names::ABORTED, "Answers that were broken off.", &["because"]);
        let by_class = &["direction", "class", "act"];
        self.content_hits.write(&mut page, names::CONTENT_HITS, "What content rules found.", by_class);
        page.counter(names::AUDIT_RECORDS, "Records in the audit log.", around.audit_records);
        self.audit_append.write(&mut page, names::AUDIT_APPEND, "From appending a record to its being durable.", &[]);
        let loaded: Vec<_> = around.loaded.iter().map(|name| (name.clone(), 1.0)).collect();
        page.gauges(names::MODELS_LOADED, "Models in memory.", "model", &loaded);
        if !around.predictions.is_empty() {
            let labelled = |one: &Prediction| vec![one.model.clone(), one.variant.clone(), one.what.to_owned()];
            let ratios: Vec<_> = around.predictions.iter().map(|one| (labelled(one), one.ratio)).collect();
            let help = "Measured over predicted times, smoothed.";
            page.labelled_gauges(names::PREDICTION_RATIO, help, &["model", "variant", "what"], &ratios);
        }
        let dropped = self.traces_dropped.load(Ordering::Relaxed);
        page.counter(names::TRACES_DROPPED, "Finished traces that nobody took in time.", dropped);
        page.into_text()
    }
}
