//! `outpost tune`: how a model runs best on this box, by measuring; or by the evidence of another box of its class.

mod words;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_audit::{Kind, Record};
use outpost_contract::{Measurements, Sha256};
use outpost_disk::{Clock, Ledger, atomic};
use outpost_probe::{ProbeOptions, measure};
use outpost_trust::VerifyingKey;
use serde_json::json;
use sha2::Digest;

use super::seal::read_bounded;
use super::{Here, Outcome, say, say_json};
use crate::args::{KvType, Tune};
use crate::tune::evidence::{EVIDENCE_BYTES, Effort, Evidence};
use crate::tune::limits::Limits;
use crate::tune::quality::{Exam, SAMPLE};
use crate::tune::reuse::{Reuse, reuse};
use crate::tune::setting::{Kv, Space};
use crate::tune::variants::offer;
use crate::tune::work::{self, Order};
use crate::tune::{kept, picture, tasks};

/// Longest context that is tuned for unless another is asked for: as the planner's.
const USUAL_CONTEXT: u32 = 8_192;

/// Conversations at once, unless others are asked for: as the service's, and one alone.
const USUAL_SLOTS: [u32; 2] = [4, 1];

/// Tokens of a window of the text.
const WINDOW_TOKENS: u32 = 256;

/// Largest text that variants are judged by, bytes.
const TEXT_BYTES: usize = 4 << 20;

/// A public key is 64 digits; a file of this size is something else.
const KEY_BYTES: usize = 4_096;

/// Fastest decoding and most bits that can be asked for.
const MOST: f64 = 1_000_000.0;

/// Runs the command.
pub(super) async fn run(here: &Here, arguments: Tune) -> Result<Outcome> {
    here.state.prepare()?;
    let Some(model) = arguments.model.clone() else {
        let key = kept::signing_key(&here.state)?.verifying_key().to_hex();
        if here.json {
            say_json(&json!({ "key": key }))?
        } else {
            say(key)?
        }
        return Ok(Outcome::Done);
    };
    let here = Here { state: here.state.clone(), json: here.json };
    // Everything from here on computes or waits for the disk.
    let work = move || match (&arguments.evidence, &arguments.trust) {
        (Some(evidence), Some(trust)) => take_over(&here, &arguments, &model, evidence, trust),
        _ => tune(&here, &arguments, &model),
    };
    tokio::task::spawn_blocking(work).await.context("tuning was interrupted")?
}

fn tune(here: &Here, arguments: &Tune, model: &Path) -> Result<Outcome> {
    let clock = Clock::open(here.state.ledgers())?;
    let measurements = measured(here, &clock)?;
    let order = order(arguments, model, &measurements)?;
    let survey = work::survey(&order, &measurements);
    if arguments.dry_run {
        if here.json {
            say_json(&words::survey_json(&survey))?
        } else {
            words::survey(&survey)?
        }
        return Ok(Outcome::Done);
    }
    talk(&work::intention(&survey));
    let done = work::tune(&here.state, &order, &measurements, clock.now_s(), &mut talk)?;
    let key = kept::signing_key(&here.state)?;
    let envelope = done.evidence.sign(&key).context("the evidence cannot be signed")?;
    let kept_at = kept::Room::open(&here.state, done.evidence.origin.sha256)?.keep(&envelope)?;
    if let Some(out) = &arguments.out {
        atomic::write(out, envelope.to_bytes())
            .with_context(|| format!("the evidence cannot be written to `{}`", out.display()))?;
    }
    draw(arguments, &done.evidence)?;
    record(here, &clock, "tune", &done.evidence)?;
    let file = done.evidence.chosen().and_then(|row| done.files.get(&row.setting.variant));
    let told = words::Told {
        evidence: &done.evidence,
        file: file.map(PathBuf::as_path),
        key: key.verifying_key(),
        measured_runs: done.measured_runs,
        known_runs: done.known_runs,
        reused: false,
    };
    if here.json {
        return say_json(&told.json()).map(|()| Outcome::Done);
    }
    told.say()?;
    talk(&format!("signed evidence: `{}`", kept_at.display()));
    Ok(Outcome::Done)
}

/// Reuses the evidence of another box, or says why it does not hold here.
fn take_over(here: &Here, arguments: &Tune, model: &Path, evidence: &Path, trust: &Path) -> Result<Outcome> {
    let clock = Clock::open(here.state.ledgers())?;
    let key = String::from_utf8(read_bounded(trust, KEY_BYTES)?).unwrap_or_default();
    let key: VerifyingKey = key.trim().parse().with_context(|| format!("`{}` is not trusted", trust.display()))?;
    let bytes = read_bounded(evidence, EVIDENCE_BYTES)?;
    let offer = offer(model, &arguments.also, &[])?;
    match reuse(&here.state, &bytes, key, &offer, &measured(here, &clock)?)? {
        Reuse::Refused(reasons) => {
            if here.json {
                say_json(&json!({ "reused": false, "measured_runs": 0, "refused": reasons }))?;
            } else {
                for reason in reasons {
                    say(format!("refused: {reason}"))?;
                }
                say(format!("tune here: outpost tune {}", model.display()))?;
            }
            Ok(Outcome::ProblemFound)
        }
        Reuse::Taken { evidence, file } => {
            draw(arguments, &evidence)?;
            record(here, &clock, "reuse_tuning", &evidence)?;
            let told = words::Told {
                evidence: &evidence,
                file: Some(&file),
                key,
                measured_runs: 0,
                known_runs: evidence.runs.len(),
                reused: true,
            };
            if here.json {
                say_json(&told.json())?
            } else {
                told.say()?
            }
            Ok(Outcome::Done)
        }
    }
}

fn draw(arguments: &Tune, evidence: &Evidence) -> Result<()> {
    let Some(file) = &arguments.picture else { return Ok(()) };
    atomic::write(file, picture::page(evidence))
        .with_context(|| format!("the picture cannot be written to `{}`", file.display()))
}

fn record(here: &Here, clock: &Clock, act: &str, evidence: &Evidence) -> Result<()> {
    let chosen = evidence.chosen().map_or_else(|| "nothing".to_owned(), |row| row.setting.to_string());
    let record = Record::new(Kind::AdminAct).act(act).detail("model", evidence.model.as_str().to_owned());
    here.record(clock, record.detail("choice", chosen))
}

/// What the machine can give, from the last full run while it holds: memory and disk are of now.
fn measured(here: &Here, clock: &Clock) -> Result<Measurements> {
    let (mut ledger, earlier) = Ledger::<Measurements>::open(here.state.ledgers(), "measurements")?;
    let options = ProbeOptions { models_dir: here.state.store(), quick: false, now_s: clock.now_s() };
    if let Some(earlier) = earlier.filter(|earlier| outpost_probe::outdated(earlier).is_none()) {
        return Ok(outpost_probe::refresh(&earlier, &options));
    }
    talk("measuring the machine for three seconds");
    let found = measure(&options);
    // While an agent runs, the ledger is its own; it measures for itself.
    if let Ok(_lock) = outpost_disk::StateLock::acquire(here.state.root()) {
        ledger.commit(&found)?;
    }
    Ok(found)
}

fn order(arguments: &Tune, model: &Path, measurements: &Measurements) -> Result<Order> {
    let offer = offer(model, &arguments.also, &arguments.variants)?;
    let trained = offer.variants.iter().map(|variant| variant.facts.model.context_tokens).min().unwrap_or(0);
    let or = |given: &[u32], usual: &[u32]| if given.is_empty() { usual.to_vec() } else { given.to_vec() };
    let cores = measurements.cores.max(1);
    let space = Space {
        variants: offer.variants.iter().map(|variant| variant.name.clone()).collect(),
        kvs: match arguments.kvs.as_slice() {
            [] => Kv::ALL.to_vec(),
            given => given.iter().map(|kv| if *kv == KvType::F16 { Kv::F16 } else { Kv::F32 }).collect(),
        },
        contexts: or(&arguments.contexts, &[trained.min(USUAL_CONTEXT)]),
        slots: or(&arguments.slots, &USUAL_SLOTS),
        threads: or(&arguments.threads, &[cores, (cores / 2).max(1)]),
    };
    let text = match &arguments.text {
        None => SAMPLE.to_owned(),
        Some(file) => String::from_utf8(read_bounded(file, TEXT_BYTES)?)
            .with_context(|| format!("`{}` is no UTF-8 text", file.display()))?,
    };
    let asked = arguments.tasks.as_deref().map(|file| read_bounded(file, tasks::TASK_BYTES)).transpose()?;
    let tasks = match &asked {
        None => Vec::new(),
        Some(bytes) => tasks::read(bytes).context("the tasks cannot be asked")?,
    };
    let effort = effort(arguments, trained, &text, asked.as_deref())?;
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let exam = Exam { text, window_tokens: effort.window_tokens as usize, tasks, program };
    Ok(Order { offer, space, limits: limits(arguments)?, effort, exam, again: arguments.again })
}

/// As much as was asked for, in as far as the model's context has room for it.
fn effort(arguments: &Tune, trained: u32, text: &str, tasks: Option<&[u8]>) -> Result<Effort> {
    let sha256 = |bytes: &[u8]| hex::encode(sha2::Sha256::digest(bytes)).parse::<Sha256>().context("a digest is one");
    if arguments.repeat == 0 {
        bail!("`--repeat 0` measures nothing: give 1 or more");
    }
    Ok(Effort {
        prompt_tokens: arguments.prompt.clamp(1, (trained / 2).max(1)),
        answer_tokens: arguments.answer.clamp(2, (trained / 4).max(2)),
        repeats: arguments.repeat.min(100),
        window_tokens: WINDOW_TOKENS.min(trained),
        text_sha256: sha256(text.as_bytes())?,
        tasks_sha256: tasks.map(sha256).transpose()?,
    })
}

fn limits(arguments: &Tune) -> Result<Limits> {
    let scaled = |name: &str, number: f64, most: f64, factor: f64| {
        if !(0.0..=most).contains(&number) {
            bail!("`{name}` is {number}; it must be from 0 to {most}");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its range was just checked")]
        Ok((number * factor).round() as u32)
    };
    Ok(Limits {
        objective: arguments.objective.into(),
        minimum_tokens_per_second_milli: scaled("--minimum-speed", arguments.minimum_speed, MOST, 1e3)?.into(),
        minimum_quality_milli: scaled("--minimum-quality", arguments.minimum_quality, MOST, 1e3)?,
        minimum_agreement_ppm: scaled("--minimum-agreement", arguments.minimum_agreement, 100.0, 1e4)?,
    })
}

/// A line on standard error: data alone goes to standard output.
fn talk(line: &str) {
    // Nothing is left to do if standard error itself is gone.
    writeln!(std::io::stderr().lock(), "{line}").ok();
}
