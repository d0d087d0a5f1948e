//! Golden prompts: questions whose greedy answers a release knows, so that a device can tell whether a file computes there
//! what it computed where it was made.

use serde::{Deserialize, Serialize};

/// Most golden prompts of one variant: each costs a device a prompt and some tokens before the model serves.
pub const PROMPTS: usize = 8;

/// Most bytes of one prompt: with its answer it has to fit into the smallest context of use, 256 tokens, whatever a token is.
pub const PROMPT_BYTES: usize = 160;

/// Most bytes of the beginning of one answer.
pub const ANSWER_BYTES: usize = 512;

/// Most tokens that one prompt may ask for.
pub const TOKENS: u32 = 64;

/// A question and how its greedy answer begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenPrompt {
    /// Text that the model continues, as it stands: no template, the tokenizer's own beginning in front of it.
    pub prompt: String,
    /// Tokens to ask for.
    pub tokens: u32,
    /// What these tokens spell.
    pub answer: String,
}

/// What golden prompts cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGolden {
    /// Too many.
    #[error("there are {0} golden prompts, {PROMPTS} are the most")]
    Count(usize),
    /// One is out of bounds.
    #[error(
        "golden prompt {index} is out of bounds: a prompt has 1 to {PROMPT_BYTES} bytes, an answer 1 to {ANSWER_BYTES} \
         bytes and 1 to {TOKENS} tokens"
    )]
    Bounds {
        /// Position in the list.
        index: usize,
    },
}

/// The golden prompts of one variant; within their bounds whenever there is a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<GoldenPrompt>", into = "Vec<GoldenPrompt>")]
pub struct GoldenPrompts(Vec<GoldenPrompt>);

impl GoldenPrompts {
    /// True if the release knows of none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of the release.
    #[must_use]
    pub fn as_slice(&self) -> &[GoldenPrompt] {
        &self.0
    }
}

impl TryFrom<Vec<GoldenPrompt>> for GoldenPrompts {
    type Error = InvalidGolden;

    fn try_from(prompts: Vec<GoldenPrompt>) -> Result<Self, InvalidGolden> {
        if prompts.len() > PROMPTS {
            return Err(InvalidGolden::Count(prompts.len()));
        }
        let bounded = |golden: &GoldenPrompt| {
            (1..=PROMPT_BYTES).contains(&golden.prompt.len())
                && (1..=ANSWER_BYTES).contains(&golden.answer.len())
                && (1..=TOKENS).contains(&golden.tokens)
        };
        match prompts.iter().position(|golden| !bounded(golden)) {
            Some(index) => Err(InvalidGolden::Bounds { index }),
            None => Ok(Self(prompts)),
        }
    }
}

impl From<GoldenPrompts> for Vec<GoldenPrompt> {
    fn from(prompts: GoldenPrompts) -> Self {
        prompts.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn golden(prompt: usize, tokens: u32, answer: usize) -> GoldenPrompt {
        GoldenPrompt { prompt: "p".repeat(prompt), tokens, answer: "a".repeat(answer) }
    }

    #[test]
    fn prompts_out_of_bounds_are_refused_by_their_position() {
        let fine = golden(1, 1, 1);
        for bad in [
            golden(0, 1, 1),
            golden(PROMPT_BYTES + 1, 1, 1),
            golden(1, 0, 1),
            golden(1, TOKENS + 1, 1),
            golden(1, 1, 0),
            golden(1, 1, ANSWER_BYTES + 1),
        ] {
            let refused = GoldenPrompts::try_from(vec![fine.clone(), bad]);
            assert_eq!(refused, Err(InvalidGolden::Bounds { index: 1 }));
        }
        assert_eq!(GoldenPrompts::try_from(vec![fine; PROMPTS + 1]), Err(InvalidGolden::Count(PROMPTS + 1)));
    }

    #[test]
    fn a_catalogue_of_before_has_none_and_is_written_as_before() {
        let text = r#"{"release":1,"model":{"model":"m","architecture":"llama","licence":"","parameters":1,
            "context_tokens":1,"layers":1,"embedding_length":1,"vocabulary":1,"kv_elements_per_layer":1,
            "feed_forward_length":1,"query_elements":1},"quantisation":"Q4_0","file_bytes":1,"weight_bytes":1,
            "quality_milli":4500}"#;
        let facts: crate::VariantFacts = serde_json::from_str(text).unwrap();
        assert!(facts.golden.is_empty());
        assert!(serde_json::to_value(&facts).unwrap().get("golden").is_none());
    }

    proptest! {
        /// Whatever the wire says: a value is within its bounds and survives the wire, or it is refused.
        #[test]
        fn what_parses_is_within_its_bounds(
            sizes in prop::collection::vec((0..PROMPT_BYTES + 2, 0..TOKENS + 2, 0..ANSWER_BYTES + 2), 0..PROMPTS + 2),
        ) {
            let list: Vec<_> = sizes.iter().map(|&(prompt, tokens, answer)| golden(prompt, tokens, answer)).collect();
            let text = serde_json::to_string(&list).unwrap();
            match serde_json::from_str::<GoldenPrompts>(&text) {
                Ok(prompts) => {
                    prop_assert!(list.len() <= PROMPTS);
                    prop_assert!(sizes.iter().all(|&(p, t, a)| p > 0 && p <= PROMPT_BYTES && t > 0 && t <= TOKENS
                        && a > 0 && a <= ANSWER_BYTES));
                    prop_assert_eq!(serde_json::to_string(&prompts).unwrap(), text);
                }
                Err(_) => prop_assert!(GoldenPrompts::try_from(list).is_err()),
            }
        }
    }
}
