//! The fuzz target `config`: see `crates/appyaml/tests/fuzzed/target.rs`.
#![no_main]

#[path = "../../crates/appyaml/tests/fuzzed/target.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::config(bytes));
