//! Our values as Cedar's: names parsed once, entities and contexts built per question.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};

use crate::{Action, Ask, AuthMethod, Network, Principal, PrincipalKind, Resource};

/// The last second that Cedar's `datetime` text form can say: 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

/// The schema's names, parsed once: parsing a name costs more than deciding.
#[derive(Debug)]
pub(crate) struct Words {
    user: EntityTypeName,
    service: EntityTypeName,
    local_user: EntityTypeName,
    role: EntityTypeName,
    model: EntityTypeName,
    device: EntityTypeName,
    audit_log: EntityTypeName,
    policy_store: EntityTypeName,
    key_store: EntityTypeName,
    actions: HashMap<Action, EntityUid>,
    auth_methods: HashMap<AuthMethod, EntityUid>,
    networks: HashMap<Network, EntityUid>,
}

impl Words {
    pub(crate) fn new() -> Self {
        let method = name("AuthMethod");
        let network = name("Network");
        let action = name("Action");
        Self {
            user: name("User"),
            service: name("Service"),
            local_user: name("LocalUser"),
            role: name("Role"),
            model: name("Model"),
            device: name("Device"),
            audit_log: name("AuditLog"),
            policy_store: name("PolicyStore"),
            key_store: name("KeyStore"),
            actions: Action::ALL.into_iter().map(|each| (each, uid(&action, each.word()))).collect(),
            auth_methods: AuthMethod::ALL.into_iter().map(|each| (each, uid(&method, each.word()))).collect(),
            networks: Network::ALL.into_iter().map(|each| (each, uid(&network, each.word()))).collect(),
        }
    }

    pub(crate) fn action(&self, action: Action) -> EntityUid {
        self.actions[&action].clone()
    }

    pub(crate) fn role(&self, role: &str) -> EntityUid {
        uid(&self.role, role)
    }

    pub(crate) fn is_role(&self, entity: &EntityUid) -> bool {
        *entity.type_name() == self.role
    }

    /// The caller with its limit, in those of its roles that `roles` names.
    pub(crate) fn principal(&self, principal: &Principal, roles: &[&str], max_tokens: u32) -> Result<Entity, String> {
        let kind = match principal.kind {
            PrincipalKind::User => &self.user,
            PrincipalKind::Service => &self.service,
            PrincipalKind::LocalUser => &self.local_user,
        };
        let limit = ("max_tokens_per_request".to_owned(), RestrictedExpression::new_long(i64::from(max_tokens)));
        let limits = RestrictedExpression::new_record([limit]).map_err(|error| error.to_string())?;
        let parents: HashSet<EntityUid> = roles.iter().map(|role| self.role(role)).collect();
        let attributes = HashMap::from([("limits".to_owned(), limits)]);
        Entity::new(uid(kind, &principal.id), attributes, parents).map_err(|error| error.to_string())
    }

    pub(crate) fn resource(&self, resource: &Resource) -> Result<Entity, String> {
        let kind = match resource {
            Resource::Model { .. } => &self.model,
            Resource::Device { .. } => &self.device,
            Resource::AuditLog => &self.audit_log,
            Resource::PolicyStore => &self.policy_store,
            Resource::KeyStore => &self.key_store,
        };
        let attributes = match resource {
            Resource::Model { licence, .. } => {
                HashMap::from([("licence".to_owned(), RestrictedExpression::new_string(licence.clone()))])
            }
            _ => HashMap::new(),
        };
        Entity::new(uid(kind, resource.id()), attributes, HashSet::new()).map_err(|error| error.to_string())
    }

    /// The situation; `limit` stands in for tokens where the request does not say.
    pub(crate) fn context(&self, ask: &Ask, limit: u32) -> Result<cedar_policy::Context, String> {
        let context = &ask.context;
        let entity = |uid: &EntityUid| RestrictedExpression::new_entity_uid(uid.clone());
        let mut pairs = vec![
            ("now".to_owned(), RestrictedExpression::new_datetime(datetime(context.now_s))),
            ("offline_for".to_owned(), RestrictedExpression::new_duration(duration(context.offline_s))),
            ("policy_age".to_owned(), RestrictedExpression::new_duration(duration(context.policy_age_s))),
            ("auth_method".to_owned(), entity(&self.auth_methods[&context.auth_method])),
            ("network".to_owned(), entity(&self.networks[&context.network])),
        ];
        if ask.action.asks_for_tokens() {
            let tokens = i64::from(context.max_tokens.unwrap_or(limit));
            pairs.push(("max_tokens".to_owned(), RestrictedExpression::new_long(tokens)));
        }
        cedar_policy::Context::from_pairs(pairs).map_err(|error| error.to_string())
    }
}

fn name(text: &str) -> EntityTypeName {
    EntityTypeName::from_str(text).expect("the names of the schema are plain identifiers")
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// Seconds as Cedar's duration text; a century stands for anything longer.
fn duration(seconds: u64) -> String {
    format!("{}s", seconds.min(3_155_760_000))
}

/// Seconds since 1970 as Cedar's datetime text (proleptic Gregorian calendar), within what that form can say.
fn datetime(now_s: i64) -> String {
    let now_s = now_s.clamp(0, LAST_SECOND);
    let (days, second) = (now_s / 86_400, now_s % 86_400);
    // Howard Hinnant's `civil_from_days`: years that begin in March, so that the leap day comes last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_said_as_the_calendar_says_them() {
        assert_eq!(datetime(0), "1970-01-01T00:00:00Z");
        assert_eq!(datetime(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(datetime(1_796_083_200), "2026-12-01T00:00:00Z");
        assert_eq!(datetime(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(datetime(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(datetime(i64::MIN), "1970-01-01T00:00:00Z");
    }
}
