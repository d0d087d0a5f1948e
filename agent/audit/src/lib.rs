//! The audit log: leaves, Merkle tree, signed checkpoints, durable store, verification.
