//! Record ids: ULIDs, 48 bits of time and 80 bits of chance in 26 letters.

const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 26;

/// A fresh id for a record made at `wall_ms`.
///
/// # Errors
/// If the operating system has no randomness to give.
pub(crate) fn fresh(wall_ms: i64) -> Result<String, getrandom::Error> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random[6..])?;
    let time = u128::from(u64::try_from(wall_ms).unwrap_or(0) & ((1 << 48) - 1)) << 80;
    Ok(encode(time | u128::from_be_bytes(random)))
}

fn encode(mut number: u128) -> String {
    let mut letters = [0_u8; LENGTH];
    for letter in letters.iter_mut().rev() {
        *letter = LETTERS[usize::try_from(number & 31).expect("five bits fit")];
        number >>= 5;
    }
    letters.iter().map(|&letter| char::from(letter)).collect()
}

/// The number that an id stands for; `None` if it is not one.
pub(crate) fn decode(text: &str) -> Option<u128> {
    if text.len() != LENGTH || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0_u128, |number, byte| {
        let digit = LETTERS.iter().position(|&letter| letter == byte)?;
        Some(number << 5 | digit as u128)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_differ_and_sort_by_time() {
        let (early, late) = (fresh(1_000).unwrap(), fresh(2_000).unwrap());
        assert!(early < late);
        assert_ne!(fresh(1_000).unwrap(), early);
        assert_eq!(encode(decode(&early).unwrap()), early);
        assert_eq!(decode(&early).unwrap() >> 80, 1_000);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in
            ["", "short", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAU", "01arz3ndektsv4rrffq69g5fav"]
        {
            assert_eq!(decode(text), None, "{text}");
        }
        assert!(decode("01ARZ3NDEKTSV4RRFFQ69G5FAV").is_some());
    }
}
