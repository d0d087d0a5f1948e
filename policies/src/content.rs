//! What must not pass: pattern classes in the text that goes to a model and comes from it, found while it streams.
//!
//! `content.toml` of a bundle gives each role a list of classes for either direction, each with what to do. Of several
//! roles every rule counts, and of two rules on one class the stricter. A hit says the class and the act, never the text.

mod card;
mod custom;
mod detector;
mod digits;
mod email;
mod iban;
mod ip;
mod national_id;
mod phone;
mod scanner;
mod secret;
mod view;
mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use detector::Detector;
pub use scanner::{HOLD_BACK_BYTES, Released, Scanner};
pub(crate) use written::compile;
pub use written::{Content, ContentRule, Pattern, RoleContent};

/// How many classes need no pattern.
const CLASSES: usize = 7;

/// A kind of text that a rule looks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A payment card number: 13 to 19 digits with a known beginning and the Luhn check digit.
    PaymentCard,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// An international bank account number, of a known country's length and with its check digits.
    Iban,
    /// A national identity, insurance or tax number (US, UK, Germany, France, Spain, Italy).
    NationalId,
    /// An IPv4 or IPv6 address.
    IpAddress,
    /// A credential: access keys, private keys, bearer tokens.
    Secret,
    /// A pattern of the bundle, by its name.
    Custom(Arc<str>),
}

impl Class {
    /// Those that need no pattern.
    #[must_use]
    pub fn built_in() -> &'static [Self] {
        static BUILT_IN: [Class; CLASSES] = [
            Class::PaymentCard,
            Class::Email,
            Class::Phone,
            Class::Iban,
            Class::NationalId,
            Class::IpAddress,
            Class::Secret,
        ];
        &BUILT_IN
    }

    /// The word in bundles and audit records.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::PaymentCard => "payment_card",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Iban => "iban",
            Self::NationalId => "national_id",
            Self::IpAddress => "ip_address",
            Self::Secret => "secret",
            Self::Custom(name) => name,
        }
    }

    /// What stands where something was removed.
    #[must_use]
    pub fn placeholder(&self) -> String {
        let what = match self {
            Self::PaymentCard => "payment card",
            Self::Email => "e-mail address",
            Self::Phone => "phone number",
            Self::Iban => "IBAN",
            Self::NationalId => "national id",
            Self::IpAddress => "IP address",
            Self::Secret => "secret",
            Self::Custom(name) => name,
        };
        format!("[{what} removed]")
    }
}

/// What to do with a hit; the stricter is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Let it pass and record it.
    Note,
    /// Put a placeholder in its place.
    Redact,
    /// Let nothing more pass.
    Block,
}

impl Act {
    /// The word in bundles and audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Redact => "redact",
            Self::Block => "block",
        }
    }
}

/// Which way the text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the model.
    Input,
    /// From the model.
    Output,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Input, Self::Output];

    /// The word in bundles and audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// What was found, without what it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// What kind of text.
    pub class: Class,
    /// What was done.
    pub act: Act,
    /// How often.
    pub count: u32,
}

/// The rules for one caller; a clone is cheap.
#[derive(Clone, Default)]
pub struct ContentRules(Arc<Directions>);

#[derive(Default)]
struct Directions {
    input: Arc<[Armed]>,
    output: Arc<[Armed]>,
}

/// A rule with what finds it.
#[derive(Clone)]
struct Armed {
    class: Class,
    act: Act,
    detector: Detector,
}

impl ContentRules {
    /// What looks through a text that goes this way; `None` if there is nothing to look for.
    #[must_use]
    pub fn scanner(&self, direction: Direction) -> Option<Scanner> {
        let rules = self.armed(direction);
        (!rules.is_empty()).then(|| Scanner::new(Arc::clone(rules)))
    }

    /// The rules for a direction: each class with what is done, by class.
    pub fn rules(&self, direction: Direction) -> impl Iterator<Item = (&Class, Act)> {
        self.armed(direction).iter().map(|rule| (&rule.class, rule.act))
    }

    fn armed(&self, direction: Direction) -> &Arc<[Armed]> {
        match direction {
            Direction::Input => &self.0.input,
            Direction::Output => &self.0.output,
        }
    }

    /// Every rule of every role; the stricter act where two speak of one class.
    pub(crate) fn of<'a>(roles: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let of = |direction| -> Arc<[Armed]> {
            let mut strictest: BTreeMap<&Class, &Armed> = BTreeMap::new();
            for rule in roles.clone().flat_map(|role| role.armed(direction).iter()) {
                let held = strictest.entry(&rule.class).or_insert(rule);
                if held.act < rule.act {
                    *held = rule;
                }
            }
            strictest.into_values().cloned().collect()
        };
        Self(Arc::new(Directions { input: of(Direction::Input), output: of(Direction::Output) }))
    }
}

impl PartialEq for ContentRules {
    fn eq(&self, other: &Self) -> bool {
        Direction::ALL.into_iter().all(|direction| self.rules(direction).eq(other.rules(direction)))
    }
}

impl Eq for ContentRules {}

impl fmt::Debug for ContentRules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |direction| self.rules(direction).collect::<Vec<_>>();
        formatter
            .debug_struct("ContentRules")
            .field("input", &of(Direction::Input))
            .field("output", &of(Direction::Output))
            .finish()
    }
}
