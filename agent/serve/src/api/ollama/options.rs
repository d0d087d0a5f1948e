//! `options`, `format`, `keep_alive` and `think`: how an answer is made.

use std::time::Duration;

use serde_json::Value;

use crate::api::openai::format::bounded;
use crate::api::stop;
use crate::error::ApiError;
use crate::fields::{Fields, Neutral};
use crate::{KeepAlive, Sampling, Shape};

/// Further back than any context: what `repeat_last_n` of −1 means.
const WHOLE_CONTEXT: u32 = 1 << 20;

/// A model kept longer than ten years is kept until its room is needed.
const FOREVER_S: f64 = 10.0 * 365.0 * 86_400.0;

/// What is about hardware, or about cutting a conversation that does not fit: here that is refused and never cut.
pub(crate) const HARMLESS: [&str; 18] = [
    "num_ctx",
    "num_keep",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "num_gqa",
    "numa",
    "use_mmap",
    "use_mlock",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "embedding_only",
    "draft_num_predict",
    // They tune what `mirostat` switches on, which is refused.
    "mirostat_tau",
    "mirostat_eta",
];

/// What `options` say.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Options {
    pub(super) sampling: Sampling,
    pub(super) stop: Vec<String>,
    pub(super) max_tokens: Option<u32>,
}

/// Reads an object of options, called `field` in this request.
pub(super) fn options(fields: &mut Fields, field: &'static str) -> Result<Options, ApiError> {
    let path = fields.path(field);
    let Some(value) = fields.take(field) else { return Ok(Options::default()) };
    let mut options = Fields::within(path, value)?;
    options.ignore(&HARMLESS);
    options.refuse("mirostat", Neutral::Zero)?;
    for field in ["typical_p", "tfs_z"] {
        if options.number(field, 0.0, 1.0)?.is_some_and(|value| value < 1.0) {
            return Err(options.not_served(field, "is not implemented here; 1, or leaving it out, switches it off"));
        }
    }
    if options.flag("penalize_newline")? == Some(false) {
        return Err(options.not_served("penalize_newline", "has to be true: every token counts for a penalty here"));
    }
    let sampling = Sampling {
        temperature: options.number("temperature", 0.0, 2.0)?,
        top_p: above_zero(&mut options, "top_p", 1.0)?,
        top_k: options.count("top_k", 0)?,
        min_p: options.number("min_p", 0.0, 1.0)?,
        repetition_penalty: above_zero(&mut options, "repeat_penalty", 2.0)?,
        repetition_window: window(&mut options)?,
        presence_penalty: options.number("presence_penalty", -2.0, 2.0)?,
        frequency_penalty: options.number("frequency_penalty", -2.0, 2.0)?,
        // −1 asks for any seed, as leaving it out does.
        seed: options.seed("seed")?.filter(|seed| *seed != u64::MAX),
        ..Sampling::default()
    };
    let stop = stop::read(&mut options, "stop")?;
    let max_tokens = predict(&mut options)?;
    options.finish()?;
    Ok(Options { sampling, stop, max_tokens })
}

fn above_zero(options: &mut Fields, field: &'static str, most: f64) -> Result<Option<f32>, ApiError> {
    match options.number(field, 0.0, most)? {
        Some(0.0) => Err(options.wrong(field, "has to be above 0")),
        other => Ok(other),
    }
}

fn window(options: &mut Fields) -> Result<Option<u32>, ApiError> {
    let Some(value) = options.take("repeat_last_n") else { return Ok(None) };
    match value.as_i64() {
        Some(-1) => Ok(Some(WHOLE_CONTEXT)),
        Some(number) if (0..=i64::from(WHOLE_CONTEXT)).contains(&number) => Ok(u32::try_from(number).ok()),
        _ => Err(options.wrong("repeat_last_n", "has to be a number of tokens, or −1 for all of them")),
    }
}

fn predict(options: &mut Fields) -> Result<Option<u32>, ApiError> {
    let Some(value) = options.take("num_predict") else { return Ok(None) };
    match value.as_i64() {
        Some(-2 | -1) => Ok(None),
        Some(number @ 1..) if number <= i64::from(u32::MAX) => Ok(u32::try_from(number).ok()),
        _ => Err(options.wrong("num_predict", "has to be a number of tokens, or −1 for as many as you may have")),
    }
}

/// Reads `format`: nothing, `json`, or a JSON Schema.
pub(super) fn format(fields: &mut Fields) -> Result<Shape, ApiError> {
    match fields.take("format") {
        None => Ok(Shape::Free),
        Some(Value::String(word)) if word.is_empty() => Ok(Shape::Free),
        Some(Value::String(word)) if word == "json" => Ok(Shape::Object),
        Some(schema @ Value::Object(_)) => bounded(fields, "format", schema),
        Some(_) => Err(fields.wrong("format", "has to be `json` or a JSON Schema")),
    }
}

/// Reads `think`: whether, or how much; the models here know only whether.
pub(super) fn think(fields: &mut Fields) -> Result<Option<bool>, ApiError> {
    match fields.take("think") {
        None => Ok(None),
        Some(Value::Bool(think)) => Ok(Some(think)),
        Some(Value::String(level)) if matches!(level.as_str(), "low" | "medium" | "high") => Ok(Some(true)),
        Some(_) => Err(fields.wrong("think", "has to be true, false, `low`, `medium` or `high`")),
    }
}

/// Reads `keep_alive`: seconds, or a duration as in `1h30m`; below zero for ever.
pub(super) fn keep_alive(fields: &mut Fields) -> Result<Option<KeepAlive>, ApiError> {
    let seconds = match fields.take("keep_alive") {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => seconds_of(&text),
        Some(_) => None,
    };
    match seconds {
        Some(seconds) if (0.0..=FOREVER_S).contains(&seconds) => {
            Ok(Some(KeepAlive::For(Duration::from_secs_f64(seconds))))
        }
        Some(_) => Ok(Some(KeepAlive::Forever)),
        None => Err(fields.wrong("keep_alive", "has to be seconds, a duration as in `5m` or `1h30m`, or −1 for ever")),
    }
}

/// Seconds of a duration as in `1h30m`; a bare number is seconds.
fn seconds_of(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut sum = 0.0;
    let mut bare = true;
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(rest.len());
        let (number, more) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let unit = units.iter().find_map(|(unit, seconds)| Some((more.strip_prefix(unit)?, seconds)));
        match unit {
            Some((after, seconds)) => {
                sum += number * seconds;
                (rest, bare) = (after, false);
            }
            None if more.is_empty() && bare => return Some(sign * number),
            None => return None,
        }
    }
    Some(sign * sum)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::within("", value).unwrap()
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let keep = |value: Value| keep_alive(&mut fields(json!({ "keep_alive": value })));
        let seconds = |seconds| Ok(Some(KeepAlive::For(Duration::from_secs(seconds))));
        for (value, expected) in [
            (json!("5m"), seconds(300)),
            (json!("1h30m"), seconds(5400)),
            (json!("1.5h"), seconds(5400)),
            (json!("90"), seconds(90)),
            (json!(30), seconds(30)),
            (json!(0), seconds(0)),
            (json!("0s"), seconds(0)),
            (json!(-1), Ok(Some(KeepAlive::Forever))),
            (json!("-1m"), Ok(Some(KeepAlive::Forever))),
            (json!("99999999h"), Ok(Some(KeepAlive::Forever))),
            (Value::Null, Ok(None)),
        ] {
            assert_eq!(keep(value.clone()), expected, "{value}");
        }
        for wrong in [json!(""), json!("5 m"), json!("m"), json!("5x"), json!("1h30"), json!("1.2.3s"), json!([])] {
            assert!(keep(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_option_is_mapped_harmless_or_refused() {
        let read = |value: Value| options(&mut fields(json!({ "options": value })), "options");
        let all = read(json!({
            "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "repeat_penalty": 1.1, "repeat_last_n": -1,
            "presence_penalty": 0.5, "frequency_penalty": -0.5, "seed": 7, "stop": ["END"], "num_predict": 9,
            "num_ctx": 8192, "num_gpu": 99, "num_thread": 8, "main_gpu": 0, "num_batch": 512, "use_mmap": true,
            "numa": false, "num_keep": 4, "typical_p": 1.0, "tfs_z": 1, "mirostat": 0, "penalize_newline": true,
        }))
        .unwrap();
        assert_eq!((all.stop, all.max_tokens), (vec!["END".to_owned()], Some(9)));
        assert_eq!((all.sampling.top_k, all.sampling.seed), (Some(3), Some(7)));
        assert_eq!(all.sampling.repetition_window, Some(WHOLE_CONTEXT));
        assert_eq!(read(json!({ "num_predict": -1, "seed": -1 })).unwrap(), Options::default());
        for refused in [
            json!({ "mirostat": 1 }),
            json!({ "typical_p": 0.5 }),
            json!({ "tfs_z": 0.5 }),
            json!({ "penalize_newline": false }),
            json!({ "num_predict": 0 }),
            json!({ "temprature": 1 }),
            json!([]),
        ] {
            assert!(read(refused.clone()).is_err(), "{refused}");
        }
    }
}
