//! Hands libFuzzer's bytes to `gguf_validator`.

#![no_main]

#[path = "../src/readers.rs"]
#[allow(dead_code, reason = "each target calls one of them")]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::gguf_validator(bytes));
