//! Many things in one act: all of them are permitted and on record by name, or nothing is done.

use std::collections::{BTreeMap, BTreeSet};

use super::{Act, Actor, Happening};
use crate::fleet::{Fleet, FleetError};

/// Names that one record holds, bytes; longer lists take several.
const NAMES_BYTES: usize = 2000;

impl Fleet {
    /// Whether `actor` may do each act to each subject: asked one by one, as for each alone, and recorded together.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`] for the first that they may not, which is recorded; any other if it cannot be recorded.
    pub(crate) fn permit_each(&self, actor: &Actor, asked: &[(Act, String)]) -> Result<(), FleetError> {
        let mut allowed: BTreeMap<Act, (Vec<&str>, BTreeSet<String>)> = BTreeMap::new();
        for (act, subject) in asked {
            let verdict = actor.verdict(*act, subject);
            if !verdict.allowed {
                let denied = Happening::of(actor, *act, subject);
                self.record(&Happening { effect: "deny".to_owned(), rules: verdict.rules, ..denied })?;
                return Err(FleetError::Forbidden(format!("`{}` on `{subject}`: {}", act.name(), verdict.reason)));
            }
            let (subjects, rules) = allowed.entry(*act).or_default();
            subjects.push(subject);
            rules.extend(verdict.rules);
        }
        for (act, (subjects, rules)) in allowed {
            for names in in_lines(&subjects) {
                let happening = Happening::of(actor, act, &names);
                let rules = rules.iter().cloned().collect();
                self.record(&Happening { effect: "allow".to_owned(), rules, ..happening })?;
            }
        }
        Ok(())
    }
}

/// Names parted by blanks, each once, in as many lines as they need.
pub(crate) fn in_lines(names: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for name in names.iter().collect::<BTreeSet<_>>() {
        match lines.last_mut().filter(|line| line.len() + name.len() < NAMES_BYTES) {
            Some(line) => {
                line.push(' ');
                line.push_str(name);
            }
            None => lines.push((*name).to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_in_one_line_of_bounded_length() {
        let names: Vec<String> = (0..1000).map(|number| format!("box-{number:05}")).collect();
        let names: Vec<&str> = names.iter().chain(&names).map(String::as_str).collect();
        let lines = in_lines(&names);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() < NAMES_BYTES));
        let read: Vec<_> = lines.iter().flat_map(|line| line.split(' ')).collect();
        assert_eq!(read, names[..1000]);
        assert_eq!(in_lines(&[]), Vec::<String>::new());
    }
}
