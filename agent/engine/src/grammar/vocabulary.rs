//! The tokens of a model as grammars see them, and what makes a grammar from a shape.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{ParserFactory, panic_utils};
use serde_json::{Value, json};

use super::schema::{Document, Translator};
use super::{Grammar, GrammarError, Shape};
use crate::tokenizer::Tokenizer;

/// What marks a token as special where tokens are told apart by their bytes: no text holds this byte.
const SPECIAL: u8 = TokTrie::SPECIAL_TOKEN_MARKER;
/// Longest token that grammars use, bytes: the tree of tokens is no deeper, and nobody's longest word is longer.
const TOKEN_BYTES: usize = 256;
/// Longest regular expression, and longest grammar, bytes.
const REGEX_BYTES: usize = 4 << 10;
const LARK_BYTES: usize = 32 << 10;
/// Most lines of a grammar: definitions may stand behind each other, one level deeper with each.
const LARK_LINES: usize = 400;
/// Deepest nesting of brackets in a grammar.
const LARK_DEPTH: usize = 60;
/// Stack of the thread that makes grammars: what nests as deeply as the limits allow fits many times.
const STACK_BYTES: usize = 32 << 20;

/// White space between the parts of generated JSON: one space, or a line break with its indentation. Once in each place, so
/// that a model which does not know what to say next cannot go on with blanks.
const BLANKS: &str = r" |\n {0,8}|\n\t{0,4}";

/// What may follow a backslash in generated JSON: no `u`, so that every text has one spelling only. With two a property could
/// be written a second time under a name that only looks like another.
const ESCAPES: &str = "nrbtf\\\"";

/// The tokens of a model, made ready for grammars. Costly to make, so it is made once and shared.
pub struct Vocabulary {
    factory: ParserFactory,
    tokenizer: Tokenizer,
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vocabulary").field("tokens", &self.tokenizer.vocabulary()).finish_non_exhaustive()
    }
}

impl Vocabulary {
    /// Makes the tokens of a tokenizer ready.
    ///
    /// # Errors
    /// Fails when no grammar can be made from them.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, GrammarError> {
        let failed = |error: anyhow::Error| GrammarError::Vocabulary(first_line(&error));
        let factory = panic_utils::catch_unwind(AssertUnwindSafe(|| factory(tokenizer))).map_err(failed)?;
        Ok(Self { factory, tokenizer: tokenizer.clone() })
    }

    /// The tokenizer whose tokens these are.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Makes a grammar. What it takes is bounded: tens of milliseconds at the most for what is within the limits.
    ///
    /// # Errors
    /// Says what of the shape is no shape, cannot be enforced or is too large, and the way out.
    pub fn compile(self: &Arc<Self>, shape: &Shape) -> Result<Grammar, GrammarError> {
        match shape {
            Shape::Object => self.make(json_grammar(json!({ "type": "object" })), whole, true),
            Shape::Schema(schema) => {
                let mut translator = Translator::default();
                let root = translator.translate(&Document::new(schema, "#"))?;
                self.make(json_grammar(translator.finish(root)), whole, true)
            }
            Shape::Regex(regex) => {
                limit("the regular expression", regex.len(), REGEX_BYTES)?;
                let named = |why| GrammarError::Text { what: "regular expression", why };
                self.make(GrammarWithLexer::from_regex(regex), named, true)
            }
            Shape::Lark(text) => {
                limit("the grammar", text.len(), LARK_BYTES)?;
                limit("the number of the grammar's lines", text.lines().count(), LARK_LINES)?;
                limit("the nesting of the grammar's brackets", nesting(text), LARK_DEPTH)?;
                self.lark(text, true)
            }
        }
    }

    /// Makes a grammar from Lark text. `exact`: whether every byte of the answer is the grammar's.
    pub(crate) fn lark(self: &Arc<Self>, text: &str, exact: bool) -> Result<Grammar, GrammarError> {
        let named = |why| GrammarError::Text { what: "grammar", why };
        self.make(GrammarWithLexer::from_lark(text.to_owned()), named, exact)
    }

    /// Makes a grammar in a thread of its own, whose stack is large enough for all that the limits let through.
    fn make(
        self: &Arc<Self>,
        grammar: GrammarWithLexer,
        named: impl Fn(String) -> GrammarError,
        exact: bool,
    ) -> Result<Grammar, GrammarError> {
        let make = || {
            let mut parser = self.factory.create_parser(TopLevelGrammar::from_grammar(grammar))?;
            parser.start_without_prompt();
            Ok(parser)
        };
        let outcome = std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().name("grammar".to_owned()).stack_size(STACK_BYTES);
            let thread = builder.spawn_scoped(scope, || panic_utils::catch_unwind(AssertUnwindSafe(make)));
            thread.map(std::thread::ScopedJoinHandle::join)
        });
        match outcome {
            Err(error) => Err(GrammarError::Thread(error.to_string())),
            Ok(Err(_)) => Err(named("it could not be understood".to_owned())),
            Ok(Ok(Err(error))) => Err(named(explain(&error))),
            Ok(Ok(Ok(parser))) => Ok(Grammar::new(parser, Arc::clone(self), exact)),
        }
    }
}

/// A schema that was translated, as a grammar.
fn json_grammar(schema: Value) -> GrammarWithLexer {
    GrammarWithLexer::from_json_schema(with_blanks(schema))
}

/// Says beside a translated schema which white space and which escapes its JSON may have.
pub(crate) fn with_blanks(schema: Value) -> Value {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        // A schema may be `true` alone.
        other => serde_json::Map::from_iter([("allOf".to_owned(), Value::Array(vec![other]))]),
    };
    let guidance = json!({ "whitespace_pattern": BLANKS, "json_allowed_escapes": ESCAPES });
    schema.insert("x-guidance".to_owned(), guidance);
    Value::Object(schema)
}

fn whole(why: String) -> GrammarError {
    GrammarError::Whole { why }
}

fn limit(what: &str, value: usize, limit: usize) -> Result<(), GrammarError> {
    if value <= limit { Ok(()) } else { Err(GrammarError::TooLarge { what: what.to_owned(), value, limit }) }
}

/// How deep brackets nest, whatever they stand in.
fn nesting(text: &str) -> usize {
    let (mut depth, mut most) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

fn factory(tokenizer: &Tokenizer) -> anyhow::Result<ParserFactory> {
    let count = u32::try_from(tokenizer.vocabulary())?;
    let words: Vec<Vec<u8>> = (0..count).map(|id| word(tokenizer, id)).collect();
    let ends: Vec<u32> = tokenizer.end_of_generation().iter().copied().filter(|id| *id < count).collect();
    let info = TokRxInfo::new(count, ends.first().copied().unwrap_or(INVALID_TOKEN));
    let mut trie = TokTrie::from(&info, &words);
    if !ends.is_empty() {
        trie = trie.with_eos_tokens(&ends);
    }
    // The tokens of what is certain are left to the model: that its way of cutting is the same with and without a grammar
    // matters more than the few passes that could be saved.
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::json_slices();
    let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)?;
    factory.quiet();
    let limits = factory.limits_mut();
    limits.max_grammar_size = 100_000;
    limits.max_lexer_states = 40_000;
    limits.verbose_errors = false;
    Ok(factory)
}

/// The bytes by which a token is found; none for one that no grammar uses.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let word = if tokenizer.is_special(id) {
        [&[SPECIAL], tokenizer.bytes(id)].concat()
    } else {
        tokenizer.own_bytes(id).unwrap_or_default().to_vec()
    };
    if word.len() > TOKEN_BYTES { Vec::new() } else { word }
}

/// An error in words for the caller.
fn explain(error: &anyhow::Error) -> String {
    let line = first_line(error);
    if line.contains("oneOf constraints are not supported") {
        return "the alternatives of a `oneOf` cannot be told apart; use `anyOf`, or have each require a property that is a \
                different `const`"
            .to_owned();
    }
    if line.contains("min/maxProperties only supported") {
        return "`minProperties` and `maxProperties` need every one of `properties` to be required".to_owned();
    }
    if line.starts_with("panic:") {
        return "it could not be understood".to_owned();
    }
    line
}

/// What an error says in one line; later ones may carry the whole state of a parser.
pub(super) fn first_line(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    // A regular expression is shown first, and what is wrong with it last.
    let wrong = if first.ends_with(':') { lines.find(|line| line.starts_with("error: ")) } else { None };
    wrong.unwrap_or(first).trim_start_matches("error: ").chars().take(300).collect()
}
