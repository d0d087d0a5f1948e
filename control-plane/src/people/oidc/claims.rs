//! What verified claims mean here: the name of a person, and their roles.

use serde_json::Value;

use super::id_token::Claims;
use crate::config::OidcSettings;
use crate::people::{check_name, check_roles};

/// Most values of a claim that are looked at.
const MOST_VALUES: usize = 256;

/// Most roles of a person.
const MOST_ROLES: usize = 32;

/// Somebody for whom the provider vouches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vouched {
    pub(crate) issuer: String,
    /// The provider's own name for them, which never changes.
    pub(crate) subject: String,
    /// Their name here.
    pub(crate) name: String,
    /// May be none.
    pub(crate) roles: Vec<String>,
}

impl Vouched {
    /// Whom these claims are about.
    pub(super) fn read(claims: &Claims, settings: &OidcSettings) -> Result<Self, String> {
        let OidcSettings { issuer, name_claim, .. } = settings;
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        let name = find(claims, name_claim).and_then(Value::as_str);
        let name =
            name.ok_or_else(|| format!("the token has no `{name_claim}` for a name; `name_claim` chooses another"))?;
        // Whoever types an address themselves is not vouched for by it.
        if name_claim == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
            return Err("the provider has not verified the address (`email_verified`)".to_owned());
        }
        let name = name.to_ascii_lowercase();
        check_name(&name).map_err(|error| error.to_string())?;
        Ok(Self { issuer: issuer.clone(), subject: subject.to_owned(), name, roles: roles(claims, settings)? })
    }
}

fn roles(claims: &Claims, settings: &OidcSettings) -> Result<Vec<String>, String> {
    let OidcSettings { roles_claim, role_prefix, roles: by_value, .. } = settings;
    let elsewhere = claims.get("_claim_names").and_then(Value::as_object);
    if elsewhere.is_some_and(|names| names.contains_key(roles_claim)) {
        return Err(
            "the token has more groups than fit, and names where to ask: use roles of the application".to_owned()
        );
    }
    let mut roles: Vec<String> = Vec::new();
    for value in texts(find(claims, roles_claim)).take(MOST_VALUES) {
        let mapped = by_value.get(value).into_iter().flatten().map(String::as_str);
        let named = (!role_prefix.is_empty()).then(|| value.strip_prefix(role_prefix.as_str())).flatten();
        for role in mapped.chain(named).map(str::to_owned) {
            let is_role = check_roles(std::slice::from_ref(&role)).is_ok();
            if is_role && !roles.contains(&role) && roles.len() < MOST_ROLES {
                roles.push(role);
            }
        }
    }
    Ok(roles)
}

/// A claim by its whole name, or else by the way into nested objects.
fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    if let Some(whole) = claims.get(name) {
        return Some(whole);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// The texts of a list, or the words of one text.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    list.chain(value.and_then(Value::as_str).into_iter().flat_map(str::split_ascii_whitespace))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn settings(more: &str) -> OidcSettings {
        toml::from_str(&format!("issuer = \"https://login.example\"\nclient_id = \"outpost\"\n{more}")).unwrap()
    }

    fn read(claims: Value, more: &str) -> Result<Vouched, String> {
        Vouched::read(claims.as_object().unwrap(), &settings(more))
    }

    #[test]
    fn roles_come_from_the_claim_by_the_table_or_by_the_prefix_and_from_nothing_else() {
        let table =
            "roles_claim = \"realm.groups\"\nrole_prefix = \"op-\"\n[roles]\nadmins = [\"administrator\", \"auditor\"]";
        let claims = |groups: Value| json!({ "sub": "1", "preferred_username": "Ada", "realm": { "groups": groups } });
        let vouched =
            read(claims(json!(["admins", "op-viewer", "operator", "op-", "op-No", "admins", 7])), table).unwrap();
        assert_eq!((vouched.name.as_str(), vouched.subject.as_str()), ("ada", "1"));
        assert_eq!(vouched.roles, ["administrator", "auditor", "viewer"]);
        assert_eq!(read(claims(json!("op-viewer op-auditor")), table).unwrap().roles, ["viewer", "auditor"]);
        assert_eq!(read(claims(json!({ "op-viewer": true })), table).unwrap().roles, Vec::<String>::new());
        let elsewhere = json!({ "sub": "1", "preferred_username": "ada", "_claim_names": { "groups": "src1" } });
        assert!(read(elsewhere, "roles_claim = \"groups\"").unwrap_err().contains("more groups than fit"));
    }

    #[test]
    fn a_name_is_one_of_ours_and_an_address_was_verified() {
        for name in ["administrator", "local:root", "a b", "", "ada\n", "ädä"] {
            assert!(read(json!({ "sub": "1", "preferred_username": name }), "").is_err(), "{name}");
        }
        assert!(read(json!({ "sub": "1" }), "").unwrap_err().contains("preferred_username"));
        let by_mail = |verified: Value| json!({ "sub": "1", "email": "Ada@a.example", "email_verified": verified });
        assert_eq!(read(by_mail(json!(true)), "name_claim = \"email\"").unwrap().name, "ada@a.example");
        for verified in [json!(false), json!("true"), Value::Null] {
            assert!(read(by_mail(verified), "name_claim = \"email\"").is_err());
        }
    }

    proptest! {
        #[test]
        fn whatever_is_claimed_gives_roles_of_a_plain_form_or_none(
            groups in proptest::collection::vec("\\PC{0,40}|op-[a-z]{1,40}", 0..300),
        ) {
            let claims = json!({ "sub": "1", "preferred_username": "ada", "roles": groups });
            let vouched = read(claims, "role_prefix = \"op-\"").unwrap();
            prop_assert!(vouched.roles.len() <= MOST_ROLES);
            prop_assert!(vouched.roles.is_empty() || check_roles(&vouched.roles).is_ok());
        }
    }
}
