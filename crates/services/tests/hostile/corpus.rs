//! The inputs that `fuzz/corpus` holds, as they are and mutated. Nightly tools find new ones (see `fuzz/README.md`); here everybody runs the known ones.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::targets::TARGETS;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).expect("a folder for each target").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("readable")).collect()
}

#[test]
fn m4_every_target_has_a_corpus_that_it_survives() {
    for (name, run) in TARGETS {
        let inputs = corpus(name);
        assert!(inputs.len() >= 5, "{name} has few inputs");
        for input in &inputs {
            run(input);
        }
    }
}

#[test]
fn m4_a_fuzz_target_stands_for_each_entry() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    for (name, _) in TARGETS {
        let source = fs::read_to_string(folder.join(format!("{name}.rs"))).unwrap_or_default();
        assert!(source.contains("fuzz_target!"), "fuzz/fuzz_targets/{name}.rs is missing");
    }
    let manifest = fs::read_to_string(folder.join("../Cargo.toml")).expect("fuzz/Cargo.toml");
    assert!(TARGETS.iter().all(|(name, _)| manifest.contains(&format!("name = \"{name}\""))), "fuzz/Cargo.toml names every target");
}

/// What a fuzzer does to an input.
#[derive(Debug, Clone)]
enum Change {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    use prop::sample::Index;
    prop_oneof![
        any::<Index>().prop_map(Change::Cut),
        any::<(Index, u8)>().prop_map(|(at, bits)| Change::Flip(at, bits)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), any::<Index>(), 1..200_usize).prop_map(|(from, to, times)| Change::Repeat(from, to, times)),
    ]
}

fn apply(mut input: Vec<u8>, change: &Change) -> Vec<u8> {
    let at = |index: &prop::sample::Index, input: &[u8]| index.index(input.len() + 1);
    match change {
        Change::Cut(index) => {
            let end = at(index, &input);
            input.truncate(end);
        }
        Change::Flip(index, bits) => {
            let place = at(index, &input);
            if let Some(byte) = input.get_mut(place) {
                *byte ^= bits;
            }
        }
        Change::Insert(index, bytes) => {
            let place = at(index, &input);
            input.splice(place..place, bytes.iter().copied());
        }
        Change::Repeat(from, to, times) => {
            let (a, b) = (at(from, &input), at(to, &input));
            let part = input[a.min(b)..a.max(b)].repeat(*times);
            input.splice(a.min(b)..a.min(b), part.into_iter().take(1 << 16));
        }
    }
    input
}

#[test]
fn m4_mutated_inputs_break_nothing() {
    for (name, run) in TARGETS {
        let inputs = corpus(name);
        let strategy = (0..inputs.len(), prop::collection::vec(change(), 1..6));
        let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&strategy, |(chosen, changes)| {
            run(&changes.iter().fold(inputs[chosen].clone(), apply));
            Ok(())
        });
        outcome.unwrap_or_else(|found| panic!("{name}: {found}"));
    }
}
