//! Beginnings of prompts that were computed before: whole pages of keys and values, found by the tokens they stand for.
//!
//! ```text
//! scope ──► page of tokens 0–31 ──► page of tokens 32–63 ──► …      (a tree: beginnings that differ later share what is equal)
//! ```
//! A page is found only by the same tokens behind the same pages in the same scope, compared as they are and not by a hash,
//! so no caller ever gets, or learns by its speed of, what another one has sent.

use std::collections::HashMap;

use crate::session::{PAGE_TOKENS, Page};

/// Names a page of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Node(u64);

/// The tokens of a page, behind another.
type Place = (Node, [u32; PAGE_TOKENS]);

/// The pages of one engine.
#[derive(Debug, Default)]
pub(super) struct PrefixCache {
    scopes: HashMap<String, Node>,
    nodes: HashMap<Place, Kept>,
    next: u64,
    /// Counts looks, so that the page nobody looked at for longest can be told.
    clock: u64,
}

#[derive(Debug)]
struct Kept {
    node: Node,
    /// One of each group of layers.
    pages: Vec<Page>,
    /// Pages behind this one.
    behind: u32,
    last_used: u64,
}

impl Kept {
    /// Bytes that would be free if this page were forgotten: those that no session holds too.
    fn alone_bytes(&self) -> u64 {
        self.pages.iter().filter(|page| std::sync::Arc::strong_count(page) == 1).map(|page| page.len() as u64).sum()
    }
}

impl PrefixCache {
    /// Where a scope's pages begin.
    pub(super) fn root(&mut self, scope: &str) -> Node {
        if let Some(root) = self.scopes.get(scope) {
            return *root;
        }
        let root = self.fresh();
        self.scopes.insert(scope.to_owned(), root);
        root
    }

    /// The pages that stand for the begin of these tokens, and the last one's name.
    pub(super) fn find(&mut self, scope: &str, tokens: &[u32]) -> (Node, Vec<Vec<Page>>) {
        self.clock += 1;
        let mut last = self.root(scope);
        let mut found = Vec::new();
        for tokens in tokens.as_chunks::<PAGE_TOKENS>().0 {
            let Some(kept) = self.nodes.get_mut(&(last, *tokens)) else { break };
            kept.last_used = self.clock;
            last = kept.node;
            found.push(kept.pages.clone());
        }
        (last, found)
    }

    /// Keeps pages that stand for these tokens behind others; gives their name.
    pub(super) fn keep(&mut self, behind: Node, tokens: [u32; PAGE_TOKENS], pages: Vec<Page>) -> Node {
        self.clock += 1;
        if let Some(kept) = self.nodes.get_mut(&(behind, tokens)) {
            kept.last_used = self.clock;
            return kept.node;
        }
        let node = self.fresh();
        if let Some(before) = self.nodes.values_mut().find(|kept| kept.node == behind) {
            before.behind += 1;
        }
        self.nodes.insert((behind, tokens), Kept { node, pages, behind: 0, last_used: self.clock });
        node
    }

    /// Bytes that only this cache holds.
    pub(super) fn alone_bytes(&self) -> u64 {
        self.nodes.values().map(Kept::alone_bytes).sum()
    }

    /// Forgets what was used longest ago until at most so many bytes are this cache's alone.
    pub(super) fn shrink(&mut self, to_bytes: u64) {
        let mut bytes = self.alone_bytes();
        while bytes > to_bytes {
            // Only the last pages of a branch: those before it would leave it unreachable.
            let ends = self.nodes.iter().filter(|(_, kept)| kept.behind == 0);
            let Some(place) = ends.min_by_key(|(_, kept)| kept.last_used).map(|(place, _)| *place) else { return };
            let Some(forgotten) = self.nodes.remove(&place) else { return };
            bytes -= forgotten.alone_bytes();
            if let Some(before) = self.nodes.values_mut().find(|kept| kept.node == place.0) {
                before.behind -= 1;
            }
        }
        if self.nodes.is_empty() {
            self.scopes.clear();
        }
    }

    fn fresh(&mut self) -> Node {
        self.next += 1;
        Node(self.next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pages(size: usize) -> Vec<Page> {
        vec![Arc::new(vec![0; size])]
    }

    fn tokens(pages: u32, from: u32) -> Vec<u32> {
        (0..pages * PAGE_TOKENS as u32).map(|at| from + at).collect()
    }

    fn fill(cache: &mut PrefixCache, scope: &str, tokens: &[u32]) {
        let mut last = cache.root(scope);
        for tokens in tokens.as_chunks::<PAGE_TOKENS>().0 {
            last = cache.keep(last, *tokens, pages(100));
        }
    }

    #[test]
    fn a_beginning_is_found_as_far_as_it_is_the_same_and_in_its_own_scope_only() {
        let mut cache = PrefixCache::default();
        fill(&mut cache, "one", &tokens(3, 0));
        assert_eq!(cache.find("one", &tokens(3, 0)).1.len(), 3);
        assert_eq!(cache.find("one", &tokens(2, 0)).1.len(), 2);
        let mut other_end = tokens(3, 0);
        other_end[70] += 1;
        assert_eq!(cache.find("one", &other_end).1.len(), 2);
        // The same tokens behind others are another page.
        assert_eq!(cache.find("one", &tokens(3, 0)[PAGE_TOKENS..]).1.len(), 0);
        assert_eq!(cache.find("two", &tokens(3, 0)).1.len(), 0);
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_never_a_page_that_others_stand_behind() {
        let mut cache = PrefixCache::default();
        fill(&mut cache, "one", &tokens(2, 0));
        fill(&mut cache, "one", &tokens(2, 5_000));
        cache.find("one", &tokens(2, 0));
        cache.shrink(300);
        assert_eq!(cache.find("one", &tokens(2, 0)).1.len(), 2);
        assert_eq!(cache.find("one", &tokens(2, 5_000)).1.len(), 1);
        cache.shrink(0);
        assert_eq!(cache.alone_bytes(), 0);
        assert!(cache.nodes.is_empty() && cache.scopes.is_empty());
    }

    #[test]
    fn pages_that_a_session_holds_cost_the_cache_nothing() {
        let mut cache = PrefixCache::default();
        fill(&mut cache, "one", &tokens(1, 0));
        let (_, held) = cache.find("one", &tokens(1, 0));
        assert_eq!(cache.alone_bytes(), 0);
        drop(held);
        assert_eq!(cache.alone_bytes(), 100);
    }
}
