//! How likely tokens were, as chats and responses tell it.

use serde_json::{Value, json};

use crate::TokenScore;
use crate::error::ApiError;
use crate::fields::Fields;

/// Alternatives that can be asked for.
pub(super) const MOST: u64 = 20;

/// What stands for a probability of nothing: JSON has no infinity.
const IMPOSSIBLE: f64 = -9999.0;

/// Reads `logprobs` and `top_logprobs`: alternatives for each token, if scores are wanted.
///
/// # Errors
/// 400, naming the field.
pub(in crate::api) fn read(fields: &mut Fields) -> Result<Option<u8>, ApiError> {
    let wanted = fields.flag("logprobs")?.unwrap_or(false);
    let top = fields.whole("top_logprobs", 0, MOST)?.map_or(0, |top| u8::try_from(top).unwrap_or(0));
    match (wanted, top) {
        (false, 0) => Ok(None),
        (false, _) => Err(fields.wrong("top_logprobs", "needs `logprobs` to be true")),
        (true, top) => Ok(Some(top)),
    }
}

/// Tokens with their scores and at most `top` alternatives each.
pub(super) fn tokens(scores: &[TokenScore], top: u8) -> Vec<Value> {
    let entry = |bytes: &[u8], logprob: Option<f32>| json!({ "token": String::from_utf8_lossy(bytes), "bytes": bytes, "logprob": finite(logprob) });
    let token = |score: &TokenScore| {
        let mut token = entry(&score.bytes, score.logprob);
        let alternatives = score.top.iter().take(top.into());
        token["top_logprobs"] = alternatives.map(|other| entry(&other.bytes, Some(other.logprob))).collect();
        token
    };
    scores.iter().map(token).collect()
}

/// A logarithm that JSON can carry.
pub(in crate::api) fn finite(logprob: Option<f32>) -> f64 {
    logprob.map(f64::from).filter(|logprob| logprob.is_finite()).map_or(IMPOSSIBLE, |logprob| logprob.max(IMPOSSIBLE))
}
