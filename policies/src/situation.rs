//! Typical situations: what policies are asked about when they are compared, reviewed and explained.
//!
//! One usual situation and its neighbours, each of which differs from it in one thing. Beside those that are typical
//! anywhere come those that the policies themselves speak of: licences, names, spans of time and limits in their rules.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy_core::ast::{Expr, ExprKind, Literal, PatternElem};

use crate::{
    Action, AuthMethod, ClockTime, DataClass, Given, ModelClass, Network, Policies, PrincipalKind, Span, Weekday,
};

/// Values of one attribute that are taken from rules.
const VALUES: usize = 32;

/// A situation, with what is special about it in words; none for the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Situation {
    pub(crate) when: String,
    pub(crate) given: Given,
    concerns: Concerns,
}

/// Which actions a situation can matter to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concerns {
    Every,
    Models,
    Inference,
}

impl Situation {
    /// Whether what is special about it can matter to an action.
    pub(crate) fn concerns(&self, action: Action) -> bool {
        match self.concerns {
            Concerns::Every => true,
            Concerns::Models => action.resource_kind() == "Model",
            Concerns::Inference => action.is_inference(),
        }
    }
}

/// The usual situation: a Tuesday at ten, by a token from this machine, an approved model, nothing special.
pub(crate) fn usual() -> Given {
    Given { time: ClockTime::parse("10:00"), approved: Some(true), ..Given::default() }
}

/// The usual situation first, and then its neighbours, for these policies.
pub(crate) fn typical(policies: &[&Policies]) -> Vec<Situation> {
    let mut list = vec![Situation { when: String::new(), given: usual(), concerns: Concerns::Every }];
    let mut add = |concerns, when: String, change: &dyn Fn(&mut Given)| {
        let mut given = usual();
        change(&mut given);
        list.push(Situation { when, given, concerns });
    };
    for (auth, words) in [
        (AuthMethod::Socket, "identified by the local socket"),
        (AuthMethod::ApiKey, "identified by a local API key"),
        (AuthMethod::Certificate, "identified by a certificate"),
    ] {
        add(Concerns::Every, words.to_owned(), &|given| given.auth = Some(auth));
    }
    for (network, words) in [(Network::Socket, "on the local socket"), (Network::Remote, "from another machine")] {
        add(Concerns::Every, words.to_owned(), &|given| given.network = Some(network));
    }
    for (kind, words) in [
        (PrincipalKind::Service, "as a service account"),
        (PrincipalKind::LocalUser, "as an account of the machine"),
        (PrincipalKind::Device, "as another device"),
    ] {
        add(Concerns::Every, words.to_owned(), &|given| given.kind = Some(kind));
    }
    for (weekday, time, words) in [
        (Weekday::Tue, "03:00", "at night"),
        (Weekday::Tue, "20:00", "in the evening"),
        (Weekday::Sat, "10:00", "on Saturday"),
        (Weekday::Sun, "10:00", "on Sunday"),
    ] {
        add(Concerns::Every, words.to_owned(), &|given| {
            (given.weekday, given.time) = (Some(weekday), ClockTime::parse(time));
        });
    }
    add(Concerns::Every, "without a trusted clock".to_owned(), &|given| given.time_trusted = Some(false));
    for class in [DataClass::Public, DataClass::Confidential, DataClass::Personal, DataClass::Special] {
        let words = format!("with {} data", class.word());
        add(Concerns::Inference, words, &|given| given.data_class = Some(class));
    }
    add(Concerns::Inference, "streamed".to_owned(), &|given| given.stream = Some(true));
    add(Concerns::Inference, "with tools".to_owned(), &|given| given.tools = Some(true));
    add(Concerns::Models, "with a model that nobody approved".to_owned(), &|given| given.approved = Some(false));
    add(Concerns::Models, "with a model without a licence".to_owned(), &|given| given.licence = Some(String::new()));
    for class in ModelClass::ALL.into_iter().skip(1) {
        let words = format!("with a {} model", class.word());
        add(Concerns::Models, words, &|given| given.class = Some(class));
    }
    let spoken = Spoken::of(policies);
    for seconds in &spoken.seconds {
        let (longer, span) = (seconds + 1, Span::from_seconds(*seconds));
        add(Concerns::Every, format!("more than {span} offline"), &|given| given.offline_s = Some(longer));
        add(Concerns::Every, format!("with a policy older than {span}"), &|given| given.policy_age_s = Some(longer));
    }
    for tokens in &spoken.tokens {
        let over = tokens.saturating_add(1);
        add(Concerns::Inference, format!("asking for more than {tokens} tokens"), &|given| {
            given.max_tokens = Some(over)
        });
    }
    for tokens in &spoken.tokens_today {
        add(Concerns::Inference, format!("after {tokens} tokens today"), &|given| given.tokens_today = Some(*tokens));
    }
    for (attribute, values) in &spoken.texts {
        for value in values {
            let said = format!("with the {attribute} `{}`", value.escape_debug());
            let value = Some(value.clone());
            match *attribute {
                "licence" => add(Concerns::Models, said, &|given| given.licence = value.clone()),
                "family" => add(Concerns::Models, said, &|given| given.family = value.clone()),
                "quantisation" => add(Concerns::Models, said, &|given| given.quantisation = value.clone()),
                "endpoint" => add(Concerns::Every, said, &|given| given.endpoint = value.clone()),
                _ => add(Concerns::Models, said.replace("the name", "the model"), &|given| given.model = value.clone()),
            }
        }
    }
    list
}

/// What rules and limits of these policies speak of.
pub(crate) fn spoken(policies: &[&Policies]) -> Spoken {
    Spoken::of(policies)
}

/// What rules and limits speak of.
#[derive(Default)]
pub(crate) struct Spoken {
    pub(crate) texts: BTreeMap<&'static str, BTreeSet<String>>,
    pub(crate) seconds: BTreeSet<u64>,
    pub(crate) tokens: BTreeSet<u32>,
    pub(crate) tokens_today: BTreeSet<u64>,
}

/// Attributes whose values are texts.
const TEXTS: [&str; 5] = ["licence", "family", "quantisation", "endpoint", "name"];

impl Spoken {
    fn of(policies: &[&Policies]) -> Self {
        const DAY_S: u64 = 86_400;
        let mut spoken = Self { seconds: BTreeSet::from([4 * DAY_S, 40 * DAY_S]), ..Self::default() };
        for policies in policies {
            for (_, condition) in policies.compiled().judge.conditions() {
                spoken.add(condition);
            }
            for limits in policies.roles().values() {
                spoken.tokens.extend(limits.max_tokens_per_request);
                spoken.tokens_today.extend(limits.tokens_per_day);
                spoken.seconds.extend(limits.max_offline.map(Span::seconds));
                let names = limits.models.iter().flatten().filter(|name| *name != "*");
                spoken.texts.entry("name").or_default().extend(names.cloned());
            }
            let models = policies.compiled().models.keys();
            spoken.texts.entry("name").or_default().extend(models.take(VALUES).cloned());
        }
        for values in spoken.texts.values_mut() {
            *values = std::mem::take(values).into_iter().take(VALUES).collect();
        }
        spoken.seconds = std::mem::take(&mut spoken.seconds).into_iter().take(VALUES).collect();
        spoken
    }

    /// Coarse on purpose: every text in a rule counts as a value of every attribute that the rule reads.
    fn add(&mut self, condition: &Expr) {
        let parts = || condition.subexpressions().map(Expr::expr_kind);
        let reads = |attribute: &str| {
            parts().any(|part| matches!(part, ExprKind::GetAttr { attr, .. } if attr.as_str() == attribute))
        };
        let mut texts = BTreeSet::new();
        for part in parts() {
            match part {
                ExprKind::Lit(Literal::String(text)) => {
                    texts.insert(text.to_string());
                }
                ExprKind::Like { pattern, .. } => {
                    let sample = |element: &PatternElem| match element {
                        PatternElem::Char(character) => *character,
                        PatternElem::Wildcard => 'x',
                    };
                    texts.insert(pattern.iter().map(sample).collect());
                }
                ExprKind::Lit(Literal::Long(number)) if reads("max_tokens") => {
                    self.tokens.extend(u32::try_from(*number).ok());
                }
                ExprKind::ExtensionFunctionApp { args, .. } => {
                    let argument = args.first().map(Expr::expr_kind);
                    if let Some(ExprKind::Lit(Literal::String(text))) = argument {
                        self.seconds.extend(seconds_of(text));
                    }
                }
                _ => {}
            }
        }
        for attribute in TEXTS.into_iter().filter(|attribute| reads(attribute)) {
            self.texts
                .entry(attribute)
                .or_default()
                .extend(texts.iter().filter(|text| seconds_of(text).is_none()).cloned());
        }
    }
}

/// The seconds of a Cedar duration such as `1d12h`.
pub(crate) fn seconds_of(text: &str) -> Option<u64> {
    let parts = text.split_inclusive(|character: char| character.is_ascii_alphabetic());
    let sum = parts.map(|part| Span::parse(part).map(Span::seconds)).sum::<Option<u64>>()?;
    (!text.is_empty()).then_some(sum)
}
