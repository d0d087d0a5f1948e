//! Our values as Cedar's: names parsed once, entities and contexts built per question.
//!
//! Values are built as Cedar's evaluator holds them, not as expressions that it would have to evaluate first, and times
//! (which Cedar reads from text) only where a rule looks at them. What is built here follows `schema.cedarschema`: a test
//! checks every shape against it, and so does every decision of a debug build.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::RestrictedExpression;
use cedar_policy_core::ast::{
    Context as CedarContext, Eid, Entity, EntityType, EntityUID, PartialValue, RestrictedExpr, Value, ValueKind,
};
use cedar_policy_core::evaluator::RestrictedEvaluator;
use cedar_policy_core::extensions::Extensions;

use crate::calendar::datetime;
use crate::holder::Holder;
use crate::judge::Needs;
use crate::{
    Action, Ask, AuthMethod, Context, DataClass, Limits, ModelClass, ModelFacts, Network, Principal, PrincipalKind,
    Priority, Resource, Span,
};

/// The schema's names, parsed once: parsing a name costs more than deciding.
#[derive(Debug)]
pub(crate) struct Words {
    user: EntityType,
    service: EntityType,
    local_user: EntityType,
    role: EntityType,
    model: EntityType,
    device: EntityType,
    audit_log: EntityType,
    policy_store: EntityType,
    key_store: EntityType,
    /// In the order of [`Action::ALL`], and so on.
    actions: Vec<Arc<EntityUID>>,
    auth_methods: Vec<Arc<EntityUID>>,
    networks: Vec<Arc<EntityUID>>,
    data_classes: Vec<Arc<EntityUID>>,
    model_classes: Vec<Arc<EntityUID>>,
    priorities: Vec<Arc<EntityUID>>,
    /// What a device carries that is acted on and does not act.
    no_limits: Value,
    no_time: Value,
}

impl Words {
    pub(crate) fn new() -> Self {
        let all = |kind: &str, words: &mut dyn Iterator<Item = &'static str>| -> Vec<Arc<EntityUID>> {
            let kind = name(kind);
            words.map(|word| Arc::new(uid(&kind, word))).collect()
        };
        let mut words = Self {
            user: name("User"),
            service: name("Service"),
            local_user: name("LocalUser"),
            role: name("Role"),
            model: name("Model"),
            device: name("Device"),
            audit_log: name("AuditLog"),
            policy_store: name("PolicyStore"),
            key_store: name("KeyStore"),
            actions: all("Action", &mut Action::ALL.into_iter().map(Action::word)),
            auth_methods: all("AuthMethod", &mut AuthMethod::ALL.into_iter().map(AuthMethod::word)),
            networks: all("Network", &mut Network::ALL.into_iter().map(Network::word)),
            data_classes: all("DataClass", &mut DataClass::ALL.into_iter().map(DataClass::word)),
            model_classes: all("ModelClass", &mut ModelClass::ALL.into_iter().map(ModelClass::word)),
            priorities: all("Priority", &mut Priority::ALL.into_iter().map(Priority::word)),
            no_limits: Value::empty_record(None),
            no_time: duration(0).unwrap_or_else(|_| Value::empty_record(None)),
        };
        words.no_limits = words.limits(&Limits::default()).unwrap_or_else(|_| Value::empty_record(None));
        words
    }

    pub(crate) fn action(&self, action: Action) -> &Arc<EntityUID> {
        &self.actions[action as usize]
    }

    pub(crate) fn role(&self, role: &str) -> EntityUID {
        uid(&self.role, role)
    }

    /// The name of the role that an entity is, if it is one.
    pub(crate) fn role_name<'a>(&self, entity: &'a EntityUID) -> Option<&'a str> {
        (*entity.entity_type() == self.role).then(|| entity.eid().as_ref())
    }

    /// The name of the model that an entity is, if it is one.
    pub(crate) fn model_name<'a>(&self, entity: &'a EntityUID) -> Option<&'a str> {
        (*entity.entity_type() == self.model).then(|| entity.eid().as_ref())
    }

    /// Limits as the schema's record.
    pub(crate) fn limits(&self, limits: &Limits) -> Result<Value, String> {
        let long = |value: u64| Value::from(i64::try_from(value).unwrap_or(i64::MAX));
        let mut pairs = vec![
            ("max_tokens_per_request", long(limits.max_tokens_per_request.into())),
            ("store_responses", Value::from(limits.store_responses)),
            ("priority", Value::from(Arc::clone(&self.priorities[limits.priority as usize]))),
        ];
        let numbers = [
            ("requests_per_minute", limits.requests_per_minute.map(u64::from)),
            ("tokens_per_day", limits.tokens_per_day),
            ("concurrent", limits.concurrent.map(u64::from)),
            ("context_tokens", limits.context_tokens.map(u64::from)),
        ];
        pairs.extend(numbers.into_iter().filter_map(|(field, number)| Some((field, long(number?)))));
        if let Some(models) = &limits.models {
            pairs.push(("models", Value::set(models.iter().map(|model| Value::from(model.as_str())), None)));
        }
        if let Some(span) = limits.max_offline {
            pairs.push(("max_offline", duration(span.seconds())?));
        }
        Ok(Value::record(pairs, None))
    }

    /// The caller, in those of its roles that the bundle declares.
    pub(crate) fn principal(&self, principal: &Principal, holder: &Holder, needs: Needs) -> Entity {
        let kind = match principal.kind {
            PrincipalKind::User => &self.user,
            PrincipalKind::Service => &self.service,
            PrincipalKind::LocalUser => &self.local_user,
            PrincipalKind::Device => &self.device,
        };
        let limits = needs.attributes.then(|| ("limits".into(), PartialValue::from(holder.limits_value.clone())));
        let roles = holder.uids.clone();
        Entity::new_with_attr_partial_value(uid(kind, &principal.id), limits, HashSet::new(), roles, [])
    }

    /// What is acted on, as the schema's entity.
    pub(crate) fn resource(&self, resource: &Resource) -> Result<Entity, String> {
        let kind = match resource {
            Resource::Model(facts) => return self.model(facts, Needs::ALL),
            Resource::Device { .. } => &self.device,
            Resource::AuditLog => &self.audit_log,
            Resource::PolicyStore => &self.policy_store,
            Resource::KeyStore => &self.key_store,
        };
        let limits = matches!(resource, Resource::Device { .. })
            .then(|| ("limits".into(), PartialValue::from(self.no_limits.clone())));
        let uid = uid(kind, resource.id());
        Ok(Entity::new_with_attr_partial_value(uid, limits, HashSet::new(), HashSet::new(), []))
    }

    /// A model as the schema's entity.
    pub(crate) fn model(&self, facts: &ModelFacts, needs: Needs) -> Result<Entity, String> {
        let named = uid(&self.model, &facts.id);
        if !needs.attributes {
            return Ok(Entity::with_uid(named));
        }
        let text = |text: &str| PartialValue::from(Value::from(text));
        let mut attributes = vec![
            ("name".into(), text(&facts.id)),
            ("licence".into(), text(&facts.licence)),
            ("family".into(), text(&facts.family)),
            ("quantisation".into(), text(&facts.quantisation)),
            ("class".into(), PartialValue::from(Value::from(Arc::clone(&self.model_classes[facts.class as usize])))),
            ("approved".into(), PartialValue::from(Value::from(facts.approved))),
        ];
        if let Some(until_s) = facts.approved_until_s.filter(|_| needs.approved_until) {
            attributes.push(("approved_until".into(), PartialValue::from(moment(until_s)?)));
        }
        Ok(Entity::new_with_attr_partial_value(named, attributes, HashSet::new(), HashSet::new(), []))
    }

    /// The situation; the limit stands in for tokens where the request does not say.
    pub(crate) fn context(&self, ask: &Ask, limits: &Limits, needs: Needs) -> Result<CedarContext, String> {
        if !needs.context {
            return Ok(CedarContext::empty());
        }
        let context = &ask.context;
        let entity = |uid: &Arc<EntityUID>| Value::from(Arc::clone(uid));
        let mut pairs = Vec::with_capacity(15);
        pairs.extend([
            ("time_trusted", Value::from(context.time_trusted)),
            ("weekday", Value::from(i64::from(context.weekday()))),
            ("minute_of_day", Value::from(i64::from(context.minute_of_day()))),
            ("auth_method", entity(&self.auth_methods[context.auth_method as usize])),
            ("network", entity(&self.networks[context.network as usize])),
            ("endpoint", Value::from(context.endpoint.as_str())),
        ]);
        if needs.now {
            pairs.push(("now", moment(context.now_s)?));
        }
        if needs.offline_for {
            pairs.push(("offline_for", self.span(context.offline_s)?));
        }
        if needs.policy_age {
            pairs.push(("policy_age", self.span(context.policy_age_s)?));
        }
        if ask.action.is_inference() {
            pairs.extend(self.inference(context, limits));
        }
        match Value::record(pairs, None).value {
            ValueKind::Record(record) => Ok(CedarContext::Value(record)),
            other => Err(format!("a record of values became {other:?}")),
        }
    }

    fn inference(&self, context: &Context, limits: &Limits) -> [(&'static str, Value); 6] {
        let tokens = context.max_tokens.unwrap_or(limits.max_tokens_per_request);
        [
            ("max_tokens", Value::from(i64::from(tokens))),
            ("tokens_today", Value::from(i64::try_from(context.tokens_today).unwrap_or(i64::MAX))),
            ("stream", Value::from(context.stream)),
            ("tools", Value::from(context.tools)),
            ("data_class", Value::from(Arc::clone(&self.data_classes[context.data_class as usize]))),
            ("within_hours", Value::from(limits.within_hours(context))),
        ]
    }

    fn span(&self, seconds: u64) -> Result<Value, String> {
        if seconds == 0 { Ok(self.no_time.clone()) } else { duration(seconds) }
    }
}

fn name(text: &str) -> EntityType {
    EntityType::from_str(text).expect("the names of the schema are plain identifiers")
}

fn uid(kind: &EntityType, id: &str) -> EntityUID {
    EntityUID::from_components(kind.clone(), Eid::new(id), None)
}

/// Seconds as Cedar's duration; a century stands for anything longer.
fn duration(seconds: u64) -> Result<Value, String> {
    value(&RestrictedExpression::new_duration(format!("{}s", Span::from_seconds(seconds).seconds())))
}

/// Seconds since 1970 as Cedar's datetime, within what its text form can say.
fn moment(at_s: i64) -> Result<Value, String> {
    value(&RestrictedExpression::new_datetime(datetime(at_s)))
}

fn value(expression: &RestrictedExpression) -> Result<Value, String> {
    let expression: &RestrictedExpr = expression.as_ref();
    let evaluator = RestrictedEvaluator::new(Extensions::all_available());
    evaluator.interpret(expression.as_borrowed()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_lists_stand_in_the_order_of_their_types() {
        // What is looked up by `as usize` is looked up in these lists.
        assert!(AuthMethod::ALL.into_iter().enumerate().all(|(place, each)| each as usize == place));
        assert!(Network::ALL.into_iter().enumerate().all(|(place, each)| each as usize == place));
        assert!(DataClass::ALL.into_iter().enumerate().all(|(place, each)| each as usize == place));
        assert!(ModelClass::ALL.into_iter().enumerate().all(|(place, each)| each as usize == place));
        assert!(Priority::ALL.into_iter().enumerate().all(|(place, each)| each as usize == place));
    }
}
