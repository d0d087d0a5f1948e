//! What must not pass: looks through what goes to a model, and through what comes from it while it streams.
//!
//! What is found is recorded by class and count, never by content. What is blocked is refused with the classes' names.
//! Arguments of calls are JSON, where a character can be written in many ways and a removed number would break the form:
//! they are looked through value by value, once they are whole.

mod output;

use std::collections::BTreeMap;

use outpost_audit::Record;
use outpost_policies::content::{Class, ContentRules, Direction, Hit, Released};
use serde_json::Value;

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::{Prompt, Tool, ToolCall};

pub(crate) use output::Filter;

/// What was found so far, without what it was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found(BTreeMap<(Class, &'static str), u64>);

impl Found {
    fn add(&mut self, hits: Vec<Hit>) {
        for hit in hits {
            *self.0.entry((hit.class, hit.act.word())).or_default() += u64::from(hit.count);
        }
    }

    /// Counts it.
    pub(crate) fn count(&self, metrics: &Metrics, direction: Direction) {
        for ((class, act), count) in &self.0 {
            metrics.content(direction.word(), class.word(), act, *count);
        }
    }

    /// Adds it to a record.
    pub(crate) fn describe(&self, record: Record, direction: Direction) -> Record {
        if self.0.is_empty() {
            return record;
        }
        let hits: Vec<String> =
            self.0.iter().map(|((class, act), count)| format!("{} {act} {count}", class.word())).collect();
        let key = match direction {
            Direction::Input => "content_input",
            Direction::Output => "content_output",
        };
        record.detail(key, hits.join(", "))
    }
}

/// A text that must not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocked {
    class: Class,
}

impl Blocked {
    /// What the caller is told: the class, not where or what.
    pub(crate) fn error(&self, direction: Direction) -> ApiError {
        let class = self.class.word();
        ApiError::content_blocked(match direction {
            Direction::Input => format!("what was sent contains `{class}`, which must not go to a model: leave it out"),
            Direction::Output => format!("the answer contains `{class}`, which must not leave: it ends here"),
        })
    }
}

/// Looks through one direction of one request.
struct Looking<'a> {
    rules: &'a ContentRules,
    direction: Direction,
    found: &'a mut Found,
}

impl Looking<'_> {
    /// A text that is there as a whole.
    fn text(&mut self, text: &str) -> Result<String, Blocked> {
        let Some(mut scanner) = self.rules.scanner(self.direction) else { return Ok(text.to_owned()) };
        let mut whole = take(scanner.push(text), self.found)?;
        whole.push_str(&take(scanner.finish(), self.found)?);
        Ok(whole)
    }

    fn replace(&mut self, text: &mut String) -> Result<(), Blocked> {
        *text = self.text(text)?;
        Ok(())
    }

    /// JSON, value by value; a number in which something is found becomes a text.
    fn value(&mut self, value: &mut Value) -> Result<(), Blocked> {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::String(text) => self.replace(text)?,
            Value::Number(number) => {
                let written = number.to_string();
                let passed = self.text(&written)?;
                if passed != written {
                    *value = Value::String(passed);
                }
            }
            Value::Array(values) => values.iter_mut().try_for_each(|value| self.value(value))?,
            Value::Object(members) => {
                let mut passed = serde_json::Map::new();
                for (key, mut value) in std::mem::take(members) {
                    self.value(&mut value)?;
                    passed.insert(self.text(&key)?, value);
                }
                *members = passed;
            }
        }
        Ok(())
    }

    /// JSON text; as it is if it is none, as when an answer was cut short.
    fn json(&mut self, text: &str) -> Result<String, Blocked> {
        match serde_json::from_str::<Value>(text) {
            Ok(mut value) => {
                let before = value.clone();
                self.value(&mut value)?;
                // What nothing was found in stays as it was written.
                Ok(if value == before { text.to_owned() } else { value.to_string() })
            }
            Err(_) => self.text(text),
        }
    }

    fn calls(&mut self, calls: &mut [ToolCall]) -> Result<(), Blocked> {
        for call in calls {
            call.arguments = self.json(&call.arguments)?;
        }
        Ok(())
    }

    fn tools(&mut self, tools: &mut [Tool]) -> Result<(), Blocked> {
        for tool in tools {
            self.replace(&mut tool.description)?;
            self.value(&mut tool.parameters)?;
        }
        Ok(())
    }
}

/// What may pass of a piece; an error if nothing more may.
fn take(released: Released, found: &mut Found) -> Result<String, Blocked> {
    found.add(released.hits);
    match released.blocked {
        Some(class) => Err(Blocked { class }),
        None => Ok(released.text),
    }
}

/// Looks through what goes to a model; it has placeholders afterwards where something was removed.
///
/// # Errors
/// 403 if something must not pass; 400 if it comes in a form that cannot be looked through.
pub(crate) fn look_through(rules: &ContentRules, prompt: &mut Prompt, found: &mut Found) -> Result<(), ApiError> {
    if rules.scanner(Direction::Input).is_none() {
        return Ok(());
    }
    let mut looking = Looking { rules, direction: Direction::Input, found };
    let looked = match prompt {
        Prompt::Tokens(_) => {
            return Err(ApiError::invalid(
                "prompt",
                "what you send is looked through, so send it as text, not as tokens",
            ));
        }
        Prompt::Text(text) => looking.replace(text),
        Prompt::Chat(chat) => chat
            .messages
            .iter_mut()
            .try_for_each(|message| {
                looking.replace(&mut message.content)?;
                message.reasoning.as_mut().map_or(Ok(()), |reasoning| looking.replace(reasoning))?;
                message.name.as_mut().map_or(Ok(()), |name| looking.replace(name))?;
                looking.calls(&mut message.calls)
            })
            .and_then(|()| looking.tools(&mut chat.tools)),
    };
    looked.map_err(|blocked| blocked.error(Direction::Input))
}

#[cfg(test)]
mod tests;
