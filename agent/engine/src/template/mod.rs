//! The chat template of a model file: untrusted code from outside, run with a fuel limit, and the one place where special
//! tokens are written.
//!
//! What a person typed must never become a special token, or a user could end their own turn and speak as the system.
//! So special tokens inside messages are broken with a mark before the template runs, the template's output is cut at the
//! special tokens that remain, which the template itself wrote, and the marks are taken out of the text between them.

mod error;
mod functions;
mod mark;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

pub use error::TemplateError;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};

use crate::gguf::Gguf;
use crate::tokenizer::Tokenizer;

/// Steps of the template machine: a long conversation takes some tens of thousands.
const FUEL: u64 = 1_000_000;
/// Longest output, bytes: above the longest context of any model times the length of a token.
const OUTPUT_BYTES: usize = 4 << 20;
/// Longest template source, bytes.
const SOURCE_BYTES: usize = 256 << 10;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    #[serde(default)]
    pub content: String,
    /// Whatever else the template may look at: `name`, `tool_calls`, `reasoning_content` …
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Message {
    /// A message that has a role and a text.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), more: serde_json::Map::new() }
    }
}

/// What a template is told beside the messages.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// Whether to open the assistant's turn at the end.
    pub add_generation_prompt: bool,
    /// Tools that the model may call, as the OpenAI API writes them.
    pub tools: Option<serde_json::Value>,
    /// Further variables, as in `enable_thinking`.
    pub variables: serde_json::Map<String, serde_json::Value>,
    /// The time for templates that print a date, seconds since 1970-01-01 UTC. Without it such a template prints the
    /// first of January 1970: the engine has no clock, so that the same input gives the same tokens.
    pub now_s: i64,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self { add_generation_prompt: true, tools: None, variables: serde_json::Map::new(), now_s: 0 }
    }
}

/// A stretch of a rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text in which no special token is to be recognised.
    Text(String),
    /// A special token that the template wrote.
    Special(u32),
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos: String,
    eos: String,
    tokenizer: Option<Tokenizer>,
}

impl ChatTemplate {
    /// The template of a model file, `tokenizer.chat_template`, if it has one.
    ///
    /// # Errors
    /// Fails when the template does not compile.
    pub fn from_gguf(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Option<Self>, TemplateError> {
        match gguf.text("tokenizer.chat_template") {
            None => Ok(None),
            Some(source) => Self::new(source, Some(tokenizer)).map(Some),
        }
    }

    /// Compiles a template. Without a tokenizer no special token is known: good for looking at what a template writes.
    ///
    /// # Errors
    /// Fails when the template is too long or does not compile.
    pub fn new(source: &str, tokenizer: Option<&Tokenizer>) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_BYTES {
            return Err(TemplateError::TooLong { what: "the template", limit: SOURCE_BYTES });
        }
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        functions::register(&mut environment);
        environment.add_template_owned("chat", without_generation_tags(source)).map_err(TemplateError::compile)?;
        let spelled = |id: Option<u32>| {
            id.and_then(|id| tokenizer.and_then(|tokenizer| tokenizer.text(id))).unwrap_or_default().to_owned()
        };
        Ok(Self {
            environment,
            source: source.to_owned(),
            bos: spelled(tokenizer.and_then(Tokenizer::bos)),
            eos: spelled(tokenizer.and_then(Tokenizer::eos)),
            tokenizer: tokenizer.cloned(),
        })
    }

    /// The template as the file has it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation and marks which special tokens the template itself wrote.
    ///
    /// # Errors
    /// Fails when the template refuses the conversation, uses up its fuel or writes too much.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<Vec<Piece>, TemplateError> {
        let Some(tokenizer) = &self.tokenizer else {
            return self.render_text(messages, options).map(|text| vec![Piece::Text(text)]);
        };
        let specials = tokenizer.specials();
        let marked = self.run(messages, options, &|text| mark::protect(text, specials))?;
        Ok(mark::cut(&marked, specials))
    }

    /// Renders a conversation to plain text, special tokens spelled out: for people to look at, not for the model.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_text(&self, messages: &[Message], options: &RenderOptions) -> Result<String, TemplateError> {
        self.run(messages, options, &str::to_owned)
    }

    fn run(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        protect: &dyn Fn(&str) -> String,
    ) -> Result<String, TemplateError> {
        let mut messages = serde_json::to_value(messages).map_err(TemplateError::input)?;
        call_arguments_to_objects(&mut messages);
        mark::each_text(&mut messages, protect);
        let mut tools = options.tools.clone().unwrap_or_default();
        mark::each_text(&mut tools, protect);
        let mut variables = serde_json::Value::Object(options.variables.clone());
        mark::each_text(&mut variables, protect);
        let known = context! {
            messages => Value::from_serialize(&messages),
            tools => Value::from_serialize(&tools),
            add_generation_prompt => options.add_generation_prompt,
            bos_token => self.bos,
            eos_token => self.eos,
            __now_s => options.now_s,
        };
        let all = context! { ..known, ..Value::from_serialize(&variables) };
        let template = self.environment.get_template("chat").map_err(TemplateError::compile)?;
        let mut output = Bounded::default();
        match template.render_captured_to(all, &mut output) {
            Ok(_) => Ok(String::from_utf8_lossy(&output.bytes).into_owned()),
            Err(_) if output.full => Err(TemplateError::TooLong { what: "the prompt", limit: OUTPUT_BYTES }),
            Err(error) if error.kind() == ErrorKind::OutOfFuel => Err(TemplateError::Fuel),
            Err(error) => Err(TemplateError::render(error)),
        }
    }
}

/// `{% generation %}` marks the assistant's words for training and means nothing here.
fn without_generation_tags(source: &str) -> String {
    let mut source = source.to_owned();
    for name in ["generation", "endgeneration"] {
        for (open, close) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
            // A comment trims the white space around it just as the tag would.
            let comment = format!("{}#{}", open.replace('%', "#"), close.replace('%', ""));
            let comment = if close == "-%}" { comment.replace("#-}", "-#}") } else { comment };
            source = source.replace(&format!("{open} {name} {close}"), &comment);
        }
    }
    source
}

/// The OpenAI API carries a call's arguments as JSON text; templates expect the object.
fn call_arguments_to_objects(messages: &mut serde_json::Value) {
    let calls = messages
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(|message| message.get_mut("tool_calls")?.as_array_mut())
        .flatten();
    for call in calls {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        let parsed = arguments.as_str().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        if let Some(object @ serde_json::Value::Object(_)) = parsed {
            *arguments = object;
        }
    }
}

/// Output that refuses to grow past its limit.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_BYTES {
            self.full = true;
            return Err(io::Error::other("the prompt is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
