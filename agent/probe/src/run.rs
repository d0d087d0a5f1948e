//! The measured run: the engine's own kernels, each format on several numbers of threads, in under three seconds.
//!
//! ```text
//! memory ─► Q8_0: all cores, half, a quarter, one ─► passes: all cores, … ─► Q4_K: … ─► Q6_K: … ─► Q4_0: …
//! ```
//! Each format gets its share of the time that is left: first on all cores, then on fewer while its share lasts.

use std::time::{Duration, Instant};

use outpost_contract::{KernelSpeed, PassSpeed, ProcessorFacts, RunFacts};
use outpost_engine::gguf::Format;
use outpost_engine::{KERNEL_BUILD, bench};

use crate::cores::Cores;
use crate::tree::Tree;
use crate::watch::Moment;

/// The formats of a full run, the most common first; tables of `Q4_K_M` are `Q6_K`.
const FORMATS: &[Format] = &[Format::Q8_0, Format::Q4_K, Format::Q6_K, Format::Q4_0, Format::F16, Format::Q5_1];

/// A machine that has taken this long begins no further kernel: what is under way ends within three seconds.
const PATIENCE: Duration = Duration::from_millis(2_000);

/// The part of the available memory that a measured matrix may take, at most: while it is packed it is there twice.
const MEMORY_PART: u64 = 8;

/// A buffer that no last cache of an edge box holds, where the machine does not tell its caches.
const USUAL_BYTES: u64 = 256 << 20;

/// The least that is measured with: smaller passes are over before the clock can tell.
const LEAST_BYTES: u64 = 64 << 20;

/// What a run found.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Bytes per second that all cores read from memory.
    pub(crate) memory_bytes_per_second: u64,
    /// Kernels, by format and number of threads.
    pub(crate) kernels: Vec<KernelSpeed>,
    /// What passes take beside them, by number of threads.
    pub(crate) passes: Vec<PassSpeed>,
    /// How it was found.
    pub(crate) facts: RunFacts,
}

/// Runs the kernels: one format on all cores when it must be quick.
pub(crate) fn run(tree: &Tree, processor: &ProcessorFacts, cores: u32, available: u64, quick: bool) -> Measured {
    let (began, before) = (Instant::now(), Moment::now(tree));
    let buffer_bytes = buffer_bytes(processor.last_cache_bytes(), available);
    let formats = if quick { &FORMATS[..1] } else { FORMATS };
    let threads = if quick { vec![cores] } else { thread_counts(cores, Cores::fast(processor)) };
    let memory = bench::read_bandwidth(cores as usize, buffer_bytes).unwrap_or(0);
    let (mut kernels, mut passes) = (Vec::new(), Vec::new());
    for (index, format) in formats.iter().enumerate() {
        let left = PATIENCE.saturating_sub(began.elapsed());
        if left.is_zero() && index > 0 {
            break;
        }
        let share = left / u32::try_from(formats.len() - index).unwrap_or(1);
        let counts: Vec<_> = threads.iter().map(|threads| *threads as usize).collect();
        // A format that cannot be measured here is absent; the others are not.
        let figures = bench::kernels(*format, &counts, buffer_bytes, Instant::now() + share).unwrap_or_default();
        if index == 0 {
            // All cores first, then fewer while a share lasts.
            let until = Instant::now() + share;
            for (place, kernel) in figures.iter().enumerate() {
                if place == 0 || Instant::now() < until {
                    passes.extend(pass_speed(kernel, processor, buffer_bytes));
                }
            }
        }
        kernels.extend(figures.into_iter().map(kernel_speed));
    }
    let took = began.elapsed();
    let (physical, logical) = (processor.cores.unwrap_or(cores), processor.threads.unwrap_or(cores));
    let disturbance = before.until(Moment::now(tree), tree, cores, physical, logical);
    let facts = RunFacts {
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        buffer_bytes,
        build: KERNEL_BUILD.to_owned(),
        governor: processor.governor.clone(),
        others_milli: disturbance.others_milli,
        disturbed_by: disturbance.causes,
    };
    Measured { memory_bytes_per_second: memory.max(fetched(&kernels, processor, buffer_bytes)), kernels, passes, facts }
}

/// What passes take on as many threads as a kernel did, if they can be measured here.
fn pass_speed(kernel: &bench::KernelFigures, processor: &ProcessorFacts, buffer_bytes: u64) -> Option<PassSpeed> {
    let figures = bench::pass(kernel.threads, kernel, buffer_bytes).ok()?;
    Some(PassSpeed {
        threads: u32::try_from(figures.threads).unwrap_or(u32::MAX),
        cache_bytes: processor.last_cache_bytes().unwrap_or(0),
        layer_ns: u64::try_from(figures.layer.as_nanos()).unwrap_or(u64::MAX),
        elements_per_second: figures.elements_per_second,
        fetched_elements_per_second: figures.fetched_elements_per_second,
        attended_elements_per_second: figures.attended_elements_per_second,
        attended_macs_per_second: figures.attended_macs_per_second,
        logits_per_second: figures.logits_per_second,
    })
}

/// The fastest that a kernel fetched from memory: memory is no slower than that.
fn fetched(kernels: &[KernelSpeed], processor: &ProcessorFacts, buffer_bytes: u64) -> u64 {
    if processor.last_cache_bytes().is_none_or(|cache| buffer_bytes / 2 < cache) {
        return 0;
    }
    kernels.iter().map(|kernel| kernel.decode_bytes_per_second).max().unwrap_or(0)
}

/// Four times the last cache, or twice where that is much; and never more than a part of what is available.
fn buffer_bytes(last_cache: Option<u64>, available: u64) -> u64 {
    let wanted = match last_cache {
        Some(cache) => cache.saturating_mul(4).min(USUAL_BYTES).max(cache.saturating_mul(2)).max(LEAST_BYTES),
        None => USUAL_BYTES,
    };
    wanted.min(bench::MOST_BYTES).min(available / MEMORY_PART)
}

/// All cores, half, a quarter and one; and the fast ones alone where some are slow. The most first.
fn thread_counts(cores: u32, fast: Option<u32>) -> Vec<u32> {
    let mut counts = vec![cores, cores / 2, cores / 4, 1];
    counts.extend(fast.filter(|fast| *fast <= cores));
    counts.retain(|count| *count > 0);
    counts.sort_unstable();
    counts.dedup();
    counts.reverse();
    counts
}

fn kernel_speed(figures: bench::KernelFigures) -> KernelSpeed {
    KernelSpeed {
        format: figures.format.name().to_owned(),
        threads: u32::try_from(figures.threads).unwrap_or(u32::MAX),
        decode_bytes_per_second: figures.decode_bytes_per_second,
        prefill_macs_per_second: figures.prefill_macs_per_second,
        cached_bytes_per_second: Some(figures.cached_bytes_per_second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_exceeds_the_last_cache_where_memory_allows_it() {
        let mebibytes =
            |cache: Option<u64>, available: u64| buffer_bytes(cache.map(|cache| cache << 20), available << 20) >> 20;
        assert_eq!(mebibytes(Some(2), 8_192), 64, "a board");
        assert_eq!(mebibytes(Some(32), 65_536), 128, "a desktop");
        assert_eq!(mebibytes(Some(96), 65_536), 256, "stacked caches");
        assert_eq!(mebibytes(Some(256), 524_288), 512, "a server");
        assert_eq!(mebibytes(Some(u64::MAX >> 20), u64::MAX >> 20), bench::MOST_BYTES >> 20);
        assert_eq!((mebibytes(None, 65_536), mebibytes(Some(32), 400)), (256, 50));
    }

    #[test]
    fn threads_are_counted_from_all_cores_down_to_one() {
        assert_eq!(thread_counts(1, None), [1]);
        assert_eq!(thread_counts(2, None), [2, 1]);
        assert_eq!(thread_counts(6, None), [6, 3, 1]);
        assert_eq!(thread_counts(64, None), [64, 32, 16, 1]);
        assert_eq!(thread_counts(14, Some(6)), [14, 7, 6, 3, 1]);
        assert_eq!(thread_counts(2, Some(6)), [2, 1], "a quota leaves fewer than there are fast ones");
    }
}
