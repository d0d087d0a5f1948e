//! Caches and the nodes of memory: what a measured buffer must exceed, and what lies how far from which core.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::{CacheFacts, NodeFacts};

use crate::tree::{Tree, parse_line, parse_set, shown};

/// The caches of the processors that this process may use, the nearest first.
pub(crate) fn caches(tree: &Tree, allowed: &BTreeSet<u32>) -> Vec<CacheFacts> {
    // A cache is known by the processors that share it.
    let mut found: BTreeMap<(u8, String, u64), BTreeSet<BTreeSet<u32>>> = BTreeMap::new();
    for cpu in allowed {
        let folder = format!("sys/devices/system/cpu/cpu{cpu}/cache");
        for index in tree.numbers(&folder, "index") {
            let read = |name: &str| tree.text(&format!("{folder}/index{index}/{name}"));
            let level = read("level").and_then(|text| text.trim().parse().ok());
            let (Some(level), Some(bytes)) = (level, read("size").as_deref().and_then(parse_size)) else { continue };
            let kind = read("type").and_then(|text| shown(&text)).unwrap_or_default().to_lowercase();
            let shared = read("shared_cpu_list").as_deref().and_then(parse_set).unwrap_or_default();
            let shared = if shared.contains(cpu) { shared } else { [*cpu].into() };
            found.entry((level, kind, bytes)).or_default().insert(shared);
        }
    }
    let facts = |((level, kind, bytes), all): (_, BTreeSet<_>)| {
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        CacheFacts { level, kind, bytes, count }
    };
    found.into_iter().map(facts).collect()
}

/// `32K`, `32768K`, `1M`, or bytes.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix('K') {
        Some(number) => (number, 1 << 10),
        None => text.strip_suffix('M').map_or((text, 1), |number| (number, 1 << 20)),
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

/// The nodes of memory.
pub(crate) fn nodes(tree: &Tree) -> Vec<NodeFacts> {
    let folder = "sys/devices/system/node";
    let read = |number: u32| {
        let threads = tree.set(&format!("{folder}/node{number}/cpulist"))?.len();
        let memory = tree.text(&format!("{folder}/node{number}/meminfo"));
        let kibibytes = memory.and_then(|text| parse_line(&text, &format!("Node {number} MemTotal")));
        Some(NodeFacts {
            number,
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            memory_bytes: kibibytes.and_then(|kibibytes| kibibytes.checked_mul(1_024)),
        })
    };
    tree.numbers(folder, "node").into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use outpost_contract::ProcessorFacts;
    use proptest::prelude::*;

    use super::*;
    use crate::cores::Cores;
    use crate::fixtures::{Fixture, nested_container, raspberry_pi_5, server};

    fn seen(fixture: &Fixture) -> ProcessorFacts {
        let allowed = Cores::read(&fixture.tree()).allowed;
        ProcessorFacts { caches: caches(&fixture.tree(), &allowed), ..ProcessorFacts::default() }
    }

    #[test]
    fn a_cache_counts_once_for_all_who_share_it() {
        let server = seen(&server());
        let all: Vec<_> =
            server.caches.iter().map(|cache| (cache.level, &*cache.kind, cache.bytes >> 10, cache.count)).collect();
        assert_eq!(
            all,
            [(1, "data", 32, 8), (1, "instruction", 32, 8), (2, "unified", 1_024, 8), (3, "unified", 32_768, 2)]
        );
        assert_eq!(server.last_cache_bytes(), Some(64 << 20));
        assert_eq!(seen(&raspberry_pi_5()).last_cache_bytes(), Some(2 << 20));
    }

    #[test]
    fn who_may_run_beside_one_of_two_caches_has_one() {
        assert_eq!(
            seen(&server().file("proc/self/status", "Cpus_allowed_list:\t0-3\n")).last_cache_bytes(),
            Some(32 << 20)
        );
        assert_eq!(seen(&nested_container()).last_cache_bytes(), Some(64 << 20), "it may run beside both");
        assert_eq!(seen(&Fixture::default()).last_cache_bytes(), None);
    }

    #[test]
    fn memory_lies_at_nodes() {
        let nodes = nodes(&server().tree());
        assert_eq!(nodes.iter().map(|node| (node.number, node.threads)).collect::<Vec<_>>(), [(0, 8), (1, 8)]);
        assert_eq!(nodes[1].memory_bytes, Some(64 << 30));
        assert!(super::nodes(&Fixture::default().tree()).is_empty());
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(
            [parse_size("32K\n"), parse_size("2M"), parse_size("512")].map(Option::unwrap),
            [32_768, 2 << 20, 512]
        );
        assert_eq!(
            [parse_size("K"), parse_size("0K"), parse_size("99999999999999999999K"), parse_size("1G")],
            [None; 4]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_bytes_in_any_of_the_files_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), number in any::<u64>()) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            parse_size(&text);
            parse_size(&format!("{number}M"));
            let cache = "sys/devices/system/cpu/cpu0/cache/index0";
            let fixture = Fixture::default()
                .files(cache, &[("level", &(number % 300).to_string()), ("size", &format!("{number}K")), ("type", &text), ("shared_cpu_list", &text)])
                .files("sys/devices/system/node/node0", &[("cpulist", "0"), ("meminfo", &format!("Node 0 MemTotal: {number} kB"))]);
            caches(&fixture.tree(), &[0].into());
            nodes(&fixture.tree());
        }
    }
}
