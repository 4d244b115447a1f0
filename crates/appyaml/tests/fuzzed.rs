//! The fuzz target `config` (`fuzz/fuzz_targets/config.rs`) and the inputs of its corpus: whatever a configuration file holds, reading it ends, and what is
//! wrong is told in words. Schedules that were read are asked when they are due.

#[path = "fuzzed/target.rs"]
mod target;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/config");
    let mut files: Vec<_> = fs::read_dir(folder).expect("a corpus").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("readable")).collect()
}

#[test]
fn y1_every_input_of_the_corpus_is_survived() {
    let inputs = corpus();
    assert!(inputs.len() >= 5, "the corpus has few inputs");
    for input in &inputs {
        target::config(input);
    }
}

#[test]
fn y1_mutated_files_break_nothing() {
    let inputs = corpus();
    // Where, how many bytes are left out, and what comes in.
    let change = (any::<prop::sample::Index>(), 0..12_usize, prop::collection::vec(any::<u8>(), 0..8));
    let strategy = (0..inputs.len(), prop::collection::vec(change, 1..5));
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&strategy, |(chosen, changes)| {
        let mut input = inputs[chosen].clone();
        for (at, gone, bytes) in changes {
            let start = at.index(input.len() + 1);
            let end = (start + gone).min(input.len());
            input.splice(start..end, bytes);
        }
        target::config(&input);
        Ok(())
    });
    outcome.unwrap_or_else(|found| panic!("{found}"));
}
