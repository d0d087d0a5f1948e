//! International bank account numbers: the country's length, and a remainder of 1 modulo 97 (ISO 13616).

use super::view::{Before, View};

/// Countries and how long their numbers are.
const LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 \
    EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 \
    LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 \
    SA24 SC31 SD18 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20";

pub(super) fn length(view: &View<'_>, before: Before) -> Option<usize> {
    if !before.is_word_start() {
        return None;
    }
    let country = [letter(view, 0)?, letter(view, 1)?];
    view.digit(2)?;
    view.digit(3)?;
    let wanted = length_of(country)?;
    let (mut at, mut count) = (0, 0);
    // The first four characters count last: they wait here until the others have been taken.
    let (mut head, mut remainder) = ([0_u8; 4], 0_u32);
    while count < wanted {
        let gap = usize::from(count > 0 && matches!(view.byte(at), Some(b' ' | b'-')));
        let byte = view.byte(at + gap).filter(u8::is_ascii_alphanumeric)?.to_ascii_uppercase();
        at += gap + 1;
        match head.get_mut(count) {
            Some(place) => *place = byte,
            None => remainder = add(remainder, byte),
        }
        count += 1;
    }
    let remainder = head.into_iter().fold(remainder, add);
    (remainder == 1 && view.word_ends(at)).then_some(at)
}

fn letter(view: &View<'_>, at: usize) -> Option<u8> {
    view.byte(at).filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_uppercase())
}

fn length_of(country: [u8; 2]) -> Option<usize> {
    let entry = LENGTHS.split_ascii_whitespace().find(|entry| entry.as_bytes().starts_with(&country))?;
    entry[2..].parse().ok()
}

/// The remainder after one more character; a letter counts as a number of two digits, `A` as 10.
fn add(remainder: u32, byte: u8) -> u32 {
    match byte {
        b'0'..=b'9' => (remainder * 10 + u32::from(byte - b'0')) % 97,
        _ => (remainder * 100 + u32::from(byte - b'A') + 10) % 97,
    }
}
