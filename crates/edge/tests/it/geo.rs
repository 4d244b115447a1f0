//! Where clients are (row H6): a MaxMind-format database, written by hand.

use std::path::Path;

use edge::Options;

use crate::app;
use crate::node::{Node, config, options, script, table};

/// A control byte: type and size (the format's "data field format").
fn field(kind: u8, size: usize) -> Vec<u8> {
    let size = u8::try_from(size).expect("short");
    assert!(size < 29);
    if kind > 7 { vec![size, kind - 7] } else { vec![(kind << 5) | size] }
}

fn text(text: &str) -> Vec<u8> {
    [field(2, text.len()), text.as_bytes().to_vec()].concat()
}

fn number(kind: u8, value: u32) -> Vec<u8> {
    [field(kind, 4), value.to_be_bytes().to_vec()].concat()
}

fn short(value: u16) -> Vec<u8> {
    [field(5, 2), value.to_be_bytes().to_vec()].concat()
}

fn double(value: f64) -> Vec<u8> {
    [field(3, 8), value.to_be_bytes().to_vec()].concat()
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let all = entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat());
    field(7, entries.len()).into_iter().chain(all).collect()
}

/// A database that knows 0.0.0.0/1 and nothing else.
fn database() -> Vec<u8> {
    let name = map(&[("names", map(&[("en", text("Zurich"))]))]);
    let region = [field(11, 1), map(&[("iso_code", text("ZH"))])].concat();
    let place = map(&[("latitude", double(47.366_7)), ("longitude", double(8.55))]);
    let data = map(&[("country", map(&[("iso_code", text("CH"))])), ("city", name), ("subdivisions", region), ("location", place)]);
    // One node: the left half points behind the tree and its 16 empty bytes, the right half to nothing.
    let tree = [&[0, 0, 17, 0, 0, 1][..], &[0; 16]].concat();
    let metadata = map(&[
        ("binary_format_major_version", short(2)),
        ("binary_format_minor_version", short(0)),
        ("build_epoch", number(9, 1)),
        ("database_type", text("GeoLite2-City")),
        ("description", map(&[])),
        ("ip_version", short(4)),
        ("languages", field(11, 0)),
        ("node_count", number(6, 1)),
        ("record_size", short(24)),
    ]);
    [tree, data, b"\xab\xcd\xefMaxMind.com".to_vec(), metadata].concat()
}

#[test]
fn h6_an_address_in_the_database_has_a_place_and_others_are_zz() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("city.mmdb");
    std::fs::write(&path, database()).expect("written");
    let (endpoint, _) = app::http(|received, wire| {
        let names = ["x-appengine-country", "x-appengine-region", "x-appengine-city", "x-appengine-citylatlong"];
        wire.answer("200 OK", names.map(|name| received.header(name).unwrap_or_else(|| "-".into())).join("|"));
        true
    });
    let mut options = Options { geoip: Some(path), ..options() };
    options.trusted_proxies = "127.0.0.1, 10.0.0.0/8".parse().expect("networks");
    let node = Node::start(options, table(config("nodejs22", vec![script("/.*")]), Path::new("/nowhere")), Ok(endpoint));
    assert_eq!(node.get("/").text(), "CH|zh|zurich|47.366700,8.550000");
    let far = node.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n");
    assert!(far.text().starts_with("ZZ|"), "{}", far.text());
}
