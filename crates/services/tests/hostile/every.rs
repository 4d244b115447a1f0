//! Every method of every service, as the registry knows them: none is forgotten here when a new one comes.

use std::collections::BTreeSet;

use services::call::{Answer, Failure};
use services::card::{ALL, Card};
use services::proto::remote_api::rpc_error::Code;

use crate::samples::sample;
use crate::targets::{calls, folder, registry};

/// The methods of all services, those of tests too.
fn methods() -> impl Iterator<Item = (&'static Card, &'static str)> {
    ALL.into_iter().flat_map(|card| card.all().map(move |method| (card, method)))
}

fn is_hook(card: &Card, method: &str) -> bool {
    card.hooks.contains(&method)
}

/// Sends messages to a method, and survives.
fn try_all(card: &Card, method: &str, messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<Answer> {
    calls(card.name, method, messages, is_hook(card, method))
}

#[test]
fn m4_every_service_stands_here() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let there: BTreeSet<&str> = registry(&folder("every"), runtime.handle()).names().collect();
    assert_eq!(there, ALL.iter().map(|card| card.name).collect(), "the services of the house, and the cards of all services");
}

#[test]
fn m4_what_a_card_names_exists_and_nothing_else_does() {
    for (card, method) in methods() {
        // Some that the stubs have say why they are not here.
        let is_none = |method: &str, answer: &Answer| *answer == Err(Failure::no_call(card.name, method));
        let known = |method: &str, testing| !is_none(method, &calls(card.name, method, [sample(card.name, method)], testing)[0]);
        assert!(known(method, true), "{}.{method} does not exist", card.name);
        assert_eq!(known(method, false), !is_hook(card, method), "{}.{method}: hooks of tests are closed in production", card.name);
        for other in [method.to_ascii_lowercase(), format!("{method} "), format!("/{method}"), method[1..].to_owned(), String::new()] {
            assert!(is_none(&other, &calls(card.name, &other, [Vec::new()], true)[0]), "{}.{other}", card.name);
        }
    }
}

#[test]
fn m4_any_message_for_any_method_of_any_service() {
    let samples: Vec<Vec<u8>> = methods().map(|(card, method)| sample(card.name, method)).collect();
    for (card, method) in methods() {
        try_all(card, method, samples.clone());
    }
}

#[test]
fn m4_messages_may_be_cut_anywhere() {
    for (card, method) in methods() {
        let whole = sample(card.name, method);
        try_all(card, method, (0..whole.len()).map(|end| whole[..end].to_vec()));
    }
}

/// A field with something in it: a number, eight bytes, a text that is none, a message, a group, four bytes; lengths that lie.
fn confused(field: u32) -> impl Iterator<Item = Vec<u8>> {
    let kinds: [(u8, &[u8]); 8] = [
        (0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        (1, &[0xff; 8]),
        (2, &[2, 0xff, 0xfe]),
        (2, &[4, 0x0a, 2, 0x0a, 0]),
        (2, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        (3, &[0x0b, 0x0c]),
        (5, &[0xff; 4]),
        (7, &[0]),
    ];
    kinds.into_iter().map(move |(kind, value)| {
        let mut part = Vec::new();
        prost::encoding::encode_varint(u64::from(field << 3 | u32::from(kind)), &mut part);
        part.extend_from_slice(value);
        if kind == 3 {
            prost::encoding::encode_varint(u64::from(field << 3 | 4), &mut part);
        }
        part
    })
}

#[test]
fn m4_fields_may_be_of_any_kind() {
    for (card, method) in methods() {
        // Alone, and beside what is good.
        let whole = sample(card.name, method);
        let parts = (1..=24).flat_map(confused);
        try_all(card, method, parts.flat_map(|part| [[&whole[..], &part].concat(), part]));
    }
}

#[test]
fn m4_nesting_without_end_is_refused() {
    for (card, method) in methods() {
        // Groups in groups, of fields that somebody knows and of one that nobody does.
        let deep = [1_u8, 2, 3, 5, 15].map(|field| vec![field << 3 | 3; 100_000]);
        // Some methods have nothing to read, or first look whether there is anything to do.
        let reads = !is_hook(card, method) && !["Usage", "StartBackgroundRequest"].contains(&method);
        for answer in try_all(card, method, deep) {
            let refused = matches!(answer, Err(Failure::Rpc(Code::ParseError, _)));
            assert!(refused || !reads, "{}.{method}: {answer:?}", card.name);
        }
        // Messages in messages end where they do not fit any more; where nobody knows them, they are one text.
        let nested = [1_u8, 2, 3, 5].map(|field| {
            (0..500).fold(Vec::new(), |inner: Vec<u8>, _| {
                let mut outer = vec![field << 3 | 2];
                prost::encoding::encode_varint(inner.len() as u64, &mut outer);
                [outer, inner].concat()
            })
        });
        try_all(card, method, nested);
    }
}

#[test]
fn m4_messages_that_are_too_large_are_refused() {
    for card in ALL {
        let answer = try_all(card, card.methods[0], [vec![0x0a; (50 << 20) + 1]]);
        assert!(matches!(answer[0], Err(Failure::Rpc(Code::RequestTooLarge, _))), "{}: {answer:?}", card.name);
    }
}

#[test]
fn m4_parts_without_end_are_refused_before_they_take_memory() {
    // The smallest good task, item, attachment, header: 32 MiB of them would become gigabytes.
    let cases: [(&str, &str, &[u8]); 6] = [
        ("taskqueue", "BulkAdd", &[0x0a, 6, 0x0a, 0, 0x12, 0, 0x18, 0]),
        ("taskqueue", "Delete", &[0x12, 0]),
        ("memcache", "Set", &[0x0b, 0x12, 0, 0x1a, 0, 0x0c]),
        ("memcache", "Get", &[0x0a, 0]),
        ("mail", "Send", &[0x4a, 0]),
        ("urlfetch", "Fetch", &[0x1b, 0x1c]),
    ];
    for (service, method, part) in cases {
        let message = part.repeat((32 << 20) / part.len());
        let answer = calls(service, method, [message], false).remove(0);
        assert!(matches!(answer, Err(Failure::Rpc(Code::RequestTooLarge, _))), "{service}.{method}: {answer:?}");
    }
}
