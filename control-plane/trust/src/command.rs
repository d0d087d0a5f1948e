//! Commands: signed for one device by the director, read only if one of its keys signed them.

use outpost_contract::Command;
use outpost_contract::command::PAYLOAD_TYPE;

use crate::dsse::DsseError;
use crate::{Envelope, SigningKey, VerifyingKey};

/// Signs a command.
///
/// # Errors
/// [`DsseError::TooLarge`] if no device would take it, [`DsseError::Malformed`] without a key.
pub fn sign(command: &Command, keys: &[&SigningKey]) -> Result<Envelope, DsseError> {
    let payload = serde_json::to_vec(command).map_err(|error| DsseError::Malformed(error.to_string()))?;
    Envelope::sign(PAYLOAD_TYPE, &payload, keys)
}

/// Reads a command that one of `keys` signed. For whom it is and until when is for the caller to look at.
///
/// # Errors
/// If it is no envelope, not a command, unsigned, or not in a form that this version reads.
pub fn open(envelope: &[u8], keys: &[VerifyingKey]) -> Result<Command, DsseError> {
    let payload = Envelope::parse(envelope)?.verify(PAYLOAD_TYPE, keys)?;
    serde_json::from_slice(&payload).map_err(|error| DsseError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use outpost_contract::{CommandId, Operation};

    #[test]
    fn only_the_directors_commands_are_read() {
        let (director, thief) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let command = Command {
            v: 1,
            tenant: "acme".parse().unwrap(),
            device: "till-7".parse().unwrap(),
            id: CommandId::of([1; 16]),
            op: Operation::Restart,
            issued_at_s: 0,
            not_after_s: 60,
            asked_by: "ada".into(),
        };
        let envelope = sign(&command, &[&director]).unwrap().to_bytes();
        assert_eq!(open(&envelope, &[director.verifying_key()]).unwrap(), command);
        assert!(matches!(open(&envelope, &[thief.verifying_key()]), Err(DsseError::BadSignature(1))));
        let payload = serde_json::to_vec(&command).unwrap();
        let other = Envelope::sign("application/vnd.outpost.desired+json", &payload, &[&director]).unwrap().to_bytes();
        assert!(matches!(open(&other, &[director.verifying_key()]), Err(DsseError::WrongType { .. })));
        assert!(open(b"{}", &[director.verifying_key()]).is_err());
    }
}
