//! Hands libFuzzer's bytes to `template_renderer`.

#![no_main]

#[path = "../src/readers.rs"]
#[allow(dead_code, reason = "each target calls one of them")]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::template_renderer(bytes));
