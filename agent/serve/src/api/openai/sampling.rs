//! How tokens are chosen and where an answer ends, as all routes of this family write it.

use serde_json::Value;

use crate::Sampling;
use crate::error::ApiError;
use crate::fields::Fields;

const BIASES: usize = 1024;

/// Answers to one prompt.
const CHOICES: u64 = 8;

/// Reads everything that decides how tokens are chosen.
///
/// # Errors
/// 400, naming the field.
pub(super) fn sampling(fields: &mut Fields) -> Result<Sampling, ApiError> {
    let repetition_penalty = match fields.number("repetition_penalty", 0.0, 2.0)? {
        None => fields.number("repeat_penalty", 0.0, 2.0)?,
        some => some,
    };
    let top_p = fields.number("top_p", 0.0, 1.0)?;
    for (field, value) in [("top_p", top_p), ("repetition_penalty", repetition_penalty)] {
        if value == Some(0.0) {
            return Err(fields.wrong(field, "has to be above 0"));
        }
    }
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0, 2.0)?,
        top_p,
        top_k: fields.count("top_k", 0)?,
        min_p: fields.number("min_p", 0.0, 1.0)?,
        repetition_penalty,
        presence_penalty: fields.number("presence_penalty", -2.0, 2.0)?,
        frequency_penalty: fields.number("frequency_penalty", -2.0, 2.0)?,
        logit_bias: logit_bias(fields)?,
        seed: fields.seed("seed")?,
        ..Sampling::default()
    })
}

/// Keys are numbers of tokens, written as texts because JSON has no other keys.
fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let wrong = "has to be an object of at most 1024 tokens, as in `{\"50256\": -100}`, each from -100 to 100";
    match fields.take("logit_bias") {
        None => Ok(Vec::new()),
        Some(Value::Object(map)) if map.len() <= BIASES => map
            .into_iter()
            .map(|(token, bias)| {
                let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
                Some((token.parse().ok()?, bias? as f32))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| fields.wrong("logit_bias", wrong)),
        Some(_) => Err(fields.wrong("logit_bias", wrong)),
    }
}

/// Reads how many answers are wanted.
///
/// # Errors
/// 400 for none or too many.
pub(super) fn n(fields: &mut Fields) -> Result<usize, ApiError> {
    Ok(fields.whole("n", 1, CHOICES)?.map_or(1, |n| n as usize))
}

/// Reads whether a stream ends with what it took.
///
/// # Errors
/// 400, naming the field.
pub(super) fn include_usage(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let Some(options) = fields.take("stream_options") else { return Ok(false) };
    if !stream {
        return Err(fields.wrong("stream_options", "needs `stream` to be true"));
    }
    let mut options = Fields::within("stream_options", options)?;
    let include = options.flag("include_usage")?.unwrap_or(false);
    // Padding against traffic analysis; nothing is padded here, so only asking for it is refused.
    options.refuse("include_obfuscation", crate::fields::Neutral::False)?;
    options.finish()?;
    Ok(include)
}
