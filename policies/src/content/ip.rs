//! IPv4 and IPv6 addresses.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::view::{Before, View};

/// The longest text of an address, bytes.
const LONGEST: usize = 45;

pub(super) fn length(view: &View<'_>, before: Before) -> Option<usize> {
    if !before.is_word_start() || matches!(before.last, Some('.' | ':')) {
        return None;
    }
    match view.byte(0)? {
        b'0'..=b'9' => version_4(view).or_else(|| version_6(view)),
        b'a'..=b'f' | b'A'..=b'F' | b':' => version_6(view),
        _ => None,
    }
}

fn version_4(view: &View<'_>) -> Option<usize> {
    let mut run = view.run(0, 16, |byte| byte.is_ascii_digit() || byte == b'.');
    if run > 0 && view.byte(run - 1) == Some(b'.') {
        // The end of a sentence.
        run -= 1;
    }
    let fits = view.slice(0, run)?.parse::<Ipv4Addr>().is_ok() && view.word_ends(run);
    fits.then_some(run)
}

fn version_6(view: &View<'_>) -> Option<usize> {
    let mut run = view.run(0, LONGEST + 1, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    while run > 0 && (view.byte(run - 1) == Some(b'.') || ends_with_single_colon(view, run)) {
        run -= 1;
    }
    let text = view.slice(0, run)?;
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    let long_group = text.split(':').any(|group| group.len() >= 3);
    // `a::b` is a name in a program rather than an address of somebody.
    let telling = groups >= 3 || (groups == 2 && long_group);
    (telling && text.parse::<Ipv6Addr>().is_ok() && view.word_ends(run)).then_some(run)
}

fn ends_with_single_colon(view: &View<'_>, run: usize) -> bool {
    view.byte(run - 1) == Some(b':') && (run < 2 || view.byte(run - 2) != Some(b':'))
}
