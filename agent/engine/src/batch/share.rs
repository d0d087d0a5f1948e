//! Who of those whose prompts are being read is next, and how much of each.

/// A prompt that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reader<Id> {
    pub(super) id: Id,
    /// Tokens left.
    pub(super) left: usize,
    /// Passes since anything of it was read.
    pub(super) waited: usize,
}

/// Shares a pass's tokens out: the shortest rest first, so that most answers begin soon; each pass of waiting counts like
/// half a pass less to read, so that the longest prompt is read too.
pub(super) fn share<Id: Copy + Ord>(mut readers: Vec<Reader<Id>>, tokens: usize) -> Vec<(Id, usize)> {
    readers.sort_by_key(|reader| (reader.left.saturating_sub(reader.waited * tokens / 2), reader.id));
    let mut rest = tokens;
    let mut shares = Vec::new();
    for reader in readers {
        let share = reader.left.min(rest);
        rest -= share;
        if share > 0 {
            shares.push((reader.id, share));
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_comes_first_and_what_is_left_goes_to_the_next() {
        let reader = |id, left| Reader { id, left, waited: 0 };
        assert_eq!(share(vec![reader(1, 300), reader(2, 40), reader(3, 50)], 64), [(2, 40), (3, 24)]);
        assert_eq!(share(vec![reader(1, 300)], 64), [(1, 64)]);
        assert!(share(Vec::<Reader<u8>>::new(), 64).is_empty());
    }

    #[test]
    fn a_long_prompt_is_read_in_the_end_though_short_ones_keep_coming() {
        let (mut left, mut waited, mut passes) = (1_000, 0, 0);
        while left > 0 {
            passes += 1;
            let short = Reader { id: 2, left: 64, waited: 0 };
            match share(vec![Reader { id: 1, left, waited }, short], 64).iter().find(|(id, _)| *id == 1) {
                Some((_, share)) => (left, waited) = (left - share, 0),
                None => waited += 1,
            }
            assert!(passes < 1_000, "{left} tokens are never read");
        }
    }
}
