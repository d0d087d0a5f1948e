//! The `Range` header (RFC 9110, section 14): one range of bytes; whatever else it says, the whole is sent.

/// What of a file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requested {
    /// All of it.
    Whole,
    /// So many bytes (one at least) from `first`, all inside the file.
    Part { first: u64, bytes: u64 },
    /// Bytes that are not there.
    Nothing,
}

/// Reads the header's value, if there is one, against a file of `length` bytes.
pub(crate) fn requested(range: Option<&str>, length: u64) -> Requested {
    let Some(spec) = range.and_then(|range| range.trim().strip_prefix("bytes=")) else { return Requested::Whole };
    // Several ranges may be answered with the whole; nobody here asks for them.
    let Some((first, last)) = spec.trim().split_once('-').filter(|_| !spec.contains(',')) else {
        return Requested::Whole;
    };
    let part = |first: u64, last: u64| {
        let last = last.min(length.saturating_sub(1));
        if first <= last && first < length {
            Requested::Part { first, bytes: last - first + 1 }
        } else {
            Requested::Nothing
        }
    };
    match (number(first), number(last), first.is_empty(), last.is_empty()) {
        (Some(first), Some(last), ..) if first <= last => part(first, last),
        (Some(first), _, _, true) => part(first, u64::MAX),
        // The last so many bytes.
        (_, Some(0), true, _) => Requested::Nothing,
        (_, Some(suffix), true, _) => part(length.saturating_sub(suffix), u64::MAX),
        _ => Requested::Whole,
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_range_is_honoured_and_anything_else_brings_the_whole_or_nothing() {
        let part = |first, bytes| Requested::Part { first, bytes };
        for (range, expected) in [
            (None, Requested::Whole),
            (Some("bytes=0-99"), part(0, 100)),
            (Some("bytes=999-"), part(999, 1)),
            (Some("bytes=0-0"), part(0, 1)),
            (Some("bytes=500-5000"), part(500, 500)),
            (Some("bytes=-10"), part(990, 10)),
            (Some("bytes=-5000"), part(0, 1000)),
            (Some("bytes=1000-"), Requested::Nothing),
            (Some("bytes=1000-2000"), Requested::Nothing),
            (Some("bytes=-0"), Requested::Nothing),
            (Some("bytes=5-4"), Requested::Whole),
            (Some("bytes=0-1,5-6"), Requested::Whole),
            (Some("bytes=+1-2"), Requested::Whole),
            (Some("bytes=-"), Requested::Whole),
            (Some("bytes="), Requested::Whole),
            (Some("items=0-1"), Requested::Whole),
            (Some("bytes=99999999999999999999-"), Requested::Whole),
        ] {
            assert_eq!(requested(range, 1000), expected, "{range:?}");
        }
        assert_eq!(requested(Some("bytes=0-"), 0), Requested::Nothing);
    }

    proptest! {
        #[test]
        fn any_text_is_answered_with_bytes_inside_the_file(text in "(bytes=)?.{0,30}", length in any::<u64>()) {
            if let Requested::Part { first, bytes } = requested(Some(&text), length) {
                prop_assert!(bytes >= 1 && first.checked_add(bytes).is_some_and(|end| end <= length));
            }
        }

        #[test]
        fn a_written_range_comes_back_cut_to_the_file(first in 0u64..2000, more in 0u64..2000, length in 1u64..1000) {
            let got = requested(Some(&format!("bytes={first}-{}", first + more)), length);
            let expected = if first < length {
                Requested::Part { first, bytes: (more + 1).min(length - first) }
            } else {
                Requested::Nothing
            };
            prop_assert_eq!(got, expected);
        }
    }
}
