//! The chat template of a model file: untrusted code from outside, and the one place where special tokens are written.
//!
//! What a person typed must never become a special token, or a user could end their own turn and speak as the system; how
//! that is kept from happening is told in `mark`.
//!
//! A rendering is one or two [`Job`]s, plain data that [`Compiled::run`] turns into text: a stranger's code at work, its
//! steps, its output and the data it makes bounded. [`ChatTemplate::render`] does that in this process, which suits a tool
//! that a person started on a file; what serves others runs the jobs in a process of its own with
//! [`ChatTemplate::render_with`], where neither a flaw of the template machine nor a source nested too deeply ends more.

mod error;
mod filters;
mod functions;
mod job;
mod json;
mod mark;
mod message;
mod python;
mod strings;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

pub use error::TemplateError;
pub use job::{Compiled, Job};
pub use json::{Json, Object};
use mark::Guard;
pub use message::{Message, NoMessage, RenderOptions};

use crate::gguf::Gguf;
use crate::tokenizer::Tokenizer;

/// A stretch of a rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text in which no special token is to be recognised.
    Text(String),
    /// A special token that the template wrote.
    Special(u32),
}

/// A chat template, compiled when it is first rendered in this process and never if it is rendered elsewhere.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    compiled: OnceLock<Compiled>,
    bos: String,
    eos: String,
    tokenizer: Option<Tokenizer>,
}

impl ChatTemplate {
    /// The template of a model file, `tokenizer.chat_template`, if it has one.
    ///
    /// # Errors
    /// Fails when the template is too long.
    pub fn from_gguf(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Option<Self>, TemplateError> {
        match gguf.text("tokenizer.chat_template") {
            None => Ok(None),
            Some(source) => Self::new(source, Some(tokenizer)).map(Some),
        }
    }

    /// Takes a template without compiling it. Without a tokenizer no special token is known: good for looking at what a
    /// template writes.
    ///
    /// # Errors
    /// Fails when the template is too long.
    pub fn new(source: &str, tokenizer: Option<&Tokenizer>) -> Result<Self, TemplateError> {
        if source.len() > job::SOURCE_BYTES {
            return Err(TemplateError::TooLong { what: "the template".into(), limit: job::SOURCE_BYTES });
        }
        let spelled = |id: Option<u32>| {
            id.and_then(|id| tokenizer.and_then(|tokenizer| tokenizer.text(id))).unwrap_or_default().to_owned()
        };
        Ok(Self {
            source: source.to_owned(),
            compiled: OnceLock::new(),
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

    /// Compiles the template in this process, if that was not done yet.
    ///
    /// # Errors
    /// Fails when it does not compile.
    pub fn compile(&self) -> Result<&Compiled, TemplateError> {
        if let Some(compiled) = self.compiled.get() {
            return Ok(compiled);
        }
        let compiled = Compiled::new(&self.source)?;
        Ok(self.compiled.get_or_init(|| compiled))
    }

    /// Renders a conversation in this process and says which special tokens the template itself wrote.
    ///
    /// # Errors
    /// Fails when the template does not compile, refuses the conversation, uses up its fuel or writes too much.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<Vec<Piece>, TemplateError> {
        let compiled = self.compile()?;
        self.render_with(messages, options, |job| compiled.run(job))
    }

    /// As [`ChatTemplate::render`], each job run by `run`, which must answer as [`Compiled::run`] would.
    ///
    /// # Errors
    /// What `run` fails with.
    pub fn render_with<E>(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        mut run: impl FnMut(&Job) -> Result<String, E>,
    ) -> Result<Vec<Piece>, E> {
        let job = self.job(messages, options);
        let Some(specials) = self.tokenizer.as_ref().map(Tokenizer::specials) else {
            return run(&job).map(|text| vec![Piece::Text(text)]);
        };
        let Some(guard) = Guard::new(&job, &self.source, specials) else {
            return run(&job).map(|text| mark::cut(&text, specials, &str::to_owned));
        };
        let pieces = guard.cut(&run(&guard.broken(&job))?);
        let certain = guard.cut(&run(&guard.blank(&job))?);
        Ok(if mark::agree(&pieces, &certain) { pieces } else { certain })
    }

    /// Renders a conversation in this process to plain text, special tokens spelled out: for people to look at, not for the
    /// model.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_text(&self, messages: &[Message], options: &RenderOptions) -> Result<String, TemplateError> {
        self.compile()?.run(&self.job(messages, options))
    }

    fn job(&self, messages: &[Message], options: &RenderOptions) -> Job {
        let message = |message: &Message| {
            let mut message = Json::Object(message.fields().clone());
            call_arguments_to_objects(&mut message);
            message
        };
        Job {
            messages: Json::List(messages.iter().map(message).collect()),
            tools: options.tools.clone().unwrap_or_default(),
            variables: options.variables.clone(),
            add_generation_prompt: options.add_generation_prompt,
            bos: self.bos.clone(),
            eos: self.eos.clone(),
            now_s: options.now_s,
        }
    }
}

/// The OpenAI API carries a call's arguments as JSON text; templates expect the object.
fn call_arguments_to_objects(message: &mut Json) {
    for call in message.get_mut("tool_calls").and_then(Json::items_mut).into_iter().flatten() {
        let Some(arguments) = call.get_mut("function").and_then(|function| function.get_mut("arguments")) else {
            continue;
        };
        let parsed = arguments.as_text().and_then(|text| serde_json::from_str::<Json>(text).ok());
        if let Some(object @ Json::Object(_)) = parsed {
            *arguments = object;
        }
    }
}
