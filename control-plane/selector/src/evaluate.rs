//! Whether a selector holds for a device.

use std::cmp::Ordering;

use crate::value::{Value, Version, glob};
use crate::{Expression, Facts, Field, Operator, Subject, Test};

/// What a device answers to one test.
enum Answer<'a> {
    Text(Option<&'a str>),
    Set(Vec<&'a str>),
    Number(Option<u64>),
    Version(Option<Version>),
    Flag(bool),
}

pub(crate) fn holds(expression: &Expression, facts: &Facts) -> bool {
    match expression {
        Expression::All => true,
        Expression::And(parts) => parts.iter().all(|part| holds(part, facts)),
        Expression::Or(parts) => parts.iter().any(|part| holds(part, facts)),
        Expression::Not(inner) => !holds(inner, facts),
        Expression::Test(test) => is_true(test, facts),
    }
}

fn is_true(test: &Test, facts: &Facts) -> bool {
    let answer = answer(&test.subject, facts);
    match test.operator {
        Operator::Equal => test.values.iter().any(|value| equals(&answer, value)),
        Operator::Unequal => !test.values.iter().any(|value| equals(&answer, value)),
        Operator::Less => ordered(test, &answer, Ordering::is_lt),
        Operator::AtMost => ordered(test, &answer, Ordering::is_le),
        Operator::More => ordered(test, &answer, Ordering::is_gt),
        Operator::AtLeast => ordered(test, &answer, Ordering::is_ge),
    }
}

fn equals(answer: &Answer<'_>, value: &Value) -> bool {
    match (answer, value) {
        (Answer::Text(Some(text)), Value::Text(pattern)) => glob(pattern, text),
        (Answer::Set(texts), Value::Text(pattern)) => texts.iter().any(|text| glob(pattern, text)),
        (Answer::Flag(own), Value::Flag(value)) => own == value,
        _ => compare(answer, value).is_some_and(Ordering::is_eq),
    }
}

fn ordered(test: &Test, answer: &Answer<'_>, is: fn(Ordering) -> bool) -> bool {
    test.values.iter().any(|value| compare(answer, value).is_some_and(is))
}

fn compare(answer: &Answer<'_>, value: &Value) -> Option<Ordering> {
    match (answer, value) {
        (Answer::Number(own), _) => own.as_ref()?.partial_cmp(&value.number()?),
        (Answer::Version(own), Value::Version(value)) => own.as_ref().map(|own| own.cmp(value)),
        _ => None,
    }
}

fn answer<'a>(subject: &Subject, facts: &'a Facts) -> Answer<'a> {
    let field = match subject {
        Subject::Label(key) => return Answer::Text(facts.labels.get(key).map(String::as_str)),
        Subject::Field(field) => *field,
    };
    let set = |texts: &'a std::collections::BTreeSet<String>| Answer::Set(texts.iter().map(String::as_str).collect());
    match field {
        Field::Name => Answer::Text(Some(&facts.name)),
        Field::Site => Answer::Text(facts.site.as_deref()),
        Field::Group => set(&facts.groups),
        Field::State => Answer::Text(Some(&facts.state)),
        Field::Model => Answer::Text(facts.model.as_deref()),
        Field::Variant => Answer::Text(facts.variant.as_deref()),
        Field::Wanted => Answer::Text(facts.wanted.as_deref()),
        Field::Cpu => Answer::Text(facts.cpu.as_deref()),
        Field::Feature => set(&facts.features),
        Field::Reason => set(&facts.reasons),
        Field::Agent => Answer::Version(facts.agent.parse().ok()),
        Field::Memory => Answer::Number(facts.memory),
        Field::MemoryAvailable => Answer::Number(facts.memory_available),
        Field::Disk => Answer::Number(facts.disk),
        Field::Cores => Answer::Number(facts.cores),
        Field::Context => Answer::Number(facts.context),
        Field::Policy => Answer::Number(facts.policy),
        Field::Backlog => Answer::Number(facts.backlog),
        Field::DeadLetters => Answer::Number(facts.dead_letters),
        Field::Speed => Answer::Number(facts.speed_milli),
        Field::Seen => Answer::Number(facts.seen_ago_s),
        Field::Enrolled => Answer::Number(facts.enrolled_ago_s),
        Field::Certificate => Answer::Number(facts.certificate_left_s),
        Field::Online => Answer::Flag(facts.online),
        Field::Revoked => Answer::Flag(facts.revoked),
        Field::Assigned => Answer::Flag(facts.assigned),
        Field::Drift => Answer::Flag(facts.drift),
        Field::Measured => Answer::Flag(facts.measured),
    }
}
