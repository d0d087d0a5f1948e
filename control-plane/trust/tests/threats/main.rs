//! What an attacker may try, one file per threat; and what must go on working.

mod agreement;
mod builds;
mod ceremony;
mod desired;
mod expiry;
mod fleet;
mod keys;
mod paths;
mod publishing;
mod rollback;
mod tampering;
mod traps;
