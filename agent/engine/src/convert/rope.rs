//! How a model's rotary positions turn and stretch, in the two spellings that `config.json` has for it.
//!
//! Until transformers 5: `rope_theta` and `rope_scaling`. Since: `rope_parameters`, by kind of layer where kinds differ.

use super::ConvertError;
use super::config::{Config, unsupported};
use crate::math;

/// Most numbers of a list of factors: half of the longest head.
const FACTORS: usize = 2_048;
const WHY: &str = "no graph here stretches positions that way";

/// The turning of one kind of layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    pub(super) base: f64,
    pub(super) stretch: Stretch,
    /// The share of a head that turns.
    pub(super) share: f64,
}

/// What is done for contexts longer than the model first learnt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stretch {
    None,
    /// All positions are divided by this.
    Linear(f64),
    /// Slow pairs are slowed further, by wavelength: Llama 3.1.
    ByWavelength {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
    /// Two lists of divisors: Phi-3's LongRoPE.
    Lists {
        short: Vec<f32>,
        long: Vec<f32>,
        magnitude: Option<f64>,
    },
}

impl Rope {
    /// Reads it for layers of this kind (`full_attention`, `sliding_attention`), where the file tells kinds apart.
    pub(super) fn read(config: &Config, kind: &str, base: f64) -> Result<Self, ConvertError> {
        let parameters = match config.object("rope_parameters")? {
            Some(all) => match all.object(kind)? {
                Some(own) => Some(own),
                None => Some(all),
            },
            None => config.object("rope_scaling")?,
        };
        let theta = |config: &Config| config.optional_number("rope_theta");
        let share = |config: &Config| config.optional_number("partial_rotary_factor");
        let (mut own_base, mut own_share, mut stretch) = (None, None, Stretch::None);
        if let Some(parameters) = &parameters {
            (own_base, own_share, stretch) = (theta(parameters)?, share(parameters)?, read_stretch(parameters)?);
        }
        let base = own_base.or(theta(config)?).unwrap_or(base);
        let share = own_share.or(share(config)?).unwrap_or(1.0);
        if share > 1.0 {
            return Err(unsupported("partial_rotary_factor", share.to_string(), "it is a share of a head"));
        }
        Ok(Self { base, stretch, share })
    }

    /// Refuses what this family's graph does not do.
    pub(super) fn only(self, allowed: impl Fn(&Stretch) -> bool) -> Result<Self, ConvertError> {
        let name = match &self.stretch {
            Stretch::None => "default",
            Stretch::Linear(_) => "linear",
            Stretch::ByWavelength { .. } => "llama3",
            Stretch::Lists { .. } => "longrope",
        };
        if allowed(&self.stretch) { Ok(self) } else { Err(unsupported("rope_scaling", name, WHY)) }
    }

    /// Refuses heads of which only a part turns.
    pub(super) fn whole(self) -> Result<Self, ConvertError> {
        match self.share {
            1.0 => Ok(self),
            share => Err(unsupported("partial_rotary_factor", share.to_string(), "whole heads turn in this family")),
        }
    }
}

fn read_stretch(parameters: &Config) -> Result<Stretch, ConvertError> {
    let kind = match parameters.text("rope_type")? {
        Some(kind) => Some(kind),
        None => parameters.text("type")?,
    };
    match kind {
        None | Some("default") => Ok(Stretch::None),
        Some("linear") => Ok(Stretch::Linear(parameters.number("factor")?)),
        Some("llama3") => Ok(Stretch::ByWavelength {
            factor: parameters.number("factor")?,
            low: parameters.number("low_freq_factor")?,
            high: parameters.number("high_freq_factor")?,
            original: parameters.number("original_max_position_embeddings")?,
        }),
        Some("longrope" | "su") => Ok(Stretch::Lists {
            short: parameters.numbers("short_factor", FACTORS)?,
            long: parameters.numbers("long_factor", FACTORS)?,
            magnitude: parameters.optional_number("attention_factor")?,
        }),
        Some(other) => Err(unsupported("rope_scaling", other, WHY)),
    }
}

/// The divisor of each pair's speed in a head of this length, by its wavelength: Llama 3.1's own formula. Pairs that turn
/// often within the original context keep their speed, those that turn less than once are slowed by the whole factor, and
/// between the two the speed is mixed.
pub(super) fn divisors_by_wavelength(
    head: u32,
    base: f64,
    factor: f64,
    low: f64,
    high: f64,
    original: f64,
) -> Vec<f32> {
    let pairs = (0..head / 2).map(|pair| math::power_f64(base, -f64::from(2 * pair) / f64::from(head)));
    pairs
        .map(|speed| {
            let turns = original * speed / std::f64::consts::TAU;
            let divisor = match turns {
                turns if turns > high => 1.0,
                turns if turns < low => factor,
                turns => {
                    let kept = (turns - low) / (high - low);
                    1.0 / ((1.0 - kept) / factor + kept)
                }
            };
            divisor as f32
        })
        .collect()
}
