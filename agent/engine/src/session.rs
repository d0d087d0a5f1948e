//! One conversation's memory: the keys and values of the positions that may still be seen, page by page.
//!
//! Pages are made as the conversation grows. Layers that look equally far form a group with pages of its own, since a
//! layer with a window forgets pages that no token will see again. A page that others hold too is copied before it changes.

mod page;

use std::sync::Arc;

pub(crate) use page::PageShape;
pub use page::{KvType, PAGE_TOKENS};

use crate::arch::Figures;
use crate::model::Model;

/// Bytes of one cached key or value element, where nothing else is asked for.
pub const KV_BYTES_PER_ELEMENT: u64 = 2;

/// Tokens of one session that are read together, unless somebody asks for another number.
pub const PASS_TOKENS: usize = 128;

/// Keys and values of 32 positions in all layers of a group.
pub(crate) type Page = Arc<Vec<u8>>;

/// The cache of one conversation. Made for one model and of use with no other.
#[derive(Debug)]
pub struct Session {
    groups: Vec<Group>,
    shape: PageShape,
    /// Which group a layer belongs to, and which of its layers it is.
    places: Vec<(usize, usize)>,
    /// Positions read so far.
    pub(crate) length: usize,
    capacity: usize,
}

/// Layers that look equally far.
#[derive(Debug)]
struct Group {
    window: Option<usize>,
    layers: usize,
    /// Page `p` has the positions from `p · 32`; absent where nothing can be seen any more.
    pages: Vec<Option<Page>>,
}

impl Session {
    /// A conversation of at most so many tokens, in half precision.
    #[must_use]
    pub fn new(model: &Model, context_tokens: usize) -> Self {
        Self::of(model, context_tokens, KvType::default())
    }

    /// A conversation whose keys and values are kept as this type.
    #[must_use]
    pub fn of(model: &Model, context_tokens: usize, kv_type: KvType) -> Self {
        let Figures { kv_heads, key_length, value_length, .. } = *model.figures();
        let mut groups: Vec<Group> = Vec::new();
        let places = model.windows().map(|window| {
            let group = groups.iter().position(|group| group.window == window).unwrap_or_else(|| {
                groups.push(Group { window, layers: 0, pages: Vec::new() });
                groups.len() - 1
            });
            groups[group].layers += 1;
            (group, groups[group].layers - 1)
        });
        let places = places.collect();
        let shape = PageShape { kv_heads, key_length, value_length, kv_type };
        Self { groups, shape, places, length: 0, capacity: context_tokens }
    }

    /// Tokens read so far.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Tokens that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of all pages that it holds, those included that others hold too.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = |group: &Group| group.pages.iter().flatten().map(|page| page.len() as u64).sum::<u64>();
        self.groups.iter().map(bytes).sum()
    }

    /// Bytes of all pages that it holds once so many more tokens are read, at the most.
    pub(crate) fn bytes_with(&self, tokens: usize) -> u64 {
        let bytes = |group: &Group| {
            let first_seen = group.window.map_or(0, |window| (self.length + 1).saturating_sub(window) / PAGE_TOKENS);
            let pages = (self.length + tokens).div_ceil(PAGE_TOKENS).max(group.pages.len()) - first_seen;
            (pages * group.layers * self.shape.layer_bytes()) as u64
        };
        self.groups.iter().map(bytes).sum()
    }

    /// Forgets the conversation.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Takes back all positions from this one on: those of the last pass, or all. What a windowed layer has forgotten
    /// does not come back.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        for group in &mut self.groups {
            group.pages.truncate(self.length.div_ceil(PAGE_TOKENS));
        }
    }

    pub(crate) fn shape(&self) -> PageShape {
        self.shape
    }

    /// Begins with pages that stand for the first tokens of this conversation, one page of each group at a time.
    pub(crate) fn adopt(&mut self, pages: Vec<Vec<Page>>) {
        debug_assert!(self.length == 0, "only a conversation that has not begun adopts a beginning");
        self.length = pages.len() * PAGE_TOKENS;
        for pages in pages {
            for (group, page) in self.groups.iter_mut().zip(pages) {
                group.pages.push(Some(page));
            }
        }
        self.forget();
    }

    /// One page of each group, if none of them was forgotten.
    pub(crate) fn page(&self, index: usize) -> Option<Vec<Page>> {
        self.groups.iter().map(|group| group.pages.get(index)?.clone()).collect()
    }

    /// Makes room for so many more positions, in pages that are this session's alone.
    pub(crate) fn make_room(&mut self, tokens: usize) {
        self.forget();
        let (from, to) = (self.length / PAGE_TOKENS, (self.length + tokens).div_ceil(PAGE_TOKENS));
        for group in &mut self.groups {
            let bytes = group.layers * self.shape.layer_bytes();
            group.pages.resize_with(to.max(group.pages.len()), || None);
            for page in &mut group.pages[from..to] {
                Arc::make_mut(page.get_or_insert_with(|| Arc::new(vec![0; bytes])));
            }
        }
    }

    /// Writes keys (tokens, kv_heads, key_length) and values (tokens, kv_heads, value_length) of the positions that follow
    /// what was read; there must be room.
    pub(crate) fn write(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        let (group, place) = self.places[layer];
        let shape = self.shape;
        let here = place * shape.layer_bytes()..(place + 1) * shape.layer_bytes();
        let keys = keys.chunks_exact(shape.kv_heads * shape.key_length);
        let values = values.chunks_exact(shape.kv_heads * shape.value_length);
        for (position, (key, value)) in (self.length..).zip(keys.zip(values)) {
            let page = self.groups[group].pages[position / PAGE_TOKENS].as_mut().and_then(Arc::get_mut);
            let page = page.expect("`make_room` made this page for this session alone");
            shape.write(&mut page[here.clone()], position % PAGE_TOKENS, key, value);
        }
    }

    /// One layer's part of every page; empty where nothing can be seen any more.
    pub(crate) fn pages<'a>(&'a self, layer: usize) -> impl Fn(usize) -> &'a [u8] + use<'a> {
        let (group, place) = self.places[layer];
        let here = place * self.shape.layer_bytes()..(place + 1) * self.shape.layer_bytes();
        move |page| match &self.groups[group].pages[page] {
            Some(page) => &page[here.clone()],
            None => &[],
        }
    }

    /// Forgets what no later token will see. Not as soon as it could: some of the newest tokens may yet be taken back.
    pub(crate) fn forget(&mut self) {
        for group in &mut self.groups {
            let Some(window) = group.window else { continue };
            let first_seen = (self.length + 1).saturating_sub(window) / PAGE_TOKENS;
            let forgotten = group.pages.iter_mut().take(first_seen).rev();
            forgotten.take_while(|page| page.is_some()).for_each(|page| *page = None);
        }
    }
}

/// Bytes of the pages of a session of so many tokens that reads [`PASS_TOKENS`] at a time.
pub(crate) fn bytes(model: &Model, context_tokens: usize, kv_type: KvType) -> u64 {
    let session = Session::of(model, context_tokens, kv_type);
    let of_group = |group: &Group| {
        let positions = match group.window {
            // What the first of the read tokens sees, and the tokens; either end may lie within a page.
            Some(window) => context_tokens.min(window.saturating_add(PASS_TOKENS + 2 * PAGE_TOKENS)),
            None => context_tokens,
        };
        (positions.div_ceil(PAGE_TOKENS) * group.layers * session.shape.layer_bytes()) as u64
    };
    session.groups.iter().map(of_group).sum()
}
