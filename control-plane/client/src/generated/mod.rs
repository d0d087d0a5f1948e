//! What was written from `openapi.json`; `tests/generated.rs` writes it.

#![allow(missing_docs, reason = "the description says it")]

#[rustfmt::skip]
mod api_tokens;
#[rustfmt::skip]
mod approvals;
#[rustfmt::skip]
mod audit;
#[rustfmt::skip]
mod catalogue;
#[rustfmt::skip]
mod codes;
#[rustfmt::skip]
mod devices;
#[rustfmt::skip]
mod enrolment;
#[rustfmt::skip]
mod events;
#[rustfmt::skip]
mod groups;
#[rustfmt::skip]
mod health;
#[rustfmt::skip]
mod inventory;
#[rustfmt::skip]
mod models;
#[rustfmt::skip]
mod openapi_json;
#[rustfmt::skip]
mod overview;
#[rustfmt::skip]
mod own_records;
#[rustfmt::skip]
mod people;
#[rustfmt::skip]
mod policies;
#[rustfmt::skip]
mod rollouts;
#[rustfmt::skip]
mod selectors;
#[rustfmt::skip]
mod sessions;
#[rustfmt::skip]
mod tokens;
#[rustfmt::skip]
mod webhooks;
#[rustfmt::skip]
mod what_if;
#[rustfmt::skip]
mod withdrawals;

pub use api_tokens::*;
pub use approvals::*;
pub use audit::*;
pub use catalogue::*;
pub use codes::*;
pub use devices::*;
pub use enrolment::*;
pub use events::*;
pub use groups::*;
pub use health::*;
pub use inventory::*;
pub use models::*;
pub use overview::*;
pub use own_records::*;
pub use people::*;
pub use policies::*;
pub use rollouts::*;
pub use selectors::*;
pub use sessions::*;
pub use tokens::*;
pub use webhooks::*;
pub use what_if::*;
pub use withdrawals::*;
