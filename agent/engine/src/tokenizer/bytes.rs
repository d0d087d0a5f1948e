//! The byte alphabet of GPT-2: every byte has a printable character, so that vocabularies can be written as text.

/// The byte that a character of the alphabet stands for.
pub(super) fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        // The other 68 bytes take the code points from 256 on, in order.
        256..=288 => u8::try_from(code - 256).ok(),
        289..=322 => u8::try_from(code - 289 + 0x7F).ok(),
        323 => Some(0xAD),
        _ => None,
    }
}

/// Appends the bytes that a token of a byte-level vocabulary writes. Characters outside the alphabet write themselves;
/// says whether there were none.
pub(super) fn write(token: &str, bytes: &mut Vec<u8>) -> bool {
    let mut whole = true;
    for character in token.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            None => {
                whole = false;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    whole
}
