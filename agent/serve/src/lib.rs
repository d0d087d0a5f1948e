//! The local HTTP API: who is calling, may they, and the answer as a stream.
//!
//! ```text
//! connection ─► gate (Host, Origin) ─► identify ─► route ─► permit ─► content ─► quota ─► queue ─► backend ─► drive ─► stream
//!                     421, 403           401        404      403        403        429   429, 503    404         │
//!                                                                                                                ├─ infer.start durable, then the first token
//!                                                                                                                └─ infer.end durable, then the last chunk
//! ```
//!
//! The agent brings a [`Backend`] (what answers), an audit log, the policies in force and the identities; this crate
//! brings everything between a socket and those. Nothing is answered without an identity and a permit, apart from
//! `/health`; nothing is generated that the audit log cannot hold. However a call ends, answered or not, a record says so:
//! what its route did not record, `trail` does.

mod admit;
mod api;
mod app;
mod backend;
mod body;
mod config;
mod content;
mod converse;
mod cors;
mod drive;
mod embed;
mod error;
mod fields;
mod gate;
mod given_up;
mod governance;
mod handle;
pub mod identify;
mod kept;
mod label;
mod metrics;
mod model;
mod openapi;
mod permit;
mod queue;
mod quota;
mod record;
mod request_id;
mod router;
mod server;
mod stream;
mod tls;
mod trail;

pub use api::{Route, routes};
pub use app::{Circumstances, Serving};
pub use backend::{
    Alternative, Backend, BackendError, Chat, Consent, EmbedInput, EmbedRequest, Embeddings, Ending, FinishReason,
    Found, GenerateRequest, Generation, GenerationEvent, Health, KeepAlive, LoadOutcome, LoadedModel, Message,
    ModelCard, ModelDetail, NewModel, Prediction, Progress, Prompt, Purpose, Role, Said, Sampling, Served, Shape,
    Timings, TokenScore, Tool, ToolCall, ToolChoice, Usage,
};
pub use config::{Limits, ServeConfig, TlsFiles};
pub use governance::{Governance, GovernanceError};
pub use identify::{ApiKeys, Identities, LocalUsers, TokenIssuer};
pub use metrics::{Part as TracePart, Trace};
pub use server::{BindError, Server};
pub use tls::TlsError;
