//! Codes of an authenticator (RFC 6238): HMAC-SHA-1, 30 seconds, 6 digits, as every app makes them.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

/// One step, seconds.
const STEP_S: i64 = 30;

/// The step whose code this is: now, the one before or the one after, for clocks that are not quite right.
pub(super) fn step_of(secret: &[u8], code: &str, now_s: i64) -> Option<i64> {
    let now = now_s / STEP_S;
    let mut found = None;
    for step in [now - 1, now, now + 1] {
        let right = code_at(secret, step);
        if verify_slices_are_equal(right.as_bytes(), code.as_bytes()).is_ok() {
            found = Some(step);
        }
    }
    found
}

/// The code of a step.
fn code_at(secret: &[u8], step: i64) -> String {
    format!("{:06}", truncated(secret, step) % 1_000_000)
}

/// The code at a time.
#[cfg(test)]
pub(super) fn code(secret: &[u8], now_s: i64) -> String {
    code_at(secret, now_s / STEP_S)
}

/// RFC 4226, 5.3.
fn truncated(secret: &[u8], step: i64) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = tag.last().map_or(0, |last| usize::from(last & 0xf));
    let word = tag.iter().skip(offset).take(4).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    word & 0x7fff_ffff
}

/// What an authenticator reads: whose secret it is.
pub(super) fn address(name: &str, secret: &[u8]) -> String {
    format!("otpauth://totp/outpost:{name}?secret={}&issuer=outpost", base32(secret))
}

/// RFC 4648 base32 without padding, as authenticators want the secret.
pub(super) fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut text, mut bits, mut held) = (String::new(), 0_u32, 0_u32);
    for byte in bytes {
        (bits, held) = ((bits << 8 | u32::from(*byte)) & 0xffff, held + 8);
        while held >= 5 {
            held -= 5;
            text.push(char::from(LETTERS[(bits >> held & 31) as usize]));
        }
    }
    if held > 0 {
        text.push(char::from(LETTERS[(bits << (5 - held) & 31) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B.
    #[test]
    fn the_vectors_of_the_rfc_come_out() {
        let secret = b"12345678901234567890";
        for (time_s, code) in [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            assert_eq!(truncated(secret, time_s / STEP_S) % 100_000_000, code, "{time_s}");
        }
        assert_eq!(step_of(secret, "287082", 59), Some(1));
        assert_eq!(step_of(secret, "287082", 59 + STEP_S), Some(1));
        assert_eq!(step_of(secret, "287082", 59 + 2 * STEP_S), None);
        assert_eq!(step_of(secret, "", 59), None);
    }

    /// RFC 4648, section 10.
    #[test]
    fn secrets_are_written_in_base32() {
        for (bytes, text) in [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }
}
