//! The access review: who can do what, by which rule, and when not.

use std::fmt;

use serde::Serialize;

use crate::situation::{Situation, typical};
use crate::{Action, Policies};

/// Who can do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Review {
    /// Version of the bundle.
    pub policy_version: u64,
    /// One row for each.
    pub rows: Vec<Row>,
}

/// What one can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Who.
    pub who: String,
    /// The roles that count.
    pub roles: Vec<String>,
    /// Every action.
    pub cells: Vec<Cell>,
}

/// Whether somebody can do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What.
    pub action: Action,
    /// Whether it is allowed in the usual situation.
    pub allowed: bool,
    /// The rules that decide; none if no rule permits it.
    pub rules: Vec<String>,
    /// Where the answer is another one.
    pub exceptions: Vec<Exception>,
    /// Rules that could permit it in a situation that is none of the typical ones, where none of those is allowed.
    pub perhaps: Vec<String>,
}

/// A situation in which the answer is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// When.
    pub when: String,
    /// The rules that decide then.
    pub rules: Vec<String>,
}

/// Reviews what certain people can do, each with a name and roles; nobody named reviews every role, and somebody without.
#[must_use]
pub fn review(policies: &Policies, principals: &[(String, Vec<String>)]) -> Review {
    let every_role = || {
        let roles = policies.roles().keys().map(|role| (format!("role `{role}`"), vec![role.clone()]));
        roles.chain(std::iter::once(("without a role".to_owned(), Vec::new()))).collect()
    };
    let who: Vec<(String, Vec<String>)> = if principals.is_empty() { every_role() } else { principals.to_vec() };
    let situations = typical(&[policies]);
    let row = |(who, roles): (String, Vec<String>)| {
        let cells = Action::ALL.into_iter().map(|action| cell(policies, &roles, action, &situations)).collect();
        Row { who, roles, cells }
    };
    Review { policy_version: policies.version(), rows: who.into_iter().map(row).collect() }
}

fn cell(policies: &Policies, roles: &[String], action: Action, situations: &[Situation]) -> Cell {
    let decide = |situation: &Situation| match policies.authorize(&situation.given.ask(roles.to_vec(), action)) {
        Ok(permit) => (true, permit.rules),
        Err(denial) => (false, denial.rules),
    };
    let (allowed, rules) = situations.first().map_or((false, Vec::new()), decide);
    let others = situations.iter().skip(1).filter(|situation| situation.concerns(action));
    let exceptions = others.filter_map(|situation| {
        let (then, rules) = decide(situation);
        (then != allowed).then(|| Exception { when: situation.when.clone(), rules })
    });
    let exceptions: Vec<Exception> = exceptions.collect();
    let never = !allowed && exceptions.is_empty();
    let perhaps = if never { policies.compiled().judge.permits_of(action, roles) } else { Vec::new() };
    Cell { action, allowed, rules, exceptions, perhaps }
}

impl fmt::Display for Review {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(formatter, "{}", row.who)?;
            let interesting =
                row.cells.iter().filter(|cell| cell.allowed || !cell.exceptions.is_empty() || !cell.perhaps.is_empty());
            let mut any = false;
            for cell in interesting {
                any = true;
                if !cell.perhaps.is_empty() {
                    let (action, rules) = (cell.action.word(), cell.perhaps.join(", "));
                    writeln!(formatter, "  {action:<15} perhaps, where several conditions meet ({rules})")?;
                    continue;
                }
                let answer = if cell.allowed { "yes" } else { "no" };
                let rules = if cell.rules.is_empty() { "no rule permits it".to_owned() } else { cell.rules.join(", ") };
                writeln!(formatter, "  {:<15} {answer:<4} {rules}", cell.action.word())?;
                for exception in &cell.exceptions {
                    let but = if cell.allowed { "not" } else { "but" };
                    let rules = exception.rules.join(", ");
                    writeln!(formatter, "  {:<15}      {but} {} ({rules})", "", exception.when)?;
                }
            }
            if !any {
                writeln!(formatter, "  nothing")?;
            }
        }
        Ok(())
    }
}
