//! How long a decision takes: `cargo run --release -p outpost-policies --example decision_latency`.
//!
//! The default rules; a bundle of 100, each of which has a condition to be evaluated for `infer`; one of 100 as bundles
//! are, with rules for different roles and acts; the last two with 1,000 models that the bundle knows.
#![allow(clippy::print_stdout, reason = "an example that prints figures")]

use std::time::Instant;

use outpost_policies::{
    Action, Ask, AuthMethod, Bundle, Context, ModelEntry, ModelFacts, Network, Policies, Principal, PrincipalKind,
    Resource,
};

const ROUNDS: usize = 20_000;

fn main() {
    measure("default rules", Bundle::default_bundle());
    measure(
        "100 rules on `infer`",
        with(100, |number| {
            format!(
                "forbid (principal, action == Action::\"infer\", resource)\n\
             when {{ resource.licence == \"licence-{number}\" && context.offline_for > duration(\"{number}h\") }};"
            )
        }),
    );
    measure(
        "100 rules, mixed",
        with(100, |number| {
            let action = Action::ALL[number % Action::ALL.len()].word();
            let role = ["operator", "admin", "auditor"][number % 3];
            format!(
                "forbid (principal in Role::\"{role}\", action == Action::\"{action}\", resource)\n\
             when {{ context.offline_for > duration(\"{}h\") && context.network == Network::\"remote\" }};",
                number + 24
            )
        }),
    );
}

/// The default bundle with more rules, `count` in all, and 1,000 models.
fn with(count: usize, rule: impl Fn(usize) -> String) -> Bundle {
    let mut bundle = Bundle::default_bundle();
    let there = Policies::activate(bundle.clone()).expect("the default bundle activates").rules().count();
    for number in there..count {
        let text = format!("@id(\"more-{number}\") @title(\"t\") @reason(\"r\")\n{}\n", rule(number));
        bundle.policies.insert(format!("more-{number}.cedar"), text);
    }
    let known =
        || ModelEntry { approved: true, approved_until: Some("2027-12-31".to_owned()), ..ModelEntry::default() };
    bundle.models = (0..1000).map(|number| (format!("model-{number}"), known())).collect();
    bundle
}

fn measure(name: &str, bundle: Bundle) {
    let started = Instant::now();
    let entities = bundle.models.len();
    let policies = Policies::activate(bundle).unwrap_or_else(|findings| panic!("{findings:?}"));
    let activation_ms = started.elapsed().as_millis();
    let asks: Vec<Ask> = (0..64).map(ask).collect();
    let mut nanoseconds: Vec<u128> = (0..ROUNDS)
        .map(|round| {
            let started = Instant::now();
            let decision = policies.authorize(&asks[round % asks.len()]);
            let nanoseconds = started.elapsed().as_nanos();
            assert!(decision.is_ok());
            nanoseconds
        })
        .collect();
    nanoseconds.sort_unstable();
    let at = |thousandths: usize| nanoseconds[ROUNDS * thousandths / 1000] as f64 / 1000.0;
    println!(
        "{name}: {} rules, {entities} models, activated in {activation_ms} ms; decision p50 {:.1} µs, p99 {:.1} µs",
        policies.rules().count(),
        at(500),
        at(990)
    );
}

/// Somebody else each time, about another model, at another second.
fn ask(number: u32) -> Ask {
    Ask {
        principal: Principal {
            kind: PrincipalKind::User,
            id: format!("user-{number}"),
            roles: vec!["operator".to_owned()],
        },
        action: Action::Infer,
        resource: Resource::Model(ModelFacts {
            id: format!("model-{number}"),
            licence: "Apache-2.0".to_owned(),
            ..ModelFacts::default()
        }),
        context: Context {
            now_s: 1_796_083_200 + i64::from(number),
            offline_s: u64::from(number),
            policy_age_s: u64::from(number),
            auth_method: AuthMethod::Token,
            network: Network::Loopback,
            max_tokens: Some(256),
            ..Context::default()
        },
    }
}
