//! May they: the one place where routes ask the policies, and where a denial is recorded before it is told.

use outpost_audit::{DecisionRef, Kind};
use outpost_policies::{Action, Ask, Context, DataClass, Denial, ModelFacts, Permit, Resource};

use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::trail::append;
use crate::{Served, converse, model, record};

/// The rule that a key's own scope is, in answers and records.
const SCOPE_RULE: &str = "api-key-scope";

/// What a route asks for.
pub(crate) struct Wanted {
    pub(crate) action: Action,
    pub(crate) resource: Resource,
    /// Tokens, where the action generates some and the caller says how many.
    pub(crate) max_tokens: Option<u32>,
}

/// How a model is asked, as far as rules look at it; in no special way where nothing is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Manner {
    pub(crate) stream: bool,
    pub(crate) tools: bool,
}

/// Whose use is counted together: a caller by its pseudonym, so that no name is written down with what it used.
pub(crate) fn tenant(app: &App, call: &Call) -> String {
    let principal = &call.caller.principal;
    format!("{}/{}", principal.kind.word(), app.serving.pseudonyms.of(&principal.id))
}

/// Asks the policies.
///
/// # Errors
/// 403 with the rule, once the denial is durable; 400 if a model is asked with data that is labelled with no class that
/// there is; 503 if it cannot be recorded.
pub(crate) async fn require(app: &App, call: &Call, wanted: Wanted) -> Result<Permit, ApiError> {
    require_asked(app, call, wanted, Manner::default()).await
}

/// What was allowed before it was known which file would answer.
pub(crate) struct Before {
    action: Action,
    resource: Resource,
    decision: DecisionRef,
    max_tokens: Option<u32>,
    manner: Manner,
}

impl Before {
    pub(crate) fn of(permit: &Permit, action: Action, max_tokens: Option<u32>, manner: Manner) -> Self {
        let (resource, decision) = (permit.resource().clone(), record::allowed(permit));
        Self { action, resource, decision, max_tokens, manner }
    }

    /// A name may mean several files, and which of them it is shows when one is in memory: the rules are asked about that one, before
    /// anything of it leaves. The same rules must allow it, since what they ask for was done on the way.
    ///
    /// # Errors
    /// 403 with the rule, once the denial is durable; 503 if it cannot be recorded.
    pub(crate) async fn holds_for(&self, app: &App, call: &Call, served: &Served) -> Result<(), ApiError> {
        let is_it = |facts: &ModelFacts| facts.id == served.model && facts.quantisation == served.variant;
        if served.file_sha256.is_empty() || matches!(&self.resource, Resource::Model(facts) if is_it(facts)) {
            return Ok(());
        }
        let Some(resource) = model::of_file(app, &served.file_sha256).await else {
            let error = ApiError::unavailable("model_left", "the model left this device in this moment: ask again");
            let (object, decision) = (record::object(call, &self.resource), Some(self.decision.clone()));
            return Err(converse::refuse(app, call, self.action, object, decision, error).await);
        };
        if resource == self.resource {
            return Ok(());
        }
        let wanted = Wanted { action: self.action, resource, max_tokens: self.max_tokens };
        let permit = require_asked(app, call, wanted, self.manner).await?;
        let decision = record::allowed(&permit);
        if decision == self.decision {
            return Ok(());
        }
        let tag = served.variant.to_lowercase();
        let message =
            format!("other rules hold for the variant that was loaded: ask for it by name, `{}:{tag}`", served.model);
        let object = record::object(call, permit.resource());
        let error = ApiError::not_offered(message);
        Err(converse::refuse(app, call, self.action, object, Some(decision), error).await)
    }
}

/// Asks the policies about a question to a model.
///
/// # Errors
/// As [`require`].
pub(crate) async fn require_asked(app: &App, call: &Call, wanted: Wanted, manner: Manner) -> Result<Permit, ApiError> {
    let circumstances = app.circumstances();
    let (action, now) = (wanted.action, app.moment());
    let data_class = match call.label.class() {
        Ok(class) => class,
        Err(error) if action.is_inference() => {
            return Err(converse::refuse(app, call, action, record::object(call, &wanted.resource), None, error).await);
        }
        // No rule about another act looks at it.
        Err(_) => DataClass::default(),
    };
    let ask = Ask {
        principal: call.caller.principal.clone(),
        action,
        resource: wanted.resource,
        context: Context {
            now_s: circumstances.now_s,
            utc_offset_s: circumstances.utc_offset_s,
            offline_s: circumstances.offline_s,
            policy_age_s: circumstances.policy_age_s,
            auth_method: call.caller.method,
            network: call.caller.network,
            max_tokens: wanted.max_tokens,
            stream: manner.stream,
            tools: manner.tools,
            data_class,
            time_trusted: now.clock_is_trusted,
            tokens_today: app.quotas.tokens_today(&tenant(app, call), now),
            endpoint: call.endpoint.to_owned(),
        },
    };
    let policies = app.serving.policies.now();
    let within = match call.caller.scope.excess(action.word(), &ask.resource, call.endpoint) {
        None => Ok(()),
        Some(excess) => Err(Denial {
            rules: vec![SCOPE_RULE.to_owned()],
            message: format!("this API key is not for {excess}: ask an admin for one that is"),
            errors: Vec::new(),
            policy_version: policies.version(),
        }),
    };
    let denial = match within.and_then(|()| app.serving.identities.authorize(&policies, &ask, &app.serving.device)) {
        Ok(permit) => {
            if let Some(glass) = permit.broken_glass() {
                tracing::warn!(request = %call.id, action = action.word(), glass, "allowed by an open override");
            }
            call.trail.allowed(call, &permit);
            return Ok(permit);
        }
        Err(denial) => denial,
    };
    for error in &denial.errors {
        tracing::error!(request = %call.id, %error, "a rule could not be evaluated, which denies");
    }
    app.metrics.denied(&denial.rules);
    // The log has one type for a refused question; a refused administrative act is an administrative act.
    let kind = match action {
        Action::Infer | Action::Embed => Kind::InferDenied,
        Action::ReadAudit | Action::ExportAudit => Kind::AuditRead,
        _ => Kind::AdminAct,
    };
    let refusal = ApiError::denied(denial.rules.clone(), denial.message.clone());
    let record = record::of_call(&app.serving, call, kind)
        .act(action.word())
        .object(record::object(call, &ask.resource))
        .decision(record::denied(&denial))
        .result(record::refused(&refusal));
    append(&app.serving, call, record).await.map_err(|error| record::lost(call, &error))?;
    tracing::info!(request = %call.id, action = action.word(), rules = ?denial.rules, "denied");
    Err(refusal)
}
