//! Selecting devices by what is known of them: a small language, its errors, its evaluation; pure.
//!
//! ```text
//! selector = and { "or" and }        and = not { "and" not }        not = "not" not | "(" selector ")" | test
//! test     = flag | field operator value | field "in" "(" value { "," value } ")" | "all"
//! operator = "=" | "!=" | "<" | "<=" | ">" | ">="
//! ```
//!
//! Text may hold `*` for anything. What is not known of a device equals nothing and is neither smaller nor larger.
//!
//! ```
//! use outpost_selector::{Facts, Selector};
//! let selector: Selector = "site=store-* and memory>=8GiB and agent<0.3 and not online".parse().unwrap();
//! let facts = Facts { site: Some("store-12".into()), agent: "0.2.9".into(), memory: Some(8 << 30), ..Facts::default() };
//! assert!(selector.matches(&facts));
//! ```

mod error;
mod evaluate;
mod facts;
mod field;
mod parse;
mod print;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use error::SelectorError;
pub use facts::Facts;
pub use field::{Field, Kind};
pub use parse::STATES;
pub use value::{Version, is_label_key, is_label_value};

/// Longest selector, bytes.
pub const MOST_BYTES: usize = 4096;

/// How deep parentheses and `not` may nest.
pub const MOST_DEPTH: usize = 32;

/// Tests in one selector.
pub const MOST_TESTS: usize = 256;

/// Which devices are meant, read and found well formed. Prints as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(pub(crate) Expression);

/// What a selector is made of. `And` and `Or` have two parts at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    All,
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Test(Test),
}

/// One comparison: true if it holds for one of the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) subject: Subject,
    pub(crate) operator: Operator,
    pub(crate) values: Vec<value::Value>,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Field(Field),
    Label(String),
}

/// How it is compared. Only `Equal` has more than one value, written with `in`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// A group that is named by a selector leads back to itself, or through too many others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the group `{0}` is defined through itself, or through more groups than can be followed")]
pub struct GroupError(pub String);

/// Groups that are defined through each other are followed so far.
const MOST_GROUPS: usize = 8;

/// Tests that groups may come to, all in all: a few short groups could otherwise grow without end.
const MOST_EXPANDED: usize = 16 * MOST_TESTS;

impl Selector {
    /// Every device.
    #[must_use]
    pub fn all() -> Self {
        Self(Expression::All)
    }

    /// Whether a device is meant.
    #[must_use]
    pub fn matches(&self, facts: &Facts) -> bool {
        evaluate::holds(&self.0, facts)
    }

    /// The groups that it names.
    pub fn groups(&self) -> impl Iterator<Item = String> {
        let of_groups = self.0.tests().filter(|test| test.subject == Subject::Field(Field::Group));
        of_groups.flat_map(|test| test.values.iter().map(value::Value::text))
    }

    /// The fields that it asks for; labels are none.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.0.tests().filter_map(|test| match &test.subject {
            Subject::Field(field) => Some(*field),
            Subject::Label(_) => None,
        })
    }

    /// The same with each group that a selector defines in the place of its name; other groups stay for
    /// [`Facts::groups`] to answer.
    ///
    /// # Errors
    /// [`GroupError`] if groups go round in circles.
    pub fn expand(&self, groups: &BTreeMap<String, Selector>) -> Result<Self, GroupError> {
        Ok(Self(expand(&self.0, groups, 0, &mut { MOST_EXPANDED })?))
    }
}

impl Expression {
    fn tests(&self) -> Box<dyn Iterator<Item = &Test> + '_> {
        match self {
            Self::All => Box::new(std::iter::empty()),
            Self::And(parts) | Self::Or(parts) => Box::new(parts.iter().flat_map(Self::tests)),
            Self::Not(inner) => inner.tests(),
            Self::Test(test) => Box::new(std::iter::once(test)),
        }
    }
}

fn expand(
    expression: &Expression,
    groups: &BTreeMap<String, Selector>,
    followed: usize,
    left: &mut usize,
) -> Result<Expression, GroupError> {
    let mut every = |parts: &[Expression]| -> Result<Vec<Expression>, GroupError> {
        parts.iter().map(|part| expand(part, groups, followed, left)).collect()
    };
    Ok(match expression {
        Expression::And(parts) => Expression::And(every(parts)?),
        Expression::Or(parts) => Expression::Or(every(parts)?),
        Expression::Not(inner) => Expression::Not(Box::new(expand(inner, groups, followed, left)?)),
        Expression::Test(test) if test.subject == Subject::Field(Field::Group) => {
            let mut any = Vec::new();
            for value in &test.values {
                let name = value.text();
                *left = left.checked_sub(1).ok_or_else(|| GroupError(name.clone()))?;
                any.push(match groups.get(&name) {
                    Some(_) if followed >= MOST_GROUPS => return Err(GroupError(name)),
                    Some(group) => expand(&group.0, groups, followed + 1, left)?,
                    None => Expression::Test(Test {
                        operator: Operator::Equal,
                        values: vec![value.clone()],
                        ..test.clone()
                    }),
                });
            }
            let whole = if any.len() == 1 { any.remove(0) } else { Expression::Or(any) };
            if test.operator == Operator::Unequal { Expression::Not(Box::new(whole)) } else { whole }
        }
        Expression::Test(test) => {
            *left = left.checked_sub(1).ok_or_else(|| GroupError(test.to_string()))?;
            expression.clone()
        }
        Expression::All => Expression::All,
    })
}
