//! Passwords: argon2id with 19 MiB and two passes, a fresh salt each; compared in constant time.

use argon2::Argon2;
use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::fleet::FleetError;
use crate::tokens::random;

const SALT: usize = 16;
const HASH: usize = 32;

/// What is kept of a password: salt and hash.
pub(super) fn hash(password: &str) -> Result<Vec<u8>, FleetError> {
    let salt = random::<SALT>().map_err(FleetError::Random)?;
    let hash = derive(password, &salt)?;
    Ok([salt.as_slice(), &hash].concat())
}

/// Whether this is the password. With none kept it is none, after the same work.
pub(super) fn matches(password: &str, kept: Option<&[u8]>) -> Result<bool, FleetError> {
    let nobody = [0; SALT + HASH];
    let (salt, expected) = kept.unwrap_or(&nobody).split_at_checked(SALT).unwrap_or((&nobody[..SALT], &[]));
    let hash = derive(password, salt)?;
    Ok(verify_slices_are_equal(&hash, expected).is_ok() && kept.is_some())
}

/// What is wrong with a password that somebody chose, if anything is.
pub(super) fn fault(password: &str, name: &str) -> Option<&'static str> {
    match password {
        short if short.chars().count() < 12 => Some("a password has at least 12 characters"),
        long if long.len() > 256 => Some("a password has at most 256 bytes"),
        named if named.contains(name) => Some("a password does not contain the person's name"),
        _ => None,
    }
}

fn derive(password: &str, salt: &[u8]) -> Result<[u8; HASH], FleetError> {
    let mut hash = [0; HASH];
    let derived = Argon2::default().hash_password_into(password.as_bytes(), salt, &mut hash);
    derived.map_err(|error| FleetError::Record(format!("argon2: {error}")))?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_own_hash_only() {
        let kept = hash("correct horse battery").unwrap();
        assert!(matches("correct horse battery", Some(&kept)).unwrap());
        assert!(!matches("correct horse batterz", Some(&kept)).unwrap());
        assert!(!matches("correct horse battery", None).unwrap());
        assert!(!matches("correct horse battery", Some(b"short")).unwrap());
        assert_ne!(hash("correct horse battery").unwrap(), kept);
    }
}
