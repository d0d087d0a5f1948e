//! A customer's OIDC provider: which of its tokens count here, and what its claims mean.

use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::Validation;
use outpost_policies::PrincipalKind;
use serde_json::{Map, Value};

use super::Unidentified;
use super::jwks::ProviderKeys;
use super::token::{InvalidIssuer, TrustedKey};

/// Most values of a roles claim that are looked at.
const CLAIMED_ROLES: usize = 256;

/// What is configured of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcProvider {
    /// The `iss` claim, compared exactly.
    pub issuer: String,
    /// The `aud` claim that tokens must carry.
    pub audience: String,
    /// The claim that roles come from; a dot leads into an object, as in `realm_access.roles`.
    pub roles_claim: String,
    /// Roles by the claim's value: a group's object id, say.
    pub roles: BTreeMap<String, Vec<String>>,
    /// What else of the claim counts: values that begin with this, without it. Empty for nothing else.
    pub role_prefix: String,
    /// Clients (`azp`) whose tokens count; empty for every client of the audience.
    pub authorized_parties: Vec<String>,
    /// The tenant (`tid`) whose tokens count.
    pub tenant: Option<String>,
    /// Whose tokens these are: people's or services'.
    pub kind: PrincipalKind,
    /// How old the key set may be before no token by this provider counts; `None` for a set that an admin put there.
    pub max_offline: Option<Duration>,
    /// When the key set should have been read again: an unknown key is then put down to being offline.
    pub refresh: Duration,
}

/// A provider with its keys.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) settings: OidcProvider,
    pub(super) keys: Vec<TrustedKey>,
    /// When the key set was read; `None` before the first time.
    fetched_s: Option<i64>,
}

impl Provider {
    pub(super) fn new(settings: &OidcProvider) -> Result<Self, InvalidIssuer> {
        let invalid =
            |because: &str| Err(InvalidIssuer { issuer: settings.issuer.clone(), because: because.to_owned() });
        if settings.issuer.is_empty() || settings.audience.is_empty() {
            return invalid("its name or its audience is empty");
        }
        if settings.roles.is_empty() && settings.role_prefix.is_empty() {
            return invalid("nothing says what its claims mean: give `roles` or `role_prefix`");
        }
        if !matches!(settings.kind, PrincipalKind::User | PrincipalKind::Service) {
            return invalid("its tokens are for users or for services");
        }
        Ok(Self { settings: settings.clone(), keys: Vec::new(), fetched_s: None })
    }

    /// The same provider with these keys.
    pub(super) fn with_keys(&self, keys: &ProviderKeys) -> Self {
        let OidcProvider { issuer, audience, .. } = &self.settings;
        let trusted = keys.usable().map(|(key_id, algorithm, key, _)| {
            let mut validation = Validation::new(algorithm);
            validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            validation.set_issuer(&[issuer]);
            validation.set_audience(&[audience]);
            validation.validate_exp = false;
            validation.validate_nbf = false;
            TrustedKey { key_id: key_id.to_owned(), issuer: issuer.clone(), algorithm, key, validation }
        });
        Self { settings: self.settings.clone(), keys: trusted.collect(), fetched_s: Some(keys.fetched_s) }
    }

    /// Seconds since the key set was read.
    pub(super) fn age_s(&self, now_s: i64) -> Option<u64> {
        self.fetched_s.map(|fetched_s| u64::try_from(now_s.saturating_sub(fetched_s)).unwrap_or(0))
    }

    /// Whether an unknown key may be a new one that this device could not read yet.
    pub(super) fn may_lack_keys(&self, now_s: i64) -> bool {
        self.age_s(now_s).is_none_or(|age_s| age_s > self.settings.refresh.as_secs())
    }

    /// Whether the keys are too old to be believed.
    pub(super) fn is_too_old(&self, now_s: i64) -> bool {
        let age_s = self.age_s(now_s).unwrap_or(u64::MAX);
        self.settings.max_offline.is_some_and(|most| age_s > most.as_secs())
    }

    /// The roles that verified claims give.
    pub(super) fn roles(&self, claims: &Map<String, Value>) -> Result<Vec<String>, Unidentified> {
        let settings = &self.settings;
        if let Some(tenant) = &settings.tenant
            && claims.get("tid").and_then(Value::as_str) != Some(tenant)
        {
            return Err(Unidentified::new("token_tenant", "the token is by another tenant (`tid`) of its provider"));
        }
        let party = claims.get("azp").or_else(|| claims.get("appid")).and_then(Value::as_str);
        let parties = &settings.authorized_parties;
        if !parties.is_empty() && !party.is_some_and(|party| parties.iter().any(|listed| listed == party)) {
            return Err(Unidentified::new("token_party", "the token was given to a client (`azp`) that may not call"));
        }
        let claim = &settings.roles_claim;
        let elsewhere = claims.get("_claim_names").and_then(Value::as_object);
        if elsewhere.is_some_and(|names| names.contains_key(claim)) {
            let message = "the token has more groups than fit and names where to ask, which this device does not do: \
                           use app roles, or groups assigned to the application";
            return Err(Unidentified::new("token_groups_overage", message));
        }
        let mut roles: Vec<String> = Vec::new();
        for value in texts(find(claims, claim)).take(CLAIMED_ROLES) {
            let mapped = settings.roles.get(value).into_iter().flatten().map(String::as_str);
            let prefix = settings.role_prefix.as_str();
            let named =
                (!prefix.is_empty()).then(|| value.strip_prefix(prefix)).flatten().filter(|role| !role.is_empty());
            for role in mapped.chain(named) {
                if !roles.iter().any(|known| known == role) {
                    roles.push(role.to_owned());
                }
            }
        }
        Ok(roles)
    }
}

/// A claim by its whole name, or else by the way into nested objects.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(whole) = claims.get(name) {
        return Some(whole);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// The texts of a list, or the words of one text, as in `scp`.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    list.chain(value.and_then(Value::as_str).into_iter().flat_map(str::split_ascii_whitespace))
}
