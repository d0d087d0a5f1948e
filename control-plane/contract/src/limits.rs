//! The ceilings on what a remote side may send; each has a unit and a reason.

/// Bytes in one chunk of a blob. Below the 1 MiB packet limit of the strictest broker supported.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes in one message of a chunk that is sent in pieces: what a line that breaks costs at the most.
pub const PIECE_BYTES: usize = 32 * 1024;

/// Chunks that one request may ask for: 4 MiB in flight at the most.
pub const CHUNKS_PER_REQUEST: usize = 16;

/// Largest MQTT packet either side sends or accepts: a chunk and its header.
pub const MQTT_PACKET_BYTES: usize = CHUNK_BYTES + 16 * 1024;

/// Largest document on a topic that is not a chunk (desired, reported, hello).
pub const DOCUMENT_BYTES: usize = 64 * 1024;

/// Largest catalogue that a device will fetch: metadata, manifests and policy bundles, no weights.
pub const CATALOGUE_BYTES: u64 = 8 * 1024 * 1024;

/// Largest model file that a manifest may describe: 256 GiB.
pub const MODEL_BYTES: u64 = 256 * 1024 * 1024 * 1024;

/// Largest build of the agent, bytes: a program with everything in it has a tenth of that.
pub const BUILD_BYTES: u64 = 512 * 1024 * 1024;

/// Kinds of machines that one desired state may name builds for.
pub const BUILDS: usize = 16;

/// Largest sealed document: a policy bundle or a list of locks in base64, with its signatures.
pub const SEALED_BYTES: usize = 1536 * 1024;

/// Largest body of an enrolment request or answer.
pub const ENROL_BYTES: usize = 64 * 1024;

/// Largest package of audit records, compressed and with its heading: one MQTT packet.
pub const AUDIT_PACKAGE_BYTES: usize = CHUNK_BYTES;

/// Peers that a device is told of.
pub const PEERS: usize = 8;

/// Revoked devices that a peer is told of, the newest: an answer to a hello stays small.
pub const REVOKED: usize = 64;

/// Largest name of a site, in bytes.
pub const SITE_BYTES: usize = 64;

/// Largest question to a witness of audit logs, and largest answer: a signed note with a proof of 63 hashes.
pub const WITNESS_BYTES: usize = 260 * 1024;
