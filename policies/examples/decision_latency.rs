//! How long a decision takes: `cargo run --release -p outpost-policies --example decision_latency`.
//!
//! The default rules, and then a bundle of 100, each of which has a condition to be evaluated for `infer`.
#![allow(clippy::print_stdout, reason = "an example that prints figures")]

use std::time::Instant;

use outpost_policies::{
    Action, Ask, AuthMethod, Bundle, Context, Network, Policies, Principal, PrincipalKind, Resource,
};

const ROUNDS: usize = 20_000;

fn main() {
    measure("default rules", Bundle::default_bundle());
    let mut hundred = Bundle::default_bundle();
    let more: String = (hundred_minus(&hundred)..100)
        .map(|number| {
            format!(
                "@id(\"more-{number}\") @title(\"t\") @reason(\"r\")\n\
                 forbid (principal, action == Action::\"infer\", resource)\n\
                 when {{ resource.licence == \"licence-{number}\" && context.offline_for > duration(\"{number}h\") }};\n"
            )
        })
        .collect();
    hundred.policies.insert("more.cedar".to_owned(), more);
    measure("100 rules", hundred);
}

fn hundred_minus(bundle: &Bundle) -> usize {
    Policies::activate(bundle.clone()).expect("the default bundle activates").rules().count()
}

fn measure(name: &str, bundle: Bundle) {
    let started = Instant::now();
    let policies = Policies::activate(bundle).unwrap_or_else(|findings| panic!("{findings:?}"));
    let activation_ms = started.elapsed().as_millis();
    let ask = Ask {
        principal: Principal { kind: PrincipalKind::User, id: "ada".to_owned(), roles: vec!["operator".to_owned()] },
        action: Action::Infer,
        resource: Resource::Model { id: "demo".to_owned(), licence: "Apache-2.0".to_owned() },
        context: Context {
            now_s: 1_796_083_200,
            offline_s: 60,
            policy_age_s: 60,
            auth_method: AuthMethod::Token,
            network: Network::Loopback,
            max_tokens: Some(256),
        },
    };
    let mut nanoseconds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            assert!(policies.authorize(&ask).is_ok());
            started.elapsed().as_nanos()
        })
        .collect();
    nanoseconds.sort_unstable();
    let at = |thousandths: usize| nanoseconds[ROUNDS * thousandths / 1000] as f64 / 1000.0;
    println!(
        "{name}: {} rules, activated in {activation_ms} ms; decision p50 {:.1} µs, p99 {:.1} µs",
        policies.rules().count(),
        at(500),
        at(990)
    );
}
