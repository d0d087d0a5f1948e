//! Hands libFuzzer's bytes to `tokenizer_loader`.

#![no_main]

#[path = "../src/readers.rs"]
#[allow(dead_code, reason = "each target calls one of them")]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::tokenizer_loader(bytes));
