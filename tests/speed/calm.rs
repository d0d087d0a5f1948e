//! What a machine can give while nothing else runs on it, of several measured runs: each figure as fast as it ever was, since
//! others only slow it.

use outpost_contract::{KernelSpeed, Measurements, PassSpeed};

/// The faster figures of two runs of the probe.
pub(crate) fn faster(mut one: Measurements, other: Measurements) -> Measurements {
    one.memory_read_bytes_per_second = one.memory_read_bytes_per_second.max(other.memory_read_bytes_per_second);
    for kernel in other.kernels {
        match one.kernels.iter_mut().find(|known| known.format == kernel.format && known.threads == kernel.threads) {
            Some(known) => known.take(&kernel),
            None => one.kernels.push(kernel),
        }
    }
    for pass in other.passes {
        match one.passes.iter_mut().find(|known| known.threads == pass.threads) {
            Some(known) => known.take(&pass),
            None => one.passes.push(pass),
        }
    }
    one
}

trait Faster {
    fn take(&mut self, other: &Self);
}

fn keep(known: &mut u64, other: u64) {
    *known = (*known).max(other);
}

impl Faster for KernelSpeed {
    fn take(&mut self, other: &Self) {
        keep(&mut self.decode_bytes_per_second, other.decode_bytes_per_second);
        keep(&mut self.prefill_macs_per_second, other.prefill_macs_per_second);
        self.cached_bytes_per_second = self.cached_bytes_per_second.max(other.cached_bytes_per_second);
    }
}

impl Faster for PassSpeed {
    fn take(&mut self, other: &Self) {
        self.layer_ns = self.layer_ns.min(other.layer_ns);
        keep(&mut self.elements_per_second, other.elements_per_second);
        keep(&mut self.fetched_elements_per_second, other.fetched_elements_per_second);
        keep(&mut self.attended_elements_per_second, other.attended_elements_per_second);
        keep(&mut self.attended_macs_per_second, other.attended_macs_per_second);
        keep(&mut self.logits_per_second, other.logits_per_second);
    }
}
