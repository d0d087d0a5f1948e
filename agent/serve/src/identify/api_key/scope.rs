//! What a key is good for, beside what its roles may: a key for one model stays one for that model in anybody's hands.

use outpost_policies::Resource;
use serde::{Deserialize, Serialize};

/// Most entries of one list, and longest, bytes.
const ENTRIES: usize = 64;
const ENTRY_BYTES: usize = 256;

/// Narrows what a key's roles may. An empty list narrows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// Models by id.
    pub models: Vec<String>,
    /// Actions by their word, as in `infer`.
    pub actions: Vec<String>,
    /// Beginnings of paths, as in `/v1/embeddings` or `/api`: whole segments.
    pub endpoints: Vec<String>,
}

impl Scope {
    /// Whether it narrows nothing.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.models.is_empty() && self.actions.is_empty() && self.endpoints.is_empty()
    }

    /// What of a call lies outside, if anything does.
    pub(crate) fn excess(&self, action: &str, resource: &Resource, endpoint: &str) -> Option<String> {
        if !self.actions.is_empty() && !self.actions.iter().any(|listed| listed == action) {
            return Some(format!("the action `{action}`"));
        }
        let under = |listed: &String| {
            let rest = endpoint.strip_prefix(listed.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !self.endpoints.is_empty() && !self.endpoints.iter().any(under) {
            return Some(format!("the path `{endpoint}`"));
        }
        match resource {
            Resource::Model(facts) if !self.models.is_empty() && !self.models.contains(&facts.id) => {
                Some(format!("the model `{}`", facts.id))
            }
            _ => None,
        }
    }

    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let lists = [&self.models, &self.actions, &self.endpoints];
        let plain = |text: &String| (1..=ENTRY_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if lists.iter().any(|list| list.len() > ENTRIES || !list.iter().all(plain)) {
            return Some(
                "a key's scope has at most 64 models, actions and paths, each of 1 to 256 bytes of plain text",
            );
        }
        let known = |action: &String| outpost_policies::Action::ALL.iter().any(|known| known.word() == action);
        if !self.actions.iter().all(known) {
            return Some("a key's scope names an action that there is not: `infer` and `embed` are two that there are");
        }
        (!self.endpoints.iter().all(|path| path.starts_with('/')))
            .then_some("a key's scope names paths from their `/` on, as in `/v1/embeddings`")
    }
}

#[cfg(test)]
mod tests {
    use outpost_policies::ModelFacts;

    use super::*;

    fn scope(models: &[&str], actions: &[&str], endpoints: &[&str]) -> Scope {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Scope { models: owned(models), actions: owned(actions), endpoints: owned(endpoints) }
    }

    fn model(id: &str) -> Resource {
        Resource::Model(ModelFacts { id: id.to_owned(), ..ModelFacts::default() })
    }

    #[test]
    fn each_list_narrows_and_an_empty_one_does_not() {
        let excess = |scope: &Scope, action, id, path| scope.excess(action, &model(id), path).is_some();
        assert!(!excess(&Scope::default(), "infer", "a", "/v1/x"));
        let narrow = scope(&["a"], &["infer"], &["/v1/chat"]);
        assert!(!excess(&narrow, "infer", "a", "/v1/chat/completions"));
        assert!(excess(&narrow, "infer", "b", "/v1/chat/completions"));
        assert!(excess(&narrow, "embed", "a", "/v1/chat/completions"));
        assert!(excess(&narrow, "infer", "a", "/v1/chatter"), "whole segments only");
        assert!(excess(&narrow, "infer", "a", "unknown"));
    }

    #[test]
    fn a_scope_that_means_nothing_is_refused() {
        assert!(scope(&[""], &[], &[]).fault().is_some());
        assert!(scope(&[], &["fly"], &[]).fault().is_some());
        assert!(scope(&[], &[], &["v1"]).fault().is_some());
        assert!(scope(&["a"], &["infer"], &["/v1"]).fault().is_none());
    }
}
