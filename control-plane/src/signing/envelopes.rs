//! Signatures of many documents at once, on every processor: they depend on nothing but the keys.

use std::num::NonZero;
use std::thread;

use outpost_contract::Desired;
use outpost_trust::SigningKey;
use outpost_trust::dsse::DsseError;

/// Documents that are worth a thread of their own.
const WORTH_A_THREAD: usize = 64;

/// An envelope of each document, in their order.
pub(super) fn envelopes(documents: &[Desired], keys: &[&SigningKey]) -> Result<Vec<Vec<u8>>, DsseError> {
    let sign = |some: &[Desired]| -> Result<Vec<Vec<u8>>, DsseError> {
        some.iter().map(|document| Ok(outpost_trust::desired::sign(document, keys)?.to_bytes())).collect()
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = processors.min(documents.len() / WORTH_A_THREAD);
    if threads < 2 {
        return sign(documents);
    }
    let parts = thread::scope(|scope| {
        let running: Vec<_> =
            documents.chunks(documents.len().div_ceil(threads)).map(|some| scope.spawn(move || sign(some))).collect();
        let ended = running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<Vec<_>, _>>()
    });
    Ok(parts?.concat())
}

#[cfg(test)]
mod tests {
    use outpost_contract::{Blake3, BlobRef};

    use super::*;

    #[test]
    fn however_many_there_are_each_document_gets_its_own_signature() {
        let key = SigningKey::generate().unwrap();
        for count in [0, 1, WORTH_A_THREAD * 2 - 1, WORTH_A_THREAD * 5 + 3] {
            let document = |number: usize| Desired {
                v: 1,
                tenant: "default".parse().unwrap(),
                device: format!("box-{number:05}").parse().unwrap(),
                version: number as u64 + 1,
                issued_at_s: 1,
                not_after_s: 2,
                catalogue: BlobRef { bytes: 1, blake3: Blake3([2; 32]), chunks: Vec::new() },
                model: None,
                policy: None,
                rollout: None,
                withdrawn: Vec::new(),
                agent: Vec::new(),
            };
            let documents: Vec<_> = (0..count).map(document).collect();
            let signed = envelopes(&documents, &[&key]).unwrap();
            assert_eq!(signed.len(), count);
            for (document, envelope) in documents.iter().zip(signed) {
                let envelope = outpost_trust::Envelope::parse(&envelope).unwrap();
                let payload = envelope.verify(outpost_contract::desired::PAYLOAD_TYPE, &[key.verifying_key()]).unwrap();
                assert_eq!(serde_json::from_slice::<Desired>(&payload).unwrap(), *document);
            }
        }
    }
}
