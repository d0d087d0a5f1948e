//! What comes from a model, looked through piece by piece.

use outpost_policies::content::{ContentRules, Direction, Scanner};

use super::{Blocked, Found, Looking, take};
use crate::Said;

/// Lets an answer pass as far as it may.
pub(crate) struct Filter {
    rules: ContentRules,
    found: Found,
    speaking: Speaking,
}

/// Which part of the answer is coming.
enum Speaking {
    Nothing,
    Text(Scanner),
    Reasoning(Scanner),
    /// A call's arguments, which wait until they are whole.
    Arguments(u32, String),
}

impl Filter {
    /// What looks through an answer; `None` if nothing in answers is looked for.
    pub(crate) fn new(rules: ContentRules) -> Option<Self> {
        rules.scanner(Direction::Output)?;
        Some(Self { rules, found: Found::default(), speaking: Speaking::Nothing })
    }

    /// What was found so far.
    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    /// Takes the next piece; what may pass now.
    pub(crate) fn said(&mut self, said: Said) -> Result<Vec<Said>, Blocked> {
        let goes_on = match (&self.speaking, &said) {
            (Speaking::Text(_), Said::Text { .. }) | (Speaking::Reasoning(_), Said::Reasoning(_)) => true,
            (Speaking::Arguments(current, _), Said::Arguments { index, .. }) => current == index,
            _ => false,
        };
        let mut passed = if goes_on { Vec::new() } else { self.finish()? };
        if !goes_on {
            self.speaking = self.begin(&said);
        }
        match (&mut self.speaking, said) {
            // Scores carry the text once more, piece by piece; who may have them is not looked through.
            (Speaking::Text(scanner), Said::Text { text, .. }) => {
                let text = take(scanner.push(&text), &mut self.found)?;
                passed.extend((!text.is_empty()).then(|| Said::text(text)));
            }
            (Speaking::Reasoning(scanner), Said::Reasoning(text)) => {
                let text = take(scanner.push(&text), &mut self.found)?;
                passed.extend((!text.is_empty()).then_some(Said::Reasoning(text)));
            }
            (Speaking::Arguments(_, held), Said::Arguments { text, .. }) => held.push_str(&text),
            (_, call @ Said::Call { .. }) => passed.push(call),
            // Nothing else begins without what looks through it.
            (_, Said::Prompt(_) | Said::Text { .. } | Said::Reasoning(_) | Said::Arguments { .. }) => {}
        }
        Ok(passed)
    }

    /// Nothing follows: lets the rest pass, as far as it may.
    pub(crate) fn finish(&mut self) -> Result<Vec<Said>, Blocked> {
        let rest = match std::mem::replace(&mut self.speaking, Speaking::Nothing) {
            Speaking::Nothing => return Ok(Vec::new()),
            Speaking::Text(mut scanner) => Said::text(take(scanner.finish(), &mut self.found)?),
            Speaking::Reasoning(mut scanner) => Said::Reasoning(take(scanner.finish(), &mut self.found)?),
            Speaking::Arguments(index, held) => {
                let (rules, direction) = (&self.rules, Direction::Output);
                let text = Looking { rules, direction, found: &mut self.found }.json(&held)?;
                Said::Arguments { index, text }
            }
        };
        let is_empty = match &rest {
            Said::Text { text, .. } | Said::Reasoning(text) | Said::Arguments { text, .. } => text.is_empty(),
            Said::Prompt(_) | Said::Call { .. } => false,
        };
        Ok(if is_empty { Vec::new() } else { vec![rest] })
    }

    fn begin(&self, said: &Said) -> Speaking {
        let scanner = || self.rules.scanner(Direction::Output);
        match said {
            Said::Text { .. } => scanner().map_or(Speaking::Nothing, Speaking::Text),
            Said::Reasoning(_) => scanner().map_or(Speaking::Nothing, Speaking::Reasoning),
            Said::Arguments { index, .. } => Speaking::Arguments(*index, String::new()),
            Said::Prompt(_) | Said::Call { .. } => Speaking::Nothing,
        }
    }
}
