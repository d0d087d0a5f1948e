//! Looks through a text that comes in pieces, and lets pass what may pass as soon as that is certain.
//!
//! ```text
//! held:  … decided and gone │ next character ▸ ……… what detectors can see ……… │
//!                             a detector that reaches for text that has not come makes the scanner wait
//! ```
//!
//! What comes out, and what is counted, does not depend on how the text was cut.

use std::sync::Arc;

use super::secret::{self, Tail};
use super::view::{Before, SIGHT_BYTES, View};
use super::{Act, Armed, Class, Detector, Hit};

/// Most bytes that a scanner holds back between two pushes: what its detectors can see, and a character.
pub const HOLD_BACK_BYTES: usize = SIGHT_BYTES + 4;

/// Most bytes of a private key that are removed behind its first line: more is no key, and text must not vanish for ever.
const ARMOUR_BYTES: usize = 16 * 1024;

/// The last line of a private key, and how much of that line is removed.
const ARMOUR_END: &str = "-----END ";
const ARMOUR_END_BYTES: usize = 80;

/// What came of a piece of text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Released {
    /// What may pass now, with placeholders where something was removed.
    pub text: String,
    /// What was found since the last piece, by class.
    pub hits: Vec<Hit>,
    /// The class that lets nothing more pass; what is pushed from now on is gone.
    pub blocked: Option<Class>,
}

/// Looks through one text, in one direction.
pub struct Scanner {
    rules: Arc<[Armed]>,
    /// Text that is not yet decided.
    held: String,
    before: Before,
    /// Bytes from the beginning of `held` that are part of something removed.
    removed: usize,
    /// How what was removed may go on behind them.
    tail: Option<(Tail, usize)>,
    /// By rule: bytes from the beginning of `held` that belong to a hit that was let pass.
    noted: Vec<usize>,
    counts: Vec<u32>,
    blocked: Option<Class>,
}

impl std::fmt::Debug for Scanner {
    /// Without the text that it holds back.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = self.held.len();
        formatter.debug_struct("Scanner").field("held_bytes", &held).field("blocked", &self.blocked).finish()
    }
}

/// What is known of the next character.
enum Next {
    /// Not enough.
    Wait,
    /// It passes, or it is removed.
    Decided,
    /// Nothing more passes.
    Stop(Class),
}

impl Scanner {
    pub(super) fn new(rules: Arc<[Armed]>) -> Self {
        let count = rules.len();
        Self {
            rules,
            held: String::new(),
            before: Before::default(),
            removed: 0,
            tail: None,
            noted: vec![0; count],
            counts: vec![0; count],
            blocked: None,
        }
    }

    /// Takes the next piece of the text.
    #[must_use]
    pub fn push(&mut self, text: &str) -> Released {
        if self.blocked.is_none() {
            self.held.push_str(text);
        }
        self.advance(false)
    }

    /// Nothing follows: lets the rest pass, as far as it may.
    #[must_use]
    pub fn finish(&mut self) -> Released {
        self.advance(true)
    }

    /// How much is held back now; never more than [`HOLD_BACK_BYTES`].
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    fn advance(&mut self, finished: bool) -> Released {
        let mut text = String::new();
        let mut at = 0;
        while at < self.held.len() && self.blocked.is_none() {
            match self.decide(at, finished, &mut text) {
                Next::Wait => break,
                Next::Stop(class) => self.blocked = Some(class),
                Next::Decided => {
                    let Some(character) = self.held[at..].chars().next() else { break };
                    if at >= self.removed {
                        text.push(character);
                    }
                    self.before = self.before.then(character);
                    at += character.len_utf8();
                }
            }
        }
        let gone = if self.blocked.is_some() { self.held.len() } else { at };
        self.held.drain(..gone);
        self.removed = self.removed.saturating_sub(gone);
        for noted in &mut self.noted {
            *noted = noted.saturating_sub(gone);
        }
        Released { text, hits: self.take_hits(), blocked: self.blocked.clone() }
    }

    /// Decides what happens to the character there.
    fn decide(&mut self, at: usize, finished: bool, text: &mut String) -> Next {
        let view = View::new(&self.held[at..], finished);
        let mut found: [(usize, usize); FOUND] = [(0, 0); FOUND];
        let mut count = 0;
        for (rule, armed) in self.rules.iter().enumerate() {
            if let Some(length) = armed.detector.length(&view, self.before).filter(|length| *length > 0) {
                found[count] = (rule, length);
                count += 1;
            }
        }
        let goes_on = if at >= self.removed { self.tail_goes_on(&view) } else { None };
        if view.wants_more() {
            return Next::Wait;
        }
        let key_tail = secret::tail(&view);
        if let Some((bytes, tail)) = goes_on {
            (self.removed, self.tail) = (at + bytes, tail);
        } else if at >= self.removed {
            self.tail = None;
        }
        let found = &found[..count];
        if let Some((rule, _)) = found.iter().find(|(rule, _)| self.rules[*rule].act == Act::Block) {
            self.counts[*rule] += 1;
            return Next::Stop(self.rules[*rule].class.clone());
        }
        let longest =
            found.iter().filter(|(rule, _)| self.rules[*rule].act == Act::Redact).max_by_key(|(_, length)| *length);
        if let Some(&(rule, length)) = longest
            && at + length > self.removed
        {
            self.counts[rule] += 1;
            if at >= self.removed {
                text.push_str(&self.rules[rule].class.placeholder());
            }
            self.removed = at + length;
            let is_secret = matches!(self.rules[rule].detector, Detector::Secret);
            self.tail = is_secret.then_some((key_tail, ARMOUR_BYTES));
        }
        for &(rule, length) in found {
            if self.rules[rule].act == Act::Note && at >= self.noted[rule] {
                self.counts[rule] += 1;
                self.noted[rule] = at + length;
            }
        }
        Next::Decided
    }

    /// How many more bytes belong to the credential that was being removed, and how it goes on behind those.
    fn tail_goes_on(&self, view: &View<'_>) -> Option<(usize, Option<(Tail, usize)>)> {
        let (tail, left) = self.tail?;
        match tail {
            Tail::Token => view.byte(0).is_some_and(secret::is_token).then_some((1, self.tail)),
            Tail::Armour if view.begins(0, ARMOUR_END) => {
                let line =
                    view.run(0, ARMOUR_END_BYTES, |byte| byte == b'-' || byte == b' ' || byte.is_ascii_uppercase());
                Some((line, None))
            }
            Tail::Armour => {
                let bytes = view.character(0)?.len_utf8();
                (left >= bytes).then(|| (bytes, Some((Tail::Armour, left - bytes))))
            }
        }
    }

    fn take_hits(&mut self) -> Vec<Hit> {
        let hits = self.rules.iter().zip(&mut self.counts).filter(|(_, count)| **count > 0);
        hits.map(|(rule, count)| Hit { class: rule.class.clone(), act: rule.act, count: std::mem::take(count) })
            .collect()
    }
}

/// Most rules of one direction: the built-in classes and a bundle's patterns.
const FOUND: usize = super::CLASSES + super::written::PATTERNS;
