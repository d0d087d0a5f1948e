//! The invariants between crates, each by its name, held over cargo's own graph and over the sources.

use crate::graph::Graph;
use crate::source::{Source, root, sources};

/// One rule that no change may break.
struct Invariant {
    /// As it is written, and as a failure names it.
    name: &'static str,
    /// Where a reader finds it.
    written_in: &'static str,
    /// Every place that breaks it, one line each.
    broken_by: fn(&Graph, &[Source]) -> Vec<String>,
}

const README: &str = "README.md, section `Invariants`";

const INVARIANTS: &[Invariant] = &[
    Invariant {
        name: "who may import whom",
        written_in: "tests/repo/layers.rs, table `ARROWS`",
        broken_by: |graph, _| foreign_arrows(graph),
    },
    Invariant {
        name: "`engine` knows no HTTP, MQTT, policy or tokio",
        written_in: README,
        broken_by: |graph, _| comes_along(graph, &["outpost-engine"], &[NETWORK, ASYNCHRONOUS, POLICY].concat()),
    },
    Invariant {
        name: "Only `engine` names candle",
        written_in: README,
        broken_by: |graph, sources| {
            let mut broken = depends(graph, &["outpost-engine"], |name| name.starts_with("candle"));
            broken.extend(named_outside(sources, "candle", |path| path.starts_with("agent/engine/")));
            broken
        },
    },
    Invariant {
        name: "only `link.rs` files name rumqttc",
        written_in: README,
        broken_by: |graph, sources| {
            let mut broken = depends(graph, &["outpost-sync", "outpost-control"], |name| name == "rumqttc");
            broken.extend(named_outside(sources, "rumqttc", |path| path.ends_with("/link.rs")));
            broken
        },
    },
    Invariant {
        name: "only `serve` and `control-plane/src` name axum",
        written_in: README,
        broken_by: |graph, sources| {
            let mut broken = depends(graph, &["outpost-serve", "outpost-control"], |name| name == "axum");
            let allowed = |path: &str| path.starts_with("agent/serve/") || path.starts_with("control-plane/src/");
            broken.extend(named_outside(sources, "axum", allowed));
            broken
        },
    },
    Invariant {
        name: "only `probe` reads `/proc` and `/sys`",
        written_in: README,
        broken_by: |graph, sources| {
            let mut broken = depends(graph, &["outpost-probe"], |name| name == "sysinfo");
            for kernel_path in ["\"/proc", "\"/sys/", "\"/sys\""] {
                broken.extend(named_outside(sources, kernel_path, |path| path.starts_with("agent/probe/")));
            }
            broken
        },
    },
    Invariant {
        name: "`contract`, `policies`, `planner`, `rollout`, `selector` are pure",
        written_in: README,
        broken_by: |graph, sources| {
            let pure =
                ["outpost-contract", "outpost-policies", "outpost-planner", "outpost-rollout", "outpost-selector"];
            let mut broken = comes_along(graph, &pure, &[NETWORK, ASYNCHRONOUS, &["rusqlite"]].concat());
            let folders = [
                "control-plane/contract/src/",
                "control-plane/rollout/src/",
                "control-plane/selector/src/",
                "policies/src/",
                "agent/planner/src/",
            ];
            for word in ["std::fs", "std::net", "std::env", "std::process", "std::thread", "SystemTime", "Instant::now"]
            {
                let outside = |path: &str| !folders.iter().any(|folder| path.starts_with(folder));
                broken.extend(named_outside(sources, word, outside));
            }
            broken
        },
    },
    Invariant {
        name: "Audit records never come from the tracing pipeline",
        written_in: README,
        broken_by: |graph, _| {
            let programs = ["outpost-agent", "outpost-control"];
            depends(graph, &programs, |name| matches!(name, "tracing-subscriber" | "tracing-appender"))
        },
    },
];

/// Who may import whom; `outpost-tests` may import everything. What is not here is a leaf.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "outpost-agent",
        &[
            "outpost-audit",
            "outpost-contract",
            "outpost-disk",
            "outpost-engine",
            "outpost-hub",
            "outpost-planner",
            "outpost-policies",
            "outpost-probe",
            "outpost-serve",
            "outpost-store",
            "outpost-supervisor",
            "outpost-sync",
            "outpost-trust",
            "outpost-update",
        ],
    ),
    ("outpost-audit", &["outpost-disk"]),
    (
        "outpost-control",
        &[
            "outpost-audit",
            "outpost-contract",
            "outpost-hub",
            "outpost-metrics",
            "outpost-planner",
            "outpost-policies",
            "outpost-rollout",
            "outpost-selector",
            "outpost-supervisor",
            "outpost-trust",
        ],
    ),
    ("outpost-hub", &["outpost-contract", "outpost-disk"]),
    ("outpost-planner", &["outpost-contract"]),
    ("outpost-probe", &["outpost-contract", "outpost-engine"]),
    ("outpost-rollout", &["outpost-contract"]),
    ("outpost-serve", &["outpost-audit", "outpost-metrics", "outpost-policies"]),
    ("outpost-store", &["outpost-contract", "outpost-disk"]),
    ("outpost-sync", &["outpost-contract", "outpost-disk", "outpost-trust"]),
    ("outpost-trust", &["outpost-contract"]),
    ("outpost-update", &["outpost-contract", "outpost-disk"]),
];

/// Packages that speak to a network.
const NETWORK: &[&str] =
    &["axum", "h2", "hyper", "hyper-util", "reqwest", "rmqtt", "rumqttc", "rustls", "tiny_http", "ureq"];
const ASYNCHRONOUS: &[&str] = &["async-std", "smol", "tokio"];
const POLICY: &[&str] = &["cedar-policy", "outpost-policies"];

/// The whole test: a text for each broken invariant, with its name, where it is written and what breaks it.
fn broken(graph: &Graph, sources: &[Source]) -> Vec<String> {
    let texts = INVARIANTS.iter().filter_map(|invariant| {
        let by = (invariant.broken_by)(graph, sources);
        (!by.is_empty()).then(|| {
            format!("broken: {}\n  written in {}\n  by {}", invariant.name, invariant.written_in, by.join("\n  by "))
        })
    });
    texts.collect()
}

fn foreign_arrows(graph: &Graph) -> Vec<String> {
    let is_tests = |package: &str| package == "outpost-tests";
    let mut broken = Vec::new();
    for package in graph.members.keys().filter(|package| !is_tests(package)) {
        let allowed = ARROWS.iter().find(|(from, _)| from == package).map_or(&[][..], |(_, to)| to);
        let ours = graph.direct(package).filter(|to| graph.members.contains_key(*to) || to.starts_with("outpost-"));
        broken.extend(ours.filter(|to| !allowed.contains(to)).map(|to| format!("`{package}` imports `{to}`")));
    }
    broken
}

/// Members, beside the allowed ones and the tests, that depend directly on what is forbidden to them.
fn depends(graph: &Graph, allowed: &[&str], forbidden: impl Fn(&str) -> bool) -> Vec<String> {
    let others =
        graph.members.keys().filter(|package| *package != "outpost-tests" && !allowed.contains(&package.as_str()));
    others
        .flat_map(|package| graph.direct(package).map(move |on| (package, on)))
        .filter(|(_, on)| forbidden(on))
        .map(|(package, on)| format!("`{package}` depends on `{on}` in its Cargo.toml"))
        .collect()
}

/// Forbidden packages that come along with some of ours, however far down.
fn comes_along(graph: &Graph, packages: &[&str], forbidden: &[&str]) -> Vec<String> {
    let along = packages.iter().flat_map(|package| graph.all(package).into_iter().map(move |on| (package, on)));
    along
        .filter(|(_, on)| forbidden.contains(on))
        .map(|(package, on)| format!("`{on}` comes along with `{package}`"))
        .collect()
}

/// Product code outside the allowed files that names a word.
fn named_outside(sources: &[Source], word: &str, allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let outside = sources.iter().filter(|source| source.is_product() && !allowed(&source.path));
    let naming = outside.flat_map(|source| {
        let code = product_part(source);
        let lines: Vec<_> =
            code.lines().enumerate().filter(|(_, line)| line.contains(word)).map(|(at, _)| at).collect();
        lines.into_iter().map(move |_| source.path.clone())
    });
    let mut files: Vec<_> = naming.collect();
    files.dedup();
    files.into_iter().map(|path| format!("`{path}` names `{}`", word.trim_matches('"'))).collect()
}

/// The code before the tests at the end of the file.
fn product_part(source: &Source) -> String {
    let code = source.code();
    match code.find("#[cfg(test)]\nmod tests {") {
        Some(at) => code[..at].to_owned(),
        None => code,
    }
}

#[test]
fn every_invariant_between_crates_holds() {
    let broken = broken(&Graph::of_this_workspace(), &sources(&[".rs"]));
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn a_layer_that_is_broken_on_purpose_is_named() {
    let whole = Graph::of_this_workspace();
    for (package, on, name) in [
        ("outpost-serve", "candle-core", "Only `engine` names candle"),
        ("outpost-serve", "outpost-engine", "who may import whom"),
        ("outpost-disk", "outpost-contract", "who may import whom"),
        ("outpost-hub", "outpost-store", "who may import whom"),
        ("outpost-engine", "tokio", "`engine` knows no HTTP, MQTT, policy or tokio"),
        ("outpost-store", "rumqttc", "only `link.rs` files name rumqttc"),
        ("outpost-sync", "axum", "only `serve` and `control-plane/src` name axum"),
        ("outpost-planner", "sysinfo", "only `probe` reads `/proc` and `/sys`"),
        ("outpost-planner", "tokio", "`contract`, `policies`, `planner`, `rollout`, `selector` are pure"),
        ("outpost-audit", "tracing-subscriber", "Audit records never come from the tracing pipeline"),
    ] {
        let mut graph = whole.clone();
        graph.add(package, [on.to_owned()]);
        let broken = broken(&graph, &[]);
        let named = broken.iter().any(|text| text.contains(name) && text.contains(package) && text.contains(on));
        assert!(named, "`{package}` → `{on}` must break `{name}`, found: {broken:?}");
    }
}

#[test]
fn a_word_in_the_wrong_file_is_named_and_in_the_right_one_or_in_a_comment_is_not() {
    let broken_by = |path: &str, text: &str| broken(&Graph::default(), &[Source::new(path, text)]).join("\n");
    assert!(broken_by("agent/serve/src/a.rs", "use candle_core::Tensor;").contains("Only `engine` names candle"));
    assert!(broken_by("agent/sync/src/a.rs", "use rumqttc::v5;").contains("only `link.rs` files name rumqttc"));
    assert!(
        broken_by("agent/src/a.rs", "use axum::Router;").contains("only `serve` and `control-plane/src` name axum")
    );
    assert!(broken_by("agent/disk/src/a.rs", "read(\"/proc/meminfo\")").contains("only `probe` reads"));
    assert!(broken_by("agent/planner/src/a.rs", "use std::fs;").contains("are pure"));
    for (path, text) in [
        ("agent/engine/src/a.rs", "use candle_core::Tensor;"),
        ("agent/sync/src/link.rs", "use rumqttc::v5;"),
        ("control-plane/src/link.rs", "use rumqttc::v5;"),
        ("agent/serve/src/a.rs", "// the engine knows candle, we do not"),
        ("agent/planner/src/a.rs", "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }"),
        ("agent/planner/src/tests.rs", "use std::fs;"),
    ] {
        assert_eq!(broken_by(path, text), "", "{path}: {text}");
    }
}

#[test]
fn every_invariant_that_the_readme_is_said_to_hold_stands_there() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    for invariant in INVARIANTS.iter().filter(|invariant| invariant.written_in == README) {
        let words = invariant.name;
        assert!(readme.contains(words), "`{words}` is checked but not written in README.md");
    }
}
