//! A pattern of the bundle, as a machine without memory: it reads each byte once, and it knows when nothing can follow.

use regex_automata::dfa::{Automaton, dense};
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::ParserBuilder;

use super::view::{Before, View};

/// Longest text of a pattern, and longest text that one may match, bytes.
const PATTERN_BYTES: usize = 512;
pub(super) const MATCH_BYTES: usize = 256;

/// Largest machine, bytes; also what making it may take.
const MACHINE_BYTES: usize = 1024 * 1024;

/// Deepest brackets within brackets.
const NESTING: u32 = 32;

/// A pattern that was checked.
pub(super) struct Custom {
    machine: dense::DFA<Vec<u32>>,
    whole_word: bool,
}

impl Custom {
    /// Checks a pattern. The message says what is wrong with it.
    pub(super) fn new(pattern: &str, whole_word: bool) -> Result<Self, String> {
        if pattern.len() > PATTERN_BYTES {
            return Err(format!("has {} bytes, more than {PATTERN_BYTES}", pattern.len()));
        }
        let parsed = ParserBuilder::new().nest_limit(NESTING).build().parse(pattern);
        let properties = parsed.map_err(|error| format!("is no pattern: {error}"))?.properties().clone();
        if !properties.look_set().is_empty() {
            return Err("looks around (`^`, `$`, `\\b` …): leave that to `whole_word`".to_owned());
        }
        match properties.minimum_len() {
            Some(2..) => {}
            _ => return Err("matches fewer than two bytes: it would match nearly anything".to_owned()),
        }
        match properties.maximum_len() {
            Some(..=MATCH_BYTES) => {}
            Some(bytes) => return Err(format!("matches up to {bytes} bytes, more than {MATCH_BYTES}")),
            None => return Err("matches without end: write `{2,20}` instead of `+` or `*`".to_owned()),
        }
        let machine = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(regex_automata::dfa::StartKind::Anchored)
                    // Every match there is, so that the longest counts whatever the order of alternatives.
                    .match_kind(MatchKind::All)
                    .dfa_size_limit(Some(MACHINE_BYTES))
                    .determinize_size_limit(Some(MACHINE_BYTES)),
            )
            .syntax(syntax::Config::new().nest_limit(NESTING))
            .build(pattern)
            .map_err(|_| "needs too large a machine: name fewer letters or shorter repetitions".to_owned())?;
        Ok(Self { machine, whole_word })
    }

    pub(super) fn length(&self, view: &View<'_>, before: Before) -> Option<usize> {
        if self.whole_word && !before.is_word_start() {
            return None;
        }
        let start = start::Config::new().anchored(Anchored::Yes);
        let mut state = self.machine.start_state(&start).ok()?;
        let mut longest = None;
        let mut at = 0;
        // A machine tells a match one step after its last byte.
        loop {
            let byte = view.byte(at);
            state = match byte {
                Some(byte) => self.machine.next_state(state, byte),
                None => self.machine.next_eoi_state(state),
            };
            if self.machine.is_match_state(state) && (!self.whole_word || view.word_ends(at)) {
                longest = Some(at);
            }
            if byte.is_none() || self.machine.is_dead_state(state) || self.machine.is_quit_state(state) {
                return longest;
            }
            at += 1;
        }
    }
}
