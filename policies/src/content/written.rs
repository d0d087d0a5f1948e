//! `content.toml`: what a bundle writes, and what it means once checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::custom::Custom;
use super::{Act, Armed, Class, ContentRules, Detector, Directions};
use crate::Finding;

/// Most patterns of one bundle; each may need a machine of 1 MiB.
pub(super) const PATTERNS: usize = 16;

/// What `content.toml` writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Content {
    /// Patterns of the bundle's own, by name; the name is their class.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::bundle::unique_keys")]
    pub pattern: BTreeMap<String, Pattern>,
    /// The rules, by role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::bundle::unique_keys")]
    pub role: BTreeMap<String, RoleContent>,
}

impl Content {
    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pattern.is_empty() && self.role.is_empty()
    }
}

/// A pattern: a regular expression without look-around and without an unbounded repetition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// The expression.
    pub matches: String,
    /// Whether it counts only where no letter and no digit stands before or behind; yes unless told otherwise.
    #[serde(default = "yes")]
    pub whole_word: bool,
}

fn yes() -> bool {
    true
}

/// The rules of one role.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleContent {
    /// For what goes to a model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<ContentRule>,
    /// For what comes from a model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<ContentRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentRule {
    /// A built-in class, or the name of a pattern of this bundle.
    pub class: String,
    /// What to do.
    pub act: Act,
}

/// Checks what is written: every mistake, not only the first.
pub(crate) fn compile(
    content: &Content,
    known_role: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, ContentRules>, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut find = |what: String| findings.push(Finding::new("content", what));
    if content.pattern.len() > PATTERNS {
        find(format!("{} patterns, more than {PATTERNS}", content.pattern.len()));
        return Err(findings);
    }
    let mut detectors: BTreeMap<&str, (Class, Detector)> = BTreeMap::new();
    for class in Class::built_in() {
        if let Some(detector) = Detector::built_in(class) {
            detectors.insert(class.word(), (class.clone(), detector));
        }
    }
    for (name, pattern) in &content.pattern {
        let is_plain = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        if !is_plain || detectors.contains_key(name.as_str()) {
            let shown: String = name.chars().take(64).collect();
            find(format!(
                "`{}` is no name for a pattern: use a-z, 0-9, `_` and `-`, and no built-in class",
                shown.escape_debug()
            ));
            continue;
        }
        match Custom::new(&pattern.matches, pattern.whole_word) {
            Ok(custom) => {
                let class = Class::Custom(Arc::from(name.as_str()));
                detectors.insert(name, (class, Detector::Custom(Arc::new(custom))));
            }
            Err(what) => find(format!("the pattern `{name}` {what}")),
        }
    }
    let mut compiled = BTreeMap::new();
    for (role, rules) in &content.role {
        if !known_role(role) {
            find(format!("the role `{}` is not declared in the limits", role.escape_debug()));
        }
        let mut arm = |direction: &str, written: &[ContentRule]| -> Arc<[Armed]> {
            let mut armed: BTreeMap<Class, Armed> = BTreeMap::new();
            for rule in written {
                let Some((class, detector)) = detectors.get(rule.class.as_str()) else {
                    let known: Vec<&str> = detectors.keys().copied().collect();
                    let shown: String = rule.class.chars().take(64).collect();
                    let place = format!("role `{role}`, {direction}: `{}` is no class", shown.escape_debug());
                    find(format!("{place}; known are {}", known.join(", ")));
                    continue;
                };
                let one = Armed { class: class.clone(), act: rule.act, detector: detector.clone() };
                if armed.insert(class.clone(), one).is_some() {
                    find(format!("role `{role}`, {direction}: `{}` is there twice", rule.class));
                }
            }
            armed.into_values().collect()
        };
        let rules = Directions { input: arm("input", &rules.input), output: arm("output", &rules.output) };
        compiled.insert(role.clone(), ContentRules(Arc::new(rules)));
    }
    if findings.is_empty() { Ok(compiled) } else { Err(findings) }
}
