//! Splits an answer as it comes into reasoning, text and calls, however it is cut into pieces.
//!
//! ```text
//! Reasoning ─</think>─► Text ─mark─► Head ─known tool─► Arguments ─balanced─► Tail ─► Text
//!                         ▲            └─anything else─► Whole ─► calls after all, or the text as it was
//! ```
//! A call counts as such from the bracket of its arguments on, when its tool is known; until then nothing of it is handed
//! out, so that what only looked like a call comes out as the text it is.

use serde_json::Value;

use super::head::{Head, blanks, head};
use super::{Marks, THINK};

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// What the model thinks before it answers.
    Reasoning(String),
    /// What it answers.
    Text(String),
    /// It calls a tool.
    CallBegin {
        /// Which call of the answer, counting from 0.
        index: usize,
        /// The tool's name.
        name: String,
    },
    /// More of a call's arguments: together they are the text of a JSON object, as far as the model came.
    CallArguments {
        /// Which call.
        index: usize,
        /// The next part of the text.
        text: String,
    },
}

/// Reads one answer.
#[derive(Debug)]
pub struct Reader {
    marks: Marks,
    reasons: bool,
    /// The tools that may be called.
    names: Vec<String>,
    state: State,
    /// What was not decided yet.
    held: String,
    /// What was taken out of `held` for a call that is not certain.
    verbatim: String,
    /// Whether nothing but blanks and reasoning came yet.
    start: bool,
    /// Whether blanks that come next stand behind a mark and belong to nothing.
    skip: bool,
    calls: usize,
    out: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reasoning,
    Text,
    /// Behind the mark of a call; in a list perhaps before its bracket.
    Head {
        bracket: bool,
    },
    Arguments(Scan),
    /// Behind the arguments: the call's own bracket, then the list's, then the mark.
    Tail(Tail),
    /// A call that is written otherwise than expected, up to the closing mark.
    Whole,
}

/// How far a JSON object was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Scan {
    depth: u32,
    in_text: bool,
    escaped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Call,
    List,
    Mark,
}

impl Reader {
    pub(super) fn new(marks: Marks, reasons: bool, reasoning: bool, names: Vec<String>) -> Self {
        Self {
            marks,
            reasons,
            names,
            state: if reasoning { State::Reasoning } else { State::Text },
            held: String::new(),
            verbatim: String::new(),
            start: true,
            skip: reasoning,
            calls: 0,
            out: Vec::new(),
        }
    }

    /// Takes more of the answer; gives what is certain with it.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        while self.step() {}
        std::mem::take(&mut self.out)
    }

    /// Ends the answer; gives what is left.
    pub fn finish(mut self) -> Vec<Piece> {
        while self.step() {}
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Reasoning => self.reasoning(held.trim_end()),
            State::Text if self.skip => self.text(blanks(&held)),
            State::Text => self.text(&held),
            State::Head { .. } | State::Whole => {
                let all = std::mem::take(&mut self.verbatim) + &held;
                self.text(&all);
            }
            State::Arguments(_) => self.arguments(&held),
            State::Tail(_) => self.text(held.trim()),
        }
        self.out
    }

    /// Whether the answer holds a call.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.calls > 0
    }

    /// Decides on something of what is held; says whether there may be more to decide.
    fn step(&mut self) -> bool {
        match self.state {
            State::Reasoning => self.read_reasoning(),
            State::Text => self.read_text(),
            State::Head { bracket } => self.read_head(bracket),
            State::Arguments(scan) => self.read_arguments(scan),
            State::Tail(tail) => self.read_tail(tail),
            State::Whole => self.read_whole(),
        }
    }

    fn read_reasoning(&mut self) -> bool {
        if self.skip {
            self.skip_blanks();
        }
        let Some(at) = self.held.find(THINK[1]) else {
            let ready = self.take(ready(&self.held, &[THINK[1]]));
            self.skip &= ready.is_empty();
            self.reasoning(&ready);
            return false;
        };
        let thought = self.take(at);
        self.take(THINK[1].len());
        self.reasoning(thought.trim_end());
        (self.state, self.skip) = (State::Text, true);
        true
    }

    fn read_text(&mut self) -> bool {
        if self.skip {
            self.skip_blanks();
        }
        if self.start && !self.read_start() {
            return self.state != State::Text;
        }
        let mark = self.marks.open.filter(|_| !self.names.is_empty());
        let found = mark.and_then(|mark| self.held.find(mark).map(|at| (at, mark)));
        let Some((at, mark)) = found else {
            let ready = self.take(ready(&self.held, mark.as_slice()));
            self.text(&ready);
            return false;
        };
        let before = self.take(at);
        let text = before.trim_end();
        self.text(text);
        self.verbatim = before[text.len()..].to_owned() + &self.take(mark.len());
        self.state = State::Head { bracket: !self.marks.list };
        true
    }

    /// Looks at what an answer begins with; says whether it is read as text from here on.
    fn read_start(&mut self) -> bool {
        let bare = self.marks.open.is_none() && !self.names.is_empty();
        let marks = [self.reasons.then_some(THINK[0]), self.marks.tag.filter(|_| bare)];
        let rest = blanks(&self.held);
        let before = self.held.len() - rest.len();
        if let Some(mark) = marks.into_iter().flatten().find(|mark| rest.starts_with(mark)) {
            let taken = self.take(before + mark.len());
            if mark == THINK[0] {
                (self.state, self.skip) = (State::Reasoning, true);
            } else {
                (self.state, self.verbatim) = (State::Head { bracket: true }, taken);
            }
            return false;
        }
        if bare && rest.starts_with('{') {
            self.verbatim = self.take(before);
            self.state = State::Head { bracket: true };
            return false;
        }
        // A mark may still come.
        if marks.into_iter().flatten().any(|mark| mark.starts_with(rest)) || rest.is_empty() {
            return false;
        }
        self.start = false;
        true
    }

    fn read_head(&mut self, bracket: bool) -> bool {
        if !bracket {
            let rest = blanks(&self.held);
            if rest.is_empty() {
                return false;
            }
            if !rest.starts_with('[') {
                self.state = State::Whole;
                return true;
            }
            let taken = self.take(self.held.len() - rest.len() + 1);
            self.verbatim.push_str(&taken);
            self.state = State::Head { bracket: true };
            return true;
        }
        match head(&self.held) {
            Head::More => false,
            Head::Call { name, length } if self.names.contains(&name) => {
                self.take(length);
                self.begin(name);
                self.state = State::Arguments(Scan::default());
                true
            }
            Head::Call { .. } | Head::None if self.marks.close.is_some() => {
                self.state = State::Whole;
                true
            }
            Head::Call { .. } | Head::None => {
                self.no_call();
                true
            }
        }
    }

    fn read_arguments(&mut self, mut scan: Scan) -> bool {
        for (at, byte) in self.held.bytes().enumerate() {
            match byte {
                _ if scan.escaped => scan.escaped = false,
                b'\\' if scan.in_text => scan.escaped = true,
                b'"' => scan.in_text = !scan.in_text,
                _ if scan.in_text => {}
                b'{' | b'[' => scan.depth += 1,
                b'}' | b']' => {
                    scan.depth = scan.depth.saturating_sub(1);
                    if scan.depth == 0 {
                        let last = self.take(at + 1);
                        self.arguments(&last);
                        self.state = State::Tail(Tail::Call);
                        return true;
                    }
                }
                // No JSON has it outside of texts: the call may end here, unfinished.
                b'<' => {
                    let Some(close) = self.marks.close else { continue };
                    let rest = &self.held[at..];
                    if rest.starts_with(close) {
                        let last = self.take(at);
                        self.arguments(&last);
                        self.state = State::Tail(Tail::Mark);
                        return true;
                    }
                    if close.starts_with(rest) {
                        let ready = self.take(at);
                        self.arguments(&ready);
                        self.state = State::Arguments(scan);
                        return false;
                    }
                }
                _ => {}
            }
        }
        let ready = std::mem::take(&mut self.held);
        self.arguments(&ready);
        self.state = State::Arguments(scan);
        false
    }

    fn read_tail(&mut self, tail: Tail) -> bool {
        let rest = blanks(&self.held);
        let before = self.held.len() - rest.len();
        if rest.is_empty() {
            return false;
        }
        match (tail, rest.as_bytes()[0]) {
            (Tail::Call, b'}') => {
                self.take(before + 1);
                self.state = State::Tail(if self.marks.list { Tail::List } else { Tail::Mark });
            }
            (Tail::List, b',') => {
                self.verbatim = self.take(before + 1);
                self.state = State::Head { bracket: true };
            }
            (Tail::List, b']') => {
                self.take(before + 1);
                self.state = State::Tail(Tail::Mark);
            }
            (Tail::Mark, _) => return self.read_close(before),
            _ => (self.state, self.skip) = (State::Text, true),
        }
        true
    }

    /// The mark behind a call, or where there is none the next call.
    fn read_close(&mut self, before: usize) -> bool {
        let rest = &self.held[before..];
        if let Some(close) = self.marks.close {
            if close.starts_with(rest) && rest.len() < close.len() {
                return false;
            }
            if rest.starts_with(close) {
                self.take(before + close.len());
            }
            (self.state, self.skip) = (State::Text, true);
            return true;
        }
        let next = blanks(rest.strip_prefix(';').unwrap_or(rest));
        if next.is_empty() {
            return false;
        }
        if next.starts_with('{') {
            self.verbatim = self.take(self.held.len() - next.len());
            self.state = State::Head { bracket: true };
        } else {
            (self.state, self.skip) = (State::Text, true);
        }
        true
    }

    fn read_whole(&mut self) -> bool {
        let Some(close) = self.marks.close else {
            self.no_call();
            return true;
        };
        let Some(at) = self.held.find(close) else { return false };
        let body = self.take(at);
        let mark = self.take(close.len());
        match self.calls_in(&body) {
            Some(calls) => {
                for (name, arguments) in calls {
                    self.begin(name);
                    self.arguments(&arguments);
                }
                self.skip = true;
            }
            None => {
                let all = std::mem::take(&mut self.verbatim) + &body + &mark;
                self.text(&all);
                self.skip = false;
            }
        }
        self.state = State::Text;
        true
    }

    /// The calls that a text is, whatever the order of their fields.
    fn calls_in(&self, body: &str) -> Option<Vec<(String, String)>> {
        let parsed = serde_json::from_str::<Value>(body);
        // Of a list whose first calls were read already, the rest.
        let parsed = parsed.or_else(|_| serde_json::from_str(&format!("[{body}"))).ok()?;
        let calls = match parsed {
            Value::Array(calls) if !calls.is_empty() => calls,
            call @ Value::Object(_) => vec![call],
            _ => return None,
        };
        let call = |call: &Value| {
            let name = call.get("name")?.as_str()?;
            let arguments = match call.get("arguments").or_else(|| call.get("parameters")) {
                Some(Value::String(text)) => {
                    serde_json::from_str::<Value>(text).ok().filter(Value::is_object)?.to_string()
                }
                Some(object @ Value::Object(_)) => object.to_string(),
                None => "{}".to_owned(),
                Some(_) => return None,
            };
            self.names.iter().any(|known| known == name).then(|| (name.to_owned(), arguments))
        };
        calls.iter().map(call).collect()
    }

    /// What was taken for a call is text.
    fn no_call(&mut self) {
        let taken = std::mem::take(&mut self.verbatim);
        (self.state, self.start, self.skip) = (State::Text, false, false);
        self.text(&taken);
    }

    fn begin(&mut self, name: String) {
        self.verbatim.clear();
        self.start = false;
        self.out.push(Piece::CallBegin { index: self.calls, name });
        self.calls += 1;
    }

    /// Takes so many bytes of what is held.
    fn take(&mut self, length: usize) -> String {
        let rest = self.held.split_off(length);
        std::mem::replace(&mut self.held, rest)
    }

    fn skip_blanks(&mut self) {
        let rest = blanks(&self.held);
        if !rest.is_empty() && self.state == State::Text {
            self.skip = false;
        }
        self.held = rest.to_owned();
    }

    fn reasoning(&mut self, text: &str) {
        match self.out.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Reasoning(last)) => last.push_str(text),
            _ => self.out.push(Piece::Reasoning(text.to_owned())),
        }
    }

    fn text(&mut self, text: &str) {
        match self.out.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.out.push(Piece::Text(text.to_owned())),
        }
    }

    fn arguments(&mut self, text: &str) {
        let index = self.calls.saturating_sub(1);
        match self.out.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::CallArguments { text: last, .. }) => last.push_str(text),
            _ => self.out.push(Piece::CallArguments { index, text: text.to_owned() }),
        }
    }
}

/// Bytes of a text that can be no part of one of these marks, nor blanks before one.
fn ready(text: &str, marks: &[&str]) -> usize {
    let begun = |mark: &&str| {
        let lengths = mark.char_indices().map(|(at, _)| at).rev();
        lengths.into_iter().find(|length| text.ends_with(&mark[..*length])).unwrap_or(0)
    };
    let keep = marks.iter().map(begun).max().unwrap_or(0);
    text[..text.len() - keep].trim_end().len()
}
