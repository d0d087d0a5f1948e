//! What the new file holds and where each tensor of it comes from: decided, and checked, before anything is written.

use std::collections::BTreeMap;

use super::config::{Config, unsupported};
use super::families::{Description, Family, Part, Ternary, Treatment};
use super::rows::{Change, Numbers, Rows, wrong};
use super::shards::Shards;
use super::{ConvertError, Precision};
use crate::gguf::Format;

/// A tensor of the new file.
#[derive(Debug)]
pub(super) struct Planned<'shards> {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    pub(super) format: Format,
    pub(super) content: Content<'shards>,
}

#[derive(Debug)]
pub(super) enum Content<'shards> {
    Rows(Rows<'shards>),
    Computed(Vec<f32>),
}

/// The tensors of a model in the order of its layers.
pub(super) fn tensors<'shards>(
    shards: &'shards Shards,
    config: &Config,
    family: &'static Family,
    description: &mut Description,
    precision: Precision,
) -> Result<Vec<Planned<'shards>>, ConvertError> {
    let groups = Groups::read(config)?;
    let mut planner =
        Planner { shards, family, description, groups, precision, left: stored(shards, family)?, tensors: Vec::new() };
    for part in family.outer {
        planner.part(part, part.from, part.to)?;
    }
    for layer in 0..planner.description.layers {
        for part in family.inner {
            planner.part(
                part,
                &format!("{}{layer}.{}", family.layer, part.from),
                &format!("blk.{layer}.{}", part.to),
            )?;
        }
    }
    if let Some(tensor) = planner.left.values().next() {
        return Err(ConvertError::UnknownTensor { tensor: (*tensor).to_owned(), family: family.architecture });
    }
    let mut tensors = planner.tensors;
    for (name, numbers) in description.computed.drain(..) {
        let shape = vec![numbers.len() as u64];
        tensors.push(Planned {
            name: name.to_owned(),
            shape,
            format: Format::F32,
            content: Content::Computed(numbers),
        });
    }
    Ok(tensors)
}

/// Stored names by the name that the family's table has for them, without what is not used.
fn stored<'shards>(
    shards: &'shards Shards,
    family: &'static Family,
) -> Result<BTreeMap<String, &'shards str>, ConvertError> {
    let mut names = BTreeMap::new();
    for stored in shards.names() {
        // Speeds of positions follow from the figures; older files carry them along.
        if family.unused.iter().any(|unused| stored.starts_with(unused)) || stored.ends_with(".rotary_emb.inv_freq") {
            continue;
        }
        let short = family.prefixes.iter().find_map(|prefix| stored.strip_prefix(prefix)).unwrap_or(stored);
        // Names of norms in older files.
        let name = match (short.strip_suffix(".gamma"), short.strip_suffix(".beta")) {
            (Some(norm), _) => format!("{norm}.weight"),
            (_, Some(norm)) => format!("{norm}.bias"),
            _ => short.to_owned(),
        };
        if names.insert(name, stored).is_some() {
            return Err(ConvertError::UnknownTensor { tensor: stored.to_owned(), family: family.architecture });
        }
    }
    Ok(names)
}

struct Planner<'shards, 'model> {
    shards: &'shards Shards,
    family: &'static Family,
    description: &'model Description,
    groups: Option<Groups>,
    precision: Precision,
    /// Stored names that nothing took yet.
    left: BTreeMap<String, &'shards str>,
    tensors: Vec<Planned<'shards>>,
}

impl<'shards> Planner<'shards, '_> {
    fn part(&mut self, part: &Part, from: &str, to: &str) -> Result<(), ConvertError> {
        if part.treatment == Treatment::Output && self.description.tied {
            // What a tied model stores there is not used.
            for kind in ["weight", "scales", "biases"] {
                self.take(from, kind);
            }
            return Ok(());
        }
        let rows = self.weight(part.treatment, from)?;
        self.add(format!("{to}.weight"), part.treatment, rows);
        if self.family.biases
            && let Some(bias) = self.take(from, "bias")
        {
            let rows = self.plain(bias)?;
            self.add(format!("{to}.bias"), Treatment::Keep, rows);
        }
        Ok(())
    }

    fn add(&mut self, name: String, treatment: Treatment, rows: Rows<'shards>) {
        let shape = rows.shape();
        let format = treatment.format(shape.len(), self.precision.format());
        self.tensors.push(Planned { name, shape, format, content: Content::Rows(rows) });
    }

    fn take(&mut self, from: &str, kind: &str) -> Option<&'shards str> {
        self.left.remove(&format!("{from}.{kind}"))
    }

    fn plain(&self, name: &str) -> Result<Rows<'shards>, ConvertError> {
        let tensor = self.shards.get(name).ok_or_else(|| ConvertError::MissingTensor { tensor: name.to_owned() })?;
        Rows::plain(self.shards, name, tensor)
    }

    fn weight(&mut self, treatment: Treatment, from: &str) -> Result<Rows<'shards>, ConvertError> {
        let missing = || ConvertError::MissingTensor { tensor: format!("{from}.weight") };
        let name = self.take(from, "weight").ok_or_else(missing)?;
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let rows = match (self.take(from, "scales"), &self.groups) {
            (Some(scales), Some(groups)) => {
                let (bits, group) = groups.of(module)?;
                let biases = format!("{module}.biases");
                self.left.remove(&format!("{from}.biases"));
                Rows::grouped(self.shards, [name, scales, &biases], bits, group)?
            }
            (Some(scales), None) => {
                return Err(ConvertError::UnknownTensor {
                    tensor: scales.to_owned(),
                    family: self.family.architecture,
                });
            }
            (None, _) if treatment == Treatment::Ternary => return self.ternary(name, from),
            (None, _) => self.plain(name)?,
        };
        match treatment {
            Treatment::Query => self.paired(name, rows, self.description.heads),
            Treatment::Key => self.paired(name, rows, self.description.kv_heads),
            Treatment::OffsetNorm => Ok(rows.changed(Change::AddOne)),
            _ => Ok(rows),
        }
    }

    fn paired(&self, name: &str, rows: Rows<'shards>, heads: u32) -> Result<Rows<'shards>, ConvertError> {
        let heads = heads as usize;
        if rows.rows.is_multiple_of(2 * heads) {
            return Ok(rows.changed(Change::PairRows { heads }));
        }
        let found = format!("a matrix of {} rows", rows.rows);
        let expected = format!("{heads} heads of an even number of rows");
        Err(ConvertError::Tensor { tensor: name.to_owned(), found, expected })
    }

    fn ternary(&mut self, name: &'shards str, from: &str) -> Result<Rows<'shards>, ConvertError> {
        let scale_name = self.take(from, "weight_scale");
        match (self.description.ternary, scale_name) {
            (Ternary::Master, None) => {
                let rows = self.plain(name)?;
                // As the model's own layers bound it.
                let scale = rows.mean_magnitude().max(1e-5);
                Ok(rows.changed(Change::Ternary { scale }))
            }
            (Ternary::Multiplied | Ternary::Divided, Some(scale_name)) => {
                let find = |name: &str| {
                    self.shards.get(name).ok_or_else(|| ConvertError::MissingTensor { tensor: name.to_owned() })
                };
                let (tensor, beside) = (find(name)?, find(scale_name)?);
                if beside.shape.iter().product::<usize>() != 1 {
                    return Err(wrong(scale_name, beside, "one number"));
                }
                let scale = Numbers::of(self.shards, scale_name, beside)?.first();
                let scale = if self.description.ternary == Ternary::Divided { 1.0 / scale } else { scale };
                if !(scale.is_finite() && scale > 0.0) {
                    return Err(wrong(scale_name, beside, "a number above 0"));
                }
                Rows::packed(self.shards, name, tensor, scale)
            }
            // Modules that were left as they are stand among the packed ones.
            (_, None) => self.plain(name),
            (_, Some(scale)) => {
                Err(ConvertError::UnknownTensor { tensor: scale.to_owned(), family: self.family.architecture })
            }
        }
    }
}

/// MLX's groups: the whole model's, and those of modules that differ.
struct Groups {
    settings: Config,
}

impl Groups {
    fn read(config: &Config) -> Result<Option<Self>, ConvertError> {
        let Some(settings) = config.object("quantization")? else { return no_other_packing(config).map(|()| None) };
        settings.must_be("mode", &["affine"], "groups with a scale and a bias are read here")?;
        let groups = Self { settings };
        groups.of("")?;
        Ok(Some(groups))
    }

    /// Bits per weight and weights per group of a module.
    fn of(&self, module: &str) -> Result<(usize, usize), ConvertError> {
        let own = match self.settings.get(module) {
            Some(serde_json::Value::Object(_)) => self.settings.object(module)?,
            _ => None,
        };
        let settings = own.as_ref().unwrap_or(&self.settings);
        let bits = settings.count("bits", 32)?;
        if !matches!(bits, 2 | 4 | 8) {
            return Err(unsupported("quantization.bits", bits.to_string(), "2, 4 and 8 bits are read here"));
        }
        Ok((bits as usize, settings.count("group_size", 1 << 16)? as usize))
    }
}

/// Weights that another program packed in its own way cannot be read as what they are not.
fn no_other_packing(config: &Config) -> Result<(), ConvertError> {
    match config.object("quantization_config")? {
        None => Ok(()),
        Some(settings) => settings.must_be("quant_method", &["bitnet"], "weights packed in that way are not read here"),
    }
}
