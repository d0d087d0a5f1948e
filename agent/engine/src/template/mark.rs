//! Keeps what a person typed from becoming a special token, whatever the template does with it.
//!
//! Every special token begins with one of a few characters. Where a person's text spells a token, its first character is
//! replaced by a stand-in, one for one, so that lengths and places stay what they are; stand-ins occur in nothing that the
//! template is told, and are turned back in the text that comes out. A template that takes texts apart could still put a
//! token together that was nowhere spelled out. So a conversation that holds any of those first characters is rendered
//! twice, the second time with all of them replaced: in that rendering no token can begin with what a person typed. If both
//! write the same tokens the first one stands, else the second.

use super::{Job, Piece};
use crate::tokenizer::special::{Part, Specials};

/// Noncharacters of Unicode, which no honest text holds, then private characters, for a text that holds them all.
fn candidates() -> impl Iterator<Item = char> {
    ('\u{FDD0}'..='\u{FDEF}').chain('\u{F0000}'..='\u{FFFFD}')
}

/// Whether a character may be a stand-in, and so is to be written as it is where others are escaped.
pub(super) fn is_stand_in(character: char) -> bool {
    ('\u{FDD0}'..='\u{FDEF}').contains(&character)
}

/// How one conversation is protected.
#[derive(Debug)]
pub(super) struct Guard<'specials> {
    specials: &'specials Specials,
    /// First characters of tokens, in all their cases, with the stand-in of each.
    stand_ins: Vec<(char, char)>,
}

impl<'specials> Guard<'specials> {
    /// A guard for a job; none where nothing that the template is told could begin a token.
    pub(super) fn new(job: &Job, source: &str, specials: &'specials Specials) -> Option<Self> {
        let mut firsts: Vec<char> = specials.texts().filter_map(|text| text.chars().next()).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let is_first = |character| firsts.binary_search(&character).is_ok();
        let (mut found, mut taken) = (Vec::new(), std::collections::HashSet::new());
        job.each_text(&mut |text| {
            for character in text.chars() {
                let mut cases = character.to_lowercase().chain(character.to_uppercase()).chain([character]);
                if cases.any(|case| is_first(case) || case.to_lowercase().chain(case.to_uppercase()).any(is_first))
                    && !found.contains(&character)
                {
                    found.push(character);
                }
                if is_stand_in(character) || character >= '\u{F0000}' {
                    taken.insert(character);
                }
            }
        });
        taken.extend(source.chars().chain(specials.texts().flat_map(str::chars)).filter(|taken| *taken >= '\u{FDD0}'));
        let free = candidates().filter(|candidate| !taken.contains(candidate));
        (!found.is_empty()).then(|| Self { specials, stand_ins: found.into_iter().zip(free).collect() })
    }

    /// The job in which no text spells a token.
    pub(super) fn broken(&self, job: &Job) -> Job {
        job.map_text(&|text| {
            let begins = |at: usize| self.specials.begins(&text.as_bytes()[at..]);
            text.char_indices()
                .map(|(at, character)| if begins(at) { self.stand_in(character) } else { character })
                .collect()
        })
    }

    /// The job in which no text holds a character that a token begins with.
    pub(super) fn blank(&self, job: &Job) -> Job {
        job.map_text(&|text| text.chars().map(|character| self.stand_in(character)).collect())
    }

    /// The pieces of a rendering of either job, stand-ins turned back.
    pub(super) fn cut(&self, text: &str) -> Vec<Piece> {
        let back = |character| {
            self.stand_ins.iter().find(|(_, stand_in)| *stand_in == character).map_or(character, |(own, _)| *own)
        };
        cut(text, self.specials, &|text| text.chars().map(back).collect())
    }

    fn stand_in(&self, character: char) -> char {
        self.stand_ins.iter().find(|(own, _)| *own == character).map_or(character, |(_, stand_in)| *stand_in)
    }
}

/// Cuts a text at its special tokens.
pub(super) fn cut(text: &str, specials: &Specials, clean: &dyn Fn(&str) -> String) -> Vec<Piece> {
    let piece = |part| match part {
        Part::Special(id) => Piece::Special(id),
        Part::Text(text) => Piece::Text(clean(text)),
    };
    specials.split(text).into_iter().map(piece).collect()
}

/// Whether two renderings write the same special tokens in the same order.
pub(super) fn agree(one: &[Piece], other: &[Piece]) -> bool {
    let tokens = |pieces: &[Piece]| -> Vec<u32> {
        let token = |piece: &Piece| match piece {
            Piece::Special(id) => Some(*id),
            Piece::Text(_) => None,
        };
        pieces.iter().filter_map(token).collect()
    };
    tokens(one) == tokens(other)
}
