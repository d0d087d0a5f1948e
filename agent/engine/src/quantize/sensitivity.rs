//! What each format would cost each matrix: measured where it is worth it, read off the error between.
//!
//! A matrix alone is put in the smallest format and in Q8_0, everything else staying as it was, and the divergence from the
//! original is measured on the sample. To second order the divergence grows with the square of the error, so the costs of the
//! formats between lie on the line through these two points over the squared error, each column's at its importance. What the
//! matrices cost together is taken as the sum.

use std::sync::Arc;

use super::assign::Choice;
use super::importance::Importance;
use super::sample::Sample;
use super::{QuantizeError, convert, mix};
use crate::evaluate::Reference;
use crate::gguf::write::ALIGNMENT;
use crate::gguf::{Format, Gguf, TensorEntry};
use crate::model::Model;

/// What can be chosen for one tensor.
#[derive(Debug)]
pub(super) struct Options {
    /// Which tensor of the file.
    pub(super) tensor: usize,
    pub(super) formats: Vec<Format>,
    /// Of each format.
    pub(super) choices: Vec<Choice>,
}

/// Measures every matrix whose format is chosen. The model is afterwards what it was before.
///
/// # Errors
/// Fails when a weight or a divergence is no number, and when the system gives no memory.
pub(super) fn measure(
    gguf: &Gguf,
    model: &mut Arc<Model>,
    importance: &Importance,
    sample: &Sample,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Options>, QuantizeError> {
    let passages = sample.measured(model);
    let reference = Reference::of(model, &passages)?;
    let matrices = || gguf.tensors().iter().enumerate().filter(|(_, tensor)| is_chosen(tensor));
    let (count, mut all) = (matrices().count(), Vec::new());
    for (done, (index, tensor)) in matrices().enumerate() {
        progress(done, count);
        let columns = importance.columns(&tensor.name);
        let formats = formats(tensor);
        let probed = probed(&formats, tensor.format);
        let mut errors = Vec::with_capacity(formats.len());
        let mut points = Vec::with_capacity(probed.len());
        for format in &formats {
            if *format == tensor.format {
                errors.push(0.0);
                continue;
            }
            let (blocks, error) = convert::encoded(gguf, tensor, *format, columns)
                .map_err(|source| QuantizeError::Memory { tensor: tensor.name.clone(), source })?;
            errors.push(error);
            if probed.contains(format) {
                let before = replace(model, tensor, *format, &blocks)?;
                let change = reference.change(model, &passages)?;
                put_back(model, tensor, before);
                points.push((error, change.divergence.max(0.0)));
            }
        }
        let losses = errors.iter().map(|error| read_off(&points, *error));
        let bytes = formats.iter().map(|format| padded(tensor, *format));
        let choices: Vec<Choice> = bytes.zip(losses).map(|(bytes, loss)| Choice { bytes, loss }).collect();
        if choices.iter().any(|choice| !choice.loss.is_finite()) {
            return Err(QuantizeError::NotFinite { what: format!("what tensor `{}` costs", tensor.name) });
        }
        all.push(Options { tensor: index, formats, choices });
    }
    progress(count, count);
    Ok(all)
}

/// Bytes of a tensor in a file, with what stands behind it to align the next.
pub(super) fn padded(tensor: &TensorEntry, format: Format) -> u64 {
    format.bytes_for(tensor.weights()).unwrap_or(u64::MAX / 2).next_multiple_of(ALIGNMENT)
}

pub(super) fn is_chosen(tensor: &TensorEntry) -> bool {
    mix::is_made_smaller(&tensor.name, &tensor.shape)
}

/// What a tensor may become: what it is, or smaller.
fn formats(tensor: &TensorEntry) -> Vec<Format> {
    let stored = tensor.format.bytes_for(tensor.weights()).unwrap_or(0);
    let columns = tensor.shape.first().copied().unwrap_or(0);
    let smaller = |format: &&Format| format.bytes_for(tensor.weights()).is_some_and(|bytes| bytes < stored);
    let mut formats: Vec<Format> = mix::mixable(columns).iter().filter(smaller).copied().collect();
    formats.push(tensor.format);
    formats
}

/// The formats that are measured.
fn probed(formats: &[Format], stored: Format) -> Vec<Format> {
    let quantised = || formats.iter().filter(|format| **format != stored && **format != Format::F16);
    let mut probed: Vec<Format> = quantised().next().into_iter().chain(quantised().next_back()).copied().collect();
    probed.dedup();
    probed
}

/// The cost at an error, on the line through the measured points, or through nothing and the only one. Costs nothing where
/// nothing is off.
fn read_off(points: &[(f64, f64)], error: f64) -> f64 {
    match points {
        _ if error == 0.0 => 0.0,
        [] => 0.0,
        [(only, cost)] => cost * error / only.max(f64::MIN_POSITIVE),
        [(large, most), .., (small, least)] => {
            let least = least.min(*most);
            let slope = if large > small { (most - least) / (large - small) } else { 0.0 };
            (least + slope * (error - small)).max(0.0)
        }
    }
}

/// Puts a tensor's blocks into the model.
pub(super) fn replace(
    model: &mut Arc<Model>,
    tensor: &TensorEntry,
    format: Format,
    blocks: &[u8],
) -> Result<Vec<crate::weights::Matrix>, QuantizeError> {
    let memory = |source| QuantizeError::Memory { tensor: tensor.name.clone(), source };
    let model = own(model).ok_or_else(|| memory(std::io::Error::other("the model is in use elsewhere")))?;
    let before = model.replace(&tensor.name, format, blocks).map_err(memory)?;
    before.ok_or_else(|| memory(std::io::Error::other("it is no matrix of this model")))
}

fn put_back(model: &mut Arc<Model>, tensor: &TensorEntry, before: Vec<crate::weights::Matrix>) {
    if let Some(model) = own(model) {
        model.put_back(&tensor.name, before);
    }
}

fn own(model: &mut Arc<Model>) -> Option<&mut Model> {
    Arc::get_mut(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_comes_back_and_the_rest_lies_between() {
        let points = [(8.0, 0.5), (1.0, 0.1)];
        assert!((read_off(&points, 8.0) - 0.5).abs() < 1e-12);
        assert!((read_off(&points, 1.0) - 0.1).abs() < 1e-12);
        assert!((read_off(&points, 4.5) - 0.3).abs() < 1e-12);
        assert_eq!(read_off(&points, 0.0), 0.0);
        assert_eq!(read_off(&[(8.0, 0.5)], 4.0), 0.25);
        // What was measured in noise must not make a smaller error dearer.
        assert!(read_off(&[(8.0, 0.1), (1.0, 0.5)], 1.0) <= 0.1);
        assert_eq!(read_off(&[], 1.0), 0.0);
    }
}
