//! How a family of models writes reasoning and calls of tools, told from its chat template.
//!
//! ```text
//!            Dialect::of(template)
//!   messages, tools ──► conversation ──► template ──► prompt          grammar ──► what the answer has to be
//!   text of the answer ──► Reader ──► Reasoning · Text · CallBegin · CallArguments
//! ```

mod constrain;
mod converse;
mod head;
mod reader;
#[cfg(test)]
mod tests;

pub use constrain::Wish;
pub use reader::{Piece, Reader};
use serde_json::Value;

use crate::tokenizer::Tokenizer;

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON Schema of its arguments; null where it takes any object.
    pub parameters: Value,
}

/// Whether the model has to call a tool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// It cannot: it is not told of any.
    None,
    /// As it likes.
    #[default]
    Auto,
    /// It has to call at least one.
    Required,
    /// It has to call this one.
    Named(String),
}

/// How calls are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`: Qwen and Hermes.
    Hermes,
    /// `{"name": …, "parameters": …}`, perhaps behind `<|python_tag|>`: Llama 3.
    Llama,
    /// `<|tool_call|>[{"name": …, "arguments": …}, …]<|/tool_call|>`: Phi-4-mini.
    Phi,
    /// As Hermes writes them, told in a message since the template knows no tools.
    Told,
}

/// What stands around calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    /// Before calls; nothing where an answer that is a call begins with its bracket.
    open: Option<&'static str>,
    /// May stand before calls where nothing has to.
    tag: Option<&'static str>,
    close: Option<&'static str>,
    /// Whether the calls between two marks are a list.
    list: bool,
    /// What the arguments are called.
    arguments: &'static str,
}

const HERMES: Marks =
    Marks { open: Some("<tool_call>"), tag: None, close: Some("</tool_call>"), list: false, arguments: "arguments" };
const LLAMA: Marks =
    Marks { open: None, tag: Some("<|python_tag|>"), close: None, list: false, arguments: "parameters" };
const PHI: Marks =
    Marks { open: Some("<|tool_call|>"), tag: None, close: Some("<|/tool_call|>"), list: true, arguments: "arguments" };

/// What stands around reasoning.
const THINK: [&str; 2] = ["<think>", "</think>"];

/// How a model writes reasoning and calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    style: Style,
    /// Whether it writes reasoning apart from its answer.
    reasons: bool,
    /// Whether its template knows `enable_thinking`.
    switch: bool,
    /// Whether its template takes a message of the system.
    system: bool,
}

impl Dialect {
    /// The dialect of a chat template; without one, that of a model which knows nothing of tools.
    #[must_use]
    pub fn of(template: Option<&str>) -> Self {
        let template = template.unwrap_or_default();
        let has = |text: &str| template.contains(text);
        // Some write calls as XML between the same marks.
        let json = !has("<function=") && !has("<arg_key>");
        let style = match () {
            () if has("<tool_call>") && has("tools") && json => Style::Hermes,
            () if has("<|tool|>") => Style::Phi,
            () if has("tools") && (has("<|python_tag|>") || has("ipython")) => Style::Llama,
            () => Style::Told,
        };
        Self {
            style,
            reasons: has(THINK[0]) || has(THINK[1]),
            switch: has("enable_thinking"),
            system: !has("System role not supported"),
        }
    }

    /// Whether the model was taught to call tools: its template is given them. Any other is told of them in a message.
    #[must_use]
    pub fn knows_tools(&self) -> bool {
        self.style != Style::Told
    }

    /// Whether the model writes reasoning apart from its answer.
    #[must_use]
    pub fn reasons(&self) -> bool {
        self.reasons
    }

    /// Whether reasoning can be switched on and off.
    #[must_use]
    pub fn has_switch(&self) -> bool {
        self.switch
    }

    /// The special tokens that the [`Reader`] has to see: for [`Request::spelled`].
    ///
    /// [`Request::spelled`]: crate::generate::Request::spelled
    #[must_use]
    pub fn spelled(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let marks = self.marks();
        let calls = [marks.open, marks.tag, marks.close].into_iter().flatten();
        let reasoning = THINK.into_iter().filter(|_| self.reasons);
        calls.chain(reasoning).filter_map(|mark| tokenizer.special(mark)).collect()
    }

    /// A reader for the answer to a prompt. Only calls of these tools count as such; the rest is text.
    #[must_use]
    pub fn reader(&self, tokenizer: &Tokenizer, prompt: &[u32], tools: &[Tool], choice: &Choice) -> Reader {
        let names = if *choice == Choice::None { &[] } else { tools };
        let names = names.iter().map(|tool| tool.name.clone()).collect();
        Reader::new(self.marks(), self.reasons, self.is_reasoning(tokenizer, prompt), names)
    }

    fn marks(&self) -> Marks {
        match self.style {
            Style::Hermes | Style::Told => HERMES,
            Style::Llama => LLAMA,
            Style::Phi => PHI,
        }
    }

    /// Whether a prompt ends within reasoning, which some templates open themselves.
    fn is_reasoning(&self, tokenizer: &Tokenizer, prompt: &[u32]) -> bool {
        if !self.reasons {
            return false;
        }
        let end = tokenizer.spell_out(&prompt[prompt.len().saturating_sub(OPENING)..]);
        end.trim_end().ends_with(THINK[0])
    }
}

/// Tokens at the end of a prompt among which its reasoning may be opened: the mark may be several, blanks may follow.
const OPENING: usize = 16;
