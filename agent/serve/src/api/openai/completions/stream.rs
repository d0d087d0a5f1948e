//! The answers as server-sent events: each prompt where it is told again, what continues it, the reason, then `[DONE]`.

use serde_json::{Value, json};

use super::answer::object;
use super::logprobs::{self, Lists};
use super::request::Completion;
use crate::api::openai::choices::{self, Common, total};
use crate::api::openai::usage::usage;
use crate::stream::event;
use crate::{Ending, Said, TokenScore, Usage};

/// Writes chunks.
pub(super) struct Writer {
    common: Common,
    asked: Completion,
    /// How far each answer's text has come.
    lists: Vec<Lists>,
}

impl Writer {
    pub(super) fn new(common: Common, asked: Completion) -> Self {
        let lists = asked.questions.iter().map(|_| Lists::default()).collect();
        Self { common, asked, lists }
    }

    fn chunk(&self, choice: usize, text: &str, scores: Value, finish_reason: Value) -> String {
        let choice = json!({ "index": choice, "text": text, "logprobs": scores, "finish_reason": finish_reason });
        let mut chunk = object(&self.common, json!([choice]));
        if self.asked.include_usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }

    fn scores(&mut self, choice: usize, tokens: &[TokenScore]) -> Value {
        match (self.asked.top, self.lists.get_mut(choice)) {
            (Some(top), Some(lists)) => lists.of(tokens, top),
            _ => Value::Null,
        }
    }
}

impl choices::Writer for Writer {
    /// Prompts whose scores come are told when they come.
    fn opening(&mut self) -> String {
        let unscored = |choice: &usize| self.asked.questions.get(*choice).is_some_and(|asked| !asked.prompt_scores);
        let choices = (0..self.asked.questions.len()).filter(unscored);
        let text = |choice| Some(self.chunk(choice, self.asked.echoed(choice)?, Value::Null, Value::Null));
        choices.filter_map(text).collect()
    }

    fn said(&mut self, choice: usize, said: Said) -> String {
        match said {
            Said::Prompt(tokens) => {
                let scores = self.scores(choice, &tokens);
                let text = self.asked.echoed(choice).map_or_else(|| logprobs::text(&tokens), str::to_owned);
                self.chunk(choice, &text, scores, Value::Null)
            }
            Said::Text { text, tokens } => {
                let scores = self.scores(choice, &tokens);
                self.chunk(choice, &text, scores, Value::Null)
            }
            // Only conversations have these.
            Said::Reasoning(_) | Said::Call { .. } | Said::Arguments { .. } => String::new(),
        }
    }

    fn ended(&mut self, choice: usize, ending: &Ending) -> String {
        self.chunk(choice, "", Value::Null, json!(ending.reason.word()))
    }

    fn closing(&mut self, usages: &[Usage]) -> String {
        let mut text = String::new();
        if self.asked.include_usage {
            let mut last = object(&self.common, json!([]));
            last["usage"] = usage(total(usages, self.asked.n));
            text.push_str(&event(&last));
        }
        text.push_str("data: [DONE]\n\n");
        text
    }
}
