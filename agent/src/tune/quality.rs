//! How good a variant is: what it expects of a text beside what the reference expects, and the user's own tasks.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use outpost_engine::batch::{Engine, EngineOptions, EventKind};
use outpost_engine::evaluate::{Evaluation, Passage, evaluate_keeping, windows};
use outpost_engine::generate::{FinishReason, Request};
use outpost_engine::template::{Message, RenderOptions};
use outpost_engine::{Model, encode_chat_with};

use super::figures::{QualityFigures, Tasks};
use super::setting::Kv;
use super::tasks::Task;
use crate::template_worker::{Limits, TemplateWorker};

/// Prose about nothing in particular, for who gives no text: enough to tell variants apart, not to tell models apart.
pub(crate) const SAMPLE: &str = include_str!("sample.txt");

/// Most tokens of an answer to a task.
const ANSWER_TOKENS: u32 = 128;

/// What variants are judged by.
#[derive(Debug)]
pub(crate) struct Exam {
    pub(crate) text: String,
    /// Tokens of a window of the text.
    pub(crate) window_tokens: usize,
    pub(crate) tasks: Vec<Task>,
    /// This program, which runs a stranger's template in a process of its own.
    pub(crate) program: PathBuf,
}

impl Exam {
    /// Judges a variant with one type of keys and values.
    pub(crate) fn judge(&self, name: &str, model: &Arc<Model>, reference: &Model, kv: Kv) -> Result<QualityFigures> {
        let found = evaluate_keeping(kv.of_engine(), model, Some(reference), &self.passages(model)?, &mut |_, _| {});
        let found = found.with_context(|| format!("`{name}` cannot be judged by this text"))?;
        let tasks = if self.tasks.is_empty() { None } else { Some(self.ask(model, kv)?) };
        figures(name, kv, &found, tasks)
    }

    fn passages(&self, model: &Model) -> Result<Vec<Passage>> {
        let tokenizer = model.tokenizer();
        let tokens = tokenizer.encode(&self.text, false, tokenizer.add_bos());
        let window = self.window_tokens.min(tokens.len());
        windows(model, &tokens, window).context("variants cannot be judged by this text")
    }

    /// Every task, greedily.
    fn ask(&self, model: &Arc<Model>, kv: Kv) -> Result<Tasks> {
        let template = model.template().map(|template| {
            TemplateWorker::start(self.program.clone(), template.source(), Limits::default())
                .context("the model's chat template cannot be used")
        });
        let template = template.transpose()?;
        let context_tokens = model.info().context_tokens;
        let options = EngineOptions { context_tokens, slots: 1, ..EngineOptions::default() };
        let mut engine = Engine::new(Arc::clone(model), options).keeping(kv.of_engine());
        let mut right = 0;
        for (number, task) in self.tasks.iter().enumerate() {
            let tokens = match &template {
                Some(worker) => {
                    let messages = [Message::new("user", task.prompt.as_str())];
                    encode_chat_with(model, &messages, &RenderOptions::default(), |job| worker.run(job))?
                }
                None => model.tokenizer().encode(&task.prompt, false, true),
            };
            let answer = answer(&mut engine, tokens).with_context(|| format!("task {}", number + 1))?;
            right += u32::from(task.is_right(&answer));
        }
        Ok(Tasks { right, asked: u32::try_from(self.tasks.len()).unwrap_or(u32::MAX) })
    }
}

fn answer(engine: &mut Engine, tokens: Vec<u32>) -> Result<String> {
    engine.submit(Request { limit: Some(ANSWER_TOKENS), ..Request::new(tokens) })?;
    let mut text = String::new();
    while !engine.is_idle() {
        for event in engine.step() {
            match event.kind {
                EventKind::Prompt(_) => {}
                EventKind::Text(said) => text.push_str(&said.text),
                EventKind::Finished(finished) => {
                    if let FinishReason::Error(error) = finished.reason {
                        bail!("the model failed: {error}");
                    }
                }
            }
        }
    }
    Ok(text)
}

fn figures(name: &str, kv: Kv, found: &Evaluation, tasks: Option<Tasks>) -> Result<QualityFigures> {
    let against = found.against.as_ref().context("nothing was compared")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let whole = |number: f64, factor: f64| (number * factor).round().clamp(0.0, 9e15) as u64;
    if !found.perplexity.is_finite() || !against.mean_divergence.is_finite() {
        bail!("`{name}` computes no numbers on this text: its weights are broken");
    }
    Ok(QualityFigures {
        variant: name.to_owned(),
        kv,
        perplexity_milli: whole(found.perplexity, 1e3),
        // Rounding may make it a hair less than nothing.
        divergence_micro: whole(against.mean_divergence, 1e6),
        agreement_ppm: u32::try_from(whole(against.top1_agreement, 1e6)).unwrap_or(u32::MAX),
        tasks,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use outpost_engine::LoadOptions;

    use super::*;

    #[test]
    fn a_model_is_no_distance_from_itself_and_half_precision_keys_are_hardly_any() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/outpost-demo-f16.gguf");
        let model = Model::load(path, &LoadOptions::threads(1)).unwrap();
        let exam = Exam { text: SAMPLE.to_owned(), window_tokens: 64, tasks: Vec::new(), program: PathBuf::new() };
        let exam = Exam { text: exam.text[..1_500].to_owned(), ..exam };
        let single = exam.judge("F16", &model, &model, Kv::F32).unwrap();
        assert_eq!((single.divergence_micro, single.agreement_ppm), (0, 1_000_000));
        let half = exam.judge("F16", &model, &model, Kv::F16).unwrap();
        assert!(half.divergence_micro < 1_000 && half.agreement_ppm > 950_000, "{half:?}");
        assert!(half.perplexity_milli > 1_000);
    }
}
