//! Compiling a template and running it on one job: the part that a stranger's code can make long, large or deep, kept apart
//! from everything else so that it can be done in a process of its own.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};

use super::json::{Json, Object};
use super::{TemplateError, filters, functions, strings};

/// Steps of the template machine: a long conversation takes some tens of thousands.
const FUEL: u64 = 1_000_000;
/// Longest output, bytes: above the longest context of any model times the length of a token.
pub(super) const OUTPUT_BYTES: usize = 4 << 20;
/// Longest template source, bytes.
pub(super) const SOURCE_BYTES: usize = 256 << 10;

/// All that a template is told: plain data, ready to be sent to another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub(super) messages: Json,
    pub(super) tools: Json,
    pub(super) variables: Object,
    pub(super) add_generation_prompt: bool,
    pub(super) bos: String,
    pub(super) eos: String,
    pub(super) now_s: i64,
}

impl Job {
    /// The same job with every text of the caller's changed, names of fields included.
    pub(super) fn map_text(&self, change: &dyn Fn(&str) -> String) -> Self {
        Self {
            messages: self.messages.map_text(change),
            tools: self.tools.map_text(change),
            variables: self.variables.map_text(change),
            ..self.clone()
        }
    }

    /// Looks at every text of the caller's, names of fields included.
    pub(super) fn each_text(&self, look: &mut dyn FnMut(&str)) {
        self.messages.each_text(look);
        self.tools.each_text(look);
        self.variables.each_text(look);
    }
}

/// A compiled template, which turns a [`Job`] into text. Its steps, its output and the data it makes are bounded; how deep
/// its source nests, and what the machine itself may get wrong, is not, so a stranger's template is compiled and run where
/// that ends nothing else.
#[derive(Debug)]
pub struct Compiled(Environment<'static>);

impl Compiled {
    /// Compiles a template.
    ///
    /// # Errors
    /// Fails when the source is too long or is no template.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_BYTES {
            return Err(TemplateError::TooLong { what: "the template".into(), limit: SOURCE_BYTES });
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(TemplateError::compile)?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(strings::unknown_method);
        functions::register(&mut environment);
        filters::register(&mut environment);
        environment.add_template_owned("chat", without_generation_tags(source)).map_err(TemplateError::compile)?;
        Ok(Self(environment))
    }

    /// Renders one job.
    ///
    /// # Errors
    /// Fails when the template refuses the conversation, uses up its fuel or writes too much.
    pub fn run(&self, job: &Job) -> Result<String, TemplateError> {
        // A variable of the caller's cannot replace what every template is told.
        let known = [
            ("messages", Value::from(&job.messages)),
            ("tools", Value::from(&job.tools)),
            ("add_generation_prompt", Value::from(job.add_generation_prompt)),
            ("bos_token", Value::from(job.bos.as_str())),
            ("eos_token", Value::from(job.eos.as_str())),
            (functions::NOW, Value::from(job.now_s)),
        ];
        let free = job.variables.iter().filter(|(name, _)| known.iter().all(|(taken, _)| taken != name));
        let free: Vec<_> = free.map(|(name, value)| (name, Value::from(value))).collect();
        let all = Value::from_pairs(free.into_iter().chain(known));
        let template = self.0.get_template("chat").map_err(TemplateError::compile)?;
        let mut output = Bounded::default();
        match template.render_captured_to(all, &mut output) {
            Ok(_) => Ok(String::from_utf8_lossy(&output.bytes).into_owned()),
            Err(_) if output.full => Err(TemplateError::TooLong { what: "the prompt".into(), limit: OUTPUT_BYTES }),
            Err(error) if error.kind() == ErrorKind::OutOfFuel => Err(TemplateError::Fuel),
            Err(error) => Err(TemplateError::render(&error)),
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
