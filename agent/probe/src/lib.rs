//! What this machine can give, measured.
