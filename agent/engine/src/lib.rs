//! GGUF in, tokens out: the inference engine, knowing no network, no policy and no async runtime.
//!
//! ```text
//! gguf ──► weights ──► arch (what differs per family) ──► model ──► session (KV cache)
//!   └────► tokenizer, template ──────────────────────────────┘          │
//!                                    batch::Engine::step ◄── generate ◄─┘ sampler, grammar, stop strings, UTF-8
//!                                                                └──► dialect: reasoning, text, calls
//! ```

pub mod batch;
pub mod bench;
pub mod convert;
pub mod dialect;
pub mod embedder;
pub mod evaluate;
pub mod generate;
pub mod gguf;
pub mod grammar;
pub mod quantize;
pub mod rehearse;
pub mod sampler;
pub mod self_check;
pub mod session;
pub mod shape;
pub mod template;
pub mod tokenizer;

mod accelerator;
mod arch;
mod backends;
mod blocks;
mod cpu;
mod footprint;
mod math;
mod model;
mod ops;
mod weights;

pub use arch::families;
pub use backends::{Backend, backends};
pub use cpu::Instructions;
pub use footprint::{Footprint, Matrices};
pub use model::{ForwardError, LoadError, LoadOptions, Model, encode_chat, encode_chat_with, logits};

/// This build of the kernels: what was measured with another does not hold for it.
pub const KERNEL_BUILD: &str = env!("OUTPOST_KERNEL_BUILD");
