//! Short measured runs of the machine and of the engine's own kernels, for the probe.

mod attention;
mod pass;

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{DraftMismatch, Engine, EngineOptions, EventKind, Refusal};
use crate::blocks::encode::{WRITTEN, encode};
use crate::cpu::simd::{Kernel, LANES, Line, Simd};
use crate::cpu::tile::AHEAD;
use crate::cpu::{Activations, Cpu};
use crate::generate::{FinishReason, Request};
use crate::gguf::Format;
use crate::model::{ForwardError, Model, Workspace};
use crate::session::Session;
use crate::weights::{Matrix, multiply};

pub use pass::{PassFigures, elements, pass};

/// The formats worth measuring.
pub const FORMATS: &[Format] = &[Format::F16, Format::Q8_0, Format::Q5_1, Format::Q4_0, Format::Q4_K];

/// Columns of the measured matrix, and the rows of it that a prompt is multiplied with.
const SIDE: usize = 2_048;
/// The largest matrix: no machine that Outpost runs on has a cache that holds half of it.
pub const MOST_BYTES: u64 = 1 << 30;
/// Prompt tokens of the measured matrix × matrix: as many as are read in a pass while others are answered.
const PROMPT: usize = 64;

/// How fast one kernel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelFigures {
    /// Block format.
    pub format: Format,
    /// Threads it ran on.
    pub threads: usize,
    /// Weight bytes per second when one token is decoded (matrix × vector).
    pub decode_bytes_per_second: u64,
    /// The same of a matrix that the last cache holds.
    pub cached_bytes_per_second: u64,
    /// Multiply-adds per second when a prompt is read (matrix × matrix).
    pub prefill_macs_per_second: u64,
}

/// How to measure a whole model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelRun {
    /// Tokens read in one go.
    pub prompt: usize,
    /// Tokens generated one by one.
    pub generate: usize,
    /// Tokens that lie in the context before either is measured.
    pub depth: usize,
    /// Prompt tokens that are computed together.
    pub chunk: usize,
}

/// How fast a whole model is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelFigures {
    /// Prompt tokens read per second; 0 when none were asked for.
    pub prompt_tokens_per_second: f64,
    /// Tokens generated per second; 0 when none were asked for.
    pub generate_tokens_per_second: f64,
}

/// How fast one answer is given, with and without guessing ahead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnswerFigures {
    /// Tokens per second behind the first, none being guessed.
    pub plain_tokens_per_second: f64,
    /// The same where next tokens are guessed from the text so far.
    pub guessing_tokens_per_second: f64,
    /// Tokens that were guessed, and those of them that were right.
    pub guessed_tokens: [u32; 2],
}

/// Why a measurement could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The engine refused the prompt.
    #[error("cannot measure this answer: {0}")]
    Refused(#[from] Refusal),
    /// The draft model cannot guess for the model.
    #[error(transparent)]
    Draft(#[from] DraftMismatch),
    /// The answer ended before its end.
    #[error("cannot measure this answer: it ended after {generated} tokens ({reason})")]
    Ended {
        /// Tokens that were said.
        generated: u32,
        /// Why.
        reason: String,
    },
    /// The kernels refused.
    #[error("cannot measure the {format} kernel: {source}")]
    Kernel {
        /// The format.
        format: &'static str,
        /// What they said.
        source: candle_core::Error,
    },
    /// No matrix of it can be made.
    #[error("cannot measure the {format} kernel: blocks of that format are read here, but not made")]
    Format {
        /// The format.
        format: &'static str,
    },
    /// No memory for the measured matrix.
    #[error("no memory to measure the {format} kernel: {source}")]
    Memory {
        /// The format.
        format: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The measured pass could not be computed.
    #[error("cannot measure a pass: {reason}")]
    Pass {
        /// What stood in the way.
        reason: String,
    },
    /// The threads could not be started.
    #[error("cannot start {threads} threads to measure with: {source}")]
    Threads {
        /// How many.
        threads: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// Bytes per second that so many threads read from memory together, as fast as the widest loads of this processor go.
/// Takes about a quarter of a second and so many bytes, shared among the threads: more than the last cache holds, or the cache is
/// measured instead of the memory.
///
/// # Errors
/// Fails when the threads cannot be started.
pub fn read_bandwidth(threads: usize, bytes: u64) -> Result<u64, BenchError> {
    let threads = threads.max(1);
    let cpu = Cpu::new(threads, None).map_err(|source| BenchError::Threads { threads, source })?;
    let lines = (bytes.min(MOST_BYTES) as usize / threads / size_of::<Line>()).max(1);
    let memory: Vec<Vec<Line>> = (1..=threads).map(|thread| vec![[thread as u8; size_of::<Line>()]; lines]).collect();
    let pass = || cpu.team.each(threads, |thread| cpu.run(Read(&memory[thread])));
    Ok(per_second((threads * lines * size_of::<Line>()) as f64, Window::of_ms(150), pass))
}

/// Adds all of some memory up, and does nothing else with it.
struct Read<'a>(&'a [Line]);

impl Kernel for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut sums = [simd.whole(0); 4];
        for lines in self.0.as_chunks::<4>().0 {
            for (sum, line) in sums.iter_mut().zip(lines) {
                simd.ahead(line, AHEAD);
                for part in 0..S::PARTS {
                    *sum = simd.add_whole(*sum, simd.line(line, part));
                }
            }
        }
        let mut numbers = [0; LANES];
        let all = sums.into_iter().fold(simd.whole(0), |all, sum| simd.add_whole(all, sum));
        simd.store_whole(all, &mut numbers, 0);
        black_box(numbers);
    }
}

/// Measures the kernel of one format, the one that a model in it runs, on each of these numbers of threads in turn. The matrix
/// that decoding reads has about `bytes` bytes: more than the last cache holds, or the cache is measured instead of the memory.
/// Once it is `until`, no further number is begun; the first always is.
///
/// # Errors
/// Fails when the format is not written here, when the threads cannot be started or the product cannot be computed.
pub fn kernels(
    format: Format,
    threads: &[usize],
    bytes: u64,
    until: Instant,
) -> Result<Vec<KernelFigures>, BenchError> {
    if !WRITTEN.contains(&format) {
        return Err(BenchError::Format { format: format.name() });
    }
    let no_memory = |source| BenchError::Memory { format: format.name(), source };
    let mut made = None;
    let mut all = Vec::with_capacity(threads.len());
    for threads in threads.iter().map(|threads| (*threads).max(1)) {
        if !all.is_empty() && Instant::now() >= until {
            break;
        }
        let cpu = Cpu::new(threads, None).map_err(|source| BenchError::Threads { threads, source })?;
        if made.is_none() {
            let square_bytes = format.bytes_for((SIDE * SIDE) as u64).unwrap_or(0);
            let large = matrix(&cpu, format, bytes).map_err(no_memory)?;
            made = Some((large, matrix(&cpu, format, square_bytes).map_err(no_memory)?));
        }
        let Some((matrix, square)) = &made else { continue };
        all.push(figures(&cpu, format, matrix, square)?);
    }
    Ok(all)
}

/// The same on one number of threads.
///
/// # Errors
/// As above.
pub fn kernel(format: Format, threads: usize, bytes: u64) -> Result<KernelFigures, BenchError> {
    let figures = kernels(format, &[threads], bytes, Instant::now())?;
    figures.into_iter().next().ok_or_else(|| BenchError::Format { format: format.name() })
}

/// Decodes one token with the large matrix and reads a prompt with the square one.
fn figures(cpu: &Cpu, format: Format, matrix: &Matrix, square: &Matrix) -> Result<KernelFigures, BenchError> {
    let failed = |source| BenchError::Kernel { format: format.name(), source };
    let input: Vec<f32> = (0..SIDE * PROMPT).map(|index| ((index * 31) % 17) as f32 / 17.0 - 0.5).collect();
    let (mut token, mut prompt) = (Activations::new(), Activations::new());
    let (mut one, mut all) = (vec![0.0; matrix.rows.max(square.rows)], vec![0.0; square.rows * PROMPT]);
    // As a pass does: the rows are new each time, so they are quantised each time.
    let mut decode = |matrix: &Matrix| {
        token.set(&input[..SIDE], SIDE);
        multiply(cpu, &mut token, &mut [(matrix, &mut one[..matrix.rows])])
    };
    let mut prefill = || {
        prompt.set(&input, SIDE);
        multiply(cpu, &mut prompt, &mut [(square, &mut all)])
    };
    // Once before the clock runs: threads start and buffers become real memory.
    decode(matrix).and_then(|()| prefill()).map_err(failed)?;
    let mut read = |matrix: &Matrix, window: Window| {
        let bytes = format.bytes_for((matrix.rows * SIDE) as u64).unwrap_or(0);
        per_second(bytes as f64, window, || {
            black_box(decode(matrix).is_ok());
        })
    };
    let decode_bytes_per_second = read(matrix, Window::of_ms(50));
    let cached_bytes_per_second = read(square, Window::of_ms(10));
    let prefill_macs_per_second = per_second((square.rows * SIDE * PROMPT) as f64, Window::of_ms(30), || {
        black_box(prefill().is_ok());
    });
    let threads = cpu.team.threads();
    Ok(KernelFigures { format, threads, decode_bytes_per_second, cached_bytes_per_second, prefill_macs_per_second })
}

/// A matrix of [`SIDE`] columns and about so many bytes: some rows of weights, again and again.
fn matrix(cpu: &Cpu, format: Format, bytes: u64) -> io::Result<Matrix> {
    const DISTINCT: usize = 64;
    let weights: Vec<f32> = (0..DISTINCT * SIDE).map(|index| ((index * 7919) % 251) as f32 / 251.0 - 0.5).collect();
    let distinct = format.bytes_for(weights.len() as u64).unwrap_or(0) as usize;
    let mut blocks = vec![0; distinct];
    encode(format, &weights, &mut blocks);
    Matrix::owned(cpu, DISTINCT, SIDE, format, blocks)?.repeated(cpu, times(bytes, distinct as u64))
}

/// How often so many distinct bytes make a matrix of about this size, which has a bound.
fn times(bytes: u64, distinct: u64) -> usize {
    bytes.min(MOST_BYTES).div_ceil(distinct.max(1)).max(1) as usize
}

/// Measures reading and generating apart, each from the same depth. What is read does not matter to the speed.
///
/// # Errors
/// Fails when the context cannot hold what is asked for or the computation fails.
pub fn model(model: &Model, run: &ModelRun) -> Result<ModelFigures, ForwardError> {
    let vocabulary = u32::try_from(model.figures().vocabulary).unwrap_or(u32::MAX);
    let tokens: Vec<u32> =
        (0..run.depth + run.prompt.max(run.generate)).map(|at| at as u32 * 31 % vocabulary).collect();
    let longest = model.figures().context_tokens;
    if tokens.len() > longest {
        return Err(ForwardError::ContextFull { needed: tokens.len(), capacity: longest });
    }
    let mut workspace = Workspace::default();
    let mut measure = |count: usize, chunk: usize| -> Result<f64, ForwardError> {
        if count == 0 {
            return Ok(0.0);
        }
        let mut session = Session::new(model, tokens.len());
        for part in tokens[..run.depth].chunks(run.chunk.max(1)) {
            model.forward(&mut session, part, &[], &mut workspace)?;
        }
        // Once before the clock runs: buffers become real memory.
        model.forward(&mut session, &tokens[run.depth..run.depth + count.min(chunk)], &[], &mut workspace)?;
        session.truncate(run.depth);
        let began = Instant::now();
        for part in tokens[run.depth..run.depth + count].chunks(chunk.max(1)) {
            model.forward(&mut session, part, &[part.len() - 1], &mut workspace)?;
        }
        Ok(count as f64 / began.elapsed().as_secs_f64().max(1e-9))
    };
    Ok(ModelFigures {
        prompt_tokens_per_second: measure(run.prompt, run.chunk)?,
        generate_tokens_per_second: measure(run.generate, 1)?,
    })
}

/// Measures how fast a prompt would be answered with just these tokens, which are said whatever the model chooses: weights
/// need not be trained. With two tokens or more. A draft model, if there is one, guesses too.
///
/// # Errors
/// Fails when prompt and answer do not fit the context, the draft has another vocabulary or the computation fails.
pub fn answer(
    model: &Arc<Model>,
    draft: Option<&Arc<Model>>,
    prompt: &[u32],
    answer: &[u32],
) -> Result<AnswerFigures, BenchError> {
    let run = |speculate: bool| {
        let length = prompt.len() + answer.len() + 1;
        let context_tokens = u32::try_from(length).unwrap_or(u32::MAX);
        let options = EngineOptions { context_tokens, slots: 1, speculate, ..EngineOptions::default() };
        let mut engine = match draft.filter(|_| speculate) {
            Some(draft) => Engine::with_draft(Arc::clone(model), Arc::clone(draft), options)?,
            None => Engine::new(Arc::clone(model), options),
        };
        let limit = u32::try_from(answer.len()).unwrap_or(u32::MAX);
        let session = engine.submit(Request { limit: Some(limit), ..Request::new(prompt.to_vec()) })?;
        engine.dictate(session, answer.to_vec());
        loop {
            for event in engine.step() {
                let EventKind::Finished(finished) = event.kind else { continue };
                if finished.reason != FinishReason::Length || finished.generated_tokens != limit {
                    let reason = format!("{:?}", finished.reason);
                    return Err(BenchError::Ended { generated: finished.generated_tokens, reason });
                }
                let first = finished.time_to_first_token.unwrap_or_default();
                let took = finished.total_time.saturating_sub(first).as_secs_f64().max(1e-9);
                return Ok((f64::from(limit.saturating_sub(1)) / took, finished.drafted_tokens));
            }
        }
    };
    let (plain, _) = run(false)?;
    let (guessing, guessed_tokens) = run(true)?;
    Ok(AnswerFigures { plain_tokens_per_second: plain, guessing_tokens_per_second: guessing, guessed_tokens })
}

/// How long a pass is repeated: a slow machine comes to its end after two passes, or one probe would take minutes there.
#[derive(Debug, Clone, Copy)]
struct Window(Duration);

impl Window {
    fn of_ms(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    fn is_over(self, began: Instant, passes: usize) -> bool {
        match passes {
            0 | 1 => false,
            2 => began.elapsed() >= 2 * self.0,
            _ => began.elapsed() >= self.0,
        }
    }
}

/// Runs a pass again and again for a while; the best third of the time counts, since other programs only ever slow it.
fn per_second(amount: f64, window: Window, mut pass: impl FnMut()) -> u64 {
    let began = Instant::now();
    let mut times = Vec::new();
    while !window.is_over(began, times.len()) {
        let pass_began = Instant::now();
        pass();
        times.push(pass_began.elapsed().as_secs_f64());
    }
    (amount / best(&mut times).max(1e-9)) as u64
}

/// The mean of the best third.
fn best(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    let best = &times[..times.len().div_ceil(3)];
    best.iter().sum::<f64>() / best.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LoadOptions;

    #[test]
    fn a_whole_model_is_measured_and_never_beyond_its_context() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden/llama.gguf");
        let loaded = Model::load(path, &LoadOptions::threads(1)).expect("the golden model loads");
        let run = ModelRun { prompt: 20, generate: 5, depth: 7, chunk: 8 };
        let figures = model(&loaded, &run).expect("it computes");
        assert!(figures.prompt_tokens_per_second > 1.0 && figures.generate_tokens_per_second > 1.0, "{figures:?}");
        assert!(matches!(model(&loaded, &ModelRun { depth: 4_096, ..run }), Err(ForwardError::ContextFull { .. })));
    }

    #[test]
    fn an_answer_that_repeats_its_prompt_is_guessed_and_one_that_does_not_fit_is_refused() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden/llama.gguf");
        let loaded = Model::load(path, &LoadOptions::threads(1)).expect("the golden model loads");
        let text: Vec<u32> = (0..60).map(|at| at * 37 % 251).collect();
        let figures = answer(&loaded, None, &text, &text).expect("it is measured");
        assert!(figures.plain_tokens_per_second > 1.0 && figures.guessing_tokens_per_second > 1.0, "{figures:?}");
        assert!(figures.guessed_tokens[1] > 10, "{figures:?}");
        assert!(matches!(answer(&loaded, None, &[], &text), Err(BenchError::Refused(Refusal::Empty))));
        assert!(matches!(answer(&loaded, None, &[7; 4_000], &[7; 200]), Err(BenchError::Ended { generated: 96, .. })));
    }

    #[test]
    fn every_format_of_the_probe_is_measured_as_faster_than_nothing() {
        for format in FORMATS {
            let figures = kernel(*format, 1, 1 << 20).expect("the kernel runs");
            assert!(figures.decode_bytes_per_second > 1_000_000, "{figures:?}");
            assert!(figures.prefill_macs_per_second > 1_000_000, "{figures:?}");
        }
        assert!(matches!(kernel(Format::TQ1_0, 1, 1 << 20), Err(BenchError::Format { format: "TQ1_0" })));
    }

    #[test]
    fn a_format_is_measured_on_every_number_of_threads_and_when_time_is_over_on_the_first() {
        let threads = |until| {
            let all = kernels(Format::Q4_0, &[2, 1], 1 << 20, until).expect("the kernels run");
            all.iter().map(|figures| figures.threads).collect::<Vec<_>>()
        };
        assert_eq!(threads(Instant::now() + Duration::from_secs(3_600)), [2, 1]);
        assert_eq!(threads(Instant::now()), [2]);
    }

    #[test]
    fn the_measured_matrix_is_as_large_as_asked_for_up_to_a_bound() {
        for format in FORMATS {
            let cpu = Cpu::new(1, None).expect("no thread is needed");
            let matrix = matrix(&cpu, *format, 5 << 20).expect("there is memory");
            let bytes = format.bytes_for((matrix.rows * matrix.columns) as u64).expect("whole blocks");
            assert!((5 << 20..6 << 20).contains(&bytes), "{}", format.name());
        }
        assert_eq!([times(10, 10), times(11, 10), times(0, 10)], [1, 2, 1]);
        assert_eq!(times(u64::MAX, 1 << 20), (MOST_BYTES >> 20) as usize);
    }

    #[test]
    fn a_slow_machine_is_measured_twice_and_a_fast_one_for_the_whole_window() {
        let window = Window::of_ms(1_000);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).expect("a minute ago");
        assert_eq!([0, 1, 2, 3].map(|passes| window.is_over(long_ago, passes)), [false, false, true, true]);
        assert!(!window.is_over(Instant::now(), 3));
    }

    #[test]
    fn memory_is_read_at_more_than_a_hundred_megabytes_per_second() {
        assert!(read_bandwidth(1, 64 << 20).expect("threads start") > 100_000_000);
    }
}
