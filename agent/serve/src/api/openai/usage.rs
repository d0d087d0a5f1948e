//! Token counts, as chats and completions tell them.

use serde_json::{Value, json};

use crate::Usage;

/// Token counts.
pub(super) fn usage(usage: Usage) -> Value {
    let Usage { prompt_tokens, cached_tokens, generated_tokens, reasoning_tokens } = usage;
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": generated_tokens,
        "total_tokens": u64::from(prompt_tokens) + u64::from(generated_tokens),
        "prompt_tokens_details": { "cached_tokens": cached_tokens },
        "completion_tokens_details": { "reasoning_tokens": reasoning_tokens },
    })
}
