//! A selector as text: what is printed is read as the same selector.

use std::fmt;

use crate::value::Value;
use crate::{Expression, Field, Kind, Operator, Selector, Subject, Test};

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::And(parts) => joined(formatter, parts, " and "),
            Self::Or(parts) => joined(formatter, parts, " or "),
            Self::Not(inner) => {
                formatter.write_str("not ")?;
                part(formatter, inner)
            }
            Self::Test(test) => write!(formatter, "{test}"),
        }
    }
}

fn joined(formatter: &mut fmt::Formatter<'_>, parts: &[Expression], word: &str) -> fmt::Result {
    for (place, expression) in parts.iter().enumerate() {
        if place > 0 {
            formatter.write_str(word)?;
        }
        part(formatter, expression)?;
    }
    Ok(())
}

fn part(formatter: &mut fmt::Formatter<'_>, expression: &Expression) -> fmt::Result {
    match expression {
        Expression::And(_) | Expression::Or(_) => write!(formatter, "({expression})"),
        other => write!(formatter, "{other}"),
    }
}

impl fmt::Display for Test {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.subject, self.operator, self.values.as_slice()) {
            (Subject::Field(field), Operator::Equal, [Value::Flag(true)]) => return formatter.write_str(field.name()),
            (Subject::Field(field), ..) => formatter.write_str(field.name())?,
            (Subject::Label(key), ..) => write!(formatter, "label.{key}")?,
        }
        if let [value] = self.values.as_slice() {
            return write!(formatter, "{}{value}", self.operator.sign());
        }
        let values: Vec<String> = self.values.iter().map(ToString::to_string).collect();
        write!(formatter, " in ({})", values.join(", "))
    }
}

impl Operator {
    pub(crate) const EVERY: [(&'static str, Self); 6] = [
        // The longer first: what is read takes the first that fits.
        ("!=", Self::Unequal),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("=", Self::Equal),
        ("<", Self::Less),
        (">", Self::More),
    ];

    pub(crate) fn sign(self) -> &'static str {
        Self::EVERY.iter().find(|(_, operator)| *operator == self).map_or("=", |(sign, _)| sign)
    }

    pub(crate) fn is_order(self) -> bool {
        !matches!(self, Self::Equal | Self::Unequal)
    }
}

impl Subject {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Field(field) => field.kind(),
            Self::Label(_) => Kind::Text,
        }
    }

    pub(crate) fn is(&self, field: Field) -> bool {
        *self == Self::Field(field)
    }
}
