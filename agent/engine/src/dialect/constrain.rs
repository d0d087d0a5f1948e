//! What an answer has to be, so that calls are well formed and their arguments follow their schemas.
//!
//! ```text
//! required, named:  (<think> … </think>)?  call (call)*
//! auto:             (<think> … </think>)?  text?  call*      where the mark before a call is a token of its own
//! format:           (<think> … </think>)?  JSON
//! ```

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Choice, Dialect, Style, THINK, Tool};
use crate::grammar::{Document, Grammar, GrammarError, Shape, Translator, Vocabulary, with_blanks};

/// What is asked of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The tools that may be called.
    pub tools: &'a [Tool],
    /// Whether one has to be.
    pub choice: &'a Choice,
    /// Whether more than one call may be made in an answer; of a tool that is named there is one.
    pub parallel: bool,
    /// What the answer has to be where no tool is called; not beside tools that may be.
    pub format: Option<&'a Shape>,
    /// The prompt as tokens: it tells whether reasoning is open already.
    pub prompt: &'a [u32],
    /// Whether the model may reason before it answers.
    pub thinking: bool,
}

/// Text up to a mark that is a token of its own, or all of it.
const TEXT: &str = "text: /(?s:.+)/\n";

impl Dialect {
    /// The grammar of an answer, if it has to have one.
    ///
    /// # Errors
    /// Says which tool's parameters cannot be enforced, or what else is asked for that cannot be.
    pub fn grammar(&self, vocabulary: &Arc<Vocabulary>, wish: &Wish<'_>) -> Result<Option<Grammar>, GrammarError> {
        let reasoning = Reasoning::new(self, vocabulary, wish);
        let tools: Vec<&Tool> = match wish.choice {
            Choice::None => Vec::new(),
            Choice::Named(name) => {
                let found: Vec<&Tool> = wish.tools.iter().filter(|tool| tool.name == *name).collect();
                if found.is_empty() {
                    let why = format!("there is no tool `{name}` among those given");
                    return Err(GrammarError::Text { what: "choice of a tool", why });
                }
                found
            }
            Choice::Auto | Choice::Required => wish.tools.iter().collect(),
        };
        if tools.is_empty() {
            if *wish.choice == Choice::Required {
                let why = "a call is required, and no tool is given".to_owned();
                return Err(GrammarError::Text { what: "choice of a tool", why });
            }
            return wish.format.map(|shape| self.format(vocabulary, shape, &reasoning)).transpose();
        }
        if wish.format.is_some() && *wish.choice == Choice::Auto {
            let why =
                "it cannot stand beside tools that may or may not be called; require a call or leave one of both out";
            return Err(GrammarError::Text { what: "format of the answer", why: why.to_owned() });
        }
        let forced = *wish.choice != Choice::Auto;
        let marks = Marked::new(self, vocabulary);
        // Without a token of its own the mark could not be told from text before it is there.
        if !forced && !marks.certain {
            return Ok(None);
        }
        let call = self.call(&tools)?;
        let once = !wish.parallel || matches!(wish.choice, Choice::Named(_));
        let mut text = String::new();
        let body = match (self.marks().list, self.marks().open) {
            (true, _) if once => format!("{} \"[\" call \"]\" {}", marks.open, marks.close),
            (true, _) => format!("{} \"[\" call (\",\" \" \"? call)* \"]\" {}", marks.open, marks.close),
            (false, Some(_)) => {
                let one = format!("({} \"\\n\"? call \"\\n\"? {})", marks.open, marks.close);
                if once { one } else { format!("{one} (\"\\n\"? {one})*") }
            }
            // Llama makes one call at a time.
            (false, None) => "call".to_owned(),
        };
        let body = if forced { body } else { format!("text? ({body})?") };
        let _ = write!(text, "start: {} {body}\n{}call: %json {call}\n", reasoning.rule, reasoning.definitions);
        if !forced || reasoning.needs_text {
            text.push_str(TEXT);
        }
        vocabulary.lark(&text, false).map(Some)
    }

    /// The JSON of one call, as a schema.
    fn call(&self, tools: &[&Tool]) -> Result<Value, GrammarError> {
        let mut translator = Translator::default();
        let mut alternatives = Vec::new();
        for tool in tools {
            let open = json!({ "type": "object" });
            let parameters = if tool.parameters.is_null() { &open } else { &tool.parameters };
            let name = format!("#(parameters of {})", tool.name);
            let parameters = translator.translate(&Document::new(parameters, &name))?;
            // Whatever a schema allows beside, arguments are an object.
            let parameters = json!({ "allOf": [{ "type": "object" }, parameters] });
            alternatives.push(json!({
                "type": "object",
                "properties": { "name": { "const": tool.name }, self.marks().arguments: parameters },
                "required": ["name", self.marks().arguments],
                "additionalProperties": false,
            }));
        }
        Ok(with_blanks(translator.finish(json!({ "anyOf": alternatives }))))
    }

    fn format(
        &self,
        vocabulary: &Arc<Vocabulary>,
        shape: &Shape,
        reasoning: &Reasoning,
    ) -> Result<Grammar, GrammarError> {
        if reasoning.rule.is_empty() {
            return vocabulary.compile(shape);
        }
        let body = match shape {
            Shape::Object => format!("%json {}", with_blanks(json!({ "type": "object" }))),
            Shape::Schema(schema) => {
                let mut translator = Translator::default();
                let root = translator.translate(&Document::new(schema, "#"))?;
                format!("%json {}", with_blanks(translator.finish(root)))
            }
            Shape::Regex(_) | Shape::Lark(_) => {
                let why = "it cannot follow reasoning; switch thinking off".to_owned();
                return Err(GrammarError::Text { what: "format of the answer", why });
            }
        };
        let text = format!("start: {} body\n{}body: {body}\n{TEXT}", reasoning.rule, reasoning.definitions);
        vocabulary.lark(&text, false)
    }
}

/// The marks of calls, as a grammar writes them.
struct Marked {
    open: String,
    close: String,
    /// Whether the opening mark is a token of its own, which no text can hold.
    certain: bool,
}

impl Marked {
    fn new(dialect: &Dialect, vocabulary: &Vocabulary) -> Self {
        let marks = dialect.marks();
        let special = marks.open.and_then(|open| vocabulary.tokenizer().special(open));
        Self {
            open: marks.open.map(|open| mark(vocabulary, open)).unwrap_or_default(),
            close: marks.close.map(|close| mark(vocabulary, close)).unwrap_or_default(),
            certain: special.is_some() && dialect.style != Style::Told,
        }
    }
}

/// Reasoning before what is asked for.
struct Reasoning {
    /// What stands in the first rule.
    rule: String,
    definitions: String,
    /// Whether the rule of a text is used.
    needs_text: bool,
}

impl Reasoning {
    fn new(dialect: &Dialect, vocabulary: &Vocabulary, wish: &Wish<'_>) -> Self {
        let none = Self { rule: String::new(), definitions: String::new(), needs_text: false };
        let opened = dialect.is_reasoning(vocabulary.tokenizer(), wish.prompt);
        if !(dialect.reasons && (wish.thinking || opened)) {
            return none;
        }
        let [open, close] = THINK.map(|text| mark(vocabulary, text));
        // A mark that is a token of its own ends text by itself; one that is text is looked for in it.
        let special = vocabulary.tokenizer().special(THINK[1]).is_some();
        let (inner, definitions) = match special {
            true => (format!("text? {close}"), String::new()),
            false => ("thought".to_owned(), format!("thought[suffix={close}]: /(?s:.*)/\n")),
        };
        let blanks = "(\"\\n\" \"\\n\"?)?";
        let rule = match opened {
            true => format!("{inner} {blanks}"),
            false => format!("({open} {inner} {blanks})?"),
        };
        Self { rule, definitions, needs_text: special }
    }
}

/// A mark as a grammar writes it: its token, or its text where it has none.
fn mark(vocabulary: &Vocabulary, text: &str) -> String {
    match vocabulary.tokenizer().special(text) {
        Some(id) => format!("<[{id}]>"),
        None => Value::String(text.to_owned()).to_string(),
    }
}
