//! A sealed override: roles for a bounded time, for an emergency, and always loud.
//!
//! It gives roles and takes nothing away. Every rule stays in force, so no `forbid` is lifted, and of the limits of all
//! roles together the most restrictive count. Three acts never come from it: erasing the record, approving a policy, and
//! breaking the next glass; for those only the caller's own roles count. What it made possible is marked in the permit.
//! The seal (signatures) and where it lies are not here.

use serde::{Deserialize, Serialize};

use crate::{Action, Ask, Context, Denial, Permit, Policies, Principal, Resource};

/// The longest that an override lasts, seconds: a day.
pub const BREAK_GLASS_S: i64 = 24 * 3600;

/// Most bytes of one.
pub const BREAK_GLASS_BYTES: usize = 16 * 1024;

/// Most roles that one gives, and longest texts in it, bytes.
const ROLES: usize = 16;
const TEXT_BYTES: usize = 512;

/// Acts that no override gives.
const NEVER: [Action; 3] = [Action::EraseAudit, Action::ApprovePolicy, Action::BreakGlass];

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlass {
    /// Which one; every record of its use names it.
    pub id: String,
    /// The roles that it gives.
    pub roles: Vec<String>,
    /// The caller that it is for; everybody whom a rule lets break glass if it names nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The device that it is for; every device of the fleet if it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// From when on, seconds since 1970-01-01 UTC.
    pub from_s: i64,
    /// Until when; at most a day later.
    pub until_s: i64,
    /// What for.
    pub reason: String,
    /// Who sealed it.
    pub sealed_by: Vec<String>,
}

/// Why an override does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BreakGlassError {
    /// Not one.
    #[error("the override cannot be read: {0}")]
    Unreadable(String),
    /// It says too little or too much.
    #[error("the override `{id}` {what}")]
    Invalid {
        /// Which one.
        id: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Not yet, or no longer.
    #[error("the override `{id}` does not hold now: it lasts from {from} to {until}")]
    NotNow {
        /// Which one.
        id: String,
        /// Its first moment.
        from: String,
        /// Its end.
        until: String,
    },
    /// For somebody or something else.
    #[error("the override `{id}` is for another {what}")]
    NotHere {
        /// Which one.
        id: String,
        /// `caller` or `device`.
        what: &'static str,
    },
}

impl BreakGlass {
    /// Reads one. Its seal must have been checked before.
    ///
    /// # Errors
    /// If it is too large, not one, or says too little or too much.
    pub fn parse(bytes: &[u8]) -> Result<Self, BreakGlassError> {
        if bytes.len() > BREAK_GLASS_BYTES {
            let what = format!("it has {} bytes, more than {BREAK_GLASS_BYTES}", bytes.len());
            return Err(BreakGlassError::Unreadable(what));
        }
        let glass: Self =
            serde_json::from_slice(bytes).map_err(|error| BreakGlassError::Unreadable(error.to_string()))?;
        glass.check()?;
        Ok(glass)
    }

    /// Whether it says what an override must say.
    ///
    /// # Errors
    /// What it lacks.
    pub fn check(&self) -> Result<(), BreakGlassError> {
        let texts = self.roles.iter().chain(&self.sealed_by).chain(&self.user).chain(&self.device);
        let long = texts.chain([&self.id, &self.reason]).any(|text| text.trim().is_empty() || text.len() > TEXT_BYTES);
        let lasts_s = self.until_s.checked_sub(self.from_s);
        let what = if long {
            "has an empty text, or one longer than 512 bytes"
        } else if self.roles.is_empty() || self.roles.len() > ROLES {
            "gives no role, or more than 16"
        } else if self.sealed_by.is_empty() || self.sealed_by.len() > ROLES {
            "does not say who sealed it"
        } else if lasts_s.is_none_or(|lasts_s| !(1..=BREAK_GLASS_S).contains(&lasts_s)) {
            "must last longer than nothing and at most 24 hours"
        } else {
            return Ok(());
        };
        Err(BreakGlassError::Invalid { id: self.id.clone(), what })
    }

    /// The roles that it gives to a caller on a device at a moment.
    ///
    /// # Errors
    /// Why it gives none.
    pub fn roles_for(&self, principal: &Principal, device: &str, now_s: i64) -> Result<&[String], BreakGlassError> {
        self.check()?;
        let id = self.id.clone();
        if !(self.from_s..self.until_s).contains(&now_s) {
            let said = crate::calendar::datetime;
            return Err(BreakGlassError::NotNow { id, from: said(self.from_s), until: said(self.until_s) });
        }
        if self.user.as_ref().is_some_and(|user| *user != principal.id) {
            return Err(BreakGlassError::NotHere { id, what: "caller" });
        }
        if self.device.as_ref().is_some_and(|named| named != device) {
            return Err(BreakGlassError::NotHere { id, what: "device" });
        }
        Ok(&self.roles)
    }
}

impl Policies {
    /// Decides as [`Policies::authorize`] does, and if that denies, with the roles of an override. A permit that came from
    /// it says so in [`Permit::broken_glass`], and whoever acts on it records that.
    ///
    /// # Errors
    /// The denial by the caller's own roles, unless the override helps.
    pub fn authorize_in_emergency(&self, ask: &Ask, device: &str, glass: &BreakGlass) -> Result<Permit, Denial> {
        let denial = match self.authorize(ask) {
            Ok(permit) => return Ok(permit),
            Err(denial) => denial,
        };
        if NEVER.contains(&ask.action) {
            return Err(denial);
        }
        let Ok(given) = glass.roles_for(&ask.principal, device, ask.context.now_s) else { return Err(denial) };
        if glass.user.is_none() && !self.may_break_glass(ask, device) {
            return Err(denial);
        }
        let mut raised = ask.clone();
        raised.principal.roles.extend(given.iter().cloned());
        let Ok(mut permit) = self.authorize(&raised) else { return Err(denial) };
        permit.principal = ask.principal.clone();
        permit.broken_glass = Some(glass.id.clone());
        Ok(permit)
    }

    /// Whether the caller, by its own roles, could have opened an override.
    fn may_break_glass(&self, ask: &Ask, device: &str) -> bool {
        let resource = Resource::Device { id: device.to_owned() };
        let context = Context { max_tokens: None, ..ask.context.clone() };
        self.authorize(&Ask { principal: ask.principal.clone(), action: Action::BreakGlass, resource, context }).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Bundle, Given};

    fn glass(roles: &[&str]) -> BreakGlass {
        let text = |text: &str| text.to_owned();
        BreakGlass {
            id: text("fire-1"),
            roles: roles.iter().map(|role| text(role)).collect(),
            user: Some(text("case")),
            device: Some(text("till-7")),
            from_s: 1_796_083_000,
            until_s: 1_796_083_000 + BREAK_GLASS_S,
            reason: text("the admin cannot be reached"),
            sealed_by: vec![text("grace"), text("joan")],
        }
    }

    fn policies() -> Policies {
        Policies::activate(Bundle::default_bundle()).unwrap()
    }

    fn ask(roles: &[&str], action: Action) -> Ask {
        Given::default().ask(roles.iter().map(|&role| role.to_owned()).collect(), action)
    }

    #[test]
    fn an_override_gives_roles_and_the_permit_says_so() {
        let (policies, question) = (policies(), ask(&["operator"], Action::Restart));
        assert!(policies.authorize(&question).is_err());
        let permit = policies.authorize_in_emergency(&question, "till-7", &glass(&["admin"])).unwrap();
        assert_eq!(
            (permit.broken_glass(), permit.rules()),
            (Some("fire-1"), &["admins-run-the-device".to_owned()][..])
        );
        assert_eq!(permit.principal().roles, ["operator"], "the record shows who the caller is");
        let own = policies.authorize_in_emergency(&ask(&["operator"], Action::Infer), "till-7", &glass(&["admin"]));
        assert_eq!(own.unwrap().broken_glass(), None, "what the caller may anyway needs no override");
    }

    #[test]
    fn it_counts_only_for_its_caller_its_device_and_its_time() {
        let (policies, question) = (policies(), ask(&["operator"], Action::Restart));
        let refused = |glass: &BreakGlass, device: &str, now_s: i64| {
            let mut question = question.clone();
            question.context.now_s = now_s;
            policies.authorize_in_emergency(&question, device, glass).is_err()
        };
        let sealed = glass(&["admin"]);
        assert!(!refused(&sealed, "till-7", sealed.from_s) && !refused(&sealed, "till-7", sealed.until_s - 1));
        assert!(refused(&sealed, "till-7", sealed.from_s - 1) && refused(&sealed, "till-7", sealed.until_s));
        assert!(refused(&sealed, "till-8", sealed.from_s));
        assert!(refused(&BreakGlass { user: Some("eve".to_owned()), ..sealed.clone() }, "till-7", sealed.from_s));
        let long = BreakGlass { until_s: sealed.from_s + BREAK_GLASS_S + 1, ..sealed.clone() };
        assert!(refused(&long, "till-7", sealed.from_s), "one that lasts longer than a day is none");
    }

    #[test]
    fn no_forbid_is_lifted_and_some_acts_never_come_from_it() {
        let mut bundle = Bundle::default_bundle();
        let rule = r#"@id("erasers") @title("Admins erase") @reason("r")
            permit (principal in Role::"admin", action in [Action::"erase_audit", Action::"break_glass",
            Action::"approve_policy"], resource);
            @id("no-export") @title("t") @reason("r")
            forbid (principal in Role::"operator", action == Action::"export_audit", resource);"#;
        bundle.policies.insert("more.cedar".to_owned(), rule.to_owned());
        bundle.cases.retain(|case| !case.title.contains("may not"));
        let policies = Policies::activate(bundle).unwrap();
        for action in NEVER {
            let decided = policies.authorize_in_emergency(&ask(&["auditor"], action), "till-7", &glass(&["admin"]));
            assert!(decided.is_err(), "{action}");
            assert!(policies.authorize(&ask(&["admin"], action)).is_ok(), "{action}");
        }
        let all = glass(&["admin", "auditor"]);
        assert!(policies.authorize_in_emergency(&ask(&["operator"], Action::ExportAudit), "till-7", &all).is_err());
        assert!(policies.authorize_in_emergency(&ask(&["auditor"], Action::Infer), "till-7", &all).is_err());
    }

    #[test]
    fn one_that_names_nobody_is_for_those_who_may_break_glass() {
        let policies = policies();
        let sealed = BreakGlass { user: None, ..glass(&["admin"]) };
        let restarts =
            |role: &str| policies.authorize_in_emergency(&ask(&[role], Action::Restart), "till-7", &sealed).is_ok();
        assert!(restarts("operator"));
        assert!(!restarts("auditor"), "no rule lets auditors break glass");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_override_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = BreakGlass::parse(&bytes);
        }

        #[test]
        fn none_lasts_longer_than_a_day(from_s: i64, until_s: i64) {
            let sealed = BreakGlass { from_s, until_s, ..glass(&["admin"]) };
            if sealed.check().is_ok() {
                prop_assert!(until_s > from_s && until_s - from_s <= BREAK_GLASS_S);
            }
        }
    }
}
