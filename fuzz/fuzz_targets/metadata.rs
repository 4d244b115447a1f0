//! The fuzz target `metadata`: see `crates/services/tests/hostile/targets.rs`.
#![no_main]

#[path = "../../crates/services/tests/hostile/targets.rs"]
#[allow(dead_code, reason = "each target uses a part")]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::metadata(bytes));
