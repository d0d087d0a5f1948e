//! A record of a device's audit log, as far as it is a decision that can be put to other rules.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::DeviceId;
use outpost_policies::{
    Action, Ask, AuthMethod, Blank, Context, DataClass, ModelFacts, Network, Principal, PrincipalKind, Recorded,
    Resource,
};
use serde::Deserialize;

use crate::inventory::words::clean;

/// What is read of a record.
#[derive(Debug, Deserialize)]
pub(super) struct Leaf {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "t")]
    pub(super) time: Time,
    #[serde(rename = "req")]
    pub(super) request: Option<String>,
    pub(super) act: Option<String>,
    pub(super) who: Option<Who>,
    #[serde(rename = "obj", default)]
    object: Object,
    #[serde(rename = "dec")]
    pub(super) decision: Option<Decision>,
    #[serde(default)]
    detail: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Time {
    pub(super) wall_ms: i64,
    #[serde(default)]
    ok: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Who {
    kind: String,
    pub(super) pid: String,
    roles: Vec<String>,
    auth: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Object {
    model: String,
    variant: String,
    endpoint: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Decision {
    effect: String,
    policy: String,
    pub(super) rules: Vec<String>,
}

impl Leaf {
    /// Whether it is the record of the decision, and not of how what was decided went on.
    pub(super) fn is_first(&self) -> bool {
        !matches!(self.kind.as_str(), "infer.end" | "infer.aborted")
            && self.detail.get("phase").and_then(serde_json::Value::as_str) != Some("end")
    }

    /// The decision, with what the record does not say of it; why it cannot be put to rules.
    pub(super) fn recorded(
        &self,
        device: &DeviceId,
        models: &BTreeMap<String, ModelFacts>,
    ) -> Result<Recorded, String> {
        let decision = self.decision.as_ref().ok_or("the record holds no decision")?;
        let who = self.who.as_ref().ok_or("the record does not say who it was")?;
        let kind = match who.kind.as_str() {
            "user" => PrincipalKind::User,
            "service" => PrincipalKind::Service,
            "local" => PrincipalKind::LocalUser,
            "device" => PrincipalKind::Device,
            _ => return Err("the record does not say who it was".to_owned()),
        };
        let auth_method = match who.auth.as_str() {
            "uds" => AuthMethod::Socket,
            "key" => AuthMethod::ApiKey,
            "jwt" => AuthMethod::Token,
            "mtls" => AuthMethod::Certificate,
            _ => return Err("the record does not say how the caller was identified".to_owned()),
        };
        let word = self.act.as_deref().unwrap_or_default();
        let action = action(word).ok_or_else(|| format!("`{}` is no act that rules speak of", clean(word, 40)))?;
        let mut blanks: BTreeSet<Blank> = Blank::ALL.into_iter().collect();
        let resource = self.resource(action, device, models, &mut blanks);
        let number = |key: &str| self.detail.get(key).and_then(serde_json::Value::as_u64);
        let data_class = match self.detail.get("data_class").and_then(serde_json::Value::as_str) {
            None => DataClass::Internal,
            Some(word) => {
                let known = DataClass::ALL.into_iter().find(|class| class.word() == word);
                known.ok_or_else(|| format!("`{}` is no kind of data that rules speak of", clean(word, 40)))?
            }
        };
        let mut context = Context {
            now_s: self.time.wall_ms.div_euclid(1000),
            time_trusted: self.time.ok,
            auth_method,
            network: Network::Loopback,
            endpoint: self.object.endpoint.clone(),
            data_class,
            ..Context::default()
        };
        if auth_method == AuthMethod::Socket {
            context.network = Network::Socket;
            blanks.remove(&Blank::Network);
        }
        if let Some(tokens) = number("max_tokens") {
            context.max_tokens = u32::try_from(tokens).ok();
        }
        // Where it is said whether it was streamed, tools are said where there were some.
        if let Some(stream) = number("stream") {
            (context.stream, context.tools) = (stream > 0, number("tools").is_some_and(|tools| tools > 0));
            blanks.retain(|blank| !matches!(blank, Blank::Stream | Blank::Tools));
        }
        if action != Action::Infer {
            // Nobody says how many tokens for vectors, and nothing else generates any.
            blanks.retain(|blank| !matches!(blank, Blank::MaxTokens | Blank::Stream | Blank::Tools));
        }
        let principal = Principal { kind, id: who.pid.clone(), roles: who.roles.clone() };
        let allowed = match decision.effect.as_str() {
            "allow" => true,
            "deny" => false,
            _ => return Err("the record does not say what was decided".to_owned()),
        };
        let policy_version = decision.policy.strip_prefix("bundle-").and_then(|version| version.parse().ok());
        let ask = Ask { principal, action, resource, context };
        Ok(Recorded { ask, blanks, allowed, rules: decision.rules.clone(), policy_version })
    }

    fn resource(
        &self,
        action: Action,
        device: &DeviceId,
        models: &BTreeMap<String, ModelFacts>,
        blanks: &mut BTreeSet<Blank>,
    ) -> Resource {
        if action.resource_kind() != "Model" {
            blanks.retain(|blank| !matches!(blank, Blank::Model | Blank::Quantisation));
        }
        match action.resource_kind() {
            "Model" => {
                let name = &self.object.model;
                let plain = name.split(':').next().unwrap_or(name);
                let known = models.get(name).or_else(|| models.get(plain)).cloned();
                if known.is_some() {
                    blanks.remove(&Blank::Model);
                }
                if !self.object.variant.is_empty() {
                    blanks.remove(&Blank::Quantisation);
                }
                let facts = known.unwrap_or_else(|| ModelFacts { id: name.clone(), ..ModelFacts::default() });
                Resource::Model(ModelFacts { quantisation: self.object.variant.clone(), ..facts })
            }
            "AuditLog" => Resource::AuditLog,
            "PolicyStore" => Resource::PolicyStore,
            "KeyStore" => Resource::KeyStore,
            _ => Resource::Device { id: device.to_string() },
        }
    }
}

/// The action that a record's act needed.
fn action(word: &str) -> Option<Action> {
    Action::from_word(word).or(match word {
        "load_model" | "unload_model" => Some(Action::SwitchModel),
        "erase_content" | "prune_content" => Some(Action::EraseAudit),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_a_device_recorded_is_a_decision_or_none(
            act in "[a-z_]{0,12}", effect in "(allow|deny|x|)", kind in "(user|local|x)", auth in "(uds|jwt|y)",
            tokens in any::<i64>(), model in ".{0,20}", junk in ".{0,60}",
        ) {
            let leaf = serde_json::json!({
                "type": "infer.start", "t": {"wall_ms": tokens}, "act": act, "who": {"kind": kind, "pid": junk, "auth": auth},
                "obj": {"model": model}, "dec": {"effect": effect, "policy": junk}, "detail": {"max_tokens": tokens, "stream": junk},
            });
            let leaf: Leaf = serde_json::from_value(leaf).unwrap();
            let recorded = leaf.recorded(&"till-1".parse().unwrap(), &BTreeMap::new());
            prop_assert!(recorded.is_ok() || !recorded.unwrap_err().is_empty());
            prop_assert!(serde_json::from_str::<Leaf>(&junk).is_err());
        }
    }
}
