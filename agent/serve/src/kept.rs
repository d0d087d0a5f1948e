//! What of a call's content is kept with its records, sealed, where a rule asks for it.
//!
//! It is kept as it went to the model and as it left: what content rules take out is not kept by another door. Whose it is
//! said by the caller's pseudonym, so that it can be erased by it.

use outpost_audit::vault::MAX_CONTENT_BYTES;
use outpost_audit::{Content, Level, Record};
use outpost_policies::{AuditLevel, Permit};
use serde_json::{Map, Value, json};

use crate::app::Serving;
use crate::handle::Call;
use crate::{Chat, EmbedInput, Message, Prompt, Said, ToolCall};

/// How much is kept of one call, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Keeping {
    level: Level,
    subject: String,
}

impl Keeping {
    /// As the rules say that allowed it.
    pub(crate) fn of(serving: &Serving, call: &Call, permit: &Permit) -> Self {
        let level = match permit.audit() {
            AuditLevel::Metadata => Level::Metadata,
            AuditLevel::Request => Level::Request,
            AuditLevel::RequestAndResponse => Level::RequestAndResponse,
        };
        Self { level, subject: serving.pseudonyms.of(&call.caller.principal.id) }
    }

    /// What was asked, if it is kept.
    pub(crate) fn prompt(&self, prompt: &Prompt) -> Option<Value> {
        (self.level >= Level::Request).then(|| match prompt {
            Prompt::Chat(chat) => conversation(chat),
            Prompt::Text(text) => json!({ "prompt": text }),
            Prompt::Tokens(tokens) => json!({ "prompt": tokens }),
        })
    }

    /// The texts of a request for vectors, if they are kept. The vectors are not: they follow from the texts.
    pub(crate) fn texts(&self, inputs: &[EmbedInput]) -> Option<Value> {
        let text = |input: &EmbedInput| match input {
            EmbedInput::Text(text) => json!(text),
            EmbedInput::Tokens(tokens) => json!(tokens),
        };
        (self.level >= Level::Request).then(|| json!({ "input": inputs.iter().map(text).collect::<Vec<_>>() }))
    }

    /// Seals what was asked with the record of the start.
    pub(crate) fn seal_request(&self, record: Record, asked: Option<Value>) -> Record {
        let Some(asked) = asked else { return record };
        let (bytes, record) = bounded(asked.to_string().into_bytes(), record);
        record.seal(self.level, self.subject.as_str(), Content::of_input(bytes))
    }

    /// What listens to the answer, if it is kept.
    pub(crate) fn listen(&self) -> Option<Heard> {
        (self.level >= Level::RequestAndResponse).then(Heard::default)
    }

    /// Seals what was answered with the record of the end, whole or broken off.
    pub(crate) fn seal_answer(&self, record: Record, heard: Option<&Heard>) -> Record {
        let Some(heard) = heard else { return record };
        let (bytes, record) = bounded(heard.to_json().to_string().into_bytes(), record);
        record.seal(self.level, self.subject.as_str(), Content::of_output(bytes))
    }
}

/// No more than can be sealed; the record says how much there was.
fn bounded(mut bytes: Vec<u8>, record: Record) -> (Vec<u8>, Record) {
    if bytes.len() <= MAX_CONTENT_BYTES {
        return (bytes, record);
    }
    let record = record.detail("content_cut_from", bytes.len() as u64);
    bytes.truncate(MAX_CONTENT_BYTES);
    (bytes, record)
}

/// An answer so far, as its client got it.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    content: String,
    reasoning: String,
    calls: Vec<ToolCall>,
}

impl Heard {
    /// A part of the answer that may leave.
    pub(crate) fn said(&mut self, said: &Said) {
        match said {
            Said::Text { text, .. } => self.content.push_str(text),
            Said::Reasoning(text) => self.reasoning.push_str(text),
            Said::Call { name, .. } => self.calls.push(ToolCall { name: name.clone(), ..ToolCall::default() }),
            Said::Arguments { index, text } => {
                if let Some(call) = self.calls.get_mut(*index as usize) {
                    call.arguments.push_str(text);
                }
            }
            Said::Prompt(_) => {}
        }
    }

    fn to_json(&self) -> Value {
        let message = Message {
            content: self.content.clone(),
            reasoning: (!self.reasoning.is_empty()).then(|| self.reasoning.clone()),
            calls: self.calls.clone(),
            ..Message::default()
        };
        Value::Object(said(&message))
    }
}

fn conversation(chat: &Chat) -> Value {
    let messages = chat.messages.iter().map(|message| {
        let mut parts = said(message);
        parts.insert("role".to_owned(), json!(message.role.word()));
        Value::Object(parts)
    });
    let mut asked = json!({ "messages": messages.collect::<Vec<_>>() });
    if !chat.tools.is_empty() {
        let tools = chat
            .tools
            .iter()
            .map(|tool| json!({ "name": tool.name, "description": tool.description, "parameters": tool.parameters }));
        asked["tools"] = tools.collect();
    }
    asked
}

/// The parts of a message that it has.
fn said(message: &Message) -> Map<String, Value> {
    let calls = message.calls.iter().map(|call| json!({ "name": call.name, "arguments": call.arguments }));
    let parts = [
        ("content", Some(json!(message.content))),
        ("reasoning", message.reasoning.as_ref().map(|text| json!(text))),
        ("calls", (!message.calls.is_empty()).then(|| calls.collect())),
        ("call_id", message.call_id.as_ref().map(|id| json!(id))),
        ("name", message.name.as_ref().map(|name| json!(name))),
    ];
    parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_and_the_record_says_so() {
        let keeping = Keeping { level: Level::Request, subject: "p:9c".to_owned() };
        let asked = keeping.prompt(&Prompt::Text("x".repeat(MAX_CONTENT_BYTES)));
        let record = keeping.seal_request(Record::new(outpost_audit::Kind::InferStart), asked);
        let told = format!("{record:?}");
        assert!(told.contains("content_cut_from") && told.contains(&(MAX_CONTENT_BYTES + 13).to_string()));
        assert!(told.contains(&format!("bytes in Some({MAX_CONTENT_BYTES})")));
    }

    #[test]
    fn a_level_keeps_nothing_above_it() {
        let keeping = |level| Keeping { level, subject: "p:9c".to_owned() };
        let prompt = Prompt::Text("x".to_owned());
        assert!(keeping(Level::Metadata).prompt(&prompt).is_none() && keeping(Level::Request).listen().is_none());
        assert_eq!(keeping(Level::Request).prompt(&prompt), Some(json!({ "prompt": "x" })));
        assert!(keeping(Level::RequestAndResponse).listen().is_some());
    }

    #[test]
    fn an_answer_is_kept_as_its_client_got_it() {
        let mut heard = Heard::default();
        for piece in [
            Said::Reasoning("hm".to_owned()),
            Said::text("Hel".to_owned()),
            Said::text("lo".to_owned()),
            Said::Call { index: 0, name: "weather".to_owned() },
            Said::Arguments { index: 0, text: "{}".to_owned() },
            Said::Arguments { index: 7, text: "lost".to_owned() },
        ] {
            heard.said(&piece);
        }
        let calls = json!([{ "name": "weather", "arguments": "{}" }]);
        assert_eq!(heard.to_json(), json!({ "content": "Hello", "reasoning": "hm", "calls": calls }));
    }
}
